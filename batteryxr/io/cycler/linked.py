"""Techniques that one program runs by turns, each in a file of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

#: Numbers that the coordinate of files (int16) has; neighbours always differ.
_NUMBERS = 30_000
#: Rows that are too few to tell whether files take turns.
_FEW = 12


def take_turns(
    spans: Sequence[tuple[int, int]],
    starts: Sequence[datetime | None],
    tolerance: float,
) -> bool:
    """Tell whether files interleave because they are techniques of one program.

    Parameters
    ----------
    spans
        Clock readings at the first and last row of each file (ns).
    starts
        When its acquisition began, as the file says.
    tolerance
        Of the clocks (s): files may overlap by as much.

    Returns
    -------
    bool
        True where files overlap, and all that do began at one moment.
    """
    found = False
    for k, (begin, end) in enumerate(spans):
        for other in range(k):
            first, last = spans[other]
            shared = min(end, last) - max(begin, first)
            if shared <= tolerance * 1e9:
                continue
            if starts[k] is None or starts[k] != starts[other]:
                return False
            found = True
    return found


def interleaved(file: np.ndarray) -> bool:
    """Tell whether rows of several files alternate, as no techniques by turns do."""
    if file.size < _FEW:
        return False
    edges = np.flatnonzero(np.diff(file, prepend=-1, append=-1))
    lengths = np.diff(edges)
    return bool(lengths[lengths <= 2].sum() > 0.8 * file.size)


def pieces(file: np.ndarray, time: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """Return the number of the piece of a file that each row belongs to.

    A piece ends where another file goes on, or where rows were left out: nothing is
    known of what flowed between its last row and the next.

    Parameters
    ----------
    file
        (rows,) number of the file of each row, in order of time.
    time
        (rows,) s.
    left_out
        Times of rows that were left out, on the same clock.
    """
    before = np.searchsorted(np.sort(left_out), time)
    new = (np.diff(file, prepend=file[:1]) != 0) | (
        np.diff(before, prepend=before[:1]) != 0
    )
    return (np.cumsum(new) % _NUMBERS).astype(np.int16)
