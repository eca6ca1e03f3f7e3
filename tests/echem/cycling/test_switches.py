"""Charge of the intervals in which the current is switched, against an instrument."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import DataQualityWarning
from batteryxr.echem import Counting, dqdv, half_cycles, join

GAP, UNKNOWN, DIFFERS = 8, 128, 256


def instrument(steps, *, every=37.0, habit="step", late=13.0, ends=False):
    """Log steps (current as a function of time, s) and count what flows, finely.

    The first row of a step comes `late` after it begins; rows do not fall on its end
    unless `ends`.
    """
    rows, begin, total, per_way = [], 0.0, 0.0, [0.0, 0.0]
    truth = []
    for number, (current, seconds) in enumerate(steps):
        fine = np.linspace(0, seconds, 20_001)
        flow = np.array([current(s) for s in fine])
        parts = 0.5 * (flow[1:] + flow[:-1]) * np.diff(fine) / 3600
        passed = np.concatenate([[0.0], np.cumsum(parts)])
        moments = np.arange(late, seconds - 1e-9, every)
        if ends:
            moments = np.append(moments, seconds)
        for s in moments:
            q = float(np.interp(s, fine, passed))
            way = [per_way[0] + max(q, 0.0), per_way[1] + max(-q, 0.0)]
            net = total + q
            counted = {"step": abs(q), "net": net, "ways": way[0] - way[1]}[habit]
            voltage = 3.6 + 0.3 * net + 0.05 * np.sign(current(s))
            rows.append((begin + s, voltage, current(s), counted, s, number))
        total += passed[-1]
        per_way = [per_way[0] + max(passed[-1], 0), per_way[1] + max(-passed[-1], 0)]
        begin += seconds
        truth.append(passed[-1])
    t, v, i, counter, step_time, _ = np.array(rows).T
    start = np.datetime64("2026-02-01", "ns")
    record = xr.Dataset(
        {
            "voltage": ("record", v, {"units": "V"}),
            "current": ("record", i, {"units": "mA"}),
            "capacity": ("record", counter, {"units": "mA h"}),
            "step_time": ("record", step_time, {"units": "s"}),
        },
        {
            "test_time": ("record", t, {"units": "s"}),
            "time": ("record", start + np.rint(t * 1e9).astype("m8[ns]")),
        },
    )
    return record, truth


def constant(current):
    return lambda s: current


def cycle(rest=300.0):
    decay = 900.0
    return [
        (constant(0.0), 200.0),
        (constant(1.0), 3000.0),
        (lambda s: float(np.exp(-s / decay)), 2500.0),
        (constant(0.0), rest),
        (constant(-1.0), 4100.0),
        (constant(0.0), 200.0),
    ]


@pytest.mark.parametrize("habit", ["net", "ways"])
def test_the_counter_tells_what_flowed_at_a_switch(habit):
    record, truth = instrument(cycle(), habit=habit)
    found = half_cycles(record.drop_vars("step_time"))
    wanted = [truth[1] + truth[2], -truth[4]]
    np.testing.assert_allclose(found.capacity, wanted, rtol=2e-4)
    assert (np.abs(found.q_consistency) < 2e-4).all()
    assert (found.flag & (UNKNOWN | DIFFERS) == 0).all()


def test_a_counter_that_begins_with_each_step_needs_its_last_row():
    record, truth = instrument(cycle(), habit="step", ends=True)
    found = half_cycles(record.drop_vars("step_time"))
    wanted = [truth[1] + truth[2], -truth[4]]
    np.testing.assert_allclose(found.capacity, wanted, rtol=2e-4)


@pytest.mark.parametrize("apart", [False, True])
def test_what_a_counter_had_when_it_began_anew_may_be_missing(apart):
    """The last row of each step is up to 60 s before its end, and no step time."""
    steps = [(constant(0.0), 100.0), (constant(1.0), 1510.0)]
    steps += [(lambda s: np.exp(-s / 40), 310.0), (constant(-1.0), 1520.0)]
    record, truth = instrument([*steps, steps[0]], every=60.0, late=5.0)
    record = record.drop_vars("step_time")
    if apart:
        for name, sign in (("charge_capacity", 1), ("discharge_capacity", -1)):
            passed = record["capacity"].where(sign * record["current"] > 0, 0.0)
            record[name] = passed.assign_attrs(units="mA h")
        record = record.drop_vars("capacity")
    found = half_cycles(record)
    wanted = np.array([truth[1] + truth[2], -truth[3]])
    lost = wanted - found.capacity.values
    much = lost > 2e-3 * wanted
    assert much[1]
    assert (found.flag.values[much] & UNKNOWN > 0).all()
    assert (found.missing_charge.values > 0.99 * lost - 1e-6).all()
    lazy = half_cycles(record.chunk(record=13))
    np.testing.assert_array_equal(lazy.missing_charge, found.missing_charge)


@pytest.mark.parametrize("decay", [15.0, 40.0, 150.0])
@pytest.mark.parametrize("files", [False, True])
def test_lines_over_rows_far_apart_tell_by_how_much_they_may_be_off(decay, files):
    steps = [(constant(0.0), 100.0), (constant(1.0), 1500.0)]
    steps += [(lambda s: np.exp(-s / decay), 900.0), (constant(-1.0), 1520.0)]
    record, truth = instrument(steps, every=60.0, late=0.0, ends=True)
    record = record.drop_vars(["step_time", "capacity"])
    if files:  # another begins with the discharge
        numbers = (record.current < 0).astype(np.int16)
        record = record.assign_coords(file=("record", numbers.values))
    found = half_cycles(record)
    off = found.capacity.values - [truth[1] + truth[2], -truth[3]]
    assert 0.1 * found.line_uncertainty[0] < off[0] < found.line_uncertainty[0]
    assert found.line_uncertainty[1] == 0
    assert bool(found.flag[0] & 2048) == (found.line_uncertainty[0] > 2e-3 * truth[1])
    lazy = half_cycles(record.chunk(record=13))
    np.testing.assert_array_equal(lazy.line_uncertainty, found.line_uncertainty)


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("every", [60.0, 20.0])
def test_short_steps_between_rows_far_apart_are_counted_anew(ends, every):
    pulsed = [(constant(1.0), 400.0), (constant(-2.0), 8.0), (constant(0.0), 70.0)]
    steps = [
        (constant(0.0), 70.0),
        *pulsed * 4,
        (constant(1.0), 1500.0),
        (lambda s: np.exp(-s / 30), 200.0),
    ]
    steps += [(constant(0.0), 300.0), (constant(-1.0), 2500.0), (constant(0.0), 70.0)]
    record, truth = instrument(steps, every=every, late=7.0, ends=ends)
    found = half_cycles(record)
    wanted = [sum(truth[:15]), -truth[16]]
    # Without its last row a decay ends at a current that no row holds.
    np.testing.assert_allclose(found.capacity, wanted, rtol=2e-4 if ends else 2e-3)


@pytest.mark.parametrize("habit", ["step", "net"])
def test_a_pause_under_a_clock_that_goes_on_passes_no_charge(habit):
    record, truth = instrument(cycle(), habit=habit, ends=True)
    later = np.where(record.test_time > 1800.0, 1700.0, 0.0)
    found = half_cycles(record.assign_coords(test_time=record.test_time + later))
    np.testing.assert_allclose(found.capacity, [truth[1] + truth[2], -truth[4]], 2e-4)


@pytest.mark.parametrize("habit", ["step", "net", "ways"])
@pytest.mark.parametrize("begins", [1, 2, 4])
def test_what_flows_before_the_first_row_of_a_piece_is_counted(habit, begins):
    record, truth = instrument(cycle(), habit=habit, ends=True, late=37.0)
    edge = np.flatnonzero(np.diff(record.step_time) < 0)[begins - 1] + 1
    pieces = np.arange(record.sizes["record"]) >= edge
    record = record.assign_coords(file=("record", pieces.astype(np.int16)))
    found = half_cycles(record)
    np.testing.assert_allclose(found.capacity, [truth[1] + truth[2], -truth[4]], 2e-4)
    assert (found.flag.values & GAP).any()
    lazy = half_cycles(record.chunk(record=17))
    np.testing.assert_array_equal(lazy.capacity, found.capacity)
    timed = half_cycles(record.drop_vars("capacity"))
    if begins != 2:  # a line is no decay
        np.testing.assert_allclose(timed.capacity, found.capacity, 3e-3)


@pytest.mark.parametrize("seed", range(8))
def test_step_time_tells_when_the_current_was_switched(seed):
    rng = np.random.default_rng(seed)
    steps = [(constant(0.0), 100.0)]
    for _ in range(5):
        steps += [(constant(1.0), rng.uniform(2000, 4000))]
        if rng.random() < 0.5:
            steps += [(constant(0.0), rng.uniform(50, 500))]
        steps += [(constant(-rng.uniform(0.5, 2)), rng.uniform(1000, 4000))]
    late, every = rng.uniform(1, 30), rng.uniform(20, 90)
    record, truth = instrument(steps, late=late, every=every)
    found = half_cycles(record.drop_vars("capacity"))
    wanted = np.abs([q for q in truth if q])
    # The last step ends after its last row.
    np.testing.assert_allclose(found.capacity[:-1], wanted[:-1], rtol=1e-9)
    assert (found.flag & UNKNOWN == 0).all()


def test_where_nothing_tells_it_is_said():
    record, truth = instrument(cycle(), every=60.0, late=60.0)
    with pytest.warns(DataQualityWarning, match="charge may be missing"):
        found = half_cycles(record.drop_vars(["step_time", "capacity"]))
    wanted = np.array([truth[1] + truth[2], -truth[4]])
    assert (found.capacity < wanted * (1 - 2e-3)).all()
    assert (found.flag & UNKNOWN > 0).all()
    assert (found.missing_charge > 0.5 * 60 / 3600).all()


def test_the_counter_is_read_at_the_ends_across_what_no_row_covers():
    record, truth = instrument(cycle(), habit="net")
    # Ten minutes of the discharge were not logged: more than `max_gap`.
    t = record.test_time
    record = record.sel(record=~((t > 7000) & (t < 7600)))
    found = half_cycles(record, counting=Counting(max_gap=300.0))
    np.testing.assert_allclose(found.counter_capacity[1], -truth[4], rtol=1e-3)
    np.testing.assert_allclose(found.capacity[1], -truth[4], rtol=1e-3)
    assert found.flag[1] & GAP
    # A counter that began anew within them tells nothing of them.
    after = record.test_time > 7300
    anew = record.capacity - record.capacity[int(after.argmax())] * after
    with pytest.warns(DataQualityWarning, match="not at all"):
        lost = half_cycles(
            record.assign(capacity=anew.assign_attrs(units="mA h")),
            counting=Counting(max_gap=300.0),
        )
    assert lost.capacity[1] < -0.9 * truth[4]


def test_restarts_of_both_counters_are_not_taken_for_charge():
    """Two counters restart in one interval: what was left of them was subtracted."""
    flows = [(1.0, 3000.0), (0.0, 300.0), (-1.0, 2970.0), (0.0, 200.0)]
    steps = [(constant(i), seconds) for i, seconds in [(0.0, 200.0), *flows, *flows]]
    record, truth = instrument(steps, habit="ways", late=37.0, ends=True)
    rise = np.diff(record.capacity.values, prepend=0.0)
    second = record.test_time.values > 200 + sum(s for _, s in flows)
    counted = {}
    for name, sign in (("charge_capacity", 1.0), ("discharge_capacity", -1.0)):
        passed = np.cumsum(np.maximum(sign * rise, 0.0))
        passed -= second * passed[~second][-1]
        counted[name] = ("record", passed, {"units": "mA h"})
    record = record.drop_vars(["capacity", "step_time"]).assign(counted)
    found = half_cycles(record)
    wanted = np.abs([q for q in truth if q])
    np.testing.assert_allclose(found.capacity, wanted, rtol=2e-4)
    lazy = half_cycles(record.chunk(record=101))
    np.testing.assert_allclose(lazy.capacity, found.capacity, rtol=1e-12)


@pytest.mark.parametrize("habit", ["net", "step", "ways"])
def test_a_counter_that_goes_on_while_the_clock_stands_is_followed(habit):
    record, truth = instrument(cycle(), habit=habit, every=10.0, ends=True)
    whole = half_cycles(record)
    # Rows of 200 s within the discharge are lost, and time with them but for 0.1 s.
    t = record.test_time.values
    record = record.sel(record=~((t > 7000) & (t < 7200)))
    t = record.test_time.values
    jump = int(np.flatnonzero(np.diff(t) > 150)[0]) + 1
    lost = t[jump] - t[jump - 1] - 0.1
    moved = np.where(np.arange(t.size) >= jump, t - lost, t)
    record = record.assign_coords(test_time=("record", moved, {"units": "s"}))
    found = half_cycles(record)
    np.testing.assert_allclose(found.capacity, whole.capacity, rtol=1e-4)
    np.testing.assert_allclose(found.counter_capacity[1], -truth[4], rtol=1e-3)
    assert ((found.flag & 512) > 0).values.tolist() == [False, True]


def test_a_counter_of_another_scale_is_not_believed():
    record, _ = instrument(cycle(), habit="net")
    plain = half_cycles(record.drop_vars("capacity"))
    record["capacity"] = record["capacity"] * 1.05
    record["capacity"].attrs["units"] = "mA h"
    found = half_cycles(record)
    np.testing.assert_allclose(found.capacity, plain.capacity)
    assert (found.flag & DIFFERS > 0).all()


@pytest.mark.parametrize("without", ["capacity", "step_time"])
def test_curves_and_joined_scans_agree(without):
    record, _ = instrument([*cycle(), *cycle(0.0)], habit="net")
    record = record.drop_vars(without)
    found = half_cycles(record)
    curve = dqdv(record)
    area = curve.dqdv.sum("voltage") * curve.attrs["bin"]
    np.testing.assert_allclose(area, found.capacity, rtol=1e-9)
    # In the middle of the rests all of the half cycle before has passed.
    t = record.test_time.values
    rest = np.flatnonzero((record.current.values == 0) & (t > 300))
    for row in rest[2:-1]:
        scans = xr.Dataset(
            {"a": ("scan", [0.0])},
            {
                "time": ("scan", record.time.values[[row]]),
                "exposure": ("scan", [0.0], {"units": "s"}),
            },
        )
        joined = join(record, scans)
        number = int(joined.half_cycle[0])
        if record.current.values[row - 1] == 0:
            wanted = found.capacity.sel(half_cycle=number)
            np.testing.assert_allclose(joined.capacity[0], wanted, rtol=1e-9)


@pytest.mark.parametrize("chunk", [pytest.param(1, marks=pytest.mark.long), 11, 64])
def test_lazy_equals_eager(chunk):
    record, _ = instrument([*cycle(), *cycle(0.0)], habit="net")
    eager, lazy = half_cycles(record), half_cycles(record.chunk(record=chunk))
    for name in eager.variables:
        np.testing.assert_array_equal(eager[name], lazy[name], err_msg=str(name))
    curves = dqdv(record), dqdv(record.chunk(record=chunk))
    np.testing.assert_array_equal(curves[0].dqdv, curves[1].dqdv)


def held(seconds=3000.0):
    """Return steps whose currents decay, as at a constant voltage."""

    def fading(s):
        return 0.2 + 1.5 * np.exp(-s / 25.0) + 0.4 * np.exp(-s / 700.0)

    return [(fading, seconds), (constant(-1.0), 1500.0)] * 4


def test_a_sound_counter_tells_what_flows_between_rows_of_a_decay():
    record, truth = instrument(held(), every=10.0, late=0.0, ends=True)
    found = half_cycles(record)
    np.testing.assert_allclose(found.capacity, np.abs(truth), rtol=2e-4)
    lines = half_cycles(record.drop_vars(["capacity", "step_time"]))
    assert abs(lines.capacity[0] / truth[0] - 1) > 5e-4  # what it is about


def test_a_counter_that_counts_in_steps_is_followed_on_the_whole():
    record, truth = instrument(held(), every=10.0, late=0.0, ends=True)
    step = 0.004
    record["capacity"] = (record["capacity"] / step).round() * step
    record["capacity"].attrs["units"] = "mA h"
    found = half_cycles(record)
    np.testing.assert_allclose(found.capacity, np.abs(truth), atol=2 * step)


def test_a_counter_that_stands_still_is_not_followed():
    record, truth = instrument([(constant(x), 7200.0) for x in (1.0, -1.0)] * 60)
    dead = np.flatnonzero(np.diff(np.sign(record.current), prepend=0))[2:4]
    record["capacity"][dead[0] : dead[1]] = 0.0
    found = half_cycles(record)
    assert abs(found.capacity[2] / truth[2] - 1) < 2e-2
    np.testing.assert_allclose(found.capacity[4:-1], np.abs(truth[4:-1]), rtol=2e-4)


def test_rows_that_are_missing_while_the_counter_went_on_are_flagged():
    record, truth = instrument(held(), every=10.0, late=0.0, ends=True)
    late = np.where(np.arange(record.sizes["record"]) > 150, 60.0, 0.0)
    kept = np.delete(np.arange(record.sizes["record"]), np.arange(151, 157))
    lost = record.assign_coords(test_time=record.test_time - late).isel(record=kept)
    found = half_cycles(lost)
    assert found.flag.values[0] & 512
    assert not (found.flag.values[1:] & 512).any()
    np.testing.assert_allclose(found.capacity, np.abs(truth), rtol=2e-4)


def test_rows_further_apart_than_a_gap_are_told():
    t, i = 7200.0 * np.arange(40), np.where(np.arange(40) < 20, 0.01, -0.01)
    record = xr.Dataset(
        {
            "voltage": ("record", 3.5 + np.cumsum(i), {"units": "V"}),
            "current": ("record", i, {"units": "mA"}),
        },
        {"test_time": ("record", t, {"units": "s"})},
    )
    with pytest.warns(DataQualityWarning, match="max_gap=3600 s"):
        assert half_cycles(record).sizes["half_cycle"] == 0
    wide = half_cycles(record, counting=Counting(max_gap=1e4))
    assert wide["direction"].values.tolist() == ["charge", "discharge"]


@pytest.mark.parametrize("counter", ["two", "per step"])
@pytest.mark.parametrize("around", [(1.0, 1.0), (-1.0, 1.0)])
def test_test_time_that_goes_on_between_steps_is_no_flow(counter, around):
    # Impedance lies in a file of its own: 900 s pass, and nothing is counted.
    flows = [1.0, around[0], around[1], -1.0]
    lasts = [3600, 20, 3600, 7200]
    pace = [10, 1, 10, 10]
    t, i, q, own, step_time = 0.0, [], [], [], []
    times, total = [], 0.0
    for step, (flow, last, every) in enumerate(zip(flows, lasts, pace, strict=True)):
        t += 900.0 * (step == 2)
        passed = np.arange(0, last + 1, every)
        times.append(t + passed)
        i.append(np.full(passed.size, flow))
        own.append(np.abs(flow) * passed / 3600)
        q.append(total + flow * passed / 3600)
        step_time.append(passed)
        t, total = t + last, total + flow * last / 3600
    t, i, q, own = (np.concatenate(x) for x in (times, i, q, own))
    columns = {"voltage": ("record", 3.5 + 0.3 * q + 0.01 * i, {"units": "V"}),
               "current": ("record", i, {"units": "mA"})}  # fmt: skip
    if counter == "per step":
        columns["capacity"] = ("record", own, {"units": "mA h"})
        columns["step_time"] = ("record", np.concatenate(step_time), {"units": "s"})
    else:
        rise = np.diff(q, prepend=0.0)
        for name, way in (("charge_capacity", 1), ("discharge_capacity", -1)):
            counted = np.cumsum(np.maximum(way * rise, 0.0))
            columns[name] = ("record", counted, {"units": "mA h"})
    coords = {"test_time": ("record", t, {"units": "s"})}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        table = half_cycles(xr.Dataset(columns, coords))
    charged = 2.0 + around[0] * 20 / 3600
    np.testing.assert_allclose(np.abs(table["capacity"]), [charged, 2.0], rtol=1e-9)
    # What began anew tells nothing of what flowed before it did.
    untold = any("may be missing" in str(w.message) for w in said)
    assert untold == (counter == "per step")


def test_a_row_of_the_current_before_begins_the_next_step(make_record):
    # The first row of each step shows the current before it, at time 0 in the step;
    # the counter is of magnitudes and begins anew.
    step = np.arange(0, 101, 10.0)
    t = np.concatenate([step, 100 + step, 200 + step])
    i = np.concatenate([np.full(11, 0.9), np.full(11, -0.9), np.full(11, 0.9)])
    shown = np.concatenate([i[:11], [0.9], i[12:22], [-0.9], i[23:]])
    rows = make_record(t, 3.5 + np.cumsum(i) / 100, shown)
    counted = {"capacity": ("record", np.tile(0.9 * step / 3600, 3), {"units": "mA h"})}
    times = {"step_time": ("record", np.tile(step, 3), {"units": "s"})}
    found = half_cycles(rows.assign(counted | times))
    np.testing.assert_allclose(found.capacity, 0.9 * 100 / 3600, rtol=1e-6)
    # A smaller current before: with nothing that counts, it is told by how much the
    # line may be off.
    shown = np.concatenate([[0.2], np.full(10, 1.0)])
    with pytest.warns(DataQualityWarning, match="known to"):
        found = half_cycles(make_record(step, 3 + step / 100, shown))
    lacks = 100 / 3600 - found.capacity.item()
    assert lacks <= found.line_uncertainty.item() < 1.5 * lacks
