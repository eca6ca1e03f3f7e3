"""Test time in other units than seconds is told, and seconds are not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import DataQualityWarning


def record(scale, *, clock, counter):
    """Return an hour at 1 mA and 3 V to 4 V, its seconds divided by `scale`."""
    t = np.arange(0.0, 3600, 10)
    found = xr.Dataset(
        {
            "voltage": ("record", 3 + t / 3600, {"units": "V"}),
            "current": ("record", np.ones(t.size), {"units": "mA"}),
        },
        coords={
            "test_time": ("record", t / scale, {"units": "s"}),
            "file": ("record", np.zeros(t.size, int)),
        },
    )
    if clock:
        start = np.datetime64("2026-01-01T00:00:00", "ns")
        times = start + (t * 1e9).astype("m8[ns]")
        found = found.assign_coords(time=("record", times))
    if counter:
        found["capacity"] = ("record", np.round(t / 3600, 4), {"units": "mA h"})
    return found


@pytest.mark.parametrize(("clock", "counter"), [(True, False), (False, True)])
@pytest.mark.parametrize(
    ("scale", "units"), [(60.0, "min"), (3600.0, "h"), (1e-3, "ms")]
)
def test_other_units_are_told(scale, units, clock, counter):
    with pytest.warns(DataQualityWarning, match=rf"Was it {units}\?"):
        record(scale, clock=clock, counter=counter).echem.half_cycles()


@pytest.mark.parametrize("clock", [False, True])
@pytest.mark.parametrize("counter", [False, True])
def test_seconds_are_not(clock, counter):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*test_time runs")
        record(1.0, clock=clock, counter=counter).echem.half_cycles()
