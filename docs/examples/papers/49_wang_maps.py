"""
Maps of two bands, in nanometres
================================

Wang et al. (2023), Figure 6: a scanning probe maps two infrared bands of a particle.
The maps are read with their lengths, drawn on one scale, and their correlation is
printed.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/49_wang_maps.png"

from pathlib import Path
from tempfile import mkdtemp

import xarray as xr

import batteryxr

batteryxr.load_hvplot()
folder = batteryxr.simulate.write_samples(Path(mkdtemp()) / "study")
paths = sorted((folder / "maps").glob("*.gsf"))
maps = [batteryxr.read_image(path) for path in paths]
bands = xr.concat(maps, xr.Variable("band", [one.long_name for one in maps]))
bands.attrs["long_name"] = "Signal"

print("correlation", round(float(xr.corr(bands[0], bands[1])), 2))
figure = bands.hvplot.image(x="x", y="y", aspect="equal", cmap="viridis").layout("band")
