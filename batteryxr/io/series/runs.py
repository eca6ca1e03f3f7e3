"""Does an axis go one way? Scans up and down in one file, told apart or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError

if TYPE_CHECKING:
    from pathlib import Path

_FEWEST = 5  # points of a scan
#: Part of the whole range that each of several scans covers at least.
_COVERS = 0.95
#: Part of the points whose energy may stand there twice: where two regions meet.
_REPEATED = 0.02


def split(path: Path, numbers: np.ndarray) -> list[tuple[int, int]]:
    """Return first row and end of each scan in a table, its axis first.

    Raises
    ------
    FileFormatError
        If the same numbers are there several times, or rows are out of order.
    """
    axis = numbers[0]
    steps = np.diff(axis)
    if (steps > 0).all() or (steps < 0).all():
        return [(0, axis.size)]
    _refuse_pasted(path, numbers)
    spans = _spans(axis, steps)
    if len(spans) < 2:
        return [(0, axis.size)]  # a few points out of order are named on reading
    return spans


def _refuse_pasted(path: Path, numbers: np.ndarray) -> None:
    """Raise where a table is there several times, one after another."""
    axis = numbers[0]
    again = np.flatnonzero(axis[1:] == axis[0])[:1] + 1
    length = int(again[0]) if again.size else 0
    if length < 2 or axis.size % length:
        return
    times = axis.size // length
    first = numbers[:, :length]
    if np.array_equal(numbers, np.tile(first, times), equal_nan=True):
        raise FileFormatError(
            path,
            f"holds its {length} points {times} times, one after another: it was "
            "pasted or written twice. Remove the copy.",
        )


def _spans(axis: np.ndarray, steps: np.ndarray) -> list[tuple[int, int]]:
    """Return runs in which the axis goes one way, if each of them is a whole scan.

    The point of a turn belongs to both of its scans, unless it was measured twice.
    """
    moves = np.flatnonzero(steps)
    turns = np.flatnonzero(np.diff(np.sign(steps[moves])))
    starts = [0, *moves[turns + 1].tolist()]
    stops = [*(moves[turns] + 2).tolist(), axis.size]
    whole, spans = float(np.ptp(axis)), []
    for start, stop in zip(starts, stops, strict=True):
        reach = abs(axis[stop - 1] - axis[start])
        if stop - start == 2 and reach > _COVERS * whole:
            continue  # the way back to the start of the next scan
        if stop - start < _FEWEST or reach < _COVERS * whole:
            return []
        spans.append((start, stop))
    return spans


def average_repeated(
    axis: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return one point where a few neighbours have the same energy: their mean."""
    repeated = np.diff(axis) == 0
    count = int(repeated.sum())
    if not count or count > max(2, _REPEATED * axis.size):
        return axis, values
    group = np.concatenate([[0], np.cumsum(~repeated)])
    members = np.bincount(group)
    return axis[np.concatenate([[True], ~repeated])], (
        np.bincount(group, weights=values) / members
    )


def refuse_unsorted(path: Path, axis: np.ndarray) -> None:
    """Raise where an axis does not rise throughout.

    Raises
    ------
    FileFormatError
        Naming the row.
    """
    steps = np.diff(axis)
    if not (steps <= 0).any():
        return
    row = int(np.argmax(steps <= 0)) + 1
    what = "stands twice" if steps[row - 1] == 0 else "goes back"
    raise FileFormatError(
        path,
        f"the axis {what} at row {row + 1} ({axis[row]:g} follows {axis[row - 1]:g}; "
        "rows counted with a rising axis). The file holds several scans, or is damaged "
        "there: part it or repair it; a lazy series takes one scan from each file.",
    )
