"""
A crystal at 4 V
================

Serban et al. (2024), Figure 2: modulus and phase of one crystal in three planes, at the
end of the charge.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/41_serban_slices.png"

from batteryxr import simulate
from batteryxr.cdi import Selection

crystal = simulate.bragg_states(shape=(48, 48, 48), missing_state=None)
volumes = crystal["states"]["intensity"].compute()
states = volumes.cdi.retrieve(
    n_starts=2,
    select=Selection(n_best=1),
    schedule="100 HIO + 50 RAAR + 30 ER",
    progress=False,
)
aligned = states.cdi.align_states()
support = aligned.cdi.common_support()

charged = aligned["object"].isel(state=3).cdi.crop_to_support()
figure = charged.cdi.plot.slices()
