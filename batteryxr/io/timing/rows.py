"""Find the time of every row of a table, for all readers.

Local readings become UTC for a whole file at once, across changes of summer time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.core.kernels.times import NAT
from batteryxr.io import clock
from batteryxr.io.timing.cells import Style, stamps_of
from batteryxr.io.timing.course import Course, follow, resolution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.io.cycler.table import RawTable

_EPOCH = datetime(1970, 1, 1)
_STANDS = 120.0  # s within which a clock of minutes must advance
_LONGEST = 1e9  # s; the check of times refuses longer test times
_QUARTER = 900 * 10**9  # zones change their offsets at quarters of hours
#: Agreement of test time and clock: seconds, and fraction of an interval.
_CLOSE, _DRIFT = 2.0, 1e-3
_HALF_HOUR = 1800.0  # s: least shift of summer time


def stamped(
    table: RawTable,
    cells: Sequence[Any] | np.ndarray | None,
    style: Style,
    noted: datetime | None = None,
) -> RawTable:
    """Return a table with the clock reading of every row, and its start.

    Parameters
    ----------
    table
        Table as read; a missing ``test_time`` is computed from the readings.
    cells
        The column of clock readings: text, datetimes or numbers; None if there is
        none.
    style
        How dates are written.
    noted
        Start of the test in the file's header, at ``test_time`` 0.

    Raises
    ------
    ArgumentError
        If the order of day and month is ambiguous.
    """
    times = table.columns.get("test_time")
    if times is not None and not (np.abs(times) < _LONGEST).all():
        return table  # the check of times reports the row
    stamps = None
    if cells is not None and len(cells):
        stamps = stamps_of(cells, style, times)
        if stamps is None:
            sentence = (
                f"{str(cells[0])[:40]!r} is no clock reading that can be read: the "
                "rows are placed by the start of the test"
            )
            table = replace(table, notes={**table.notes, "unread_clock": sentence})
        elif stamps.note:
            flag, sentence = stamps.note
            table = replace(table, notes={**table.notes, flag: sentence})
    if stamps is None or not stamps.known.any():
        return _noted(table, noted)
    if times is None:
        first = stamps.ns[stamps.known][0]
        times = np.where(stamps.known, (stamps.ns - first) * 1e-9, np.nan)
        columns = {**table.columns, "test_time": times}
        table = replace(table, columns=columns, timed_by_clock=True)
    if stamps.utc:
        unix = np.where(stamps.known, stamps.ns * 1e-9, np.nan)
        return replace(table, unix_time=unix)
    start = noted if noted is not None and noted.tzinfo is None else None
    return with_start(replace(table, local_time=stamps.ns, start_local=start))


def with_start(table: RawTable) -> RawTable:
    """Return a table with the start of its test time, taken from its rows if needed."""
    if table.start_local is not None or table.local_time is None:
        return table
    if not (table.local_time != NAT).any():
        return table
    row = int(np.argmax(table.local_time != NAT))
    begun = float(table.columns["test_time"][row])
    start = _EPOCH + timedelta(microseconds=int(table.local_time[row]) // 1000)
    return replace(table, start_local=start - timedelta(seconds=begun))


def _noted(table: RawTable, noted: datetime | None) -> RawTable:
    if noted is None or "test_time" not in table.columns:
        return table
    if noted.tzinfo is None:
        return replace(table, start_local=noted)
    return replace(table, unix_time=noted.timestamp() + table.columns["test_time"])


def zoned(table: RawTable, where: tzinfo | None) -> RawTable:
    """Return a table whose local clock readings are also in UTC, by the zone `where`.

    Raises
    ------
    ArgumentError
        If a reading does not exist in that zone, or is ambiguous between two hours.
    """
    local = table.local_time
    if where is None or local is None or table.unix_time is not None:
        return table
    times = table.columns["test_time"]
    if table.timed_by_clock:
        utc, said = _to_utc(local, None, where, 1.0)
    else:
        utc, said = _to_utc(local, times, where, resolution(local, times))
    unix = np.where(utc != NAT, utc * 1e-9, np.nan)
    if table.timed_by_clock:
        columns = {**table.columns, "test_time": unix - unix[0]}
        table = replace(table, columns=columns)
    return replace(table, unix_time=unix, notes={**table.notes, **said})


@dataclass(frozen=True)
class Clocked:
    """Hold the time of every row of one file, and its source.

    Parameters
    ----------
    local, utc
        (rows,) ns since 1970 on the cycler's own clock, and in UTC; None if unknown.
    course
        Pauses, drift and resolution from the readings of the rows.
    source
        Source of the times: "stamps" of the rows, the "start" of the test and
        test time, or "" if nothing is known.
    """

    local: np.ndarray | None
    utc: np.ndarray | None
    course: Course
    source: str

    @property
    def about(self) -> dict[str, Any]:
        """Return a summary for the record, as JSON values."""
        course = self.course
        known = self.source == "stamps"
        finite = bool(np.isfinite(course.drift))
        return {
            "time_from": self.source,
            "resolution_s": float(course.resolution) if known else None,
            "drift_ppm": round(course.drift, 2) if finite else None,
            # Without a clock in the rows, nobody knows of pauses.
            "pauses": [
                [int(row), round(float(seconds), 3)]
                for row, seconds in zip(course.rows, course.seconds, strict=True)
            ]
            if known
            else None,
        }


def clocked(table: RawTable, where: tzinfo | None) -> Clocked:
    """Return the clock of every row of a table, after `zoned`.

    Parameters
    ----------
    table
        Table after its checks.
    where
        Zone of the cycler's clock.
    """
    times = table.columns["test_time"]
    stamps = table.stamps
    if stamps is not None and (stamps != NAT).any():
        if (still := _standing(times, stamps)) is not None:
            ns, course = still
            local = table.unix_time is None
            return Clocked(
                ns if local else None, None if local else ns, course, "start"
            )
        course = follow(times, stamps)
        if table.unix_time is None:
            return Clocked(course.ns, None, course, "stamps")
        return Clocked(table.local_time, course.ns, course, "stamps")
    nothing = Course(np.full(times.size, NAT))
    start = table.start_local
    if start is None:
        return Clocked(None, None, nothing, "")
    elapsed = np.round(times * 1e9).astype(np.int64)
    utc = None
    if where is not None:
        utc = clock.utc_nanoseconds(start, where) + elapsed
    return Clocked(clock.nanoseconds(start - _EPOCH) + elapsed, utc, nothing, "start")


def _standing(
    times: np.ndarray, stamps: np.ndarray
) -> tuple[np.ndarray, Course] | None:
    """Return row times from the one reading that all rows repeat, or None."""
    known = np.flatnonzero(stamps != NAT)
    moved = float(np.ptp(times[known]))
    if np.ptp(stamps[known]) > 0 or moved < _STANDS:
        return None
    first = int(known[0])
    elapsed = np.round((times - times[first]) * 1e9).astype(np.int64)
    sentence = (
        f"all rows carry one clock reading while test time goes on for {moved:,.0f} s: "
        "it is taken for the first row's, and pauses cannot be seen"
    )
    nothing = Course(np.full(times.size, NAT), notes={"standing_clock": sentence})
    return stamps[first] + elapsed, nothing


class _Offsets(NamedTuple):
    """Hold two possible offsets (ns) of each reading, and whether it exists."""

    first: np.ndarray
    second: np.ndarray
    exists: np.ndarray


def _to_utc(
    local: np.ndarray,
    test_time: np.ndarray | None,
    where: tzinfo,
    resolution: float,
) -> tuple[np.ndarray, dict[str, str]]:
    """Return UTC of local readings, in ns, and notes; `NAT` stays.

    When the clocks are put back, some readings occur twice. They are distinguished by
    the step back, or else by the test time between them and the rows around them. A
    clock that ignores the changes keeps the offset of its first reading, and a note
    says so.

    Parameters
    ----------
    local
        (rows,) ns since 1970 on the local clock, in the order of the file.
    test_time
        (rows,) s; None if there is no test time apart from the readings.
    where
        Zone of the local clock.
    resolution
        Resolution of the readings, s.

    Raises
    ------
    ArgumentError
        If a reading does not exist in the zone, or is ambiguous between two hours.
    """
    utc = np.full(local.size, NAT)
    rows = np.flatnonzero(local != NAT)
    if not rows.size:
        return utc, {}
    here = local[rows]
    passed = _steady(here) if test_time is None else test_time[rows]
    offsets = _offsets(here, where)
    close = _CLOSE + resolution
    on = _runs_on(here, passed, offsets, close)
    if test_time is not None and on.size:
        utc[rows] = clock.utc_nanoseconds(_moment(here[0]), where) + here - here[0]
        return utc, {"summer_time": _said(here, int(on[0]), where)}
    if not offsets.exists.all():
        clock.utc_nanoseconds(_moment(here[int(np.argmin(offsets.exists))]), where)
    chosen = offsets.first.copy()
    for a, b in _runs(offsets.first != offsets.second):
        chosen[a:b] = _told_apart(here, passed, offsets, (a, b), close, where)
    utc[rows] = here - chosen
    return utc, {}


def _runs_on(
    local: np.ndarray, passed: np.ndarray, offsets: _Offsets, close: float
) -> np.ndarray:
    """Return the rows at which a clock ignores summer time; empty if it follows any."""
    met = np.zeros(max(local.size - 1, 0), bool)
    for column in offsets:
        met |= column[1:] != column[:-1]
    between = np.diff(passed)
    late = np.diff(local) * 1e-9 - between
    twice = offsets.first != offsets.second
    twice = twice[1:] | twice[:-1]
    smooth = np.abs(late) <= close + _DRIFT * np.abs(between)
    if smooth[met].all() and not (late[twice] < 1 - _HALF_HOUR).any():
        return np.flatnonzero(met)
    return np.zeros(0, np.int64)


def _said(local: np.ndarray, row: int, where: tzinfo) -> str:
    first = _moment(local[0]).replace(tzinfo=where)
    return (
        f"the clock runs on from {_moment(local[row])} to {_moment(local[row + 1])}, "
        f"where {where} begins or ends summer time: all rows keep the offset of the "
        f"first, {first:%z}. If the computer's clock had another, pass that as timezone"
    )


def _steady(local: np.ndarray) -> np.ndarray:
    """Return seconds elapsed between readings, with a usual step where they go back."""
    steps = np.diff(local) * 1e-9
    forward = steps[steps > 0]
    usual = float(np.median(forward)) if forward.size else 0.0
    return np.concatenate([[0.0], np.cumsum(np.where(steps < 0, usual, steps))])


def _offsets(local: np.ndarray, where: tzinfo) -> _Offsets:
    quarters, place = np.unique(local // _QUARTER, return_inverse=True)
    table = np.zeros((quarters.size, 3), np.int64)
    for k, quarter in enumerate(quarters):
        moment = _EPOCH + timedelta(microseconds=int(quarter) * (_QUARTER // 1000))
        moments = [moment.replace(tzinfo=where, fold=fold) for fold in (0, 1)]
        for fold, one in enumerate(moments):
            table[k, fold] = clock.nanoseconds(one.utcoffset() or timedelta())
        back = moments[0].astimezone(UTC).astimezone(where).replace(tzinfo=None, fold=0)
        table[k, 2] = back == moment
    first, second, exists = table[place].T
    return _Offsets(first, second, exists.astype(bool))


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _told_apart(
    local: np.ndarray,
    passed: np.ndarray,
    offsets: _Offsets,
    rows: tuple[int, int],
    close: float,
    where: tzinfo,
) -> np.ndarray:
    """Return the offsets of rows whose readings occurred twice."""
    a, b = rows
    first, second = offsets.first[a:b], offsets.second[a:b]
    late = np.diff(local[a:b]) * 1e-9 - np.diff(passed[a:b])
    back = np.flatnonzero(late < 1 - _HALF_HOUR)
    if back.size:
        put_back = int(back[0]) + 1
        return np.where(np.arange(b - a) < put_back, first, second)
    # Delay of the first of these rows and of the row after them, for each choice.
    fits = []
    for own in (first, second):
        lates = []
        if a > 0:
            begun = local[a - 1] - offsets.second[a - 1]
            lates.append(_late(begun, local[a] - own[0], passed[a - 1 : a + 1], close))
        if b < local.size:
            ended = local[b] - offsets.first[b]
            lates.append(
                _late(local[b - 1] - own[-1], ended, passed[b - 1 : b + 1], close)
            )
        fits.append(lates)
    exact = [bool(f) and all(late == 0 for late in f) for f in fits]
    possible = [bool(f) and all(late >= 0 for late in f) for f in fits]
    # With a pause on one side, the rows must continue without one on the other side.
    joined = [any(late == 0 for late in f) for f in fits]
    for choice in (exact, possible, joined):
        if choice[0] != choice[1]:
            return first if choice[0] else second
    clock.utc_nanoseconds(_moment(local[a]), where)  # raises: both hours are possible
    raise AssertionError


def _late(begun: int, ended: int, passed: np.ndarray, close: float) -> float:
    """Return the excess of clock over test time in an interval; 0 within the error."""
    between = float(passed[1] - passed[0])
    late = float(ended - begun) * 1e-9 - between
    return 0.0 if abs(late) <= close + _DRIFT * abs(between) else late


def _moment(ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=int(ns) // 1000)
