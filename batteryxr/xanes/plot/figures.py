"""Share sizes, colours, maps and lines of XANES figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import ArgumentError, DimensionError
from batteryxr.core.plotting import COLOURS, as_title, axis_label, plain
from batteryxr.core.units import written

if TYPE_CHECKING:
    import xarray as xr

WIDE = {"width": 560, "height": 320}
SMALL = {"width": 420, "height": 300}
_MAP = {"data_aspect": 1, "frame_width": 210, "xticks": 3, "fontsize": {"title": 9}}


def colour(i: int) -> str:
    """Return the colour of curve or cluster number `i`, from 0."""
    return COLOURS[i % len(COLOURS)]


def picture(hv: Any, image: xr.DataArray, title: str) -> Any:
    """Return one map with square pixels."""
    image = image.transpose("y", "x")
    x, y = (image[d].values if d in image.coords else None for d in ("x", "y"))
    x = np.arange(image.sizes["x"]) if x is None else x
    y = np.arange(image.sizes["y"]) if y is None else y
    axes = [axis_label(image["x"]), axis_label(image["y"])]
    drawn = hv.Image((x, y, image.values), axes, axis_label(image))
    return drawn.opts(title=as_title(title), **_MAP)


def by_particle(array: xr.DataArray, name: str) -> list[tuple[str, xr.DataArray]]:
    """Return title and image of each particle.

    Raises
    ------
    DimensionError
        If there are dimensions other than `y`, `x` and `particle`.
    """
    others = [d for d in array.dims if d not in ("y", "x", "particle")]
    if others or not {"y", "x"} <= set(array.dims):
        raise DimensionError(
            f"{name!r} lies along {array.dims}: a map has y, x and perhaps particle. "
            "Select the rest with .isel."
        )
    if "particle" not in array.dims:
        return [(name, array)]
    known = array["particle"].values if "particle" in array.coords else None
    return [
        (f"{name}, {k if known is None else known[k]}", array.isel(particle=k))
        for k in range(array.sizes["particle"])
    ]


def lines(
    array: xr.DataArray, along: str = "energy", by: str | None = None
) -> list[tuple[str, np.ndarray]]:
    """Return name and values of each spectrum.

    Raises
    ------
    ArgumentError
        If the coordinate `by` for the names is missing.
    DimensionError
        If there is more than one further dimension.
    """
    others = [str(d) for d in array.dims if d != along]
    if not others:
        return [("", array.values)]
    if len(others) > 1:
        raise DimensionError(
            f"one further dimension beside {along} can be drawn; found {others}."
        )
    (dim,) = others
    lines = array.transpose(dim, along)
    if by is not None and (by not in lines.coords or lines[by].dims != (dim,)):
        there = sorted(str(c) for c in lines.coords if lines[c].dims == (dim,))
        raise ArgumentError("by", by, f"a coordinate on {dim!r}: one of {there}")
    if by is not None:
        texts = [_named(lines[by], v) for v in lines[by].values]
        return list(zip(texts, lines.values, strict=True))
    names = lines[dim].values if dim in lines.coords else np.arange(lines.sizes[dim])
    word = "" if names.dtype.kind in "OTU" else f"{dim} "
    return [(plain(f"{word}{n}"), y) for n, y in zip(names, lines.values, strict=True)]


def _named(coordinate: xr.DataArray, value: object) -> str:
    units = str(coordinate.attrs.get("units", "1"))
    text = f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
    return plain(text if units in ("1", "") else f"{text} {written(units)}")
