"""Local readings of a whole file as UTC, over changes of summer time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

import numpy as np

from batteryxr.core.kernels.times import NAT
from batteryxr.io import clock

_EPOCH = datetime(1970, 1, 1)
_QUARTER = 900 * 10**9  # zones change their offsets at quarters of hours
#: Test time and clock agree within so many seconds, and this part of an interval.
_CLOSE, _DRIFT = 2.0, 1e-3
_HALF_HOUR = 1800.0  # s: no summer time is less


class _Offsets(NamedTuple):
    """Offsets (ns) that each reading can have, and whether it exists at all."""

    first: np.ndarray
    second: np.ndarray
    exists: np.ndarray


def to_utc(
    local: np.ndarray,
    test_time: np.ndarray | None,
    where: tzinfo,
    resolution: float,
) -> tuple[np.ndarray, dict[str, str]]:
    """Return UTC of local readings, in ns, and what must be said; `NAT` stays.

    Readings that came twice, when the clocks were put back, are told apart by where
    they step back, else by the test time that passed to the rows around them. A clock
    that runs on through the changes keeps the offset of its first reading, and a note
    says so.

    Parameters
    ----------
    local
        (rows,) ns since 1970 on the local clock, in the order of the file.
    test_time
        (rows,) s; None where there is none beside the readings.
    where
        The zone.
    resolution
        Of the readings, s.

    Raises
    ------
    ArgumentError
        If a reading does not exist in the zone, or cannot be told from its twin.
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
    """Return where a clock meets changes of summer time, if it runs on through all."""
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
    """Return seconds that pass with readings; by a usual step where they go back."""
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
    """Return the offsets of a run of rows whose readings came twice."""
    a, b = rows
    first, second = offsets.first[a:b], offsets.second[a:b]
    late = np.diff(local[a:b]) * 1e-9 - np.diff(passed[a:b])
    back = np.flatnonzero(late < 1 - _HALF_HOUR)
    if back.size:
        put_back = int(back[0]) + 1
        return np.where(np.arange(b - a) < put_back, first, second)
    # How late each choice makes the first of these rows, and the row after them.
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
    # A pause on one side: the rows run on without one from, or to, the other side.
    joined = [any(late == 0 for late in f) for f in fits]
    for choice in (exact, possible, joined):
        if choice[0] != choice[1]:
            return first if choice[0] else second
    clock.utc_nanoseconds(_moment(local[a]), where)  # raises: both hours are possible
    raise AssertionError


def _late(begun: int, ended: int, passed: np.ndarray, close: float) -> float:
    """Return by how much a clock went on more than test time; 0 within the error."""
    between = float(passed[1] - passed[0])
    late = float(ended - begun) * 1e-9 - between
    return 0.0 if abs(late) <= close + _DRIFT * abs(between) else late


def _moment(ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=int(ns) // 1000)
