"""Differential curves: charge is kept, peaks are found, noise is known."""

from __future__ import annotations

import itertools
import math

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batteryxr.core.errors import ArgumentError, ConvergenceError, DataError
from batteryxr.echem import dqdv, dvdq, half_cycles, peaks, turning_point
from batteryxr.echem.kernels import smoothers
from batteryxr.echem.kernels.histogram import CARRIED, Bins, Rows, lay_charge
from batteryxr.echem.kernels.record import Rule, of_rows

#: Noise and resolution of voltages, V.
NOISES = [(0.0, 0.0), (2e-4, 1e-4), (1e-3, 5e-4)]
#: Centre, width (V) and area (mA h) of logistic peaks.
REDOX = ((3.4, 0.04, 1.0), (3.9, 0.03, 2.0))


def profile(v, background=0.5):
    steps = sum(a / (1 + np.exp(-(v - c) / w)) for c, w, a in REDOX)
    return steps + background * (v - 3.0)


def curve(v, background=0.5):
    s = [1 / (1 + np.exp(-(v - c) / w)) for c, w, _ in REDOX]
    return background + sum(
        a / w * x * (1 - x) for x, (_, w, a) in zip(s, REDOX, strict=True)
    )


@pytest.fixture
def redox(make_record):
    """A charge from 3.0 to 4.3 V, a rest, and a discharge back, at 1 mA."""
    grid = np.linspace(3.0, 4.3, 100_001)
    q = np.linspace(profile(3.0), profile(4.3), 5000)
    v = np.interp(q, profile(grid), grid)
    t = (q - q[0]) * 3600
    return make_record(
        np.concatenate([t, t[-1] + np.arange(1, 11), t[-1] + 11 + t]),
        np.concatenate([v, np.full(10, 4.25), v[::-1]]),
        np.concatenate([np.ones(5000), np.zeros(10), -np.ones(5000)]),
    )


class Exact:
    """A charge of exactly known dQ/dV: logistic peaks on a constant, per gram."""

    PEAKS = ((3.30, 0.12, 110.0), (3.95, 0.05, 40.0), (4.45, 0.045, 90.0))
    CONSTANT, FIRST, LAST = 18.0, 1.5, 4.8

    def __init__(self):
        self.volts = np.linspace(self.FIRST, self.LAST, 400_001)
        rises = [1 / (1 + np.exp(-(self.volts - c) / w)) for c, w, _ in self.PEAKS]
        charge = self.CONSTANT * self.volts
        self.slope = np.full(self.volts.size, self.CONSTANT)
        for x, (_, w, a) in zip(rises, self.PEAKS, strict=True):
            charge += a * x
            self.slope += a / w * x * (1 - x)
        self.charge = charge - charge[0]
        inner = self.slope[1:-1]
        top = (inner > self.slope[:-2]) & (inner > self.slope[2:])
        self.tops = 1 + np.flatnonzero(top)
        between = (self.volts > 3.95) & (self.volts < 4.45)
        self.turn = int(np.argmin(np.where(between, self.slope, np.inf)))

    def record(self, make_record, noise, resolution):
        """Return 6,000 rows of it, at 20 mA for one gram, as a cycler gives them."""
        q = np.linspace(0, self.charge[-1], 6000)
        v = np.interp(q, self.charge, self.volts)
        v += np.random.default_rng(3).normal(0, noise, v.size)
        if resolution:
            v = np.round(v / resolution) * resolution
        return make_record(q / 20 * 3600, v, np.full(v.size, 20.0))


@pytest.mark.parametrize(("noise", "resolution"), NOISES)
def test_area_peaks_and_turning_point_of_exact_data(make_record, noise, resolution):
    truth = Exact()
    rows = truth.record(make_record, noise, resolution)
    found = dqdv(rows, mass=1000.0)
    area = found.dqdv.sum("voltage").item() * 0.001
    assert area == pytest.approx(truth.charge[-1], rel=5e-4)
    tops = peaks(found)
    assert tops.n_peaks.item() == 3
    where = truth.tops
    np.testing.assert_allclose(tops.position[0], truth.volts[where], atol=0.002)
    np.testing.assert_allclose(tops.height[0], truth.slope[where], rtol=0.02)
    assert tops.area.sum().item() == pytest.approx(area, rel=1e-9)
    turn = turning_point(found, window=(3.95, 4.45))
    volts, charge = truth.volts[truth.turn], truth.charge[truth.turn]
    assert (volts, charge) == pytest.approx((4.1893, 198.28), abs=0.005)
    assert turn.voltage.item() == pytest.approx(volts, abs=0.003)
    assert turn.capacity.item() == pytest.approx(charge, abs=1.0)
    assert turn.knee_capacity.item() == pytest.approx(charge, abs=1.0)


@pytest.mark.parametrize(
    ("first", "second", "most"),
    [
        ((3.70, 0.09, 1.0), (3.85, 0.10, 2.0), 1.5e-3),  # one side is less steep
        ((3.55, 0.05, 1.0), (3.95, 0.08, 2.0), 0.1),  # nothing lies between them
    ],
)
def test_the_bottom_of_an_uneven_or_flat_valley(make_record, first, second, most):
    grid = np.linspace(3.0, 4.4, 20_001)
    q = 0.5 * grid
    for at, width, area in (first, second):
        q = q + 0.5 * area * np.vectorize(math.erf)((grid - at) * 1.6651 / width)
    slope = np.where((grid > first[0]) & (grid < second[0]), np.gradient(q), np.inf)
    passed = np.arange(q[0], q[-1], 6e-4)
    for seed in range(2):
        v = np.interp(passed, q, grid)
        v += np.random.default_rng(seed).normal(0, 1e-3, v.size)
        rows = make_record((passed - q[0]) * 3600, v, np.ones(v.size))
        found = turning_point(dqdv(rows), window=(first[0], second[0]))
        off = abs(found.voltage.item() - grid[np.argmin(slope)])
        assert off < 2 * found.voltage_error.item() < 2 * most
        assert found.shoulder.item() == 0


def test_zig_zag_voltages_keep_the_charge(make_record):
    truth = Exact()
    rows = truth.record(make_record, 0.0, 0.0)
    zig = 0.02 * (np.arange(rows.sizes["record"]) % 2)
    rows["voltage"] = rows["voltage"] + zig
    rows["voltage"].attrs["units"] = "V"
    area = dqdv(rows, mass=1000.0).dqdv.sum().item() * 0.001
    assert area == pytest.approx(truth.charge[-1], rel=1e-3)


def test_curve_agrees_with_the_truth_both_ways(redox):
    found = dqdv(redox, smoothing=0.004)
    inside = found.sel(voltage=slice(3.02, 4.28))
    truth = curve(inside.voltage.values)
    for row in range(2):
        np.testing.assert_allclose(inside.dqdv[row], truth, rtol=0.02)
    assert found.direction.values.tolist() == ["charge", "discharge"]
    assert found.dqdv.attrs["units"] == "mA h V-1"
    assert dqdv(redox, mass=5.0).dqdv.attrs["units"] == "mA h g-1 V-1"
    tops = peaks(found)
    np.testing.assert_allclose(tops.position, [[3.4, 3.9]] * 2, atol=2e-3)
    turns = turning_point(found, window=(3.4, 3.9))
    up, down = turns.capacity.values
    assert up + down == pytest.approx(profile(4.3) - profile(3.0), abs=0.01)
    np.testing.assert_allclose(turns.voltage[0], turns.voltage[1], atol=1e-3)


@pytest.mark.parametrize("lsb", [1e-3, 5e-3])
def test_quantised_voltages_do_not_shift_the_curve(redox, lsb):
    fine = dqdv(redox)
    redox["voltage"] = (redox["voltage"] / lsb).round() * lsb
    redox["voltage"].attrs["units"] = "V"
    coarse = dqdv(redox)
    moved = [
        float((c.dqdv[0] * c.voltage).sum() / c.dqdv[0].sum()) for c in (fine, coarse)
    ]
    assert moved[0] == pytest.approx(moved[1], abs=1e-4)
    np.testing.assert_allclose(
        peaks(coarse).position, peaks(fine).position, atol=max(2e-3, lsb / 2)
    )


def random_record(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 300))
    rows = xr.Dataset(
        {
            "voltage": ("record", rng.normal(3.5, rng.choice([0, 1e-4, 0.3]), n)),
            "current": ("record", rng.choice([-2.0, 0.0, 1.0], n)),
        },
        {"test_time": ("record", np.cumsum(rng.exponential(20, n)))},
    )
    for name, units in (("voltage", "V"), ("current", "mA"), ("test_time", "s")):
        rows[name].attrs["units"] = units
    return rows


# In these a half cycle goes on after several too small to count, one of its own sense.
@example(seed=461, bin_=0.0005, smoothing=0.0)
@example(seed=840, bin_=0.0005, smoothing=0.0)
@example(seed=2140, bin_=0.001, smoothing=0.02)
@example(seed=2791, bin_=0.01, smoothing=0.5)
@example(seed=3374, bin_=0.3, smoothing=3.0)
@example(seed=3748, bin_=0.0005, smoothing=0.0004)
@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    bin_=st.sampled_from([0.0005, 0.001, 0.01, 0.3]),
    smoothing=st.sampled_from([0.0, 0.0004, 0.02, 0.5, 3.0]),
)
def test_charge_is_kept_whatever_the_data(seed, bin_, smoothing):
    rows = random_record(seed)
    found = dqdv(rows, bin=bin_, smoothing=smoothing)
    wanted = half_cycles(rows).capacity
    area = found.dqdv.sum("voltage") * bin_
    np.testing.assert_allclose(area, wanted, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(found.total_capacity, wanted)


def gained(rows, found):
    """Sum the voltage gained between rows under current, row by row."""
    t, v, i = (rows[n].values for n in ("test_time", "voltage", "current"))
    half = half_cycles(rows)
    for k, start in enumerate(half.test_time_start.values):
        sign = 1 if found.direction[k] == "charge" else -1
        first, last = np.searchsorted(t, [start, half.test_time_end.values[k]])
        yield sum(
            (
                sign * (v[n] - v[n - 1])
                for n in range(first + 1, last + 1)
                if i[n] * i[n - 1] > 0  # of pulses too, which count net
            ),
            start=0.0,
        )


@example(seed=3748, bins=10, smoothing=0.0)
@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    bins=st.sampled_from([10, 11, 100, 1000]),
    smoothing=st.sampled_from([0.0, 0.01, 0.3, 1.5]),
)
def test_voltage_is_kept_whatever_the_data(seed, bins, smoothing):
    rows = random_record(seed)
    found = dvdq(rows, bins=bins, smoothing=smoothing)
    if not found.sizes["half_cycle"]:
        return
    area = found.dvdq.sum("capacity") * (found.total_capacity.max() / bins)
    np.testing.assert_allclose(area, list(gained(rows, found)), atol=1e-9)


def test_half_cycle_that_goes_on_keeps_what_flowed_between_blips(make_record):
    # Forth and back a little at 4.9 V, far beyond all other voltages of the charge.
    i = np.array([1.0] * 50 + [-0.01, -0.01, 0.01, 0.01, -0.01, -0.01] + [1.0] * 50)
    v = np.concatenate(
        [np.linspace(3, 4, 50), np.full(6, 4.9), np.linspace(4, 4.2, 50)]
    )
    t = np.cumsum(np.where(abs(i) < 1, 1.0, 10.0))
    rows = make_record(t, v, i)
    charge = (49 * 10 - 0.01 + 0.01 - 0.01 + 49 * 10) / 3600
    half = half_cycles(rows)
    np.testing.assert_allclose(half.capacity, [charge], rtol=1e-12)
    np.testing.assert_allclose(half.voltage_max, [4.9])
    for lazily in (rows, rows.chunk(record=7)):
        found = dqdv(lazily, smoothing=0.0)
        area = found.dqdv.sum("voltage") * 0.001
        np.testing.assert_allclose(area, [charge], rtol=1e-12)
        there = found.dqdv[0].sel(voltage=4.9, method="nearest") * 0.001
        np.testing.assert_allclose(there, -0.01 / 3600, rtol=1e-9)


def test_currents_however_small(redox):
    found = dvdq(redox)
    redox["current"] = (redox["current"] * 1e-120).assign_attrs(units="mA")
    small = dvdq(redox)
    np.testing.assert_allclose(small.dvdq * 1e-120, found.dvdq, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(small.dvdq_error * 1e-120, found.dvdq_error, rtol=1e-6)


@pytest.mark.parametrize("chunk", [1, 100, 997, 6000])
def test_lazy_equals_eager_bit_by_bit(redox, chunk):
    if chunk == 1:
        redox = redox.isel(record=slice(4980, 5030))
    lazy_rows = redox.chunk(record=chunk)
    for function in (dqdv, dvdq):
        eager, lazy = function(redox), function(lazy_rows).compute()
        for name in eager.variables:
            np.testing.assert_array_equal(eager[name], lazy[name], err_msg=str(name))


def test_each_chunk_is_loaded_twice_at_most(redox):
    loads = []

    def load(values):
        loads.append(values.size)
        return values

    rows = redox.chunk(record=1000)
    rows["voltage"] = xr.apply_ufunc(
        load,
        rows["voltage"],
        dask="parallelized",
        output_dtypes=[float],
        keep_attrs=True,
    )
    with dask.config.set(scheduler="synchronous"):
        loads.clear()
        half_cycles(rows)
        assert sum(loads) == rows.sizes["record"]
        loads.clear()
        dqdv(rows)
        assert sum(loads) == 2 * rows.sizes["record"]


def test_noise_and_errors_are_those_of_many_trials(make_record):
    q = np.linspace(profile(3.0), profile(4.3), 4000)
    grid = np.linspace(3.0, 4.3, 100_001)
    exact = np.interp(q, profile(grid), grid)
    t = (q - q[0]) * 3600
    rng = np.random.default_rng(5)
    trials = [
        dqdv(make_record(t, exact + rng.normal(0, 1e-3, t.size), np.ones(t.size)))
        for _ in range(40)
    ]
    noise = [float(x.voltage_noise[0]) for x in trials]
    assert np.mean(noise) == pytest.approx(1e-3, rel=0.03)
    window = slice(3.1, 4.2)
    curves = np.array([x.dqdv[0].sel(voltage=window).values for x in trials])
    stated = np.array([x.dqdv_error[0].sel(voltage=window).values for x in trials])
    ratio = curves.std(axis=0).mean() / stated.mean()
    assert 0.8 < ratio < 1.25
    tops = [peaks(x) for x in trials]
    places = np.array([p.position[0].values for p in tops])
    stated = np.mean([p.position_error[0].values for p in tops], axis=0)
    ratio = places.std(axis=0) / stated
    assert ((ratio > 0.6) & (ratio < 1.6)).all()


def test_dvdq_has_the_voltage_window_as_its_area(redox):
    found = dvdq(redox, smoothing=0.005)
    q = found.capacity.values
    area = found.dvdq.sum("capacity").values * (q[1] - q[0])
    np.testing.assert_allclose(area, 1.3, rtol=1e-3)
    volts = np.linspace(3.05, 4.25, 50)
    at = profile(volts) - profile(3.0)
    np.testing.assert_allclose(
        found.dvdq[0].interp(capacity=at), 1 / curve(volts), rtol=0.03
    )
    assert found.dvdq.attrs["units"] == "V mA-1 h-1"
    heavy = dvdq(redox, smoothing=0.005, mass=10.0)
    np.testing.assert_allclose(heavy.dvdq, found.dvdq / 100)
    np.testing.assert_allclose(heavy.capacity, found.capacity * 100)
    with pytest.raises(ArgumentError, match="bins=3"):
        dvdq(redox, bins=3)


def test_savgol_keeps_the_charge_too(redox):
    found = dqdv(redox, method="savgol", smoothing=0.05)
    np.testing.assert_allclose(found.dqdv.sum("voltage") * 0.001, found.total_capacity)
    tops = peaks(found)
    np.testing.assert_allclose(tops.position, [[3.4, 3.9]] * 2, atol=2e-3)


@pytest.mark.parametrize(("window", "order"), [(5, 2), (1001, 5), (301, 7), (1001, 7)])
def test_own_savgol_weights_have_gain_one_and_reproduce_polynomials(window, order):
    weights = smoothers.savitzky_golay(window, order)
    assert weights.sum() == pytest.approx(1, abs=1e-14)
    np.testing.assert_array_equal(weights, weights[::-1])
    x = np.linspace(-1, 1, window)
    for power in range(order + 1):
        assert weights @ x**power == pytest.approx(float(power == 0), abs=1e-9)


def test_a_smoother_that_loses_charge_is_refused():
    from scipy.signal import savgol_coeffs

    with pytest.raises(ConvergenceError, match=r"sum to 0\.9"):
        smoothers.checked(np.array([0.2, 0.5, 0.2]), "broken")
    # Some versions of SciPy return weights of no gain here; whatever they do is told.
    weights = savgol_coeffs(1001, 5)
    if abs(weights.sum() - 1) < 1e-6:
        smoothers.checked(weights, "scipy")
    else:
        with pytest.raises(ConvergenceError, match="not 1"):
            smoothers.checked(weights, "scipy")


def test_peaks_ignore_a_hold_at_constant_voltage(make_record, redox):
    rows = redox.isel(record=slice(0, 5000))
    t, v, i = (rows[n].values for n in ("test_time", "voltage", "current"))
    decay = np.exp(-np.arange(1, 400) / 80)
    held = make_record(
        np.concatenate([t, t[-1] + 60 * np.arange(1, 400)]),
        np.concatenate([v, 4.3 + 1e-4 * np.sin(np.arange(399))]),
        np.concatenate([i, decay]),
    )
    tops = peaks(dqdv(held))
    np.testing.assert_allclose(tops.position, [[3.4, 3.9]], atol=3e-3)


def test_curves_without_features(make_record):
    t = np.arange(0, 3600.0, 10)
    found = dqdv(make_record(t, 3 + t / 3600, np.ones(t.size)))
    assert peaks(found).n_peaks.item() == 0
    assert np.isnan(turning_point(found, window=(3.2, 3.8)).voltage.item())
    flat = dqdv(make_record(t, np.full(t.size, 3.0), np.ones(t.size)))
    assert flat.dqdv.sum().item() * 0.001 == pytest.approx(t[-1] / 3600)
    nothing = dqdv(make_record(t, 3 + t / 3600, np.zeros(t.size)))
    assert nothing.sizes["half_cycle"] == 0
    assert peaks(nothing).sizes == {"half_cycle": 0, "peak": 0}


def test_chosen_half_cycles(redox):
    every, second = dqdv(redox), dqdv(redox, half_cycles=[2])
    assert second.half_cycle.values.tolist() == [2]
    shared = every.sel(half_cycle=[2]).dropna("voltage", how="all")
    mine = second.dropna("voltage", how="all")
    np.testing.assert_allclose(shared.dqdv, mine.dqdv)
    with pytest.raises(ArgumentError, match="numbers from 1 to 2"):
        dqdv(redox, half_cycles=[3])
    with pytest.raises(ArgumentError, match="that rise"):
        turning_point(every, window=(4.0, 3.0))
    with pytest.raises(ArgumentError, match="half_cycles"):
        turning_point(every, window=(3.0, 4.0), half_cycles=[7])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"smoothing": -1.0}, "smoothing=-1"),
        ({"bin": 0.0}, "bin=0"),
        ({"bin": 1e-9}, "no finer"),
        ({"method": "spline"}, "method='spline'"),
        ({"method": "savgol", "order": 99}, "order=99"),
        ({"mass": -2.0}, "mass=-2"),
    ],
)
def test_messages(redox, wrong, message):
    with pytest.raises(ArgumentError, match=message):
        dqdv(redox, **wrong)
    with pytest.raises(DataError, match=r"more than 200000 bins.* spike"):
        dqdv(redox, bin=1e-6, smoothing=0.001)
    with pytest.raises(DataError, match="time_scale"):
        dqdv(redox.assign_attrs(flags=["time_scale"]))
    with pytest.raises(ArgumentError, match="prominence=0"):
        peaks(dqdv(redox), prominence=0)


def test_memory_does_not_depend_on_how_fine_the_voltage_is(redox):
    import tracemalloc

    dqdv(redox)
    rng = np.random.default_rng(0)
    redox["voltage"] = redox["voltage"] + rng.normal(0, 1e-9, redox.sizes["record"])
    redox["voltage"].attrs["units"] = "V"
    tracemalloc.start()
    dqdv(redox)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10e6


def test_kernel_against_numpy_bins():
    # Voltages in the middle of bins and steps of whole bins: what a histogram does.
    rng = np.random.default_rng(2)
    v = 3.0 + 0.1 * np.cumsum(rng.integers(2, 4, 50))
    t = np.arange(50) * 36.0
    record, rule = of_rows(v, np.ones(50), t=t), Rule(0.1, 100.0, False)
    grid = Bins(False, 2.95, 0.1, np.empty(200))
    bins, carry = np.zeros(200), np.zeros(CARRIED)
    lay_charge(record, Rows(0, 50, 1.0), rule, grid, bins, carry)
    at = np.round((v - 2.95) / 0.1, 6)
    wanted = np.zeros(200)
    for a, b in itertools.pairwise(at):
        edges = np.arange(200)
        part = np.clip(np.minimum(b, edges + 1) - np.maximum(a, edges), 0, None)
        wanted += 0.01 * part / (b - a)
    np.testing.assert_allclose(bins, wanted, atol=1e-12)


def test_accessor(redox):
    found = redox.echem.dqdv(bin=0.002)
    xr.testing.assert_equal(found, dqdv(redox, bin=0.002))
    xr.testing.assert_equal(found.echem.peaks(), peaks(found))
