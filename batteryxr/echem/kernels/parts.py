"""Tables of parts: what a walk through a record leaves, and half cycles made of it.

A part is one row of a table of floats and one of a table of integers: a stretch of
rows under current of one sign, and the rests behind it, cut at fixed row numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats, FloatTable, Ints, IntTable

# Columns of the table of floats.
CHARGE, ENERGY, ACTIVE, REST, GAP, COUNTER = 0, 1, 2, 3, 4, 5
V_MIN, V_MAX, T_START, T_END, V_START, V_END = 6, 7, 8, 9, 10, 11
REST_SUM, REST_SQUARES = 12, 13
FLOATS = 14
# Columns of the table of integers.
DIRECTION, FIRST, LAST_ACTIVE, LAST = 0, 1, 2, 3
CLOCK_START, CLOCK_END, GAPS, BACKWARD, MISSING, RESTS = 4, 5, 6, 7, 8, 9
INTEGERS = 10


def table(size: int = 64) -> tuple[np.ndarray, np.ndarray, int]:
    """Return an empty table of parts: floats, integers, and how many are there."""
    return np.empty((size, FLOATS)), np.empty((size, INTEGERS), np.int64), 0


def half_cycle_tables(
    floats: np.ndarray, integers: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Merge parts into half cycles; report the rest current and what was odd.

    Parameters
    ----------
    floats, integers : (parts, columns) arrays
        All parts in order.
    least : float
        Smallest charge of a half cycle relative to the largest.

    Returns
    -------
    floats, integers : (half cycles, columns) arrays
        CHARGE in mA h, ENERGY in mW h.
    noise : dict
        ``rest_sd`` (mA), ``backward`` and ``missing`` of the whole record.
    """
    n = int(integers[:, RESTS].sum())
    mean = floats[:, REST_SUM].sum() / n if n else 0.0
    variance = floats[:, REST_SQUARES].sum() / n - mean**2 if n else 0.0
    noise = {
        "rest_sd": float(np.sqrt(max(variance, 0.0))),
        "backward": int(integers[:, BACKWARD].sum()),
        "missing": int(integers[:, MISSING].sum()),
    }
    floats, integers = _merge(floats, integers)
    floats[:, [CHARGE, ENERGY]] /= 7200.0
    most = np.abs(floats[:, CHARGE]).max(initial=0.0)
    floats, integers = _drop_blips(floats, integers, max(least * most, 1e-300))
    return floats, integers, noise


@njit(cache=True, nogil=True)
def open_part(
    floats: np.ndarray, integers: np.ndarray, n: int, direction: int, row: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Begin a part at `row`; the tables grow where they are full."""
    if n == floats.shape[0]:
        more_floats = np.empty((2 * n, FLOATS))
        more_integers = np.empty((2 * n, INTEGERS), np.int64)
        more_floats[:n] = floats
        more_integers[:n] = integers
        floats, integers = more_floats, more_integers
    floats[n] = 0.0
    floats[n, V_MIN] = np.inf
    floats[n, V_MAX] = -np.inf
    floats[n, T_START : V_END + 1] = np.nan
    integers[n] = 0
    integers[n, DIRECTION] = direction
    integers[n, FIRST] = row
    integers[n, LAST_ACTIVE] = -1
    integers[n, LAST] = row
    return floats, integers, n + 1


@njit(cache=True, nogil=True)
def _absorb(
    floats: FloatTable,
    integers: IntTable,
    into: int,
    other_floats: Floats,
    other_integers: Ints,
) -> None:
    _absorb_current(floats, integers, into, other_floats, other_integers)
    _absorb_rest(floats, integers, into, other_floats, other_integers)


@njit(cache=True, nogil=True)
def _absorb_current(
    floats: FloatTable,
    integers: IntTable,
    into: int,
    other_floats: Floats,
    other_integers: Ints,
) -> None:
    for c in (CHARGE, ENERGY, ACTIVE, COUNTER):
        floats[into, c] += other_floats[c]
    if other_integers[LAST_ACTIVE] < 0:
        return
    if integers[into, LAST_ACTIVE] < 0:
        floats[into, T_START] = other_floats[T_START]
        floats[into, V_START] = other_floats[V_START]
        integers[into, CLOCK_START] = other_integers[CLOCK_START]
    floats[into, V_MIN] = min(floats[into, V_MIN], other_floats[V_MIN])
    floats[into, V_MAX] = max(floats[into, V_MAX], other_floats[V_MAX])
    floats[into, T_END], floats[into, V_END] = other_floats[T_END], other_floats[V_END]
    integers[into, LAST_ACTIVE] = other_integers[LAST_ACTIVE]
    integers[into, CLOCK_END] = other_integers[CLOCK_END]


@njit(cache=True, nogil=True)
def _absorb_rest(
    floats: FloatTable,
    integers: IntTable,
    into: int,
    other_floats: Floats,
    other_integers: Ints,
) -> None:
    for c in (REST, GAP, REST_SUM, REST_SQUARES):
        floats[into, c] += other_floats[c]
    for c in (GAPS, BACKWARD, MISSING, RESTS):
        integers[into, c] += other_integers[c]
    integers[into, LAST] = other_integers[LAST]


@njit(cache=True, nogil=True)
def _merge(floats: np.ndarray, integers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    merged_floats = np.empty_like(floats)
    merged_integers = np.empty_like(integers)
    m = 0
    for k in range(floats.shape[0]):
        direction = integers[k, DIRECTION]
        if m > 0 and (direction == 0 or direction == merged_integers[m - 1, DIRECTION]):
            _absorb(merged_floats, merged_integers, m - 1, floats[k], integers[k])
        else:
            merged_floats[m] = floats[k]
            merged_integers[m] = integers[k]
            m += 1
    return merged_floats[:m].copy(), merged_integers[:m].copy()


@njit(cache=True, nogil=True)
def _drop_blips(
    floats: np.ndarray, integers: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    # A row of noise between two charges is not a discharge: its rows go to the half
    # cycle before, its charge to nobody. Where that half cycle goes on behind it, what
    # flowed in its direction in between is its own, however little: a half cycle holds
    # all charge of its direction between its first row and its last under current.
    kept, last = 0, 0
    for k in range(floats.shape[0]):
        if abs(floats[k, CHARGE]) < least or integers[k, DIRECTION] == 0:
            if kept > 0:
                _absorb_rest(floats, integers, kept - 1, floats[k], integers[k])
            continue
        if kept > 0 and integers[k, DIRECTION] == integers[kept - 1, DIRECTION]:
            for j in range(last + 1, k + 1):
                if integers[j, DIRECTION] == integers[k, DIRECTION]:
                    _absorb_current(floats, integers, kept - 1, floats[j], integers[j])
            _absorb_rest(floats, integers, kept - 1, floats[k], integers[k])
        else:
            floats[kept] = floats[k]
            integers[kept] = integers[k]
            kept += 1
        last = k
    return floats[:kept].copy(), integers[:kept].copy()
