from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.cdi import fsc, plot_fsc, plot_prtf, plot_slices, plot_starts
from batteryxr.core.errors import ArgumentError, DimensionError, VariableError

hv = pytest.importorskip("holoviews")
AXES = ("along_rocking", "along_y", "along_x")


@pytest.fixture(scope="module")
def obj(crystal) -> xr.DataArray:
    return xr.DataArray(crystal, dims=AXES, name="object")


def test_slices_go_through_the_centre(obj, crystal):
    layout = plot_slices(obj, threshold=0.5)
    assert len(layout) == 6
    meshes = list(layout)
    np.testing.assert_allclose(
        meshes[0].dimension_values("modulus", flat=False),
        np.abs(crystal[20]) / np.abs(crystal).max(),
        atol=1e-6,
    )
    phase = meshes[3].dimension_values("phase", flat=False)
    drawn = np.abs(crystal[20]) > 0.5 * np.abs(crystal).max()
    assert (np.isfinite(phase) == drawn).all()
    hv.render(layout, backend="bokeh")


def test_curves(obj):
    result = xr.Dataset(
        {
            "prtf": (("state", "frequency"), np.ones((2, 5))),
            "residual": (
                ("start", "iteration"),
                np.geomspace(1, 0.01, 8).reshape(2, 4),
            ),
        },
        coords={"start": [0, 1], "rank": ("start", [2, 1])},
    )
    assert len(plot_prtf(result)) == 3
    starts = plot_starts(result)
    assert [c.opts.get("style").kwargs["line_width"] for c in starts] == [1, 3]
    assert len(plot_fsc(fsc(obj, other=obj + 0.01))) == 3
    hv.render(starts, backend="bokeh")


def test_says_what_it_needs(obj):
    with pytest.raises(DimensionError, match="isel"):
        plot_slices(xr.concat([obj, obj], "state"))
    with pytest.raises(ArgumentError, match="three indices"):
        plot_slices(obj, at=(0, 0, 99))
    with pytest.raises(VariableError, match="prtf"):
        plot_prtf(xr.Dataset())
