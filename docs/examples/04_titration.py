"""
Time constants of a titration
=============================

Each pulse and its rest are fitted together by diffusion in a particle; the bars are
one standard deviation. The truth is 1/τ = 2.5e-5 1/s everywhere.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/04_titration.png"

from batteryxr import simulate

record, truth = simulate.gitt(protocol=simulate.Titration(n_pulses=20), seed=3)

result = record.echem.gitt()
figure = result.echem.plot.time_constants()
