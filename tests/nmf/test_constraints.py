"""What chemists know of weights: windows, profiles, and that spikes are no phase."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

from batteryxr import nmf
from batteryxr.core.errors import ArgumentError, DataError, DataQualityWarning

pytestmark = pytest.mark.filterwarnings("ignore:ratios may differ")
AXIS = np.linspace(0.0, 10.0, 150)
SCANS = np.arange(40)


def bell(centre: float, width: float = 0.6) -> np.ndarray:
    return np.exp(-0.5 * ((AXIS - centre) / width) ** 2)


#: Three phases one after the other, and a binder that is always there.
PURE = np.stack(
    [bell(2) + bell(5), bell(3) + bell(7), bell(4) + bell(5, 1), bell(8, 2)]
)
SHARES = np.stack(
    [
        np.clip(1 - SCANS / 18, 0, 1),
        np.clip(1 - np.abs(SCANS - 18) / 18, 0, 1),
        np.clip((SCANS - 18) / 18, 0, 1),
    ]
)
RATIOS = np.vstack([0.8 * SHARES / SHARES.sum(axis=0), np.full(40, 0.2)])


def series(noise: float = 0.003) -> xr.DataArray:
    rng = np.random.default_rng(0)
    clean = RATIOS.T @ PURE
    return xr.DataArray(
        clean + rng.normal(0, noise, clean.shape),
        dims=("scan", "energy"),
        coords={"energy": AXIS},
        attrs={"units": "1"},
    )


def test_a_known_profile_and_windows_make_the_ratios_sure():
    binder = xr.DataArray(np.full(40, 0.2), dims="scan")
    known = nmf.Constraints(
        presence={"a": (0, 18), "b": (0, 36), "c": (18, 39)},
        weights={"binder": binder},
    )
    found = series().nmf.fit(4, constraints=known)
    assert list(found["component"].values) == ["a", "b", "binder", "c"]
    weights = found["weights"].sel(component=["a", "b", "c", "binder"])
    np.testing.assert_array_equal(weights.values[:, 3], 0.2)
    assert (weights.values[19:, 0] == 0).all()
    assert (weights.values[:18, 2] == 0).all()
    np.testing.assert_allclose(weights.sum("component"), 1.0, atol=1e-12)
    model = found["weights"].values @ found["components"].values
    rest = np.sqrt(((series().values - model) ** 2).mean(axis=1))
    np.testing.assert_allclose(found["residual"], rest, rtol=1e-9)
    assert float(found["residual"].mean()) < 0.004
    off = np.abs(weights.values.T - RATIOS).mean()
    free = series().nmf.fit(4)
    assert off < 0.03
    assert float(found["relative_error"]) < 1.05 * float(free["relative_error"])


def test_spikes_are_left_out():
    data = series()
    rng = np.random.default_rng(1)
    spoilt = data.copy(data=data.values)
    places = rng.integers(0, 40, 30), rng.integers(0, 150, 30)
    spoilt.values[places] += 5.0
    fixed = {
        name: xr.DataArray(row, dims="energy", coords={"energy": AXIS})
        for name, row in zip("abcd", PURE, strict=True)
    }
    plain = spoilt.nmf.fit(fixed=fixed)
    robust = spoilt.nmf.fit(fixed=fixed, constraints=nmf.Constraints(robust=True))
    off = [
        np.abs(f["weights"].sel(component=list("abcd")).values.T - RATIOS).max()
        for f in (plain, robust)
    ]
    assert off[1] < 0.02 < off[0]


def test_what_cannot_be_is_named():
    data = series()
    with pytest.raises(ArgumentError, match=r"presence.*two scans between 0 and 39"):
        data.nmf.fit(2, constraints=nmf.Constraints(presence={"a": (3, 40)}))
    with pytest.raises(ArgumentError, match="at most 1 names"):
        data.nmf.fit(
            1, constraints=nmf.Constraints(presence={"a": (0, 3), "b": (2, 9)})
        )
    with pytest.raises(DataError, match="sum to one"):
        data.nmf.fit(
            2, constraints=nmf.Constraints(presence={"a": (0, 3), "b": (9, 39)})
        )
    with pytest.raises(ArgumentError, match="metropolis has no such thing"):
        data.nmf.metropolis(2, constraints=nmf.Constraints(robust=True))
    wrong = xr.DataArray(np.zeros(150), dims="energy")
    with pytest.raises(ArgumentError, match="along 'scan'"):
        data.nmf.fit(2, constraints=nmf.Constraints(weights={"a": wrong}))


def test_what_bounds_the_weights_bounds_their_range():
    windows = {"a": (0, 18), "b": (0, 39), "c": (18, 39)}
    data = series()
    free = data.nmf.fit(3, errors=0.003)
    found = data.nmf.fit(3, constraints=nmf.Constraints(presence=windows), errors=0.003)
    wide, held = (f.nmf.bands(steps=2000) for f in (free, found))
    for name, (first, last) in windows.items():
        scans = np.arange(40)
        out = (scans < first) | (scans > last)
        high = held["weights_high"].sel(component=name).values[out]
        assert (high < 0.02).all()
    assert float(held["weights_width"].mean()) < float(wide["weights_width"].mean())
    assert float(found["range_width"]) < float(free["range_width"])
    model = found["weights"].values @ found["components"].values
    rest = ((data.values - model) ** 2).mean(axis=1)
    np.testing.assert_allclose(found["chi2"], rest / 0.003**2, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.*no ratios that sum to one")
def test_residuals_are_those_of_smooth_weights():
    data = series(0.02)
    found = data.nmf.fit(3, constraints=nmf.Constraints(weight_smoothness=1.0))
    model = found["weights"].values @ found["components"].values
    rest = np.sqrt(((data.values - model) ** 2).mean(axis=1))
    np.testing.assert_allclose(found["residual"], rest, rtol=1e-6)


@pytest.mark.parametrize(
    "constraints",
    [
        nmf.Constraints(robust=True),
        nmf.Constraints(presence={"a": (0, 18)}),
        nmf.Constraints(sparsity=0.1),
    ],
)
def test_what_refines_nothing_knows_no_constraints(constraints):
    with pytest.raises(ArgumentError, match="pure"):
        series().nmf.fit(3, solver="pure", constraints=constraints)


def test_a_window_and_a_profile_of_one_component_hold_both():
    values = np.full(40, np.nan)
    values[0] = 0.8
    binder = xr.DataArray(np.full(40, 0.2), dims="scan")
    known = nmf.Constraints(
        presence={"a": (0, 18)},
        weights={"a": xr.DataArray(values, dims="scan"), "binder": binder},
    )
    found = series().nmf.fit(4, constraints=known, n_starts=1)
    of_a = found["weights"].sel(component="a").values
    assert of_a[0] == pytest.approx(0.8, abs=1e-12)
    assert (of_a[19:] == 0).all()
    with pytest.raises(ArgumentError, match="None without closure"):
        series().nmf.fit(4, closure=False, constraints=known)


def test_one_maximum_is_the_nearest_profile():
    """Against least squares under all possible orders, one for each maximum."""
    from scipy.optimize import lsq_linear

    from batteryxr.nmf.kernels.alternate import one_maximum

    rng = np.random.default_rng(0)
    for _ in range(5):
        row = rng.normal(size=7)
        best = np.inf
        for top in range(7):
            # Below the maximum every value is that of the neighbour less a step >= 0.
            steps = np.zeros((7, 7))
            steps[:, top] = 1.0
            for i in range(7):
                if i < top:
                    steps[: i + 1, i] = -1.0
                elif i > top:
                    steps[i:, i] = -1.0
            low = np.where(np.arange(7) == top, -np.inf, 0.0)
            best = min(best, 2 * lsq_linear(steps, row, bounds=(low, np.inf)).cost)
        found = one_maximum(row)
        assert ((found - row) ** 2).sum() == pytest.approx(best, abs=1e-9)
        turns = np.sign(np.diff(found).round(12))
        assert (np.diff(turns[turns != 0]) <= 0).all()


def test_weights_with_one_maximum_have_one():
    data = series(0.03).clip(0.0)
    known = nmf.Constraints(unimodal=["a", "b", "c"], weights={"d": profile()})
    found = data.nmf.fit(4, constraints=known, n_starts=1)
    weights = found["weights"].sel(component=["a", "b", "c"]).values
    slope = np.sign(np.diff(weights, axis=0).round(3))
    for row in slope.T:
        assert (np.diff(row[row != 0]) <= 0).all()
    np.testing.assert_allclose(found["weights"].sum("component"), 1.0, atol=1e-9)
    with pytest.warns(DataQualityWarning, match="have one maximum: it holds"):
        found.nmf.bands(steps=400)
    free = data.nmf.fit(4, constraints=nmf.Constraints(weights={"d": profile()}))
    assert float(found["relative_error"]) < 1.02 * float(free["relative_error"])
    slope = np.sign(np.diff(free["weights"].values, axis=0).round(3))
    assert max(int((np.diff(row[row != 0]) > 0).sum()) for row in slope.T) > 0


def profile() -> xr.DataArray:
    return xr.DataArray(np.full(40, 0.2), dims="scan")


@pytest.mark.parametrize(
    "wrong",
    [
        {"unimodal": ["d"]},
        {"presence": {"a": (0, 6)}},
        {"weights": {"b": xr.DataArray(np.full(40, 0.05), dims="scan")}},
    ],
)
def test_what_the_data_contradict_is_told(wrong):
    twice = 0.15 + 0.15 * np.cos(SCANS / 3.0)
    ratios = np.vstack([SHARES / SHARES.sum(axis=0) * (1 - twice), twice])
    data = series().copy(data=ratios.T @ PURE + 0.003 * np.sin(np.arange(150) * 7.0))
    fixed = {
        name: xr.DataArray(row, dims="energy", coords={"energy": AXIS})
        for name, row in zip("abcd", PURE, strict=True)
    }
    with pytest.warns(DataQualityWarning, match="contradict the data"):
        data.nmf.fit(fixed=fixed, constraints=nmf.Constraints(**wrong))


def test_one_component_may_be_negative():
    swing = np.sin(SCANS / 5.0) ** 2
    shape = 0.4 * (bell(1) - bell(9))
    clean = np.stack([1 - SCANS / 50, 0.2 + SCANS / 60]).T @ PURE[:2]
    data = series().copy(data=clean + swing[:, None] * shape)
    fixed = {
        name: xr.DataArray(row, dims="energy", coords={"energy": AXIS})
        for name, row in zip("ab", PURE[:2], strict=True)
    }
    with pytest.warns(DataQualityWarning, match="may hold any share of the others"):
        found = data.nmf.fit(
            3, fixed=fixed, closure=False, constraints=nmf.Constraints(signed=["d"])
        )
    assert float(found["relative_error"]) < 1e-3
    weight = found["weights"].sel(component="d").values
    assert np.corrcoef(weight, swing)[0, 1] > 0.9999
    # It is the shape and some of the others: these explain what differs.
    odd = found["components"].sel(component="d").values
    rows = np.vstack([shape, PURE[:2]])
    share = np.linalg.lstsq(rows.T, odd, rcond=None)[0]
    np.testing.assert_allclose(share @ rows, odd, atol=2e-3)
    with pytest.raises(DataError, match="d may be negative"):
        found.nmf.bands()
    for wrong in ({"solver": "hals"}, {"solver": "coordinate"}):
        with pytest.raises(ArgumentError, match="has no such thing"):
            data.nmf.fit(3, constraints=nmf.Constraints(signed=["d"]), **wrong)
    with pytest.raises(ArgumentError, match="smoothness=1"):
        data.nmf.fit(3, constraints=nmf.Constraints(signed=["d"], smoothness=1.0))
    with pytest.raises(ArgumentError, match="signed"):
        data.nmf.fit(
            fixed=fixed, closure=False, constraints=nmf.Constraints(signed=["a"])
        )


@pytest.mark.parametrize("size", [0.3, 40.0])
def test_a_spike_in_a_fixed_scan_is_told_flagged_and_left_out(size):
    data = series()
    fixed = {"first": 0, "last": -1}
    spoilt = data.copy(data=data.values.copy())
    spoilt.values[0, 77] += size
    with pytest.warns(DataQualityWarning, match=r"fixed\['first'\] has 1 values .*= "):
        plain = spoilt.nmf.fit(3, fixed=fixed)
    assert plain["flag"].values.tolist() == [4] + [0] * 39
    with pytest.warns(DataQualityWarning, match="These points are left out"):
        robust = spoilt.nmf.fit(
            3, fixed=fixed, constraints=nmf.Constraints(robust=True)
        )
    assert np.isnan(robust["components"].values[:, 77]).all()
    known = data.nmf.fit(3, fixed=fixed, constraints=nmf.Constraints(robust=True))
    np.testing.assert_allclose(robust["weights"], known["weights"], atol=0.02)


def test_spikes_of_other_scans_are_not_said_of_fixed_ones():
    rng = np.random.default_rng(1)
    clean = series()
    spoilt = clean.copy(data=clean.values.copy())
    spoilt.values[rng.integers(1, 39, 15), rng.integers(0, 150, 15)] += 5.0
    both = spoilt.copy(data=spoilt.values.copy())
    both.values[0, 77] += 5.0
    for data, flagged in ((spoilt, []), (both, [0])):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataQualityWarning)
            found = data.nmf.fit(4, fixed={"first": 0, "last": -1}, n_starts=1)
        assert np.flatnonzero(found["flag"] == 4).tolist() == flagged


def test_sharp_peaks_of_one_fixed_scan_are_no_spikes():
    """A phase that only one scan has leaves peaks, not single values."""
    data = series()
    peaks = np.exp(-0.5 * ((np.arange(150)[:, None] - [20, 71, 120]) / 1.5) ** 2)
    data.values[-1] = peaks.sum(axis=1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = data.nmf.fit(3, fixed={"first": 0, "last": -1}, n_starts=1)
    assert not any("bears out" in str(one.message) for one in said)
    assert not (found["flag"] == 4).any()
