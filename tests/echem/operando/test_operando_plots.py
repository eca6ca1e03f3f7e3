from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DimensionError,
    VariableError,
)
from batteryxr.echem import join, plot_operando, plot_with_voltage

hv = pytest.importorskip("holoviews")
T0 = np.datetime64("2024-03-01", "ns")


@pytest.fixture(scope="module")
def record():
    t = np.arange(0, 7200, 10.0)
    up = t < 3600
    v = np.where(up, 3 + t / 3600, 5 - t / 3600)
    return xr.Dataset(
        {
            "voltage": ("record", v, {"units": "V"}),
            "current": ("record", np.where(up, 1.0, -1.0), {"units": "mA"}),
        },
        coords={
            "time": ("record", T0 + (t * 1e9).astype("m8[ns]")),
            "test_time": ("record", t, {"units": "s"}),
        },
    )


@pytest.fixture(scope="module")
def joined(record):
    starts = T0 + np.arange(0, 7000, 300) * np.timedelta64(1, "s")
    rng = np.random.default_rng(0)
    scans = xr.DataArray(
        rng.random((starts.size, 3)),
        dims=("scan", "component"),
        coords={
            "time": ("scan", starts[::-1]),
            "exposure": ("scan", np.full(starts.size, 100.0), {"units": "s"}),
        },
        name="weight",
    )
    return join(record, scans, mass=5.0, formula="LiNiO2")


def drawn(plot, kind):
    return plot.traverse(lambda e: e, [kind])


def test_every_scan_is_marked_on_the_curve(record, joined):
    plot = plot_operando(record, joined)
    (curve,) = drawn(plot, hv.Curve)
    assert len(curve) == record.sizes["record"]
    points = drawn(plot, hv.Scatter)
    assert {p.label for p in points} == {"charge", "discharge"}
    assert sum(len(p) for p in points) == joined.sizes["scan"]
    x = np.concatenate([p.dimension_values(0) for p in points])
    y = np.concatenate([p.dimension_values(1) for p in points])
    np.testing.assert_allclose(y, np.where(x < 1, 3 + x, 5 - x), atol=1e-9)
    hv.render(plot, backend="bokeh")


@pytest.mark.parametrize("x", ["time", "capacity", "specific_capacity", "li_content"])
def test_quantities_lie_under_the_voltage(joined, x):
    plot = plot_with_voltage(joined, x=x, theoretical=0.3)
    assert len(plot) == 2
    labels = {e.label for e in drawn(plot, hv.Curve)}
    assert {"component 0", "component 1", "component 2"} <= labels
    assert len(drawn(plot, hv.VSpan)) == 2
    # Curves follow time, whatever the order of the files; no line joins half cycles.
    runs = 1 if x == "time" else 2
    assert len(drawn(plot, hv.Curve)) == 4 * runs
    if x == "time":
        assert (np.diff(drawn(plot, hv.Curve)[0].dimension_values(0)) > 0).all()
    hv.render(plot, backend="bokeh")


def test_a_record_gives_the_whole_voltage_curve(record, joined):
    plot = plot_with_voltage(joined, "voltage_sd", record=record)
    assert len(drawn(plot, hv.Curve)[0]) == record.sizes["record"]
    dataset = joined.to_dataset()
    assert len(plot_with_voltage(dataset, "weight")) == 2


def test_messages(record, joined):
    with pytest.raises(VariableError, match="join"):
        plot_operando(record, joined.drop_vars("branch"))
    with pytest.raises(DimensionError, match="scan"):
        plot_with_voltage(joined.rename(scan="frame"))
    with pytest.raises(ArgumentError, match="quantity"):
        plot_with_voltage(joined.to_dataset())
    with pytest.raises(DataError, match="more than 'scan' and one dimension"):
        plot_with_voltage(joined.expand_dims(x=3))
    with pytest.raises(ArgumentError, match="x='capacity': expected 'time'"):
        plot_with_voltage(joined, x="capacity", record=record)
    with pytest.raises(VariableError, match="energy"):
        plot_with_voltage(joined, x="energy")
    many = joined.isel(component=np.zeros(21, int))
    with pytest.raises(DataError, match=r"isel\(component"):
        plot_with_voltage(many)
