"""
A phase too many
================

Hua et al. (2021), Figure 3 (by its subject): Fe3O4 has four components, its ends
fixed. A fifth changes the error by little, and other ratios would fit as well: their
range grows. Points are the truth.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/50_hua_spinel.png"

import holoviews as hv

from batteryxr import nmf, simulate

oxide = simulate.oxide_series("Fe3O4", n_scans=40, step=0.04, r_range=(1.0, 20.0))
pdf, truth = oxide["scans"]["pdf"], oxide["truth"]

lifted = nmf.Constraints(shift=pdf.nmf.lower_envelope())
ends = {"pristine": 0, "last": pdf.sizes["scan"] - 1}
four = pdf.nmf.fit(4, fixed=ends, constraints=lifted)
five = pdf.nmf.raise_n(four)
for step in (four, five):
    print(f"relative error {float(step.relative_error):.4f}", end=", ")
    print(f"range of the ratios {float(step.range_width.mean()):.2f}")

voltage, found = four.nmf.plot.weights(x="li_content")
points = hv.Overlay(
    [
        hv.Scatter((pdf.li_content, ratio), label="truth").opts(color="black", size=3)
        for ratio in truth["ratios"].transpose("component", "scan").values
    ]
)
wide = hv.opts.Overlay(width=650, height=300, legend_position="right")
figure = hv.Layout([voltage, (found * points).opts(wide)]).cols(1)
