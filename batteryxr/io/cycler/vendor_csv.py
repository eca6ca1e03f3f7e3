"""Read text exports of many makers, and hand-made tables: separated values."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.errors import ArgumentError
from batteryxr.io.cycler import summaries
from batteryxr.io.cycler.checks.scales import confirms_time
from batteryxr.io.cycler.labels import NUMBER, Source, split
from batteryxr.io.cycler.layouts.nested import Nested, RowParts, find, flattened
from batteryxr.io.cycler.recognise import (
    TableLayout,
    assemble,
    doubled,
    recognise,
    unknown,
)
from batteryxr.io.cycler.table import Options
from batteryxr.io.cycler.text import TextTable, decode, finish, named, unified
from batteryxr.io.door.files import refuse_words, text

if TYPE_CHECKING:
    from pathlib import Path

    from batteryxr.io.cycler.table import RawTable

_HEAD_LINES = 500  # lines that are searched for labels
_HEAD_BYTES = 2_000_000  # bytes after which no more of them are
_SHOWN = 20  # most channels that a message names
_BLANK = b" \t,;\r"
_SEPARATORS = ("\t", ";", ",")
_TABS = bytes.maketrans(b" \v\f\r", b"\t\t\t\n")
_SPLIT_DATE = re.compile(rb"(\d\d\.\d\d\.\d{2,4})\t(\d\d:\d\d:\d\d)")


def read(path: Path, options: Options) -> RawTable:
    """Read one file after finding separator, decimal sign, labels and units.

    `options.columns` names labels that are unknown.

    Raises
    ------
    FileFormatError
        If the file is damaged or unknown; the message names the line.
    """
    raw = unified(text(path))
    head = _lines(raw)
    for separator in _SEPARATORS:
        rows = [_cells(line, separator) for line in head]
        if (nested := find(rows)) is not None:
            layout = recognise([nested.flat], _told(head, nested), options)
            flat = _flattened(raw, nested, separator)
            if layout is not None and flat.lines is not None and flat.lines.size:
                return _read(path, options, layout, flat, head[: nested.row])
        layout = recognise(rows, head, options)
        if layout is not None:
            below = Below(_below(raw, layout.first), separator, layout.first + 1)
            return _read(path, options, layout, below, head[: layout.row])
    layout = recognise([_words(line) for line in head], head, options)
    if layout is not None:
        below = Below(_tabbed(_below(raw, layout.first)), "\t", layout.first + 1)
        return _read(path, options, layout, below, head[: layout.row])
    refuse_words(path, raw)
    separator = max(_SEPARATORS, key=lambda mark: sum(mark in line for line in head))
    raise unknown(path, [_cells(line, separator) for line in head])


def holds_table(start: bytes) -> bool:
    """Tell whether the first bytes of a file are a known kind of table.

    Parameters
    ----------
    start
        First bytes of any file.
    """
    if b"\0" in start:
        return False
    head = _lines(unified(start))
    every = [[_cells(line, mark) for line in head] for mark in _SEPARATORS]
    options = Options()
    return any(
        recognise(rows, head, options) is not None
        or (
            (nested := find(rows)) is not None
            and recognise([nested.flat], _told(head, nested), options) is not None
        )
        for rows in every
    )


class Below(NamedTuple):
    """Hold rows below the labels, with their place in the file."""

    body: bytes
    separator: str
    first_line: int
    lines: np.ndarray | None = None  # line of each row, counted from the first


def _flattened(raw: bytes, nested: Nested, separator: str) -> Below:
    """Return the records of a nested report as rows of one table."""
    mark = separator.encode()
    first = nested.row + nested.depth + 1
    rows = RowParts(
        depth=lambda line: len(line) - len(line.lstrip(mark)),
        cells=lambda line: _cells(decode(line), separator),
        joined=lambda cells: "".join(f"{c}{separator}" for c in cells).encode(),
    )
    below = _below(raw, first).split(b"\n")
    if any(b'"' in line for line in below[:_HEAD_LINES]):
        below = [_bare(line, separator) for line in below]
    lines, places = flattened(nested, below, rows)
    ended = raw.endswith(b"\n")
    return Below(b"\n".join(lines) + b"\n" * ended, separator, first + 1, places)


def _bare(line: bytes, separator: str) -> bytes:
    """Return a line without the quotes around its cells; separators become blanks."""
    cells = _cells(decode(line.rstrip(b"\r")), separator)
    return separator.join(c.replace(separator, " ") for c in cells).encode()


def _told(head: list[str], nested: Nested) -> list[str]:
    """Return all lines down to the labels as one text; makers leave marks there."""
    return ["\n".join(head[: nested.row + nested.depth + 1])]


def _read(
    path: Path,
    options: Options,
    layout: TableLayout,
    below: Below,
    above: list[str],
) -> RawTable:
    mark = below.separator.encode()
    rows, skipped = _from_first(below.body)
    below = below._replace(body=rows, first_line=below.first_line + skipped)
    below, own = _without_summaries(below)
    rows, labels = below.body, layout.labels
    extra = layout.vendor.unlabelled
    first = rows[: rows.find(b"\n") + 1 or None]
    if extra and first.count(mark) == named(labels) - 1 + extra:
        labels = (*labels[: named(labels)], *["(no label)"] * extra)
        own["unlabelled"] = f"{extra} column without a label is left out"
    body, notes = finish(rows, named(labels) - 1, mark)
    table = TextTable(labels, body, below.separator, below.first_line, below.lines)
    channel = {} if layout.channel is None else {"channel": layout.channel}
    wanted = {**layout.words, **channel}
    columns = table.read(layout.numbers, wanted, count=layout.number)
    if channel:
        columns = _of_one(path, columns, options.test)
    preamble = "\n".join(above)
    raw_table = assemble(
        layout,
        {name: columns[name] for name in layout.numbers},
        {name: columns[name] for name in layout.words},
        options,
        head=preamble,
        header={"text": preamble} if preamble else {},
        first_line=table.first_line if below.lines is None and not channel else None,
    )
    time = layout.found.get("test_time")
    told = time is not None and time.label.strip() in map(
        str.strip, options.columns or {}
    )
    if time is not None and not told:
        own |= _in_seconds(raw_table, time, parted=table.parted(time.index))
    own |= doubled(raw_table, labels)
    said = {**raw_table.notes, **table.doubt, **own, **notes}
    return replace(raw_table, numbers=columns.get(NUMBER), notes=said)


def _without_summaries(below: Below) -> tuple[Below, dict[str, str]]:
    """Return the rows without those of totals, and a note."""
    odd = summaries.lines_with_words(below.body, below.separator.encode())
    if not odd.size:
        return below, {}
    rows = below.body.split(b"\n")
    kept = np.delete(np.arange(len(rows)), odd)
    places = kept if below.lines is None else below.lines[kept]
    first = int(odd[0] if below.lines is None else below.lines[odd[0]])
    body = b"\n".join(rows[k] for k in kept)
    note = summaries.by_words(odd, below.first_line + first)
    return below._replace(body=body, lines=places), note


def _in_seconds(table: RawTable, time: Source, *, parted: bool) -> dict[str, str]:
    """Return a note if nothing in a table confirms that its time is in seconds."""
    if split(time.label)[1] or parted or confirms_time(table):
        return {}
    if table.instrument != "unknown" or time.factor != 1.0:
        return {}
    return {
        "time_units": f"the label {time.label.strip()!r} says no units: taken for s. "
        f"columns={{{time.label.strip()!r}: 'test_time (h)'}} says another one"
    }


def _of_one(
    path: Path, columns: dict[str, np.ndarray], test: int | None
) -> dict[str, np.ndarray]:
    """Return the rows of one channel.

    Raises
    ------
    ArgumentError
        If there are several channels and none was chosen.
    """
    names = [str(cell).strip() for cell in columns["channel"]]
    known = sorted(set(names) - {""})
    if len(known) < 2:
        return columns
    # For a channel such as 3-5, the last number is compared.
    chosen = [
        n for n in known if test is not None and re.split(r"\D+", n)[-1] == str(test)
    ]
    if len(chosen) != 1:
        raise ArgumentError(
            "test",
            test,
            f"the last number of one of the channels of {path.name}, which are "
            f"{known[:_SHOWN]}{' and more' * (len(known) > _SHOWN)}",
            "Several channels are several cells.",
        )
    mine = np.array([name == chosen[0] for name in names])
    return {name: values[mine] for name, values in columns.items()}


def _from_first(body: bytes) -> tuple[bytes, int]:
    """Return rows without empty lines before the first, and their number."""
    start = skipped = 0
    while (end := body.find(b"\n", start)) >= 0 and not body[start:end].strip(_BLANK):
        start, skipped = end + 1, skipped + 1
    return body[start:], skipped


def _lines(raw: bytes) -> list[str]:
    end = -1
    for _ in range(_HEAD_LINES):
        following = raw.find(b"\n", end + 1)
        if following < 0:
            end = len(raw)
            break
        end = following
        if end > _HEAD_BYTES:
            break
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
    return line.lstrip("~").replace(" /", "/").split()


def _below(raw: bytes, lines: int) -> bytes:
    end = 0
    for _ in range(lines):
        end = raw.find(b"\n", end) + 1
        if end == 0:
            return b""
    return raw[end:]


def _tabbed(body: bytes) -> bytes:
    """Turn blanks between cells into tabs, but keep each date with its time."""
    rows = body.replace(b"\r\n", b"\n").translate(_TABS)
    while b"\t\t" in rows:
        rows = rows.replace(b"\t\t", b"\t")
    rows = rows.replace(b"\n\t", b"\n").replace(b"\t\n", b"\n").strip(b"\t")
    return _SPLIT_DATE.sub(rb"\1 \2", rows)
