"""Cut pulses and their rests from a streamed record; choose the rows for a fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.errors import DataError
from batteryxr.core.kernels.compiling import njit
from batteryxr.core.kernels.times import NAT
from batteryxr.echem.kernels.diffusion import Pulses
from batteryxr.echem.kernels.record import Record, part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batteryxr.core.kernels.loops import Floats, FloatTable, Ints


class Window(NamedTuple):
    """Hold one pulse: the row before it, its own rows, and those of the rest after it.

    ``t[first:last]`` are the rows under current. Row ``first - 1`` is the last one at
    rest before the pulse, if the record has it (``first`` is 1, else 0).
    """

    t: np.ndarray
    v: np.ndarray
    i: np.ndarray
    first: int
    last: int
    clock: np.datetime64


class Timing(NamedTuple):
    """Hold when the current of a pulse flowed (s), its mean (mA), its charge (mA s)."""

    on: float
    off: float
    current: float
    charge: float
    charge_error: float


class Pulse(NamedTuple):
    """Hold a pulse and the earlier ones that still relax."""

    window: Window
    timing: Timing
    remembered: Pulses  # this pulse, last, and those before it


@njit(cache=True, nogil=True)
def switches(
    current: Floats,
    file: Ints,
    i_zero: float,
    carried_sign: int,
    carried_file: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the first rows of pulses, and the first rows after them.

    Parameters
    ----------
    current : (n,) array
        Current, mA; positive charges the cell.
    file : (n,) array of int
        A pulse ends where it changes.
    i_zero
        Magnitude below which a row is at rest.
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


def windows(blocks: Iterable[Record], *, i_zero: float) -> Iterator[Window]:
    """Yield the pulses of a record that arrives in blocks.

    Memory is one block, and one pulse with its rest. Rows inside a block are views.

    Parameters
    ----------
    blocks
        Rows in order.
    i_zero
        Magnitude (mA) below which a row is at rest.
    """
    held: Record | None = None
    open_at = first = last = -1  # rows of `held`: the window's start, pulse and end
    sign, file_now = 0, -1
    for fresh in map(_with_file, blocks):
        if not fresh.i.size:
            continue
        base = 0 if held is None else held.i.size
        rows = fresh if held is None else _joined(held, fresh)
        starts, stops, sign = switches(fresh.i, fresh.file, i_zero, sign, file_now)
        file_now = int(fresh.file[-1])
        events = sorted(
            [(int(k) + base, 0) for k in stops] + [(int(k) + base, 1) for k in starts]
        )
        for row, begins in events:
            if not begins:
                last = row
                continue
            if first >= 0:
                yield _window(rows, open_at, first, last, row)
            rested = row > 0 and row != last and rows.file[row - 1] == rows.file[row]
            open_at, first, last = row - int(rested), row, -1
        keep = open_at if first >= 0 else rows.i.size - 1
        held = part(rows, keep, rows.i.size)
        if first >= 0:
            first, last = first - keep, (last - keep if last >= 0 else -1)
        open_at = 0
    if held is not None and first >= 0:
        yield _window(held, 0, first, last, held.i.size)


def _with_file(rows: Record) -> Record:
    """Return rows with file numbers; all are the same if the record has none."""
    if rows.file.size:
        return rows
    return rows._replace(file=np.broadcast_to(np.int16(0), rows.i.shape))


def _joined(held: Record, fresh: Record) -> Record:
    return Record(*(np.concatenate(pair) for pair in zip(held, fresh, strict=True)))


def _window(rows: Record, begin: int, first: int, last: int, end: int) -> Window:
    last = end if last < 0 else last
    # A rest that goes on in another file may lack the time in between.
    changed = np.flatnonzero(rows.file[last:end] != rows.file[last - 1])
    end = last + int(changed[0]) if changed.size else end
    t, v, i = (column[begin:end] for column in rows[:3])
    when = rows.clock[first] if rows.clock.size else NAT
    clock = np.int64(when).view("M8[ns]")
    return Window(t, v, i, first - begin, last - begin, clock)


def pulses(blocks: Iterable[Record], *, i_zero: float, memory: int) -> Iterator[Pulse]:
    """Yield the pulses of a record, each with up to `memory` earlier ones.

    A pulse of a single row has no duration and is left out.

    Raises
    ------
    DataError
        If time steps back.
    """
    flowed: list[tuple[float, float, float]] = []
    for window in windows(blocks, i_zero=i_zero):
        _require_order(window.t)
        when = timing(window)
        if when.off <= when.on:
            continue
        flowed = [*flowed[len(flowed) - min(memory, len(flowed)) :], when[:3]]
        yield Pulse(window, when, Pulses(*np.array(flowed).T.copy()))


def _require_order(t: np.ndarray) -> None:
    step = np.diff(t)
    if step.size and step.min() < 0:
        at = float(t[int(np.argmin(step))])
        raise DataError(
            "test_time",
            f"goes back by {-step.min():.4g} s after {at:.6g} s",
            "Repair it when reading: read_cycler(..., repair=...).",
        )


def timing(window: Window) -> Timing:
    """Return when the current flowed, and its mean and charge.

    A cycler logs the last row of a step when the step ends. So the current starts at
    the row before the pulse and stops at the last row. If the row before is further
    away than rows of the pulse are from each other, it starts at the first row. The
    charge follows the trapezoidal rule, also over a switch of similar length.
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


class Rows(NamedTuple):
    """Hold rows of a pulse and its rest, averaged where they are dense."""

    t: np.ndarray  # s
    v: np.ndarray  # V
    i: np.ndarray  # mA
    w: np.ndarray  # square root of the number of rows in each


@njit(cache=True, nogil=True)
def thin(
    t: Floats,
    v: Floats,
    i: Floats,
    origin: float,
    tmin: float,
    limit: int,
    out: FloatTable,
    n: int,
) -> int:
    """Average rows in bins of log time since `origin`.

    Rows less than `tmin` after `origin`, and rows that are not finite, are left out.
    Up to `limit` rows are copied as they are. Appends t, v, i and the number of rows
    to `out`, after its first `n` columns; returns the new count.
    """
    usable = 0
    for k in range(t.size):
        if t[k] - origin >= tmin and math.isfinite(v[k]):
            usable += 1
    if usable == 0:
        return n
    out_t, out_v, out_i, out_w = out[0], out[1], out[2], out[3]
    shortest = max(tmin, 1e-3)
    width = math.log(max(t[-1] - origin, 2.0 * shortest) / shortest) / limit
    bin_now = -1
    for k in range(t.size):
        since = t[k] - origin
        if since < tmin or not math.isfinite(v[k]):
            continue
        own = int(math.log(max(since, shortest) / shortest) / width)
        if usable <= limit or own != bin_now:
            bin_now = own
            out_t[n], out_v[n], out_i[n], out_w[n] = t[k], v[k], i[k], 1.0
            n += 1
            continue
        last = n - 1
        out_w[last] += 1.0
        share = 1.0 / out_w[last]
        out_t[last] += (t[k] - out_t[last]) * share
        out_v[last] += (v[k] - out_v[last]) * share
        out_i[last] += (i[k] - out_i[last]) * share
    return n


def fitted_rows(
    window: Window, timing: Timing, *, tmin: float, limit: int = 400
) -> tuple[Rows, int]:
    """Return the rows of a pulse for a fit, and the number of rows at rest.

    They are the last row before the pulse, then pulse and rest, each without its
    first `tmin` seconds and averaged to about `limit` rows at most.
    """
    t, v, i, first, last = window[:5]
    out = np.empty((4, t.size + 1))
    n = 0
    if first > 0 and math.isfinite(v[first - 1]):
        out[:, 0] = t[first - 1], v[first - 1], 0.0, 1.0
        n = 1
    pulse = slice(first, last)
    n = thin(t[pulse], v[pulse], i[pulse], timing.on, tmin, limit, out, n)
    leakage = i[last:] * 0.0  # a current read at rest drives no voltage
    rest = n
    n = thin(t[last:], v[last:], leakage, timing.off, tmin, limit, out, n)
    t, v, i, number = out[:, :n]
    return Rows(t, v, i, np.sqrt(number)), n - rest
