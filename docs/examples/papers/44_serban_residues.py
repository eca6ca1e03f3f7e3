"""
Where the order parameter comes from
====================================

Serban et al. (2024), Figure 5: each difference of phase without its part of the common
pattern: what moves in its own way, in the state of 4 V.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/44_serban_residues.png"

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

differences = aligned.cdi.phase_differences(support=support)
order = differences.cdi.order_parameter()
parts = differences.cdi.inverse_pca(order=order)
figure = parts["residual"].isel(state=3).cdi.plot.field()
