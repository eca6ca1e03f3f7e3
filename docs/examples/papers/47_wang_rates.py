"""
Cycles and rates of three rock salts
====================================

Wang et al. (2023), Figure 4: capacity and efficiency of each cycle, and capacity
against the current. Masses differ by sample. Nominal capacities of the simulation are
0.8, 1.1 and 1.3 mA h.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/47_wang_rates.png"

from pathlib import Path
from tempfile import mkdtemp

import batteryxr
from batteryxr.operando import over_samples

folder = batteryxr.simulate.write_samples(Path(mkdtemp()) / "study")
mass = {"LTMOF": 3.1, "MS10": 2.9, "MS20": 3.0}
cells = {n: batteryxr.read_cycler(folder / f"{n}.bdf.csv") for n in mass}

cycles = over_samples(
    cells, "echem.cycles", electrode="cathode", first="charge", mass=mass
)
each = {n: cycles.sel(sample=n, drop=True).dropna("cycle", how="all") for n in mass}
rates = over_samples(each, "echem.rate").echem.plot.rate(kind="linear")
figure = (cycles.echem.plot.cycles() + rates).cols(1)
