"""The tables of a file: one, or as many as it holds scans that say where they begin."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.files import refuse_other
from batteryxr.io.series.columns import ColumnFile, columns_of, load
from batteryxr.io.series.decoded import Decoded, decoded
from batteryxr.io.series.jcamp import is_jcamp, read_jcamp
from batteryxr.io.series.stepped import read_stepped
from batteryxr.io.series.xrdml import is_xrdml, read_xrdml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Table = ColumnFile | Decoded
#: The line that begins a scan of a SPEC file.
_SCAN = re.compile(rb"(?m)^[#%!;*/ \t]*#S[ \t]+(?P<title>.*)$")
_SIGN = re.compile(rb"(?m)^(?:BANK|_|\*|DataAngleRange|SIETRONICS)")
_NUMBERS = re.compile(rb"(?<![\w.])[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?(?![\w.])")
_HEAD = 20_000


def read_tables(path: Path, skip_rows: int = 0) -> Sequence[Table]:
    """Return the tables of numbers in a file.

    Parameters
    ----------
    path
        The file.
    skip_rows
        Lines at the top that are header whatever they look like.

    Raises
    ------
    FileFormatError
        If there is none, or the file is damaged.
    """
    raw = load(path, "xml")
    if is_xrdml(raw):
        return read_xrdml(path, raw)
    refuse_other(path, raw[:4096], "gzip")
    if skip_rows:
        return [columns_of(path, raw, skip_rows=skip_rows)]
    if raw.lstrip()[:2] == b"##" and is_jcamp(head := raw[:_HEAD].decode("latin-1")):
        return read_jcamp(path, raw.decode("latin-1") if len(raw) > _HEAD else head)
    if _may_be_stepped(raw[:6000]) and (tables := read_stepped(path, _text(raw))):
        return tables
    begins = list(_SCAN.finditer(raw)) if raw.count(b"#S") > 1 else []
    if len(begins) > 1:
        return _of_spec(path, raw, begins)
    return _wide(path, raw) or [columns_of(path, raw)]


def _may_be_stepped(head: bytes) -> bool:
    """Tell whether a file has a word of `stepped`, or begins with three numbers."""
    if _SIGN.search(head):
        return True
    counts = [len(_NUMBERS.findall(line)) for line in head[:2000].split(b"\n")[:9]]
    return any(a == 3 != b for a, b in itertools.pairwise(counts))


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
    for begin, stop in zip(begins, stops, strict=True):
        above = raw.count(b"\n", 0, begin.start())
        try:
            table = columns_of(path, raw[begin.start() : stop], above=above - len(top))
        except FileFormatError:
            continue  # a scan that was stopped before its first point
        title = begin["title"].decode("latin-1").strip()
        tables.append(replace(table, header=(*top, *table.header), label=title))
    if not tables:
        return [columns_of(path, raw)]
    return tables


def _wide(path: Path, raw: bytes) -> list[Decoded]:
    """Return spectra that are rows below a row of the axis, as LabSpec writes maps."""
    at = re.search(rb"(?m)^[^#\n]", raw)
    if at is None or at[0] not in b"\t,;":
        return []
    lines = raw.splitlines()
    start = next((i for i, ln in enumerate(lines) if ln[:1] not in (b"#", b"")), None)
    if start is None or lines[start][:1] not in (b"\t", b",", b";"):
        return []
    sign = lines[start][:1]
    top = [w for w in lines[start].split(sign) if w.strip()]
    try:
        axis = np.array([float(w) for w in top])
        rows = [
            [float(w) for w in ln.split(sign) if w.strip()]
            for ln in lines[start + 1 :]
            if ln.strip()
        ]
    except ValueError:
        return []
    extra = len(rows[0]) - axis.size if rows else 0
    if extra not in (1, 2) or axis.size < 3:
        return []
    if len({len(row) for row in rows}) > 1:
        raise FileFormatError(path, "rows differ in length: the map is cut or damaged.")
    table = np.array(rows)
    columns = {"axis": np.tile(axis, len(rows)), "intensity": table[:, extra:].ravel()}
    for k in range(extra):
        columns[f"coordinate_{k + 1}"] = np.repeat(table[:, k], axis.size)
    header = [ln.decode("latin-1") for ln in lines[:start]]
    return [decoded(path, columns, header)]
