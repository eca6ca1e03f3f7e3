"""A run of linked techniques, a file each, as one record."""

from __future__ import annotations

import warnings
from datetime import timedelta

import eclab_files as lab
import numpy as np
import pytest

from batteryxr.core.errors import DataQualityWarning, FileFormatError
from batteryxr.echem import half_cycles
from batteryxr.io import read_cycler

GCPL = "Galvanostatic Cycling with Potential Limitation"
PEIS = "Potentio Electrochemical Impedance Spectroscopy"
LABELS = {
    4: "time/s",
    6: "Ewe/V",
    8: "I/mA",
    11: "<I>/mA",
    32: "freq/Hz",
    77: "<Ewe>/V",
    467: "Q charge/discharge/mA.h",
    131: "Ns",
}
WORDS = {
    4: GCPL,
    29: PEIS,
    11: "Open Circuit Voltage",
    25: "Chronopotentiometry",
    28: "Wait",
    127: "Modulo Bat",
}


def quiet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(*args, **kwargs)


@pytest.fixture(params=["mpr", "mpt"])
def put(request, tmp_path):
    """Return a function that writes one technique, binary or as text."""

    def write(name, technique, columns, **more):
        path = tmp_path / f"{name}.{request.param}"
        if request.param == "mpr":
            return lab.write(path, columns, technique=technique, **more)
        labels = [LABELS[number] for (number, _), _ in columns]
        return lab.mpt(path, labels, [v for _, v in columns], WORDS[technique], **more)

    write.pattern = str(tmp_path / f"*.{request.param}")
    return write


def charging(begin, end, current, *, voltage=3.0, step=10.0):
    """Return rows at constant current, mean since the row before."""
    time = np.arange(begin, end + step / 2, step)
    return [
        (lab.TIME, time),
        (lab.EWE, voltage + 1e-4 * (time - begin) * np.sign(current)),
        (lab.MEAN, np.full(time.size, current)),
    ]


def impedance(begin, n=20, step=10.0):
    time = begin + step * np.arange(n)
    frequency = 10.0 ** (5 - np.arange(n) / 4)
    return [
        *((lab.TIME, time), (lab.VOLTS, np.full(n, 3.05))),
        *(((76, "<f4"), np.zeros(n)), (lab.FREQUENCY, frequency)),
    ]


def both(first, second):
    """Return rows of two passes of one technique."""
    return [
        (k, np.concatenate([a, b]))
        for (k, a), (_, b) in zip(first, second, strict=True)
    ]


LABELS[76] = "<I>/mA"


@pytest.mark.parametrize(("wait", "n", "step"), [(10, 20, 10.0), (0, 21, 20.0)])
def test_loop_of_cycling_and_impedance(put, wait, n, step):
    """Without a wait, spectra begin and end at the moments of rows of cycling."""
    put("cell_01_GCPL", 4, both(charging(0, 600, 1.0), charging(1000, 1600, 1.0)))
    one, other = impedance(600 + wait, n, step), impedance(1600 + wait, n)
    put("cell_02_PEIS", 29, both(one, other))
    put("cell_03_CP", 25, charging(1900, 3100, -1.0))
    with pytest.warns(
        DataQualityWarning, match=r"cell_02_PEIS\.mp.: (4\d) of \1 rows are"
    ):
        ds = read_cycler(put.pattern, timezone="Europe/Zurich")
    assert ds.sizes["record"] == 61 + 61 + 121
    assert (np.diff(ds["test_time"]) > 0).all()
    assert "impedance" in ds.attrs["flags"]
    assert "overlap" not in ds.attrs["flags"]
    assert len(ds.attrs["source_files"]) == 2
    assert ds["file"].attrs["source_file"] == [0, 0, 1]
    assert ds.attrs["gap_s"] == pytest.approx([300])
    # What flowed while impedance was measured is not made up of the rows around it.
    halves = half_cycles(ds)
    np.testing.assert_allclose(
        halves.capacity, [2 * 600 / 3600, 1200 / 3600], rtol=1e-4
    )
    np.testing.assert_allclose(halves.gap_time[0], 400, atol=1)


def test_techniques_that_take_turns_stand_in_order_of_time(put):
    one = both(charging(0, 600, 1.0), charging(1300, 1900, 1.0, voltage=3.1))
    other = both(charging(610, 1200, -0.5), charging(1910, 2500, -0.5))
    put("a_01_GCPL", 4, one)
    put("a_02_CP", 25, other)
    ds = quiet(put.pattern, timezone="Europe/Zurich")
    time = np.sort(np.concatenate([one[0][1], other[0][1]]))
    np.testing.assert_allclose(ds["test_time"], time)
    np.testing.assert_array_equal(
        np.sign(ds["current"]), np.where((time % 1300) <= 600, 1, -1)
    )
    elapsed = ds["time"].values - ds["time"].values[0]
    np.testing.assert_allclose(elapsed / np.timedelta64(1, "s"), time)
    assert ds["file"].attrs["source_file"] == [0, 1, 0, 1]
    assert not {"overlap", "backward_time"} & set(ds.attrs["flags"])
    # A scan during the second pass takes that pass's voltage.
    at = int(np.argmin(abs(ds["test_time"].values - 1600)))
    assert ds["voltage"].values[at] == pytest.approx(3.1 + 1e-4 * 300, abs=1e-6)


@pytest.mark.parametrize("dated", [False, True])
def test_a_technique_ends_in_the_moment_in_which_the_next_begins(tmp_path, dated):
    """The last row of one pass and the first of the next share a time."""
    charge = both(charging(0, 600, 1.0), charging(1200, 1800, 1.0))
    discharge = both(charging(600, 1200, -0.9), charging(1800, 2400, -0.9))
    every = {"a_01_GCPL_C01": (4, charge), "a_02_CP_C01": (25, discharge)}
    for name, (technique, columns) in every.items():
        path = tmp_path / f"{name}.mpt"
        labels = [LABELS[number] for (number, _), _ in columns]
        lab.mpt(path, labels, [v for _, v in columns], WORDS[technique])
        if dated:  # as EC-Lab exports absolute times
            path.write_bytes(b"\r\n".join(map(_dated, path.read_bytes().splitlines())))
    ds = read_cycler(tmp_path / "a_*.mpt", timezone="Europe/Zurich")
    assert ds.attrs["flags"] == []
    time = np.concatenate([np.arange(a, a + 601.0, 10) for a in (0, 600, 1200, 1800)])
    np.testing.assert_allclose(ds["test_time"], time, atol=1e-3)
    flows = half_cycles(ds).capacity
    np.testing.assert_allclose(flows, [1 / 6, 0.15, 1 / 6, 0.15], rtol=1e-4)


def _dated(line):
    """Return a row with its first number as a date."""
    first, tab, rest = line.partition(b"\t")
    try:
        moment = lab.BEGUN + timedelta(seconds=float(first))
    except ValueError:
        return line
    return f"{moment:%m/%d/%Y %H:%M:%S.%f}"[:-2].encode() + tab + rest


def test_a_technique_without_labels_recorded_nothing(tmp_path):
    lab.mpt(tmp_path / "a_01_WAIT.mpt", [""], [], "Wait")
    with pytest.raises(FileFormatError, match="Wait recorded no data rows"):
        read_cycler(tmp_path / "a_01_WAIT.mpt")


def test_files_of_other_starts_still_overlap(put):
    put("a", 4, charging(0, 600, 1.0))
    put("b", 4, charging(0, 600, 1.0), begun=lab.BEGUN + timedelta(seconds=300))
    ds = quiet(put.pattern, timezone="Europe/Zurich")
    assert "overlap" in ds.attrs["flags"]


def test_pause_between_techniques_is_told(put):
    put("a", 11, charging(0, 600, 1.0)[:2])
    put("b", 4, charging(900, 1500, 1.0))
    put("c", 25, charging(1500.5, 2100.5, -1.0))
    ds = quiet(put.pattern, timezone="Europe/Zurich")
    assert ds.attrs["gap_s"] == pytest.approx([300, 0.5])
    assert not ds["current"][:61].any()
    assert ds["current"].attrs["source_label"] == "<I>/mA"
    assert np.bincount(ds["file"]).tolist() == [61, 61, 61]


def test_waiting_and_unstarted_techniques(put):
    put("a_wait", 28, [(k, np.empty(0)) for k, _ in charging(0, 10, 1.0)])
    with pytest.raises(FileFormatError, match="Wait recorded no data rows"):
        read_cycler(put.pattern)
    put("b", 4, charging(10, 600, 1.0))
    ds = quiet(put.pattern)
    assert ds.sizes["record"] == 60
    assert any("a_wait" in said for said in ds.attrs["flag_notes"])


def test_modulo_bat_without_its_impedance(put):
    parts = [
        charging(0, 600, 1.0),
        charging(800, 1400, 1.0),
        charging(1410, 2610, -1.0),
    ]
    n = 10
    middle = [
        *((lab.TIME, 610 + 15.0 * np.arange(n)), (lab.EWE, np.zeros(n))),
        (lab.MEAN, np.zeros(n)),
    ]
    rows = both(both(both(parts[0], middle), parts[1]), parts[2])
    time = rows[0][1]
    frequency = np.where((time > 600) & (time < 800), 1000.0, 0.0)
    step = np.searchsorted([605, 795, 1405], time)
    path = put("mb", 127, [*rows, (lab.FREQUENCY, frequency), (lab.STEP, step)])
    with pytest.warns(DataQualityWarning, match="10 of 253 rows are impedance"):
        ds = read_cycler(path, timezone="UTC")
    assert ds.sizes["record"] == 243
    assert sorted(set(ds["step"].values)) == [0, 2, 3]
    assert ds["voltage"].min() > 2.8
    assert ds["file"].attrs["source_file"] == [0, 0]
    halves = half_cycles(ds)
    np.testing.assert_allclose(halves.capacity, [1200 / 3600, 1200 / 3600], rtol=0.01)


def test_impedance_alone_is_named(put):
    path = put("peis", 29, impedance(0))
    with pytest.raises(FileFormatError, match="20 of 20 rows are impedance"):
        read_cycler(path)


def test_capacity_is_one_with_and_without_its_own_column(put):
    columns = charging(0, 3600, -1.0)
    net = -columns[0][1] / 3600
    ds = quiet(put("a", 4, [*columns, (lab.NET, net)]))
    np.testing.assert_allclose(ds["capacity"], -net)


def test_text_without_header_and_labels_of_old_versions(tmp_path):
    path = tmp_path / "a.mpt"
    path.write_text("mode\ttime/s\t<Ewe/V>\t<I/mA>\n1\t0\t3.0\t0.5\n1\t1\t3.1\t0.5\n")
    ds = quiet(path)
    np.testing.assert_array_equal(ds["voltage"], [3.0, 3.1])
    np.testing.assert_array_equal(ds["current"], [0.5, 0.5])
    path.write_text("mode\ttime/s\tEwe/V\n3\t0\t3.0\n3\t1\t3.1\n")
    assert not quiet(path)["current"].any()
    path.write_text("mode\ttime/s\tEwe/V\n3\t0\t3.0\n1\t1\t3.1\n")
    with pytest.raises(FileFormatError, match="no column for current"):
        read_cycler(path)


def test_measured_techniques_of_one_program(measured):
    folder = measured("cyclers/eclab-pairs")
    names = ("wait", "peis", "cp")
    ds = quiet([folder / f"{n}.mpr" for n in names], timezone="Europe/Zurich")
    text = quiet([folder / f"{n}.mpt" for n in names], timezone="Europe/Zurich")
    assert ds.sizes["record"] == text.sizes["record"] == 121
    assert ds.attrs["flags"] == text.attrs["flags"] == ["no_rows", "impedance"]


def test_files_whose_rows_alternate_are_no_techniques_by_turns(tmp_path):
    time = np.arange(0.0, 3601.0, 60.0)
    for name, current in (("run_01_GCPL.mpt", 1.5), ("run_02_GCPL.mpt", -1.5)):
        columns = [time, 3.5 + current * time / 3e4, np.full(time.size, current)]
        lab.mpt(tmp_path / name, ["time/s", "Ewe/V", "<I>/mA"], columns, GCPL)
    with pytest.warns(DataQualityWarning, match="overlap"):
        record = read_cycler(str(tmp_path / "*.mpt"), timezone="UTC")
    assert record.attrs["flags"] == ["overlap"]


@pytest.mark.parametrize(
    ("names", "flags"),
    [
        (("a_01_GCPL_C01.mpt", "a_02_GCPL_C01.mpt"), []),
        (("a_01_GCPL_C01.mpt", "b_01_GCPL_C01.mpt"), ["several_programs"]),
        (("a_01_GCPL_C01.mpt", "a_02_GCPL_C02.mpt"), ["several_programs"]),
    ],
)
def test_programs_that_began_at_once_under_other_names_are_told(tmp_path, names, flags):
    time = np.arange(0.0, 3601.0, 60.0)
    for k, name in enumerate(names):
        columns = [time + 4000 * k, 3.5 + time / 3e4, np.full(time.size, 1.5)]
        lab.mpt(tmp_path / name, ["time/s", "Ewe/V", "<I>/mA"], columns, GCPL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        record = read_cycler(str(tmp_path / "*.mpt"), timezone="UTC")
    assert record.attrs["flags"] == flags
