"""
Lattice and Raman bands of states
=================================

Wang et al. (2023), Figure 5: the lattice while a cell runs, Raman spectra of ex situ
states in the order of their charge, and the positions of two bands. Truth: a goes from
4.14 Å to 4.08 Å and back; the sample lies 0.12 mm too high.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/48_wang_states.png"

from pathlib import Path
from tempfile import mkdtemp

import batteryxr
from batteryxr.xanes import Cell, Diffractometer

folder = batteryxr.simulate.write_samples(Path(mkdtemp()) / "study")
lattice = batteryxr.read_series(folder / "xrd").xanes.fit_lattice(
    candidate=Cell("cubic", a=4.12, centring="F"),
    instrument=Diffractometer(tube="Cu", radius=240.0),
    offset="displacement",
)

record = batteryxr.read_cycler(folder / "LTMOF.bdf.csv")
raman = batteryxr.read_series(folder / "raman")
raman = record.echem.attach(raman, mass=3.1, first="charge").sortby("capacity_total")
clean = raman.rename(scan="state").xanes.despike()
bands = clean.xanes.fit_peaks(
    peaks=[(560, 590), (630, 650)], baseline=(1, 2), method="robust"
)
figure = (
    lattice.xanes.plot.series(variables=["a"])
    + clean.xanes.plot.spectra(offset=0.6, by="branch")
    + bands.xanes.plot.series(variables=["peak_position"])
).cols(1)
