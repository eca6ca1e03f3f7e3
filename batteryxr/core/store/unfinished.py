"""Groups that are not finished: what is not written yet is missing, not zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.store.chunks import chunks_of, grid_of
from batteryxr.core.store.location import UNFINISHED
from batteryxr.core.store.manifest import joined
from batteryxr.core.store.ownership import node_of

if TYPE_CHECKING:
    from batteryxr.core.store.location import Location


def written_only(dataset: xr.Dataset, location: Location, place: str) -> xr.Dataset:
    """Return a group that is not finished with NaN (NaT) where nothing is written yet.

    Whole numbers and flags become float64 for that.
    """
    dim = str(dataset.attrs[UNFINISHED])
    masked = {}
    for name, array in dataset.data_vars.items():
        if dim in array.dims and array.dtype.kind in "biufcmM":
            written = _written(location, joined(place, str(name)), array, dim)
            masked[name] = array.where(xr.DataArray(written, dims=dim))
    return dataset.assign(masked)


def _written(
    location: Location, place: str, array: xr.DataArray, dim: str
) -> np.ndarray:
    """Return for each index along a dimension whether all of it is there."""
    node = node_of(location, place) or {}
    names = set(location.keys(f"{place}/"))
    there = [f"{place}/{chunk}" in names for chunk in chunks_of(node)]
    axis = array.dims.index(dim)
    grid = np.array(there).reshape(grid_of(node))
    whole = grid.all(axis=tuple(k for k in range(grid.ndim) if k != axis))
    size = node["chunk_grid"]["configuration"]["chunk_shape"][axis]
    return np.repeat(whole, size)[: array.sizes[dim]]
