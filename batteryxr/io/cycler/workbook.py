"""Excel exports (``.xlsx``) of Arbin, Neware, Landt and others."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.core.optional import require
from batteryxr.io import clock
from batteryxr.io.cycler.recognise import TableLayout, assemble, recognise, unknown
from batteryxr.io.door.archives import check_workbook
from batteryxr.io.door.files import named

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batteryxr.io.cycler.table import Options, RawTable

_HEAD_ROWS = 50  # labels stand within these
_BLANK, _SPARSE = 2_000_000, 20  # rows, and cells for each that is filled
_STEPS = ("statis", "cycle", "step")  # sheets that summarise, by start of their names


def read(path: Path, options: Options) -> RawTable:
    """Read the rows of all sheets that hold them, in order.

    `options.columns` names labels that no map knows.

    Raises
    ------
    MissingDependencyError
        If openpyxl is not installed.
    FileFormatError
        If it is no workbook, or no sheet holds time, voltage and current.
    """
    openpyxl = require("openpyxl", extra="io", purpose="reading .xlsx files")
    check_workbook(path)
    # openpyxl lets zip, XML and its own errors through.
    with named(path, "openpyxl cannot open it"):
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        sheets = {s.title: _rows(path, s) for s in book.worksheets}
        book.close()
    layout: TableLayout | None = None
    rows: list[Sequence[Any]] = []
    other: dict[str, str] = {}
    first: list[list[str]] = []
    sheets_read = 0
    for title, cells in sheets.items():
        head = [[_text(c) for c in row] for row in cells[:_HEAD_ROWS]]
        lines = ["\t".join(row) for row in head]
        summary = title.lower().startswith(_STEPS)
        found = None if summary else recognise(head, lines, options)
        if found is None:
            other[title] = "\n".join(line.strip() for line in lines if line.strip())
            first = first or head
        elif layout is None:
            layout = found
            sheets_read += 1
            rows.extend(cells[found.first :])
        elif found.labels == layout.labels:  # a long test goes on in the next sheet
            sheets_read += 1
            rows.extend(cells[found.first :])
    if layout is None:
        raise unknown(path, first)
    while rows and not any(cell is not None for cell in rows[-1]):
        rows.pop()
    columns = list(itertools.zip_longest(*rows))
    if not rows:
        raise FileFormatError(path, "no data rows below the labels.")
    columns += [(None,) * len(rows)] * (len(layout.labels) - len(columns))
    first_line = layout.first + 1 if sheets_read == 1 else None
    return assemble(
        layout,
        {n: _numbers(columns[i], path, first_line) for n, i in layout.numbers.items()},
        {n: columns[i] for n, i in layout.words.items()},
        options,
        header=other,
        first_line=first_line,
    )


def _rows(path: Path, sheet: Any) -> list[Sequence[Any]]:
    """Return the rows of a sheet up to the last that holds something.

    Raises
    ------
    FileFormatError
        If almost nothing stands in almost endless rows or columns.
    """
    sheet.reset_dimensions()  # what it says of its size may be anything
    rows: list[Sequence[Any]] = []
    blank = cells = filled = 0
    for row in sheet.iter_rows(values_only=True):
        held = len(row) - row.count(None)
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


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)


def _numbers(cells: Sequence[Any], path: Path, first_line: int | None) -> np.ndarray:
    values = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        try:
            values[row] = _number(cell)
        except (ValueError, OverflowError) as error:
            raise FileFormatError(
                path,
                f"row {row + 1}: {str(cell)[:40]!r} is not a number.",
                None if first_line is None else first_line + row,
            ) from error
    return values


def _number(cell: Any) -> float:
    if cell is None or (isinstance(cell, str) and cell.strip() in ("", "-", "--")):
        return np.nan
    if isinstance(cell, int | float):
        return float(cell)
    if isinstance(cell, str) and cell.count(":") >= 2:
        return clock.duration(cell)
    if isinstance(cell, datetime):
        raise ValueError("a date")
    return float(str(cell))
