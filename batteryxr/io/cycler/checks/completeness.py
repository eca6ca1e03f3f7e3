"""Check whether every row and reading that the cycler wrote is in a table once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.kernels.ranks import median, quantile
from batteryxr.io.cycler.table import filled

if TYPE_CHECKING:
    from batteryxr.io.cycler.table import RawTable

_COPIES, _FEW_ROWS = 1000, 3  # most copies that are sought, and fewest rows of one
_COUNTED = 0.8  # of the rows are one number apart, in a column that numbers them
_FEW = 20  # fewest intervals that show how often a cycler records
#: Most intervals are shorter than a share of them; this part of all, to a fraction of
#: one, shows that the cycler records at least so often.
_LONG, _OFTEN, _SAME = 0.95, 0.2, 0.05
_COARSE = 0.1  # of rows that have the time of the row before: the clock is coarse
#: s to which times may be rounded: decimals of hours, minutes and seconds.
_TICKS = (36.0, 6.0, 3.6, 1.0, 0.6, 0.36, 0.1, 0.06, 0.036, 0.01)
_EXACT = 1e-4  # of a tick; times are multiples of it
_MANY = 5  # gaps of one length that may be the pace of the cycler
_GAP, _USUAL = 1.5, 1.1  # longest intervals that is none, and of its neighbours
#: Times as long as any of so many intervals before and after, in time and in voltage.
_APART, _NEARBY = 3.0, 5
_DIGITS = 10.0  # of the last digit of the voltage, for steps of voltage that are alike
_FINE = 1e-6  # V; no cycler tells voltages apart that are nearer
_REST = 1e-3  # of the largest current; smaller ones have no direction
_STEADY = 0.01  # relative change of current over a gap, up to which a line bridges it


def copied(table: RawTable) -> np.ndarray:
    """Return which rows copy earlier ones, as in a table that is there twice."""
    found = np.zeros(table.rows, bool)
    times = table.columns["test_time"]
    compared = [
        np.asarray(table.columns[name], float)
        for name in ("test_time", "voltage", "current")
        if name in table.columns
    ]
    for back in (np.flatnonzero(np.diff(times) < 0) + 1)[:_COPIES]:
        before = np.flatnonzero(times[:back] == times[back])
        if found[back] or not before.size:
            continue
        start = int(before[0])
        n = min(back - start, table.rows - back)
        one, other = slice(start, start + n), slice(back, back + n)
        if n >= _FEW_ROWS and all(
            np.array_equal(c[one], c[other], equal_nan=True) for c in compared
        ):
            found[other] = True
    return found


def repeated_rows(table: RawTable) -> str | None:
    """Return a note if a part of the table is there twice."""
    rows = copied(table)
    if not rows.any():
        return None
    return (
        f"{int(rows.sum())} rows, from row {int(np.argmax(rows))} on, are those "
        "before once more: the table was pasted or exported twice"
    )


def doubled(table: RawTable) -> np.ndarray:
    """Return which rows are the row before once more, by number or in every column.

    Cyclers write some last rows of steps twice: those are none, unless they have one
    number.
    """
    found = np.zeros(table.rows, bool)
    if (counts := _counts(table)) is not None:
        found[1:] = np.diff(counts) == 0
        return found
    same = np.ones(max(table.rows - 1, 0), bool)
    if table.stamps is not None:
        same &= np.diff(table.stamps) == 0
    for values in table.columns.values():
        if not same.any():
            return found
        one, other = np.asarray(values[:-1], float), np.asarray(values[1:], float)
        same &= (one == other) | (np.isnan(one) & np.isnan(other))
    ends = np.append((turns(table) | switches(table))[1:], True)
    found[1:] = same & ~ends
    coarse = _coarse(table.columns["test_time"], same & ~ends, ~same & ~ends)
    return np.zeros(table.rows, bool) if coarse else found


def _coarse(times: np.ndarray, alike: np.ndarray, unlike: np.ndarray) -> bool:
    """Tell whether the clock is too coarse to tell rows apart: none is there twice.

    Rows of one time differ, or many do not and the clock goes on tick by tick.
    """
    steps, found = np.diff(times), int(alike.sum())
    if np.count_nonzero((steps == 0) & unlike) > _COARSE * found:
        return True
    pace = float(median(steps[steps > 0])) if (steps > 0).any() else np.inf
    return found > _COARSE * times.size and _tick(times) >= pace


def doubled_rows(table: RawTable) -> str | None:
    """Return a note if single rows are there twice."""
    rows = doubled(table)
    if not rows.any():
        return None
    return (
        f"{int(rows.sum())} rows are the row before once more, the first of them row "
        f"{int(np.argmax(rows))}: the file was joined or edited"
    )


def missing_rows(table: RawTable) -> str | None:
    """Return a note if rows are missing between others.

    The cycler's own numbers of the rows tell, or else intervals that are longer than
    those at which a step is recorded, in time or voltage.
    """
    if "missing_rows" in table.notes:
        return None
    lost, words = np.zeros(0), ""
    if (counts := _counts(table)) is not None:
        steps = np.diff(counts)
        lost = np.where(steps > 0, np.rint(steps / median(steps)) - 1, 0)
        words = "by the numbers that the file gives its rows"
    if not lost.any():
        lost = _lost(table)
        words = "where the file records more often before and after"
    if counts is not None and lost.any() and not (np.diff(counts) > 1).any():
        words += ", although it numbers its rows anew"
    if not lost.any():
        return None
    return (
        f"{int(lost.sum())} rows seem to be missing {words}, the first of them after "
        f"row {int(np.argmax(lost > 0))}: what happened there is unknown. If impedance "
        "was measured there and lies in a file of its own, nothing is missing"
    )


def without(table: RawTable, rows: np.ndarray) -> RawTable:
    """Leave out some rows."""
    return table.chosen(np.flatnonzero(~rows))


def _counts(table: RawTable) -> np.ndarray | None:
    """Return the cycler's own numbers of the rows, if they number most of them."""
    counts = table.numbers
    if counts is None or table.rows < _FEW or not np.isfinite(counts).all():
        return None
    steps = np.diff(counts)
    usual = median(steps)
    numbered = usual > 0 and np.mean(steps == usual) > _COUNTED
    return counts if numbered else None


def turns(table: RawTable) -> np.ndarray:
    """Return between which rows the cycler may have begun another step."""
    columns = table.columns
    current = filled(columns["current"])
    least = _REST * np.max(np.abs(current), initial=0.0)
    signs = np.sign(np.where(np.abs(current) <= least, 0.0, current))
    turned = (np.diff(signs) != 0) | (np.diff(columns["test_time"]) < 0)
    return np.asarray(turned | _renumbered(table))


def _renumbered(table: RawTable) -> np.ndarray:
    """Return between which rows the cycler's number or word of the step changes."""
    turned = np.zeros(max(table.rows - 1, 0), bool)
    for name in ("cycle", "step", "step_index"):
        if name in table.columns:
            turned |= np.diff(table.columns[name]) != 0
    if table.states is not None:
        turned |= np.diff(table.states) != 0
    return turned


def switches(table: RawTable) -> np.ndarray:
    """Return between which rows the current changes far more than it usually does."""
    current = filled(table.columns["current"])
    change = np.abs(np.diff(current))
    least = _REST * np.max(np.abs(current), initial=0.0)
    usual = quantile(change, _LONG) if change.size else 0.0
    return np.asarray(change > max(least, 3 * usual))


def _tick(times: np.ndarray) -> float:
    """Return the step (s) to which all times are rounded; 0 if it is fine."""
    passed = times - times[0]

    def is_one(tick: float, values: np.ndarray) -> bool:
        parts = values / tick
        return bool((np.abs(parts - np.rint(parts)) < _EXACT).all())

    ticks = (tick for tick in _TICKS if is_one(tick, passed[:_FEW]))
    return next((tick for tick in ticks if is_one(tick, passed)), 0.0)


def _lost(table: RawTable) -> np.ndarray:
    """Return how many rows are missing between each row and the next.

    A step may begin and end at a pace of its own, and its voltage jumps there.
    """
    time, voltage = (np.diff(table.columns[name]) for name in ("test_time", "voltage"))
    lost = np.zeros(time.size)
    if time.size < _FEW:
        return lost
    turned, tick = turns(table), _tick(table.columns["test_time"])
    near, jumps = (
        np.convolve(there, np.ones(5), "same") > 0
        for there in (turned, turned | switches(table))
    )
    for steps, more, inside in (
        (time, tick, ~near | turned),
        (np.abs(voltage), 0.0, ~jumps),
    ):
        longest = _longest(steps, turned, 0.0)
        ratios = steps / longest
        if steps is time:
            lost = _after_first(table, time, longest, tick)
        if not ((ratios > _GAP) & inside).any():
            continue
        if steps is not time:
            apart = np.diff(np.unique(steps))
            digit = np.min(apart[apart > _FINE], initial=np.inf)
            longest = _longest(steps, turned, _DIGITS * digit)
            ratios = steps / longest
        usual = np.concatenate([[True], ~(ratios > _USUAL), [True]])
        gaps = (ratios > _GAP) & usual[:-2] & usual[2:] & inside
        gaps &= steps - longest > (1 + _EXACT) * more  # rounding may add one tick
        gaps[[0, 1, -2, -1]] = False
        gaps &= ~_paused(steps, gaps, turned & (ratios < 2 * _USUAL))
        lost = np.maximum(lost, np.where(gaps, np.rint(ratios) - 1, 0))
    if not lost.any():  # the pace varies, and so may the last rows of steps
        lost = _alone(time, np.abs(voltage), jumps)
    if table.left_out is not None:  # rows that are known to be elsewhere
        places = np.searchsorted(np.sort(table.left_out), table.columns["test_time"])
        lost[np.diff(places) != 0] = 0
    return lost


def _after_first(
    table: RawTable, time: np.ndarray, longest: np.ndarray, tick: float
) -> np.ndarray:
    """Return how many rows are missing after the first of a step, where it counts.

    No line bridges a current that changed. A cycler that begins each step so lost
    nothing.
    """
    current, numbered = filled(table.columns["current"]), _renumbered(table)
    change, size = np.abs(np.diff(current)), np.abs(current)
    begins = np.append(False, (numbered | (time == 0))[:-1]) & ~numbered
    begins &= change > _STEADY * np.maximum(size[1:], size[:-1])
    pace = np.append(longest[1:], np.nan)
    gaps = begins & (time > _GAP * pace) & (time - pace > (1 + _EXACT) * tick)
    gaps[:-1] &= time[1:] < _USUAL * pace[:-1]
    habit = gaps.sum() > max(1.0, 0.5 * (begins & np.isfinite(pace)).sum())
    return np.where(gaps & ~habit, np.rint(time / pace) - 1, 0)


def _alone(time: np.ndarray, voltage: np.ndarray, jumps: np.ndarray) -> np.ndarray:
    """Return how many rows are missing in intervals unlike all beside them.

    A cycler that records by time moves far in time or voltage where it waits for long,
    never in both: rows by either are there as often as before and after.
    """
    lost = np.zeros(time.size)
    more = time[1:-1] > _APART * np.maximum(time[:-2], time[2:])
    places = np.flatnonzero(more & ~jumps[1:-1]) + 1
    places = places[(places >= _NEARBY) & (places < time.size - _NEARBY)]
    around = np.arange(-_NEARBY, _NEARBY + 1)
    beside = places[:, None] + around[around != 0]
    found = ~jumps[beside].any(axis=1)
    for steps in (time, voltage):
        found &= steps[places] > _APART * steps[beside].max(axis=1)
    if found.sum() < _MANY:
        gaps, usual = places[found], np.median(time[beside[found]], axis=1)
        lost[gaps] = np.rint(time[gaps] / usual) - 1
    return lost


def _paused(steps: np.ndarray, gaps: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """Return the gaps that a cycler makes by turns, as between bursts of rows.

    They are alike, and longer than all that lies between them; or they are where one
    step ends and the next begins, each time, as when it writes no row at a switch.
    """
    ends = gaps & turned
    if ends.sum() < max(_FEW_ROWS, _LONG * turned.sum()):
        ends[:] = False
    usual = float(np.median(steps[gaps])) if gaps.sum() >= _MANY else np.inf
    alike = gaps & (np.abs(steps - usual) < _SAME * usual)
    most = alike.sum() >= _MANY and steps[alike].sum() > np.nansum(steps[~alike])
    return ends | (alike & most)


def _longest(steps: np.ndarray, turned: np.ndarray, least: float) -> np.ndarray:
    """Return the longest interval at which each step is recorded; NaN if it varies."""
    longest = np.full(steps.size, np.nan)
    edges = np.flatnonzero(turned)
    gaps = np.isnan(steps).any()
    for first, last in zip([0, *edges + 1], [*edges, steps.size], strict=True):
        inside = steps[first:last]
        known = inside[~np.isnan(inside)] if gaps else inside.copy()
        if inside.size < _FEW or not known.size:
            continue
        place = round(_LONG * (known.size - 1))
        known.partition(place)
        most = float(known[place])
        if most <= least:
            continue
        alike = np.count_nonzero(np.abs(inside - most) < _SAME * most)
        if alike / inside.size > _OFTEN:
            longest[first:last] = most
    between = edges[(edges > 0) & (edges < steps.size - 1)]
    longest[between] = np.maximum(longest[between - 1], longest[between + 1])
    return longest
