"""
Drift of a stack
================

Every frame of an energy stack is compared with the last one, and moved back by a
fraction of a pixel. This is how far the frames had drifted.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/13_drift.png"

from batteryxr import simulate

study = simulate.particles(size=48, seed=0)
objects = study["objects"]["transmission"].sel(particle="D1")

stack = objects.xanes.from_transmission().xanes.register(by="phase")
figure = stack["absorption"].xanes.plot.drift()
