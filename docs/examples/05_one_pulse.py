"""
One pulse, and what the fit leaves
==================================

The ohmic drop, diffusion under current, and the rest that tends to equilibrium, all
by one curve; the residual stands below.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/05_one_pulse.png"

from batteryxr import simulate

record, truth = simulate.gitt(protocol=simulate.Titration(n_pulses=8), seed=3)

result = record.echem.gitt()
figure = record.echem.pulse_fit(result=result, pulse=5).echem.plot.pulse()
