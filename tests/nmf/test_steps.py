"""The stepwise protocol, model order and principal components."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr import nmf
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    DimensionError,
)
from batteryxr.core.plotting import colours_of


@pytest.fixture(scope="module")
def steps(series):
    coarse = series.data.nmf.fit(2, constraints=nmf.Constraints(shift="minimum"))
    fine = series.data.nmf.raise_n(coarse, fixed={"start": 0, "end": -1})
    return coarse, fine


def test_raise_n_keeps_shift_and_what_is_known(series, steps):
    coarse, fine = steps
    assert fine.sizes["component"] == 3
    np.testing.assert_array_equal(fine["shift_curve"], coarse["shift_curve"])
    third = series.data.nmf.raise_n(fine, by=0, keep={"middle": "CP1"})
    assert set(third["component"].values) == {"start", "middle", "end"}
    assert third["fixed"].all()
    kept = third["components"].sel(component="middle").values
    assert kept.tobytes() == fine["components"].sel(component="CP1").values.tobytes()
    before, now = (
        dict(zip(f["component"].values, colours_of(f), strict=True))
        for f in (fine, third)
    )
    assert now["middle"] == before["CP1"]
    assert (now["start"], now["end"]) == (before["start"], before["end"])
    again = batteryxr.replay(fine, series.data, result=coarse)
    xr.testing.assert_equal(again, fine)


def test_raise_n_without_closure_keeps_shifted_patterns(series):
    coarse = series.data.nmf.fit(
        2, closure=False, constraints=nmf.Constraints(shift="minimum")
    )
    fine = series.data.nmf.raise_n(coarse, keep=["CP1"])
    assert fine.attrs["closure"] == 0
    np.testing.assert_allclose(
        fine["components"].sel(component="CP1"),
        coarse["components"].sel(component="CP1"),
        atol=1e-12,
    )


def test_raise_n_refuses_what_is_not_there(series, steps):
    with pytest.raises(ArgumentError, match="keep"):
        series.data.nmf.raise_n(steps[0], keep=["CP9"])


def split(result: xr.Dataset, name: str) -> xr.Dataset:
    """Divide one component in two that have its weight in turns."""
    weights = result["weights"]
    along = np.linspace(0, 1, weights.sizes["scan"])[:, None]
    i = list(result["component"].values).index(name)
    w = weights.values
    finer = np.hstack([np.delete(w, i, 1), w[:, [i]] * along, w[:, [i]] * (1 - along)])
    c = result["components"].values
    patterns = np.vstack([np.delete(c, i, 0), c[[i]], c[[i]] + 0.01])
    names = [*np.delete(result["component"].values, i), "x", "y"]
    return xr.Dataset(
        {
            "weights": (("scan", "component"), finer),
            "components": (("component", "r"), patterns),
        },
        coords={"component": names},
    )


def test_compare_steps_finds_what_adds_up(series):
    result = series.data.nmf.fit(3, constraints=nmf.Constraints(shift="envelope"))
    finer = split(result, "CP2")
    compared = result.nmf.compare_steps(finer)
    assert list(compared["part_of"].values) == [0, 2, 1, 1]
    assert compared["difference"].max() < 1e-12
    np.testing.assert_allclose(
        compared["summed_weights"], result["weights"], atol=1e-12
    )
    assert float(compared["likeness"].sel(finer="y", component="CP2")) > 0.999


def test_compare_steps_wants_the_same_samples(series, steps):
    short = series.data.isel(scan=slice(0, 30)).nmf.fit(
        3, constraints=nmf.Constraints(shift="minimum")
    )
    with pytest.raises(DataError, match="samples"):
        nmf.compare_steps(steps[0], short)


def test_reconstruction_of_all_is_the_model(series, steps):
    _, fine = steps
    whole = fine.nmf.reconstruct()
    model = fine["weights"].dot(fine["components"])
    np.testing.assert_allclose(whole, model, atol=1e-12)
    np.testing.assert_allclose(
        np.sqrt(((whole - series.data) ** 2).mean("r")), fine["residual"], atol=1e-12
    )


def test_reconstruction_of_some_is_their_mixture(steps):
    _, fine = steps
    part = fine.nmf.reconstruct(component=["start", "CP1"])
    w = fine["weights"].sel(component=["start", "CP1"])
    total = w.sum("component")
    expected = w.dot(fine["components"].sel(component=["start", "CP1"])) / total
    assert np.isnan(part.where(total < 0.05)).all()
    inside = total.values >= 0.05
    np.testing.assert_allclose(part.values[inside], expected.values[inside])
    np.testing.assert_allclose(part["summed_ratio"], total)
    alone = fine.nmf.reconstruct(component=["start"])
    first = fine["components"].sel(component="start").values
    np.testing.assert_allclose(alone.values[0], first)


def test_reconstruction_says_what_is_wrong(series, steps):
    with pytest.raises(ArgumentError, match="component="):
        nmf.reconstruct(steps[0], component=["Fe"])
    free = series.data.nmf.fit(
        2, closure=False, constraints=nmf.Constraints(shift="minimum")
    )
    with pytest.raises(ArgumentError, match="amounts"):
        free.nmf.reconstruct(component=["CP1"])
    whole = free.nmf.reconstruct()
    assert float(np.abs(whole - series.data).mean()) < float(np.abs(series.data).mean())


@pytest.mark.parametrize("n", [2, 5])
def test_held_out_error_picks_the_known_number(new_series, n):
    data = new_series(n=n, seed=n, noise=0.05).data
    order = data.nmf.model_order(
        n_components=range(1, 7),
        n_starts=6,
        constraints=nmf.Constraints(shift="minimum"),
    )
    assert list(order["n_components"].values[order["held_out_pick"]]) == [n]
    near = order["held_out_excess"] <= order["held_out_excess_error"]
    assert not near[: n - 1].any()
    assert near[n - 1]
    assert float(order["held_out_excess"].min()) == 0
    assert order["error_ratio"].min() > 1 - 1e-6
    assert (np.diff(order["nmf_error"]) <= 1e-6).all()
    singular = np.linalg.svd(data - data.min(), compute_uv=False)
    variance = order["explained_variance"]
    np.testing.assert_allclose(variance * 60, singular[:6] ** 2, rtol=1e-8)
    assert (order["cophenetic"] <= 1 + 1e-9).all()
    assert order.attrs["saturated"] == 1


def test_held_out_error_finds_two_to_six(new_series):
    """Also where the purest patterns are among those left out."""
    picked = []
    for n in range(2, 7):
        data = new_series(n=n, seed=10 + n, noise=0.02).data
        near = [n - 1, n, n + 1]
        order = data.nmf.model_order(
            n_components=near, n_starts=2, constraints=nmf.Constraints(shift="minimum")
        )
        picked += list(order["n_components"].values[order["held_out_pick"]])
    assert picked == [2, 3, 4, 5, 6]


def test_model_order_knows_chi2(series):
    order = series.data.nmf.model_order(
        n_components=[2, 3, 4],
        errors=series.noise,
        n_starts=3,
        folds=4,
        constraints=nmf.Constraints(shift="minimum"),
    )
    chi2 = order["chi2"].values
    assert chi2[0] > 2
    assert chi2[1:] == pytest.approx([1, 1], abs=0.08)


def test_drifting_peaks_raise_the_alarm(new_series):
    known = new_series(n=1, scans=30)
    r = known.data["r"].values
    drift = 1 + 0.02 * np.linspace(0, 1, 30)
    pattern = known.components[0] + 2.0
    data = known.data.copy(data=[np.interp(r / a, r, pattern) for a in drift])
    with pytest.warns(DataQualityWarning, match="peaks shift"):
        order = data.nmf.model_order(n_components=[1, 2, 3], n_starts=2, folds=4)
    assert order.attrs["saturated"] == 0


def test_model_order_refuses_nonsense(series):
    with pytest.raises(ArgumentError, match="n_components"):
        series.data.nmf.model_order(n_components=[])
    with pytest.raises(ArgumentError, match="half"):
        series.data.nmf.model_order(
            n_components=[31], constraints=nmf.Constraints(shift="minimum")
        )


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("chunks", [None, {"scan": 20, "r": 150}, {"r": 50}])
def test_pca_equals_the_svd_and_stays_lazy(series, centre, chunks, no_compute):
    data = series.data
    if chunks:
        with no_compute():
            result = data.chunk(chunks).nmf.pca(4, centre=centre)
        assert all(v.chunks is not None for v in result.data_vars.values())
    else:
        result = data.nmf.pca(4, centre=centre)
    x = data.values - data.values.mean(axis=0) * centre
    u, s, v = np.linalg.svd(x, full_matrices=False)
    np.testing.assert_allclose(
        result["explained_variance"] * (60 - centre), s[:4] ** 2, rtol=1e-10
    )
    np.testing.assert_allclose(
        result["explained_variance_ratio"], s[:4] ** 2 / (s**2).sum(), rtol=1e-10
    )
    for k in range(3):
        cosine = abs(v[k] @ result["components"].values[k])
        assert cosine == pytest.approx(1, abs=1e-9)
    assert (result["components"].min("r") < 0).any()
    model = result["scores"].dot(result["components"]) + result["mean"]
    rank4 = (u[:, :4] * s[:4]) @ v[:4] + data.values.mean(axis=0) * centre
    np.testing.assert_allclose(model, rank4, atol=1e-9)


def test_pca_of_a_stack(stack):
    result = stack.data.chunk(energy=6, y=16).nmf.pca(3)
    assert result["scores"].dims == ("component", "y", "x")
    x = stack.data.values.reshape(24, -1).astype(float)
    singular = np.linalg.svd(x, compute_uv=False)[:3]
    variance = result["explained_variance"]
    np.testing.assert_allclose(variance * x.shape[1], singular**2, rtol=1e-9)


@pytest.mark.parametrize("centre", [False, True])
def test_purify_is_right_where_scans_are_pure(new_series, centre):
    known = new_series(n=3, noise=0.0)
    n = 2 if centre else 3
    result = known.data.nmf.pca(n, centre=centre)
    phases = result.nmf.purify(fixed={"a": 0, "b": 30, "c": -1})
    exact = known.weights.T @ np.linalg.inv(known.weights[:, [0, 30, -1]].T)
    np.testing.assert_allclose(phases["weights"], exact, atol=1e-8)
    np.testing.assert_allclose(phases["components"][0], known.data.values[0], atol=1e-8)


def test_gaps_are_left_out_of_components_and_the_indicator_finds_their_number():
    rng = np.random.default_rng(0)
    pure, ratios = rng.random((3, 50)), rng.random((200, 3))
    data = xr.DataArray(
        ratios @ pure + 1e-3 * rng.normal(size=(200, 50)), dims=("scan", "r")
    )
    data[7, 3] = np.nan
    result = data.nmf.pca(5)
    assert int(result["n_patterns"]) == 199
    assert list(np.flatnonzero(np.isnan(result["scores"][:, 0]))) == [7]
    assert int(np.nanargmin(result["indicator"])) + 1 == 3
    lazy = data.chunk(scan=30).nmf.pca(5)
    xr.testing.assert_allclose(lazy.compute().drop_attrs(), result.drop_attrs())
    whole = data.isel(scan=np.arange(200) != 7).values
    singular = np.linalg.svd(whole, compute_uv=False)
    np.testing.assert_allclose(result["eigenvalue"] * 199, singular**2, rtol=1e-6)


def test_purify_refuses(series):
    result = series.data.nmf.pca(2)
    with pytest.raises(ArgumentError, match="1 to 2"):
        result.nmf.purify(fixed={"a": 0, "b": 1, "c": 2})
    with pytest.raises(ArgumentError, match="-60 to 59"):
        result.nmf.purify(fixed={"a": 99})


def test_plots_draw_free_and_fixed_apart(series, steps):
    _, fine = steps
    curves = list(fine.nmf.plot.components())
    dashes = [c.opts.get("style").kwargs["line_dash"] for c in curves]
    assert dashes == ["dotted", "solid", "dotted"]
    layout = fine.nmf.plot.weights(sums={"both": ["start", "CP1"]}, theoretical=2.0)
    assert len(layout) == 2
    with pytest.raises(ArgumentError, match="sums"):
        fine.nmf.plot.weights(sums={"both": ["nobody"]})
    assert "Li" in next(iter(fine.nmf.plot.residual())).kdims[0].label
    with pytest.raises(DimensionError, match=r"plot\.weights"):
        fine.nmf.plot.maps()


def test_plots_of_images_and_orders(series, stack):
    maps = stack.data.nmf.fit(3, closure=False, n_starts=1)
    assert len(maps.nmf.plot.maps()) == 3
    assert maps.nmf.plot.residual() is not None
    order = series.data.nmf.model_order(
        n_components=[2, 3, 4],
        n_starts=2,
        folds=3,
        constraints=nmf.Constraints(shift=-8.0),
    )
    assert len(order.nmf.plot.order()) == 7


def test_all_components_that_there_are_come_unasked(series):
    few = series.data[:5]
    assert few.nmf.pca(centre=True).sizes["component"] == 4
    gaps = series.data.copy()
    gaps[4:] = np.nan
    assert gaps.nmf.pca().sizes["component"] == 4


@pytest.mark.parametrize("size", [1e-8, 1e6])
def test_a_fixed_pattern_of_any_size_takes_its_part(series, size):
    """Without closure its weight has the rest: a pure pattern that was normalised."""
    data = abs(series.data).assign_attrs(series.data.attrs)
    pattern = data[0].drop_vars("scan", errors="ignore")
    fits = [
        data.nmf.fit(3, fixed={"a": k * pattern}, closure=False, n_starts=1)
        for k in (1.0, size)
    ]
    one, other = (f["weights"].sel(component="a") for f in fits)
    np.testing.assert_allclose(size * other, one, atol=5e-3 * float(one.max()))
    errors = [float(f["relative_error"]) for f in fits]
    assert errors[1] == pytest.approx(errors[0], rel=1e-3)
