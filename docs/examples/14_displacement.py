"""
Displacement inside a crystal
=============================

Three planes through the displacement field of one voltage state, from the truth of a
simulated rocking curve: what phase retrieval is compared with.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/14_displacement.png"

from batteryxr import simulate

crystal = simulate.bragg_states(missing_state=None)

figure = crystal["truth"]["displacement"].isel(state=3).compute().cdi.plot.field()
