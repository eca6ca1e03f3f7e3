"""Half cycles: charge, energy, where they begin and end, and what is odd."""

from __future__ import annotations

import itertools
import json
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from batteryxr.core.errors import (
    ArgumentError,
    DataQualityWarning,
    DimensionError,
    UnitsError,
    VariableError,
)
from batteryxr.core.replay import replay
from batteryxr.core.store import open_store, save
from batteryxr.echem import Counting, half_cycles
from batteryxr.echem.kernels import parts, segments
from batteryxr.echem.kernels.record import Record, Rule


def test_charge_energy_and_means_of_a_known_record(make_record):
    # 1 h at 2 mA from 3 to 4 V, 1 h rest, half an hour at -1 mA from 4 to 3.5 V.
    t = np.arange(0, 3601, 60.0)
    up, rest, down = t, t + 3600, t[:31] + 7200
    rows = make_record(
        np.concatenate([up, rest, down]),
        np.concatenate([3 + t / 3600, np.full(61, 3.9), 4 - t[:31] / 3600]),
        np.concatenate([np.full(61, 2.0), np.zeros(61), np.full(31, -1.0)]),
    )
    found = half_cycles(rows)
    assert found.direction.values.tolist() == ["charge", "discharge"]
    np.testing.assert_allclose(found.capacity, [2.0, 0.5])
    np.testing.assert_allclose(found.energy, [7.0, 0.5 * 3.75])
    np.testing.assert_allclose(found.mean_voltage, [3.5, 3.75])
    np.testing.assert_allclose(found.mean_current, [2.0, -1.0])
    np.testing.assert_allclose(found.voltage_end, [4.0, 3.5])
    np.testing.assert_allclose(found.duration, [3600, 1800])
    np.testing.assert_allclose(found.rest_time, [3600, 0])
    assert found.first_record.values.tolist() == [0, 122]
    assert found.last_record.values.tolist() == [121, 152]
    assert np.isnat(found.time_start.values).all()
    assert np.isnan(found.counter_capacity.values).all()
    for name, variable in found.variables.items():
        assert "long_name" in variable.attrs, name
        assert variable.dtype.kind == "M" or "units" in variable.attrs, name


def test_a_mean_current_counts_over_the_interval_before_it(make_record):
    # An exponential decay at constant voltage: the mean of each interval is exact.
    t = np.arange(0, 3601, 60.0)
    charge = 1 - np.exp(-t / 900)
    mean = np.diff(charge, prepend=0.0) / np.diff(t, prepend=-60.0) * 3600
    rows = make_record(t, np.full(t.size, 4.2), mean, mean=True)
    np.testing.assert_allclose(half_cycles(rows).capacity, charge[-1], rtol=1e-12)
    rows["current"].attrs = {"units": "mA", "source_label": "<I>/mA"}
    np.testing.assert_allclose(half_cycles(rows).capacity, charge[-1], rtol=1e-12)
    rows["current"].attrs = {"units": "mA"}
    assert abs(half_cycles(rows).capacity.item() / charge[-1] - 1) > 1e-3


def test_a_half_cycle_runs_on_over_files_but_not_across_the_gap(make_record):
    t = np.array([0, 3600, 7200, 7260, 10860.0])
    rows = make_record(
        t, [3, 3.5, 4, 4, 4.2], [1, 1, 1, 2, 2], file=np.array([0, 0, 0, 1, 1], "i2")
    )
    found = half_cycles(rows)
    assert found.sizes["half_cycle"] == 1
    np.testing.assert_allclose(found.capacity, 4.0)
    np.testing.assert_allclose(found.gap_time, 60.0)
    assert found.gaps.item() == 1
    assert found.flag.item() == 8
    assert found.complete.item()


def test_long_intervals_under_current_are_gaps_and_at_rest_are_not(make_record):
    t = [0, 100, 200, 9000, 20000, 20100, 40000]
    rows = make_record(t, [3.0] * 7, [1, 1, 0, 0, 1, 1, 1])
    found = half_cycles(rows)
    np.testing.assert_allclose(found.capacity, 200 / 3600)
    np.testing.assert_allclose(found.gap_time, 19900.0 + 11000.0)
    wide = half_cycles(rows, counting=Counting(max_gap=1e5))
    np.testing.assert_allclose(wide.capacity, 20100 / 3600)
    assert wide.gaps.item() == 0


def test_rests_split_by_the_cycler_change_nothing(make_cycled):
    rows = make_cycled(3)
    plain = half_cycles(rows)
    counted = rows.assign(cycle=("record", np.arange(rows.sizes["record"]) // 7))
    again = half_cycles(counted)
    for name in plain.data_vars:
        np.testing.assert_array_equal(plain[name], again[name])


def test_a_row_of_noise_does_not_split_a_charge(make_cycled):
    rows = make_cycled(2)
    whole = half_cycles(rows)
    current = rows["current"].values.copy()
    current[210] = -0.004  # one row of the wrong sign in the first rest
    noisy = half_cycles(rows.assign(current=rows["current"].copy(data=current)))
    np.testing.assert_allclose(noisy.capacity, whole.capacity)
    assert noisy.sizes["half_cycle"] == 4


def test_rest_current_of_an_offset_is_rest(make_cycled):
    rows = make_cycled(2)
    noise = np.random.default_rng(0).normal(0, 4e-4, rows.sizes["record"])
    rows["current"] = rows["current"] + noise
    rows["current"].attrs["units"] = "mA"
    found = half_cycles(rows)
    assert found.sizes["half_cycle"] == 4
    assert found.attrs["i_zero"] >= 1e-3
    np.testing.assert_allclose(
        found.capacity, half_cycles(make_cycled(2)).capacity, 1e-3
    )


def test_backward_time_gives_no_capacity(make_cycled):
    rows = make_cycled(2)
    time = rows["test_time"].values.copy()
    time[250:] -= 500
    rows = rows.assign_coords(test_time=("record", time, {"units": "s"}))
    with pytest.warns(DataQualityWarning, match="backward at 1 row"):
        found = half_cycles(rows)
    assert np.isnan(found.capacity.values).tolist() == [False, True, False, False]
    assert found.flag.values[1] & 4
    assert not found.complete.values[1]


def test_a_flagged_record_gives_no_capacity(make_cycled):
    rows = make_cycled(2).assign_attrs(flags=["time_scale"])
    with pytest.warns(DataQualityWarning, match="time_scale"):
        found = half_cycles(rows)
    assert np.isnan(found.capacity.values).all()


def test_missing_rows_are_passed_over_and_told(make_record):
    t = np.arange(0, 7201, 60.0)
    v, i = 3 + t / 7200, np.full(t.size, 1.0)
    i[10:20], v[30] = np.nan, np.nan
    found = half_cycles(make_record(t, v, i))
    np.testing.assert_allclose(found.capacity, 2.0)
    assert found.flag.item() == 16
    assert found.attrs["missing_rows"] == 11


@pytest.mark.parametrize("signed", [False, True])
def test_the_cyclers_counter_is_compared_whatever_its_habit(make_record, signed):
    t = np.arange(0, 3600.0, 10.0)
    i = np.where(np.arange(t.size) < 180, 1.0, -2.0)
    v = np.where(i > 0, 3 + t / 3600, 4 - t / 3600)
    per_row = np.where(np.arange(t.size) % 180 == 0, 0.0, i * 10 / 3600)
    count = np.cumsum(per_row)
    if not signed:  # restarts with each half cycle and again half way through
        count = np.concatenate([np.cumsum(np.abs(p)) for p in np.split(per_row, 4)])
    found = half_cycles(make_record(t, v, i, capacity=count))
    np.testing.assert_allclose(found.q_consistency, 0.0, atol=1e-9)
    wrong = half_cycles(make_record(t, v, i, capacity=count / 1.01))
    np.testing.assert_allclose(wrong.q_consistency, 0.01, rtol=1e-6)


def test_incomplete_ends_are_flagged(make_cycled, make_record):
    rows = make_cycled(3).isel(record=slice(150, -100))
    found = half_cycles(rows)
    assert found.complete.values.tolist() == [False, True, True, True, True, False]
    assert (found.flag.values[[0, -1]] & 3).tolist() == [1, 2]


def test_no_current_no_half_cycle(make_record):
    found = half_cycles(make_record([0, 1, 2], [3, 3, 3], [0, 0, 0]))
    assert found.sizes["half_cycle"] == 0
    assert half_cycles(make_record([], [], [])).sizes["half_cycle"] == 0


def test_clock_times_are_kept(make_record):
    start = np.datetime64("2022-07-26T20:38:30.190", "ns")
    t = np.arange(10) * 60
    time = start + (t * 1e9).astype("m8[ns]")
    current = [0, 1, 1, 1, 0, -1, -1, -1, -1, 0]
    found = half_cycles(make_record(t, np.full(10, 3.5), current, time=time))
    assert found.time_start.values.tolist() == time[[1, 5]].tolist()
    assert found.time_end.values.tolist() == time[[3, 8]].tolist()


def test_units_are_converted(make_cycled):
    rows = make_cycled(2)
    wanted = half_cycles(rows)
    rows["current"] = rows["current"] / 1000
    rows["current"].attrs["units"] = "A"
    rows["voltage"] = rows["voltage"] * 1000
    rows["voltage"].attrs["units"] = "mV"
    found = half_cycles(rows)
    np.testing.assert_allclose(found.capacity, wanted.capacity)
    np.testing.assert_allclose(found.energy, wanted.energy)


def test_messages(make_cycled):
    rows = make_cycled(1)
    with pytest.raises(VariableError, match="half_cycles needs the variable 'current'"):
        half_cycles(rows.drop_vars("current"))
    with pytest.raises(DimensionError, match="record"):
        half_cycles(rows.rename(record="row"))
    with pytest.raises(ArgumentError, match="i_zero=-1"):
        half_cycles(rows, counting=Counting(i_zero=-1.0))
    with pytest.raises(ArgumentError, match="max_gap=0"):
        half_cycles(rows, counting=Counting(max_gap=0))
    del rows["current"].attrs["units"]
    with pytest.raises(UnitsError, match="no units"):
        half_cycles(rows)


def test_replay_and_round_trip(make_cycled, tmp_path):
    rows = make_cycled(2)
    found = half_cycles(rows)
    call = json.loads(found.attrs["batteryxr_call"])
    assert (call["accessor"], call["method"]) == ("echem", "half_cycles")
    xr.testing.assert_equal(replay(found, rows), found)
    again = open_store(save(found, tmp_path / "a.zarr"))
    xr.testing.assert_equal(again.load(), found)
    xr.testing.assert_equal(rows.echem.half_cycles(), found)


@pytest.mark.parametrize("chunk", [17, 50, 333, 10_000])
def test_lazy_equals_eager_bit_by_bit(make_cycled, chunk):
    rows = make_cycled(3)
    rng = np.random.default_rng(1)
    rows["current"] = rows["current"] * rng.uniform(0.9, 1.1, rows.sizes["record"])
    rows["current"].attrs["units"] = "mA"
    rows = rows.assign_coords(
        file=("record", (np.arange(rows.sizes["record"]) > 333).astype("i2"))
    )
    eager, lazy = half_cycles(rows), half_cycles(rows.chunk(record=chunk))
    for name in eager.variables:
        np.testing.assert_array_equal(eager[name], lazy[name], err_msg=str(name))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_chunks_change_not_a_bit(seed, cuts):
    rng = np.random.default_rng(seed)
    n = 400
    t = np.cumsum(rng.exponential(10, n))
    i = np.repeat(rng.choice([-1.0, 0.0, 1.0], n // 8), 8) * rng.uniform(0.5, 2, n)
    v = 3.5 + np.cumsum(rng.normal(0, 0.01, n))
    i[rng.integers(0, n, 5)] = np.nan
    t[n // 2 :] -= rng.choice([0.0, 50.0])
    file = np.sort(rng.integers(0, 3, n)).astype(np.int16)
    counter = np.cumsum(np.nan_to_num(i)) / 360
    clock = np.arange(n, dtype=np.int64)
    rows = Record(t, v, i, file, clock, counter, np.empty(0))
    rule = Rule(i_zero=0.01, max_gap=100.0, mean=bool(seed % 2))
    whole = segments.walk_whole(rows, rule)
    carry, table = np.zeros(segments.CARRIED), parts.table(2)
    edges = sorted({0, n, *cuts})
    for a, b in itertools.pairwise(edges):
        piece = Record(*(x[a:b] for x in rows))
        table = segments.walk(piece, a, rule, carry, table)
    for part, other in zip(whole, segments.trimmed(table), strict=True):
        np.testing.assert_array_equal(part, other)
    sign = np.sign(np.where(np.abs(i) >= 0.01, i, 0))
    turns = 1 + np.flatnonzero((np.diff(sign) != 0) & ~np.isnan(i[1:] + i[:-1]))
    np.testing.assert_array_equal(whole[2], turns)


def test_threads_agree_bit_by_bit_over_many_blocks():
    rng = np.random.default_rng(3)
    n = 5 * segments.BLOCK + 1234
    t = np.cumsum(rng.uniform(0.5, 1.5, n))
    i = np.where(
        np.sin(t / 7000) > 0.1, 1.0, np.where(np.sin(t / 7000) < -0.1, -1.0, 0)
    )
    i *= rng.uniform(0.9, 1.1, n)
    v = 3.5 + 0.5 * np.sin(t / 7000)
    file = np.sort(rng.integers(0, 4, n)).astype("i2")
    rows = Record(t, v, i, file, np.empty(0, "i8"), np.empty(0), np.empty(0))
    rule = Rule(i_zero=1e-3, max_gap=10.0, mean=False)
    results, turns = [], 1 + np.flatnonzero(np.diff(np.sign(i)) != 0)
    for workers in (1, 2, 3, 5):
        walked = segments.walk_whole(rows, rule, workers=workers)
        results.append(parts.half_cycle_tables(*walked[:2], 0.02)[:2])
        np.testing.assert_array_equal(walked[2], turns)
    edges = [0, *np.sort(rng.integers(0, n, 9)), n]
    carry, table = np.zeros(segments.CARRIED), parts.table()
    for a, b in itertools.pairwise(edges):
        piece = Record(*(x[a:b] for x in rows))
        table = segments.walk(piece, a, rule, carry, table)
    floats, integers, turned = segments.trimmed(table)
    np.testing.assert_array_equal(turned, turns)
    results.append(parts.half_cycle_tables(floats, integers, 0.02)[:2])
    for floats, integers in results[1:]:
        np.testing.assert_array_equal(floats, results[0][0])
        np.testing.assert_array_equal(integers, results[0][1])
    # Against NumPy, interval by interval.
    same = (i[1:] * i[:-1] > 0) & (np.diff(file) == 0)
    charge = np.where(same, 0.5 * (i[1:] + i[:-1]) * np.diff(t), 0.0) / 3600
    total = results[0][0][:, parts.CHARGE]
    np.testing.assert_allclose(np.abs(total).sum(), np.abs(charge).sum(), rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_largest_is_the_largest(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=rng.integers(1, 50)) * 10.0 ** rng.integers(-12, 6)
    assert segments.largest(values) == np.abs(values).max()
    assert segments.largest(values.astype("f4")) == np.abs(values.astype("f4")).max()
    values[0] = np.nan
    wanted = np.abs(values[1:]).max(initial=0.0)
    assert segments.largest(values) == wanted


def test_no_warning_on_a_good_record(make_cycled):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        half_cycles(make_cycled(2, rows=400))


def test_a_longest_gap_below_the_pace_of_the_rows_is_told():
    """Every other interval lasts 40 s and is not counted: a fifth remains."""
    time = np.cumsum(np.tile([10.0, 40.0], 100))
    record = xr.Dataset(
        {
            "voltage": ("record", 3 + time / time[-1], {"units": "V"}),
            "current": ("record", np.ones(time.size), {"units": "mA"}),
        },
        coords={"test_time": ("record", time, {"units": "s"})},
    )
    with pytest.warns(DataQualityWarning, match=r"80% of .* min\? Pass 1800"):
        found = half_cycles(record, counting=Counting(max_gap=30.0))
    assert found["capacity"].item() == pytest.approx(99 * 10 / 3600)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        half_cycles(record)
