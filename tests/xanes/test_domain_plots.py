"""Every plot is drawn from real results, and shows what it should."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import ArgumentError, DimensionError, VariableError
from batteryxr.xanes import (
    cluster,
    cluster_density,
    cluster_orders,
    cluster_shares,
    cluster_spectra,
    fit_edge,
    lcf,
    plot_cluster_orders,
    plot_cluster_spectra,
    plot_clusters,
    plot_combination,
    plot_densities,
    plot_drift,
    plot_features,
    plot_fit,
    plot_maps,
    plot_shares,
    plot_spectra,
    plot_stack,
    register,
)


def draw(shape):
    import holoviews as hv

    return hv.render(shape, backend="bokeh")


@pytest.fixture(scope="module")
def study(phantom, model):
    stack, _ = phantom(n=24)
    images = xr.concat([stack, stack], "particle").assign_coords(particle=["A", "B"])
    maps = fit_edge(images, **model)
    features = maps[["edge_energy", "edge_jump"]]
    found = cluster(features, k=3, mask=maps.flag == 0)
    return images, maps, features, found


def test_maps_stacks_and_drift(study):
    images, maps, *_ = study
    layout = plot_maps(maps, mask=maps.flag == 0)
    # Edge energy, jump and two peak areas of two particles.
    assert len(layout) == 8
    draw(layout)
    draw(plot_maps(maps.isel(particle=0), variables=["edge_width"]))
    draw(plot_stack(images)["A", images.energy.values[0]])
    moved = register(images)
    shown = plot_drift(moved)
    assert len(shown) == 4
    draw(shown)
    with pytest.raises(DimensionError, match="Select the rest"):
        plot_maps(images.to_dataset(), variables=["absorption"])
    with pytest.raises(VariableError, match="shift_y"):
        plot_drift(images)


def test_fit_of_one_pixel(study):
    images, maps, *_ = study
    pixel = {"particle": 0, "y": 12, "x": 12}
    shown = plot_fit(images.isel(pixel), fit=maps.isel(pixel))
    draw(shown)
    with pytest.raises(DimensionError, match="one pixel"):
        plot_fit(images, fit=maps)


def test_spectra_and_combination(study):
    images, maps, _, found = study
    spectra = cluster_spectra(images, labels=found)
    assert len(plot_spectra(spectra.absorption, edges=maps.isel(particle=0, y=12))) > 3
    draw(plot_spectra(spectra.absorption))
    standards = spectra.absorption.rename(cluster="standard").isel(standard=[0, 2])
    shares = lcf(images, standards=standards)
    draw(plot_combination(shares))
    assert len(plot_combination(lcf(spectra.absorption, standards=standards))) == 2
    with pytest.raises(DimensionError, match="further dimension"):
        plot_spectra(images)


def test_domains(study):
    images, _, features, found = study
    assert len(plot_clusters(found)) == 2
    shares = cluster_shares(found)
    bars = plot_shares(shares)
    assert len(bars) == 6
    orders = cluster_orders(features, k_max=4, n_references=2)
    assert len(plot_cluster_orders(orders)) == 3
    densities = plot_densities(cluster_density(features, clusters=found))
    assert len(densities) == 2
    points = plot_features(features, clusters=found, x="edge_energy", y="edge_jump")
    drawn = sum(len(s) for s in points)
    assert drawn == int((found.label > 0).sum())
    energies = np.concatenate([s.dimension_values(0) for s in points])
    assert energies.min() > 5000
    spectra = plot_cluster_spectra(cluster_spectra(images, labels=found))
    for shape in (plot_clusters(found), bars, densities, points, spectra):
        draw(shape)
    draw(plot_cluster_orders(orders))
    with pytest.raises(ArgumentError, match="cluster_shares"):
        plot_shares(found.label)
