"""Test whether data are lazy, and compute them."""

from __future__ import annotations

import sys
from typing import Any

import xarray as xr


def is_lazy(obj: xr.DataArray | xr.Dataset) -> bool:
    """Return whether any variable of `obj` is held by dask."""
    if isinstance(obj, xr.DataArray):
        return obj.variable.__dask_graph__() is not None  # `chunks` takes long to tell
    return any(v.__dask_graph__() is not None for v in obj.variables.values())


def compute(*arrays: Any) -> tuple[Any, ...]:
    """Compute dask arrays together, by the scheduler that the user has chosen.

    To find a cluster's client, dask imports distributed, at 25 MB and half a second.
    Without that import there is no client.
    """
    import dask
    import dask.threaded

    chosen = dask.config.get("scheduler", None)
    if chosen is None and "distributed" not in sys.modules:
        chosen = dask.threaded.get  # its name would look for a client again
    return dask.compute(*arrays, scheduler=chosen)
