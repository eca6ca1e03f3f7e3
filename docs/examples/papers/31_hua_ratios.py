"""
Phases of an oxide anode
========================

After Hua et al. (2021): the first and the last scan of a discharge of Fe2O3 are held
fixed, and the third component is found. Points are the truth: the two rock salts, and
the two reduced phases, are added up.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/31_hua_ratios.png"

import holoviews as hv

from batteryxr import nmf, simulate

oxide = simulate.oxide_series("Fe2O3", n_scans=60, step=0.02, r_range=(1.0, 20.0))
pdf, truth = oxide["scans"]["pdf"], oxide["truth"]

lifted = nmf.Constraints(shift=pdf.nmf.lower_envelope())
ends = {"pristine": 0, "last": pdf.sizes["scan"] - 1}
three = pdf.nmf.fit(3, fixed=ends, constraints=lifted)
voltage, found = three.nmf.plot.weights(x="li_content")

# In this step iron takes in bcc-FeO, and the rock salts are one phase.
ratios = truth["ratios"]
salt = ratios.sel(component=["LiFeO2", "LiFe2O3"]).sum("component")
reduced = ratios.sel(component=["bcc-FeO", "α-Fe"]).sum("component")
points = [
    hv.Scatter((pdf.li_content, y), label="truth").opts(color="black", size=3)
    for y in (ratios.sel(component="α-Fe2O3"), salt, reduced)
]
wide = hv.opts.Overlay(width=650, height=300, legend_position="right")
figure = hv.Layout([voltage, (found * hv.Overlay(points)).opts(wide)]).cols(1)
