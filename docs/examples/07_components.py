"""
Components of a factorisation
=============================

The patterns of the phases, one above the other: fixed ones are dotted, what was found
is solid.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/07_components.png"

import numpy as np

from batteryxr import nmf, simulate
from batteryxr.echem import Clock

experiment = simulate.cell_experiment(kind="pdf", seed=3, n_cycles=1, n_scans=120)
record = experiment["echem"].to_dataset()
clock = Clock(offset_s=float(experiment["truth"]["clock_offset"]))
pdf = record.echem.join(experiment["scans"]["pdf"], clock=clock)

reduced = int(np.argmin(pdf.voltage.values))
phases = pdf.nmf.fit(
    3,
    fixed={"pristine": 0, "reduced": reduced},
    constraints=nmf.Constraints(shift=pdf.nmf.lower_envelope()),
    seed=0,
)
figure = phases.nmf.plot.components()
