"""Find the charge of intervals that two rows alone do not determine.

Between two rows of one current a straight line holds. Where the current was switched
on, off or over, two rows do not give the charge. The cycler's charge counter gives
it, or the step time logged with each row. A sound counter is also more accurate where
the current falls steeply, and just after a switch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.kernels.compiling import njit
from batteryxr.echem.kernels.parts import note
from batteryxr.echem.kernels.record import fell, goes_on, sign_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batteryxr.core.kernels.loops import Floats
    from batteryxr.echem.kernels.record import Record, Rule

#: Relative change of current between two rows above which the line is inaccurate, and
#: up to which a current is steady. Counters integrate more often than rows are
#: written, and so are more accurate.
_STEEP, _STEADY = 0.1, 0.01
#: Seconds that nanoseconds can count.
_AGES = 9e9
#: Fraction of steep rows in a long record above which the lines are used throughout.
_COARSE = 1 / 16
#: Largest number of rows for which each interval is compared with the counter.
_LONG = 2_000_000
#: Charge difference, relative to the line, above which a sound counter is used, of a
#: row and of all rows of a group: what rounding takes from one, it gives to the next.
_DIFFERS = 1e-4
GROUP = 64
#: A counter stands still if it adds less than this fraction of a line of steady
#: current, unless the line is shorter than this number of counter steps. Steps below
#: the last fraction, relative to the reading, are roundings of the last digit.
_STILL, _STEPS, _LAST_DIGIT = 0.5, 3.0, 2e-7
#: Ratio to the interval after it above which an interval may hold a pause.
_PAUSE = 5.0
#: Largest deviation of a believed counter from the lines of steady currents, or from
#: all lines if the fraction of steady ones is small.
_SOUND = 2e-3
_FEW = 0.01
#: Ratio of counted to possible charge above which the counter ran longer than the
#: clock.
_LONGER = 1.5
#: Ratio to `i_zero` above which a current is certainly no noise.
_CLEAR = 10.0
#: Ratio to the possible charge of an interval above which the counter jumped.
_JUMP = 10.0
#: Relative difference of two intervals that are not alike, and a share of all.
_ODD_LENGTH, _MOSTLY = 0.02, 0.5
#: Number of sums in `find`: lines and counter, of all intervals and of steady ones,
#: and jumps of the counter.
_SUMS = 5
#: Where `find` sums the line of a group, and what the counter has more.
_LINE, _MORE = 6, 7
#: Whether the charge of an interval is odd, only if its group's is, or not at all.
_EVEN, _MAYBE, _ODD = 0, 1, 2


class Intervals(NamedTuple):
    """Hold intervals whose charge two rows do not determine; (n,) arrays."""

    row: np.ndarray  # the row at the end of each
    d: np.ndarray  # s
    following: np.ndarray  # s, to the row after
    preceding: np.ndarray  # s, between the two rows before; 0 if unknown
    earlier: np.ndarray  # s, of the interval before that
    i_before: np.ndarray  # mA, 0 at rest
    i: np.ndarray
    v_before: np.ndarray  # V
    v: np.ndarray
    step_time: np.ndarray  # s, at `row`; NaN if unknown
    reading_before: np.ndarray  # mA h, of the counter
    reading: np.ndarray
    apart: np.ndarray  # whether another piece of a file begins at `row`
    course: np.ndarray  # 1: its magnitude rises beside the interval, -1: falls, 0: ?
    clock: np.ndarray  # ns, at `row`
    anew: np.ndarray  # whether the counter of the direction before fell in it


class Switches(NamedTuple):
    """Hold intervals in which the current switches, and the charge beyond a line."""

    row: np.ndarray
    before: np.ndarray  # of the current before
    after: np.ndarray  # of the current after
    time_before: np.ndarray  # s under current that a line does not include
    time_after: np.ndarray
    v_before: np.ndarray  # V
    v: np.ndarray
    counted_before: np.ndarray  # mA h counted by the cycler and not by a line
    counted_after: np.ndarray
    missing_before: np.ndarray  # mA h that may also have flowed, without any data
    missing: np.ndarray
    lost: np.ndarray  # s that the counter shows, and the clock does not
    began: np.ndarray  # ns, clock of the row before
    switched: np.ndarray  # ns
    ended: np.ndarray  # ns, clock of the row


@njit(cache=True, nogil=True)
def _is_odd(record: Record, k: int, max_gap: float, short: bool, sums: Floats) -> int:
    """Tell whether the counter is better than a line before row `k`; sum both."""
    d = record.t[k] - record.t[k - 1]
    line = abs(record.i[k] + record.i[k - 1]) * d / 7200.0
    added = record.counter[k] - record.counter[k - 1]
    largest = max(abs(record.i[k]), abs(record.i[k - 1]))
    fresh = abs(record.counter[k])
    nearer = abs(fresh - line) < abs(abs(added) - line) and not _falls(record, k)
    if nearer and fresh < min(abs(record.counter[k - 1]), 1.1 * largest * d / 3600.0):
        added = record.counter[k]
        if 0.0 < d <= max_gap and _lacks(fresh, line):
            return _ODD
    if abs(added) > _JUMP * largest * d / 3600.0 + 1e-12:
        sums[4] += 1
        reading, before = record.counter[k], record.counter[k - 1]
        if goes_on(reading, before, record.i[k], record.i[k - 1]):
            return _ODD
        added = reading
    if d > max_gap:
        return _ODD
    if d <= 0.0 or not abs(added) <= _JUMP * line:
        return _EVEN
    change = abs(record.i[k] - record.i[k - 1]) / largest
    sums[0] += line
    sums[1] += abs(added)
    if change <= _STEADY:
        sums[2] += line
        sums[3] += abs(added)
    if abs(added) > _LAST_DIGIT * abs(record.counter[k]):
        sums[_SUMS] = min(sums[_SUMS], abs(added))
    # Counter and clock are read at slightly different moments. In long records this is
    # not worth the memory.
    if change > _STEEP or (k > 1 and record.t[k - 1] == record.t[k - 2]):
        return _ODD
    sums[_LINE] += line
    sums[_MORE] += abs(added) - line
    return _MAYBE if short and abs(abs(added) - line) > _DIFFERS * line else _EVEN


@njit(cache=True, nogil=True)
def _lacks(fresh: float, line: float) -> bool:
    """Tell whether a counter that began anew holds but a part of an interval."""
    return fresh < (1.0 - _STEEP) * line


@njit(cache=True, nogil=True)
def _falls(record: Record, k: int) -> bool:
    """Tell whether the counter falls before row `k` as it fell before that."""
    t, i, c = record.t, record.i, record.counter
    return (
        k > 1
        and fell(c[k], c[k - 1], i[k], i[k - 1], t[k] - t[k - 1])
        and fell(c[k - 1], c[k - 2], i[k - 1], i[k - 2], t[k - 1] - t[k - 2])
    )


@njit(cache=True, nogil=True)
def _paused(record: Record, k: int, added: float) -> bool:
    """Tell whether one long interval counted little, as in a pause.

    A counter that counted nothing must count beside it.
    """
    c = record.counter
    if k + 1 >= record.t.size:
        return False
    if added == 0.0 and (k < 2 or c[k + 1] == c[k] or c[k - 1] == c[k - 2]):
        return False
    following = record.t[k + 1] - record.t[k]
    return record.t[k] - record.t[k - 1] > _PAUSE * following


@njit(cache=True, nogil=True)
def _closed(n: int, kept: int, line: float, more: float, sums: Floats) -> int:
    """End a group; return how many rows are found with it, of `n` that may be."""
    even = abs(more + sums[_MORE]) <= _DIFFERS * (line + sums[_LINE])
    sums[_LINE] = sums[_MORE] = 0.0
    return kept if even else n


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def _is_even(record: Record, a: int, rule: Rule, sums: Floats) -> bool:
    """Tell whether no interval of a whole group is odd; give its sums if so.

    It has no branches, so that a processor takes several rows at once.
    """
    t: Floats
    i: Floats
    c: Floats
    t, i = record.t[a - 1 : a + GROUP], record.i[a - 1 : a + GROUP]
    c = record.counter[a - 1 : a + GROUP]
    i_zero, max_gap = rule.i_zero, rule.max_gap
    odd = 0
    line_of_all = of_all = line_of_steady = of_steady = 0.0
    for k in range(1, GROUP + 1):
        d, one, other = t[k] - t[k - 1], i[k - 1], i[k]
        both, change = abs(one + other), abs(other - one)
        added, line = abs(c[k] - c[k - 1]), both * d * (1 / 7200.0)
        largest = 0.5 * (both + change)  # of two of one sign
        even = (one * other > 0.0) & (both - change >= 2.0 * i_zero) & (d > 0.0)
        even = even & (d <= max_gap) & (2.0 * added >= line) & (added <= _JUMP * line)
        odd += not (even & (change <= _STEEP * largest))
        steady = 1.0 if change <= _STEADY * largest else 0.0
        line_of_all, of_all = line_of_all + line, of_all + added
        line_of_steady = line_of_steady + steady * line
        of_steady = of_steady + steady * added
    if odd or not abs(of_all - line_of_all) <= _DIFFERS * line_of_all:
        return False
    sums[0] += line_of_all
    sums[1] += of_all
    sums[2] += line_of_steady
    sums[3] += of_steady
    sums[_SUMS] = min(sums[_SUMS], of_all / GROUP)
    return True


@njit(cache=True, nogil=True)
def find(
    record: Record, start: int, stop: int, rule: Rule, size: int, offset: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows from `start` to `stop` that end an interval of unknown charge.

    It is for records with a counter. Switches count, and so do gaps, steep intervals
    and the first one after a switch that is logged twice. In a short record (`size`
    rows in all) all intervals count whose counter differs from the line, if it still
    does over their group: groups begin at fixed numbers of rows, of which the first is
    `offset`, and after odd intervals. The sums of lines and counter, and its least step
    (mA h), show whether it can be believed.
    """
    t: Floats
    i: Floats
    c: Floats
    t, i, c = record.t, record.i, record.counter
    i_zero, max_gap, short = rule.i_zero, rule.max_gap, size <= _LONG
    sums = np.zeros(_MORE + 1)
    sums[_SUMS] = np.inf
    found: np.ndarray = np.empty(64, np.int64)
    n = kept = 0
    line_of_all = of_all = line_of_steady = of_steady = 0.0
    least, group, more = np.inf, 0.0, 0.0
    k = max(start, 1) - 1
    apart = k < 1 or t[k] != t[k - 1]
    while k + 1 < stop:
        k += 1
        if (k + offset) % GROUP == 0:
            n = kept = _closed(n, kept, group, more, sums)
            group = more = 0.0
            if apart and k + GROUP <= stop and _is_even(record, k, rule, sums):
                k += GROUP - 1
                continue
        d, one, other = t[k] - t[k - 1], i[k - 1], i[k]
        added, line = abs(c[k] - c[k - 1]), 0.5 * abs(one + other) * d / 3600.0
        small, change = min(abs(one), abs(other)), abs(other - one)
        largest = max(abs(one), abs(other))
        even = (one * other > 0.0) & (small >= i_zero) & (d > 0.0) & (d <= max_gap)
        even = even & apart & (added <= _JUMP * line) & (change <= _STEEP * largest)
        apart = t[k] != t[k - 1]
        if even:  # the common case, kept fast
            if 2.0 * added < line:
                fresh, down = abs(c[k]), abs(c[k]) < abs(c[k - 1])
                anew = down & (abs(fresh - line) < line - added)
                anew = anew and not _falls(record, k)
                if anew:
                    added = fresh  # it began anew
                if (anew & _lacks(fresh, line)) | (
                    (not anew) and _paused(record, k, added)
                ):
                    n = _closed(n, kept, group, more, sums)
                    found, group, more = note(found, n, k), 0.0, 0.0
                    n += 1
                    kept = n
                    continue
            line_of_all, of_all = line_of_all + line, of_all + added
            if change <= _STEADY * largest:
                line_of_steady, of_steady = line_of_steady + line, of_steady + added
            if (added < least) & (added > _LAST_DIGIT * abs(c[k])):
                least = added
            group, more = group + line, more + (added - line)
            if short & (abs(added - line) > _DIFFERS * line):
                found = note(found, n, k)
                n += 1
            continue
        before, after = sign_of(one, i_zero), sign_of(other, i_zero)
        odd = _EVEN if before == after else _ODD
        if before * after > 0.0:
            odd = _is_odd(record, k, max_gap, short, sums)
        if odd == _ODD:
            n = _closed(n, kept, group, more, sums)
            group = more = 0.0
        if odd != _EVEN:
            found = note(found, n, k)
            n += 1
        if odd == _ODD:
            kept = n
    n = _closed(n, kept, group, more, sums)
    sums[:_SUMS] += np.array([line_of_all, of_all, line_of_steady, of_steady, 0.0])
    sums[_SUMS] = min(sums[_SUMS], least)
    return found[:n].copy(), sums[:_LINE].copy()


def with_pieces(record: Record, rows: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return `rows` and those from `start` to `stop` where another piece begins."""
    if not record.file.size:
        return rows
    a = max(start, 1)
    file = record.file[a - 1 : stop]
    return np.union1d(rows, np.flatnonzero(file[1:] != file[:-1]) + a)


def gather(record: Record, rows: np.ndarray, offset: int, rule: Rule) -> Intervals:
    """Return the record's data on the intervals that end at `rows`."""
    t, size = record.t, record.t.size
    v, i = record.v, record.i
    for column in (v, i):
        rows = rows[np.isfinite(column[rows]) & np.isfinite(column[rows - 1])]
    apart = np.zeros(rows.size, bool)
    if record.file.size:
        apart = record.file[rows] != record.file[rows - 1]
    after = np.minimum(rows + 1, size - 1)

    def at(column: np.ndarray, k: np.ndarray) -> np.ndarray:
        return column[k] if column.size else np.full(k.size, np.nan)

    def current(k: np.ndarray) -> np.ndarray:
        return np.where(np.abs(record.i[k]) < rule.i_zero, 0.0, record.i[k])

    return Intervals(
        rows + offset,
        t[rows] - t[rows - 1],
        np.where(after > rows, t[after] - t[rows], 0.0),
        _length(t, rows - 1),
        _length(t, rows - 2),
        current(rows - 1),
        current(rows),
        record.v[rows - 1],
        record.v[rows],
        at(record.step_time, rows),
        at(record.counter, rows - 1),
        at(record.counter, rows),
        apart,
        _course(record.counter, current, rows),
        record.clock[rows] if record.clock.size else np.zeros(rows.size, np.int64),
        np.zeros(rows.size, bool),
    )


def _length(t: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the time (s) from the row before to each row; 0 where there is none."""
    return np.where(rows > 0, t[np.maximum(rows, 1)] - t[np.maximum(rows, 1) - 1], 0.0)


def _signs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the sign of a product, which may itself be too large or too small."""
    return np.sign(a) * np.sign(b)


def _course(
    counter: np.ndarray, current: Callable[[np.ndarray], np.ndarray], rows: np.ndarray
) -> np.ndarray:
    """Return whether the counter rises (1) or falls (-1) beside each interval.

    It is looked at within the currents on both sides. One that falls decides.
    """
    if not counter.size:
        return np.zeros(rows.size)
    signs = []
    for k, other in (
        (rows, np.minimum(rows + 1, counter.size - 1)),
        (np.maximum(rows - 2, 0), rows - 1),
    ):
        flows = _signs(current(k), current(other)) > 0
        moved = np.abs(counter[other]) - np.abs(counter[k])
        signs.append(np.where(flows, np.sign(moved), 0.0))
    lowest = np.minimum(*signs)
    return np.where(lowest < 0, -1.0, np.maximum(*signs))


def _counted(x: Intervals) -> tuple[np.ndarray, np.ndarray]:
    """Return the charge that the counter added (NaN if unknown), and its restarts."""
    one, before = np.maximum(np.abs(x.i), np.abs(x.i_before)), x.reading_before
    most = one * x.d / 3600
    limit = _JUMP * most + 1e-12
    added = x.reading - before
    away = (_signs(added, x.reading) > 0) & (_signs(before, x.reading) >= 0)
    back = (_signs(added, x.i) > 0) & (2 * x.reading * np.sign(before) > np.abs(before))
    on = (away | back) & (_signs(x.i, x.i_before) > 0) & (np.abs(added) <= one)
    restart = (np.abs(added) > limit) & ~(on & (np.abs(x.reading) > limit))
    restart |= _fell(x, added, most)
    restart |= _as_others(x, restart, most)
    fresh = np.where(np.abs(x.reading) <= limit, x.reading, np.nan)
    added = np.where(restart, fresh, added)
    return added, restart


def _fell(x: Intervals, added: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Tell where a counter fell to what it may have counted anew, and no flow fits.

    A counter of net charge falls in a discharge, one of magnitudes never does.
    """
    before, reading = np.abs(x.reading_before), np.abs(x.reading)
    possible = (1 + _STEEP) * most
    lower = (reading < before) & (_signs(x.reading, x.reading_before) >= 0)
    lower &= reading <= possible
    rises, falls = x.course == 1, x.course == -1
    line = np.abs(x.i + x.i_before) * x.d / 7200
    nearer = np.abs(reading - line) < np.abs(np.abs(added) - line)
    nearer |= rises & (x.d > _PAUSE * x.following)
    nearer &= ~(falls & (np.abs(added) <= possible))  # it fell on, as in a pause
    still = (x.i == 0) & (reading == 0) & ~falls
    odd = (np.abs(added) > possible) | (rises & ~falls) | still
    return lower & np.where(_signs(x.i, x.i_before) > 0, nearer, odd)


def _as_others(x: Intervals, restart: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Tell where a counter began anew if it did at all other switches of the kind."""
    flows = np.where(x.i_before != 0, np.sign(x.i_before), 0.0)
    last = np.maximum.accumulate(np.where(flows != 0, np.arange(flows.size), -1))
    last = np.where(last >= 0, flows[last], 0.0)
    begins = (x.i != 0) & (_signs(x.i, x.i_before) <= 0)
    before, reading = np.abs(x.reading_before), np.abs(x.reading)
    possible = (1 + _STEEP) * most
    counts_on = (before > possible) & (reading > possible)
    open_ = (reading <= possible) & (before > 0) & (x.d > 0)
    found = np.zeros(restart.shape, bool)
    for kind in (begins & (x.i * last < 0), begins & (x.i * last > 0)):
        if (restart & kind).any() and not (counts_on & kind).any():
            found |= kind & open_
    return found


def _new_current(x: Intervals, added: np.ndarray, restart: np.ndarray) -> np.ndarray:
    """Return how long (s) the new current had flowed; NaN if unknown."""
    charge = np.abs(added) * 3600.0
    reverses = (x.i != 0) & (x.i_before != 0)
    on, off = np.abs(x.i), np.abs(x.i_before)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_counter = np.where(x.i_before == 0, charge / on, x.d - charge / off)
        both = (added * 3600.0 - x.i_before * x.d) / (x.i - x.i_before)
        by_counter = np.where(
            reverses, np.where(restart, charge / on, both), by_counter
        )
    # A restarted counter holds nothing of the step before.
    by_counter = np.where(restart & (x.i == 0), x.d, by_counter)
    by_step = np.where((x.step_time >= 0) & (x.step_time <= x.d), x.step_time, np.nan)
    # A counter of magnitudes grows by both flows: it agrees with the time in the step.
    both = on * by_step + off * (x.d - by_step)
    grown = reverses & ~restart & (np.abs(both - charge) <= _STEADY * both)
    told = np.where(np.isfinite(by_counter) & ~grown, by_counter, by_step)
    return np.clip(told, 0.0, x.d)


def _carried_on(x: Intervals, added: np.ndarray) -> np.ndarray:
    """Tell where the counter grew by a charge that the current could have passed."""
    grew = (_signs(added, x.i) > 0) | (np.abs(x.reading) > np.abs(x.reading_before))
    most = np.maximum(np.abs(x.i), np.abs(x.i_before)) * x.d / 3600.0
    return grew & (np.abs(added) <= (1 + _STEEP) * most)


def _begun(x: Intervals, added: np.ndarray, restart: np.ndarray) -> np.ndarray:
    """Return the charge between two pieces, by counter or step time; NaN if unknown.

    It flowed after the first row of a piece was due, in a step that had begun.
    """
    by_step = np.where((x.step_time > 0) & (x.step_time <= x.d), x.step_time, np.nan)
    by_step = np.abs(x.i) * by_step / 3600
    one = np.maximum(np.abs(x.i), np.abs(x.i_before) * (_signs(x.i, x.i_before) > 0))
    most = (1 + _STEEP) * one * x.d / 3600
    grew = (
        restart
        | (_signs(added, x.i) > 0)
        | (np.abs(x.reading) > np.abs(x.reading_before))
    )
    counted = np.where(grew & (np.abs(added) <= most), np.abs(added), np.nan)
    return np.where(np.isnan(added), by_step, counted)


def _lost(x: Intervals, added: np.ndarray) -> np.ndarray:
    """Return how long (s) current flowed in addition to the clock's time."""
    most = np.maximum(np.abs(x.i), np.abs(x.i_before))
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.abs(added) * 3600.0 / most
    return np.where(needed > _LONGER * x.d, needed - x.d, 0.0)


def fallen(
    x: Intervals, charged: Sequence[np.ndarray], discharged: Sequence[np.ndarray]
) -> Intervals:
    """Return the intervals with where a counter of one direction began anew.

    What it had counted since the row before is lost, if it was of the flow before.
    """
    anew = np.zeros(x.row.size, bool)
    for rows, sign in ((charged, 1), (discharged, -1)):
        if len(rows):
            anew |= np.isin(x.row, np.concatenate(rows)) & (sign * x.i_before > 0)
    return x._replace(anew=anew)


def _cut_short(x: Intervals, tails: np.ndarray) -> bool:
    """Tell whether the last row of a step is logged at its end.

    The interval before it is then another than those before.
    """
    known = tails & (x.preceding > 0) & (x.earlier > 0)
    other = np.abs(x.preceding - x.earlier) > _ODD_LENGTH * x.earlier
    return bool(known.any() and other[known].mean() > _MOSTLY)


def _missing_before(
    x: Intervals, s: np.ndarray, restart: np.ndarray, known_step: np.ndarray
) -> np.ndarray:
    """Return the charge (mA h) that may have flowed after the last row of a current.

    A counter that began anew does not tell it, nor a row that is not at the end.
    """
    same = _signs(x.i, x.i_before) > 0
    untold = restart | (np.isnan(x.reading) & ~same)
    tails = untold & ~known_step & (x.i_before != 0) & (x.d > 0) & ~x.apart
    if not tails.any():
        return np.zeros(x.row.size)
    # What begins anew at a current tells when; at a rest the row may be the last. A
    # current that falls was larger when it began.
    on = np.abs(x.i)
    largest = np.maximum(on, same * np.abs(x.i_before))
    charge = np.divide(s * on, largest, where=largest > 0, out=np.zeros(s.size))
    room = np.where(x.i == 0, np.minimum(x.d, x.preceding), x.d - charge)
    told = restart & (x.i != 0)
    if _cut_short(x, tails & ~told):
        tails &= told
    return np.where(tails, np.abs(x.i_before) * np.maximum(room, 0.0) / 3600, 0.0)


def summed(each: Sequence[np.ndarray]) -> np.ndarray:
    """Combine the sums of several pieces of a record, each from `find`."""
    nothing = np.append(np.zeros(_SUMS), np.inf)
    together = np.array([nothing, *each])
    return np.append(together[:, :_SUMS].sum(0), together[:, _SUMS].min())


def believed(x: Intervals, sums: np.ndarray, rows: int, rule: Rule) -> Intervals:
    """Return the intervals without readings of an unsound or coarse counter."""
    line, counted = sums[2:4] if sums[2] > _FEW * sums[0] else sums[:2]
    if not abs(counted - line) <= _SOUND * line:
        nothing = np.full(x.row.size, np.nan)
        x = x._replace(reading=nothing, reading_before=nothing)
    same = _signs(x.i, x.i_before) > 0
    if rows > _LONG and same.sum() > _COARSE * rows:
        return Intervals(*(column[~same] for column in x))
    change = np.abs(x.i - x.i_before)
    steady = same & (change <= _STEADY * np.maximum(np.abs(x.i), np.abs(x.i_before)))
    passed = np.abs(x.i + x.i_before) * x.d / 7200.0
    added = np.abs(_counted(x)[0])
    still = (added < _STILL * passed) & (x.d <= rule.max_gap)
    # One long interval in which it counted little is a pause under a going clock.
    still &= ~((x.d > _PAUSE * x.following) & ((added > 0) | (x.course != 0)))
    kept = ~(steady & still & (passed > _STEPS * sums[_SUMS]))
    return Intervals(*(column[kept] for column in x))


def resolve(x: Intervals, rule: Rule) -> Switches:
    """Return the charge in each interval; zero where time is lost."""
    added, restart = _counted(x)
    restart = restart | x.anew
    added = np.where(x.apart, _begun(x, added, restart), added)
    x = x._replace(i_before=np.where(x.apart, 0.0, x.i_before))
    known = (x.d >= 0) & (x.d <= rule.max_gap)
    same = _signs(x.i, x.i_before) > 0
    told = _new_current(x, added, restart)
    nothing = np.isnan(told)
    s = np.nan_to_num(told)
    fresh = restart & np.isfinite(added)
    # The step before ended where this one began, if its time is known.
    known_step = (x.step_time >= 0) & (x.step_time <= x.d)
    tail = np.where(known_step, x.d - np.nan_to_num(x.step_time), 0.0)
    # Far longer than its rows were apart, nobody knows whether it went on so long.
    pace = np.maximum(x.preceding, x.earlier)
    known_step &= ~((tail > _PAUSE * pace) & (pace > 0) & ~x.apart)
    untold = fresh | np.isnan(added)
    left = np.where(untold, np.where(known_step, tail, 0.0), x.d - s)
    # A counter that stood still while the current turned saw none of either flow.
    reverses = _signs(x.i, x.i_before) < 0
    most = np.maximum(np.abs(x.i), np.abs(x.i_before)) * x.d / 3600
    still = reverses & (np.abs(added) <= _SOUND * most) & ~restart & (pace > 0)
    still &= x.d > _PAUSE * np.maximum(pace, x.following)
    s, left = np.where(still, 0.0, s), np.where(nothing | still, 0.0, left)
    # It may have flowed for as long as the time to the next row; since the row before
    # if that is the second of one moment, as where a step ends and the next begins.
    twice = (x.preceding == 0) & (x.row > 1)
    missing = np.abs(x.i) * np.where(twice, x.d, np.minimum(x.d, x.following)) / 3600
    missing = np.where(np.abs(x.i) >= _CLEAR * rule.i_zero, missing, 0.0)
    before, after = x.i_before * left / 3600, x.i * s / 3600
    line = 0.5 * (x.i + x.i_before) * x.d / 3600
    # No line is drawn over a gap: what was counted there is all that is known of it.
    gap = same & (x.d > rule.max_gap) | x.apart
    line, known = np.where(gap, 0.0, line), known | (gap & _carried_on(x, added))
    same = same | x.apart
    ended = np.where(fresh & same & known, before, 0.0)
    differs = np.nan_to_num(np.sign(x.i) * np.abs(added) + ended - line)
    after = np.where(same, differs, after)
    before = np.where(same, 0.0, before)
    flows = known & (x.d > 0)
    switched = flows & ~same
    # Others are already counted where there is a line.
    counted = np.where((x.d >= 0) & (gap | ~(same & known)), np.abs(added), 0.0)
    counted = np.nan_to_num(counted)
    ns = np.round(np.clip(x.d, -_AGES, _AGES) * 1e9).astype(np.int64)
    return Switches(
        x.row,
        np.where(flows, before, 0.0),
        np.where(flows, after, 0.0),
        np.where(switched & (x.i_before != 0), left, 0.0),
        np.where(switched & (x.i != 0), s, 0.0),
        x.v_before,
        np.where(same, 0.5 * (x.v + x.v_before), x.v),
        np.where(
            reverses, before, np.where(x.i == 0, np.sign(x.i_before), 0) * counted
        ),
        np.where(reverses, after, np.sign(x.i) * counted),
        np.where(known, _missing_before(x, s, restart, known_step), 0.0),
        np.where(switched & nothing, missing, 0.0),
        np.where(flows, _lost(x, added), 0.0),
        x.clock - ns,
        x.clock - np.where(same, ns, np.round(s * 1e9).astype(np.int64)),
        x.clock,
    )


def none() -> Switches:
    """Return no switches."""
    return Switches(*(np.zeros(0, kind) for kind in _KINDS))


_KINDS = ("i8", *["f8"] * 11, "i8", "i8", "i8")


def owners(first: np.ndarray, last: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return which stretch from `first` to `last` holds each row; -1: none."""
    place = np.searchsorted(first, row, side="right") - 1
    inside = (place >= 0) & (row <= last[np.maximum(place, 0)]) if last.size else False
    return np.where(inside, place, -1)
