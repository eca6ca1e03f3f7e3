"""Steps by what the current and the voltage do: constant, held, or neither."""

from __future__ import annotations

import numpy as np
from numba import njit

# Kinds of step.
OPEN_CIRCUIT, REST, CONSTANT_CURRENT, CONSTANT_VOLTAGE, VARYING = 0, 1, 2, 3, 4

# Columns of the table of floats: sums, extremes and ends of a step.
T_START, T_END, ROWS, CHARGE, ENERGY = 0, 1, 2, 3, 4
I_SUM, I_MIN, I_MAX, I_FIRST, I_LAST = 5, 6, 7, 8, 9
V_SUM, V_MIN, V_MAX, V_FIRST, V_LAST = 10, 11, 12, 13, 14
FIRST, LAST, SIGN, KIND, FILE = 15, 16, 17, 18, 19
COLUMNS = 20
# State between rows.
TIME, VOLTAGE, CURRENT, FLOWED = 0, 1, 2, 3
STATE = 4


@njit(cache=True, nogil=True)
def _begin(table, n, row, t, v, i, sign, kind, file):  # type: ignore[no-untyped-def]
    if n == table.shape[0]:
        more = np.empty((2 * n, COLUMNS))
        more[:n] = table
        table = more
    table[n] = 0.0
    table[n, T_START], table[n, T_END] = t, t
    table[n, I_FIRST], table[n, V_FIRST] = i, v
    table[n, I_MIN], table[n, I_MAX] = i, i
    table[n, V_MIN], table[n, V_MAX] = v, v
    table[n, FIRST], table[n, SIGN] = row, sign
    table[n, KIND], table[n, FILE] = kind, file
    return table, n + 1


@njit(cache=True, nogil=True)
def _add(table, n, row, t, v, i):  # type: ignore[no-untyped-def]
    s = n - 1
    table[s, T_END], table[s, LAST] = t, row
    table[s, ROWS] += 1.0
    table[s, I_SUM] += i
    table[s, V_SUM] += v
    table[s, I_MIN], table[s, I_MAX] = min(table[s, I_MIN], i), max(table[s, I_MAX], i)
    table[s, V_MIN], table[s, V_MAX] = min(table[s, V_MIN], v), max(table[s, V_MAX], v)
    table[s, I_LAST], table[s, V_LAST] = i, v


@njit(cache=True, nogil=True)
def split(  # type: ignore[no-untyped-def]
    t,
    v,
    i,
    file,
    offset,
    i_zero,
    max_gap,
    mean,
    i_tolerance,
    v_tolerance,
    state,
    table,
    n,
):
    """Walk through one chunk of a record and extend the table of steps.

    A step goes on while its kind does: rest while no current flows; constant current
    while the current stays within a fraction `i_tolerance` of its mean so far;
    constant voltage while the voltage stays within `v_tolerance` (V) of where it was
    when the current left that band. Anything else begins a new step, by itself or
    one row long; `tidy` joins those.

    Parameters
    ----------
    t, v, i, file, offset, i_zero, max_gap, mean
        As for `segments.walk`.
    state : (STATE,) array
        Zeros at the start; changed in place.
    table : (steps, COLUMNS) array
        The steps so far: `n` rows are filled.

    Returns
    -------
    table, n
    """
    for k in range(t.size):
        tk, vk, ik = t[k], v[k], i[k]
        if not (tk == tk and vk == vk and ik == ik):
            continue
        f = np.float64(file[k]) if file.size > 0 else 0.0
        sign = 0.0
        if abs(ik) >= i_zero:
            sign = 1.0 if ik > 0.0 else -1.0
        kind = CONSTANT_CURRENT
        if sign == 0.0:
            kind = REST if state[FLOWED] == 1.0 else OPEN_CIRCUIT
        else:
            state[FLOWED] = 1.0
        same_file = n > 0 and f == table[n - 1, FILE]
        goes_on = same_file and sign == table[n - 1, SIGN]
        if goes_on and sign != 0.0:
            step = n - 1
            if table[step, KIND] == CONSTANT_VOLTAGE:
                held = table[step, V_SUM] / table[step, ROWS]
                goes_on = abs(vk - held) <= v_tolerance
            else:
                level = table[step, I_SUM] / table[step, ROWS]
                if abs(ik - level) > i_tolerance * abs(level):
                    goes_on = False
                    if abs(vk - state[VOLTAGE]) <= v_tolerance:
                        kind = CONSTANT_VOLTAGE
        if not goes_on:
            table, n = _begin(table, n, offset + k, tk, vk, ik, sign, kind, f)
        _add(table, n, offset + k, tk, vk, ik)
        d = tk - state[TIME]
        if same_file and 0.0 <= d <= max_gap:
            flowed = sign * state[CURRENT] > 0.0 and abs(state[CURRENT]) >= i_zero
            if sign != 0.0 and (flowed or mean):
                other = ik if mean else state[CURRENT]
                table[n - 1, CHARGE] += (ik + other) * d / 7200.0
                table[n - 1, ENERGY] += (ik * vk + other * state[VOLTAGE]) * d / 7200.0
        state[TIME], state[VOLTAGE], state[CURRENT] = tk, vk, ik
    return table, n


@njit(cache=True, nogil=True)
def _join(row, other, extremes):  # type: ignore[no-untyped-def]
    # `extremes`: those of both, or only of the longer where the other is a transient.
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
def _alike(a, b):  # type: ignore[no-untyped-def]
    return a[SIGN] != 0.0 and a[SIGN] == b[SIGN] and a[FILE] == b[FILE]


@njit(cache=True, nogil=True)
def tidy(table, shortest, i_tolerance):  # type: ignore[no-untyped-def]
    """Join what belongs together; changes `table` in place and returns its front.

    Fewer than `shortest` rows before or after a longer step of the same sign belong
    to it: the current settles. A longer run of such rows is a step of varying current.
    A voltage that is held while the current stays is just a flat plateau.
    """
    m = k = 0
    while k < table.shape[0]:
        row = table[k].copy()
        end = k + 1
        if row[SIGN] != 0.0 and row[ROWS] < shortest:
            while end < table.shape[0]:
                other = table[end]
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
