"""A series: known ratios come back, and what is promised holds."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import batteryxr
from batteryxr import nmf
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    DimensionError,
)


def ratios(result: xr.Dataset) -> np.ndarray:
    return result["weights"].transpose("component", ...).values


def test_known_ratios_come_back(series):
    result = series.data.nmf.fit(3, constraints=nmf.Constraints(shift="envelope"))
    assert np.abs(ratios(result) - series.weights).max() < 0.05
    assert result["weights"].dims == ("scan", "component")
    assert result["components"].dims == ("component", "r")
    for found, true in zip(result["components"].values, series.components, strict=True):
        assert np.corrcoef(found, true)[0, 1] > 0.995


def test_ends_fixed_are_nearer_still_and_bitwise_as_given(series):
    free = series.data.nmf.fit(3, constraints=nmf.Constraints(shift="envelope"))
    held = series.data.nmf.fit(
        3, fixed={"start": 0, "end": -1}, constraints=nmf.Constraints(shift="envelope")
    )
    assert list(held["component"].values) == ["start", "CP1", "end"]
    assert list(held["fixed"].values) == [True, False, True]
    for name, scan in (("start", 0), ("end", -1)):
        given = series.data.isel(scan=scan).values
        assert (
            held["components"].sel(component=name).values.tobytes() == given.tobytes()
        )
    error = [np.abs(ratios(r) - series.weights).mean() for r in (free, held)]
    assert error[1] < error[0] + 0.005


@pytest.mark.parametrize("shift", ["minimum", "envelope"])
def test_rows_sum_to_one_and_nothing_is_negative(series, shift):
    result = series.data.nmf.fit(3, constraints=nmf.Constraints(shift=shift))
    assert np.abs(result["weights"].sum("component") - 1).max() <= 1e-12
    assert (result["weights"] >= 0).all()
    assert (result["components"] >= result["shift_curve"] - 1e-12).all()


def test_a_shift_is_undone(series):
    curve = nmf.lower_envelope(series.data)
    a = series.data.nmf.fit(3, constraints=nmf.Constraints(shift=curve))
    b = (series.data - curve).nmf.fit(3)
    np.testing.assert_allclose(
        a["components"], b["components"] + curve, rtol=0, atol=1e-10
    )
    np.testing.assert_allclose(a["weights"], b["weights"], rtol=0, atol=1e-10)


def test_error_is_that_of_the_product_and_not_below_the_svd(series):
    result = series.data.nmf.fit(3, constraints=nmf.Constraints(shift="minimum"))
    model = result["weights"].dot(result["components"])
    shifted = series.data - result["shift_curve"]
    error = float(np.sqrt(((series.data - model) ** 2).sum() / (shifted**2).sum()))
    assert float(result["relative_error"]) == pytest.approx(error, rel=1e-6)
    singular = np.linalg.svd(shifted.values, compute_uv=False)
    bound = np.sqrt((singular[3:] ** 2).sum() / (singular**2).sum())
    assert float(result["svd_error"]) == pytest.approx(bound, rel=1e-6)
    assert error >= bound
    per_scan = np.sqrt(((series.data - model) ** 2).mean("r"))
    np.testing.assert_allclose(result["residual"], per_scan, rtol=1e-9)


def test_labels_survive_and_the_call_replays(series, tmp_path):
    result = series.data.nmf.fit(
        3, n_starts=2, constraints=nmf.Constraints(shift="envelope")
    )
    assert "li_content" in result["weights"].coords
    for name, variable in result.variables.items():
        if name in ("scan",):
            continue
        assert {"units", "long_name"} <= set(variable.attrs), name
    assert result["components"].attrs["units"] == "1/Angstrom2"
    assert json.loads(result.attrs["batteryxr_call"])["method"] == "fit"
    again = batteryxr.replay(result, series.data)
    xr.testing.assert_equal(result, again)
    batteryxr.save(result, tmp_path / "fit.zarr")
    xr.testing.assert_equal(batteryxr.open_store(tmp_path / "fit.zarr").load(), result)


def test_components_come_in_order_of_appearance_whatever_the_seed(series):
    runs = [
        series.data.nmf.fit(
            3,
            seed=s,
            constraints=nmf.Constraints(shift="envelope"),
            solver=nmf.Solver(start="random"),
        )
        for s in (1, 2)
    ]
    for result in runs:
        place = (result["weights"] * np.arange(60)[:, None]).sum("scan")
        assert (np.diff(place / result["weights"].sum("scan")) > 0).all()
    np.testing.assert_allclose(runs[0]["weights"], runs[1]["weights"], atol=1e-2)
    assert runs[0].sizes["start"] == 4


def test_hals_finds_the_same_error(series):
    data = series.data - series.data.min()
    exact = data.nmf.fit(3, closure=False)
    sweeps = data.nmf.fit(3, closure=False, max_iter=3000, solver="hals")
    assert float(sweeps["relative_error"]) == pytest.approx(
        float(exact["relative_error"]), rel=2e-3
    )


@pytest.mark.parametrize("solver", ["hals", "coordinate"])
@pytest.mark.parametrize("uneven", ["gaps", "errors"])
def test_sweeps_know_gaps_and_errors(series, solver, uneven):
    data = series.data - series.data.min()
    options: dict = {"closure": False, "n_starts": 1}
    if uneven == "gaps":
        data = data.where((data["r"] < 4) | (data["scan"] != 7))
    else:
        spread = xr.DataArray(np.linspace(0.5, 2, data.sizes["r"]), dims="r")
        options["errors"] = spread * xr.ones_like(data)
    exact = data.nmf.fit(3, **options)
    swept = data.nmf.fit(3, max_iter=4000, solver=solver, **options)
    smooth = data.nmf.fit(3, constraints=nmf.Constraints(smoothness=1e-6), **options)
    for other in (swept, smooth):
        assert float(other["relative_error"]) == pytest.approx(
            float(exact["relative_error"]), rel=5e-3
        )


def test_coordinate_descent_stays_near_its_start(series):
    """Of all factorisations that fit alike the one that was given is kept."""
    clean = series.weights.T @ (series.components - series.components.min())
    data = series.data.copy(data=clean)
    turn = np.array([[0.9, 0.1, 0.0], [0.05, 0.9, 0.05], [0.0, 0.02, 0.98]])
    mixed = turn @ (series.components - series.components.min())
    start = series.data[:3].drop_vars(["li_content", "voltage"])
    start = start.rename(scan="component").copy(data=mixed)
    start = start.assign_coords(component=list("abc"))
    far = {}
    for solver in ("coordinate", "active-set"):
        fit = data.nmf.fit(
            3, closure=False, n_starts=1, solver=nmf.Solver(kind=solver, start=start)
        )
        found = fit["components"].values
        mine = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
        far[solver] = 1 - float((found @ mine.T).max(axis=1).min())
    assert far["coordinate"] < 0.01
    assert far["coordinate"] <= far["active-set"]


@pytest.mark.parametrize("scale", ["norm", "max", "area"])
def test_free_scale_is_stated_and_does_not_change_the_model(series, scale):
    data = series.data - series.data.min()
    data.attrs = series.data.attrs
    result = data.nmf.fit(3, closure=False, constraints=nmf.Constraints(scale=scale))
    c = result["components"]
    size = {
        "norm": np.sqrt((c**2).sum("r")),
        "max": c.max("r"),
        "area": c.integrate("r"),
    }[scale]
    np.testing.assert_allclose(size, 1.0, rtol=1e-9)
    model = result["weights"].dot(c)
    assert float(np.sqrt(((model - data) ** 2).mean())) < 3 * series.noise
    assert result["weights"].attrs["units"] == "1/Angstrom2"


def test_missing_values_change_little_and_lost_scans_are_flagged(series):
    rng = np.random.default_rng(0)
    fixed = {"a": series.data.isel(scan=0), "z": series.data.isel(scan=-1)}
    whole = series.data.nmf.fit(
        3, fixed=fixed, constraints=nmf.Constraints(shift="minimum")
    )
    data = series.data.copy(deep=True)
    data.values[rng.random(data.shape) < 0.05] = np.nan
    data[20] = np.nan
    data[:, 7] = np.nan
    result = data.nmf.fit(
        3, fixed=fixed, constraints=nmf.Constraints(shift=whole["shift_curve"])
    )
    assert result["flag"].values[20] == 1
    assert result["flag"].sum() == 1
    assert np.isnan(result["weights"].values[20]).all()
    free = result["components"].sel(component="CP1").values
    assert np.isnan(free[7])
    assert np.isfinite(np.delete(free, 7)).all()
    kept = np.arange(60) != 20
    assert np.abs(result["weights"] - whole["weights"]).values[kept].max() < 0.02


def test_a_mask_is_the_same_as_gaps(series):
    mask = xr.zeros_like(series.data, dtype=bool)
    mask[5:8, 100:150] = True
    a = series.data.nmf.fit(3, constraints=nmf.Constraints(shift=-8.0, mask=mask))
    b = series.data.where(~mask).nmf.fit(3, constraints=nmf.Constraints(shift=-8.0))
    xr.testing.assert_identical(a.drop_attrs(), b.drop_attrs())


def test_errors_weigh_the_data(series):
    rng = np.random.default_rng(3)
    bad = (np.arange(400) >= 150) & (np.arange(400) < 300)
    sigma = xr.full_like(series.data, series.noise)
    sigma[:, bad] = 30 * series.noise
    spoiled = series.data + 30 * series.noise * rng.normal(size=(60, 400)) * bad
    known = {
        name: xr.DataArray(c, dims="r", coords={"r": series.data["r"]})
        for name, c in zip("abc", series.components, strict=True)
    }
    constraints = nmf.Constraints(shift="minimum")
    options = {"constraints": constraints, "fixed": known}
    blind = spoiled.nmf.fit(**options)
    aware = spoiled.nmf.fit(**options, errors=sigma)
    along = spoiled.nmf.fit(**options, errors=sigma[0])
    off = [np.abs(ratios(r) - series.weights).mean() for r in (blind, aware)]
    assert off[1] < 0.2 * off[0]
    np.testing.assert_allclose(along["weights"], aware["weights"], atol=1e-9)
    assert float(aware["chi2"].mean()) == pytest.approx(1.0, abs=0.05)


def test_errors_of_whole_scans_change_the_components_only(series):
    sigma = xr.DataArray(np.where(np.arange(60) < 30, 0.3, 3.0), dims="scan")
    plain = series.data.nmf.fit(
        3, n_starts=1, constraints=nmf.Constraints(shift="minimum")
    )
    same = series.data.nmf.fit(
        3, n_starts=1, errors=0.3, constraints=nmf.Constraints(shift="minimum")
    )
    np.testing.assert_allclose(same["weights"], plain["weights"], atol=1e-4)
    rows = series.data.nmf.fit(
        3, n_starts=1, errors=sigma, constraints=nmf.Constraints(shift="minimum")
    )
    first = slice(0, 30)
    mean = [float(r["residual"][first].mean()) for r in (plain, rows)]
    assert mean[1] < mean[0]


def test_scaled_patterns_are_stored(series):
    monitor = xr.DataArray(np.linspace(1, 2, 60), dims="scan", attrs={"units": "V"})
    measured = series.data * monitor
    result = measured.nmf.fit(
        3, constraints=nmf.Constraints(shift="envelope", pattern_scale=monitor)
    )
    np.testing.assert_array_equal(result["pattern_scale"], monitor)
    assert np.abs(ratios(result) - series.weights).max() < 0.05


def test_smoothness_smooths_and_keeps_the_ratios(new_series):
    noisy = new_series(noise=0.2)
    rough = noisy.data.nmf.fit(
        3, fixed={"a": 0, "z": -1}, constraints=nmf.Constraints(shift="minimum")
    )
    smooth = noisy.data.nmf.fit(
        3,
        fixed={"a": 0, "z": -1},
        constraints=nmf.Constraints(shift="minimum", smoothness=1.0),
    )
    gentle = noisy.data.nmf.fit(
        3,
        fixed={"a": 0, "z": -1},
        constraints=nmf.Constraints(shift="minimum", weight_smoothness=0.3),
    )

    def bends(result):
        return float(
            (result["components"].sel(component="CP1").diff("r", 2) ** 2).sum()
        )

    def steps(result):
        return float((result["weights"].diff("scan") ** 2).sum())

    assert bends(smooth) < 0.7 * bends(rough)
    assert steps(gentle) < steps(rough)
    np.testing.assert_allclose(gentle["weights"].sum("component"), 1.0, atol=1e-12)


def test_sparsity_empties_components(series):
    data = series.data - series.data.min()
    plain = data.nmf.fit(3)
    sparse = data.nmf.fit(3, constraints=nmf.Constraints(sparsity=0.1))
    assert float(sparse["components"].sum()) < float(plain["components"].sum())


def test_several_runs_share_components(series):
    runs = {
        "a": series.data.isel(scan=slice(0, 30)),
        "b": series.data.isel(scan=slice(30, 60)),
    }
    result = nmf.fit(runs, 3, constraints=nmf.Constraints(shift="envelope"))
    whole = nmf.fit(series.data, 3, constraints=nmf.Constraints(shift="envelope"))
    np.testing.assert_allclose(result["weights"], whole["weights"], atol=1e-9)
    assert list(result["run"].values[[0, 59]]) == ["a", "b"]
    tree = xr.DataTree.from_dict({k: v.to_dataset(name="pdf") for k, v in runs.items()})
    other = nmf.fit(tree, 3, constraints=nmf.Constraints(shift="envelope"))
    np.testing.assert_array_equal(other["weights"], result["weights"])


def test_all_components_known_only_unmixes(series):
    first = series.data.nmf.fit(3, constraints=nmf.Constraints(shift="minimum"))
    again = series.data.isel(scan=[3, 30, 50]).nmf.fit(
        fixed=first, constraints=nmf.Constraints(shift=first["shift_curve"])
    )
    np.testing.assert_allclose(
        again["weights"], first["weights"][[3, 30, 50]], atol=1e-9
    )


def test_a_warm_start_stays_where_it_is(series):
    first = series.data.nmf.fit(
        3, n_starts=1, constraints=nmf.Constraints(shift="envelope")
    )
    warm = series.data.nmf.fit(
        3,
        n_starts=1,
        constraints=nmf.Constraints(shift="envelope"),
        solver=nmf.Solver(start=first),
    )
    assert int(warm["start_iterations"][0]) <= 15
    np.testing.assert_allclose(warm["weights"], first["weights"], atol=5e-3)


@given(factor=st.floats(1e-6, 1e6))
@settings(max_examples=10, deadline=None)
def test_units_of_the_data_do_not_matter(new_series, factor):
    data = new_series(scans=20, points=120).data
    a = data.nmf.fit(2, n_starts=1, constraints=nmf.Constraints(shift="minimum"))
    b = (factor * data).nmf.fit(
        2, n_starts=1, constraints=nmf.Constraints(shift="minimum")
    )
    np.testing.assert_allclose(a["weights"], b["weights"], atol=1e-5)


MINIMUM = nmf.Constraints(shift="minimum")


def shifted(shift: object) -> dict:
    return {"constraints": nmf.Constraints(shift=shift)}


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"constraints": None}, DataError, "shift=..."),
        (shifted(0.0), DataError, "lower bound"),
        (shifted(xr.DataArray(np.zeros(3), dims="r")), DimensionError, "each point"),
        (shifted(xr.DataArray(np.full(400, np.nan), dims="r")), DataError, "finite"),
        ({"n_components": 61}, ArgumentError, "60 patterns"),
        ({"n_components": None}, ArgumentError, "model_order"),
        ({"n_components": 0}, ArgumentError, "n_components=0.*>= 1"),
        ({"seed": -1}, ArgumentError, "seed"),
        ({"tol": -1}, ArgumentError, "tol=-1.*>= 0"),
        ({"tol": float("nan")}, ArgumentError, "tol"),
        ({"max_iter": 0}, ArgumentError, "max_iter"),
        ({"n_starts": True}, ArgumentError, "n_starts=True"),
        ({"solver": "cd"}, ArgumentError, "active-set"),
        ({"fixed": {"a": 60}}, ArgumentError, "-60 to 59"),
        ({"fixed": {"a": "x.cif"}}, ArgumentError, "DataArray"),
        ({"fixed": 3}, ArgumentError, "mapping"),
        ({"errors": 0.0}, ArgumentError, "errors=0.0.*> 0"),
        ({"constraints": nmf.Constraints(signal="q")}, DimensionError, "'q'"),
    ],
)
def test_says_what_is_wrong(series, change, error, words):
    with pytest.raises(error, match=words):
        nmf.fit(series.data, **({"n_components": 3, "constraints": MINIMUM} | change))


@pytest.mark.parametrize(
    "kind, change, words",
    [
        (nmf.Constraints, {"shift": "lowest"}, "'minimum' or 'envelope'"),
        (nmf.Constraints, {"shift": [1.0]}, "DataArray"),
        (nmf.Constraints, {"shift": np.inf}, "finite"),
        (nmf.Constraints, {"scale": "x"}, "norm"),
        (nmf.Constraints, {"sparsity": -1.0}, ">= 0"),
        (nmf.Constraints, {"smoothness": "much"}, ">= 0"),
        (nmf.Constraints, {"mask": True}, "mask"),
        (nmf.Constraints, {"signal": 2}, "signal"),
        (nmf.Solver, {"kind": "cd"}, "active-set"),
        (nmf.Solver, {"passes": -1}, "passes"),
        (nmf.Solver, {"start": 3}, "start"),
        (nmf.Sampling, {"draws": 2}, "draws"),
        (nmf.Sampling, {"hottest": 0.5}, "hottest"),
        (nmf.Sampling, {"sweeps": 2.5}, "sweeps"),
    ],
)
def test_constraints_are_checked_where_they_are_made(kind, change, words):
    with pytest.raises(ArgumentError, match=words):
        kind(**change)


@pytest.mark.parametrize("function", ["metropolis", "fit_stretched", "model_order"])
def test_penalties_that_a_function_does_not_know_are_refused(series, function):
    call = getattr(series.data.nmf, function)
    number = [2, 3] if function == "model_order" else 3
    with pytest.raises(ArgumentError, match="sparsity"):
        call(number, constraints=nmf.Constraints(shift="minimum", sparsity=0.1))


def test_constraints_with_arrays_replay(series):
    curve = series.data.min("scan")
    mask = xr.zeros_like(series.data, dtype=bool)
    mask[5:8, 100:150] = True
    constraints = nmf.Constraints(shift=curve, mask=mask, scale="max")
    result = series.data.nmf.fit(3, constraints=constraints, n_starts=1)
    again = batteryxr.replay(result, series.data, shift=curve, mask=mask)
    xr.testing.assert_equal(result, again)
    with pytest.raises(ArgumentError, match="shift"):
        batteryxr.replay(result, series.data)


def test_more_components_than_rank_are_refused(new_series):
    clean = new_series(noise=0.0).data
    with pytest.raises(ArgumentError, match="rank of the data"):
        clean.nmf.fit(5, constraints=nmf.Constraints(shift=clean.min("scan")))


def test_a_pattern_on_another_grid_is_refused(series):
    other = series.data[0].assign_coords(r=series.data["r"] + 0.01)
    with pytest.raises(DimensionError, match="interp"):
        series.data.nmf.fit(
            3, fixed={"a": other}, constraints=nmf.Constraints(shift="minimum")
        )


def test_complex_data_are_refused(series):
    with pytest.raises(DataError, match="real"):
        nmf.fit(series.data.astype(complex), 3)


def test_two_components_that_are_one_are_told(series):
    rng = np.random.default_rng(0)
    same = series.data.isel(scan=[0] * 20) + 0.01 * rng.normal(size=(20, 400))
    with pytest.warns(DataQualityWarning, match="one pattern"):
        same.nmf.fit(2, constraints=nmf.Constraints(shift="minimum"))


def test_a_component_that_is_not_there_is_told(series):
    ghost = series.data.isel(scan=0).copy(data=series.data.values[0, ::-1])
    with pytest.warns(DataQualityWarning, match="ghost has a negligible ratio"):
        series.data.nmf.fit(
            4,
            fixed={"ghost": ghost, "a": 0, "z": -1},
            constraints=nmf.Constraints(shift="minimum"),
        )


def test_too_few_alternations_are_told(series):
    with pytest.warns(DataQualityWarning, match="max_iter"):
        series.data.nmf.fit(
            3, max_iter=3, n_starts=1, constraints=nmf.Constraints(shift="minimum")
        )
