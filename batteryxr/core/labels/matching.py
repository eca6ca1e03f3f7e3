"""Matching of labels: one array on the labels of another, up to rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

from batteryxr.core.errors import LabelsError, UnitsError
from batteryxr.core.units import affine

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

#: Largest difference of equal labels, as a fraction of the smallest step.
TOLERANCE = 1e-3
#: Rounding of labels, relative to the largest label.
_ROUNDING = {True: 4 * float(np.finfo(np.float32).eps), False: 1e-9}
#: Largest rounding, as a fraction of a step: beyond it, labels are ambiguous.
_LARGEST = 0.25

A = TypeVar("A", xr.DataArray, xr.Dataset)


def matched(
    data: xr.DataArray | xr.Dataset,
    other: A,
    *,
    argument: str,
    dims: Iterable[Hashable] | None = None,
    tolerance: float = TOLERANCE,
    interpolate: bool = False,
) -> A:
    """Return an array on the labels of the data.

    Lazy; only labels are read. Labels are equal up to rounding, in any order. From an
    array that covers more than the data, the part at their labels is taken. An array
    without labels along a dimension matches the data by position.

    Parameters
    ----------
    data
        Data whose labels are used.
    other
        Array that is matched along every dimension that the two share.
    argument
        Name of `other`, for messages.
    dims
        Dimensions to match; by default all shared ones.
    tolerance
        Difference that counts as rounding, as a fraction of the smallest step of the
        data.
    interpolate
        Interpolate linearly between labels that differ by more, within their range.

    Returns
    -------
    same type as `other`
        Array with exactly the coordinates of the data along these dimensions.

    Raises
    ------
    LabelsError
        If a label of the data is missing or repeats, or sizes differ where there are
        no labels.
    """
    wanted = set(data.dims if dims is None else dims) & set(data.dims)
    for dim in [d for d in other.dims if d in wanted]:
        other = _along(data, other, dim, argument, (tolerance, interpolate))
    return other


def _along(
    data: xr.DataArray | xr.Dataset,
    other: A,
    dim: Hashable,
    argument: str,
    how: tuple[float, bool],
) -> A:
    """Return an array on the labels of the data along one dimension."""
    if dim not in data.indexes or dim not in other.indexes:
        if data.sizes[dim] == other.sizes[dim]:
            return other
        raise LabelsError(
            argument,
            other,
            f"one value for each point along {dim!r}: it has {other.sizes[dim]}, "
            f"the data {data.sizes[dim]}",
            f"Give both the coordinate {dim!r}, so that they are matched by label.",
        )
    own = _labels(data[dim], other, dim, argument)
    same = own is None and data.indexes[dim].equals(other.indexes[dim])
    if same:
        return other
    mine = data[dim].values
    theirs = other[dim].values if own is None else own
    places = _places(mine, theirs, how[0])
    found = places[places >= 0]
    if np.unique(found).size < found.size:
        raise LabelsError(
            argument,
            other,
            f"what goes with data whose labels repeat along {dim!r}, as those of the "
            "data do: which of them it belongs to is not known",
            f"Average what was measured twice, or `.drop_duplicates({dim!r})`.",
        )
    if (places >= 0).all():
        if len(places) != other.sizes[dim] or (np.diff(places) != 1).any():
            other = other.isel({dim: places})
    elif how[1] and _within(mine, theirs):
        given = other.assign_coords({dim: (dim, theirs)}).sortby(dim)
        other = given.interp({dim: mine})
    else:
        raise LabelsError(
            argument,
            other,
            f"the labels of the data along {dim!r}, from which it differs: "
            f"{_told(mine[places < 0])}",
            _mend(argument, dim, mine.dtype.kind in "iuf"),
        )
    return other.assign_coords({dim: data[dim].variable})


def _labels(
    wished: xr.DataArray, other: Any, dim: Hashable, argument: str
) -> np.ndarray | None:
    """Return labels in the units of those wished for; None if they have these units."""
    wanted, given = (axis.attrs.get("units") for axis in (wished, other[dim]))
    if wanted is None or given is None or wanted == given:
        return None
    try:
        factor, offset = affine(str(given), str(wanted))
    except UnitsError as error:
        raise LabelsError(
            argument, other, f"{dim!r} in {wanted!r}, as of the data", str(error)
        ) from error
    if (factor, offset) == (1.0, 0.0):
        return None
    return np.asarray(other[dim].values * factor + offset)


def _places(mine: np.ndarray, theirs: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the place of each label of mine among theirs; -1 if missing."""
    numbers = "iufmM"
    if mine.dtype.kind not in numbers or theirs.dtype.kind not in numbers:
        return _named_places(mine, theirs)
    if (mine.dtype.kind in "mM") != (theirs.dtype.kind in "mM"):
        return np.full(mine.size, -1)
    if not mine.size or not theirs.size:
        return np.full(mine.size, -1)
    near = _near(mine, theirs, tolerance)
    a, b = _plain(mine, mine[0]), _plain(theirs, mine[0])
    if a.size == b.size and (np.abs(a - b) <= near).all():
        return np.arange(a.size)
    order = np.argsort(b, kind="stable")
    rising = b[order]
    first = np.searchsorted(rising, a - near, side="left")
    after = np.searchsorted(rising, a + near, side="right")
    one = after - first == 1  # none is missing, several are ambiguous
    return np.where(one, order[np.minimum(first, b.size - 1)], -1)


def _named_places(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return the place of each name of mine among theirs; -1 if missing."""
    if mine.size == theirs.size and (mine == theirs).all():
        return np.arange(mine.size)
    places: dict[Any, int] = {}
    for place, name in enumerate(theirs.tolist()):
        places[name] = -1 if name in places else place
    return np.array([places.get(name, -1) for name in mine.tolist()], int)


def _near(mine: np.ndarray, theirs: np.ndarray, tolerance: float) -> float:
    """Return the largest difference of labels that counts as rounding."""
    values = np.sort(_plain(mine, mine[0]))
    steps = np.diff(values)
    steps = steps[steps > 0]
    if mine.dtype.kind in "mM":
        return tolerance * float(steps.min()) if steps.size else 0.0
    coarse = np.float32 in (mine.dtype, theirs.dtype)
    rounding = _ROUNDING[coarse] * float(np.abs(mine.astype(float)).max())
    if not steps.size:
        return max(rounding, 1e-6 * abs(float(mine[0])))
    step = float(steps.min())
    return min(max(tolerance * step, rounding), _LARGEST * step)


def _plain(labels: np.ndarray, start: Any) -> np.ndarray:
    """Return labels as numbers; times in ns since the start."""
    if labels.dtype.kind not in "mM":
        return labels.astype(float)
    unit = f"{labels.dtype.kind}8[ns]"
    return (labels.astype(unit) - np.asarray(start).astype(unit)).astype(float)


def _within(mine: np.ndarray, theirs: np.ndarray) -> bool:
    """Return whether their range covers mine, with unique labels."""
    if mine.dtype.kind not in "iuf" or theirs.dtype.kind not in "iuf":
        return False
    covered = theirs.min() <= mine.min() and mine.max() <= theirs.max()
    return bool(covered) and np.unique(theirs).size == theirs.size


def _told(missing: np.ndarray) -> str:
    first = ", ".join(f"{label}" for label in missing[:3])
    more = f" and {missing.size - 3} more" if missing.size > 3 else ""
    return f"{first}{more} are not there, or not once"


def _mend(argument: str, dim: Hashable, numbers: bool) -> str:
    name = argument if argument.isidentifier() else "other"
    how = "interp" if numbers else "reindex"
    return (
        f"Bring it there: `{name}.{how}({dim}=data.{dim})`; or, where the values "
        f"belong to the data one by one, `{name}.assign_coords({dim}=data.{dim})`."
    )
