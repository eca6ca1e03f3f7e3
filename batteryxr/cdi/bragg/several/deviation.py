"""Deviations between replicas of a field, and the errors that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.cdi.bragg.axes import (
    bare,
    inside,
)
from batteryxr.core.blocks import apply
from batteryxr.core.model import label

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr


def deviations(
    crystal: xr.DataArray, replicas: xr.DataArray, support: xr.DataArray
) -> xr.DataArray:
    """Return the phase of each replica minus that of the object, within (-pi, pi]."""
    product = bare(replicas) * np.conj(bare(crystal))
    angle = apply(
        np.angle,
        product,
        core_dims=[[]],
        output_dims=[[]],
        dtypes=[np.empty(0, product.dtype).real.dtype],
        caller="unwrap",
    )
    angle = angle.where(bare(inside(support)))
    return angle.transpose(*replicas.dims).assign_coords(replicas.coords)


def replicas_of(crystal: xr.Dataset, name: str) -> xr.DataArray | None:
    """Return the replicas under a name; None if missing or if one was selected."""
    found = crystal.get(name)
    return found if found is not None and "replica" in found.dims else None


def root_mean_square(deviation: xr.DataArray) -> xr.DataArray:
    """Return the standard deviation of a field from the deviations of replicas."""
    return (deviation**2).mean("replica") ** 0.5


def with_error(fields: xr.Dataset, name: str, deviation: xr.DataArray) -> xr.Dataset:
    """Return fields with the error of one of them, and its replicas' deviations."""
    attrs = fields[name].attrs if name in fields else {}
    units, words = attrs.get("units", "1"), attrs.get("long_name", name)
    error = root_mean_square(deviation)
    title = f"Standard deviation of the {words[:1].lower()}{words[1:]}"
    error = label(error, f"{name}_error", units=units, long_name=title)
    each = label(
        deviation,
        f"{name}_replicas",
        units=units,
        long_name=f"{words} of each replica less that of the object",
    )
    return fields.assign({f"{name}_error": error, f"{name}_replicas": each})


def error_of(
    field: xr.DataArray,
    deviation: xr.DataArray,
    reduced: Callable[[xr.DataArray], xr.DataArray],
) -> xr.DataArray:
    """Return the error of a number that is reduced from a field."""
    return root_mean_square(reduced(field + deviation) - reduced(field))
