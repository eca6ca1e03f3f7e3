"""Pictures of series: what is drawn is what was measured."""

import time

import numpy as np
import pytest
import xarray as xr

from batteryxr import xanes
from batteryxr.core.errors import ArgumentError, DimensionError


def series(n=40, m=300, axis="two_theta", **coords):
    x = np.linspace(20, 60, m)
    middle = np.linspace(35, 45, n)[:, None]
    values = np.exp(-(((x - middle) / 0.6) ** 2)) + 0.1
    units = {"two_theta": "deg", "shift": "1/cm", "q": "1/Angstrom"}[axis]
    hours = np.arange(n) * np.timedelta64(6, "m")
    told = {
        axis: (axis, x, {"units": units}),
        "time": ("scan", np.datetime64("2024-01-01", "ns") + hours),
        "voltage": ("scan", np.linspace(3, 4, n), {"units": "V"}),
    }
    return xr.DataArray(
        values, dims=("scan", axis), coords=told | coords, name="intensity"
    )


@pytest.mark.parametrize("axis", ["two_theta", "shift"])
def test_a_contour_beside_the_voltage(axis):
    scans = series(axis=axis)
    image, side = scans.xanes.plot.contour()
    picture = image.get(0) if hasattr(image, "get") else image
    data = picture.dimension_values(2, flat=False)
    x, y = picture.dimension_values(0, False), picture.dimension_values(1, False)
    # The crest runs from 35 at 0 h to 45 at 3.9 h.
    crest = x[np.nanargmax(data, axis=1)]
    np.testing.assert_allclose(crest, 35 + 10 * np.clip(y, 0, 3.9) / 3.9, atol=0.4)
    np.testing.assert_array_equal(side.dimension_values(0), scans.voltage)
    assert picture.vdims[0].name.startswith("Intensity")


def test_gaps_stay_empty_and_turning_axes_are_labelled():
    scans = series()
    late = scans.time.values.copy()
    late[20:] += np.timedelta64(10, "h")
    image, _ = scans.assign_coords(time=("scan", late)).xanes.plot.contour()
    data = image.dimension_values(2, flat=False)
    assert np.isnan(data).all(axis=1).mean() > 0.5
    content = np.concatenate([np.linspace(1, 0.4, 20), np.linspace(0.4, 0.9, 20)])
    turned = scans.assign_coords(li_content=("scan", content))
    image, _ = turned.xanes.plot.contour(by="li_content", kind="difference")
    first = image.dimension_values(2, flat=False)[0]
    np.testing.assert_allclose(first, 0, atol=1e-12)
    with pytest.raises(ArgumentError, match="by='nothing'"):
        scans.xanes.plot.contour(by="nothing")
    with pytest.raises(DimensionError, match="one series"):
        xanes.plot_contour(scans.expand_dims(sample=2))


def test_stacked_curves_differences_and_ticks():
    scans = series(5)
    drawn = scans.xanes.plot.spectra(offset=0.5, by="voltage")
    assert [c.label for c in drawn] == ["3 V", "3.25 V", "3.5 V", "3.75 V", "4 V"]
    height = np.ptp(scans.values, axis=1).max()
    for k, curve in enumerate(drawn):
        expected = scans.values[k] + 0.5 * k * height
        np.testing.assert_allclose(curve.dimension_values(1), expected)
    branches = ("scan", ["charge", "charge", "rest", "charge", "rest"])
    twice = scans.assign_coords(branch=branches).xanes.plot.spectra(by="branch")
    colours = [c.opts.get().kwargs["color"] for c in twice]
    assert colours[0] == colours[1] == colours[3] != colours[2] == colours[4]
    flat = next(iter(scans.xanes.plot.spectra(kind="difference")))
    np.testing.assert_array_equal(flat.dimension_values(1), 0.0)
    cell = xanes.Cell("cubic", a=4.2, centring="F")
    tube = xanes.Diffractometer(tube="Cu")
    marked = scans.xanes.plot.spectra(candidates=cell, instrument=tube)
    at = sorted(
        {
            round(float(x), 6)
            for x in list(marked)[-1].dimension_values(0)
            if np.isfinite(x)
        }
    )
    expected = [
        2 * np.degrees(np.arcsin(1.540593 / 2 / 4.2 * np.sqrt(s))) for s in (3, 4)
    ]
    np.testing.assert_allclose(at, expected, atol=1e-5)
    with pytest.raises(ArgumentError, match="instrument=None"):
        scans.xanes.plot.spectra(candidates=cell)
    raman = series(3, axis="shift").expand_dims(sample=["a"]).isel(scan=0)
    assert [c.label for c in raman.xanes.plot.spectra()] == ["a"]


def test_two_thousand_scans_are_drawn_at_once():
    import holoviews as hv

    scans = series(2000, 2000)
    scans.xanes.plot.contour()
    begin = time.process_time()
    hv.render(scans.xanes.plot.contour(), backend="bokeh")
    assert time.process_time() - begin < 2


@pytest.mark.parametrize("odd", [7, 500, 1003, 1999])
def test_no_scan_of_many_is_hidden(odd):
    scans = series(2000, 200)
    scans[odd, 150] += 5.0
    dead = (odd + 700) % 2000
    scans[dead] = np.nan
    image, _ = scans.xanes.plot.contour()
    data = image.dimension_values(2, flat=False)
    y = image.dimension_values(1, flat=False)
    assert np.nanmax(data) > 5
    row = int(np.nan_to_num(data).max(axis=1).argmax())
    assert y[row] == pytest.approx(0.1 * odd, abs=0.5)
    assert np.isnan(data).all(axis=1).sum() == 1
    assert len(y) <= 340


def test_columns_between_points_of_an_uneven_axis_lie_on_lines():
    x = np.concatenate([np.arange(7000.0, 7100, 5), np.arange(7100.0, 7150, 0.2)])
    scans = xr.DataArray(
        np.tile(x - 7000, (3, 1)),
        dims=("scan", "energy"),
        coords={"energy": ("energy", x, {"units": "eV"})},
        name="absorption",
    )
    image = next(iter(scans.xanes.plot.contour()))
    data = image.dimension_values(2, flat=False)
    e = image.dimension_values(0, False)
    np.testing.assert_allclose(data[0], e - e[0], atol=0.6)


def test_a_record_is_drawn_beside_times_alone():
    scans = series()
    clock = np.datetime64("2024-01-01", "ns") + np.arange(300) * np.timedelta64(1, "m")
    record = xr.Dataset(
        {"voltage": ("record", np.linspace(3, 4, 300), {"units": "V"})},
        coords={"time": ("record", clock)},
    )
    _, side = scans.drop_vars("voltage").xanes.plot.contour(record=record)
    hours = side.dimension_values(1)
    np.testing.assert_allclose(hours, np.arange(hours.size) / 60)
    turned = scans.assign_coords(li_content=("scan", np.linspace(1, 0.4, 40)))
    for by in ("li_content", "scan"):
        with pytest.raises(ArgumentError, match="record="):
            turned.xanes.plot.contour(record=record, by=by)
    with pytest.raises(ArgumentError, match="record="):
        scans.drop_vars("time").xanes.plot.contour(record=record)


def test_a_contour_fills_its_axes_in_matplotlib():
    """In equal units of both axes it was a sliver beside the voltage."""
    import holoviews as hv

    pytest.importorskip("matplotlib")
    values = np.random.default_rng(0).random((5, 40))
    scans = xr.DataArray(
        values,
        dims=("scan", "energy"),
        coords={
            "energy": ("energy", np.linspace(8300.0, 8400.0, 40), {"units": "eV"}),
            "voltage": ("scan", np.linspace(3.0, 4.0, 5), {"units": "V"}),
        },
        name="absorption",
    )
    figure = hv.render(xanes.plot_contour(scans), backend="matplotlib")
    wide = [a.get_position() for a in figure.axes if len(a.images)]
    assert len(wide) == 1
    width, height = figure.get_size_inches()
    assert 0.7 < (wide[0].height * height) / (wide[0].width * width) < 1.4
