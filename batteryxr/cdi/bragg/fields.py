"""What an object's fields share: their axes, their steps in space, their Q."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.objects import OBJECT
from batteryxr.core.errors import ArgumentError, DimensionError, VariableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SPACE = ("z", "y", "x")
#: Coordinates that carry the scattering vector of fields in real space.
Q_COORDS = ("q_x", "q_y", "q_z")


def space_dims(obj: xr.DataArray | xr.Dataset, *, caller: str) -> tuple[str, ...]:
    """Return the three dimensions of a volume: real space, or the detector's frame.

    Raises
    ------
    DimensionError
        If it has neither.
    """
    for dims in (SPACE, OBJECT):
        if set(dims) <= set(obj.dims):
            return dims
    raise DimensionError(
        f"{caller} needs a volume on {SPACE} (nm) or {OBJECT}; found {tuple(obj.dims)}."
    )


def basis(
    obj: xr.DataArray | xr.Dataset,
    dims: Sequence[str],
    geometry: xr.Dataset | None,
    *,
    caller: str,
) -> xr.DataArray:
    """Return the step of each index in space, (axis, vector), in Angstrom.

    Raises
    ------
    ArgumentError
        If the volume is in the detector's frame and there is no geometry.
    """
    if tuple(dims) == OBJECT:
        if geometry is None:
            raise ArgumentError(
                "geometry",
                None,
                "the result of geometry(...) for a volume in the detector's frame",
                f"{caller} must know its voxels; or call to_laboratory first.",
            )
        return geometry["voxel"] * 10.0
    steps = np.zeros((3, 3))
    for row, dim in enumerate(dims):
        axis = obj[dim].values
        if axis.size < 2:
            raise DimensionError(f"{caller}: {dim!r} has {axis.size} points; needs 2.")
        steps[row, "xyz".index(dim)] = 10.0 * (axis[-1] - axis[0]) / (axis.size - 1)
    return xr.DataArray(steps, dims=("axis", "vector"))


def scattering(
    obj: xr.DataArray | xr.Dataset, geometry: xr.Dataset | None, *, caller: str
) -> xr.DataArray:
    """Return Q on ``vector`` (1/Angstrom): of the coordinates, else of the geometry.

    Raises
    ------
    ArgumentError
        If neither is there.
    """
    if set(Q_COORDS) <= set(obj.coords):
        parts = [obj.coords[name].drop_vars(list(Q_COORDS)) for name in Q_COORDS]
        return xr.concat(parts, dim="vector", coords="minimal", compat="override")
    if geometry is None:
        raise ArgumentError(
            "geometry",
            None,
            "the result of geometry(...)",
            f"{caller} must know the scattering vector.",
        )
    return geometry["q"]


def of_states(array: xr.DataArray) -> xr.DataArray:
    """Return an array without coordinates, to be laid beside others by dimension."""
    return array.drop_vars(list(array.coords))


def per_volume(
    function: Callable[..., np.ndarray], signature: str
) -> Callable[..., np.ndarray]:
    """Return `function`, which knows one volume, for any leading dimensions."""
    return np.vectorize(function, signature=signature)


def require_field(fields: xr.Dataset, name: str, made_by: str, *, caller: str) -> None:
    """Raise a `VariableError` where a field is missing that another call makes."""
    if not isinstance(fields, xr.Dataset) or name not in fields:
        raise VariableError(f"{caller} needs the field {name!r}: call {made_by} first.")
