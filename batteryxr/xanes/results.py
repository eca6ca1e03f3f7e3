"""The output of every function here: what a result has from its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr


def inherit(
    result: xr.Dataset, source: xr.DataArray | xr.Dataset, **attrs: Any
) -> xr.Dataset:
    """Give a result the history of its input, the coordinates' attributes, and more."""
    for name, coordinate in result.coords.items():
        if name in source.coords and not coordinate.attrs:
            coordinate.attrs = dict(source.coords[name].attrs)
    history = source.attrs.get("history")
    result.attrs = ({"history": history} if history else {}) | attrs
    return result
