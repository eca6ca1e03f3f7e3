"""The clock of every row of a table: each reader's rows pass through here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.kernels.times import NAT
from batteryxr.io import clock
from batteryxr.io.timing.cells import Style, stamps_of
from batteryxr.io.timing.course import Course, follow, resolution
from batteryxr.io.timing.summer import to_utc

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from batteryxr.io.cycler.table import RawTable

_EPOCH = datetime(1970, 1, 1)
_STANDS = 120.0  # s after which a clock that shows minutes has moved on
_LONGEST = 1e9  # s of test time: more is refused by the check of times


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
        As read; without ``test_time`` it is made of the readings.
    cells
        The column of clock readings: text, datetimes or numbers; None if there is
        none.
    style
        How dates are written.
    noted
        Start of the test as the file's header has it, at ``test_time`` 0.

    Raises
    ------
    ArgumentError
        If day and month cannot be told apart.
    """
    times = table.columns.get("test_time")
    if times is not None and not (np.abs(times) < _LONGEST).all():
        return table  # the check of times names the row
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
    """Return a table that says when its test time was 0, if only its rows do."""
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
    """Return a table whose local clock readings are UTC too, in the zone `where`.

    Raises
    ------
    ArgumentError
        If a reading does not exist in that zone, or cannot be told from its twin.
    """
    local = table.local_time
    if where is None or local is None or table.unix_time is not None:
        return table
    times = table.columns["test_time"]
    if table.timed_by_clock:
        utc, said = to_utc(local, None, where, 1.0)
    else:
        utc, said = to_utc(local, times, where, resolution(local, times))
    unix = np.where(utc != NAT, utc * 1e-9, np.nan)
    if table.timed_by_clock:
        columns = {**table.columns, "test_time": unix - unix[0]}
        table = replace(table, columns=columns)
    return replace(table, unix_time=unix, notes={**table.notes, **said})


@dataclass(frozen=True)
class Clocked:
    """The clock of every row of one file.

    Parameters
    ----------
    local, utc
        (rows,) ns since 1970 on the cycler's own clock, and in UTC; None if unknown.
    course
        What the readings of the rows say.
    source
        What the times come from: "stamps" of the rows, the "start" of the test and
        test time, or "" where nothing is known.
    """

    local: np.ndarray | None
    utc: np.ndarray | None
    course: Course
    source: str

    @property
    def about(self) -> dict[str, Any]:
        """What a record keeps of it: JSON values."""
        course = self.course
        known = self.source == "stamps"
        finite = bool(np.isfinite(course.drift))
        return {
            "time_from": self.source,
            "resolution_s": float(course.resolution) if known else None,
            "drift_ppm": round(course.drift, 2) if finite else None,
            "pauses": [
                [int(row), round(float(seconds), 3)]
                for row, seconds in zip(course.rows, course.seconds, strict=True)
            ],
        }


def clocked(table: RawTable, where: tzinfo | None) -> Clocked:
    """Return the clock of every row of a table, after `zoned`.

    Parameters
    ----------
    table
        As checked and examined.
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
    """Return rows placed from one reading that all of them repeat; None elsewhere."""
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
