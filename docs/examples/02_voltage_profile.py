"""
Voltage against capacity
========================

Each half cycle begins at zero capacity. Half cycles are found from the sign of the
current, whatever the cycler counts.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/02_voltage_profile.png"

from batteryxr import simulate

experiment = simulate.cell_experiment(seed=2, n_scans=20)
record = experiment["echem"].to_dataset()

figure = record.echem.plot.voltage_profile(mass=float(record.attrs["mass"]))
