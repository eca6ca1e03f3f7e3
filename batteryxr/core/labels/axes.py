"""Checks of axes: they must rise or fall, and be even where that is assumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr

#: Largest deviation of a point from an even grid, as a fraction of the step.
EVEN = 0.05
#: The same for angles that a motor read back.
MOTOR = 0.3


def require_monotonic(axis: xr.DataArray, *, caller: str) -> None:
    """Raise where labels are missing, repeat, or go back.

    Raises
    ------
    DataError
        If labels fail the check; the message names the axis and the first index.
    """
    values = axis.values
    if values.dtype.kind in "USOc":
        raise DataError(
            f"{axis.name}",
            f"has labels of {values.dtype}, such as {values.flat[0]!r}",
            f"{caller} needs numbers: `.assign_coords({axis.name}=...)`.",
        )
    if values.dtype.kind not in "iuf" or values.size < 2:
        return
    name, steps = f"{axis.name}", np.diff(values.astype(float))
    if not np.isfinite(values).all():
        raise DataError(
            name,
            f"has {int((~np.isfinite(values)).sum())} labels that are not numbers; "
            f"{caller} needs all of them",
            f"Drop these points: `.sel({name}=data.{name}.notnull())`.",
        )
    if (steps > 0).all() or (steps < 0).all():
        return
    ways = np.sign(steps)
    way = ways[ways != 0][0] if ways.any() else 1.0
    where = int(np.flatnonzero(ways != way)[0]) + 1
    word = "repeats a label" if steps[where - 1] == 0 else "turns back"
    raise DataError(
        name,
        f"{word} at index {where}; {caller} needs an axis that rises or falls",
        f"Call `.sortby({name!r})`, and `.drop_duplicates({name!r})` or average what "
        "was measured twice.",
    )


def require_once(axis: xr.DataArray, *, caller: str) -> None:
    """Raise where a label is missing or repeats; their order does not matter.

    Raises
    ------
    DataError
        If labels fail the check; the message names the axis.
    """
    require_monotonic(axis.sortby(axis.name), caller=caller)


def require_even(
    data: xr.DataArray | xr.Dataset,
    dims: Iterable[str],
    *,
    caller: str,
    tolerance: float = EVEN,
) -> None:
    """Raise where one of several axes is not even, since its points go by position.

    Raises
    ------
    DataError
        See `even_step`; axes without labels pass.
    """
    for dim in dims:
        even_step(data, dim, caller=caller, tolerance=tolerance)


def even_step(
    data: xr.DataArray | xr.Dataset,
    dim: str,
    *,
    caller: str,
    tolerance: float = EVEN,
) -> float:
    """Return the signed step of an even axis; 1 where there are no labels, or one.

    Parameters
    ----------
    data
        Data with the axis.
    dim
        The axis.
    caller
        Name of the public function, for messages.
    tolerance
        Largest deviation of a point from the even grid, as a fraction of the step.

    Raises
    ------
    DataError
        If labels are missing, repeat, turn back, or lie unevenly.
    """
    if dim not in data.coords or data.sizes[dim] < 2:
        return 1.0
    axis = data[dim]
    require_monotonic(axis, caller=caller)
    values = axis.values.astype(float)
    step = float(values[-1] - values[0]) / (values.size - 1)
    off = np.abs(values - values[0] - step * np.arange(values.size)) / abs(step)
    if off.max() > tolerance:
        steps = np.abs(np.diff(values))
        raise DataError(
            dim,
            f"is irregular, in steps of {steps.min():.4g} to {steps.max():.4g}; "
            f"{caller} needs one step",
            f"Interpolate: `.interp({dim}=np.linspace(...))`.",
        )
    return step
