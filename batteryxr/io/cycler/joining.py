"""Join several tables of one run, with the gaps between them, into a Dataset."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.model import attributes, in_words
from batteryxr.io.cycler.table import COLUMNS, COUNTERS, RawTable
from batteryxr.io.cycler.turns import (
    RESOLUTION,
    TECHNIQUE,
    ClockedFile,
    by_time,
    examined,
    interleaved,
    on_one_clock,
    take_turns,
)
from batteryxr.io.timing.course import Course
from batteryxr.io.timing.rows import Clocked, clocked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, tzinfo

_APART = 7 * 86_400.0  # s between files of one run
_NEVER = np.datetime64("NaT", "ns")
#: Numbers available to the coordinate of files (int16); neighbours always differ.
_NUMBERS = 30_000
#: Times (s) closer than this are one moment.
_TIED = 1e-6


def join(
    tables: Sequence[RawTable], names: Sequence[str], where: tzinfo | None, zone: str
) -> tuple[xr.Dataset, list[str]]:
    """Return the Dataset of all rows, and warnings for the user."""
    every = [_place(t, n, where) for t, n in zip(tables, names, strict=True)]
    placed = [p for p in every if p.table.rows]
    messages = []
    if silent := [p.name for p in placed if p.utc is None and p.local is not None]:
        messages.append(
            f"{', '.join(silent)}: local time of an undeclared zone, so `time` is NaT. "
            "Pass timezone='Europe/Paris', or wherever the cycler's clock stood."
        )
    if where is not None and (lost := [p.name for p in placed if p.utc is None]):
        messages.append(f"{', '.join(lost)}: no start in the file, so `time` is NaT.")
    kind = _common_clock(placed)
    if kind is not None:
        placed.sort(key=lambda p: (p.ends(kind) or (0, 0))[0])
    turns = kind is not None and take_turns(placed, kind)
    times, gaps = (on_one_clock if turns else _running_time)(placed, kind)
    dataset = _labelled(placed, times)
    if turns:
        dataset = dataset.isel(record=by_time(times))
    empty = [p for p in every if not p.table.rows]
    notes = _notes([*examined(placed, times), *empty] if turns else every)
    if len(gaps) < len(placed) - 1:
        notes["unknown_gap"] = (
            "not every file has a start on one clock: joined in the order given, "
            "without a gap between them"
        )
    if turns and interleaved(dataset["file"].values):
        notes["overlap"] = (
            "rows of several files alternate one by one: techniques of one program "
            "never run at once. Are they of several cells, or each timed from its own "
            "beginning?"
        )
    if overlap := [g for g in gaps if g < 0]:
        notes["overlap"] = (
            f"a file starts {-min(overlap):.3f} s before the one before it ends"
        )
    dataset = _in_pieces(dataset, _left_out(every, placed, times))
    notes |= _strangers(placed, gaps)
    messages += [f"{flag}: {said}" for flag, said in notes.items()]
    dataset.attrs = _attributes(placed, gaps, zone) | {
        "flags": list(notes),
        "flag_notes": list(notes.values()),
    }
    return dataset, messages


def _notes(placed: Sequence[ClockedFile]) -> dict[str, str]:
    """Return the messages for each flag with their files, each message once."""
    said: dict[str, dict[str, list[str]]] = {}
    for p in placed:
        for flag, sentence in p.table.notes.items():
            said.setdefault(flag, {}).setdefault(sentence, []).append(p.name)
    return {
        flag: "; ".join(f"{', '.join(n)}: {s}" for s, n in sentences.items())
        for flag, sentences in said.items()
    }


def _left_out(
    every: Sequence[ClockedFile],
    placed: Sequence[ClockedFile],
    times: Sequence[np.ndarray],
) -> np.ndarray:
    """Return times of all rows that are no cycling, on the clock of the record."""
    first = placed[0].table
    zero = {
        id(p): float(t[0] - p.table.columns["test_time"][0])
        for p, t in zip(placed, times, strict=True)
    }
    found = [np.empty(0)]
    for p in every:
        if p.table.left_out is None:
            continue
        offset = zero.get(id(p))
        if offset is None:
            if p.table.start_local is None or first.start_local is None:
                continue
            later = (p.table.start_local - first.start_local).total_seconds()
            offset = later + zero[id(placed[0])]
        found.append(p.table.left_out + offset)
    return np.concatenate(found)


def _in_pieces(dataset: xr.Dataset, left_out: np.ndarray) -> xr.Dataset:
    """Return the record with a separate number for each piece of a file."""
    file = dataset["file"].values
    if not left_out.size and not file.any():  # one file, and one piece
        return dataset
    piece = _pieces(file, dataset["test_time"].values, left_out)
    if np.array_equal(piece, file):
        return dataset
    begins = np.flatnonzero(np.diff(piece, prepend=-1))
    about = {
        "units": "1",
        "long_name": "Piece of a file",
        "source_file": file[begins].tolist(),
    }
    return dataset.assign_coords(file=("record", piece, about))


def _strangers(placed: Sequence[ClockedFile], gaps: Sequence[float]) -> dict[str, str]:
    """Return notes where the files may belong to several cells."""
    notes = {}
    if twice := _copies(placed):
        notes["same_rows"] = (
            f"{twice[1]} holds the same rows as {twice[0]}: is one a copy? Its charge "
            "counts twice"
        )
    makers = list(dict.fromkeys(p.table.instrument for p in placed))
    if len(makers) > 1:
        notes["several_instruments"] = (
            f"the files come from {len(makers)} instruments, {', '.join(makers)}: are "
            "they of one cell?"
        )
    if others := _programs(placed):
        notes["several_programs"] = (
            f"{others[0]} and {others[1]} began at one moment and are not of one "
            "program by their names: are they of one cell?"
        )
    if long := [k for k, gap in enumerate(gaps) if gap > _APART]:
        k = max(long, key=lambda k: gaps[k])
        notes["files_apart"] = (
            f"{gaps[k] / 86_400:.0f} days lie between {placed[k].name} and "
            f"{placed[k + 1].name}: are they of one cell?"
        )
    return notes


def _programs(placed: Sequence[ClockedFile]) -> tuple[str, str] | None:
    """Return two EC-Lab files with one start, from programs of different names."""
    begun: dict[datetime, tuple[tuple[str, str], str]] = {}
    for p in placed:
        match = TECHNIQUE.fullmatch(p.name)
        if match is None or p.table.start_local is None:
            continue
        mine = match[1], match[2]
        program, first = begun.setdefault(p.table.start_local, (mine, p.name))
        if program != mine:
            return first, p.name
    return None


def _copies(placed: Sequence[ClockedFile]) -> tuple[str, str] | None:
    """Return two files of which one repeats all rows of the other, or None."""
    for k, later in enumerate(placed):
        mine = later.table.columns
        for earlier in placed[:k]:
            theirs = earlier.table.columns
            same = all(
                name in mine
                and name in theirs
                and np.array_equal(mine[name], theirs[name], equal_nan=True)
                for name in ("test_time", "voltage", "current")
            )
            if same and np.ptp(np.nan_to_num(mine["voltage"])) > 0:
                return earlier.name, later.name
    return None


def _place(table: RawTable, name: str, where: tzinfo | None) -> ClockedFile:
    if not table.rows:
        nothing = np.empty(0, np.int64)
        return ClockedFile(table, name, Clocked(None, None, Course(nothing), ""))
    timed = clocked(table, where)
    table = replace(table, notes={**table.notes, **timed.course.notes})
    return ClockedFile(table, name, timed)


def _common_clock(placed: Sequence[ClockedFile]) -> str | None:
    for kind in ("utc", "local"):
        if all(p.ends(kind) is not None for p in placed):
            return kind
    return None


def _running_time(
    placed: Sequence[ClockedFile], kind: str | None
) -> tuple[list[np.ndarray], list[float]]:
    """Return test time of each file from the first row on, and known gaps."""
    times: list[np.ndarray] = []
    gaps: list[float] = []
    ended: int | None = None
    for p in placed:
        own = p.table.columns["test_time"]
        own = own - own[0]
        ends = p.ends(kind)
        if times:
            end = float(times[-1][-1])
            if ends is None or ended is None:
                own = own + end
            else:
                gap = (ends[0] - ended) * 1e-9
                # A start is early by less than the resolution of its clock.
                if -max(RESOLUTION, p.clocked.course.resolution) < gap < 0:
                    gap = 0.0
                gaps.append(gap)
                own = own + (end + gap)
        times.append(own)
        ended = None if ends is None else ends[1]
    return times, gaps


def _labelled(placed: Sequence[ClockedFile], times: Sequence[np.ndarray]) -> xr.Dataset:
    coords = {
        "test_time": ("record", np.concatenate(times), COLUMNS["test_time"]),
        "time": (
            "record",
            np.concatenate([_absolute(p) for p in placed]),
            {"long_name": "Time (UTC)"} | _counted(placed),
        ),
        "file": (
            "record",
            np.repeat(
                np.arange(len(placed), dtype=np.int16), [p.table.rows for p in placed]
            ),
            {"units": "1", "long_name": "File number"},
        ),
        **_pauses(placed),
    }
    names = dict.fromkeys(n for p in placed for n in p.table.columns)
    known = [n for n in COLUMNS if n in names and n != "test_time"]
    extra = [n for n in names if n not in COLUMNS]
    variables = {}
    for name in known + extra:
        values = np.concatenate([_column(p.table, name) for p in placed])
        source = _source_label(name, placed)
        attrs = COLUMNS.get(name) or _extra(name, placed)
        attrs = attrs | ({"source_label": source} if source else {})
        variables[name] = ("record", _narrow(name, values), attrs)
    return xr.Dataset(variables, coords)


def _counted(placed: Sequence[ClockedFile]) -> dict[str, str]:
    """Return what to say of times that only a start and test time give."""
    unseen = [p.name for p in placed if p.clocked.source == "start"]
    if not unseen:
        return {}
    said = f"start and test time of {', '.join(unseen)}: a pause there cannot be seen"
    return {"comment": said}


def _source_label(name: str, placed: Sequence[ClockedFile]) -> str:
    """Return the label of most rows, ignoring labels that begin with 'none'."""
    rows: dict[str, int] = {}
    for p in placed:
        label = p.table.labels.get(name, "")
        rows[label] = rows.get(label, 0) + p.table.rows
    told = [label for label in rows if label and not label.startswith("none")]
    return max(told or rows, key=lambda label: rows[label])


def _column(table: RawTable, name: str) -> np.ndarray:
    values = table.columns.get(name)
    return np.full(table.rows, np.nan) if values is None else np.asarray(values)


def _extra(name: str, placed: Sequence[ClockedFile]) -> dict[str, Any]:
    units = next((p.table.units[name] for p in placed if name in p.table.units), "1")
    return {"units": units, "long_name": in_words(name)}


def _narrow(name: str, values: np.ndarray) -> np.ndarray:
    if name not in COUNTERS:
        return values.astype(np.float64, copy=False)
    whole = np.abs(values) < 2**31
    whole &= values == np.round(values)
    return values.astype(np.int32) if whole.all() else values.astype(np.float64)


def _absolute(p: ClockedFile) -> np.ndarray:
    if p.utc is None:
        return np.full(p.table.rows, _NEVER)
    return p.utc.astype("datetime64[ns]")


def _pauses(placed: Sequence[ClockedFile]) -> dict[str, Any]:
    """Return how long test time stood still before each row, if it ever did."""
    if not any(p.clocked.course.rows.size for p in placed):
        return {}
    stood = []
    for p in placed:
        seconds = np.zeros(p.table.rows)
        seconds[p.clocked.course.rows] = p.clocked.course.seconds
        stood.append(seconds)
    return {"pause": ("record", np.concatenate(stood), attributes("pause"))}


def _attributes(
    placed: Sequence[ClockedFile], gaps: Sequence[float], zone: str
) -> dict[str, Any]:
    tables = [p.table for p in placed]
    starts = [_iso(t.start_local) if t.start_local else "" for t in tables]
    return {
        "title": PurePath(placed[0].name).stem,
        "instrument": ", ".join(dict.fromkeys(t.instrument for t in tables)),
        "source_files": [p.name for p in placed],
        "start_local": starts,
        "timezone": zone,
        "gap_s": [float(g) for g in gaps],
        "row_clock": json.dumps([p.clocked.about for p in placed]),
        "repaired": [s for t in tables for s in t.repaired.values()],
        "header": json.dumps([dict(t.header) for t in tables], ensure_ascii=False),
    }


def _iso(moment: datetime) -> str:
    whole = moment.microsecond % 1000 == 0
    return moment.isoformat(timespec="milliseconds" if whole else "microseconds")


def _pieces(file: np.ndarray, time: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """Return for each row the number of the piece of a file it belongs to.

    A piece ends where another file continues, or where rows were left out: the charge
    between its last row and the next is unknown.

    Parameters
    ----------
    file
        (rows,) number of the file of each row, in order of time.
    time
        (rows,) s.
    left_out
        Times of rows that were left out, on the same clock.
    """
    left_out = np.sort(left_out)
    first = np.searchsorted(left_out, time - _TIED)
    last = np.searchsorted(left_out, time + _TIED, "right")
    new = np.append(np.diff(file, prepend=file[:1]) != 0, True)
    new[1:-1] |= first[1:] > last[:-1]
    # A technique often begins, or ends, at the moment of a row. Its other rows tell on
    # which side of it; a single one is taken to come after it.
    tied = last > first
    again = tied[1:] & tied[:-1] & (first[1:] == first[:-1])
    begin = np.flatnonzero(tied & ~np.append(False, again))
    end = np.flatnonzero(tied & ~np.append(again, False)) + 1
    new[end[~(new[begin] | new[end])]] = True
    return (np.cumsum(new[:-1]) % _NUMBERS).astype(np.int16)
