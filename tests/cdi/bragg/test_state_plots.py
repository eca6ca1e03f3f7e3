"""Plots of states draw what the numbers say."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr import cdi
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DimensionError,
    VariableError,
)

N = 16
DIMS = ("z", "y", "x")
AXES = {d: (d, (np.arange(N) - N // 2) * 10.0, {"units": "nm"}) for d in DIMS}
BALL = sum((np.indices((N,) * 3) - N // 2) ** 2) < 25


def field(values, name="strain"):
    attrs = {"units": "1", "long_name": "Strain along Q"}
    return xr.DataArray(values, dims=DIMS, coords=AXES, name=name, attrs=attrs)


def test_branches_of_the_hysteresis_meet():
    omega = np.array([0.0, 2.0, 7.0, 13.0, 10.0, 4.0])
    states = xr.Dataset(
        {
            "order_parameter": (
                ("state", "component"),
                omega[:, None],
                {"units": "rad", "long_name": "Ω"},
            )
        },
        coords={
            "component": [1],
            "direction": ("state", ["charge"] * 4 + ["discharge"] * 2),
            "voltage": ("state", [2.5, 3, 3.5, 4, 3.5, 3]),
        },
    )
    plot = cdi.plot_hysteresis(states)
    charge, _, discharge, _ = plot.values()
    assert charge.dimension_values("voltage").tolist() == [2.5, 3, 3.5, 4]
    assert discharge.dimension_values("voltage").tolist() == [4, 3.5, 3]
    assert discharge.dimension_values("order_parameter").tolist() == [13, 10, 4]
    with pytest.raises(ArgumentError, match=r"\[1\]"):
        cdi.plot_hysteresis(states, component=2)
    with pytest.raises(VariableError, match="voltage"):
        cdi.plot_hysteresis(states.drop_vars("voltage"))


def test_planes_of_a_field_show_its_values():
    x = np.broadcast_to(np.arange(N) * 1.0 - N // 2, (N,) * 3)
    plot = cdi.plot_field(field(np.where(BALL, x, np.nan)))
    first = next(iter(plot))
    shown = first.dimension_values("value", flat=False)
    assert np.nanmax(shown) == 4
    assert np.nanmin(shown) == -4
    with pytest.raises(DimensionError, match="isel"):
        cdi.plot_field(field(x).expand_dims("state"))
    with pytest.raises(DataError, match="only NaN"):
        cdi.plot_field(field(np.full((N,) * 3, np.nan)))


def test_a_surface_lies_where_the_level_is():
    pytest.importorskip("plotly")
    r = np.sqrt(sum((np.indices((N,) * 3) - N // 2) ** 2))
    figure = cdi.plot_isosurface(
        field(np.exp(-r / 4), "amplitude"), threshold=np.exp(-1)
    )
    (mesh,) = figure.data
    radius = np.sqrt(np.asarray(mesh.x) ** 2 + np.asarray(mesh.y) ** 2 + mesh.z**2)
    np.testing.assert_allclose(radius, 40, atol=1.5)


def test_both_signs_and_an_outline_are_drawn():
    pytest.importorskip("plotly")
    x = np.broadcast_to(np.arange(N) * 1.0 - N // 2, (N,) * 3)
    figure = cdi.plot_isosurface(
        field(np.where(BALL, x, np.nan)),
        fraction=0.9,
        outline=field(BALL, "support"),
    )
    assert len(figure.data) == 3
    assert min(figure.data[0].x) > 0 > max(figure.data[1].x)
    with pytest.raises(ArgumentError, match="threshold"):
        cdi.plot_isosurface(field(BALL.astype(float)), threshold=2.0)


def test_a_surface_takes_the_colour_of_a_field():
    pytest.importorskip("plotly")
    x = np.broadcast_to(np.arange(N) * 1.0 - N // 2, (N,) * 3)
    colour = field(np.where(BALL, x, np.nan))
    body = field(BALL.astype(float))
    for part in (body, colour):
        part.attrs["long_name"] = "<a href='//evil.test'>$\\href{x}{y}$</a>"
    figure = cdi.plot_isosurface(body, quantity=colour)
    (mesh,) = figure.data
    for shown in (figure.layout.title.text, mesh.colorbar.title.text):
        assert shown.startswith("&lt;a href='//evil.test'&gt;&#36;\\href{x}{y}&#36;")
    assert np.isfinite(mesh.intensity).all()
    assert np.corrcoef(mesh.intensity, mesh.x)[0, 1] > 0.99
