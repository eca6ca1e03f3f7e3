"""Binary files of EC-Lab against exported text, and against files written here."""

from __future__ import annotations

import re
import struct
import time
import warnings

import cycler_files
import damage
import eclab_files as lab
import numpy as np
import pytest

from batteryxr.core.errors import DataQualityWarning, FileFormatError
from batteryxr.io import read_cycler
from batteryxr.io.cycler.eclab.binary import rows

RUN = cycler_files.run()
PAIRS = ("ca", "cp", "cv", "gcpl.pr_182.1", "geis", "mb", "ocv", "peis", "wait", "zir")
#: What EC-Lab works out of impedance when it exports; in "cp" capacitance, too.
WORKED_OUT = re.compile(r"[(|](Y|C|M|\w+ivity)[)|]|Delta|^Capacitance|(Re|Im)\(Z\)")
MPR = "cyclers/biologic/jdb11-1_c3_gcpl_5cycles_2V-3p8V_C-24_data_C09.mpr"


def quiet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(*args, **kwargs)


def text_of(path):
    lines = path.read_bytes().decode("cp1252").splitlines()
    count = int(lines[1].split(":")[1])
    cells = [line.split("\t") for line in lines[count:]]
    labels = lines[count - 1].split("\t")[:-1]
    return {label: [row[k] for row in cells] for k, label in enumerate(labels)}


def last_digit(cell):
    """Return half of one in the last digit of a number as it stands."""
    mantissa, _, exponent = cell.partition("E")
    digits = len(mantissa.partition(".")[2])
    return 0.5 * 10.0 ** (int(exponent or 0) - digits)


@pytest.mark.parametrize("name", PAIRS)
def test_columns_equal_exported_text_to_its_digits(measured, name):
    folder = measured("cyclers/eclab-pairs")
    found, text = rows(folder / f"{name}.mpr"), text_of(folder / f"{name}.mpt")
    stored = [field.label for field in found.layout.fields]
    assert stored == list(text)[: len(stored)]
    assert not found.layout.unknown
    missing = [label for label in text if label not in found.labels]
    assert all(WORKED_OUT.search(label) for label in missing)
    for label in set(text).difference(missing):
        known = np.array([float(cell) for cell in text[label]])
        digit = np.array([last_digit(cell) for cell in text[label]])
        ours = found.column(label).astype(np.float64)
        # EC-Lab works some out in single precision; in "cp" even the charge.
        single = label not in stored or (name, label[:2]) == ("cp", "Q ")
        slack = 2e-16 * np.abs(known) + (1.2e-7 * np.abs(known) if single else 0)
        if label == "Ewe-Ece/V":
            slack += 1e-7 * np.abs(
                found.column("Ewe/V" if "Ewe/V" in stored else "<Ewe>/V")
            )
        np.testing.assert_array_less(
            np.abs(ours - known), 1.001 * digit + slack + 1e-300
        )


@pytest.mark.parametrize("name", ["ca", "cp", "cv", "gcpl.pr_182.1", "mb", "ocv"])
def test_binary_and_text_are_one_record(measured, name):
    folder = measured("cyclers/eclab-pairs")
    ours, text = (
        quiet(folder / f"{name}{suffix}", timezone="Europe/Zurich")
        for suffix in (".mpr", ".mpt")
    )
    assert list(ours.variables) == list(text.variables)
    assert ours.attrs["start_local"] == text.attrs["start_local"]
    for label in text.data_vars:
        np.testing.assert_allclose(ours[label], text[label], rtol=6e-8, atol=1e-300)
    apart = ours["time"].values - text["time"].values
    assert np.isnat(apart).all() or np.abs(apart).max() <= np.timedelta64(1, "us")


def test_long_measured_run(measured):
    with pytest.warns(DataQualityWarning, match="EC-Lab template default"):
        ds = read_cycler(measured(MPR), timezone="UTC")
    assert ds.sizes["record"] == 46_102
    assert ds.attrs["start_local"] == ["2020-10-26T12:49:58.000"]
    known = [-0.206529, 0.986781, -0.852855, 0.937090, -0.876330, 0.941940, -0.874678]
    known += [0.947933, -0.876656, 0.951689, -0.878613, 0.955886, -0.879492]
    np.testing.assert_allclose(cycler_files.half_cycles(ds), known, rtol=1e-3)


@pytest.mark.parametrize("version", [2, 3, 11])
@pytest.mark.parametrize("wide", [False, True])
def test_written_run(tmp_path, version, wide):
    net = np.where(RUN.current < 0, -RUN.capacity, RUN.capacity)
    columns = [
        *((lab.TIME, RUN.time), (lab.EWE, RUN.voltage), (lab.MEAN, RUN.current)),
        *((lab.STEP, RUN.step), (lab.NET, net), (lab.HALF, 2 * RUN.cycle)),
    ]
    path = lab.write(tmp_path / "a.mpr", columns, version=version, wide=wide)
    ds = quiet(path, timezone="Europe/Zurich")
    np.testing.assert_array_equal(ds["test_time"], RUN.time)
    np.testing.assert_array_equal(ds["voltage"], RUN.voltage.astype("f4"))
    np.testing.assert_array_equal(ds["current"], RUN.current)
    np.testing.assert_array_equal(ds["capacity"], RUN.capacity)
    np.testing.assert_array_equal(ds["cycle"], RUN.cycle)
    np.testing.assert_array_equal(ds["step"], RUN.step)
    told = version in (2, 3) and not wide
    assert ("unknown_version" in ds.attrs["flags"]) is not told
    assert ds["time"].values[0] == np.datetime64("2024-01-10T10:02:29.886")
    if not wide:
        assert "(SN 0123)" in ds.attrs["instrument"]
    assert "cell µ 4" in ds.attrs["header"] or wide


def test_current_comes_from_charge_and_open_circuit_has_none(tmp_path):
    ds = quiet(lab.mpr(tmp_path / "a.mpr", RUN))
    np.testing.assert_allclose(ds["current"][1:], RUN.current[1:], atol=2e-5)
    assert ds["current"].attrs["source_label"].startswith("<I>")
    columns = [(lab.TIME, RUN.time), (lab.EWE, RUN.voltage)]
    flags = {1: np.full(RUN.time.size, 3)}
    rest = lab.write(tmp_path / "b.mpr", columns, flags=flags, technique=99)
    assert not quiet(rest)["current"].any()
    flags = {1: np.full(RUN.time.size, 1)}
    with pytest.raises(FileFormatError, match="no column for current"):
        read_cycler(lab.write(tmp_path / "c.mpr", columns, flags=flags))


@pytest.mark.parametrize("width", ["<f4", "<f8", "<u2", "<u4", "u1"])
@pytest.mark.parametrize("place", [0, 2, 3])
def test_unknown_column_is_kept_under_its_number(tmp_path, width, place):
    values = (np.arange(RUN.time.size) % 200 + 7).astype(width)
    columns = [(lab.TIME, RUN.time), (lab.EWE, RUN.voltage), (lab.MEAN, RUN.current)]
    columns.insert(place, ((9001, width), values))
    path = lab.write(tmp_path / "a.mpr", columns, flags={1: np.ones(RUN.time.size)})
    with pytest.warns(DataQualityWarning, match="9001"):
        ds = read_cycler(path)
    np.testing.assert_array_equal(ds["column_9001"], values)
    np.testing.assert_array_equal(ds["current"], RUN.current)
    named = quiet(path, columns={"column 9001": "cycle"})
    np.testing.assert_array_equal(named["cycle"], values)
    assert "column_9001" not in named


def test_unknown_columns_at_two_places(tmp_path):
    n = RUN.time.size
    random = np.random.default_rng(0)
    columns = [
        ((9001, "<f8"), random.normal(size=n)),
        (lab.TIME, RUN.time),
        ((9002, "<f4"), random.normal(size=n)),
        (lab.EWE, RUN.voltage),
        (lab.MEAN, RUN.current),
    ]
    ds = quiet(lab.write(tmp_path / "a.mpr", columns))
    np.testing.assert_array_equal(ds["column_9001"], columns[0][1])
    np.testing.assert_array_equal(ds["column_9002"], columns[2][1].astype("f4"))
    np.testing.assert_array_equal(ds["voltage"], RUN.voltage.astype("f4"))


def test_unknown_columns_that_fit_in_many_ways_stay_bytes(tmp_path):
    n = RUN.time.size
    columns = [(lab.TIME, RUN.time), (lab.EWE, RUN.voltage), (lab.MEAN, RUN.current)]
    columns += [((9001, "<u2"), np.arange(n)), ((9002, "<f8"), np.arange(n))]
    path = lab.write(tmp_path / "a.mpr", columns)
    with pytest.warns(DataQualityWarning, match="9001, 9002 could not be told"):
        ds = read_cycler(path)
    np.testing.assert_array_equal(ds["current"], RUN.current)
    found = rows(path)
    assert found.labels[3] == "columns 9001, 9002"
    assert found.column("columns 9001, 9002").dtype.itemsize == 10


def test_unknown_flag_shares_the_byte_of_flags(tmp_path):
    path = lab.write(
        tmp_path / "a.mpr",
        [(lab.TIME, RUN.time), (lab.EWE, RUN.voltage), (lab.MEAN, RUN.current)],
        flags={1: np.ones(RUN.time.size), 2: RUN.current > 0, 65: RUN.cycle > 1},
    )
    raw = path.read_bytes()
    at = raw.index(struct.pack("<3H", 1, 2, 65))
    path.write_bytes(raw[: at + 2] + struct.pack("<H", 9001) + raw[at + 4 :])
    assert quiet(path).sizes["record"] == RUN.time.size
    np.testing.assert_array_equal(rows(path).column("counter inc."), RUN.cycle > 1)


def test_loops_and_other_modules_are_told(tmp_path):
    more = [("VMP loop", struct.pack("<III", 2, 0, 80)), ("VMP ExtDev", bytes(30))]
    path = lab.write(tmp_path / "a.mpr", [(lab.TIME, RUN.time)], more=more)
    header = rows(path).settings.header
    assert header["loops"] == [0, 80]
    assert header["modules"][-1] == "VMP ExtDev"


def test_cut_files_are_refused(tmp_path):
    path = lab.mpr(tmp_path / "a.mpr", RUN)
    raw = path.read_bytes()
    whole = {raw.index(b"MODULEVMP LOG")}  # the log is not needed
    for end in sorted({*range(1, len(raw), 397), *range(50, 70), len(raw) - 1}):
        path.write_bytes(raw[:end])
        if end not in whole:
            with pytest.raises(FileFormatError, match=r"a\.mpr"):
                quiet(path)


@pytest.mark.parametrize("rows", [0, 1, 199, 201, 2**31])
def test_wrong_counts_are_refused(tmp_path, rows):
    columns = [(lab.TIME, RUN.time), (lab.EWE, RUN.voltage), (lab.MEAN, RUN.current)]
    path = lab.write(tmp_path / "a.mpr", columns, rows=rows)
    with pytest.raises(FileFormatError, match="damaged"):
        read_cycler(path)


def test_damaged_bytes_of_heads(tmp_path):
    path = lab.mpr(tmp_path / "a.mpr", RUN)
    raw = path.read_bytes()
    start = raw.index(b"MODULEVMP data")
    length, counts = slice(start + 41, start + 45), slice(start + 57, start + 62)
    for part in (length, counts, slice(start, start + 6), slice(30, 40)):
        for at in range(part.start, part.stop):
            spoiled = bytearray(raw)
            spoiled[at] ^= 0x11
            path.write_bytes(spoiled)
            with pytest.raises(FileFormatError):
                quiet(path)


def test_random_damage(tmp_path):
    path = lab.mpr(tmp_path / "a.mpr", RUN)
    began = time.process_time()
    outcomes = [
        damage.judge(path, read_cycler, what, RUN.time.size)
        for what, spoiled in damage.damaged(path.read_bytes(), 60, 5)
        if not path.write_bytes(spoiled) < 0
    ]
    assert time.process_time() - began < 60
    assert {"read", "refused"} == set(outcomes)
