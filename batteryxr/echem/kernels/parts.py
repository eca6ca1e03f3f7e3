"""Hold tables of parts: results of a walk through a record, merged to half cycles.

A part is a stretch of rows under current of one sign and the rests after it, cut at
fixed row numbers. It is one row in a table of floats and one in a table of integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.kernels.compiling import njit
from batteryxr.core.kernels.growing import copy_row, grown_line, grown_table
from batteryxr.echem.kernels.reversals import half_cycles_of

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Ints

# Columns of the table of floats.
CHARGE, ENERGY, ACTIVE, REST, GAP, COUNTER = 0, 1, 2, 3, 4, 5
V_MIN, V_MAX, T_START, T_END, V_START, V_END = 6, 7, 8, 9, 10, 11
REST_SUM, REST_SQUARES, BEND = 12, 13, 14
FLOATS = 15
# Columns of the table of integers.
DIRECTION, FIRST, LAST_ACTIVE, LAST = 0, 1, 2, 3
CLOCK_START, CLOCK_END, GAPS, BACKWARD, MISSING, RESTS = 4, 5, 6, 7, 8, 9
INTEGERS = 10
# Columns of the table of pulses: which half cycle (from 0), rows, charge (mA h), and
# how far the voltage moves (V).
PULSE_OF, PULSE_FIRST, PULSE_LAST, PULSE_CHARGE, PULSE_SWING = 0, 1, 2, 3, 4
PULSES = 5
#: Sums of two currents times s in a charge of 1 mA h.
UNIT = 7200.0
#: Half cycles below this fraction of the largest charge are noise.
BLIP = 1e-4
#: Largest charge of a pulse that belongs to the half cycle before it, relative to what
#: flows on either side of it.
_LEADING = 0.2


class Walked(NamedTuple):
    """Hold the result of a walk: `n` parts, and `turned` entries of `turns`."""

    floats: np.ndarray
    integers: np.ndarray
    n: int
    turns: np.ndarray  # rows whose current has another sign than the row before
    turned: int


def table(size: int = 64) -> Walked:
    """Return an empty table of parts."""
    floats, integers = np.empty((size, FLOATS)), np.empty((size, INTEGERS), np.int64)
    return Walked(floats, integers, 0, np.empty(size, np.int64), 0)


class Part(NamedTuple):
    """Hold one part: its row of each table."""

    floats: np.ndarray
    integers: np.ndarray


class Halves(NamedTuple):
    """Hold half cycles, the pulses within them, and the quality of the record."""

    floats: np.ndarray  # CHARGE in mA h, ENERGY in mW h
    integers: np.ndarray
    pulses: np.ndarray  # (n, PULSES)
    noise: dict[str, float]


def half_cycle_tables(
    floats: np.ndarray,
    integers: np.ndarray,
    least: float,
    signs: np.ndarray | None = None,
) -> Halves:
    """Merge parts into half cycles; return pulses and rest noise too.

    Parameters
    ----------
    floats, integers : (parts, columns) arrays
        All parts in order. The counter's charge has the sign of its part.
    least : float
        Reversals with less charge, relative to the half cycle around them, are pulses.
    signs : (parts,) array, optional
        Direction in which each part is counted, in place of its own; 0: as before it.

    Returns
    -------
    Halves
        With ``rest_sd`` (mA), ``backward`` and ``missing`` of the whole record in
        `noise`.
    """
    n = int(integers[:, RESTS].sum())
    mean = floats[:, REST_SUM].sum() / n if n else 0.0
    variance = floats[:, REST_SQUARES].sum() / n - mean**2 if n else 0.0
    noise = {
        "rest_sd": float(np.sqrt(max(variance, 0.0))),
        "backward": int(integers[:, BACKWARD].sum()),
        "missing": int(integers[:, MISSING].sum()),
    }
    ends_open = integers[-1:, LAST_ACTIVE] == integers[-1:, LAST]
    own = integers[:, DIRECTION]
    leads = np.zeros(own.size, bool)
    if signs is None and least > 0:
        leads = _leads(floats[:, CHARGE], integers, least)
    runs = _merge(floats, integers, own, leads)
    runs[0][:, [CHARGE, ENERGY]] /= UNIT
    found = runs
    if leads.any():
        signs = np.where(leads, 0, own)
    if signs is not None:
        found = _merge(floats, integers, signs, np.zeros(own.size, bool))
        found[0][:, [CHARGE, ENERGY]] /= UNIT
    most = np.abs(found[0][:, CHARGE]).max(initial=0.0)
    found = _drop_blips(found[0].copy(), found[1].copy(), max(BLIP * most, 1e-300))
    number = half_cycles_of(found[0][:, CHARGE], least, bool(ends_open.any()))
    found = _gather(*found, number)
    return Halves(*found, _pulses(*runs, *found), noise)


def _leads(charge: np.ndarray, integers: np.ndarray, least: float) -> np.ndarray:
    """Tell which parts are pulses that belong to the half cycle before them.

    Such a pulse goes the way of the half cycle that follows: a rest divides the two,
    after which far more flows.
    """
    found = np.zeros(charge.size, bool)
    own, n = integers[:, DIRECTION], charge.size
    rested = integers[:, LAST_ACTIVE] < integers[:, LAST]
    # A bout ends at a rest or a reversal, a run at a reversal.
    some = np.flatnonzero(own != 0)
    if some.size < 3 or not rested.any():
        return found
    turns = np.diff(own[some], prepend=0) != 0
    begins = turns | np.append(False, rested[some[:-1]] | (np.diff(some) > 1))
    first = np.flatnonzero(begins)
    bout = np.add.reduceat(charge[some], first)
    run = np.cumsum(turns[first]) - 1
    of_run = np.bincount(run, bout)
    span = np.ptp(np.append(0.0, np.cumsum(bout)))
    for k in np.flatnonzero(turns[first][:-1] & ~turns[first][1:]):
        size, most = abs(bout[k]), _LEADING * abs(bout[k + 1])
        if run[k] and size < min(most, _LEADING * abs(of_run[run[k] - 1])):
            end = some[first[k + 1]] if k + 1 < first.size else n
            found[some[first[k]] : end] = size < least * span
    return found


def _pulses(
    run_floats: np.ndarray,
    run_integers: np.ndarray,
    floats: np.ndarray,
    integers: np.ndarray,
) -> np.ndarray:
    """Return the runs against the direction of the half cycle around them."""
    place = np.searchsorted(integers[:, FIRST], run_integers[:, FIRST], "right") - 1
    if not len(floats):
        return np.empty((0, PULSES))
    owner = np.maximum(place, 0)
    against = integers[owner, DIRECTION] * run_integers[:, DIRECTION] < 0
    large = np.abs(run_floats[:, CHARGE]) >= BLIP * np.abs(floats[owner, CHARGE])
    within = (place >= 0) & (
        run_integers[:, LAST_ACTIVE] <= integers[owner, LAST_ACTIVE]
    )
    chosen = against & large & within
    return np.column_stack(
        [
            owner[chosen],
            run_integers[chosen, FIRST],
            run_integers[chosen, LAST_ACTIVE],
            run_floats[chosen, CHARGE],
            run_floats[chosen, V_MAX] - run_floats[chosen, V_MIN],
        ]
    )


@njit(cache=True, nogil=True)
def open_part(
    floats: np.ndarray, integers: np.ndarray, n: int, direction: int, row: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Begin a part at `row`; the tables grow when they are full."""
    if n == floats.shape[0]:
        floats, integers = grown_table(floats), grown_table(integers)
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
def note(rows: np.ndarray, n: int, row: int) -> np.ndarray:
    """Write `row` after the first `n` rows; the array grows when it is full."""
    if n == rows.size:
        rows = grown_line(rows)
    rows[n] = row
    return rows


@njit(cache=True, nogil=True)
def _absorb(into: Part, other: Part) -> None:
    """Add a part to the one before it."""
    _absorb_current(into, other)
    _absorb_rest(into, other)


@njit(cache=True, nogil=True)
def _absorb_current(into: Part, other: Part) -> None:
    for c in (CHARGE, ENERGY, ACTIVE, COUNTER, BEND):
        into.floats[c] += other.floats[c]
    if other.integers[LAST_ACTIVE] < 0:
        return
    if into.integers[LAST_ACTIVE] < 0:
        for c in (T_START, V_START):
            into.floats[c] = other.floats[c]
        into.integers[CLOCK_START] = other.integers[CLOCK_START]
    into.floats[V_MIN] = min(into.floats[V_MIN], other.floats[V_MIN])
    into.floats[V_MAX] = max(into.floats[V_MAX], other.floats[V_MAX])
    for c in (T_END, V_END):
        into.floats[c] = other.floats[c]
    for c in (LAST_ACTIVE, CLOCK_END):
        into.integers[c] = other.integers[c]


@njit(cache=True, nogil=True)
def _absorb_rest(into: Part, other: Part) -> None:
    for c in (REST, GAP, REST_SUM, REST_SQUARES):
        into.floats[c] += other.floats[c]
    for c in (GAPS, BACKWARD, MISSING, RESTS):
        into.integers[c] += other.integers[c]
    into.integers[LAST] = other.integers[LAST]


@njit(cache=True, nogil=True)
def _merge(
    floats: np.ndarray, integers: np.ndarray, signs: Ints, alone: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    merged_floats = np.empty_like(floats)
    merged_integers = np.empty_like(integers)
    m = 0
    for k in range(floats.shape[0]):
        direction = signs[k]
        same = direction == 0 or direction == merged_integers[m - 1, DIRECTION]
        # A row of `alone` is a run of its own; so is what follows it.
        if m > 0 and same and (k == 0 or alone[k] == alone[k - 1]):
            before = Part(merged_floats[m - 1], merged_integers[m - 1])
            _absorb(before, Part(floats[k], integers[k]))
        else:
            copy_row(merged_floats, m, floats, k)
            copy_row(merged_integers, m, integers, k)
            merged_integers[m, DIRECTION] = direction
            m += 1
    return merged_floats[:m].copy(), merged_integers[:m].copy()


@njit(cache=True, nogil=True)
def _drop_blips(
    floats: np.ndarray, integers: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    # Noise rows between a charge and a discharge belong to neither: the half cycle
    # before takes the rows, and their charge is dropped. If that half cycle goes on
    # afterwards, it takes the charge too, however little: a half cycle holds the net
    # charge between its first and its last row under current.
    kept, last = 0, 0
    for k in range(floats.shape[0]):
        if abs(floats[k, CHARGE]) < least or integers[k, DIRECTION] == 0:
            if kept > 0:
                before = Part(floats[kept - 1], integers[kept - 1])
                _absorb_rest(before, Part(floats[k], integers[k]))
            continue
        if kept > 0 and integers[k, DIRECTION] == integers[kept - 1, DIRECTION]:
            before = Part(floats[kept - 1], integers[kept - 1])
            for j in range(last + 1, k + 1):
                _absorb_current(before, Part(floats[j], integers[j]))
            _absorb_rest(before, Part(floats[k], integers[k]))
        else:
            copy_row(floats, kept, floats, k)
            copy_row(integers, kept, integers, k)
            kept += 1
        last = k
    return floats[:kept].copy(), integers[:kept].copy()


@njit(cache=True, nogil=True)
def _gather(
    floats: np.ndarray, integers: np.ndarray, number: Ints
) -> tuple[np.ndarray, np.ndarray]:
    """Join the runs of each half cycle; the net charge gives its direction."""
    last = -1
    for k in range(number.size):
        n = number[k]
        if n == last:
            _absorb(Part(floats[n], integers[n]), Part(floats[k], integers[k]))
        else:
            copy_row(floats, n, floats, k)
            copy_row(integers, n, integers, k)
            last = n
    for n in range(last + 1):
        integers[n, DIRECTION] = 1 if floats[n, CHARGE] > 0.0 else -1
    return floats[: last + 1].copy(), integers[: last + 1].copy()
