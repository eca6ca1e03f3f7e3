"""
Normalised spectra
==================

Spectra of one charge, each with the edge energy that was found in it.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/10_normalised_spectra.png"

from batteryxr import simulate

experiment = simulate.cell_experiment(seed=7, n_scans=60, n_cycles=1)
spectra = experiment["scans"]["absorption"].isel(scan=slice(0, 30, 6))

normal = spectra.xanes.normalise(e0=8345, pre=(-30, -16), post=(20, 55), degree=1)
figure = normal.xanes.plot.spectra(edges=normal.xanes.edge_energy())
