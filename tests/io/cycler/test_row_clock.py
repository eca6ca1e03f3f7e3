from __future__ import annotations

import json
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import clock_files
import numpy as np
import pytest
import xarray as xr

import batteryxr  # noqa: F401 (the accessors)
from batteryxr.core.errors import ArgumentError, DataQualityWarning, FileFormatError
from batteryxr.core.store import open_store, save
from batteryxr.io import read_cycler
from batteryxr.io.cycler import arbin_res

SECOND = np.timedelta64(1, "s")


def quiet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(*args, **kwargs)


def off(ds, truth):
    """Return by how many seconds each row's time is late."""
    return (ds["time"].values - truth.astype("M8[ns]")) / SECOND


@pytest.mark.parametrize("name", sorted(clock_files.WRITERS))
def test_every_row_has_its_own_time(tmp_path, name):
    data = clock_files.paused()
    path = clock_files.WRITERS[name](tmp_path / name, data)
    ds = quiet(path, timezone="UTC")
    assert abs(off(ds, data.truth)).max() < 1
    about = json.loads(ds.attrs["row_clock"])[0]
    assert about["time_from"] == "stamps"
    assert [row for row, _ in about["pauses"]] == sorted(clock_files.PAUSES)
    for row, seconds in about["pauses"]:
        assert seconds == pytest.approx(clock_files.PAUSES[row], abs=1)
    assert "pauses" in ds.attrs["flags"]
    assert about["drift_ppm"] is None or abs(about["drift_ppm"] - 120) < 60


def test_a_result_file_has_a_clock_in_each_row(tmp_path, monkeypatch):
    data = clock_files.paused()
    days = data.wall / 86_400 + (data.begun - datetime(1899, 12, 30)).days
    seconds = (data.begun - datetime.combine(data.begun, datetime.min.time())).seconds
    days += seconds / 86_400
    rows = "Test_ID,Data_Point,Test_Time,DateTime,Current,Voltage\n" + "".join(
        f"1,{k + 1},{data.time[k]},{days[k]:.10f},{data.current[k]},{data.voltage[k]}\n"
        for k in range(days.size)
    )
    tables = {"Global_Table": "Test_ID,Test_Name\n1,a\n", "Channel_Normal_Table": rows}
    monkeypatch.setattr(arbin_res, "_export", lambda _, name: tables[name].encode())
    path = tmp_path / "run.res"
    path.write_bytes(b"\x00\x01\x00\x00Standard Jet DB\x00")
    ds = quiet(path, timezone="UTC")
    assert abs(off(ds, data.truth)).max() < 1
    assert ds["pause"].values[37] == pytest.approx(5400, abs=0.1)


def test_landts_times_without_units_tell_pauses(tmp_path):
    data = clock_files.paused({70: 10_800.0}, rows=60)

    def span(seconds):
        return (
            f"{seconds // 3600:02.0f}:{seconds // 60 % 60:02.0f}:{seconds % 60:06.3f}"
        )

    lines = ["Index,Step-Index,TestTime,Current/mA,Voltage/V,SysTime"] + [
        f"{k + 1},{data.step[k]},{span(data.time[k])},{data.current[k]},"
        f"{data.voltage[k]},{stamp:%Y-%m-%d %H:%M:%S}"
        for k, stamp in enumerate(data.stamps)
    ]
    (tmp_path / "landt.csv").write_text("\n".join(lines))
    ds = quiet(tmp_path / "landt.csv", timezone="UTC")
    assert abs(off(ds, data.truth)).max() < 1
    np.testing.assert_allclose(ds["test_time"], data.time, atol=1e-3)
    assert ds["pause"].values[70] == pytest.approx(10_800, abs=1)
    assert "pauses" in ds.attrs["flags"]


@pytest.mark.parametrize("pause", [0.0, 10_800.0])
def test_a_pause_before_test_time_begins_anew(tmp_path, pause):
    data = clock_files.paused({70: pause}, rows=60)
    again = np.where(np.arange(data.time.size) < 70, 0.0, data.time[70])
    anew = replace(data, time=data.time - again)
    path = clock_files.by_hand(tmp_path / "x.csv", anew, "%Y-%m-%d %H:%M:%S")
    ds = quiet(path, timezone="UTC")
    assert abs(off(ds, data.truth)).max() < 1
    listed = json.loads(ds.attrs["row_clock"])[0]["pauses"]
    assert [row for row, _ in listed] == ([70] if pause else [])
    for _, seconds in listed:
        assert seconds == pytest.approx(pause, abs=2)


def test_pauses_survive_selection_and_storage(tmp_path):
    data = clock_files.paused()
    ds = quiet(
        clock_files.WRITERS["pec.csv"](tmp_path / "pec.csv", data), timezone="UTC"
    )
    part = ds.isel(record=slice(80, 140))
    assert np.flatnonzero(part["pause"].values).tolist() == [10, 50]
    save(part, tmp_path / "part.zarr")
    xr.testing.assert_identical(open_store(tmp_path / "part.zarr").compute(), part)


@pytest.mark.parametrize("interval", [7.0, 10.4, 60.0, 61.7])
@pytest.mark.parametrize("pause", [0.0, 75.0, 200.0, 7200.0])
def test_a_clock_that_shows_minutes(tmp_path, interval, pause):
    data = clock_files.paused({70: pause}, rows=60, interval=interval)
    path = clock_files.by_hand(tmp_path / "x.csv", data, "%Y-%m-%d %H:%M")
    ds = quiet(path, timezone="UTC")
    stamps = data.truth.astype("M8[m]")
    late = off(ds, stamps)
    assert ((late >= 0) & (late < 60)).all()
    # A pause of about a minute may lie between any rows of that minute.
    least = 60 if 0 < pause < 120 else min(60, interval + 2)
    assert abs(off(ds, data.truth)).max() < least
    if pause > 2 * interval:
        listed = json.loads(ds.attrs["row_clock"])[0]["pauses"]
        assert sum(s for _, s in listed) == pytest.approx(pause, abs=2 * interval)
    if pause == 0:
        assert "pause" not in ds.coords


def test_seconds_are_refined_within_their_second(tmp_path):
    data = clock_files.paused({}, interval=0.37, rows=100)
    path = clock_files.by_hand(tmp_path / "x.csv", data, "%d.%m.%Y %H:%M:%S")
    ds = quiet(path, timezone="UTC")
    assert abs(off(ds, data.truth)).max() < 0.1
    assert (np.diff(ds["time"].values) > np.timedelta64(0)).all()


def test_drift_is_told(tmp_path):
    data = clock_files.paused({50: 900.0}, drift=300e-6, interval=600.0, rows=100)
    path = clock_files.by_hand(tmp_path / "x.csv", data, "%Y-%m-%d %H:%M:%S")
    ds = quiet(path, timezone="UTC")
    about = json.loads(ds.attrs["row_clock"])[0]
    assert about["drift_ppm"] == pytest.approx(300, abs=5)
    assert abs(off(ds, data.truth)).max() < 1


STYLES = [
    "%Y-%m-%d %H:%M:%S",
    "%Y/%m/%d %H:%M:%S.%f",
    "%m/%d/%Y %I:%M:%S %p",
    "%d.%m.%Y %H:%M:%S",
    "%d-%b-%y %I:%M:%S %p",
    "%d %b %Y %H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S+00:00",
]


@pytest.mark.parametrize("style", STYLES)
def test_dates_of_any_style(tmp_path, style):
    data = clock_files.paused(begun=datetime(2024, 3, 25, 23, 50))
    path = clock_files.by_hand(tmp_path / "x.csv", data, style)
    ds = quiet(path, timezone="UTC")
    assert abs(off(ds, data.truth)).max() < 1


def test_zones_that_the_label_or_the_numbers_name_need_none(tmp_path):
    data = clock_files.paused({})
    path = clock_files.by_hand(tmp_path / "x.csv", data, "%Y-%m-%d %H:%M:%S")
    text = path.read_text()
    for label, hours in [("Date Time (UTC)", 0), ("Date Time [GMT+02:00]", 2)]:
        path.write_text(text.replace("Date Time", label))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ds = read_cycler(path)
        assert abs(off(ds, data.truth) + 3600 * hours).max() < 1
    for unit in (1, 1000):
        seconds = (data.truth - np.datetime64("1970-01-01")) / np.timedelta64(1, "s")
        lines = text.splitlines()
        for k, s in enumerate(seconds):
            lines[k + 1] = f"{s * unit:.0f};" + lines[k + 1].partition(";")[2]
        path.write_text("\n".join(lines) + "\n")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ds = read_cycler(path)
        assert abs(off(ds, data.truth)).max() < 1


@pytest.mark.parametrize("interval", [30.0, 700.0, 5000.0])
@pytest.mark.parametrize("month", [3, 10])
def test_over_a_change_of_summer_time(tmp_path, month, interval):
    begun = datetime(
        2024, month, 31 if month == 3 else 27, 0, 7, tzinfo=ZoneInfo("UTC")
    )
    data = clock_files.paused({}, rows=80, interval=interval, drift=0, begun=begun)
    local = [
        s.astimezone(ZoneInfo("Europe/Paris")).replace(tzinfo=None) for s in data.stamps
    ]
    path = tmp_path / "x.csv"
    rows = [
        f"{s:%Y-%m-%d %H:%M:%S};{t};3.5;1.0"
        for s, t in zip(local, data.time, strict=True)
    ]
    path.write_text("\n".join(["Date Time;Time (s);Voltage (V);Current (mA)", *rows]))
    ds = quiet(path, timezone="Europe/Paris")
    truth = np.array([s.replace(tzinfo=None) for s in data.stamps], "M8[us]")
    assert abs(off(ds, truth)).max() < 1
    assert ds.attrs["flags"] == []
    # Without its own test time, the clock alone tells where it can.
    path.write_text(path.read_text().replace("Time (s)", "note"))
    if month == 3 or interval < 3600:
        alone = quiet(path, timezone="Europe/Paris")
        assert abs(off(alone, truth)).max() < 1
        np.testing.assert_allclose(alone["test_time"], data.time, atol=1)


def test_a_clock_that_does_not_follow_summer_time_is_flagged(tmp_path):
    data = clock_files.paused({}, begun=datetime(2024, 10, 27, 1, 30), interval=200.0)
    path = clock_files.by_hand(tmp_path / "x.csv", data, "%Y-%m-%d %H:%M:%S")
    ds = quiet(path, timezone="Europe/Paris")
    assert ds.attrs["flags"] == ["summer_time"]
    assert abs(off(ds, data.truth - np.timedelta64(2, "h"))).max() < 1
    fixed = quiet(path, timezone="+01:00")
    assert fixed.attrs["flags"] == []
    assert abs(off(fixed, data.truth - np.timedelta64(1, "h"))).max() < 1


def test_an_hour_that_came_twice_is_not_guessed(tmp_path):
    data = clock_files.paused({}, begun=datetime(2024, 10, 27, 2, 10), interval=10.0)
    path = clock_files.by_hand(tmp_path / "x.csv", data, "%Y-%m-%d %H:%M:%S")
    with pytest.raises(ArgumentError, match=r"came twice: pass '\+02:00' or '\+01:00'"):
        read_cycler(path, timezone="Europe/Paris")


def test_rows_that_lead_to_a_pause_in_an_hour_that_came_twice(tmp_path):
    begun = datetime(2025, 10, 25, 23, 30)  # UTC
    data = clock_files.paused({90: 30_000.0}, begun=begun, drift=0.0)
    zone = ZoneInfo("Europe/Berlin")
    local = [s.replace(tzinfo=UTC).astimezone(zone) for s in data.stamps]
    data.__dict__["stamps"] = [stamp.replace(tzinfo=None) for stamp in local]
    cut = data.stamps[:90]
    assert cut == sorted(cut)  # nothing steps back
    assert cut[-1].hour == 2
    path = clock_files.by_hand(tmp_path / "x.csv", data, "%Y-%m-%d %H:%M:%S")
    ds = read_cycler(path, timezone="Europe/Berlin")
    right = np.array([begun + timedelta(seconds=float(s)) for s in data.wall], "M8[us]")
    assert (np.abs(ds["time"].values - right) <= np.timedelta64(1, "s")).all()


def test_rows_without_a_stamp_are_placed_by_test_time(tmp_path):
    data = clock_files.paused({90: 600.0})
    path = clock_files.by_hand(tmp_path / "x.csv", data, "%Y-%m-%d %H:%M:%S")
    lines = path.read_text().splitlines()
    for row in (0, 1, 40, 41, 42, 149):
        lines[row + 1] = lines[row + 1][lines[row + 1].index(";") :]
    path.write_text("\n".join(lines) + "\n")
    ds = quiet(path, timezone="UTC")
    assert abs(off(ds, data.truth)).max() < 1
    assert set(ds.attrs["flags"]) == {"missing_stamps", "pauses"}
    assert "6 of 150 rows" in " ".join(ds.attrs["flag_notes"])


def test_a_clock_set_back_is_flagged_and_mended_by_name(tmp_path):
    data = clock_files.paused({75: -400.0}, drift=0.0)
    path = clock_files.by_hand(tmp_path / "x.csv", data, "%Y-%m-%d %H:%M:%S")
    ds = quiet(path, timezone="UTC")
    assert ds.attrs["flags"] == ["backward_clock"]
    assert abs(off(ds, data.truth)).max() < 1
    mended = quiet(path, timezone="UTC", repair="backward_clock")
    assert mended.attrs["flags"] == []
    whole = clock_files.paused({}, drift=0.0)
    assert abs(off(mended, whole.truth)).max() < 2


def test_rows_out_of_order_are_flagged_and_sorted_by_name(tmp_path):
    data = clock_files.paused()
    path = clock_files.by_hand(tmp_path / "x.csv", data, "%Y-%m-%d %H:%M:%S")
    label, *lines = path.read_text().splitlines()
    path.write_text("\n".join([label, *lines[60:80], *lines[:60], *lines[80:]]) + "\n")
    assert "row_order" in quiet(path, timezone="UTC").attrs["flags"]
    ds = quiet(path, timezone="UTC", repair="row_order")
    assert ds.attrs["flags"] == ["pauses"]
    assert abs(off(ds, data.truth)).max() < 1
    np.testing.assert_array_equal(ds["voltage"], data.voltage)


def test_one_stamp_for_all_rows_is_a_start(tmp_path):
    data = clock_files.paused({}, drift=0.0)
    path = clock_files.by_hand(tmp_path / "x.csv", data, "2024-03-05 14:30:15")
    ds = quiet(path, timezone="UTC")
    assert ds.attrs["flags"] == ["standing_clock"]
    assert abs(off(ds, data.truth)).max() < 1


def test_a_time_of_day_passes_midnight(tmp_path):
    begun = datetime(2024, 3, 5, 23, 40, 15)
    data = clock_files.paused({37: 5400.0, 90: 80_000.0}, begun=begun)
    rows = [
        f"{k}\t1\t1\t{t:.2f}\t{v}\t{i / 1e3}\tR\t{s:%H:%M:%S}"
        for k, (t, v, i, s) in enumerate(
            zip(data.time, data.voltage, data.current, data.stamps, strict=True)
        )
    ]
    path = tmp_path / "run.txt"
    head = f"Date of Test:\t{begun:%m/%d/%Y}\nRec#\tCyc#\tStep\tTest (Sec)\tVolts\tAmps"
    path.write_text("\n".join([f"{head}\tState\tDPt Time", *rows]) + "\n")
    ds = quiet(path, timezone="UTC")
    assert abs(off(ds, data.truth)).max() < 1


def test_half_days_without_am_or_pm_are_refused_by_name(tmp_path):
    data = clock_files.paused({}, begun=datetime(2024, 3, 25, 11, 30))
    path = clock_files.by_hand(tmp_path / "x.csv", data, "%Y-%m-%d %I:%M:%S")
    with pytest.warns(DataQualityWarning, match="neither AM nor PM"):
        ds = read_cycler(path, timezone="UTC")
    assert np.isnat(ds["time"]).all()


def test_dates_without_a_time_of_day_are_no_clock(tmp_path):
    data = clock_files.paused({})
    path = clock_files.by_hand(tmp_path / "x.csv", data, "%Y-%m-%d")
    ds = quiet(path, timezone="UTC")
    assert ds.attrs["flags"] == ["clock_without_time"]
    assert np.isnat(ds["time"]).all()


def test_day_and_month_by_the_rest_of_the_file(tmp_path):
    # 03/04 could be either; 13/04 some rows later tells, whoever wrote it.
    data = clock_files.paused({}, begun=datetime(2024, 4, 12, 20), interval=300.0)
    path = clock_files.by_hand(tmp_path / "x.csv", data, "%d/%m/%Y %H:%M:%S")
    assert abs(off(quiet(path, timezone="UTC"), data.truth)).max() < 1
    with pytest.raises(ArgumentError, match=r"dayfirst=False.*13/04/2024"):
        read_cycler(path, timezone="UTC", dayfirst=False)
    # By the test time: from one day to the next, not to the next month.
    data = clock_files.paused({}, begun=datetime(2024, 4, 5, 20), interval=300.0)
    path = clock_files.by_hand(tmp_path / "x.csv", data, "%d/%m/%Y %H:%M:%S")
    assert abs(off(quiet(path, timezone="UTC"), data.truth)).max() < 1


def test_a_file_without_stamps_says_so(tmp_path):
    import cycler_files

    path = cycler_files.mpt(tmp_path / "run.mpt", cycler_files.run())
    ds = quiet(path, timezone="Europe/Paris")
    assert json.loads(ds.attrs["row_clock"]) == [
        {"time_from": "start", "resolution_s": None, "drift_ppm": None, "pauses": None}
    ]
    assert "run.mpt: a pause there cannot be seen" in ds["time"].attrs["comment"]
    scans = xr.Dataset(
        coords={"time": ("scan", ds["time"].values[5:7]), "exposure": 0.0}
    )
    scans["exposure"].attrs["units"] = "s"
    joined = ds.echem.join(scans)
    assert "a pause there cannot be seen" in joined["join_flag"].attrs["comment"]
    ds.attrs |= {"flags": ["possible_pause"], "flag_notes": ["it fell back"]}
    with pytest.warns(DataQualityWarning, match="join: it fell back"):
        ds.echem.join(scans)
    path = cycler_files.generic(tmp_path / "x.csv", cycler_files.run())
    assert json.loads(quiet(path).attrs["row_clock"])[0]["time_from"] == ""


def test_files_follow_one_another_by_their_clocks(tmp_path):
    first = clock_files.paused()
    later = first.stamps[-1] + timedelta(seconds=500)
    second = clock_files.paused({}, begun=later)
    for k, data in enumerate((first, second)):
        clock_files.by_hand(tmp_path / f"{k}.csv", data, "%Y-%m-%d %H:%M:%S")
    ds = quiet(tmp_path, timezone="UTC")
    assert abs(off(ds, np.concatenate([first.truth, second.truth]))).max() < 1
    assert ds.attrs["gap_s"] == [pytest.approx(500, abs=1)]
    jump = ds["test_time"].values[150] - ds["test_time"].values[149]
    assert jump == pytest.approx(500, abs=1)


def test_files_weeks_apart_or_of_two_instruments_are_flagged(tmp_path):
    first = clock_files.paused({})
    second = clock_files.paused({}, begun=first.begun + timedelta(days=20))
    clock_files.WRITERS["pec.csv"](tmp_path / "a.csv", first)
    clock_files.WRITERS["pec.csv"](tmp_path / "b.csv", second)
    # The rows are the same but for their clock: that is said as well.
    flags = quiet(tmp_path, timezone="UTC").attrs["flags"]
    assert flags == ["same_rows", "files_apart"]
    clock_files.WRITERS["landt.csv"](tmp_path / "b.csv", second)
    ds = quiet(tmp_path, timezone="UTC")
    assert ds.attrs["flags"] == ["several_instruments", "files_apart"]


def test_mixed_orders_of_day_and_month_are_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(
        "Date,Time (s),Voltage (V),Current (mA)\n"
        "25/03/2024 12:00:00,0,3.5,1\n03/25/2024 12:00:30,30,3.6,1\n"
    )
    with pytest.warns(DataQualityWarning, match="written in one order"):
        ds = read_cycler(path, timezone="UTC")
    assert np.isnat(ds["time"]).all()
    with pytest.raises((ArgumentError, FileFormatError), match="one order"):
        read_cycler(path, timezone="UTC", dayfirst=True)


@pytest.mark.parametrize("block", [None, 20])
def test_scans_after_a_pause_get_what_they_get_without(tmp_path, block):
    pauses = {50: 5400.0, 105: 7200.0, 130: 93_784.0}
    data = clock_files.paused(pauses, drift=0.0)
    plain = clock_files.paused({}, drift=0.0)
    joined = []
    for name, run in (("paused.bdf.csv", data), ("plain.bdf.csv", plain)):
        record = quiet(clock_files.bdf(tmp_path / name, run))
        if block is not None:
            record = record.chunk(record=block)
        # Scans in the middle between rows, none of them in a pause.
        rows = np.array([35, 48, 51, 70, 104, 106, 131, 148])
        times = run.truth.astype("M8[ns]")[rows] + np.timedelta64(20, "s")
        scans = xr.Dataset(
            {"a": ("scan", np.zeros(rows.size))},
            coords={
                "time": ("scan", times),
                "exposure": ("scan", np.full(rows.size, 6.0), {"units": "s"}),
            },
        )
        joined.append(record.echem.join(scans))
    for label in ("voltage", "current", "capacity", "capacity_total", "coverage"):
        np.testing.assert_allclose(
            joined[0][label].values, joined[1][label].values, rtol=1e-9, err_msg=label
        )
    for label in ("direction", "half_cycle", "branch", "cycle"):
        np.testing.assert_array_equal(joined[0][label].values, joined[1][label].values)


def test_a_scan_in_a_pause_has_no_voltage(tmp_path):
    data = clock_files.paused({50: 5400.0}, drift=0.0)
    record = quiet(clock_files.bdf(tmp_path / "x.bdf.csv", data))
    time = data.truth.astype("M8[ns]")[49] + np.timedelta64(3000, "s")
    scans = xr.Dataset(
        {"a": ("scan", [0.0])},
        coords={"time": ("scan", [time]), "exposure": ("scan", [60.0], {"units": "s"})},
    )
    with pytest.warns(DataQualityWarning, match="not covered"):
        assert np.isnan(record.echem.join(scans)["voltage"].values[0])
