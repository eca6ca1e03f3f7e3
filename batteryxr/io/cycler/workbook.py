"""Read Excel exports (``.xlsx``, ``.xls``) of Arbin, Neware, Landt and others."""

from __future__ import annotations

import io
import itertools
import re
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.core.errors import ArgumentError, FileFormatError
from batteryxr.core.optional import require
from batteryxr.io import clock
from batteryxr.io.cycler import summaries, vendor_csv
from batteryxr.io.cycler.layouts.nested import RowParts, find, flattened
from batteryxr.io.cycler.recognise import (
    TableLayout,
    assemble,
    doubled,
    recognise,
    unknown,
)
from batteryxr.io.door.archives import check_zip
from batteryxr.io.door.files import head, named, opened, whole
from batteryxr.io.door.signatures import kind_of

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Sequence
    from pathlib import Path

    from batteryxr.io.cycler.table import Options, RawTable

_DAY_ZERO = datetime(1899, 12, 31)  # day 0 of Excel's dates
_DAY_ZERO_MAC, _MAC = datetime(1904, 1, 1), 1462  # as on a Mac, and days later
_HEAD_ROWS = 50  # rows that are searched for labels
_LETTERS = 32_767  # most letters of a cell in Excel
_BLANK, _SPARSE = 2_000_000, 20  # most empty rows, and most cells per filled one
#: Names of the sheets of one channel: Channel_1-008, Channel_11_1, Channel_11_2.
_CHANNEL = re.compile(r"Channel[_ ]?(?:\d+-)?(\d+)", re.IGNORECASE)
_STEPS = ("statis", "cycle", "step")  # sheets that summarise, by start of their names


def read(path: Path, options: Options) -> RawTable:
    """Read the rows of all sheets that hold them, in order.

    `options.columns` names labels that are unknown; `options.test` gives the channel
    in a workbook of several.

    Raises
    ------
    MissingDependencyError
        If openpyxl, or xlrd for old workbooks, is not installed.
    FileFormatError
        If it is no workbook, or no sheet holds time, voltage and current.
    ArgumentError
        If it holds several channels, and none was chosen.
    """
    kind = kind_of(head(path))
    if kind is None:  # many programs name their text files .xls
        return vendor_csv.read(path, options)
    sheets, day_zero = _old_sheets(path) if kind.name == "ole" else _sheets(path)
    tables: dict[str, _Table] = {}
    other: dict[str, str] = {}
    first: list[list[str]] = []
    for title, cells in sheets.items():
        summary = title.lower().startswith(_STEPS)
        found = None if summary else _table(cells, options)
        if found is None:
            begin = [[_text(c) for c in row] for row in cells[:_HEAD_ROWS]]
            lines = ["\t".join(row).strip() for row in begin]
            other[title] = "\n".join(line for line in lines if line)
            first = first or begin
        else:
            tables[title] = found._replace(day_zero=day_zero)
    if not tables:
        raise unknown(path, first)
    return _assembled(path, _of_one(path, tables, options.test), other, options)


class _Table(NamedTuple):
    """Hold a sheet of rows, with its layout."""

    layout: TableLayout
    rows: list[Sequence[Any]]
    day_zero: datetime = _DAY_ZERO


def _table(cells: list[Sequence[Any]], options: Options) -> _Table | None:
    begin = [[_text(c) for c in row] for row in cells[:_HEAD_ROWS]]
    lines = ["\t".join(row) for row in begin]
    if (nested := find(begin)) is not None:
        told = "\n".join(lines[: nested.row + nested.depth + 1])
        if (layout := recognise([nested.flat], [told], options)) is not None:
            below = cells[nested.row + nested.depth + 1 :]
            if records := flattened(nested, below, _BY_CELL)[0]:
                return _Table(layout, records)
    layout = recognise(begin, lines, options)
    return None if layout is None else _Table(layout, cells[layout.first :])


def _of_one(path: Path, tables: dict[str, _Table], test: int | None) -> list[_Table]:
    """Return the sheets of one channel: a long test continues in the next sheet.

    Raises
    ------
    ArgumentError
        If there are several channels and none was chosen.
    """
    channels: dict[int, list[_Table]] = {}
    for title, table in tables.items():
        match = _CHANNEL.match(title)
        channels.setdefault(int(match[1]) if match else -1, []).append(table)
    known = channels.keys() - {-1}
    if test not in channels and (len(channels) > 1 or (known and test is not None)):
        raise ArgumentError(
            "test",
            test,
            f"one of the channels of {path.name}, which are {sorted(known)}",
            "Several channels are several cells.",
        )
    chosen = channels[test] if test in channels else next(iter(channels.values()))
    labels = chosen[0].layout.labels
    return [table for table in chosen if table.layout.labels == labels]


def _assembled(
    path: Path, tables: list[_Table], other: dict[str, str], options: Options
) -> RawTable:
    layout = tables[0].layout
    rows = [row for table in tables for row in table.rows]
    while rows and not any(cell is not None for cell in rows[-1]):
        rows.pop()
    first_line = layout.first + 1 if len(tables) == 1 else None
    odd = summaries.rows_with_words(rows)
    if odd:
        rows, first_line = (
            [row for k, row in enumerate(rows) if k not in set(odd)],
            None,
        )
    columns = list(itertools.zip_longest(*rows))
    if not rows:
        raise FileFormatError(path, "no data rows below the labels.")
    columns += [(None,) * len(rows)] * (len(layout.labels) - len(columns))
    zero, places = tables[0].day_zero, layout.numbers.items()
    table = assemble(
        layout,
        {n: _numbers(columns[i], path, first_line, zero) for n, i in places},
        {n: _clocks(columns[i], zero) for n, i in layout.words.items()},
        options,
        header=other,
        first_line=first_line,
    )
    said = summaries.by_words(odd, layout.first + 1 + (odd or [0])[0])
    notes = {**table.notes, **said, **doubled(table, layout.labels)}
    return replace(table, numbers=_counts(columns, layout.number), notes=notes)


def _counts(columns: list[tuple[Any, ...]], place: int | None) -> np.ndarray | None:
    """Return the numbers that a sheet gives its rows; None if it gives none."""
    if place is None or not all(isinstance(c, int | float) for c in columns[place]):
        return None
    return np.array(columns[place], dtype=np.float64)


def _clocks(cells: tuple[Any, ...], day_zero: datetime) -> tuple[Any, ...]:
    """Return cells of words or dates; plain numbers of days count from 1899."""
    if day_zero == _DAY_ZERO:
        return cells
    return tuple(c + _MAC if isinstance(c, int | float) else c for c in cells)


def _sheets(path: Path) -> tuple[dict[str, list[Sequence[Any]]], datetime]:
    """Return the rows of each sheet of a workbook, and day 0 of its dates."""
    openpyxl = require("openpyxl", extra="io", purpose="reading .xlsx files")
    _check_workbook(path)
    # openpyxl passes on errors of zip and XML, and judges files by name.
    with named(path, "is not a workbook as a whole"), opened(path) as file:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        sheets = {s.title: _rows(path, s) for s in book.worksheets}
        book.close()
    return sheets, _DAY_ZERO_MAC if book.epoch == _DAY_ZERO_MAC else _DAY_ZERO


def _old_sheets(path: Path) -> tuple[dict[str, list[Sequence[Any]]], datetime]:
    """Return the rows of each sheet of a workbook from before 2007, and its day 0."""
    xlrd = require("xlrd", extra="io", purpose="reading .xls workbooks")
    said = "is a compound file (.xls, .doc, .xrm), but no workbook that xlrd opens"
    with named(path, said):
        book = xlrd.open_workbook(file_contents=whole(path), logfile=io.StringIO())
        dates = xlrd.XL_CELL_DATE
        empty = (xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK, xlrd.XL_CELL_ERROR)

        def value(cell: Any) -> Any:
            if cell.ctype in empty or cell.value == "":
                return None
            if cell.ctype == dates and cell.value < 1:
                return timedelta(days=cell.value)
            if cell.ctype == dates:
                return xlrd.xldate_as_datetime(cell.value, book.datemode)
            return cell.value

        sheets: dict[str, list[Sequence[Any]]] = {
            sheet.name: [
                tuple(map(value, sheet.row(number))) for number in range(sheet.nrows)
            ]
            for sheet in book.sheets()
        }
        return sheets, _DAY_ZERO_MAC if book.datemode else _DAY_ZERO


def _rows(path: Path, sheet: Any) -> list[Sequence[Any]]:
    """Return the rows of a sheet up to the last that is not empty.

    Raises
    ------
    FileFormatError
        If a sheet is almost empty but almost endless, or a cell holds more than
        Excel allows.
    """
    sheet.reset_dimensions()  # the size that it states may be wrong
    rows: list[Sequence[Any]] = []
    blank = cells = filled = 0
    for row in sheet.iter_rows(values_only=True):
        held = len(row) - row.count(None)
        if any(type(cell) is str and len(cell) > _LETTERS for cell in row):
            raise FileFormatError(
                path,
                f"sheet {sheet.title!r} has a cell of more than {_LETTERS:,} letters, "
                "which no workbook can hold.",
            )
        if not held:
            blank += 1
            if blank > _BLANK:
                break
            continue
        rows += [()] * blank
        blank = 0
        rows.append(row)
        cells, filled = cells + len(row), filled + held
        if cells > _SPARSE * filled + _BLANK // 2:
            break
    else:
        return rows
    raise FileFormatError(
        path,
        f"the sheet {sheet.title!r} is almost empty and almost endless near row "
        f"{len(rows) + blank}. Delete what stands far from the table.",
    )


def _depth(row: Sequence[Any]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda c: c is None or c == "", row))


_BY_CELL = RowParts(depth=_depth, cells=tuple, joined=tuple)


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)


def _numbers(
    cells: Sequence[Any], path: Path, first_line: int | None, day_zero: datetime
) -> np.ndarray:
    values = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        try:
            values[row] = _number(cell, day_zero)
        except (ValueError, OverflowError) as error:
            raise FileFormatError(
                path,
                f"row {row + 1}: {str(cell)[:40]!r} is not a number.",
                None if first_line is None else first_line + row,
            ) from error
    return values


def _number(cell: Any, day_zero: datetime) -> float:
    if cell is None or (isinstance(cell, str) and cell.strip() in ("", "-", "--")):
        return np.nan
    if isinstance(cell, int | float):
        return float(cell)
    if isinstance(cell, str) and cell.count(":") >= 2:
        return clock.duration(cell)
    if isinstance(cell, time):
        cell = datetime.combine(day_zero, cell) - day_zero
    elif isinstance(cell, datetime) and cell.year <= day_zero.year + 1:
        # A duration shown as a time of day. There was no 29 February 1900.
        leap = day_zero == _DAY_ZERO and cell >= datetime(1900, 3, 1)
        cell = cell - day_zero + timedelta(days=leap)
    if isinstance(cell, timedelta):
        return cell.total_seconds()
    if isinstance(cell, datetime):
        raise ValueError("a date")
    return float(str(cell))


#: Bytes of a member that are read at once.
_READ = 1 << 16
#: Most bytes of one XML tag.
_TAG = 1 << 18
#: Most tags within tags, and most tags: a few, or so many for each packed byte.
_NESTED, _TAGS, _TAGS_RATIO = 1000, 150_000, 3


def _check_workbook(path: Path) -> None:
    """Raise if a zip archive is no workbook, or defines entities of its own.

    Raises
    ------
    FileFormatError
        If it is no workbook, or `check_zip` refuses it; the message says why.
    """
    with check_zip(path) as archive, named(path, "is not a whole workbook"):
        names = archive.namelist()
        if "[Content_Types].xml" not in names:
            raise FileFormatError(
                path, f"is a zip archive of {names[:4]}, and no workbook."
            )
        for name in names:
            with archive.open(name) as member:
                start = member.read(_READ)
                if b"<!DOCTYPE" in start:
                    raise FileFormatError(
                        path, f"{name!r} in it defines entities, as no workbook does."
                    )
                if name.endswith(".xml"):
                    _refuse_odd_tags(path, archive.getinfo(name), start, member)


def _refuse_odd_tags(
    path: Path, about: zipfile.ZipInfo, start: bytes, member: Any
) -> None:
    """Raise on tags over which an XML parser takes long: long, deep, or too many."""
    since = tags = depth = 0
    name, piece = about.filename, start
    while piece:
        end = piece.rfind(b">")
        since = since + len(piece) if end < 0 else len(piece) - end
        odd = f"has a tag or a word of more than {_TAG:,} bytes" if since > _TAG else ""
        opened = piece.count(b"<")
        tags += opened
        depth += opened - 2 * piece.count(b"</") - piece.count(b"/>")
        if depth > _NESTED:
            odd = f"nests tags more than {_NESTED:,} deep"
        if tags > max(_TAGS, _TAGS_RATIO * about.compress_size):
            odd = f"packs more than {tags:,} tags into {about.compress_size:,} bytes"
        if odd:
            raise FileFormatError(path, f"{name!r} in it {odd}, as no table does.")
        kept = piece[-1:] if piece.endswith((b"<", b"/")) else b""
        depth -= kept == b"<"
        tags -= kept == b"<"
        more = member.read(_READ)
        piece = kept + more if more else b""
