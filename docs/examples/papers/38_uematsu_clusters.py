"""
Clusters before and after delithiation
======================================

Uematsu et al. (2023), Figure 3: pixels of all particles are clustered together by edge
energy and pre-edge peak. Bars are the share of each cluster in each particle, weighted
by vanadium.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/38_uematsu_clusters.png"

import xarray as xr

from batteryxr import simulate

study = simulate.particles(size=48, seed=0)
objects = study["objects"]["transmission"].sel(particle=["P1", "P2", "D1", "D2"])
vacuum = abs(objects).min("energy").rolling(y=5, x=5, center=True).min() > 0.99

stack = objects.xanes.reference_phase(vacuum=vacuum).xanes.from_transmission()
stack = stack.xanes.register(by="phase")
maps = stack["absorption"].xanes.fit_edge(
    edge=(5470, 5486), peaks=[(5463, 5470), (5483, 5496)]
)
features = xr.Dataset(
    {
        "edge_energy": maps.edge_energy,
        "peak_area": maps.normalised_peak_area.sel(peak=1, drop=True),
    }
)
clusters = features.xanes.cluster(n_clusters=6, mask=maps.flag == 0)
shares = clusters.xanes.cluster_shares(weights=maps.edge_jump)
figure = shares.xanes.plot.shares()
