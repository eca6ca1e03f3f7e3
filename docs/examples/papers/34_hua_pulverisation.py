"""
An oxide that breaks up
=======================

Hua et al. (2021), Figure 4: MnO gains a component whose peaks fade at large distances.
It is no new phase but smaller pieces of the same structure: in the simulation, 25 Å.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/34_hua_pulverisation.png"

from batteryxr import nmf, simulate

oxide = simulate.oxide_series("MnO", n_scans=60, step=0.02, r_range=(1.0, 30.0))
pdf, truth = oxide["scans"]["pdf"], oxide["truth"]
print(truth["diameter"].to_series().to_string())

lifted = nmf.Constraints(shift=pdf.nmf.lower_envelope())
ends = {"pristine": 0, "last": pdf.sizes["scan"] - 1}
fit = pdf.nmf.fit(3, fixed=ends, constraints=lifted)
figure = fit.nmf.plot.components(offset=6.0)
