"""
Edge energy, pre-edge peak and amount of vanadium
=================================================

Uematsu et al. (2023), Figure 2: per pixel the edge energy (valence), the normalised
area of the pre-edge peak (tetrahedral vanadium) and the edge jump (amount), before and
after delithiation. Pixels whose jump is below the noise are left out.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/36_uematsu_maps.png"

from batteryxr import simulate

study = simulate.particles(size=48, seed=0)
objects = study["objects"]["transmission"].sel(particle=["P1", "D1"])
vacuum = abs(objects).min("energy").rolling(y=5, x=5, center=True).min() > 0.99

stack = objects.xanes.reference_phase(vacuum=vacuum).xanes.from_transmission()
stack = stack.xanes.register(by="phase")
maps = stack["absorption"].xanes.fit_edge(
    edge=(5470, 5486), peaks=[(5463, 5470), (5483, 5496)]
)
maps["pre_edge"] = maps.normalised_peak_area.isel(peak=0, drop=True)
figure = maps.xanes.plot.maps(
    variables=["edge_energy", "pre_edge", "edge_jump"], mask=maps.flag == 0
)
