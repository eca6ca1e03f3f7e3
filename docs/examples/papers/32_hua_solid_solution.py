"""
A solid solution, rebuilt
=========================

Hua et al. (2021), Figure 2: lithium iron oxide changes its composition along the
discharge. The series is rebuilt without the pristine oxide and the metal, where peaks
shift and fade; and all scans are fitted at once by crystals, so that lattice and
composition of each solid solution follow the lithium content. Points are the truth.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/32_hua_solid_solution.png"

import holoviews as hv
import numpy as np

from batteryxr import nmf, simulate
from batteryxr.simulate import structures

oxide = simulate.oxide_series(
    "Fe2O3, solid solutions", n_scans=24, step=0.05, r_range=(1.5, 12.0)
)
pdf, truth = oxide["scans"]["pdf"], oxide["truth"].to_dataset()

# Without crystals: components that change into one another are one phase.
lifted = nmf.Constraints(shift=pdf.nmf.lower_envelope())
ends = {"pristine": 0, "last": pdf.sizes["scan"] - 1}
fit = pdf.nmf.fit(4, fixed=ends, constraints=lifted)
free = [name for name in fit.component.values if name not in ends]
reacted = nmf.reconstruct(fit, component=free)
rebuilt = reacted.isel(scan=slice(3, 14, 2)).xanes.plot.spectra(
    dim="r", by="li_content", offset=0.6
)

# With crystals, as a table has them: one composition, one lattice.
found = pdf.nmf.fit_structures(
    candidates={
        "α-Fe2O3": structures.hematite(),
        "Li2-xFexO2": structures.rock_salt("salt", 4.16, {"Li": 0.42, "Fe": 0.58}),
        "bcc-FeOx": structures.tetragonal_iron_oxide(),
        "α-Fe": structures.body_centred("iron", "Fe", 2.866),
    },
    occupancy={"Li2-xFexO2": "Fe", "bcc-FeOx": "O"},
    degree=3,
)
found["x"] = found.occupancy * np.array([1, 2, 1, 1])  # two cations share Li2-xFexO2
found["x_error"] = found.occupancy_error * np.array([1, 2, 1, 1])


def beside(values, errors, true, there, label):
    """Draw what was found, its error, and the truth, where there is enough of it."""
    x = pdf.li_content.values[there]
    bars = hv.ErrorBars(
        (x, values[there], errors[there]), "Li per metal", [label, "error"]
    )
    line = hv.Curve((x, values[there]), "Li per metal", label, label="found")
    points = hv.Scatter((x, true[there]), "Li per metal", label, label="truth")
    return (line * bars * points.opts(color="black", size=4)).opts(
        width=620, height=220, legend_position="right", show_grid=True
    )


panels = []
for name in ("Li2-xFexO2", "bcc-FeOx"):
    one, true = found.sel(component=name), truth.sel(component=name)
    there = true.ratios.values > 0.05
    panels += [
        beside(
            one[key].values, one[f"{key}_error"].values, right, there, f"{text}, {name}"
        )
        for key, right, text in (
            ("weights", true.ratios.values, "Ratio"),
            ("x", true.composition.values, "x"),
            ("lattice", true.cell_length.sel(axis="a").values, "a (Å)"),
        )
    ]
    off = np.abs(one["x"] - true.composition.values)[there]
    print(f"{name}: ratio off by {np.abs(one.weights - true.ratios.values).mean():.4f}")
    print(f"{name}: x off by {float(off.mean()):.4f}")
figure = hv.Layout([rebuilt, *panels]).cols(1)
