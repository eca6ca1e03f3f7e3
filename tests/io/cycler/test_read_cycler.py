from __future__ import annotations

import dataclasses
import json
import shutil
import warnings
from datetime import timedelta

import cycler_files
import numpy as np
import pytest
import xarray as xr

import batteryxr as bx
from batteryxr.core.errors import ArgumentError, DataQualityWarning, FileFormatError
from batteryxr.io import read_cycler

RUN = cycler_files.run()
UTC_START = np.datetime64("2024-03-05T13:30:15")


def quiet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(*args, **kwargs)


@pytest.mark.parametrize("name", sorted(cycler_files.WRITERS))
def test_every_format_tells_the_same_run(tmp_path, name):
    ds = quiet(cycler_files.WRITERS[name](tmp_path / name, RUN), timezone="+01:00")
    np.testing.assert_allclose(ds["test_time"], RUN.time, atol=1e-2)
    np.testing.assert_allclose(ds["voltage"], RUN.voltage, atol=1e-9)
    np.testing.assert_allclose(ds["current"], RUN.current, atol=1e-7)
    assert ds.attrs["flags"] == []
    assert ds["file"].dtype == np.int16
    if "step" in ds:
        np.testing.assert_array_equal(ds["step"], RUN.step)
        assert ds["step"].dtype == np.int32
    if "charge_capacity" in ds:
        np.testing.assert_allclose(ds["charge_capacity"], RUN.charge, atol=1e-7)
        np.testing.assert_allclose(ds["discharge_capacity"], RUN.discharge, atol=1e-7)
    elif "capacity" in ds:
        np.testing.assert_allclose(ds["capacity"], RUN.capacity, atol=1e-7)
    if ds.attrs["start_local"] != [""]:
        late = (ds["time"].values[0] - UTC_START) / np.timedelta64(1, "s")
        assert 0 <= late <= 0.25
        elapsed = (ds["time"].values - ds["time"].values[0]) / np.timedelta64(1, "s")
        np.testing.assert_allclose(elapsed, RUN.time, atol=1e-2)


def test_what_every_dataset_carries(tmp_path):
    path = cycler_files.mpt(tmp_path / "run.mpt", RUN)
    ds = quiet(path, timezone="Europe/Berlin")
    assert ds["voltage"].attrs["units"] == "V"
    assert ds["current"].attrs["units"] == "mA"
    assert ds["capacity"].attrs == {
        "units": "mA h",
        "long_name": "Capacity",
        "source_label": "Capacity/mA.h",
    }
    assert ds["charge_energy"].attrs["units"] == "mW h"
    assert ds["charge_energy"].values[-1] == pytest.approx(RUN.charge[-1] * 3.5)
    assert ds.attrs["title"] == "run"
    assert ds.attrs["source_files"] == ["run.mpt"]
    assert ds.attrs["start_local"] == ["2024-03-05T14:30:15.250"]
    assert ds.attrs["timezone"] == "Europe/Berlin"
    assert json.loads(ds.attrs["header"])[0]["Device"] == "VMP3 (SN 0198)"
    again = bx.replay(ds, path)
    xr.testing.assert_identical(again.drop_attrs(), ds.drop_attrs())


@pytest.mark.parametrize("kind", ["zarr", "nc"])
def test_round_trip_through_files(tmp_path, kind):
    ds = quiet(cycler_files.maccor(tmp_path / "run.txt", RUN))
    target = tmp_path / f"store.{kind}"
    if kind == "zarr":
        back = bx.open_store(bx.save(ds, target)).load()
    else:
        pytest.importorskip("netCDF4")
        ds.to_netcdf(target)
        back = xr.open_dataset(target)
    for name in ds.variables:
        np.testing.assert_array_equal(back[name].values, ds[name].values)
        assert back[name].attrs["long_name"] == ds[name].attrs["long_name"]


def test_undeclared_zone_is_one_warning_and_no_guess(tmp_path):
    paths = two_files(tmp_path, gap=30.0)
    with pytest.warns(DataQualityWarning) as caught:
        ds = read_cycler(paths)
    assert len(caught) == 1
    assert "timezone=" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert np.isnat(ds["time"]).all()
    assert ds.attrs["timezone"] == ""
    assert ds.attrs["gap_s"] == pytest.approx([30.0], abs=1e-3)


def two_files(folder, gap, names=("b.mpt", "a.mpt")):
    """One run in two files, the later one with its own clock from 0."""
    half = len(RUN.time) // 2
    cut = {
        field.name: getattr(RUN, field.name)[:half] for field in dataclasses.fields(RUN)
    }
    rest = {
        field.name: getattr(RUN, field.name)[half:] for field in dataclasses.fields(RUN)
    }
    rest["time"] = rest["time"] - rest["time"][0]
    first = cycler_files.mpt(folder / names[0], cycler_files.Run(**cut))
    second = cycler_files.mpt(folder / names[1], cycler_files.Run(**rest))
    start = cycler_files.START
    later = start + timedelta(seconds=float(cut["time"][-1]) + gap)
    old, new = (f"{t:%m/%d/%Y %H:%M:%S}".encode() for t in (start, later))
    second.write_bytes(second.read_bytes().replace(old, new))
    return [first, second]


def test_files_are_put_in_order_and_joined_over_the_gap(tmp_path):
    first, second = two_files(tmp_path, gap=26.0)
    end = RUN.time[len(RUN.time) // 2 - 1]
    for files in ([first, second], [second, first], tmp_path, tmp_path / "*.mpt"):
        ds = quiet(files, timezone="Europe/Paris")
        assert ds.attrs["source_files"] == ["b.mpt", "a.mpt"]
        assert ds.attrs["gap_s"] == pytest.approx([26.0], abs=1e-6)
        assert np.bincount(ds["file"]).tolist() == [len(RUN.time) // 2] * 2
        assert ds["test_time"].values[len(RUN.time) // 2] == pytest.approx(end + 26.0)
        assert (np.diff(ds["test_time"]) > 0).all()
        np.testing.assert_allclose(ds["voltage"], RUN.voltage)


def test_joined_over_the_change_to_winter_time(tmp_path):
    paths = two_files(tmp_path, gap=0.0)
    stamps = (b"03/05/2024 14:30:15", b"10/30/2022 01:30:00")
    late = cycler_files.START + timedelta(seconds=float(RUN.time[99]))
    again = (f"{late:%m/%d/%Y %H:%M:%S}".encode(), b"10/30/2022 03:30:00")
    for path, (old, new) in zip(paths, (stamps, again), strict=True):
        path.write_bytes(path.read_bytes().replace(old, new))
    local = quiet(paths)
    paris = quiet(paths, timezone="Europe/Paris")
    assert paris.attrs["gap_s"][0] - local.attrs["gap_s"][0] == pytest.approx(3600)
    jump = np.diff(paris["time"].values).max() / np.timedelta64(1, "s")
    assert jump == pytest.approx(paris.attrs["gap_s"][0])


def test_a_zone_without_a_start_is_said(tmp_path):
    path = cycler_files.generic(tmp_path / "run.csv", RUN)
    with pytest.warns(DataQualityWarning, match="run.csv: no start in the file"):
        ds = read_cycler(path, timezone="UTC")
    assert np.isnat(ds["time"]).all()


def test_a_copy_of_a_file_is_flagged(tmp_path):
    labels = "Test Time / s,Voltage / V,Current / A\n"
    rows = [f"{10 * k},{3 + 1e-3 * k:.4f},1.0\n" for k in range(40)]
    first, again, other = (tmp_path / f"{n}.bdf.csv" for n in "abc")
    first.write_text(labels + "".join(rows))
    again.write_text(labels + "".join(rows))
    other.write_text(labels + "".join(rows).replace(",3.0", ",3.1"))
    with pytest.warns(DataQualityWarning, match="b.bdf.csv holds the same rows as a"):
        record = read_cycler([first, other, again])
    assert "same_rows" in record.attrs["flags"]
    with pytest.warns(DataQualityWarning, match="unknown_gap"):
        record = read_cycler([first, other])
    assert "same_rows" not in record.attrs["flags"]


def test_overlapping_files_are_flagged(tmp_path):
    ds = quiet(two_files(tmp_path, gap=-100.0), timezone="UTC")
    assert ds.attrs["flags"] == ["overlap"]
    assert "100.000 s" in ds.attrs["flag_notes"][0]


def test_starts_written_in_whole_seconds_do_not_overlap(tmp_path):
    paths = two_files(tmp_path, gap=0.0)
    raw = paths[1].read_bytes()
    paths[1].write_bytes(raw.replace(b":15.250", b":14.900"))
    ds = quiet(paths, timezone="UTC")
    assert ds.attrs["flags"] == []
    assert ds.attrs["gap_s"] == [0.0]
    assert (np.diff(ds["test_time"]) >= 0).all()


def test_files_without_a_start_keep_their_order(tmp_path):
    one = cycler_files.generic(tmp_path / "z.csv", RUN)
    two = cycler_files.generic(tmp_path / "a.csv", RUN)
    with pytest.warns(DataQualityWarning, match="unknown_gap"):
        ds = read_cycler([one, two])
    assert ds.attrs["source_files"] == ["z.csv", "a.csv"]
    assert ds.attrs["gap_s"] == []
    assert ds["test_time"].values[len(RUN.time)] == RUN.time[-1]


def test_folders(tmp_path):
    for number in (10, 2, 1):
        cycler_files.generic(tmp_path / f"run_{number}.csv", RUN)
    (tmp_path / "notes.md").write_text("not a cycler file")
    ds = quiet(tmp_path)
    assert ds.attrs["source_files"] == ["run_1.csv", "run_2.csv", "run_10.csv"]
    shutil.copy(cycler_files.mpt(tmp_path / "x.mpt", RUN), tmp_path / "y.mpt")
    with pytest.raises(ArgumentError, match=r"biologic-mpt.*csv"):
        read_cycler(tmp_path)
    assert quiet(tmp_path, format="biologic-mpt").sizes["record"] == 2 * len(RUN.time)
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(ArgumentError, match="folder with files"):
        read_cycler(empty)


def test_wrong_arguments(tmp_path):
    path = cycler_files.mpt(tmp_path / "run.mpt", RUN)
    with pytest.raises(ArgumentError, match="existing file"):
        read_cycler(tmp_path / "nothing.mpt")
    with pytest.raises(ArgumentError, match="at least one"):
        read_cycler([])
    with pytest.raises(ArgumentError, match="biologic-mpt"):
        read_cycler(path, format="biologic")
    with pytest.raises(ArgumentError, match="time_scale"):
        read_cycler(path, repair="time")
    with pytest.raises(ArgumentError, match="Europe/Paris"):
        read_cycler(path, timezone="Paris")
    with pytest.raises(FileFormatError, match="Nb header lines"):
        read_cycler(
            cycler_files.generic(tmp_path / "x.csv", RUN), format="biologic-mpt"
        )
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ArgumentError, match="ends in one of"):
        read_cycler(tmp_path / "x.jpg")
    (tmp_path / "none.mpt").write_bytes(b"")
    with pytest.raises(FileFormatError, match="0 bytes"):
        read_cycler(tmp_path / "none.mpt")


def test_content_goes_before_the_name(tmp_path):
    path = cycler_files.mpt(tmp_path / "run.txt", RUN)
    assert quiet(path).attrs["instrument"] == "VMP3 (SN 0198)"


def test_a_run_while_it_is_written(tmp_path):
    path = cycler_files.mpt(tmp_path / "live.mpt", RUN)
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.rfind(b"\r\n", 0, len(raw) - 2) + 12])
    with pytest.warns(DataQualityWarning, match="not finished"):
        ds = read_cycler(path, timezone="UTC")
    assert ds.sizes["record"] == len(RUN.time) - 1
    assert ds.attrs["flags"] == ["cut"]
