"""Neware files: the libraries' values, their faults kept away, damage named."""

from __future__ import annotations

import concurrent.futures
import datetime
import sys
import zipfile
import zlib

import clock_files
import numpy as np
import pytest

from batteryxr import read_cycler
from batteryxr.core.errors import DataQualityWarning, FileFormatError
from batteryxr.io.cycler import neware
from batteryxr.io.cycler.checks import plausibility

pytest.importorskip("fastnda")
pytest.importorskip("NewareNDA")

FOLDER = "cyclers/neware"
ROWS = {"test_2.ndax": 108_563, "nw4-120-1-6-53.ndax": 18_700, "SIM.nda": 108_642}


@pytest.fixture(scope="session")
def file(measured, tmp_path_factory):
    """Return a function that finds a Neware file, unpacked."""

    def find(name):
        if name.endswith(".nda"):
            folder = tmp_path_factory.mktemp("nda")
            with zipfile.ZipFile(measured(f"{FOLDER}/{name}.zip")) as archive:
                return folder / archive.extract(name, folder)
        return measured(f"{FOLDER}/{name}")

    return find


@pytest.mark.parametrize("name", sorted(ROWS))
def test_two_libraries_agree(file, name):
    path = file(name)
    one, other = neware.read(path), neware._with_newarenda(path)
    assert one.rows == other.rows == ROWS[name]
    assert one.header["reader"] == "fastnda"
    for column in ("voltage", "current", "cycle", "step", "step_index"):
        worst = np.abs(one.columns[column] - other.columns[column]).max()
        assert worst <= (2.4e-7 if column == "voltage" else 0), column
    np.testing.assert_allclose(
        one.columns["test_time"], other.columns["test_time"], atol=1e-3
    )
    assert one.start_local == other.start_local
    if one.unix_time is not None:
        np.testing.assert_allclose(one.unix_time, other.unix_time, atol=1e-3)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_exports_of_the_maker_agree(file, measured, name):
    polars = pytest.importorskip("polars")
    reference = polars.read_parquet(
        measured(f"{FOLDER}/{name.rpartition('.')[0]}.parquet")
    )
    table = neware.read(file(name))
    columns = {
        "voltage": reference["Voltage(mV)"].to_numpy() / 1e3,
        "test_time": reference["Total Time"].to_numpy(),
        "step": reference["Step Count"].to_numpy(),
    }
    for column, expected in columns.items():
        # The maker writes tenths of millivolts.
        limit = 5.1e-5 if column == "voltage" else 1e-9
        assert np.abs(table.columns[column] - expected).max() <= limit, column


def test_a_record(file):
    ds = read_cycler(file("nw4-120-1-6-53.ndax"))
    assert ds.sizes["record"] == 18_700
    assert ds["time"].values[0] == np.datetime64("2025-04-07T10:48:21.950")
    assert ds.attrs["instrument"] == "Neware"
    assert ds["current"].attrs["units"] == "mA"
    charging = ds["current"].values > 0.1
    assert ds["voltage"].values[charging].mean() > ds["voltage"].values[0]


def test_running_time_never_goes_back(file):
    table = neware.read(file("test_2.ndax"))
    assert (np.diff(table.columns["test_time"]) >= 0).all()


def test_local_clock_needs_a_zone(file):
    path = file("SIM.nda")
    with pytest.warns(DataQualityWarning, match="undeclared zone"):
        ds = read_cycler(path)
    assert np.isnat(ds["time"]).all()
    assert ds.attrs["start_local"][0].startswith("2018-09-10T17:52:00")
    ds = read_cycler(path, timezone="Asia/Shanghai")
    # The file has whole seconds; the first row lies within its own.
    late = ds["time"].values[0] - np.datetime64("2018-09-10T09:52:00")
    assert np.timedelta64(0, "s") <= late < np.timedelta64(1, "s")


def test_backward_clock_is_flagged(tmp_path):
    names = ("voltage", "current")
    columns = {"test_time": np.arange(4.0)} | dict.fromkeys(names, np.ones(4))
    unix = 1.7e9 + np.array([0.0, 1.0, -3000.0, -2999.0])
    table = neware._table(
        tmp_path / "a.ndax",
        columns,
        unix,
        local=False,
        header={},
        labels={},
        units={},
        said=[],
    )
    flagged = plausibility.examine(table, ())
    assert "set back 1 times" in flagged.notes["backward_clock"]
    assert "3,002 s before row 2" in flagged.notes["backward_clock"]
    assert table.start_local is None
    local = neware._table(
        tmp_path / "a.nda",
        columns,
        unix,
        local=True,
        header={},
        labels={},
        units={},
        said=[],
    )
    assert local.unix_time is None
    assert local.start_local == datetime.datetime(2023, 11, 14, 22, 13, 20)


@pytest.mark.parametrize("version", [8, 29])
def test_pauses(tmp_path, version):
    data = clock_files.paused()
    path = clock_files.nda(tmp_path / "run.nda", data, version)
    with pytest.warns(DataQualityWarning, match="5,400 s before row 37"):
        ds = read_cycler(path, timezone="UTC")
    late = ds["time"].values - data.truth.astype("M8[ns]")
    assert np.abs(late).max() < np.timedelta64(1, "s")
    assert ds["pause"].values[130] == pytest.approx(93_784, abs=1)


def test_a_pause_within_a_file_of_today(file, tmp_path):
    """Its clock is beside its rows, for a few of them; every stamp moves by 5400 s."""
    whole = zipfile.ZipFile(file("nw4-120-1-6-53.ndax"))
    old = read_cycler(file("nw4-120-1-6-53.ndax"))["time"].values
    beside = np.frombuffer(whole.read("data_runInfo.ndc"), np.uint8).copy()
    blocks = beside.reshape(-1, 4096)[1:, 132 : 132 + 72 * 55].reshape(-1, 72, 55)
    stamps = blocks[:, :, 33:37].copy().view("<u4")
    late = stamps >= old[9000].astype("M8[s]").astype(int)
    blocks[:, :, 33:37] = np.where(late, stamps + 5400, stamps).astype("<u4").view("u1")
    with zipfile.ZipFile(tmp_path / "a.ndax", "w") as archive:
        for name in whole.namelist():
            mine = name == "data_runInfo.ndc"
            archive.writestr(name, beside.tobytes() if mine else whole.read(name))
    with pytest.warns(DataQualityWarning, match="5,400 s before row 9003"):
        ds = read_cycler(tmp_path / "a.ndax")
    moved = (ds["time"].values - old) / np.timedelta64(1, "s")
    np.testing.assert_allclose(moved, np.repeat([0, 5400], [9003, 9697]), atol=0.1)


def test_times_that_a_library_adds_to_a_start_are_no_clock(tmp_path):
    columns = {
        "test_time": np.arange(3.0),
        "voltage": np.ones(3),
        "current": np.ones(3),
    }
    table = neware._table(
        tmp_path / "a.nda",
        columns,
        1.7e9 + columns["test_time"],
        local=True,
        header={"file_version": 3},
        labels={},
        units={},
        said=[],
    )
    assert table.stamps is None
    assert table.start_local == datetime.datetime(2023, 11, 14, 22, 13, 20)


def test_zlib_is_left_alone(file):
    before = zlib.decompress, zlib.decompressobj
    neware.read(file("nw4-120-1-6-53.ndax"))
    assert (zlib.decompress, zlib.decompressobj) == before
    with pytest.raises(FileFormatError):
        neware.read(file("SIM.nda").with_name("none.ndax"))
    assert (zlib.decompress, zlib.decompressobj) == before
    assert zlib.decompress.__module__ in (None, "zlib")


def test_import_leaves_zlib_alone():
    import subprocess

    code = (
        "import zlib; a = zlib.decompress, zlib.decompressobj\n"
        "import batteryxr, batteryxr.io.cycler.neware\n"
        "assert a == (zlib.decompress, zlib.decompressobj)\n"
        "import sys; assert 'fastnda' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_worker_at_a_time(file):
    import fastnda.ndax

    pool = fastnda.ndax.ThreadPoolExecutor
    with neware._one_worker(fastnda.ndax), fastnda.ndax.ThreadPoolExecutor() as workers:
        assert workers._max_workers == 1
    assert fastnda.ndax.ThreadPoolExecutor is pool


def test_many_reads_from_many_threads(file):
    path = file("nw4-120-1-6-53.ndax")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sums = list(
            pool.map(lambda _: neware.read(path).columns["voltage"].sum(), range(60))
        )
    assert len(set(sums)) == 1


def test_a_version_that_fastnda_does_not_know(file, monkeypatch):
    def unknown(path):
        raise NotImplementedError("ndc version 99 is not yet supported!")

    monkeypatch.setattr(neware, "_with_fastnda", unknown)
    table = neware.read(file("nw4-120-1-6-53.ndax"))
    assert table.header["reader"] == "NewareNDA"
    assert table.rows == 18_700


def test_damaged_notes_do_not_spoil_the_rows(file):
    path = file("Unit27_Example_Corrupt.ndax")
    with pytest.warns(DataQualityWarning, match="auxiliary_lost"):
        ds = read_cycler(path)
    assert ds.sizes["record"] == 301
    assert ds["voltage"].values[0] == pytest.approx(2.982991)


def test_an_empty_test(file):
    with pytest.raises(FileFormatError, match=r"empty\.ndax: no data rows"):
        read_cycler(file("empty.ndax"))


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.ndax", b"PK\x03\x04 and no more"),
        ("a.ndax", b"words"),
        ("a.nda", b"NEWARE"),
        ("a.nda", b"NEWARE" + bytes(2000)),
    ],
)
def test_files_that_are_none(tmp_path, name, raw):
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match=rf"{name}"):
        read_cycler(path)


@pytest.mark.parametrize("lost", [1, 86, 4_000_000])
def test_a_cut_file_says_how_much_is_missing(file, tmp_path, lost):
    path = tmp_path / "a.nda"
    path.write_bytes(file("SIM.nda").read_bytes()[:-lost])
    table = neware.read(path)
    assert table.notes["cut"].startswith(f"{lost:,} bytes of rows are missing")
