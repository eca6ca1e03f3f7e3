"""
What speaks for each number of components
=========================================

Several opinions side by side, and no decision: the held-out error stops falling, random
starts stop agreeing, the scree turns flat.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/08_number_of_components.png"

from batteryxr import nmf, simulate

experiment = simulate.cell_experiment(kind="pdf", seed=3, n_cycles=1, n_scans=60)
pdf = experiment["scans"]["pdf"]

order = pdf.nmf.model_order(
    n_components=(1, 2, 3, 4, 5),
    constraints=nmf.Constraints(shift=pdf.nmf.lower_envelope()),
    n_starts=3,
)
figure = order.nmf.plot.order()
