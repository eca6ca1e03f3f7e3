"""Merge files of one run that take turns, as the techniques of one program do."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.kernels.times import NAT
from batteryxr.io.cycler.checks import plausibility

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.io.cycler.table import RawTable
    from batteryxr.io.timing.rows import Clocked

RESOLUTION = 1.0  # s: starts in whole seconds are early by less than this
#: File name of EC-Lab: name of the program, number and kind of the technique, channel.
TECHNIQUE = re.compile(r"(.+)_\d{2}_[A-Z][A-Za-z0-9]*(_C[A-Z]?\d+)?\.mp[rt]")
_DIGITS = 6  # of a moment in s; clocks of two files differ by roundings
#: With fewer rows, it is not decided whether files take turns.
_FEW = 12


@dataclass(frozen=True)
class ClockedFile:
    """Hold a table with the clock of its rows."""

    table: RawTable
    name: str
    clocked: Clocked

    @property
    def local(self) -> np.ndarray | None:
        """Return the time of each row on the cycler's own clock, in ns."""
        return self.clocked.local

    @property
    def utc(self) -> np.ndarray | None:
        """Return the UTC of each row, in ns."""
        return self.clocked.utc

    def ends(self, kind: str | None) -> tuple[int, int] | None:
        """Return the clock reading at the first and the last row, in ns."""
        readings = {"utc": self.utc, "local": self.local}.get(kind or "")
        if readings is None or NAT in (readings[0], readings[-1]):
            return None
        return int(readings[0]), int(readings[-1])


def take_turns(placed: Sequence[ClockedFile], kind: str) -> bool:
    """Tell whether files interleave because they are techniques of one program.

    This holds if files overlap by more than clocks resolve, and all overlapping files
    give the same start of acquisition, or are named as techniques of one program and
    have a clock reading in each row.
    """
    spans = [p.ends(kind) or (0, 0) for p in placed]
    starts = [p.table.start_local for p in placed]
    found = False
    for k, (begin, end) in enumerate(spans):
        for other in range(k):
            first, last = spans[other]
            shared = min(end, last) - max(begin, first)
            if shared <= RESOLUTION * 1e9:
                continue
            begun = starts[k] is not None and starts[k] == starts[other]
            if not begun and not _one_program(placed[k], placed[other]):
                return False
            found = True
    return found


def on_one_clock(
    placed: Sequence[ClockedFile], kind: str | None
) -> tuple[list[np.ndarray], list[float]]:
    """Return times of files that take turns, and the unrecorded gaps between them."""
    spans = [p.ends(kind) or (0, 0) for p in placed]
    times = []
    for p, (begin, _) in zip(placed, spans, strict=True):
        own = p.table.columns["test_time"]
        own = own - own[0] + (begin - spans[0][0]) * 1e-9
        times.append(np.round(own, _DIGITS))
    ended = np.maximum.accumulate([end for _, end in spans])
    gaps = [
        max(0.0, (begin - end) * 1e-9)
        for (begin, _), end in zip(spans[1:], ended, strict=False)
    ]
    return times, gaps


def by_time(times: Sequence[np.ndarray]) -> np.ndarray:
    """Return the order of the rows; of two at one moment, the one that goes on first.

    A technique often begins at the moment in which the one before it ends.
    """
    since = []
    for own in times:
        begins = np.append(True, np.diff(own) != 0)
        first = np.maximum.accumulate(np.where(begins, np.arange(own.size), 0))
        since.append(np.diff(own, prepend=-np.inf)[first])
    return np.lexsort((np.concatenate(since), np.concatenate(times)))


def examined(
    placed: Sequence[ClockedFile], times: Sequence[np.ndarray]
) -> list[ClockedFile]:
    """Return files that take turns; a gap that another file fills is not flagged.

    Where another technique ran, no rows are missing and no pause is hidden: what was
    said of a file counts if it is true of one of its pieces.
    """
    order = by_time(times)
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    edges = np.cumsum([p.table.rows for p in placed])[:-1]
    judged = []
    for p, mine in zip(placed, np.split(place, edges), strict=True):
        begins = np.flatnonzero(np.diff(mine) != 1) + 1
        pieces = np.split(np.arange(mine.size), begins)
        judged.append(replace(p, table=plausibility.in_pieces(p.table, pieces)))
    return judged


def interleaved(file: np.ndarray) -> bool:
    """Tell whether rows of several files alternate more often than techniques do."""
    if file.size < _FEW:
        return False
    edges = np.flatnonzero(np.diff(file, prepend=-1, append=-1))
    lengths = np.diff(edges)
    return bool(lengths[lengths <= 2].sum() > 0.8 * file.size)


def _one_program(one: ClockedFile, other: ClockedFile) -> bool:
    """Tell whether two files are of one program by their names, and timed by clock."""
    match, theirs = map(TECHNIQUE.fullmatch, (one.name, other.name))
    if match is None or theirs is None or match.groups() != theirs.groups():
        return False
    return one.table.timed_by_clock and other.table.timed_by_clock
