"""Clusters: their code, their pictures, and pixels picked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import batteryxr  # noqa: F401
from batteryxr.core.errors import VariableError
from batteryxr.widgets import ClusterPanel
from batteryxr.widgets.models import clusters
from batteryxr.widgets.models.clusters import Beside, ClusterModel


@pytest.fixture(scope="module")
def maps():
    """Return maps of three domains side by side, and the spectra behind them."""
    rng = np.random.default_rng(3)
    domain = np.repeat([0, 1, 2], 10)[None, :] + np.zeros((20, 1), int)
    energy = np.linspace(5460, 5500, 30)
    edge = 5475.0 + 3 * domain + rng.normal(0, 0.1, domain.shape)
    area = 1.0 - 0.3 * domain + rng.normal(0, 0.02, domain.shape)
    mu = 0.5 + np.arctan((energy[:, None, None] - edge) / 2) / np.pi
    units = {"edge_energy": "eV", "area": "1", "edge_energy_error": "eV", "chi2": "1"}
    values = {"edge_energy": edge, "area": area}
    values |= {"edge_energy_error": 0 * edge, "chi2": 1 + 0 * edge}
    result = xr.Dataset(
        {
            n: (("y", "x"), v, {"units": units[n], "long_name": n})
            for n, v in values.items()
        }
    )
    stack = xr.DataArray(
        mu.astype("float32"),
        dims=("energy", "y", "x"),
        coords={"energy": ("energy", energy, {"units": "eV", "long_name": "Energy"})},
        attrs={"units": "1", "long_name": "Absorption"},
        name="absorption",
    )
    return result, stack, domain


def test_the_code_gives_the_clusters_that_are_there(maps):
    data, stack, domain = maps
    model = ClusterModel(data, Beside(spectra=stack), name="maps")
    assert model.maps == ["edge_energy", "area"]
    labels = model.result["label"].values
    np.testing.assert_array_equal(labels, domain + 1)
    assert (
        model.code
        == 'maps.xanes.cluster(n_clusters=3, features=["edge_energy", "area"])'
    )
    scope = {"maps": data, "stack": stack}
    xr.testing.assert_equal(eval(model.code, scope), model.result)
    outside = data["area"] > 0.5  # its own name is that of the map
    masked = ClusterModel(data, Beside(mask=outside), name="maps")
    scope["mask"] = outside
    assert "mask=mask" in masked.code
    xr.testing.assert_equal(eval(masked.code, scope), masked.result)
    model.choose(n_clusters=2, features=["area"], method="gaussian_mixture")
    xr.testing.assert_equal(eval(model.code, scope), model.result)
    assert eval(model.reopen, scope).choice == model.choice


def test_weights_change_the_shares(maps):
    data, stack, domain = maps
    weights = xr.DataArray(
        np.where(domain == 0, 4.0, 1.0), dims=("y", "x"), attrs={"units": "1"}
    )
    model = ClusterModel(data, Beside(stack, weights))
    _ = model.result
    np.testing.assert_allclose(model.answer.shares.squeeze(), 1 / 3)
    np.testing.assert_allclose(
        model.answer.weighted.squeeze(), [4 / 6, 1 / 6, 1 / 6], rtol=1e-6
    )
    assert model.answer.spectra.sizes["cluster"] == 3
    assert model.wait_for_judging() is None
    model.judge()
    assert model.wait_for_judging()["n_clusters"].values[0] == 1
    model.features = model.maps[:1]  # indicators of another choice would mislead
    assert model.order is None


def test_a_preview_comes_first_for_many_pixels(maps, monkeypatch):
    data, *_ = maps
    monkeypatch.setattr(clusters, "QUICK", 10)
    monkeypatch.setattr(clusters, "_PREVIEW", 100)
    model = ClusterModel(data)
    seen = []
    model.observe(lambda change: seen.append(change["new"]), "status")
    model.n_clusters = 2
    assert model.result.attrs["n_fitted"] == 600
    assert seen[-2:] == ["preview", "ready"]


def test_nothing_chosen_and_nothing_there(maps):
    data, stack, _ = maps
    model = ClusterModel(data)
    model.features = []
    assert "choose at least one feature" in model.note
    assert model.status == "empty"
    model.judge()
    assert model.judging == ""
    with pytest.raises(VariableError, match="Fit the stack first"):
        ClusterModel(stack)
    with pytest.raises(VariableError, match="needs maps on"):
        ClusterModel(data[["chi2"]])


def test_a_lasso_and_a_pixel(maps):
    data, stack, _ = maps
    panel = data.xanes.panel(spectra=stack, n_clusters=3)
    _ = panel.result
    tell = panel.figure._handle_custom_msg
    tell({"kind": "lasso", "ids": [0, 31]}, [])
    assert int(panel.selected.sum()) == 2
    assert bool(panel.selected[1, 1])
    tell({"kind": "look", "plot": "labels", "at": [2, 3]}, [])
    panel._looking.wait()
    (plot,) = panel.pixel.figure["plots"]
    assert plot["title"] == "Pixel y 2, x 3"
    shown = {p["id"] for p in panel.figure.figure["plots"]}
    assert {"labels", "space", "spectra", "shares", "area_density"} <= shown
    assert panel.order is not None
    assert "order silhouette" in {p["id"] for p in panel.figure.figure["plots"]}


def test_particles_have_maps_of_their_own(maps):
    data, stack, _ = maps
    both = xr.concat([data, data], xr.Variable("particle", ["a", "b"]))
    panel = both.xanes.panel(spectra=stack.expand_dims(particle=["a", "b"]))
    _ = panel.result
    plots = {p["id"]: p for p in panel.figure.figure["plots"]}
    assert plots["labels 1"]["title"] == "Clusters: b"
    tell = panel.figure._handle_custom_msg
    tell({"kind": "look", "plot": "labels 1", "at": [2, 3]}, [])
    panel._looking.wait()
    assert "particle 1" in panel.pixel.figure["plots"][0]["title"]


def test_the_fit_of_a_pixel_is_shown_with_its_residual(maps):
    _, stack, _ = maps
    fit = stack.isel(y=slice(0, 4)).xanes.fit_edge(edge=(5465, 5490))
    model = ClusterModel(fit, Beside(stack))
    found = model.behind({"y": 2, "x": 15})
    assert set(found) == {"measured", "fit", "residual"}
    assert found["fit"].sizes == found["measured"].sizes
    inside = (found["measured"]["energy"] > 5466) & (found["measured"]["energy"] < 5489)
    assert float(abs(found["residual"]).where(inside).max()) < 0.1


def test_the_foot_tells_of_work_beside_the_result(maps):
    data, *_ = maps
    panel = ClusterPanel(data)
    assert panel.foot.beside
    assert panel.order is not None
    assert panel.foot.beside == ""
