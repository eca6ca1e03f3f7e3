"""Hold the rows of a cycler record for kernels, and integrate their charge."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.kernels.compiling import njit, usual

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Ints

#: Kinds of interval between two rows.
AT_REST, UNDER_CURRENT, GAP, BACKWARD = 0, 1, 2, 3

#: Ratio to the charge of the larger current up to which a charge may have flowed.
_FLOWED = 1.1

# State carried from row to row: the last valid row comes first.
TIME, VOLTAGE, CURRENT, FILE, VALID = 0, 1, 2, 3, 4


class Record(NamedTuple):
    """Hold rows of a record as arrays of equal length; absent ones are empty."""

    t: np.ndarray  # test time, s
    v: np.ndarray  # voltage, V
    i: np.ndarray  # current, mA; positive charges the cell
    file: np.ndarray  # number of the source file, int16
    clock: np.ndarray  # wall-clock time, ns, int64
    counter: np.ndarray  # the cycler's own charge counter, mA h
    step_time: np.ndarray  # time since the cycler's step began, s


class Rule(NamedTuple):
    """Set which currents count, and over which intervals they are integrated."""

    i_zero: float  # mA; smaller currents are rest
    max_gap: float  # s (ns beside a clock); a longer interval is a gap
    mean: bool  # a current is the mean since the row before, not a momentary value


def of_rows(
    v: np.ndarray,
    i: np.ndarray,
    *,
    t: np.ndarray | None = None,
    file: np.ndarray | None = None,
    clock: np.ndarray | None = None,
    counter: np.ndarray | None = None,
    step_time: np.ndarray | None = None,
) -> Record:
    """Return a record of the given arrays, in the types of the kernels."""

    def plain(values: np.ndarray | None, kind: type) -> np.ndarray:
        return usual(np.empty(0) if values is None else values, kind)

    return Record(
        plain(t, np.float64),
        plain(v, np.float64),
        plain(i, np.float64),
        plain(file, np.int16),
        plain(clock, np.int64),
        plain(counter, np.float64),
        plain(step_time, np.float64),
    )


def part(record: Record, start: int, stop: int) -> Record:
    """Return views of the rows from `start` to `stop`."""
    return Record(*(column[start:stop] for column in record))


@njit(cache=True, nogil=True)
def is_missing(t: float, v: float, i: float) -> bool:
    """Tell whether time, voltage or current of a row is not a number."""
    return not ((t == t) & (v == v) & (i == i))


@njit(cache=True, nogil=True)
def sign_of(i: float, i_zero: float) -> float:
    """Return 1 for charge, -1 for discharge, 0 for rest."""
    if not abs(i) >= i_zero:
        return 0.0
    return 1.0 if i > 0.0 else -1.0


@njit(cache=True, nogil=True)
def goes_on(reading: float, before: float, i: float, i_before: float) -> bool:
    """Tell whether a counter that jumped between two rows went on without a restart.

    Rows or time are then missing between them: no more than an hour of the current.
    """
    moved = reading - before
    away = moved * reading > 0.0 and before * reading >= 0.0
    # A counter of net charge may go back, but not to the small value of a restart.
    back = moved * i > 0.0 and 2.0 * reading * np.sign(before) > abs(before)
    on = (away or back) and i * i_before > 0.0
    return on and abs(moved) <= max(abs(i), abs(i_before))


@njit(cache=True, nogil=True)
def fell(reading: float, before: float, i: float, i_before: float, d: float) -> bool:
    """Tell whether a counter fell by a charge that may have flowed between two rows.

    One of net charge then falls in the next interval too: a restart it is not there.
    """
    most = _FLOWED * max(abs(i), abs(i_before)) * d / 3600.0
    down = abs(reading) < abs(before) and abs(reading - before) <= most
    return down and i * i_before > 0.0


@njit(cache=True, nogil=True)
def interval(
    d: float, same_file: bool, sign: float, sign_before: float, rule: Rule
) -> int:
    """Return the kind of the interval between two rows `d` seconds apart.

    A current at one end only does not give the moment of switching. This interval is
    at rest, unless the current is the mean over it.
    """
    if not same_file:
        return GAP
    if d < 0.0:
        return BACKWARD
    if d > rule.max_gap and (sign != 0.0 or sign_before != 0.0):
        return GAP
    if sign * sign_before > 0.0 or (rule.mean and sign != 0.0):
        return UNDER_CURRENT
    return AT_REST


@njit(cache=True, nogil=True)
def all_equal(values: Ints, a: int, b: int, value: np.int16) -> bool:
    """Tell whether all of `values` from `a` to `b` equal `value`."""
    different = values[a] ^ value
    for k in range(a, b):
        different |= values[k] ^ value
    return different == 0


@njit(cache=True, nogil=True)
def last_before(record: Record, row: int) -> int:
    """Return the last row before `row` without missing numbers; -1 if there is none."""
    for k in range(row - 1, -1, -1):
        if not is_missing(record.t[k], record.v[k], record.i[k]):
            return k
    return -1


def increments(
    time: np.ndarray,
    time_before: np.ndarray,
    current: np.ndarray,
    current_before: np.ndarray,
    apart: np.ndarray,
    mean: bool,
    max_gap: float,
) -> np.ndarray:
    """Return the charge passed since the row before.

    Parameters
    ----------
    time, time_before
        (rows,) times of each row and of the one before (s).
    current, current_before
        (rows,) currents (mA).
    apart
        (rows,) whether the interval before the row is unknown.
    mean
        Whether each current is the mean since the row before. Else the current is a
        line between rows of one direction. Between two directions, or rest and
        current, the moment of switching is unknown and nothing is counted.
    max_gap
        Longest interval that counts (s).

    Returns
    -------
    numpy.ndarray
        (rows,) charge (mA h); NaN where time runs backward or a number is missing.
    """
    t, t_before = usual(time, np.float64), usual(time_before, np.float64)
    i, i_before = usual(current, np.float64), usual(current_before, np.float64)
    return _increments(t, t_before, i, i_before, usual(apart, bool), mean, max_gap)


@njit(cache=True, nogil=True)
def _increments(
    time: np.ndarray,
    time_before: np.ndarray,
    current: np.ndarray,
    current_before: np.ndarray,
    apart: np.ndarray,
    mean: bool,
    max_gap: float,
) -> np.ndarray:
    charge = np.zeros(time.size)
    for k in range(time.size):
        step = time[k] - time_before[k]
        if apart[k] or step > max_gap:
            continue
        if step < 0:
            charge[k] = np.nan
        elif mean:
            charge[k] = current[k] * step / 3600
        elif not current[k] * current_before[k] <= 0:
            charge[k] = (current[k] + current_before[k]) / 2 * step / 3600
    return charge
