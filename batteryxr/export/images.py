"""Open images and volumes in napari, with their labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import DataError
from batteryxr.core.optional import require

#: Spatial dimensions, outermost first.
_SPACE: tuple[str, ...] = ("z", "y", "x", "along_rocking", "along_y", "along_x")
_SPACE += ("rocking", "detector_y", "detector_x")


@checked
def view_napari(data: xr.DataArray | xr.Dataset) -> Any:
    """Open maps, stacks or volumes in napari, each variable as a layer.

    Steps and units of the pixels are kept. Lazy data stay lazy, so that a stack larger
    than memory opens at once.

    Parameters
    ----------
    data
        Real numbers over two or three spatial dimensions, such as (y, x). Other
        dimensions in front become napari's sliders. Whole numbers with
        ``flag_values`` or named ``cluster`` or ``domain`` become label layers.

    Returns
    -------
    napari.Viewer
        The viewer, with its layers.

    Raises
    ------
    DataError
        If no variable is an image, one is complex, or its pixels are unevenly spaced.
    MissingDependencyError
        If napari is not installed.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> shown = maps[["edge_energy", "edge_jump"]]
    >>> viewer = batteryxr.view_napari(shown)  # doctest: +SKIP
    """
    napari = require("napari", extra="napari", purpose="opening images in napari")
    layers = [
        _layer(name, array)
        for name, array in _arrays(data)
        if sum(str(d) in _SPACE for d in array.dims) >= 2
    ]
    if not layers:
        raise DataError(
            "view_napari",
            "no variable is an image: two dimensions of space are needed",
            f"Those are {', '.join(_SPACE)}.",
        )
    viewer = napari.Viewer()
    for kind, values, options in layers:
        getattr(viewer, f"add_{kind}")(values, **options)
    return viewer


def _arrays(data: xr.DataArray | xr.Dataset) -> list[tuple[str, xr.DataArray]]:
    if isinstance(data, xr.DataArray):
        return [(str(data.name or "image"), data)]
    return [(str(n), array) for n, array in data.data_vars.items()]


def _layer(name: str, array: xr.DataArray) -> tuple[str, Any, dict[str, Any]]:
    """Return the layer kind of an array, its values, and the options."""
    if array.dtype.kind == "c":
        raise DataError(
            name,
            "complex numbers are no image",
            "Choose what is shown: abs(...), or xarray.ufuncs.angle(...).",
        )
    space = [str(d) for d in array.dims if str(d) in _SPACE]
    space.sort(key=_SPACE.index)
    array = array.transpose(..., *space)
    scale, units, start = [], [], []
    for dim in map(str, array.dims):
        step, first, unit = _grid(name, array, dim, dim in space)
        scale.append(step)
        start.append(first)
        units.append(unit)
    options: dict[str, Any] = {
        "name": str(array.attrs.get("long_name", name)),
        "scale": scale,
        "translate": start,
        "units": units,
        "axis_labels": [str(d) for d in array.dims],
        "metadata": {"units": array.attrs.get("units"), "attrs": dict(array.attrs)},
    }
    if _is_label(name, array):
        return "labels", array.data, options
    return "image", array.data, options


def _is_label(name: str, array: xr.DataArray) -> bool:
    named = "flag_values" in array.attrs or name in ("cluster", "domain")
    return array.dtype.kind in "iu" and named


def _grid(
    name: str, array: xr.DataArray, dim: str, spatial: bool
) -> tuple[float, float, str]:
    """Return step, first position and unit of an axis; sliders have unit steps."""
    if not spatial or dim not in array.coords or array.sizes[dim] < 2:
        return 1.0, 0.0, "pixel"
    places = array[dim].values.astype(float)
    steps = np.diff(places)
    step = float(steps.mean())
    if not np.allclose(steps, step, rtol=1e-3, atol=0) or step == 0:
        raise DataError(
            f"{name}[{dim!r}]",
            "pixels are placed unevenly, and napari knows even ones only",
            f"Put the data on an even grid: .interp({dim}=...).",
        )
    return step, float(places[0]), str(array[dim].attrs.get("units", "pixel"))
