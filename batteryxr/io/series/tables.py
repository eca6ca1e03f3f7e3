"""Split a file into scans: at marked beginnings, or where the axis turns."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.endings import ends_within_number
from batteryxr.io.door.files import head, refuse_other
from batteryxr.io.door.words import in_numbers, refuse_many, refuse_tables
from batteryxr.io.formats import Format
from batteryxr.io.series.columns import ColumnFile, columns_of, load
from batteryxr.io.series.decoded import Decoded, decoded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Table = ColumnFile | Decoded
#: Formats other than columns of text, in the order in which they are tried.
FORMATS = {
    "xrdml": Format(
        "series.xrdml",
        (".xrdml",),
        re.compile(rb"(?s)(?:\xef\xbb\xbf)?\s*(?=<).{0,4080}?<xrdMeasurements"),
    ),
    "jcamp": Format(
        "series.jcamp",
        (".jdx", ".dx"),
        re.compile(rb"(?i)\s*## *T *I *T *L *E *="),
    ),
    "packed": Format("series.packed", (".brml", ".rasx")),
    "hdf5": Format("series.hdf5", (), re.compile(rb"\x89HDF\r\n\x1a\n")),
    "binary": Format("series.spectrometers", (), re.compile(rb"\n\n\xfe\xfe|WDF1")),
    "stepped": Format("series.stepped"),
}
#: First line of a scan in a SPEC file.
_SCAN = re.compile(rb"(?m)^[#%!;*/ \t]*#S[ \t]+(?P<title>.*)$")
_SIGN = re.compile(rb"(?m)^(?:BANK|_|\*|DataAngleRange|SIETRONICS)")
_NUMBERS = re.compile(rb"(?<![\w.])[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?(?![\w.])")
_END = 4096  # bytes at the end of a file in which JCAMP-DX ends
_PACKED = 500_000  # most lines of JCAMP-DX
_MAPPED = 20_000_000  # most numbers of a map of spectra
_FEWEST = 5  # fewest points of a scan
#: Least fraction of the whole range that each of several scans must cover.
_COVERS = 0.95
#: Largest fraction of points that may repeat an energy: where two regions meet.
_REPEATED = 0.02


def read_tables(path: Path, skip_rows: int = 0) -> Sequence[Table]:
    """Return the tables of numbers in a file.

    Parameters
    ----------
    path
        The file.
    skip_rows
        Lines at the top that belong to the header, whatever they contain.

    Raises
    ------
    FileFormatError
        If there is no table, or the file is damaged.
    """
    if path.suffix.lower() in FORMATS["packed"].suffixes:
        packed: list[Decoded] = FORMATS["packed"].read(path)
        return packed
    tables: list[Decoded]
    start = head(path, 16)
    if FORMATS["binary"].matches(start):
        tables = FORMATS["binary"].read(path, start)
        return tables
    if FORMATS["hdf5"].matches(start):
        tables = FORMATS["hdf5"].read(path)
        return tables
    raw = load(path, "xml")
    if FORMATS["xrdml"].matches(raw):
        tables = FORMATS["xrdml"].read(path, raw)
        return tables
    refuse_other(path, raw[:4096], "gzip")
    if skip_rows:
        return [columns_of(path, raw, skip_rows=skip_rows)]
    if FORMATS["jcamp"].matches(raw):
        refuse_tables(raw, b"##TITLE")
        refuse_many(raw, lines=_PACKED)
        tables = FORMATS["jcamp"].read(path, raw.decode("latin-1"))
        return _cut(tables, b"##END" not in raw[-_END:].upper())
    if raw.startswith(b"PE ") and b"\n#DATA\n" in raw:
        refuse_many(raw)
        return [_of_perkin(path, raw)]
    if _may_be_stepped(raw[:6000]):
        refuse_tables(raw, b"\nBANK ")
        refuse_many(raw)
        tables = FORMATS["stepped"].read(path, _text(raw))
        if tables:
            return _cut(tables, ends_within_number(raw))
    refuse_tables(raw, b"#S ")
    begins = list(_SCAN.finditer(raw)) if raw.count(b"#S") > 1 else []
    if len(begins) > 1:
        return _of_spec(path, raw, begins)
    return _wide(path, raw) or [columns_of(path, raw)]


def _cut(tables: list[Decoded], cut: bool) -> list[Table]:
    """Return the tables of a file, the last marked if it seems to be cut."""
    *whole, last = tables
    return [*whole, replace(last, seems_cut=last.seems_cut or cut)]


def _may_be_stepped(head: bytes) -> bool:
    """Tell whether a file has a mark of `stepped`, or a line of three numbers."""
    if _SIGN.search(head):
        return True
    counts = [len(_NUMBERS.findall(line)) for line in head[:2000].split(b"\n")[:9]]
    return any(a == 3 != b for a, b in itertools.pairwise(counts))


def _of_perkin(path: Path, raw: bytes) -> Decoded:
    """Return a PerkinElmer spectrum: units are below #GR, points below #DATA."""
    top, _, body = _text(raw).partition("\n#DATA\n")
    lines = [line.strip() for line in top.splitlines()]
    at = lines.index("#GR") if "#GR" in lines else len(lines)
    units = [*lines[at + 1 : at + 3], "", ""]
    rows = [in_numbers(path, line.split(), "a point") for line in body.splitlines()]
    if len(rows) < _FEWEST or {r.size for r in rows} != {2}:
        raise FileFormatError(path, "has points that are no pairs: it is cut.")
    axis = {"CM-1": "wavenumber 1/cm", "EV": "energy eV"}
    values = {"%T": "transmittance %", "T": "transmittance", "A": "absorbance"}
    names = (
        axis.get(units[0].upper(), units[0] or "x"),
        values.get(units[1].upper(), units[1] or "y"),
    )
    days = [w for w in lines if re.fullmatch(r"\d{4}/\d\d/\d\d", w)]
    clocks = [w[:8] for w in lines if re.fullmatch(r"\d\d:\d\d:\d\d(\.\d+)?", w)]
    header = [f"start_time = {days[0]} {clocks[0]}"] if days and clocks else []
    return decoded(path, dict(zip(names, np.array(rows).T, strict=True)), header)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _of_spec(path: Path, raw: bytes, begins: list[re.Match[bytes]]) -> list[ColumnFile]:
    top = tuple(
        line.decode("latin-1") for line in raw[: begins[0].start()].splitlines()
    )
    stops = [*(b.start() for b in begins[1:]), len(raw)]
    tables = []
    held: dict[tuple[str, bytes], int] = {}
    above = last = 0
    for begin, stop in zip(begins, stops, strict=True):
        above += raw.count(b"\n", last, last := begin.start())
        try:
            table = columns_of(path, raw[begin.start() : stop], above=above - len(top))
        except FileFormatError:
            continue  # a scan that was stopped before its first point
        title = begin["title"].decode("latin-1").strip()
        points = table.block.partition(b"\n#")[0].strip()
        if held.setdefault((title, points), above) != above:
            raise FileFormatError(
                path,
                f"scan {title!r} is there twice with the same numbers: it was pasted "
                "or written twice. Remove the copy.",
                above + 1,
            )
        tables.append(replace(table, header=(*top, *table.header), label=title))
    if not tables:
        return [columns_of(path, raw)]
    return tables


def _wide(path: Path, raw: bytes) -> list[Decoded]:
    """Return spectra that are rows under one row of the axis, as in LabSpec maps."""
    at = re.search(rb"(?m)^[^#\n]", raw)
    if at is None or at[0] not in b"\t,;":
        return []
    refuse_many(raw, words=_MAPPED)
    lines = raw.splitlines()
    start = next((i for i, ln in enumerate(lines) if ln[:1] not in (b"#", b"")), None)
    if start is None or lines[start][:1] not in (b"\t", b",", b";"):
        return []
    sign = lines[start][:1]
    top = [w for w in lines[start].split(sign) if w.strip()]
    try:
        axis = np.array([float(w) for w in top])
        rows = [
            np.array([float(w) for w in ln.split(sign) if w.strip()])
            for ln in lines[start + 1 :]
            if ln.strip()
        ]
    except ValueError:
        return []
    extra = rows[0].size - axis.size if rows else 0
    if extra not in (1, 2) or axis.size < 3:
        return []
    if len({row.size for row in rows}) > 1:
        raise FileFormatError(path, "rows differ in length: the map is cut or damaged.")
    table = np.array(rows)
    columns = {"axis": np.tile(axis, len(rows)), "intensity": table[:, extra:].ravel()}
    for k in range(extra):
        columns[f"coordinate_{k + 1}"] = np.repeat(table[:, k], axis.size)
    header = [ln.decode("latin-1") for ln in lines[:start]]
    return [decoded(path, columns, header)]


def split(path: Path, numbers: np.ndarray) -> list[tuple[int, int]]:
    """Return first row and end of each scan in a table whose first column is the axis.

    Raises
    ------
    FileFormatError
        If the same rows are there several times in sequence.
    """
    axis = numbers[0]
    steps = np.diff(axis)
    if (steps > 0).all() or (steps < 0).all():
        return [(0, axis.size)]
    _refuse_pasted(path, numbers)
    spans = _spans(axis, steps)
    if len(spans) < 2:
        return [(0, axis.size)]  # points out of order raise on reading
    return spans


def _refuse_pasted(path: Path, numbers: np.ndarray) -> None:
    """Raise if a table consists of the same rows several times in sequence."""
    axis = numbers[0]
    again = np.flatnonzero(axis[1:] == axis[0])[:1] + 1
    length = int(again[0]) if again.size else 0
    if length < 2 or axis.size % length:
        return
    times = axis.size // length
    first = numbers[:, :length]
    if np.array_equal(numbers, np.tile(first, times), equal_nan=True):
        raise FileFormatError(
            path,
            f"holds its {length} points {times} times, one after another: it was "
            "pasted or written twice. Remove the copy.",
        )


def _spans(axis: np.ndarray, steps: np.ndarray) -> list[tuple[int, int]]:
    """Return stretches of a monotonic axis, if each of them is a whole scan.

    The point of a turn belongs to both of its scans, unless it was measured twice.
    """
    moves = np.flatnonzero(steps)
    turns = np.flatnonzero(np.diff(np.sign(steps[moves])))
    starts = [0, *moves[turns + 1].tolist()]
    stops = [*(moves[turns] + 2).tolist(), axis.size]
    whole, spans = float(np.ptp(axis)), []
    for start, stop in zip(starts, stops, strict=True):
        reach = abs(axis[stop - 1] - axis[start])
        if stop - start == 2 and reach > _COVERS * whole:
            continue  # the way back to the start of the next scan
        if stop - start < _FEWEST or reach < _COVERS * whole:
            return []
        spans.append((start, stop))
    return spans


def average_repeated(
    axis: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a table in which a few neighbours with the same energy are averaged."""
    repeated = np.diff(axis) == 0
    count = int(repeated.sum())
    if not count or count > max(2, _REPEATED * axis.size):
        return axis, values
    group = np.concatenate([[0], np.cumsum(~repeated)])
    members = np.bincount(group)
    return axis[np.concatenate([[True], ~repeated])], (
        np.bincount(group, weights=values) / members
    )


def refuse_unsorted(path: Path, axis: np.ndarray) -> None:
    """Raise if an axis does not rise throughout.

    Raises
    ------
    FileFormatError
        If it does not rise; the message names the row.
    """
    steps = np.diff(axis)
    if not (steps <= 0).any():
        return
    row = int(np.argmax(steps <= 0)) + 1
    what = "stands twice" if steps[row - 1] == 0 else "goes back"
    raise FileFormatError(
        path,
        f"the axis {what} at row {row + 1} ({axis[row]:g} follows {axis[row - 1]:g}; "
        "rows counted with a rising axis). The file holds several scans, or is damaged "
        "there: part it or repair it; a lazy series takes one scan from each file.",
    )
