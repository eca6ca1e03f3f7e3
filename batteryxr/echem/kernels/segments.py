"""One pass over time, voltage and current: half cycles and all their integrals.

A record is walked in blocks at fixed absolute row numbers. Each block leaves one or
more *parts*, rows of two small tables; parts are then merged in order. Where a chunk
ends inside a block the open part stays open. Sums therefore associate in the same way
however the record is cut into chunks or shared between threads, and results are equal
bit by bit.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from batteryxr.echem.kernels.parts import (
    ACTIVE,
    BACKWARD,
    CHARGE,
    CLOCK_END,
    CLOCK_START,
    COUNTER,
    DIRECTION,
    ENERGY,
    FLOATS,
    GAP,
    GAPS,
    INTEGERS,
    LAST,
    LAST_ACTIVE,
    MISSING,
    REST,
    REST_SQUARES,
    REST_SUM,
    RESTS,
    T_END,
    T_START,
    V_END,
    V_MAX,
    V_MIN,
    V_START,
    open_part,
    store,
    tables,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Rows between two flushes of the sums.
BLOCK = 1 << 16

# What is carried from row to row: the last valid one.
TIME, CURRENT, VOLTAGE, SIGN, FILE, COUNT, VALID, OPEN = 0, 1, 2, 3, 4, 5, 6, 7
CARRIED = 8


@njit(cache=True, nogil=True)
def all_equal(values, a, b, value):  # type: ignore[no-untyped-def]
    """Tell whether all of `values` from `a` to `b` equal `value`."""
    different = values[a] ^ value
    for k in range(a, b):
        different |= values[k] ^ value
    return different == 0


@njit(cache=True, nogil=True)
def _counted(counter, before, i, i_before, d):  # type: ignore[no-untyped-def]
    # A counter restarts per step, per half cycle or never: a jump that the current
    # cannot explain is a restart, and what it shows then is what was counted since.
    limit = 10.0 * max(abs(i), abs(i_before)) * d / 3600.0 + 1e-12
    if abs(counter - before) <= limit:
        return counter - before
    return counter if abs(counter) <= limit else 0.0


@njit(cache=True, nogil=True)
def _run(t, v, i, sign, i_zero, max_gap, mean, q, e, active, low, high):  # type: ignore[no-untyped-def]
    # Rows after the first for as long as current flows on in the same direction.
    before_t, before_v, before_i = t[0], v[0], i[0]
    count = t.size - 1
    for k in range(1, t.size):
        tk, vk, ik = t[k], v[k], i[k]
        d = tk - before_t
        if not ((sign * ik >= i_zero) & (d >= 0.0) & (d <= max_gap) & (vk == vk)):
            count = k - 1
            break
        other = ik if mean else before_i
        q += (ik + other) * d
        e += (vk * ik + before_v * other) * d
        active += d
        low = vk if vk < low else low
        high = vk if vk > high else high
        before_t, before_v, before_i = tk, vk, ik
    return count, q, e, active, low, high


@njit(cache=True, nogil=True)
def walk(  # type: ignore[no-untyped-def]
    t,
    v,
    i,
    file,
    clock,
    counter,
    offset,
    i_zero,
    max_gap,
    mean,
    carry,
    floats,
    integers,
    n,
):
    """Walk through one chunk of a record and extend the tables of parts.

    Parameters
    ----------
    t, v, i : (rows,) arrays
        Time in s, voltage in V, current in mA (positive charges the cell).
    file : (rows,) or empty array of int16
        Number of the source file; empty where there is only one.
    clock : (rows,) or empty array of int64
        Wall-clock time in ns; read at the ends of half cycles only.
    counter : (rows,) or empty array
        The cycler's own charge counter in mA h.
    offset : int
        Row number of the first row of the chunk in the whole record.
    i_zero, max_gap : float
        Below the first a current is rest; a longer interval is not integrated.
    mean : bool
        Whether a current is the mean since the row before (charge: rectangles), or
        the value at its own time (trapezoids).
    carry : (CARRIED,) array
        State of the last valid row; changed in place.
    floats, integers : arrays
        The parts so far: `n` rows are filled.

    Returns
    -------
    floats, integers, n
        The tables, larger where they had to grow.
    """
    has_file, has_clock, has_counter = file.size > 0, clock.size > 0, counter.size > 0
    a = 0
    while a < t.size:
        row = offset + a
        b = min(t.size, a + BLOCK - row % BLOCK)
        fresh = row % BLOCK == 0 or carry[OPEN] == 0.0
        uniform = (
            not has_file
            or (carry[VALID] == 0.0 and all_equal(file, a, b, file[a]))
            or (carry[VALID] == 1.0 and all_equal(file, a, b, np.int16(carry[FILE])))
        )
        before_t, before_i, before_v = carry[TIME], carry[CURRENT], carry[VOLTAGE]
        before_s, before_file, before_c = carry[SIGN], carry[FILE], carry[COUNT]
        valid = carry[VALID] == 1.0
        if not valid and has_file:
            before_file = float(file[a])
        q = e = active = 0.0
        low, high = np.inf, -np.inf
        if not fresh:
            q, e = floats[n - 1, CHARGE], floats[n - 1, ENERGY]
            active = floats[n - 1, ACTIVE]
            low, high = floats[n - 1, V_MIN], floats[n - 1, V_MAX]
        k = a
        while k < b:
            tk, vk, ik = t[k], v[k], i[k]
            missing = not (tk == tk and vk == vk and ik == ik)
            sign = 0.0
            if not missing and abs(ik) >= i_zero:
                sign = 1.0 if ik > 0.0 else -1.0
            turned = sign != 0.0 and not fresh and sign != integers[n - 1, DIRECTION]
            if fresh or turned:
                if turned:
                    store(floats, n - 1, q, e, active, low, high)
                q = e = active = 0.0
                low, high = np.inf, -np.inf
                floats, integers, n = open_part(
                    floats, integers, n, int(sign), offset + k
                )
                fresh = False
            part = n - 1
            integers[part, LAST] = offset + k
            if missing:
                integers[part, MISSING] += 1
                k += 1
                continue
            if sign == 0.0:
                integers[part, RESTS] += 1
                floats[part, REST_SUM] += ik
                floats[part, REST_SQUARES] += ik * ik
                ik = 0.0
            if valid:
                d = tk - before_t
                if not uniform and file[k] != before_file:
                    integers[part, GAPS] += 1
                    floats[part, GAP] += max(d, 0.0)
                elif d < 0.0:
                    integers[part, BACKWARD] += 1
                elif d > max_gap and (sign != 0.0 or before_s != 0.0):
                    integers[part, GAPS] += 1
                    floats[part, GAP] += d
                elif sign * before_s > 0.0 or (mean and sign != 0.0):
                    other = ik if mean else before_i
                    q += (ik + other) * d
                    e += (vk * ik + before_v * other) * d
                    active += d
                    if has_counter:
                        floats[part, COUNTER] += _counted(
                            counter[k], before_c, ik, before_i, d
                        )
                else:
                    # Current at one end only says nothing of when it was switched.
                    floats[part, REST] += d
            if sign != 0.0:
                if integers[part, LAST_ACTIVE] < 0:
                    floats[part, T_START], floats[part, V_START] = tk, vk
                    if has_clock:
                        integers[part, CLOCK_START] = clock[k]
                low, high = min(low, vk), max(high, vk)
            before_t, before_i, before_v, before_s = tk, ik, vk, sign
            if has_file:
                before_file = float(file[k])
            if has_counter:
                before_c = counter[k]
            valid = True
            k += 1
            if sign == 0.0:
                continue
            # The common case, kept tight: current flows on in the same direction.
            run = k
            if uniform:
                count, q, e, active, low, high = _run(
                    t[k - 1 : b],
                    v[k - 1 : b],
                    i[k - 1 : b],
                    sign,
                    i_zero,
                    max_gap,
                    mean,
                    q,
                    e,
                    active,
                    low,
                    high,
                )
                k += count
                before_t, before_v, before_i = t[k - 1], v[k - 1], i[k - 1]
            if has_counter:
                for j in range(run, k):
                    floats[part, COUNTER] += _counted(
                        counter[j], counter[j - 1], i[j], i[j - 1], t[j] - t[j - 1]
                    )
                before_c = counter[k - 1]
            floats[part, T_END], floats[part, V_END] = before_t, v[k - 1]
            integers[part, LAST] = offset + k - 1
            integers[part, LAST_ACTIVE] = offset + k - 1
            if has_clock:
                integers[part, CLOCK_END] = clock[k - 1]
        store(floats, n - 1, q, e, active, low, high)
        carry[TIME], carry[CURRENT], carry[VOLTAGE] = before_t, before_i, before_v
        carry[SIGN], carry[FILE], carry[COUNT] = before_s, before_file, before_c
        carry[VALID], carry[OPEN] = 1.0 if valid else 0.0, 1.0
        a = b
    return floats, integers, n


@njit(cache=True, nogil=True)
def _largest_bits(bits, mask):  # type: ignore[no-untyped-def]
    # Of floats without their sign, integer order is float order; this vectorises.
    most = bits[0] & mask
    for k in range(bits.size):
        x = bits[k] & mask
        most = x if x > most else most
    return most


def largest(values: np.ndarray) -> float:
    """Return the largest magnitude in an array, NaN apart; 0 where there is none."""
    if not values.size:
        return 0.0
    if values.dtype.kind == "f" and values.dtype.itemsize in (4, 8):
        kind = np.int64 if values.dtype.itemsize == 8 else np.int32
        flat = np.ascontiguousarray(values).view(kind)
        most = np.asarray(_largest_bits(flat, np.iinfo(kind).max), kind)
        found = float(most.view(values.dtype))
        if found == found:
            return found
    finite = values[np.isfinite(values)]
    return float(np.abs(finite).max()) if finite.size else 0.0


def threads() -> int:
    """Return how many threads this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2


def in_threads(function: Any, pieces: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Call `function` for each piece, in threads where there are several."""
    if len(pieces) < 2:
        return [function(*piece) for piece in pieces]
    with ThreadPoolExecutor(len(pieces)) as pool:
        return list(pool.map(lambda piece: function(*piece), pieces))


def walk_whole(
    t: np.ndarray,
    v: np.ndarray,
    i: np.ndarray,
    file: np.ndarray,
    clock: np.ndarray,
    counter: np.ndarray,
    *,
    i_zero: float,
    max_gap: float,
    mean: bool = False,
    workers: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Walk through a record in memory, shared between threads by whole blocks.

    The result does not depend on the number of threads, down to the last bit.

    Returns
    -------
    floats, integers : (parts, columns) arrays
    """
    arrays = (t, v, i, file, clock, counter)
    blocks = -(-t.size // BLOCK)
    share = -(-blocks // (workers or threads()))
    starts = range(0, t.size, max(share, 1) * BLOCK)

    def walk_share(start: int) -> tuple[np.ndarray, np.ndarray]:
        stop = min(t.size, start + share * BLOCK)
        carry = _carry_into(start, t, v, i, file, counter, i_zero)
        piece = [a[start:stop] for a in arrays]
        floats, integers, n = walk(
            *piece, start, i_zero, max_gap, mean, carry, *tables()
        )
        return floats[:n], integers[:n]

    parts = in_threads(walk_share, [(start,) for start in starts])
    if not parts:
        return np.empty((0, FLOATS)), np.empty((0, INTEGERS), np.int64)
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _carry_into(
    start: int,
    t: np.ndarray,
    v: np.ndarray,
    i: np.ndarray,
    file: np.ndarray,
    counter: np.ndarray,
    i_zero: float,
) -> np.ndarray:
    carry = np.zeros(CARRIED)
    row = start - 1
    while row >= 0 and (np.isnan(t[row]) or np.isnan(v[row]) or np.isnan(i[row])):
        row -= 1
    if row >= 0:
        sign = float(np.sign(i[row])) if abs(i[row]) >= i_zero else 0.0
        current = float(i[row]) if sign else 0.0
        carry[TIME], carry[CURRENT], carry[SIGN] = t[row], current, sign
        carry[VOLTAGE] = v[row]
        carry[FILE] = file[row] if file.size else 0.0
        carry[COUNT] = counter[row] if counter.size else 0.0
        carry[VALID] = 1.0
    return carry
