"""
A solid solution, rebuilt
=========================

Hua et al. (2021), Figure 2: two components that change into one another are one phase
of changing composition. The series is rebuilt from the reacted ones, without the
pristine oxide, and peaks shift and fade along the discharge.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/32_hua_solid_solution.png"

from batteryxr import nmf, simulate

oxide = simulate.oxide_series("Fe2O3", n_scans=60, step=0.02, r_range=(1.0, 20.0))
pdf = oxide["scans"]["pdf"]

lifted = nmf.Constraints(shift=pdf.nmf.lower_envelope())
ends = {"pristine": 0, "last": pdf.sizes["scan"] - 1}
fit = pdf.nmf.fit(4, fixed=ends, constraints=lifted)

free = [name for name in fit.component.values if name not in ends]
reacted = nmf.reconstruct(fit, component=free)
figure = reacted.isel(scan=slice(8, 48, 8)).xanes.plot.spectra(
    dim="r", by="li_content", offset=0.6
)
