"""
Differential capacity
=====================

Plateaus are peaks of dQ/dV. The smoothing has a stated width in volts, and the area
under each curve is the capacity of its half cycle.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/03_differential_capacity.png"

from batteryxr import simulate

record = simulate.cell_experiment(seed=2, n_scans=20)["echem"].to_dataset()

dqdv = record.echem.dqdv(smoothing=0.020)
figure = dqdv.echem.plot.dqdv()
