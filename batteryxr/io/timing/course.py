"""Compare a clock with test time: pauses, drift, and the time of each row."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from batteryxr.core.kernels.times import NAT

_RESOLUTIONS = (60.0, 1.0, 0.1, 0.01, 1e-3, 1e-6)
#: A clock further ahead of test time means that one of the two has stopped.
_LEAST = 1.0  # s
_DRIFT = 1e-3  # largest relative difference between sound clocks
_ROWS = 64  # fewest rows that give one offset
#: Intervals of rows; a longer one before test time begins anew is a pause.
_RESTART = 3.0
_MOST = 0.1  # with more pauses per row, the two clocks simply disagree


@dataclass(frozen=True)
class Course:
    """Hold the time of each row, with pauses and drift, from a file's clock readings.

    Parameters
    ----------
    ns
        (rows,) time of each row on the clock; `NAT` if unknown.
    rows, seconds
        Pauses: the row before which test time stood still, and how long it did.
    drift
        Excess rate of the clock over test time, ppm; NaN if unknown.
    resolution
        Resolution of the readings, s.
    notes
        Flag -> message.
    """

    ns: np.ndarray
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(0))
    drift: float = np.nan
    resolution: float = np.nan
    notes: dict[str, str] = field(default_factory=dict)


def resolution(stamps: np.ndarray, test_time: np.ndarray) -> float:
    """Return the step (s) of which all readings are multiples.

    Readings in whole minutes beside test times that are not were truncated to
    minutes. Readings that follow test time exactly get the finest resolution.
    """
    known = stamps != NAT
    whole, passed = stamps[known], test_time[known]
    for step in _RESOLUTIONS:
        if (whole % round(step * 1e9) == 0).all():
            phase = (passed - passed[:1]) / step
            if (np.abs(phase - np.rint(phase)) > 1e-6).any():
                return step
    return _RESOLUTIONS[-1]


def follow(test_time: np.ndarray, stamps: np.ndarray) -> Course:
    """Return the time of each row, read from the clock and refined by test time.

    Between pauses, clock and test time differ by an offset that drifts slowly. A
    reading is late by less than its resolution, so the readings right after a tick give
    the offset. No row is moved beyond the resolution of its own reading. Rows without
    a reading are placed by test time.

    Parameters
    ----------
    test_time
        (rows,) s.
    stamps
        (rows,) ns on one clock without jumps of summer time; `NAT` for no reading.
    """
    rows = np.flatnonzero(stamps != NAT)
    if not rows.size:
        return Course(stamps)
    step = resolution(stamps, test_time)
    base = int(stamps[rows[0]])
    t, s = test_time[rows], (stamps[rows] - base) * 1e-9
    offset = s - t
    cuts = _cuts(t, offset, step)
    notes = _missing(stamps, rows)
    if cuts.size > max(10.0, _MOST * rows.size):
        notes["clock_rate"] = (
            "test time and the rows' own clock do not advance together: `time` is the "
            "clock's, and pauses cannot be told"
        )
        return Course(stamps, resolution=step, notes=notes)
    knots = _knots(t, offset, cuts, step)
    placed = _placed(test_time, rows, cuts, knots)
    top = s + step * (1 - 1e-6) if step >= _LEAST else s
    placed[rows] = np.clip(placed[rows], s, top)
    if (np.diff(s) > -_LEAST).all() and (np.diff(test_time) >= 0).all():
        placed = np.maximum.accumulate(placed)
    # Limit the height of a jump by the readings on both sides.
    jumps = np.diff(offset)[cuts - 1]
    seconds = np.clip(_heights(cuts, knots), jumps - step, jumps + step)
    anew = np.diff(t)[cuts - 1] < 0
    seconds = np.where(anew, _before_restarts(t, s, cuts), seconds)
    paused = seconds >= _LEAST
    notes |= _said(rows[cuts[paused]], seconds[paused])
    ns = base + np.rint(placed * 1e9).astype(np.int64)
    # Seconds as a float lose digits of ns, so exact readings are kept as they were.
    same = rows[np.abs(ns[rows] - stamps[rows]) < 1000]
    ns[same] = stamps[same]
    drift = _drift(knots, t, step)
    return Course(ns, rows[cuts[paused]], seconds[paused], drift, step, notes)


def _before_restarts(t: np.ndarray, s: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Return how long (s) nothing was timed before test time began anew at each cut.

    0 if that is no longer than a few rows nearby are apart, or test time did not begin
    at 0.
    """
    steps = np.diff(t, prepend=np.nan, append=np.nan)
    before, after = steps[cuts - 1], steps[cuts + 1]
    usual = np.fmax(np.fmax(before, after), np.nanmedian(np.abs(steps)))
    stood = np.diff(s)[cuts - 1] - t[cuts] - np.nan_to_num(np.fmax(before, 0.0))
    fresh = (t[cuts] >= 0) & (t[cuts] < t[cuts - 1])
    return np.where(fresh & (stood > _RESTART * usual), stood, 0.0)


def _cuts(t: np.ndarray, offset: np.ndarray, step: float) -> np.ndarray:
    """Return the readings before which the offset jumped."""
    allowed = max(step, _LEAST) + _DRIFT * np.abs(np.diff(t))
    sure = np.flatnonzero(np.abs(np.diff(offset)) > allowed) + 1
    if step <= _LEAST or t.size > 100 * max(1, t.size - sure.size):
        return sure
    edges = [0, *sure.tolist(), t.size]
    finer = [
        a + cut
        for a, b in itertools.pairwise(edges)
        for cut in _hidden(t[a:b], offset[a:b], step)
    ]
    return np.array(sorted({*sure.tolist(), *finer}), dtype=np.int64)


def _hidden(t: np.ndarray, offset: np.ndarray, step: float) -> list[int]:
    """Return jumps that are smaller than the resolution of the readings.

    A stretch of rows allows offsets from the largest reading to the smallest plus one
    step. If this range is empty, the offset has jumped.
    """
    cuts: list[int] = []
    begin = 0
    while begin < t.size - 1:
        end = _first_impossible(t[begin:], offset[begin:], step)
        if end is None:
            return cuts
        stop = begin + end + 1
        back = _first_impossible(-t[begin:stop][::-1], offset[begin:stop][::-1], step)
        low = stop - (back if back is not None else end)
        later = offset[stop - 1] - step > offset[begin : stop - 1].min()
        window = np.diff(offset[low - 1 : stop]) * (1 if later else -1)
        cut = low + int(np.argmax(window))
        cuts.append(cut)
        begin = cut
    return cuts


def _first_impossible(t: np.ndarray, offset: np.ndarray, step: float) -> int | None:
    """Return the first row at which no single offset fits all rows since the start."""
    reach = 4096
    while True:
        span = slice(0, min(reach, t.size))
        drift = 0.05 + _DRIFT / 10 * np.abs(t[span] - t[0])
        low = np.maximum.accumulate(offset[span])
        high = np.minimum.accumulate(offset[span]) + step
        wrong = low - high > drift
        if wrong.any():
            return int(np.argmax(wrong))
        if reach >= t.size:
            return None
        reach *= 4


@dataclass(frozen=True)
class _Knots:
    """Hold points of known offset: test time, offset, number of the stretch."""

    t: np.ndarray
    offset: np.ndarray
    stretch: np.ndarray


def _knots(t: np.ndarray, offset: np.ndarray, cuts: np.ndarray, step: float) -> _Knots:
    """Return the largest offset of every few rows: the reading soonest after a tick."""
    stretch = np.zeros(t.size, np.int64)
    stretch[cuts] = 1
    stretch = np.cumsum(stretch)
    begins = np.concatenate([[0], cuts])
    inside = np.arange(t.size) - begins[stretch]
    size = np.diff(np.append(begins, t.size))[stretch]
    # Rows are divided evenly, since a last block of few rows would be inaccurate.
    blocks = np.maximum(size // _block(t, step), 1)
    block = np.minimum(inside * blocks // size, blocks - 1)
    key = np.concatenate([[True], (np.diff(block) != 0) | (np.diff(stretch) != 0)])
    starts = np.flatnonzero(key)
    most = np.maximum.reduceat(offset, starts)
    which = np.repeat(most, np.diff(np.append(starts, t.size))) == offset
    first = np.where(which, np.arange(t.size), t.size)
    at = np.minimum.reduceat(first, starts)
    return _Knots(t[at], most, stretch[at])


def _block(t: np.ndarray, step: float) -> int:
    usual = float(np.median(np.abs(np.diff(t)))) if t.size > 1 else 0.0
    return int(np.clip(4 * step / usual if usual > 0 else _ROWS, _ROWS, 100_000))


def _placed(
    test_time: np.ndarray, rows: np.ndarray, cuts: np.ndarray, knots: _Knots
) -> np.ndarray:
    """Return seconds on the clock for every row, from the offsets at the knots."""
    placed = np.empty(test_time.size)
    edges = [0, *rows[cuts].tolist(), test_time.size]
    firsts = np.searchsorted(knots.stretch, np.arange(len(edges)))
    for k, (a, b) in enumerate(itertools.pairwise(edges)):
        own = slice(firsts[k], firsts[k + 1])
        x, y, at = knots.t[own], knots.offset[own], test_time[a:b]
        if x.size > 1 and (np.diff(x) <= 0).any():
            order = np.argsort(x, kind="stable")
            x, y = x[order], y[order]
        placed[a:b] = at + np.interp(at, x, y)
    return placed


def _heights(cuts: np.ndarray, knots: _Knots) -> np.ndarray:
    """Return the rise of the offset at each cut."""
    if not cuts.size:
        return np.zeros(0)
    first = np.searchsorted(knots.stretch, np.arange(1, cuts.size + 1))
    return knots.offset[first] - knots.offset[first - 1]


def _drift(knots: _Knots, t: np.ndarray, step: float) -> float:
    """Return the slope of the offset within stretches, in ppm."""
    count = np.bincount(knots.stretch)
    x = knots.t - (np.bincount(knots.stretch, knots.t) / count)[knots.stretch]
    y = knots.offset - (np.bincount(knots.stretch, knots.offset) / count)[knots.stretch]
    spread = float((x * x).sum())
    if knots.t.size < 3 or not spread * 1e-8 > step**2:
        return float("nan")
    return float((x * y).sum() / spread * 1e6)


def _missing(stamps: np.ndarray, rows: np.ndarray) -> dict[str, str]:
    lost = stamps.size - rows.size
    if not lost:
        return {}
    return {
        "missing_stamps": f"{lost} of {stamps.size} rows have no clock reading: their "
        "`time` is placed by test time, and a pause among them lies at their end"
    }


def _said(rows: np.ndarray, seconds: np.ndarray) -> dict[str, str]:
    if not rows.size:
        return {}
    shown = ", ".join(
        f"{s:,.0f} s before row {r}" for r, s in zip(rows[:3], seconds[:3], strict=True)
    )
    more = f" and {rows.size - 3} more" if rows.size > 3 else ""
    return {
        "pauses": f"test time stood still while the clock went on: {shown}{more}; "
        "`time` follows the clock"
    }
