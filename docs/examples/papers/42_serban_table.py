"""
Mean phase difference and strain of each state
==============================================

Serban et al. (2024), Table 1 and Figure 3: one call gives the table: the mean
difference of phase to the first state, the mean displacement along Q, and the largest.
The displacement is the phase over Q; the paper lists twice that.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/42_serban_table.png"

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

geometry = volumes.cdi.geometry(beamline="theta")
table = aligned.cdi.phase_differences(support=support, gauge="core", geometry=geometry)
shown = ["mean", "displacement_mean", "displacement_largest", "mean_strain"]
print(table[shown].to_dataframe()[shown].to_string(float_format="%.2g"))
print("reaction in the truth", crystal["truth"]["progress"].values)
figure = table.isel(state=3)["phase_difference"].cdi.plot.field()
