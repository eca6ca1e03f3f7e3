"""
Order parameter against voltage
===============================

Serban et al. (2024), Figure 4: the differences of phase share one pattern; its amount
in each state, against the voltage, shows the hysteresis. The reaction in the truth is
printed.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/43_serban_hysteresis.png"

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
omega = order.order_parameter.sel(component=1)
print("found", (omega / omega.max()).values.round(2))
print("truth", crystal["truth"]["progress"].values)
figure = order.cdi.plot.hysteresis()
