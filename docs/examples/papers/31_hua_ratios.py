"""
Phases of an oxide anode, step by step
======================================

Hua et al. (2021), Figure 1: the discharge of Fe2O3 with three, four and five
components. Each step keeps what is known: first the ends, then bcc-FeO, which is the
last of the free components to appear. Points are the truth: within the range that
the warning tells, other ratios fit as well.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/31_hua_ratios.png"

import holoviews as hv

from batteryxr import nmf, simulate

oxide = simulate.oxide_series("Fe2O3", n_scans=40, step=0.04, r_range=(1.0, 20.0))
pdf, truth = oxide["scans"]["pdf"], oxide["truth"]

lifted = nmf.Constraints(shift=pdf.nmf.lower_envelope())
three = pdf.nmf.fit(3, constraints=lifted)
ends = {"pristine": 0, "last": pdf.sizes["scan"] - 1}
four = pdf.nmf.raise_n(three, fixed=ends)
free = four.weights.sel(component=["CP1", "CP2"])
late = str(((free * pdf.li_content).sum("scan") / free.sum("scan")).idxmax().item())
five = pdf.nmf.raise_n(four, keep={"bcc-FeO": late})

steps = {3: three, 4: four, 5: five}
voltage, _ = three.nmf.plot.weights(x="li_content")
panels = [step.nmf.plot.weights(x="li_content")[1] for step in steps.values()]
points = hv.Overlay(
    [
        hv.Scatter((pdf.li_content, ratio), label="truth").opts(color="black", size=3)
        for ratio in truth["ratios"].transpose("component", "scan").values
    ]
)
wide = hv.opts.Overlay(
    width=650, height=260, title="5 components", legend_position="right"
)
drawn = [
    panel.opts(title=f"{n} components") for n, panel in zip(steps, panels, strict=True)
]
figure = hv.Layout([voltage, *drawn[:2], (drawn[2] * points).opts(wide)]).cols(1)
