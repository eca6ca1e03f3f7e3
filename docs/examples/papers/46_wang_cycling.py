"""
Cycling, dQ/dV and titration of three rock salts
================================================

Wang et al. (2023), Figure 3: the first cycle of a stable rock salt and of two milled
with lithia, their dQ/dV, and 1/τ along a titration, a curve for each. The truth of τ is
9e4, 5e4 and 3e4 s.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/46_wang_cycling.png"

from pathlib import Path
from tempfile import mkdtemp

import batteryxr
from batteryxr.operando import over_samples

folder = batteryxr.simulate.write_samples(Path(mkdtemp()) / "study")
names = ["LTMOF", "MS10", "MS20"]
cells = {n: batteryxr.read_cycler(folder / f"{n}.bdf.csv") for n in names}
pulses = {n: batteryxr.read_cycler(folder / f"gitt_{n}.bdf.csv") for n in names}

profile = over_samples(cells, "echem.plot.voltage_profile", half_cycles=[1, 2])
slopes = over_samples(cells, "echem.dqdv", smoothing=0.05).echem.plot.dqdv()
slopes = slopes.opts(ylim=(-0.6, 0.6))  # without the ends at the limits of voltage
titration = over_samples(pulses, "echem.gitt").echem.plot.time_constants(axis="pulse")
figure = (profile + slopes + titration).cols(1)
