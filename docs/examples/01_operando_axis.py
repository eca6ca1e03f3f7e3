"""
Scans on the voltage curve
==========================

Every scan knows what the cell did during its exposure. The mark stands at its mean
voltage; a scan in which the current reverses is marked as such.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/01_operando_axis.png"

from batteryxr import simulate
from batteryxr.echem import Clock

experiment = simulate.cell_experiment(seed=1, n_scans=120)
record = experiment["echem"].to_dataset()
spectra = experiment["scans"]["absorption"]

clock = Clock(offset_s=float(experiment["truth"]["clock_offset"]))
scans = record.echem.join(spectra, clock=clock)
figure = record.echem.plot.operando(scans)
