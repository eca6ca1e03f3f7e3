"""What no cell gives is told: exchanged labels, gaps, spikes, a voltage that stands."""

from __future__ import annotations

import dataclasses
import warnings

import cycler_files
import numpy as np
import pytest

from batteryxr.core.errors import DataQualityWarning
from batteryxr.io import read_cycler
from batteryxr.io.cycler.checks import plausibility
from batteryxr.io.cycler.table import RawTable

CAPACITY, RESISTANCE = 5.0, 0.03  # mA h, and kOhm


def cell(seed=0, size=1.0):
    """Rest, charge to 4.2 V, hold, rest and discharge, twice; no code of the library's.

    `size` multiplies current and charge.
    """

    def open_circuit(filled):
        return 3.1 + 1.1 * filled + 0.1 * np.tanh(8 * (filled - 0.4))

    random = np.random.default_rng(seed)
    filled, rows, step = 0.05, [], 0
    charge = discharge = 0.0
    for _ in range(2):
        for kind, most in (("rest", 40), ("cc", 900), ("cv", 200), ("rest", 40),
                           ("discharge", 900)):  # fmt: skip
            step += 1
            for _ in range(most):
                now = open_circuit(filled)
                held = min((4.2 - now) / RESISTANCE, 1.5)
                flow = {"rest": 0.0, "cc": 1.5, "cv": held, "discharge": -1.5}[kind]
                volts = now + RESISTANCE * flow
                if (kind == "cc" and volts >= 4.2) or (kind == "cv" and held < 0.1):
                    break
                if kind == "discharge" and volts <= 3.05:
                    break
                noisy = flow * (1 + random.normal(0, 2e-5))
                rows.append((volts + random.normal(0, 3e-4), noisy, charge, discharge,
                             step))  # fmt: skip
                passed = flow * 30 / 3600
                filled += passed / CAPACITY
                charge += max(passed, 0.0)
                discharge += max(-passed, 0.0)
    volts, flow, charged, gone, steps = np.array(rows).T
    return cycler_files.Run(
        time=30.0 * np.arange(volts.size), voltage=np.round(volts, 5),
        current=np.round(size * flow, 6), charge=np.round(size * charged, 8),
        discharge=np.round(size * gone, 8), cycle=(steps.astype(int) - 1) // 5 + 1,
        step=steps.astype(int),
    )  # fmt: skip


RUN, LARGE = cell(), cell(size=50_000.0)
CHARGING = int(np.flatnonzero(RUN.step == 2)[0])


def chosen(run, rows):
    """Return some rows of a run."""
    return cycler_files.Run(
        **{f.name: np.asarray(getattr(run, f.name))[rows]
           for f in dataclasses.fields(run)}
    )  # fmt: skip


def exchanged(run):
    """Volts stand under current (A), and amperes under voltage."""
    return dataclasses.replace(
        run, voltage=np.round(run.current / 1e3, 6), current=run.voltage * 1e3
    )


def gap(run, first=CHARGING + 60, rows=120):
    return chosen(run, np.delete(np.arange(run.time.size), slice(first, first + rows)))


def spiked(run):
    """The largest reading of a display in three rows: 99.999 A."""
    current = run.current.copy()
    current[[CHARGING + 20, CHARGING + 90, run.time.size - 40]] = 99_999.0
    return dataclasses.replace(run, current=current)


def standing(run, first=CHARGING + 30, rows=150):
    voltage = run.voltage.copy()
    voltage[first : first + rows] = voltage[first]
    return dataclasses.replace(run, voltage=voltage)


DEFECTS = {
    "exchanged_labels": exchanged,
    "missing_rows": gap,
    "spikes": spiked,
    "stuck_voltage": standing,
}


@pytest.fixture(scope="module", params=["comma.mpt", "arbin.csv", "maccor.txt",
                                        "run.bdf.csv", "generic.csv"])  # fmt: skip
def written(request, tmp_path_factory):
    """Return a function that writes a run in one format and reads it."""
    folder = tmp_path_factory.mktemp("cells")

    def write_and_read(run):
        path = cycler_files.WRITERS[request.param](folder / request.param, run)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataQualityWarning)
            record = read_cycler(path, timezone="UTC")
        return set(record.attrs["flags"]), " ".join(str(w.message) for w in caught)

    return write_and_read


@pytest.mark.parametrize("flag", DEFECTS)
def test_a_defect_is_told_in_every_format(written, flag):
    flags, said = written(DEFECTS[flag](LARGE))
    # A number of display digits beyond all others is a mark as well.
    assert flag in flags or (flag == "spikes" and "marks" in flags)
    assert said


def test_a_sound_cell_is_not_told(written):
    assert written(LARGE)[0] == set()


def raw(run, **columns):
    known = {"test_time": run.time, "voltage": run.voltage, "current": run.current}
    return RawTable(
        {n: np.asarray(v, float) for n, v in (known | columns).items()}, "x"
    )


def counted(run):
    return {"charge_capacity": run.charge, "discharge_capacity": run.discharge}


def flags(table):
    return set(plausibility.examine(table, ()).notes)


@pytest.mark.parametrize("seed", range(3))
def test_sound_cells_have_no_flag(seed):
    run = cell(seed)
    assert flags(raw(run)) == set()
    assert flags(raw(run, **counted(run))) == set()
    coarse = dataclasses.replace(run, voltage=np.round(run.voltage, 2))
    assert flags(raw(coarse, **counted(run))) == set()


def test_a_pulse_of_one_row_is_no_spike():
    current = RUN.current.copy()
    voltage = RUN.voltage.copy()
    rows = np.array([10, 20, 30]) + CHARGING
    current[rows] = 15.0
    voltage[rows] += RESISTANCE * 13.5
    assert "spikes" not in flags(raw(RUN, current=current, voltage=voltage))
    passed = 0.5 * (np.abs(current[1:]) + np.abs(current[:-1])) * 30 / 3600
    total = np.append(0.0, np.cumsum(passed))
    told = raw(RUN, current=current, voltage=voltage, capacity=total)
    assert "spikes" not in flags(told)


def test_spikes_and_a_standing_voltage_are_nan_by_name():
    mended = plausibility.examine(raw(spiked(LARGE)), ("spikes",), "a.csv")
    gone = np.isnan(mended.columns["current"])
    assert gone.sum() == 3
    assert gone[CHARGING + 20]
    mended = plausibility.examine(raw(standing(RUN)), ("stuck_voltage",), "a.csv")
    gone = np.flatnonzero(np.isnan(mended.columns["voltage"]))
    assert (gone[0], gone[-1]) == (CHARGING + 31, CHARGING + 179)


def test_an_isolated_voltage_is_told():
    voltage = RUN.voltage.copy()
    voltage[CHARGING + 50] = 0.7
    assert flags(raw(RUN, voltage=voltage)) == {"spikes"}


def test_a_voltage_that_stands_still_to_the_end_or_over_a_switch_is_told():
    for run in (standing(RUN, RUN.time.size - 90, 90), standing(RUN, CHARGING - 20)):
        assert flags(raw(run)) == {"stuck_voltage"}


@pytest.mark.parametrize("what", ["standing", "other units", "no discharge", "waited"])
def test_a_counter_tells_where_the_current_is_none(what):
    rest = int(np.flatnonzero(RUN.step == 4)[0])
    current, time, run = RUN.current.copy(), RUN.time.copy(), RUN
    if what == "standing":
        current[rest : rest + 38] = 1.2
    elif what == "other units":
        current[CHARGING + 50 : CHARGING + 150] *= 1e-3
    elif what == "waited":
        time[CHARGING + 50 :] += 40_000
    else:
        run = chosen(RUN, RUN.step != 5)
        time, current = 30.0 * np.arange(run.time.size), run.current
    table = raw(run, test_time=time, current=current, **counted(run))
    assert flags(table) & {"charge_course", "missing_rows"}


def test_voltage_and_temperature_exchanged_are_told():
    random = np.random.default_rng(0)
    warm = 25 + 0.1 * random.normal(size=RUN.time.size)
    assert flags(raw(RUN, temperature=warm)) == set()
    table = raw(RUN, voltage=warm, temperature=RUN.voltage)
    assert "exchanged_labels" in flags(table)
    pack = raw(RUN, voltage=12 * RUN.voltage, temperature=3 + 0.0 * warm)
    assert "exchanged_labels" not in flags(pack)


@pytest.mark.parametrize("way", ["charge", "discharge", "both"])
@pytest.mark.parametrize("unit", [1.0, 1e3])
def test_labels_exchanged_on_a_plateau_are_told(way, unit):
    """A flat voltage under current, and the current under voltage: no counter, rest."""
    random = np.random.default_rng(0)
    share = np.concatenate([np.linspace(0, 1, 150), np.linspace(1, 0, 150)])
    up = np.arange(300) < 150
    volts = 3.4 + 0.04 * share + np.where(up, 0.03, -0.03)
    volts += random.normal(0, 1e-4, 300)
    flows = np.where(up, 1.5, -1.5) * (1 + random.normal(0, 1e-4, 300))
    rows = {"charge": up, "discharge": ~up, "both": up | True}[way]
    columns = {"test_time": 30.0 * np.arange(300)[rows]}
    sound = columns | {"voltage": volts[rows], "current": flows[rows]}
    wrong = columns | {"voltage": flows[rows], "current": unit * volts[rows]}
    assert "exchanged_labels" in flags(RawTable(wrong, "x"))
    assert flags(RawTable(sound, "x")) == set()


@pytest.mark.parametrize("what", ["current", "time"])
def test_a_part_in_other_units_is_told_without_a_counter(what):
    current, time = RUN.current.copy(), RUN.time.astype(float)
    first = CHARGING + 50
    if what == "current":
        current[first : first + 40] *= 1e-3
    else:
        time[first:] = time[first - 1] + (time[first:] - time[first - 1]) / 60
    assert "part_scale" in flags(raw(RUN, test_time=time, current=current))


@pytest.mark.parametrize("counters", [False, True])
def test_signs_that_are_lost_in_a_part_are_told(counters):
    half = RUN.time.size // 2
    current = np.append(RUN.current[:half], np.abs(RUN.current[half:]))
    told = counted(RUN) if counters else {}
    assert "current_sign" in flags(raw(RUN, current=current, **told))
    assert "current_sign" not in flags(raw(RUN, **told))


@pytest.mark.parametrize("counters", [False, True])
@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_a_single_current_that_the_cell_did_not_answer_is_told(counters, factor):
    current = RUN.current.copy()
    current[CHARGING + 60] *= factor
    told = counted(RUN) if counters else {}
    assert "spikes" in flags(raw(RUN, current=current, **told))


@pytest.mark.parametrize("name", ["cycle", "charge_capacity", "temperature"])
def test_a_counter_that_leaves_its_course_and_returns_is_told(name):
    """As a flipped bit does, of which the makers' binaries hold no sum."""
    warm = np.round(25 + 0.1 * np.random.default_rng(0).normal(size=RUN.time.size), 2)
    columns = {"cycle": RUN.cycle.astype(float), "temperature": warm, **counted(RUN)}
    assert flags(raw(RUN, **columns)) == set()
    stray = columns[name].copy()
    stray[CHARGING + 60] += {"cycle": 256, "temperature": -31}.get(name, 0.5)
    assert "astray" in flags(raw(RUN, **columns | {name: stray}))


def test_a_digit_that_one_voltage_lost_is_told():
    voltage = RUN.voltage.copy()
    voltage[CHARGING + 60] -= 0.07
    assert "spikes" in flags(raw(RUN, voltage=voltage))


def test_a_faster_pace_within_a_step_is_taken():
    """The cycler writes each half second for a while: the voltage moves less."""
    pace = np.repeat([30.0, 0.5, 30.0], [60, 60, 60])
    time = np.cumsum(pace)
    table = RawTable(
        {"test_time": time, "voltage": 3 + time / 4e3, "current": np.full(180, 1.0)},
        "x",
    )
    assert "part_scale" not in flags(table)


@pytest.mark.parametrize("digits", [2, 4])
def test_cells_of_two_equal_electrodes_are_read_as_they_are(tmp_path, digits):
    """Lithium against lithium: the voltage is a constant that turns, and 0 at rest."""
    for rests in (0, 10):
        way = np.repeat([1.0, 0.0, -1.0, 0.0] * 4, [200, rests] * 8)
        switched = np.concatenate([[0], np.diff(way) != 0])
        time = 10.0 * (np.arange(way.size) - np.cumsum(switched))
        rows = zip(time, 0.05 * way, 0.5 * way, strict=True)
        path = tmp_path / f"rests {rests}.csv"
        lines = [f"{t:.1f},{v:.{digits}f},{i:.3f}" for t, v, i in rows]
        path.write_text("\n".join(["Time (s),Voltage (V),Current (mA)", *lines]))
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            record = read_cycler(path)
        assert record.attrs["flags"] == []
        assert record.sizes["record"] == len(lines)


def test_two_rows_at_each_switch_of_a_profile_do_not_repeat_a_time(tmp_path):
    random = np.random.default_rng(0)
    current = np.round(random.normal(-1, 0.3, 300), 3)
    time = np.repeat(np.arange(301.0), 2)[1:-1]
    volts = 3.7 + 0.02 * np.repeat(current, 2) + 1e-4 * random.normal(size=600)
    rows = zip(time, volts, np.repeat(current, 2), strict=True)
    path = tmp_path / "drive.csv"
    path.write_text(
        "Time (s),Voltage (V),Current (mA)\n"
        + "\n".join(f"{t},{v:.5f},{i}" for t, v, i in rows)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        assert "duplicate_time" not in read_cycler(path).attrs["flags"]
