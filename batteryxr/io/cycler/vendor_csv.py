"""Text exports of many makers, and hand-made tables: separated values under labels."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from batteryxr.io.cycler.recognise import TableLayout, assemble, recognise, unknown
from batteryxr.io.cycler.text import TextTable, decode, finish, in_utf8, named
from batteryxr.io.door.files import text

if TYPE_CHECKING:
    from pathlib import Path

    from batteryxr.io.cycler.table import Options, RawTable

_HEAD_LINES = 500  # labels stand within these
_SEPARATORS = ("\t", ";", ",")
_SPLIT_DATE = re.compile(rb"(\d\d\.\d\d\.\d{2,4})\t(\d\d:\d\d:\d\d)")


def read(path: Path, options: Options) -> RawTable:
    """Read one file: finds separator, decimal sign, labels and their units.

    `options.columns` names labels that no map knows.

    Raises
    ------
    FileFormatError
        Naming the line at fault.
    """
    raw = in_utf8(_in_lines(text(path)))
    head = _lines(raw)
    for separator in _SEPARATORS:
        layout = recognise([_cells(line, separator) for line in head], head, options)
        if layout is not None:
            body = _below(raw, layout.first)
            return _read(path, options, layout, body, separator, head)
    layout = recognise([_words(line) for line in head], head, options)
    if layout is not None:
        body = _tabbed(_below(raw, layout.first))
        return _read(path, options, layout, body, "\t", head)
    separator = max(_SEPARATORS, key=lambda mark: sum(mark in line for line in head))
    raise unknown(path, [_cells(line, separator) for line in head])


def _read(
    path: Path,
    options: Options,
    layout: TableLayout,
    body: bytes,
    separator: str,
    head: list[str],
) -> RawTable:
    mark = separator.encode()
    body, notes = finish(body, named(layout.labels) - 1, mark)
    table = TextTable(path, layout.labels, body, separator, layout.first + 1)
    columns = table.read(layout.numbers, layout.words)
    preamble = "\n".join(head[: layout.row])
    raw_table = assemble(
        layout,
        {name: columns[name] for name in layout.numbers},
        {name: columns[name] for name in layout.words},
        options,
        head=preamble,
        header={"text": preamble} if preamble else {},
        first_line=table.first_line,
    )
    return replace(raw_table, notes={**raw_table.notes, **notes})


def _in_lines(raw: bytes) -> bytes:
    """Return text whose lines end with a line feed, whatever computer wrote it."""
    return raw if b"\n" in raw else raw.replace(b"\r", b"\n")


def _lines(raw: bytes) -> list[str]:
    end = -1
    for _ in range(_HEAD_LINES):
        following = raw.find(b"\n", end + 1)
        if following < 0:
            end = len(raw)
            break
        end = following
    return [line.rstrip("\r") for line in decode(raw[:end]).split("\n")]


def _cells(line: str, separator: str) -> list[str]:
    if separator not in line:
        return [line]
    if '"' not in line:
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator), [""])
    except csv.Error:
        return [line]


def _words(line: str) -> list[str]:
    return line.lstrip("~").split()


def _below(raw: bytes, lines: int) -> bytes:
    end = 0
    for _ in range(lines):
        end = raw.find(b"\n", end) + 1
        if end == 0:
            return b""
    return raw[end:]


def _tabbed(body: bytes) -> bytes:
    """Turn blanks between cells into tabs, dates with their time kept together."""
    lines = [b"\t".join(line.split()) for line in body.splitlines()]
    return _SPLIT_DATE.sub(rb"\1 \2", b"\n".join(lines) + b"\n")
