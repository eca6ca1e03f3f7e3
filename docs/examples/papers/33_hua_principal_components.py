"""
What principal components say
=============================

Hua et al. (2021), Figure 6: principal components of the same series are orthogonal and
turn negative. Their variances suggest three, and miss the phases of low scattering.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/33_hua_principal_components.png"

from batteryxr import simulate

oxide = simulate.oxide_series("Fe2O3", n_scans=60, step=0.02, r_range=(1.0, 20.0))

principal = oxide["scans"]["pdf"].nmf.pca(5)
print("shares of variance", principal.explained_variance_ratio.values.round(4))
figure = principal.nmf.plot.components()
