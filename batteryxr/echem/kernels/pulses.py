"""Cutting a titration record into pulses and their rests, as it streams."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Window(NamedTuple):
    """One pulse: the row before it, its own rows, and those of the rest after it.

    ``t[first:last]`` are the rows under current. Row ``first - 1`` is the last one at
    rest before the pulse, where the record has it (``first`` is 1, else 0).
    """

    t: np.ndarray
    v: np.ndarray
    i: np.ndarray
    first: int
    last: int
    clock: np.datetime64


class Timing(NamedTuple):
    """When the current of a pulse flowed (s), its mean (mA), and its charge (mA s)."""

    on: float
    off: float
    current: float
    charge: float
    charge_error: float


@njit(cache=True, nogil=True)
def switches(
    current: np.ndarray,
    file: np.ndarray,
    i_zero: float,
    carried_sign: int,
    carried_file: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return first rows of pulses, and first rows after them.

    Parameters
    ----------
    current : (n,) array
        Current, mA; positive charges the cell.
    file : (n,) array of int
        A pulse ends where it changes.
    i_zero
        Below this magnitude a row is at rest.
    carried_sign, carried_file
        State of the row before the first.

    Returns
    -------
    starts, stops : arrays of int
        In order; a stop may be the next pulse's start.
    sign : int
        State of the last row: -1, 0 or 1.
    """
    starts, stops = np.empty(current.size, np.int64), np.empty(current.size, np.int64)
    a = b = 0
    sign, where = carried_sign, carried_file
    for k in range(current.size):
        now = 1 if current[k] > i_zero else (-1 if current[k] < -i_zero else 0)
        if now != sign or file[k] != where:
            if sign != 0:
                stops[b] = k
                b += 1
            if now != 0:
                starts[a] = k
                a += 1
        sign, where = now, file[k]
    return starts[:a].copy(), stops[:b].copy(), sign


def windows(
    blocks: Iterable[tuple[np.ndarray, ...]], *, i_zero: float
) -> Iterator[Window]:
    """Yield the pulses of a record that arrives in blocks.

    Memory is a block and a pulse with its rest; rows inside one block are views.

    Parameters
    ----------
    blocks
        Of (time, voltage, current, file, clock): float64 arrays in s, V and mA, the
        number of the source file, and datetime64.
    i_zero
        Below this magnitude (mA) a row is at rest.
    """
    held: tuple[np.ndarray, ...] | None = None
    open_at = first = last = -1  # rows of `held`: the window's start, pulse and end
    sign, file_now = 0, -1
    for fresh in blocks:
        base = 0 if held is None else held[0].size
        rows = fresh if held is None else _joined(held, fresh)
        starts, stops, sign = switches(fresh[2], fresh[3], i_zero, sign, file_now)
        file_now = int(fresh[3][-1])
        events = sorted(
            [(int(k) + base, 0) for k in stops] + [(int(k) + base, 1) for k in starts]
        )
        for row, begins in events:
            if not begins:
                last = row
                continue
            if first >= 0:
                yield _window(rows, open_at, first, last, row)
            rested = row > 0 and row != last and rows[3][row - 1] == rows[3][row]
            open_at, first, last = row - int(rested), row, -1
        keep = open_at if first >= 0 else rows[0].size - 1
        held = tuple(a[keep:] for a in rows)
        if first >= 0:
            first, last = first - keep, (last - keep if last >= 0 else -1)
        open_at = 0
    if held is not None and first >= 0:
        yield _window(held, 0, first, last, held[0].size)


def _joined(
    held: tuple[np.ndarray, ...], fresh: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, ...]:
    return tuple(np.concatenate(pair) for pair in zip(held, fresh, strict=True))


def _window(
    rows: tuple[np.ndarray, ...], begin: int, first: int, last: int, end: int
) -> Window:
    last = end if last < 0 else last
    # A rest that goes on in another file may have lost time in between.
    changed = np.flatnonzero(rows[3][last:end] != rows[3][last - 1])
    end = last + int(changed[0]) if changed.size else end
    t, v, i = (a[begin:end] for a in rows[:3])
    return Window(t, v, i, first - begin, last - begin, rows[4][first])


def timing(window: Window) -> Timing:
    """Return when the current flowed, and what it passed.

    A cycler logs the last row of a step when the step ends: the current goes on at
    the row before the pulse, unless that lies further away than rows inside the pulse
    do from each other, and off at the last row. The charge is the trapezoidal rule,
    over both switches too where they are as short.
    """
    t, i, first, last = window.t, window.i, window.first, window.last
    start, stop = first, last
    inside = np.diff(t[first:last])
    longest = float(inside.max()) if inside.size else 0.0
    if first > 0 and t[first] - t[first - 1] <= longest:
        start = first - 1
    if last < t.size and t[last] - t[last - 1] <= longest:
        stop = last + 1
    charge = float(np.trapezoid(i[start:stop], t[start:stop]))
    logged = float(t[last - 1] - t[first])
    passed = float(np.trapezoid(i[first:last], t[first:last]))
    return Timing(
        on=float(t[start]),
        off=float(t[last - 1]),
        current=passed / logged if logged > 0 else float(i[first]),
        charge=charge,
        charge_error=abs(charge - passed) / math.sqrt(3.0),
    )
