"""Axes of Bragg CDI: their names, their steps in space, and the walk over volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import DataError, DimensionError
from batteryxr.core.labels import even_step, require_even
from batteryxr.core.model import require_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Axes of the measurement, those of the object that belong to them one by one, and
#: those of a right-angled grid (nm).
VOLUME = ("rocking", "detector_y", "detector_x")
OBJECT = ("along_rocking", "along_y", "along_x")
SPACE = ("z", "y", "x")
#: Components of vectors in space.
VECTOR = ("x", "y", "z")
#: Coordinates that carry the scattering vector of fields in real space.
Q_COORDS = ("q_x", "q_y", "q_z")


def space_axes(data: xr.DataArray | xr.Dataset, *, caller: str) -> tuple[str, ...]:
    """Return the three axes of a crystal: real space, or the detector's frame.

    Raises
    ------
    DimensionError
        If it has neither.
    DataError
        If one is uneven, repeats or lacks labels, or turns back.
    """
    for axes in (SPACE, OBJECT):
        if set(axes) <= set(data.dims):
            require_even(data, axes, caller=caller)
            return axes
    raise DimensionError(
        f"{caller} needs a volume on {SPACE} (nm) or {OBJECT}; "
        f"found {tuple(data.dims)}."
    )


def variable(
    data: xr.DataArray | xr.Dataset, name: str, *, caller: str
) -> xr.DataArray:
    """Return a variable of a Dataset, or the array that was given instead of one.

    Raises
    ------
    VariableError
        If the Dataset lacks it.
    """
    if isinstance(data, xr.DataArray):
        return data
    require_variables(data, [name], caller=caller)
    return data[name]


def bare(array: xr.DataArray, axes: Sequence[str] | None = None) -> xr.DataArray:
    """Return an array without coordinates, so that others match it by position.

    Parameters
    ----------
    array
        Any array.
    axes
        The axes of a volume: labels of all other dimensions stay, so that arrays are
        matched along those.
    """
    labels = [] if axes is None else [d for d in array.dims if d not in axes]
    return array.drop_vars(set(array.coords) - set(labels))


def each_volume(kernel: Callable[..., Any], signature: str) -> Callable[..., Any]:
    """Return a kernel, which knows one volume, for any leading dimensions.

    Parameters
    ----------
    kernel
        Takes and returns arrays with the axes of `signature`, and keywords.
    signature
        Axes of inputs and outputs as `numpy.vectorize` writes them.
    """

    def walked(*arrays: np.ndarray, **options: Any) -> Any:
        def one(*parts: np.ndarray) -> Any:
            return kernel(*parts, **options)

        return np.vectorize(one, signature=signature)(*arrays)

    return walked


def steps_in_space(
    data: xr.DataArray | xr.Dataset, geometry: xr.Dataset | None, *, caller: str
) -> xr.DataArray:
    """Return the step of each index in space, (axis, vector), in Angstrom.

    Raises
    ------
    DataError
        If the volume is in the detector's frame and there is no geometry.
    DimensionError
        If it has no axes in space, or one of a single point.
    """
    axes = space_axes(data, caller=caller)
    if axes == OBJECT:
        if geometry is None:
            raise DataError(
                "crystal",
                f"lies in the detector's frame, so that {caller} must know its voxels",
                "Pass geometry=..., a result of geometry(...), or call to_laboratory.",
            )
        return bare(geometry["voxel"] * 10.0)
    steps = np.zeros((3, 3))
    for row, dim in enumerate(axes):
        if data.sizes[dim] < 2:
            raise DimensionError(f"{caller}: {dim!r} has one point; needs 2.")
        steps[row, "xyz".index(dim)] = 10.0 * even_step(data, dim, caller=caller)
    return xr.DataArray(steps, dims=("axis", "vector"))


def scattering_vector(
    data: xr.DataArray | xr.Dataset, geometry: xr.Dataset | None, *, caller: str
) -> xr.DataArray:
    """Return Q on ``vector`` (1/Angstrom): of the coordinates, else of the geometry.

    Raises
    ------
    DataError
        If neither is there.
    """
    if set(Q_COORDS) <= set(data.coords):
        parts = [data.coords[name].drop_vars(list(Q_COORDS)) for name in Q_COORDS]
        joined = xr.concat(parts, dim="vector", coords="minimal", compat="override")
        return bare(joined)
    if geometry is None:
        raise DataError(
            "crystal",
            f"does not tell the scattering vector, which {caller} must know",
            "Pass geometry=..., a result of geometry(...).",
        )
    return bare(geometry["q"])
