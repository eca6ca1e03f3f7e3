from __future__ import annotations

import warnings

import cycler_files
import numpy as np
import pytest

from batteryxr.core.errors import (
    ArgumentError,
    DataQualityWarning,
    FileFormatError,
    MissingDependencyError,
)
from batteryxr.io import read_cycler
from batteryxr.io.cycler import arbin_res

RES = "cyclers/arbin/20160805_test001_45_cc_01.res"
XLSX = "cyclers/arbin/bs542_004_gr_li_50ua_50mv_1v_191020_Channel_11.xlsx"
RUN = cycler_files.run()
GLOBAL = (
    "Test_ID,Test_Name,Start_DateTime,Serial_Number\n"
    '3,"first",42587.5,"99"\n7,"second",42588.5,"99"\n'
)


def quiet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(*args, **kwargs)


def needs_mdbtools():
    if arbin_res.shutil.which("mdb-export") is None:
        pytest.skip("mdbtools is not installed")


def test_result_file(measured):
    needs_mdbtools()
    ds = quiet(measured(RES), timezone="Europe/Oslo")
    assert ds.sizes["record"] == 10_261
    assert ds.attrs["instrument"] == "Arbin 176075"
    assert ds.attrs["start_local"] == ["2016-08-05T16:16:23.000"]
    # The computer's clock was set by 7 s, twice.
    assert ds.attrs["flags"] == ["backward_clock"]
    assert "2 times" in ds.attrs["flag_notes"][0]
    cycles = np.unique(ds["cycle"])
    assert cycles.tolist() == list(range(1, 19))
    known = [
        (1.625406, 1.755094),
        (1.699564, 1.567475),
        (1.731508, 1.585721),
        (1.575978, 1.517318),
        (1.535303, 1.471186),
        (1.537158, 1.470715),
    ]
    for number, (charge, discharge) in enumerate(known, 1):
        rows = ds["cycle"].values == number
        assert ds["charge_capacity"].values[rows].max() == pytest.approx(charge, 1e-6)
        most = ds["discharge_capacity"].values[rows].max()
        assert most == pytest.approx(discharge, 1e-6)


def test_workbook(measured):
    pytest.importorskip("openpyxl")
    ds = quiet(measured(XLSX), timezone="Europe/London")
    assert ds.sizes["record"] == 4526
    assert ds["time"].values[0] == np.datetime64("2020-10-19T10:31:46.582")
    assert ds["discharge_capacity"].values.max() == pytest.approx(11.05, abs=0.005)
    # It ran on over the night of 25 October.
    assert ds.attrs["flags"] == ["summer_time"]
    elapsed = (ds["time"] - ds["time"][0]) / np.timedelta64(1, "s")
    late = elapsed - (ds["test_time"] - ds["test_time"][0])
    assert abs(late).max() < 0.2


def rows(*tests):
    lines = [
        "Test_ID,Data_Point,Test_Time,Step_Time,DateTime,Step_Index,Cycle_Index,"
        "Current,Voltage,Charge_Capacity,Discharge_Capacity"
    ]
    lines += [
        f"{test},{k + 1},{RUN.time[k]},0,{42587.5 + RUN.time[k] / 86400:.9f},"
        f"{RUN.step[k]},{RUN.cycle[k]},"
        f"{RUN.current[k] / 1e3:.9f},{RUN.voltage[k]},{RUN.charge[k] / 1e3:.11f},"
        f"{RUN.discharge[k] / 1e3:.11f}"
        for test in tests
        for k in range(len(RUN.time))
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture
def database(tmp_path, monkeypatch):
    """A .res file whose tables are given as text."""
    tables = {"Global_Table": GLOBAL, "Channel_Normal_Table": rows(3)}
    monkeypatch.setattr(arbin_res, "_export", lambda _, name: tables[name].encode())
    path = tmp_path / "run.res"
    path.write_bytes(b"\x00\x01\x00\x00Standard Jet DB\x00")
    return path, tables


def test_several_tests_in_one_file(database):
    path, tables = database
    ds = quiet(path)
    assert ds.attrs["start_local"] == ["2016-08-05T12:00:00.000"]
    np.testing.assert_allclose(ds["current"], RUN.current, atol=1e-6)
    tables["Channel_Normal_Table"] = rows(3, 7)
    with pytest.raises(ArgumentError, match="3: 'first', 7: 'second'"):
        read_cycler(path)
    with pytest.raises(ArgumentError, match="test=4"):
        read_cycler(path, test=4)
    second = quiet(path, test=7)
    assert second.sizes["record"] == len(RUN.time)
    assert second.attrs["start_local"] == ["2016-08-06T12:00:00.000"]


def test_rows_out_of_order_and_missing(database):
    path, tables = database
    label, *lines = rows(3).splitlines()
    tables["Channel_Normal_Table"] = "\n".join([label, *lines[::-1]]) + "\n"
    ds = quiet(path)
    np.testing.assert_allclose(ds["voltage"], RUN.voltage)
    assert ds.attrs["flags"] == []
    del lines[50:60]
    tables["Channel_Normal_Table"] = "\n".join([label, *lines]) + "\n"
    ds = quiet(path)
    assert ds.attrs["flags"] == ["missing_rows"]
    assert f"10 of {len(RUN.time)} rows" in ds.attrs["flag_notes"][0]


def test_an_empty_table(database):
    path, tables = database
    tables["Channel_Normal_Table"] = rows()
    with pytest.raises(FileFormatError, match="no rows"):
        read_cycler(path)


def test_without_mdbtools(tmp_path, monkeypatch):
    monkeypatch.setattr(arbin_res.shutil, "which", lambda _: None)
    (tmp_path / "run.res").write_bytes(b"\x00\x01\x00\x00Standard Jet DB\x00")
    with pytest.raises(MissingDependencyError, match="apt install mdbtools"):
        read_cycler(tmp_path / "run.res")


def test_a_broken_database(tmp_path):
    needs_mdbtools()
    (tmp_path / "run.res").write_bytes(b"\x00\x01\x00\x00Standard Jet DB\x00" * 500)
    with pytest.raises(FileFormatError, match="mdb-export cannot read"):
        read_cycler(tmp_path / "run.res")
    (tmp_path / "run.xlsx").write_bytes(b"PK\x03\x04nothing")
    with pytest.raises(FileFormatError, match="not a whole zip archive"):
        read_cycler(tmp_path / "run.xlsx")
