"""
Maps of a particle
==================

An edge model is fitted at every pixel of an energy stack; each map has its error beside
it. Where the fit is not good, or the signal drowns in noise, there is no number.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/11_chemical_maps.png"

from batteryxr import simulate

study = simulate.particles(size=48, seed=0)
objects = study["objects"]["transmission"].sel(particle=["D1"])
vacuum = abs(objects).min("energy").rolling(y=5, x=5, center=True).min() > 0.99

stack = objects.xanes.reference_phase(vacuum=vacuum).xanes.from_transmission()
stack = stack.xanes.register(by="phase")
maps = stack["absorption"].xanes.fit_edge(
    edge=(5470, 5486), peaks=[(5463, 5470), (5483, 5496)]
)
shown = ["edge_energy", "edge_energy_error"]
figure = maps.xanes.plot.maps(variables=shown, mask=maps.flag == 0).cols(2)
