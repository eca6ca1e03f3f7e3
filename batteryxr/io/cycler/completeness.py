"""Check whether every row that the cycler wrote is in a table once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from batteryxr.io.cycler.table import RawTable

_COPIES, _FEW_ROWS = 1000, 3  # most copies that are sought, and fewest rows of one
_COUNTED = 0.8  # of the rows are one number apart, in a column that numbers them
_FEW = 20  # fewest intervals that show how often a cycler records
#: Most intervals are shorter than a share of them; this part of all, to a fraction of
#: one, shows that the cycler records at least so often.
_LONG, _OFTEN, _SAME = 0.95, 0.2, 0.05
_GAP, _USUAL = 1.5, 1.1  # longest intervals that is none, and of its neighbours
_DIGITS = 10.0  # of the last digit of the voltage, for steps of voltage that are alike
_FINE = 1e-6  # V; no cycler tells voltages apart that are nearer
_REST = 1e-3  # of the largest current; smaller ones have no direction


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
        one, other = np.asarray(values[:-1], float), np.asarray(values[1:], float)
        same &= (one == other) | (np.isnan(one) & np.isnan(other))
    ends = np.append(_turns(table)[1:], True)
    found[1:] = same & ~ends
    return found


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
    if (counts := _counts(table)) is not None:
        steps = np.diff(counts)
        lost = np.where(steps > 0, np.rint(steps / np.median(steps)) - 1, 0)
        words = "by the numbers that the file gives its rows"
    else:
        lost = _lost(table)
        words = "where the file records more often before and after"
    if not lost.any():
        return None
    return (
        f"{int(lost.sum())} rows seem to be missing {words}, the first of them after "
        f"row {int(np.argmax(lost > 0))}: what happened there is unknown"
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
    usual = np.median(steps)
    numbered = usual > 0 and np.mean(steps == usual) > _COUNTED
    return counts if numbered else None


def _turns(table: RawTable) -> np.ndarray:
    """Return between which rows the cycler may have begun another step."""
    columns = table.columns
    current = np.nan_to_num(columns["current"])
    least = _REST * np.max(np.abs(current), initial=0.0)
    signs = np.sign(np.where(np.abs(current) <= least, 0.0, current))
    turned = (np.diff(signs) != 0) | (np.diff(columns["test_time"]) < 0)
    for name in ("cycle", "step", "step_index"):
        if name in columns:
            turned |= np.diff(columns[name]) != 0
    if table.states is not None:
        turned |= np.diff(table.states) != 0
    return np.asarray(turned)


def _lost(table: RawTable) -> np.ndarray:
    """Return how many rows are missing between each row and the next.

    A step may begin and end at a pace of its own, and its voltage jumps there.
    """
    time, voltage = (np.diff(table.columns[name]) for name in ("test_time", "voltage"))
    lost = np.zeros(time.size)
    if time.size < _FEW:
        return lost
    turned = _turns(table)
    near = np.convolve(turned, np.ones(5), "same") > 0
    apart = np.diff(np.unique(np.abs(voltage)))
    digit = np.min(apart[apart > _FINE], initial=np.inf)
    for steps, least, inside in (
        (time, 0.0, ~near | turned),
        (np.abs(voltage), _DIGITS * digit, ~near),
    ):
        ratios = steps / _longest(steps, turned, least)
        usual = np.concatenate([[True], ~(ratios > _USUAL), [True]])
        gaps = (ratios > _GAP) & usual[:-2] & usual[2:] & inside
        gaps[[0, 1, -2, -1]] = False
        lost = np.maximum(lost, np.where(gaps, np.rint(ratios) - 1, 0))
    if table.left_out is not None:  # rows that are known to be elsewhere
        places = np.searchsorted(np.sort(table.left_out), table.columns["test_time"])
        lost[np.diff(places) != 0] = 0
    return lost


def _longest(steps: np.ndarray, turned: np.ndarray, least: float) -> np.ndarray:
    """Return the longest interval at which each step is recorded; NaN if it varies."""
    longest = np.full(steps.size, np.nan)
    edges = np.flatnonzero(turned)
    for first, last in zip([0, *edges + 1], [*edges, steps.size], strict=True):
        inside = steps[first:last]
        if inside.size < _FEW:
            continue
        most = float(np.nanquantile(inside, _LONG))
        alike = np.abs(inside - most) < _SAME * most
        if most > least and alike.mean() > _OFTEN:
            longest[first:last] = most
    between = edges[(edges > 0) & (edges < steps.size - 1)]
    longest[between] = np.maximum(longest[between - 1], longest[between + 1])
    return longest
