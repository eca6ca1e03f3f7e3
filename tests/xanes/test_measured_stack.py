"""A measured STXM stack at the Fe L edge, from counts to components and domains."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.xanes import cluster, cluster_spectra, lcf, optical_density, pca


def spectrum(energy, values, name="optical_density"):
    attrs = {"units": "1", "long_name": "Optical density"}
    axis = ("energy", energy, {"units": "eV", "long_name": "Photon energy"})
    return xr.DataArray(
        values, dims="energy", coords={"energy": axis}, name=name, attrs=attrs
    )


@pytest.fixture(scope="module")
def stack(measured):
    path = measured("stxm-fe-l/als_71214078.npz")
    with np.load(path) as held:
        data = {name: held[name] for name in held.files}
    energy = data["energy_eV"]
    counts = xr.DataArray(
        data["aligned"],
        dims=("energy", "y", "x"),
        coords={
            "energy": spectrum(energy, energy).energy,
            "y": ("y", 1000 * data["y_um"], {"units": "nm", "long_name": "y"}),
            "x": ("x", 1000 * data["x_um"], {"units": "nm", "long_name": "x"}),
        },
        name="intensity",
        attrs={"units": "1", "long_name": "Counts"},
    )
    return data, counts, spectrum(data["i0"][:, 0], data["i0"][:, 1], "i0")


def rise(density):
    """Return the height of the white line over what lies before the edge."""
    top = density.sel(energy=slice(709, 710.5)).mean("energy")
    return top - density.sel(energy=slice(None, 705)).mean("energy")


def test_optical_density(stack):
    _, counts, i0 = stack
    density = optical_density(counts.chunk(y=40, x=40), i0=i0)
    assert float(density.min()) == pytest.approx(0.756, abs=0.001)
    assert float(density.max()) == pytest.approx(3.601, abs=0.001)
    top = density.mean(["y", "x"]).idxmax("energy")
    assert float(top) == pytest.approx(709.868, abs=1e-3)


def test_combination_of_the_depositors_spectra(stack):
    data, counts, i0 = stack
    standards = {
        name: spectrum(data[f"{name}_t"][:, 0], data[f"{name}_t"][:, 1])
        for name in ("oxidized", "reduced")
    }
    for name, top in (("oxidized", 709.666), ("reduced", 708.252)):
        found = standards[name].idxmax("energy")
        assert float(found) == pytest.approx(top, abs=1e-3)
    density = optical_density(counts, i0=i0)
    shares = lcf(density, standards=standards, baseline=1)
    weight = shares.weight
    good = rise(density) > 0.1
    assert 4400 < int(good.sum()) < 4700
    fraction = (weight.sel(standard="oxidized") / shares.weight_sum).where(good)
    assert float(fraction.mean()) == pytest.approx(0.72, abs=0.015)
    median = float(shares.r_factor_free.where(good).median())
    assert median == pytest.approx(3.8e-4, rel=0.1)


def test_components_and_domains(stack):
    data, counts, i0 = stack
    density = optical_density(counts, i0=i0)
    pre = density.sel(energy=slice(700, 704)).mean("energy")
    mask = rise(density) > 0.1
    corrected = density - pre
    corrected = corrected.where(mask).assign_attrs(density.attrs)
    corrected = corrected.rename("optical_density")
    share = pca(corrected, n_components=4).explained_variance_ratio
    assert float(share[0]) > 0.7
    assert float(share[:4].sum()) > 0.9
    features = xr.Dataset(
        {
            "oxidized": corrected.sel(energy=709.666, method="nearest", drop=True),
            "reduced": corrected.sel(energy=708.252, method="nearest", drop=True),
            "jump": rise(density).where(mask),
        }
    )
    features["ratio"] = features.reduced / features.oxidized
    found = cluster(
        features, n_clusters=3, features=["ratio", "jump"], order_by="ratio"
    )
    spectra = cluster_spectra(corrected, labels=found)
    white = spectra.optical_density.idxmax("energy")
    # The cluster poorest in the reduced line peaks where oxidized iron does.
    assert float(white[0]) == pytest.approx(709.666, abs=0.45)
    assert data["aligned"].shape == (123, 125, 125)
