"""Split a record into steps: constant current, constant voltage, or neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.kernels.compiling import njit
from batteryxr.core.kernels.growing import grown_table
from batteryxr.echem.kernels.record import (
    CURRENT,
    TIME,
    UNDER_CURRENT,
    VOLTAGE,
    interval,
    is_missing,
    sign_of,
)

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats
    from batteryxr.echem.kernels.record import Record, Rule

# Kinds of step.
OPEN_CIRCUIT, REST, CONSTANT_CURRENT, CONSTANT_VOLTAGE, VARYING = 0, 1, 2, 3, 4

# Columns of the table of floats: sums, extremes and ends of a step.
T_START, T_END, ROWS, CHARGE, ENERGY = 0, 1, 2, 3, 4
I_SUM, I_MIN, I_MAX, I_FIRST, I_LAST = 5, 6, 7, 8, 9
V_SUM, V_MIN, V_MAX, V_FIRST, V_LAST = 10, 11, 12, 13, 14
FIRST, LAST, SIGN, KIND, FILE = 15, 16, 17, 18, 19
COLUMNS = 20
# State carried from row to row besides time, voltage and current.
FLOWED = 3
CARRIED = 4


class Tolerance(NamedTuple):
    """Set how much current and voltage may vary within a step."""

    current: float  # as a fraction of its mean
    voltage: float  # V


@njit(cache=True, nogil=True)
def _begin(
    table: np.ndarray, n: int, record: Record, k: int, sign: float, kind: int
) -> tuple[np.ndarray, int]:
    """Begin a step at row `k`; the table grows when it is full."""
    if n == table.shape[0]:
        table = grown_table(table)
    t: float
    v: float
    i: float
    t, v, i = record.t[k], record.v[k], record.i[k]
    step: Floats = table[n]
    step[:] = 0.0
    step[T_START], step[T_END] = t, t
    step[I_FIRST], step[I_MIN], step[I_MAX] = i, i, i
    step[V_FIRST], step[V_MIN], step[V_MAX] = v, v, v
    step[SIGN], step[KIND] = sign, kind
    step[FILE] = np.float64(record.file[k]) if record.file.size > 0 else 0.0
    return table, n + 1


@njit(cache=True, nogil=True)
def _add(step: Floats, record: Record, k: int) -> None:
    t: float
    v: float
    i: float
    t, v, i = record.t[k], record.v[k], record.i[k]
    step[T_END] = t
    step[ROWS] += 1.0
    step[I_SUM] += i
    step[V_SUM] += v
    step[I_MIN], step[I_MAX] = min(step[I_MIN], i), max(step[I_MAX], i)
    step[V_MIN], step[V_MAX] = min(step[V_MIN], v), max(step[V_MAX], v)
    step[I_LAST], step[V_LAST] = i, v


@njit(cache=True, nogil=True)
def _integrate(
    step: Floats, record: Record, k: int, sign: float, rule: Rule, carry: Floats
) -> None:
    # Integrate the interval before row `k`, in the same file as the row before.
    d = record.t[k] - carry[TIME]
    sign_before = sign_of(carry[CURRENT], rule.i_zero)
    if interval(d, True, sign, sign_before, rule) == UNDER_CURRENT:
        v, i = record.v[k], record.i[k]
        other = i if rule.mean else carry[CURRENT]
        step[CHARGE] += (i + other) * d / 7200.0
        step[ENERGY] += (i * v + other * carry[VOLTAGE]) * d / 7200.0


@njit(cache=True, nogil=True)
def _within(step: Floats, v: float, i: float, tolerance: Tolerance) -> bool:
    # Tell whether a row under current stays in the band of its step.
    if step[KIND] == CONSTANT_VOLTAGE:
        return abs(v - step[V_SUM] / step[ROWS]) <= tolerance.voltage
    level = step[I_SUM] / step[ROWS]
    return not abs(i - level) > tolerance.current * abs(level)


@njit(cache=True, nogil=True)
def split(
    record: Record,
    offset: int,
    rule: Rule,
    tolerance: Tolerance,
    carry: Floats,
    table: np.ndarray,
    n: int,
) -> tuple[np.ndarray, int]:
    """Walk through one chunk of a record and extend the table of steps.

    A rest goes on while no current flows. A step of constant current goes on while
    the current stays close to its mean so far. A step of constant voltage goes on
    while the voltage stays close to where it was when the current left that band. Any
    other row begins a new step; `tidy` joins steps that are too short.

    Parameters
    ----------
    record, offset, rule
        As for `segments.walk`.
    tolerance : Tolerance
        Largest variation within a step.
    carry : (CARRIED,) array
        Zeros at the start; changed in place.
    table : (steps, COLUMNS) array
        Steps so far; `n` rows are filled.

    Returns
    -------
    table, n
    """
    for k in range(record.t.size):
        t, v, i = record.t[k], record.v[k], record.i[k]
        if is_missing(t, v, i):
            continue
        file = np.float64(record.file[k]) if record.file.size > 0 else 0.0
        sign = sign_of(i, rule.i_zero)
        kind = CONSTANT_CURRENT
        if sign == 0.0:
            kind = REST if carry[FLOWED] == 1.0 else OPEN_CIRCUIT
        else:
            carry[FLOWED] = 1.0
        same_file = n > 0 and file == table[n - 1, FILE]
        goes_on = same_file and sign == table[n - 1, SIGN]
        if goes_on and sign != 0.0:
            step: Floats = table[n - 1]
            goes_on = _within(step, v, i, tolerance)
            left = not goes_on and step[KIND] != CONSTANT_VOLTAGE
            if left and abs(v - carry[VOLTAGE]) <= tolerance.voltage:
                kind = CONSTANT_VOLTAGE
        if not goes_on:
            table, n = _begin(table, n, record, k, sign, kind)
            table[n - 1, FIRST] = offset + k
        _add(table[n - 1], record, k)
        table[n - 1, LAST] = offset + k
        if same_file:
            _integrate(table[n - 1], record, k, sign, rule, carry)
        carry[TIME], carry[VOLTAGE], carry[CURRENT] = t, v, i
    return table, n


@njit(cache=True, nogil=True)
def _join(row: Floats, other: Floats, extremes: bool) -> None:
    # `extremes`: use those of both, else only of the longer: the other is a transient.
    for low, high in ((I_MIN, I_MAX), (V_MIN, V_MAX)):
        if extremes:
            row[low] = min(row[low], other[low])
            row[high] = max(row[high], other[high])
        elif other[ROWS] > row[ROWS]:
            row[low], row[high] = other[low], other[high]
    for c in (ROWS, CHARGE, ENERGY, I_SUM, V_SUM):
        row[c] += other[c]
    for c in (T_END, I_LAST, V_LAST, LAST):
        row[c] = other[c]


@njit(cache=True, nogil=True)
def _alike(a: Floats, b: Floats) -> bool:
    return a[SIGN] != 0.0 and a[SIGN] == b[SIGN] and a[FILE] == b[FILE]


@njit(cache=True, nogil=True)
def tidy(table: np.ndarray, shortest: int, i_tolerance: float) -> np.ndarray:
    """Join steps that belong together; change `table` in place and return its front.

    Fewer than `shortest` rows before or after a longer step of the same sign join it,
    since the current settles there. A longer run of short steps is one step of
    varying current. A held voltage with a constant current is only a flat plateau.
    """
    m = k = 0
    while k < table.shape[0]:
        row: Floats = table[k].copy()
        end = k + 1
        if row[SIGN] != 0.0 and row[ROWS] < shortest:
            while end < table.shape[0]:
                other: Floats = table[end]
                if other[ROWS] >= shortest or not _alike(row, other):
                    break
                _join(row, other, True)
                row[KIND] = VARYING
                end += 1
            if row[ROWS] < shortest:
                if end < table.shape[0] and _alike(row, table[end]):
                    _join(row, table[end], False)
                    row[KIND] = table[end, KIND]
                    end += 1
                elif m > 0 and _alike(row, table[m - 1]):
                    _join(table[m - 1], row, False)
                    k = end
                    continue
        k = end
        if row[KIND] == CONSTANT_VOLTAGE:
            middle = abs(row[I_SUM] / row[ROWS])
            if row[I_MAX] - row[I_MIN] <= 2.0 * i_tolerance * middle:
                row[KIND] = CONSTANT_CURRENT
        if m > 0 and row[KIND] == CONSTANT_CURRENT == table[m - 1, KIND]:
            before = table[m - 1, I_SUM] / table[m - 1, ROWS]
            apart = abs(row[I_SUM] / row[ROWS] - before)
            if _alike(row, table[m - 1]) and apart <= i_tolerance * abs(before):
                _join(table[m - 1], row, True)
                continue
        table[m] = row
        m += 1
    return table[:m]
