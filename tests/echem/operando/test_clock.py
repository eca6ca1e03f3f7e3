from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    UnitsError,
    VariableError,
)
from batteryxr.core.provenance import encode
from batteryxr.core.replay import decode
from batteryxr.echem import Clock, fit_clock

T0 = np.datetime64("2022-07-26T20:00", "ns")


def at(seconds):
    return T0 + np.rint(np.asarray(seconds, float) * 1e9).astype("m8[ns]")


@pytest.fixture(scope="module")
def record():
    """Thirty hours of cycling with sloping plateaus, rests and sharp reversals."""
    t = np.arange(0, 108000, 20.0)
    phase = t % 26000 / 26000
    x = np.where(phase < 0.5, 2 * phase, 2 - 2 * phase)
    v = (
        3.6
        + 0.5 * x
        + 0.1 * np.tanh((x - 0.4) / 0.05)
        + np.where(phase < 0.5, 1, -1) * (0.03 + 0.1 * np.exp(-(phase % 0.5) * 40))
    )
    v += 1e-6 * t  # the cell ages: no two cycles are alike
    return xr.Dataset(
        {"voltage": ("record", v, {"units": "V"})},
        coords={"time": ("record", at(t)), "test_time": ("record", t, {"units": "s"})},
        attrs={"timezone": "UTC"},
    )


def channel(record, offset, ppm=0.0, noise=2e-3, bias=0.0, seed=0, every=60.0):
    """What a beamline records whose clock differs from the cycler's."""
    t = record["test_time"].values
    mine = np.arange(12000.0, t[-1] - 12000, every)
    middle = (mine[0] + mine[-1]) / 2
    theirs = mine + offset + ppm * 1e-6 * (mine - middle)
    v = np.interp(theirs, t, record["voltage"].values) + bias
    v += np.random.default_rng(seed).normal(0, noise, v.size)
    return xr.DataArray(
        v, dims="sample", coords={"time": ("sample", at(mine))}, attrs={"units": "V"}
    )


@pytest.mark.parametrize("seed", range(4))
def test_offset_and_drift_are_recovered(record, seed):
    clock = fit_clock(record, channel(record, 73.4, 120, seed=seed))
    assert clock.method == "fitted"
    assert clock.offset_s == pytest.approx(73.4, abs=2)
    assert clock.drift_ppm == pytest.approx(120, abs=25)
    assert 0 < clock.offset_error < 2
    assert 0 < clock.drift_error < 50


def test_errors_are_of_the_size_of_the_scatter(record):
    fits = [fit_clock(record, channel(record, -40, seed=s)) for s in range(8)]
    off = np.array([c.offset_s for c in fits]) + 40
    error = np.mean([c.offset_error for c in fits])
    assert 0.2 * error < np.sqrt(np.mean(off**2)) < 3 * error


def test_a_bad_voltmeter_and_outliers_do_not_matter(record):
    signal = channel(record, 73.4, 120, bias=0.02)
    signal[::50] = 0.0
    clock = fit_clock(record, signal)
    assert clock.offset_s == pytest.approx(73.4, abs=2)


def test_millivolts_are_converted(record):
    signal = channel(record, 30) * 1e3
    signal.attrs["units"] = "mV"
    assert fit_clock(record, signal).offset_s == pytest.approx(30, abs=2)
    del signal.attrs["units"]
    with pytest.raises(UnitsError, match="no units"):
        fit_clock(record, signal)


def test_search_starts_at_what_is_declared(record):
    signal = channel(record, 5000, 60)
    clock = fit_clock(record, signal, clock=Clock(offset_s=4900))
    assert clock.offset_s == pytest.approx(5000, abs=2)
    assert clock.drift_ppm == pytest.approx(60, abs=25)
    local = signal.assign_coords(time=signal["time"] + np.timedelta64(2, "h"))
    paris = fit_clock(
        record, local, clock=Clock(offset_s=4900, timezone="Europe/Paris")
    )
    assert paris.offset_s == pytest.approx(5000, abs=2)
    assert paris.timezone == "Europe/Paris"


@pytest.mark.parametrize(
    ("shift", "said"), [(7200, "-2 h"), (-3600, r"\+1 h"), (19800, "-5.5 h")]
)
def test_zone_errors_are_refused(record, shift, said):
    with pytest.raises(DataError, match=f"looks like a time-zone error of {said}"):
        fit_clock(record, channel(record, shift + 20))


@pytest.mark.parametrize("kind", ["noise", "constant", "elsewhere"])
def test_without_a_common_signal_the_clock_stays_declared(record, kind):
    signal = channel(record, 0)
    if kind == "noise":
        signal[:] = np.random.default_rng(1).normal(3.8, 0.3, signal.size)
    elif kind == "constant":
        signal[:] = 3.8
    else:
        signal = signal.assign_coords(time=signal["time"] + np.timedelta64(40, "D"))
    declared = Clock(offset_s=3.0)
    with pytest.warns(DataQualityWarning, match="no common signal"):
        assert fit_clock(record, signal, clock=declared) is declared


def test_gaps_between_files_are_no_signal(record):
    file = (record["test_time"].values > 50000).astype(np.int16)
    seen = (record["test_time"] < 50000) | (record["test_time"] > 53000)
    cut = record.assign_coords(file=("record", file)).isel(record=seen.values)
    clock = fit_clock(cut, channel(record, 73.4, 120))
    assert clock.offset_s == pytest.approx(73.4, abs=2)


def test_lazy_record_gives_the_same(record):
    signal = channel(record, 73.4, 120)
    assert fit_clock(record.chunk(record=500), signal) == fit_clock(record, signal)


def test_messages(record):
    with pytest.raises(VariableError, match="coordinate 'time'"):
        fit_clock(record, channel(record, 0).drop_vars("time"))
    with pytest.raises(DataError, match="at least 20"):
        fit_clock(record, channel(record, 0)[:12])
    with pytest.raises(ArgumentError, match="max_offset=-1"):
        fit_clock(record, channel(record, 0), max_offset=-1)
    nowhere = record.assign_coords(time=record["time"].where(False))
    with pytest.raises(DataError, match="read_cycler"):
        fit_clock(nowhere, channel(record, 0))


def test_clock_arithmetic():
    clock = Clock(offset_s=10.5, drift_ppm=100, reference="2022-07-26T20:00")
    times = at([0, 10000])
    moved = (clock.to_cycler(times) - times) / np.timedelta64(1, "ms")
    assert moved.tolist() == [10500.0, 11500.0]
    assert np.isnat(clock.to_cycler(np.array(["NaT"], "M8[ns]")))[0]


def test_clock_of_local_times():
    summer = Clock(timezone="Europe/Paris").to_cycler(np.array(["2022-07-26T22:38:30"]))
    winter = Clock(timezone="Europe/Paris").to_cycler(np.array(["2022-01-26T22:38:30"]))
    assert summer[0] == np.datetime64("2022-07-26T20:38:30")
    assert winter[0] == np.datetime64("2022-01-26T21:38:30")
    with pytest.raises(ArgumentError, match="clocks were changed"):
        Clock(timezone="Europe/Paris").to_cycler(np.array(["2022-10-30T02:30:00"]))


def test_clock_errors_grow_away_from_the_reference():
    clock = Clock(0, 0, "2022-07-26T20:00", offset_error=3.0, drift_error=400.0)
    np.testing.assert_allclose(clock.error_at(at([0, 10000])), [3.0, 5.0])
    assert np.isnan(Clock().error_at(at([0]))).all()


@given(
    st.floats(-1e5, 1e5), st.floats(-500, 500), st.sampled_from(["declared", "fitted"])
)
def test_clock_survives_json(offset, drift, method):
    clock = Clock(offset, drift, "2022-07-26T20:00", method=method, offset_error=0.5)
    assert Clock.from_attrs(clock.to_attrs()) == clock
    assert decode(json.loads(json.dumps(encode(clock))), "clock", {}) == clock


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"offset_s": np.nan}, "offset_s"),
        ({"drift_ppm": 5.0}, "reference"),
        ({"reference": "noon"}, "reference"),
        ({"timezone": "Europe/Soleil"}, "timezone"),
        ({"method": "guessed"}, "method"),
    ],
)
def test_clock_refuses(arguments, named):
    with pytest.raises(ArgumentError, match=f"^{named}="):
        Clock(**arguments)
    with pytest.raises(DataError, match="Join the scans first"):
        Clock.from_attrs({})
