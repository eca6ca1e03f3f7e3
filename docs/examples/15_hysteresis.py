"""
The order parameter of a crystal
================================

Six voltage states are retrieved from their diffraction alone and aligned; one pattern
of the phase explains them, and how much of it each has shows a hysteresis.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/15_hysteresis.png"

from batteryxr import simulate
from batteryxr.cdi import Selection

crystal = simulate.bragg_states(shape=(32, 32, 32), size=900.0, missing_state=None)
volumes = crystal["states"]["intensity"].compute()

objects = volumes.cdi.retrieve(
    n_starts=2,
    select=Selection(n_best=1),
    schedule="100 HIO + 50 RAAR + 30 ER",
    progress=False,
)
aligned = objects.cdi.align_states()
differences = aligned.cdi.phase_differences(support=aligned.cdi.common_support())
figure = differences.cdi.order_parameter().cdi.plot.hysteresis()
