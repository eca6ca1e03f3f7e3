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
    fit_peaks,
    lcf,
    pca,
    plot_cluster_orders,
    plot_cluster_spectra,
    plot_clusters,
    plot_combination,
    plot_components,
    plot_densities,
    plot_drift,
    plot_features,
    plot_fit,
    plot_maps,
    plot_series,
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
    found = cluster(features, n_clusters=3, mask=maps.flag == 0)
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
    shown = plot_fit(images.isel(pixel), result=maps.isel(pixel))
    draw(shown)
    with pytest.raises(DimensionError, match="one pixel"):
        plot_fit(images, result=maps)


def test_features_of_one_meaning_are_told_apart(study):
    _, maps, _, found = study
    pair = xr.Dataset({"a": maps.edge_jump, "b": maps.edge_jump**2})
    pair["b"].attrs = dict(pair["a"].attrs)
    points = plot_features(pair, clusters=found, features=("a", "b"))
    values = [np.concatenate([s.dimension_values(i) for s in points]) for i in (0, 1)]
    np.testing.assert_allclose(values[0] ** 2, values[1])
    with pytest.raises(ArgumentError, match="two features"):
        plot_features(pair, clusters=found)


def test_pixels_without_a_fit_say_why(study):
    images, maps, *_ = study
    pixel = {"particle": 0, "y": 0, "x": 0}
    upper, _ = plot_fit(images.isel(pixel), result=maps.isel(pixel))
    assert upper.opts.get("plot").kwargs["title"] == "Not fitted: below noise"


def test_bands_and_series(spectrum):
    shift = np.linspace(400, 800, 201)
    width, centre = 20.0, np.array([[467.0], [469.0], [474.0]])
    band = 1 / (1 + ((shift - centre) / width) ** 2) + 1e-3 * np.sin(7 * shift)
    bands = xr.DataArray(
        band + 0.5 / (1 + ((shift - 607) / width) ** 2),
        dims=("state", "shift"),
        coords={
            "shift": ("shift", shift, {"units": "1/cm", "long_name": "Raman shift"}),
            "voltage": ("state", [3.0, 3.8, 4.4], {"units": "V", "long_name": "U"}),
        },
        name="intensity",
        attrs={"units": "1", "long_name": "Intensity"},
    )
    fit = fit_peaks(bands, peaks=[(450, 490), (590, 620)])
    shown = plot_series(fit, x="voltage", variables=["peak_position", "peak_fwhm"])
    assert len(shown) == 2
    first = next(iter(shown.values()))
    assert first.get_dimension(0).label == "U (V)"
    curve = first.get(0)
    np.testing.assert_allclose(curve.dimension_values(0), [3.0, 3.8, 4.4])
    np.testing.assert_allclose(curve.dimension_values(1), fit.peak_position[0])
    draw(shown)
    upper, _ = draw_fit = plot_fit(bands[0], result=fit.isel(state=0))
    assert upper.opts.get("plot").kwargs["title"].startswith("Peaks at 46")
    draw(draw_fit)
    with pytest.raises(DimensionError, match="plot_maps"):
        plot_series(fit.expand_dims(y=2))


def test_components(study):
    images, *_ = study
    shown = plot_components(pca(images, n_components=2))
    assert len(shown) == 3
    draw(shown)
    line = images.isel(particle=0, y=12, x=slice(6, 18)).rename(x="scan")
    scores = plot_series(pca(line, n_components=2), variables=["scores"])
    labels = {curve.label for curve in next(iter(scores.values()))}
    assert labels == {"PC1", "PC2"}


def test_spectra_and_combination(study):
    images, maps, _, found = study
    spectra = cluster_spectra(images, labels=found)
    assert len(plot_spectra(spectra.absorption, edges=maps.isel(particle=0, y=12))) > 3
    draw(plot_spectra(spectra.absorption))
    standards = spectra.absorption.rename(cluster="standard").isel(standard=[0, 2])
    shares = lcf(images, standards=standards)
    draw(plot_combination(shares))
    series = lcf(spectra.absorption, standards=standards)
    assert len(plot_combination(series)) == 4  # two curves with their errors
    bars, errors = plot_combination(series.isel(cluster=1))
    np.testing.assert_allclose(bars.dimension_values(1), series.weight[:, 1])
    np.testing.assert_allclose(errors.dimension_values(2), series.weight_error[:, 1])
    draw(plot_combination(series))
    draw(plot_combination(series.isel(cluster=1)))
    with pytest.raises(DimensionError, match="further dimension"):
        plot_spectra(images)


def test_domains(study):
    images, _, features, found = study
    assert len(plot_clusters(found)) == 2
    shares = cluster_shares(found)
    bars = plot_shares(shares)
    assert len(bars) == 6
    orders = cluster_orders(features, n_clusters=4, n_references=2)
    assert len(plot_cluster_orders(orders)) == 3
    densities = plot_densities(cluster_density(features, clusters=found))
    assert len(densities) == 2
    names = ("edge_energy", "edge_jump")
    points = plot_features(features, clusters=found, features=names)
    both = points.get_dimension(0), points.get_dimension(1)
    assert [str(d.label) for d in both] == ["Edge energy (eV)", "Edge jump Δμt"]
    assert plot_features(features, clusters=found).kdims == points.kdims
    drawn = sum(len(s) for s in points)
    assert drawn == int((found.label > 0).sum())
    energies = np.concatenate([s.dimension_values(0) for s in points])
    assert energies.min() > 5000
    spectra = plot_cluster_spectra(cluster_spectra(images, labels=found))
    for shape in (plot_clusters(found), bars, densities, points, spectra):
        draw(shape)
    draw(plot_cluster_orders(orders))
    with pytest.raises(DimensionError, match="cluster_shares"):
        plot_shares(found.label)


@pytest.mark.parametrize("kind", ["values", "difference"])
def test_spectra_without_a_number_leave_the_others_in_place(kind):
    """As of scans that a factorisation has left out."""
    energy = ("energy", 8300.0 + np.arange(5), {"units": "eV"})
    rows = np.outer([np.nan, 1.0, 2.0], np.arange(5.0))
    data = xr.DataArray(
        rows, dims=("scan", "energy"), coords={"energy": energy}, name="absorption"
    )
    drawn = list(data.xanes.plot.spectra(offset=0.5, kind=kind))
    top = [curve.dimension_values(1)[-1] for curve in drawn]
    range_of = {"values": 8.0, "difference": 4.0}[kind]
    low = 4.0 if kind == "values" else 0.0
    assert np.isnan(top[0])
    np.testing.assert_allclose(top[1:], [low + 0.5 * range_of, low + 4.0 + range_of])
