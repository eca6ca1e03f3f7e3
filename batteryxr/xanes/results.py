"""Finish the output of all functions: history and attributes from the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr


def inherit(
    result: xr.Dataset, source: xr.DataArray | xr.Dataset, **attrs: Any
) -> xr.Dataset:
    """Copy the input's history and coordinate attributes to a result; add `attrs`."""
    for name, coordinate in result.coords.items():
        if name in source.coords and not coordinate.attrs:
            coordinate.attrs = dict(source.coords[name].attrs)
    history = source.attrs.get("history")
    result.attrs = ({"history": history} if history else {}) | attrs
    return result
