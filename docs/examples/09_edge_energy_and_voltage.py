"""
Edge energy under the voltage curve
===================================

The spectra are normalised as Athena does it; the edge energy is at half of the jump and
follows the valence of nickel.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/09_edge_energy_and_voltage.png"

from batteryxr import simulate
from batteryxr.echem import Clock

experiment = simulate.cell_experiment(seed=7, n_scans=120, n_cycles=1)
record = experiment["echem"].to_dataset()
clock = Clock(offset_s=float(experiment["truth"]["clock_offset"]))
scans = record.echem.join(experiment["scans"]["absorption"], clock=clock)

normal = scans.xanes.normalise(e0=8345, pre=(-30, -16), post=(20, 55), degree=1)
edges = normal.xanes.edge_energy()
figure = edges["edge_energy"].echem.plot.with_voltage()
