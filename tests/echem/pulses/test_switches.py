"""Resistances, pulses and interruptions of a cell whose circuit is written out here."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import ArgumentError, DataQualityWarning
from batteryxr.echem import Lithiation, interruptions, pulses, resistance

R0, R1, TAU, SIGMA = 0.050, 0.030, 4.0, 0.004  # ohm, ohm, s, ohm s^-0.5
CAPACITY = 1000.0  # mA h


def times_after(lasting, first=0.1, growth=1.15, longest=20.0):
    steps = first * growth ** np.arange(400)
    t = np.cumsum(np.minimum(steps, longest))
    return np.append(t[t < lasting - 1e-9], lasting)


def cell(program, *, noise=0.0, seed=0, first=0.1, full=0.5):
    """Return the record of a program of (current in A, s).

    R0, an RC element, and diffusion as the square root of time after each switch.
    """
    begins = np.concatenate([[0.0], np.cumsum([s for _, s in program])])
    t, i = [np.array([0.0])], [np.array([program[0][0]])]
    for (current, lasting), begin in zip(program, begins, strict=False):
        mine = begin + times_after(lasting, first)
        t.append(mine)
        i.append(np.full(mine.size, current))
    t, i = np.concatenate(t), np.concatenate(i)
    v = R0 * i
    levels = np.diff(np.array([0.0, *(c for c, _ in program)]))
    for step, begin in zip(levels, begins, strict=False):
        since = np.where(t > begin, t - begin, 0.0)
        v = v + step * (R1 * (1 - np.exp(-since / TAU)) + SIGMA * np.sqrt(since))
    charge = np.concatenate([[0.0], np.cumsum(i[1:] * np.diff(t))]) / 3.6  # mA h
    v = v + 3.3 + 0.8 * (full + charge / CAPACITY)
    v = v + noise * np.random.default_rng(seed).standard_normal(v.size)
    record = xr.Dataset(
        {
            "voltage": ("record", v, {"units": "V"}),
            "current": ("record", i * 1e3, {"units": "mA"}),
            "temperature": ("record", np.full(t.size, 25.0), {"units": "degC"}),
        },
        {"test_time": ("record", t, {"units": "s"})},
    )
    return record, charge


def expected(at):
    """Return the resistance after a switch from rest, without that of the charge."""
    at = np.asarray(at)
    return R0 + R1 * (1 - np.exp(-at / TAU)) + SIGMA * np.sqrt(at)


HPPC = [
    (0, 600),
    *[(1.0, 10), (0, 40), (-0.75, 10), (0, 60), (-0.2, 1800), (0, 900)] * 3,
]


@pytest.mark.parametrize("noise", [0.0, 5e-6])
def test_resistance_at_each_switch_within_half_a_per_cent(noise):
    record, _ = cell([(0, 300), (1.0, 1200), (0, 900)], noise=noise)
    found = resistance(record, at=(0, 1, 10))
    assert found["direction"].values.tolist() == ["charge", "rest"]
    np.testing.assert_allclose(found["resistance"].sel(delay=0), R0, rtol=0.005)
    # What 1 A stores in t seconds lifts the voltage too.
    stored = 0.8 * np.array([1, 10]) / 3.6 / CAPACITY
    on = found["resistance"].isel(switch=0).sel(delay=[1, 10])
    np.testing.assert_allclose(on, expected([1, 10]) + stored, rtol=0.01)
    np.testing.assert_allclose(found["interval"], 0.1, rtol=1e-6)
    np.testing.assert_allclose(found["capacity_total"], [0.0, 1200 / 3.6], atol=0.05)
    np.testing.assert_allclose(found["temperature"], 25.0)


def test_errors_of_r0_cover():
    inside = []
    for seed in range(40):
        record, _ = cell([(0, 60), (1.0, 60), (0, 60)], noise=5e-5, seed=seed)
        found = resistance(record, at=(0,))
        off = np.abs(found["resistance"].values - R0)
        inside += (off < 1.96 * found["resistance_error"].values).ravel().tolist()
    assert np.mean(inside) > 0.85


def test_a_table_of_hppc():
    record, charge = cell(HPPC)
    table = pulses(record, at=(0, 1))
    assert table["direction"].values.tolist() == ["charge", "discharge"] * 3
    np.testing.assert_allclose(table["current"], [1000.0, -750.0] * 3)
    np.testing.assert_allclose(table["duration"], 10.0, rtol=1e-6)
    np.testing.assert_allclose(table["resistance"].sel(delay=0), R0, rtol=0.005)
    np.testing.assert_allclose(table["resistance_back"], R0, rtol=0.005)
    np.testing.assert_allclose(table["charge"], [10 / 3.6, -7.5 / 3.6] * 3, rtol=1e-6)
    begins = np.searchsorted(record["test_time"], table["test_time"])
    np.testing.assert_allclose(table["capacity_total"], charge[begins], atol=0.2)
    lazy = pulses(record.chunk(record=37), at=(0, 1))
    xr.testing.assert_allclose(table, lazy.drop_attrs().assign_attrs(table.attrs))


def test_state_of_charge_counts_from_the_fullest_state():
    steps = [(-1.0, 10), (0, 40), (-1.0, 350), (0, 300)] * 9
    record, charge = cell([(0.5, 360), (0, 300), *steps], full=0.95)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = pulses(record, at=(0,), nominal_capacity=1000.0)
        every = resistance(record, at=(0,), nominal_capacity=1000.0)
    begins = np.searchsorted(record["test_time"], table["test_time"])
    true = 1.0 + (charge[begins] - charge.max()) / 1000.0
    np.testing.assert_allclose(table["soc"], true, atol=1e-3)
    assert float(every["soc"].min()) > 0.05
    for wrong in (2000.0, 500.0):
        with pytest.warns(DataQualityWarning, match="of nominal_capacity"):
            pulses(record, at=(0,), nominal_capacity=wrong)
    with pytest.warns(DataQualityWarning, match="Was it A h"):
        pulses(record, at=(0,), nominal_capacity=1.0)


def test_more_lithium_than_as_weighed_is_told_where_a_cell_is_full():
    record, _ = cell(HPPC, full=0.9)
    with pytest.warns(DataQualityWarning, match="begin charged.*x0="):
        table = pulses(record, at=(0,), formula="LiNiO2", mass=1000.0)
    assert float(table["li_content"].max()) > 1.05
    known = Lithiation("LiNiO2", x0=0.3)
    anode = record.assign(voltage=record["voltage"] - 2.4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pulses(record, at=(0,), formula=known, mass=1000.0)
        pulses(anode, at=(0,), formula="Li4Ti5O12", mass=1000.0)


def test_a_pulse_on_a_current_is_one_and_a_long_one_is_none():
    record, _ = cell(
        [(0.2, 600), (1.2, 10), (0.2, 600), (0, 300), (1.0, 500), (0, 300)]
    )
    table = pulses(record, at=(0,))
    np.testing.assert_allclose(table["current"], [1000.0])
    np.testing.assert_allclose(table["resistance"], R0, rtol=0.01)


def test_a_current_that_fades_is_no_switch():
    t = np.arange(0.0, 3600, 10)
    held = xr.Dataset(
        {
            "voltage": ("record", np.full(t.size, 4.2), {"units": "V"}),
            "current": ("record", 100 * np.exp(-t / 150), {"units": "mA"}),
        },
        {"test_time": ("record", t, {"units": "s"})},
    )
    assert resistance(held).sizes["switch"] == 0
    assert pulses(held).sizes["pulse"] == 0
    assert interruptions(held).sizes["interruption"] == 0


@pytest.mark.parametrize("noise", [0.0, 2e-5])
def test_interruptions_give_k_and_the_internal_resistance(noise):
    program = [(0.2, 300), *[(0, 10), (0.2, 290)] * 6]
    record, _ = cell(program, noise=noise, first=0.2)
    # With a fast RC element alone, all of it lies within the resistance.
    found = interruptions(record, window=(1, 10))
    assert found.sizes["interruption"] == 6
    assert (found["direction"] == "charge").all()
    np.testing.assert_allclose(found["duration"], 10.0, rtol=1e-6)

    t = np.linspace(0, 40, 401)
    i = np.where((t > 20) & (t <= 30), 0.0, -200.0)
    off = np.sqrt(np.clip(t - 20, 0, 10)) * (t <= 30)
    v = 3.7 - 0.2 * 0.08 + 0.2 * (t > 20) * (t <= 30) * 0.08 + 0.2 * 0.011 * off
    v = v + noise * np.random.default_rng(1).standard_normal(v.size)
    plain = xr.Dataset(
        {
            "voltage": ("record", v, {"units": "V"}),
            "current": ("record", i, {"units": "mA"}),
        },
        {"test_time": ("record", t, {"units": "s"})},
    )
    one = interruptions(plain, window=(1, 5)).isel(interruption=0)
    tolerance = 1e-9 if noise == 0 else 4 * float(one["k_error"])
    assert float(one["k"]) == pytest.approx(0.011, abs=tolerance)
    tolerance = 1e-9 if noise == 0 else 4 * float(one["resistance_error"])
    assert float(one["resistance"]) == pytest.approx(0.08, abs=tolerance)
    assert one["direction"] == "discharge"


@pytest.mark.parametrize(("seconds", "flag"), [(20.0, 1), (60.0, 1), (np.inf, 0)])
def test_a_slow_relaxation_is_no_diffusion(seconds, flag):
    t = np.linspace(0, 30, 301)
    off = np.clip(t - 20, 0, None)
    v = 3.7 - 0.2 * (t > 20) * 0.08 - 0.2 * 0.011 * np.sqrt(off)
    v += 0.2 * 0.05 * np.expm1(-off / seconds)
    v += 1e-5 * np.random.default_rng(2).standard_normal(v.size)
    i = np.where(t <= 20, 200.0, 0.0)
    t, v, i = np.append(t, [30.1, 30.2]), np.append(v, [3.7, 3.7]), [*i, 200, 200]
    record = xr.Dataset(
        {
            "voltage": ("record", v, {"units": "V"}),
            "current": ("record", np.array(i), {"units": "mA"}),
        },
        {"test_time": ("record", t, {"units": "s"})},
    )
    one = interruptions(record).isel(interruption=0)
    assert int(one["interruption_flag"]) == flag
    for name, truth in (("k", 0.011), ("resistance", 0.08)):
        assert abs(float(one[name]) - truth) < 2.5 * float(one[f"{name}_error"])
        assert float(one[f"{name}_error"]) < 0.3 * truth


def test_rows_before_a_step_are_not_of_the_one_before_it():
    t = np.concatenate([np.arange(0.0, 60, 10), [51.0, 52.0], np.arange(53.0, 90)])
    i = np.where((t > 50) & (t <= 52), 1000.0, 0.0)
    noise = 1e-4 * np.random.default_rng(0).standard_normal(t.size)
    record = xr.Dataset(
        {
            "voltage": ("record", 3.7 + R0 * i * 1e-3 + noise, {"units": "V"}),
            "current": ("record", i, {"units": "mA"}),
        },
        {"test_time": ("record", t, {"units": "s"})},
    )
    found = resistance(record, at=(1,)).isel(switch=1, delay=0)
    assert float(found["resistance"]) == pytest.approx(R0, abs=5e-4)
    # Both rows have the noise.
    assert float(found["resistance_error"]) > 1e-4


def test_rows_without_a_voltage_are_passed_over():
    record, _ = cell([(0, 300), (1.0, 10), (0, 300)])
    begins = int(np.argmax(record["current"].values > 0))
    volts = record["voltage"].values
    volts[[begins - 1, begins + 1, begins + 4]] = np.nan
    found = resistance(record, at=(0, 1))
    np.testing.assert_allclose(found["resistance"].sel(delay=0), R0, rtol=0.02)
    table = pulses(record, at=(0,))
    np.testing.assert_allclose(table["resistance"], R0, rtol=0.02)
    assert interruptions(record).sizes["interruption"] == 0
    volts[begins : begins + 60] = np.nan
    assert pulses(record, at=(0,))["resistance"].isnull().all()


def test_refusals():
    record, _ = cell([(0, 60), (1.0, 60)])
    for at in ((), (-1.0,), (np.nan,), (1.0, 1.0)):
        with pytest.raises(ArgumentError, match="at"):
            resistance(record, at=at)
    with pytest.raises(ArgumentError, match="window"):
        interruptions(record, window=(-1, 5))


def planar(t, tau=2000.0, terms=3000):
    """Return the response at the surface of a slab to a current that is put on."""
    n = np.arange(1, terms + 1)[:, None]
    left = np.exp(-((n * np.pi) ** 2) * t / tau) / n**2
    return t / tau + 1 / 3 - 2 / np.pi**2 * left.sum(axis=0)


def sphere(t, tau=2000.0):
    """Return the response at the surface of a sphere, while it is not yet filled.

    Crank: the inverse of the Laplace transform without its waves from the centre.
    """
    from scipy.special import erf

    x = np.minimum(t / tau, 0.01)
    begin = np.exp(x) * (1 + erf(np.sqrt(x))) - 1
    roots = np.array([4.493409, 7.725252, 10.904122, 14.066194, 17.220755])[:, None]
    later = np.maximum(t / tau, 0.01)
    left = (np.exp(-(roots**2) * later) / roots**2).sum(axis=0)
    far = np.pi * (np.arange(6, 60)[:, None] + 0.5)  # further roots, asymptotically
    far = far - 1 / far
    left = left + (np.exp(-(far**2) * later) / far**2).sum(axis=0)
    return np.where(t / tau < 0.01, begin, 3 * later + 0.2 - 2 * left)


def interrupted(response, *, slow=0.0, seed=0):
    """Return the record of one interruption, and its k and resistance."""
    amps, slope, r, on, off = 0.2, 0.5, 0.08, 2400.0, 2410.0  # A, V, ohm, s, s
    t = np.concatenate(
        [np.arange(0.0, on, 10.0), [on], on + times_after(10.0), [off + 0.1, off + 60]]
    )
    i = np.where((t <= on) | (t > off), amps, 0.0)
    v = 3.5 + slope * response(t) + r * i
    for at, sign in ((on, -1.0), (off, 1.0)):
        later = np.where(t > at, t - at, 0.0)
        v = v + sign * np.where(t > at, slope * response(later), 0.0)
        v = v - sign * (t > at) * slow * amps * np.exp(-later / 1.0)
    v = v + 1e-5 * np.random.default_rng(seed).standard_normal(t.size)
    record = xr.Dataset(
        {
            "voltage": ("record", v, {"units": "V"}),
            "current": ("record", i * 1e3, {"units": "mA"}),
        },
        {"test_time": ("record", t, {"units": "s"})},
    )
    return record, slope * 2 / np.sqrt(np.pi * 2000.0) / amps, r


SHAPES = {"planar": planar, "sphere": sphere}


@pytest.mark.parametrize("geometry", SHAPES)
def test_interruptions_of_a_particle_that_fills(geometry):
    inside, off = [], []
    for seed in range(6):
        record, k, r = interrupted(SHAPES[geometry], seed=seed)
        found = interruptions(record)  # the shape is not known
        assert found.sizes["interruption"] == 1
        known = interruptions(record, geometry=geometry)
        for one in (found, known):
            inside += (np.abs(one["k"] - k) < 1.96 * one["k_error"]).values.tolist()
            error = 1.96 * one["resistance_error"]
            inside += (np.abs(one["resistance"] - r) < error).values.tolist()
        off.append(float(known["k"][0]) / k - 1)
        assert found["interruption_flag"].values == [0]
    assert np.mean(inside) > 0.85  # four values of one seed go together
    assert abs(np.mean(off)) < 0.01


def test_a_row_missing_at_an_interruption_is_told_and_held_by_errors():
    inside = []
    for seed in range(4):
        record, k, r = interrupted(planar, seed=seed)
        there = record["test_time"].values != 2400.0
        with pytest.warns(DataQualityWarning, match="1 of 1 switches lie in a gap"):
            one = interruptions(record.isel(record=there)).isel(interruption=0)
        assert int(one["interruption_flag"]) == 2
        for name, truth in (("k", k), ("resistance", r)):
            error = float(one[f"{name}_error"])
            inside.append(abs(float(one[name]) - truth) < 1.96 * error)
            assert error < 0.2 * truth  # a charge transfer may hide in the gap
    assert np.mean(inside) > 0.8


@pytest.mark.parametrize("fast", [0.0, 0.03])  # ohm
def test_errors_of_k_hold_a_fast_process_that_noise_hides(fast):
    n, on, off, k, amps = 20, 60.0, 5.0, 4e-3, 0.1
    begins = 300.0 + (on + off) * np.arange(n)
    rows = [np.arange(0.0, 300.5)]
    for begin in begins:
        rows += [begin + np.arange(0.5, off + 0.1, 0.5), begin + off + np.arange(1, 61)]
    t = np.concatenate(rows)
    current, v = np.full(t.size, 0.1), 3.6 + k * amps * np.sqrt(t) + 0.05 * amps
    for at, sign in zip([*begins, *(begins + off)], n * [-1] + n * [1], strict=True):
        since = np.clip(t - at, 0.0, None)
        step = sign * amps * (t > at)
        current += step
        gone = np.exp(-since / 0.3)
        v += step * (0.05 + fast * (1 - gone) + k * np.sqrt(since))
    v += 5e-5 * np.random.default_rng(0).standard_normal(t.size)
    columns = {
        "voltage": ("record", v, {"units": "V"}),
        "current": ("record", current * 1e3, {"units": "mA"}),
    }
    clock = {"test_time": ("record", t, {"units": "s"})}
    found = interruptions(xr.Dataset(columns, clock))
    assert found.sizes["interruption"] == n
    told = found["interruption_flag"] > 0
    inside = np.abs(found["k"] - k) < 1.96 * found["k_error"]
    right = np.abs(found["resistance"] - 0.05 - fast) < 1.96 * found["resistance_error"]
    assert float((inside | told).mean()) >= 0.9
    within = np.abs(found["k"] - k) < found["k_error"]
    assert float((within | told).mean()) > 0.65  # as an error is one sd
    assert float((right | told).mean()) >= 0.9
    assert fast or int(told.sum()) == 0


def test_errors_of_k_hold_a_course_that_ends_with_the_current():
    """As where the resistance grows under current: nothing of it goes on."""
    rng = np.random.default_rng(0)
    on, off, amps, k, drift = (
        np.arange(1, 121.0),
        np.arange(0.1, 10, 0.1),
        2e-3,
        0.4,
        5e-5,
    )
    t = np.concatenate([130 * n + np.concatenate([on, 120 + off]) for n in range(4)])
    i = np.tile(np.repeat([amps, 0.0], [on.size, off.size]), 4)
    passed = 120 * (t // 130) + np.minimum(t % 130, 120)
    root = np.sqrt(np.maximum(t % 130 - 120, 0))
    v = 3.5 + drift * passed - (i == 0) * amps * (5.0 + k * root)
    v += 5e-5 * rng.standard_normal(t.size)
    columns = {"voltage": ("record", v, {"units": "V"})}
    columns["current"] = ("record", i * 1e3, {"units": "mA"})
    clock = {"test_time": ("record", t, {"units": "s"})}
    found = interruptions(xr.Dataset(columns, clock))
    assert found.sizes["interruption"] == 3  # the last one has no end
    assert (np.abs(found["k"] - k) < 2 * found["k_error"]).all()
    assert (found["k_error"] < 0.25 * k).all()
    assert (np.abs(found["resistance"] - 5.0) < 2 * found["resistance_error"]).all()


def test_a_slow_charge_transfer_is_told_and_taken_out_of_k():
    record, k, r = interrupted(planar, slow=0.03)
    found = interruptions(record, geometry="planar").isel(interruption=0)
    assert int(found["interruption_flag"]) == 1
    assert float(found["k"]) == pytest.approx(k, abs=3 * float(found["k_error"]))
    assert float(found["k"]) == pytest.approx(k, rel=0.04)
    assert float(found["resistance"]) == pytest.approx(r, rel=0.05)


def test_a_resistance_that_sparse_rows_do_not_tell_is_flagged():
    for first, flag in ((0.01, 0), (1.0, 4), (10.0, 4)):
        record, _ = cell([(0, 300), (1.0, 600), (0, 300)], first=first)
        found = resistance(record, at=(0,))
        assert found["switch_flag"].values.tolist() == [flag, flag]
        off = np.abs(found["resistance"] / R0 - 1)
        assert (off < 0.005).all() or flag
        later = resistance(record, at=(60.0,))
        assert later["switch_flag"].values.tolist() == [0, 0]
    record, _ = cell(HPPC, first=1.0)
    assert (pulses(record, at=(0,))["switch_flag"] == 4).all()


def sampled(t, program, noise=0.0, seed=0):
    """Return the record of a program at some times, and its current in A."""
    begins = np.concatenate([[0.0], np.cumsum([s for _, s in program])])
    i, v, last = np.zeros(t.size), np.full(t.size, 3.7), 0.0
    for (current, _), begin in zip(program, begins, strict=False):
        since = np.where(t > begin, t - begin, 0.0)
        i = np.where(t > begin, current, i)
        rise = R0 * (t > begin) + R1 * (1 - np.exp(-since / TAU))
        v = v + (current - last) * (rise + SIGMA * np.sqrt(since))
        last = current
    v = v + noise * np.random.default_rng(seed).standard_normal(t.size)
    record = xr.Dataset(
        {
            "voltage": ("record", v, {"units": "V"}),
            "current": ("record", i * 1e3, {"units": "mA"}),
        },
        {"test_time": ("record", t, {"units": "s"})},
    )
    return record, i


PULSE = [(0, 600), (1.0, 60), (0, 600)]


@pytest.mark.parametrize("first", [0.05, 0.2, 1.0])
def test_a_switch_in_a_gap_is_flagged_and_its_errors_hold_the_gap(first):
    # At rest a row each minute, and none at its end.
    t = np.concatenate(
        [np.arange(30.0, 600, 60), 600 + times_after(60, first), 661 + np.arange(500.0)]
    )
    with pytest.warns(DataQualityWarning, match="1 of 2 switches lie in a gap"):
        found = resistance(sampled(t, PULSE)[0], at=(0, 1))
    assert found["switch_flag"].values[0] & 1
    off = np.abs(found["resistance"].values[0] - expected([0, 1]))
    assert (off < 2 * found["resistance_error"].values[0]).all()
    assert (off < 0.3 * R0).all()  # nothing absurd from a minute away
    with pytest.warns(DataQualityWarning, match="pulses: 1 of 1"):
        assert pulses(sampled(t, PULSE)[0], at=(0,))["switch_flag"].values & 1


def test_errors_hold_a_clock_that_no_switch_disturbs():
    inside = []
    for shift in np.linspace(0.05, 0.95, 10):
        found = resistance(sampled(np.arange(shift, 1200, 1.0), PULSE)[0], at=(0,))
        off = np.abs(found["resistance"].values - R0)
        inside += (off < 2 * found["resistance_error"].values).ravel().tolist()
    assert all(inside)


def test_sparse_rows_leave_no_wild_extrapolation():
    for step in (0.1, 0.5, 2.0):
        rows = [np.arange(0.0, 600, 10), 600 + np.arange(0, 60, step)]
        t = np.concatenate([*rows, 660 + np.arange(0, 500, step)])
        found = resistance(sampled(t, PULSE)[0], at=(0,))
        off = np.abs(found["resistance"].values - R0)
        assert (off < 0.03 * R0).all()
        assert (off < 2.5 * found["resistance_error"].values).all()


@pytest.mark.parametrize("chunk", [None, 31, 601])
def test_a_row_that_holds_a_mean_dates_the_switch(chunk):
    t = np.arange(0.5, 1200, 1.0)
    record, i = sampled(t, PULSE)
    for at in (600, 660):
        i[int(np.argmax(t > at))] = 0.5
    record["current"] = "record", i * 1e3, {"units": "mA"}
    record = record if chunk is None else record.chunk(record=chunk)
    found = resistance(record, at=(0,))
    assert (found["switch_flag"] & 2 > 0).all()
    np.testing.assert_allclose(found["resistance"], R0, rtol=0.02)
    assert pulses(record, at=(0,)).sizes["pulse"] == 1


def test_a_single_row_of_current_is_told_and_is_no_switch():
    t = np.arange(0.0, 1200, 1.0)
    record, _ = sampled(t, [(0, 600), (1.0, 1), (0, 500)])
    with pytest.warns(DataQualityWarning, match="one row only"):
        assert resistance(record).sizes["switch"] == 0


def test_a_pulse_against_the_current_it_is_laid_on():
    record, _ = cell([(1.0, 600), (0.5, 60), (1.0, 600)])
    table = pulses(record, at=(0,))
    np.testing.assert_allclose(table["current"], [-500.0])
    np.testing.assert_allclose(table["resistance"], R0, rtol=0.01)
    assert table["direction"].values.tolist() == ["discharge"]


def test_a_delay_as_long_as_the_pulse_has_an_error():
    """A record of even rows does not date its switches; the last delay still counts."""
    t = np.arange(0.0, 60.0, 0.5)
    on = (t > 20) & (t <= 30)
    i = np.where(on, 1.0, 0.0)
    v = 3.5 + R0 * i + R1 * np.where(t > 20, 1 - np.exp(-(t - 20) / TAU), 0.0)
    record = xr.Dataset(
        {
            "voltage": ("record", v, {"units": "V"}),
            "current": ("record", i * 1e3, {"units": "mA"}),
        },
        {"test_time": ("record", t, {"units": "s"})},
    )
    found = resistance(record, at=(1, 10)).isel(switch=0)
    assert np.isfinite(found["resistance_error"]).all()
    true = R0 + R1 * (1 - np.exp(-np.array([1, 10]) / TAU))
    assert (np.abs(found["resistance"] - true) < 2 * found["resistance_error"]).all()


def test_few_rows_and_rows_that_share_a_time_are_told():
    time = np.concatenate([np.arange(0, 30.05, 0.1), np.arange(30.1, 60.05, 0.1)])
    since = np.maximum(time - 30.0, 0)
    volts = 3.7 + np.where(time > 30.01, 0.05 + 0.02 * (1 - np.exp(-since / 2)), 0)
    amps = np.where(time > 30.01, 1000.0, 0.0)

    def found(rows, clock):
        columns = {
            "voltage": ("record", volts[rows], {"units": "V"}),
            "current": ("record", amps[rows], {"units": "mA"}),
        }
        at = {"test_time": ("record", clock(time[rows]), {"units": "s"})}
        return resistance(xr.Dataset(columns, at), at=(0, 1)).isel(switch=0)

    whole = slice(None)
    exact, rounded = found(whole, lambda t: t), found(whole, np.round)
    sparse = found(slice(None, None, 100), lambda t: t)
    np.testing.assert_allclose(exact["resistance"][0], 0.05, rtol=0.01)
    assert rounded["switch_flag"] & 8
    assert sparse["switch_flag"] & 4
    off = abs(rounded["resistance"] - exact["resistance"])
    assert (off < 2 * rounded["resistance_error"]).all()


def test_a_pulse_that_the_record_cuts_off_is_told():
    program = [(0.0, 60.0), (-1.0, 10.0), (0.0, 60.0), (-1.0, 6.0)]
    with pytest.warns(DataQualityWarning, match="ends 6 s after its last switch"):
        assert pulses(cell(program)[0]).sizes["pulse"] == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataQualityWarning)
        assert pulses(cell(program[:3])[0]).sizes["pulse"] == 1


def test_the_charge_between_a_pulse_and_the_row_before_is_counted():
    t = np.arange(0.0, 2401.0, 10.0)
    pulsed = (t % 300 > 0) & (t % 300 <= 60)  # 60 s of every 300 s, switched at rows
    current = np.where(pulsed, np.where(t % 600 < 300, -1000.0, 700.0), 0.0)
    table = pulses(sampled_rows(t, current))
    passed = np.cumsum(np.append(0.0, np.tile([-1000.0, 700.0], 4) * 60 / 3600))[:-1]
    np.testing.assert_allclose(table["capacity_total"], passed, atol=1e-9)


def sampled_rows(t, current):
    columns = {
        "voltage": ("record", 3.7 + 1e-5 * current, {"units": "V"}),
        "current": ("record", current, {"units": "mA"}),
    }
    return xr.Dataset(columns, {"test_time": ("record", t, {"units": "s"})})
