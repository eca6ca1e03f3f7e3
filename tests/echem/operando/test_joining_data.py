"""The join on a measured operando experiment: 458 spectra, two cycler files."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import DataError, DataQualityWarning
from batteryxr.echem import fit_clock, half_cycles, join, states
from batteryxr.io import read_cycler

ZONE = np.timedelta64(2, "h")  # Paris in July


@pytest.fixture(scope="module")
def record(measured):
    folder = measured("lno-operando") / "cycler"
    with warnings.catch_warnings():  # the header's mass is a template
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(sorted(folder.glob("*.mpt")), timezone="Europe/Paris")


@pytest.fixture(scope="module")
def scans(measured):
    files = sorted(measured("lno-operando/xas").glob("norm_*.txt"))
    told = [path.read_text(encoding="latin-1")[:1000] for path in files]
    start = [re.search(r"Time at start=(\S+ \S+)", t)[1] for t in told]
    start = np.array(start, "M8[ns]") - ZONE
    # What the header gives is the time to the middle of an average.
    half = [re.search(r"Time from start \(seconds\)=(\S+)", t)[1] for t in told]
    lasting = 2 * np.array(half, float)
    words = [path.name.split("_") for path in files]
    return xr.DataArray(
        np.zeros((len(files), 1)),
        dims=("scan", "energy"),
        coords={
            "time": ("scan", start),
            "exposure": ("scan", lasting, {"units": "s", "long_name": "Exposure"}),
            "file": ("scan", np.array([path.name for path in files])),
            "cell": ("scan", np.array([w[2] for w in words])),
            "spot": ("scan", np.array([w[3] for w in words])),
        },
    )


@pytest.fixture(scope="module")
def joined(record, scans):
    return join(record, scans)


def seconds(record, times):
    return (times - record["time"].values[0]) / np.timedelta64(1, "s")


def test_every_label_is_the_exact_window_integral(record, scans, joined):
    t = seconds(record, record["time"].values)
    v = record["voltage"].values
    starts = seconds(record, scans["time"].values)
    for k, (a, length) in enumerate(zip(starts, scans["exposure"].values, strict=True)):
        b = a + length
        nodes = np.union1d(t[(t > a) & (t < b)], [a, b])
        values = np.interp(nodes, t, v)
        mean = np.trapezoid(values, nodes) / length
        assert abs(joined["voltage"].values[k] - mean) < 1e-6
        assert joined["voltage_min"].values[k] == pytest.approx(values.min(), abs=1e-6)
        assert joined["voltage_max"].values[k] == pytest.approx(values.max(), abs=1e-6)
    assert np.isfinite(joined["voltage"]).sum() == 458
    np.testing.assert_allclose(joined["coverage"], 1, atol=1e-9)


def test_reversals_are_flagged(joined):
    spread = (joined["voltage_max"] - joined["voltage_min"]) * 1e3
    assert spread.max().item() == pytest.approx(560.3, abs=0.5)
    assert joined["crosses_reversal"].sum().item() == 3
    assert joined["crosses_reversal"].values[int(np.argmax(spread.values))]
    assert spread.where(~joined["crosses_reversal"]).max().item() < 100


def test_order_position_and_cell_are_kept(scans, joined):
    for name in ("time", "file", "cell", "spot"):
        xr.testing.assert_identical(joined[name].variable, scans[name].variable)
    assert (np.diff(scans["time"].values) < np.timedelta64(0)).any()
    by_time = joined.sortby("time")
    assert (np.diff(by_time["half_cycle"].values) >= 0).all()


def test_one_charge_runs_on_over_two_files(record, joined):
    summary = half_cycles(record)
    assert summary["capacity"].values[4] == pytest.approx(1.40562, rel=2e-3)
    fifth = joined.isel(scan=joined["half_cycle"].values == 5)
    assert set(fifth["branch"].values) == {"charge"}
    assert set(fifth["cycle"].values) == {3.0}
    assert fifth["capacity"].max() < summary["capacity"][4]
    assert fifth["capacity"].max() > 0.95 * summary["capacity"][4]


@pytest.mark.parametrize(
    ("rule", "millivolts"), [(0.0, 3.55), (0.5, 0.56), (1.0, 3.32)]
)
def test_what_a_single_moment_would_be_off(record, scans, joined, rule, millivolts):
    t = seconds(record, record["time"].values)
    at = seconds(record, scans["time"].values) + rule * scans["exposure"].values
    off = np.abs(np.interp(at, t, record["voltage"].values) - joined["voltage"].values)
    assert off.mean() * 1e3 == pytest.approx(millivolts, abs=0.02)


def test_summer_time_taken_for_utc_is_noticed(record, scans):
    late = scans.assign_coords(time=scans["time"] + ZONE)
    with pytest.warns(DataQualityWarning, match=r"time-zone error of \+2 h"):
        join(record, late)


def channel(record, offset, ppm):
    t = seconds(record, record["time"].values)
    mine = np.arange(600.0, t[-1] - 600, 60.0)
    theirs = mine + offset + ppm * 1e-6 * (mine - mine.mean())
    noise = np.random.default_rng(5).normal(0, 2e-3, mine.size)
    time = record["time"].values[0] + np.rint(mine * 1e9).astype("m8[ns]")
    return xr.DataArray(
        np.interp(theirs, t, record["voltage"].values) + noise,
        dims="sample",
        coords={"time": ("sample", time)},
        attrs={"units": "V"},
    )


def test_clock_is_recovered(record):
    clock = fit_clock(record, channel(record, 73.4, 120))
    assert clock.offset_s == pytest.approx(73.4, abs=2)
    assert clock.drift_ppm == pytest.approx(120, abs=25)
    with pytest.raises(DataError, match="looks like a time-zone error"):
        fit_clock(record, channel(record, 7200, 0))


def test_six_states(joined):
    wanted = [("charge", 3.7), ("charge", 4.0), ("charge", 4.2)]
    wanted += [("discharge", 4.0), ("discharge", 3.7), ("discharge", 3.5)]
    chosen = states(joined, wanted, tolerance=0.01)
    assert len({*zip(chosen.direction.values, chosen.voltage.values, strict=True)}) == 6
    assert abs(chosen["measured_voltage"] - chosen["voltage"]).max() < 0.005
    assert set(chosen["cycle"].values) == {1.0}
