from __future__ import annotations

import dataclasses
import re
import warnings

import cycler_files
import maker_files
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batteryxr.core.errors import DataQualityWarning
from batteryxr.io import read_cycler
from batteryxr.io.cycler.checks import plausibility
from batteryxr.io.cycler.table import RawTable

LNMO = "cyclers/bdf/DLR__LiLNMOHydra0b__20221125__POCV__25degC__Basytec.bdf.csv"
GRAPHITE = (
    "cyclers/bdf/SINTEF__G20M7-202512-Gru6mV__20251228__C30__25degC__Neware.bdf.csv"
)
RUN = cycler_files.run()


def quiet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(*args, **kwargs)


def raw(unix=None, **columns):
    base = {"test_time": RUN.time, "voltage": RUN.voltage, "current": RUN.current}
    merged = {k: np.asarray(v, dtype=float) for k, v in (base | columns).items()}
    return RawTable(merged, instrument="x", unix_time=unix)


def flags(table, *wanted):
    return dict(plausibility.examine(table, wanted).notes)


def test_sound_data_have_no_flag():
    assert flags(raw()) == {}
    assert flags(raw(capacity=RUN.capacity, cycle=RUN.cycle)) == {}
    assert flags(raw(unix=1.7e9 + RUN.time, charge_capacity=RUN.charge)) == {}


@pytest.mark.parametrize("factor", [3600.0, 60.0, 1 / 3600, 1 / 60])
@pytest.mark.parametrize("evidence", ["unix", "capacity", "both counters"])
def test_time_scale_is_found_and_mended_by_name(factor, evidence):
    known = {
        "unix": {"unix": 1.7e9 + RUN.time},
        "capacity": {"capacity": RUN.capacity},
        "both counters": {
            "charge_capacity": RUN.charge,
            "discharge_capacity": RUN.discharge,
        },
    }[evidence]
    table = raw(**known, test_time=RUN.time * factor)
    assert list(flags(table)) == ["time_scale"]
    mended = plausibility.examine(table, ("time_scale",), "a.csv")
    assert mended.notes == {}
    assert mended.repaired["time_scale"].startswith("a.csv: time_scale mended")
    np.testing.assert_allclose(mended.columns["test_time"], RUN.time, rtol=1e-12)


POWER = np.abs(RUN.current * RUN.voltage)
ENERGY = np.concatenate(
    [[0], np.cumsum(0.5 * (POWER[1:] + POWER[:-1]) * np.diff(RUN.time) / 3600)]
)


@pytest.mark.parametrize(
    ("wrong", "kept", "flag"),
    [
        ({"test_time": 1 / 60}, ("energy",), "time_scale"),
        ({"test_time": 1 / 60}, ("step_time",), "time_scale"),
        ({"step_time": 1 / 60}, ("step_time", "capacity"), "step_time_scale"),
        ({"current": 3.6}, ("capacity", "energy"), "charge_scale"),
        ({"current": 1e-3}, ("energy",), "energy_scale"),
        ({"energy": 3.6}, ("capacity", "energy"), "energy_scale"),
        ({"voltage": 0.5}, ("capacity", "energy"), "energy_scale"),
        ({"voltage": 1e-3}, (), "voltage_scale"),
    ],
)
def test_a_column_in_other_units_is_told_by_the_others(wrong, kept, flag):
    sound = {"step_time": RUN.time, "capacity": RUN.capacity, "energy": ENERGY}
    columns = {name: sound[name] for name in kept}
    assert flags(raw(**columns)) == {}
    every = columns | {n: getattr(RUN, {"test_time": "time"}.get(n, n), None)
                       for n in wrong if n not in columns}  # fmt: skip
    scaled = {n: v * wrong.get(n, 1.0) for n, v in every.items()}
    assert list(flags(raw(**scaled))) == [flag]


def steady(seed, fallen=0.0, width=300.0, at=120):
    """Return four hours under one current; the cell rested unseen before a row."""
    t = 60.0 * np.arange(240.0)
    after = np.where(t >= t[at], np.exp(-np.clip(t - t[at], 0, None) / width), 0)
    noise = np.random.default_rng(seed).normal(0, 1e-4, t.size)
    volts = 3.4 + 0.2 * t / t[-1] - fallen * after + noise
    table = raw(test_time=t, voltage=volts, current=np.full(t.size, 0.5))
    return dataclasses.replace(table, start_local=cycler_files.START)


def test_a_rest_that_no_clock_tells_is_told_by_the_voltage():
    noted = flags(steady(0, fallen=0.03))
    assert list(noted) == ["possible_pause"]
    assert "before row 120" in noted["possible_pause"]
    assert flags(steady(0)) == {}
    assert flags(steady(0, fallen=0.03, width=5.0)) == {}  # one bad reading
    clocked = dataclasses.replace(
        steady(0, fallen=0.03), unix_time=1.7e9 + 60.0 * np.arange(240)
    )
    assert flags(clocked) == {}


def test_a_rest_is_told_where_the_voltage_climbs_fast_and_no_dip_is_one():
    table = steady(0, fallen=0.03)
    t, volts = table.columns["test_time"], table.columns["voltage"]
    steep = table.columns | {"voltage": volts + 1.0 * t / t[-1]}  # 5 mV a row
    assert list(flags(dataclasses.replace(table, columns=steep))) == ["possible_pause"]
    dip = -0.06 * np.exp(-(((t - 7230.0) / 120.0) ** 2))  # as where a phase nucleates
    dipped = table.columns | {"voltage": 3.4 + 0.05 * np.tanh((t - 7230) / 900) - dip}
    assert flags(dataclasses.replace(table, columns=dipped)) == {}


def test_a_short_circuit_that_ends_at_one_go_is_no_rest():
    table = steady(0)
    volts = table.columns["voltage"].copy()
    volts[100:106] -= 0.05
    shorted = table.columns | {"voltage": volts}
    assert flags(dataclasses.replace(table, columns=shorted)) == {}


def test_two_rows_of_one_time_at_each_switch_are_no_duplicates():
    t = np.repeat(np.arange(0.0, 900.0, 10.0), 2)[1:-1]
    current = np.repeat(np.where(np.arange(t.size // 2) % 2, 0.0, 1.0), 2)
    volts = 3.5 + 1e-4 * np.arange(t.size) + 0.05 * current
    assert flags(raw(test_time=t, voltage=volts, current=current)) == {}
    same = raw(test_time=t, voltage=volts, current=np.ones(t.size))
    assert "duplicate_time" in flags(same)


def test_time_scale_without_evidence_from_the_slowness_alone():
    assert list(flags(raw(test_time=RUN.time * 3600))) == ["time_scale"]
    assert flags(raw(test_time=RUN.time * 20)) == {}
    resting = raw(test_time=RUN.time * 3600, current=0 * RUN.current)
    assert flags(resting) == {}


@given(st.sets(st.integers(1, len(RUN.time) - 1), min_size=1, max_size=30))
def test_backward_steps_are_counted_and_mended(places):
    resets = np.zeros(len(RUN.time))
    resets[list(places)] = -1000.0 - RUN.time[1]
    table = raw(test_time=RUN.time + np.cumsum(resets))
    note = flags(table)["backward_time"]
    assert note.startswith(f"{len(places)} backward time steps")
    if len(places) < len(RUN.time) // 2:
        mended = plausibility.examine(table, ("backward_time",))
        np.testing.assert_allclose(mended.columns["test_time"], RUN.time)


def test_nineteen_backward_steps_of_a_file(tmp_path):
    time = RUN.time.copy()
    for k in range(19):
        time[10 * (k + 1) :] -= 700.0
    path = tmp_path / "bug.csv"
    rows = zip(time, RUN.voltage, RUN.current, strict=True)
    path.write_text(
        "time (s),voltage (V),current (mA)\n"
        + "".join(f"{t},{v},{i}\n" for t, v, i in rows)
    )
    told = "19 backward time steps.*repair='backward_time' mends it"
    with pytest.warns(DataQualityWarning, match=told):
        ds = read_cycler(path)
    assert ds.attrs["flags"] == ["backward_time"]
    assert (np.diff(ds["test_time"]) < 0).sum() == 19
    mended = quiet(path, repair="backward_time")
    assert mended.attrs["flags"] == []
    assert "19 backward" in mended.attrs["repaired"][0]
    assert (np.diff(mended["test_time"]) > 0).all()


def test_wall_clock_that_goes_back():
    unix = 1.7e9 + RUN.time
    unix[100:] -= 500
    assert list(flags(raw(unix=unix))) == ["backward_clock"]


def test_cycles_in_radians():
    table = raw(cycle=RUN.cycle * 2 * np.pi)
    assert list(flags(table)) == ["cycle_counts"]
    mended = plausibility.examine(table, ("cycle_counts",))
    np.testing.assert_array_equal(mended.columns["cycle"], RUN.cycle)


@pytest.mark.parametrize(
    ("columns", "flag"),
    [
        ({"voltage": 0 * RUN.voltage}, "voltage"),
        ({"voltage": np.nan * RUN.voltage}, "voltage"),
        ({"voltage": 1000.1 * RUN.voltage}, "voltage"),
        ({"test_time": np.round(RUN.time, -3)}, "duplicate_time"),
        ({"current": np.where(RUN.step == 2, np.nan, RUN.current)}, "missing_values"),
        (
            {"current": abs(RUN.current), "discharge_capacity": RUN.discharge},
            "unsigned_current",
        ),
    ],
)
def test_other_flags(columns, flag):
    assert flag in flags(raw(**columns))


def test_nothing_to_mend_is_said(tmp_path):
    path = cycler_files.mpt(tmp_path / "run.mpt", RUN)
    with pytest.warns(DataQualityWarning, match="nothing to mend"):
        ds = read_cycler(path, timezone="UTC", repair=["time_scale"])
    assert ds.attrs["repaired"] == []


def test_hours_as_seconds_in_a_published_file(measured):
    path = measured(LNMO)
    with pytest.warns(DataQualityWarning, match=r"time_scale.*36,000 s"):
        ds = read_cycler(path)
    assert ds.attrs["flags"] == ["time_scale"]
    assert ds.sizes["record"] == 17_860
    mended = quiet(path, repair="time_scale")
    assert mended.attrs["flags"] == []
    charges = cycler_files.half_cycles(mended)
    np.testing.assert_allclose(charges, [-0.016297, 6.28782, -6.17406], atol=5e-6)


def test_cycles_in_radians_in_a_published_file(measured):
    path = measured(GRAPHITE)
    ds = quiet(path)
    assert ds.attrs["flags"] == ["cycle_counts"]
    assert ds["cycle"].values[0] == pytest.approx(2 * np.pi)
    mended = quiet(path, repair="cycle_counts")
    assert mended["cycle"].dtype == np.int32
    assert np.unique(mended["cycle"]).tolist() == [1]


def test_a_table_that_stands_twice_is_told_and_mended_by_name():
    base = raw()
    rows = base.rows
    twice = {n: np.concatenate([v, v]) for n, v in base.columns.items()}
    table = raw(**twice)
    said = flags(table)
    assert f"{rows} rows, from row {rows} on" in said["repeated_rows"]
    mended = plausibility.examine(table, ("repeated_rows",))
    assert mended.rows == rows
    assert not mended.notes
    part = {n: np.concatenate([v, v[5:50]]) for n, v in base.columns.items()}
    assert "45 rows" in flags(raw(**part))["repeated_rows"]
    # A second test whose clock begins anew is another one.
    other = twice | {"voltage": twice["voltage"] + 1e-3 * (np.arange(2 * rows) >= rows)}
    assert "repeated_rows" not in flags(raw(**other))


def test_a_counter_that_no_maker_has_is_read_wherever_it_stands(tmp_path):
    time = np.arange(0.0, 3601.0, 60.0)
    current = np.where(time > 0, 50.0, 0.0)
    counted = 50.0 * time / 3600
    labels = "Test Time (s),Voltage (V),Current (mA),Capacity (mAh),Cycle Number"
    rows = zip(time, 3.4 + time / 9e3, current, counted, strict=True)
    body = "\n".join(",".join(f"{x:.6g}" for x in (*row, 3)) for row in rows)
    path = tmp_path / "a.csv"
    path.write_text(f"{labels}\n{body}\n")
    record = quietly(path)
    np.testing.assert_allclose(record["capacity"], counted, rtol=1e-5)
    assert (record["cycle"] == 3).all()
    # The interval before the first row under current is in the counter.
    half = record.echem.half_cycles()
    np.testing.assert_allclose(half["capacity"], 50.0, rtol=1e-5)


def test_a_current_in_other_units_than_its_counter_is_told(tmp_path):
    time = np.arange(0.0, 3601.0, 60.0)
    for factor, flags in ((1e-3, ["charge_scale"]), (1.0, []), (1.05, [])):
        current = np.where(time > 0, 50.0 * factor, 0.0)
        labels = "Test Time (s),Voltage (V),Current (mA),Capacity (mAh)"
        rows = zip(time, 3.4 + time / 9e3, current, 50.0 * time / 3600, strict=True)
        body = "\n".join(",".join(f"{x:.6g}" for x in row) for row in rows)
        path = tmp_path / "a.csv"
        path.write_text(f"{labels}\n{body}\n")
        assert quietly(path).attrs["flags"] == flags


def quietly(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(path, timezone="UTC")


#: Files of every maker, as lines, and how many lines a row has.
TEXTS = {name: (write, None) for name, write in cycler_files.WRITERS.items()} | {
    name: (None, write) for name, write in maker_files.WRITERS.items()
}


def lines_of(folder, name):
    """Write the run as a maker does, and return its lines."""
    write, text = TEXTS[name]
    path = folder / name
    if write is None:
        maker_files.write(path, text(RUN))
    else:
        write(path, RUN)
    return path, path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    "name", sorted(n for n in TEXTS if not n.endswith((".xlsx", ".pssession")))
)
def test_rows_that_are_there_twice_or_gone_are_told_in_every_text(tmp_path, name):
    path, lines = lines_of(tmp_path, name)
    usual = set(quiet(path).attrs["flags"])
    middle, turn = len(lines) - 75, len(lines) - 42
    for flag, changed in {
        "doubled_rows": lines[: middle + 1] + lines[middle:],
        "missing_rows": lines[:middle] + lines[middle + 3 :],
        "missing_rows where a step changes": lines[:turn] + lines[turn + 4 :],
    }.items():
        path.write_bytes(b"".join(changed))
        told = set(quiet(path).attrs["flags"]) - usual
        assert flag.split()[0] in told, flag


def test_a_doubled_row_is_left_out_by_name():
    rows = np.sort(np.append(np.arange(RUN.time.size), 50))
    table = raw(**{n: v[rows] for n, v in raw().columns.items()})
    said = flags(table)
    assert list(said) == ["doubled_rows"]
    assert "1 rows" in said["doubled_rows"]
    mended = plausibility.examine(table, ("doubled_rows",))
    np.testing.assert_array_equal(mended.columns["test_time"], RUN.time)
    # Cyclers write the last row of a step twice.
    rows = np.sort(np.append(np.arange(RUN.time.size), 79))
    assert not flags(raw(**{n: v[rows] for n, v in raw().columns.items()}))


def test_rows_are_missed_by_their_numbers_whatever_their_times():
    rng = np.random.default_rng(3)
    time = np.cumsum(rng.uniform(1, 50, RUN.time.size))
    kept = np.delete(np.arange(time.size), [20, 21, 22])
    numbers = np.arange(1.0, time.size + 1)
    columns = raw(test_time=time).columns
    table = raw(**{n: v[kept] for n, v in columns.items()})
    assert not flags(table)
    said = flags(dataclasses.replace(table, numbers=numbers[kept]))
    assert "3 rows seem to be missing" in said["missing_rows"]
    assert "after row 19" in said["missing_rows"]
    # Every tenth row, or the numbers of something else, say nothing.
    every = dataclasses.replace(table, numbers=10 * np.arange(float(kept.size)))
    assert not flags(every)
    other = dataclasses.replace(table, numbers=rng.integers(0, 9, kept.size) * 1.0)
    assert not flags(other)


@pytest.mark.parametrize("kind", ["by time or voltage", "by voltage", "two paces"])
def test_what_is_recorded_at_a_pace_of_its_own_lacks_nothing(kind):
    rise = np.concatenate([np.linspace(0, 0.2, 11), 0.2 + 0.003 * np.arange(1, 230)])
    rise += 1e-5 * np.random.default_rng(2).integers(-9, 9, rise.size)
    time = {
        "by time or voltage": np.cumsum(np.where(np.diff(rise) > 0.004, 7.0, 60.0)),
        "by voltage": np.cumsum(np.random.default_rng(1).uniform(5, 60, 239)),
        "two paces": np.cumsum(np.where(np.arange(239) < 120, 10.0, 60.0)),
    }[kind]
    columns = {
        "test_time": np.append(0, time),
        "voltage": 3 + rise,
        "current": np.ones(240),
    }
    assert not flags(RawTable(columns, instrument="x"))
    kept = np.delete(np.arange(240), [180, 181, 182])
    lost = {n: v[kept] for n, v in columns.items()}
    assert "missing_rows" in flags(RawTable(lost, instrument="x"))


@pytest.mark.parametrize("kind", ["strays", "lengthens"])
def test_rows_are_missed_where_neither_time_nor_voltage_has_a_pace(kind):
    rng = np.random.default_rng(1)
    time = {
        "strays": np.cumsum(rng.normal(60, 9, 200)),
        "lengthens": np.cumsum(1.05 ** np.arange(200)),
    }[kind]
    voltage = 3 + (time / time[-1]) ** 1.4 + 1e-5 * rng.normal(size=200)
    columns = {"test_time": time, "voltage": voltage, "current": np.ones(200)}
    table = RawTable(columns, instrument="x")
    assert not flags(table)
    said = flags(table.chosen(np.delete(np.arange(200), np.arange(90, 96))))
    assert re.search("^[67] rows .* after row 89:", said["missing_rows"])
    # A row that comes late as the cell waits, or early as it moves, is no gap.
    late = {**columns, "test_time": time + 900 * (np.arange(200) > 90)}
    assert not flags(RawTable(late, instrument="x"))


@pytest.mark.parametrize("lost", [0, 6])
@pytest.mark.parametrize("kind", ["switched on", "falls", "steady"])
def test_rows_are_missed_behind_the_first_of_a_step(kind, lost):
    step = np.arange(0, 600.0, 10)
    course = {
        "switched on": np.where(step == 0, 0.0, 1.0),
        "falls": np.exp(-step / 300),
        "steady": np.full(60, -1.0),
    }[kind]
    time = np.concatenate([step, 590 + step, 1180 + step])
    current = np.concatenate([np.zeros(60), course, np.zeros(60)])
    columns = {
        "test_time": time,
        "voltage": 3.5 + np.cumsum(current) * 1e-3 + 1e-5 * np.sin(time),
        "current": current,
        "step": np.repeat([1.0, 2, 3], 60),
    }
    table = RawTable(columns, instrument="x")
    said = flags(table.chosen(np.delete(np.arange(180), np.arange(61, 61 + lost))))
    # A line bridges rows of one current: nothing that counts is lost.
    assert bool(said) == (lost > 0 and kind != "steady")
    assert not said or "6 rows" in said["missing_rows"]


TICKS = np.arange(900.0)
WAVE = 300 + 1000 * np.sin(TICKS / 40)
#: Sound tables, by what is odd about them: time, voltage, current.
SOUND = {
    "seconds, rounded": (np.round(1.02 * TICKS), 3 + TICKS / 1e3, 1.0),
    "hours, rounded": (np.round(7.3 * TICKS / 3600, 3) * 3600, 3 + TICKS / 1e3, 1.0),
    "bursts": (TICKS + 570 * (TICKS // 30), 3 + TICKS / 1e4, 0.1),
    "two rows a second": (TICKS // 2, np.repeat([3.7, 3.8], 450), 0.0),
    "steps of voltage at rates": (
        30 * TICKS,
        np.round(4 - 5e-3 * TICKS / 5 - 0.05 * (TICKS < 450), 4),
        -1.0 - (TICKS < 450),
    ),
    "a rate that ends with a row twice": (
        10 * (TICKS - (TICKS > 449)),
        4 - 1e-3 * (TICKS - (TICKS > 449)),
        -1.0 - (TICKS < 451),
    ),
    "a steep end": (
        300 * TICKS[:12],
        np.append(np.linspace(3.4, 3.3, 11), 2.5),
        -1.0,
    ),
    "a sweep of voltage": (
        10 * TICKS,
        4 - np.abs(TICKS - 450) / 450,
        np.exp(-0.5 * ((TICKS - 600) / 90) ** 2),
    ),
    "a wave of current": (TICKS, 3.6 + np.cumsum(WAVE) / 2e6 + WAVE / 5e3, WAVE),
    "a current that fades": (
        60 * TICKS,
        4.2 - 0.7 * (TICKS < 300) * (1 - TICKS / 300),
        np.where(TICKS < 300, 1.0, np.where(TICKS < 600, 1e-7, 1e-10)),
    ),
}


@pytest.mark.parametrize("kind", SOUND)
def test_sound_tables_of_odd_cyclers_have_no_flag(kind):
    time, voltage, current = np.broadcast_arrays(*SOUND[kind])
    said = flags(raw(test_time=time, voltage=voltage, current=current))
    said.pop("duplicate_time", None)  # a coarse clock is told
    assert not said


@pytest.mark.parametrize("rows", [8, 60])
@pytest.mark.parametrize("tau", [5.0, 20.0, 300.0])
def test_a_count_that_goes_on_in_a_hold_is_of_no_other_scale(rows, tau, tmp_path):
    """A second file: rows far apart in a decay, its counter set by the second row."""
    s = 60.0 * np.arange(rows)
    current = np.exp(-s / tau) + 0.002
    counted = 0.83 + (tau * (1 - np.exp(-s / tau)) + 0.002 * s) / 3600
    counted[0] = 0.0
    lines = ["Test Time (s),Voltage (V),Current (A),Capacity (Ah)"]
    lines += [
        f"{a},4.2,{b:.7f},{c:.7f}" for a, b, c in zip(s, current, counted, strict=True)
    ]
    path = tmp_path / "second.csv"
    path.write_text("\n".join(lines) + "\n")
    assert "charge_scale" not in read_cycler(path).attrs["flags"]
    path.write_text("\n".join(lines).replace("Capacity (Ah)", "Capacity (mAh)"))
    assert "charge_scale" in read_cycler(path).attrs["flags"]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_cycler_that_writes_no_row_at_switches_loses_none(lost):
    inside, current = np.arange(30, 1800, 30.0), np.resize([0.0, 1.0], 9)
    times = np.concatenate([1800 * k + inside for k in range(9)])
    flow = np.repeat(current, inside.size)
    volts = 3.5 + 1e-3 * np.cumsum(flow) + 0.02 * flow + 1e-3 * np.sin(times / 300)
    columns = {"test_time": times, "voltage": volts, "current": flow}
    kept = np.delete(np.arange(times.size), np.arange(200, 200 + lost))
    table = RawTable(columns, instrument="x").chosen(kept)
    assert ("missing_rows" in flags(table)) == (lost > 0)
