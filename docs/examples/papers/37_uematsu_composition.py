"""
Composition from absorption and phase
=====================================

Uematsu et al. (2023), Figure 2: effective electrons, from the phase, over vanadium
atoms, from the edge jump, tell the composition. The truth is beside; what compounds
would have is printed.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/37_uematsu_composition.png"

import xarray as xr

from batteryxr import simulate
from batteryxr.xanes import electron_ratio, theoretical_ratio

study = simulate.particles(size=48, seed=0)
objects = study["objects"]["transmission"].sel(particle=["P1"])
vacuum = abs(objects).min("energy").rolling(y=5, x=5, center=True).min() > 0.99

stack = objects.xanes.reference_phase(vacuum=vacuum).xanes.from_transmission()
stack = stack.xanes.register(by="phase")
maps = stack["absorption"].xanes.fit_edge(
    edge=(5470, 5486), peaks=[(5463, 5470), (5483, 5496)]
)
density = maps.xanes.projected_density(element="V")
electrons = stack.xanes.effective_electrons()

ratio = electron_ratio(electrons, density=density)["electron_ratio"].sel(
    energy=5440, method="nearest", drop=True
)
for formula in ("LiVO2", "LiVO3"):
    print(formula, float(theoretical_ratio(formula, element="V", energy=5440).round(1)))

oxides = study["truth"]["electron_ratio"].sel(energy=5440, method="nearest", drop=True)
state = study["truth"]["state"].sel(particle=["P1"])
true = oxides.sel(oxide=state.clip(1), drop=True).where(state > 0)
pair = xr.Dataset({"found": ratio, "truth": true.assign_attrs(ratio.attrs)})
figure = pair.xanes.plot.maps(mask=(maps.flag == 0) & (state > 0))
