"""Write results as a workbook, with a sheet for each set of dimensions."""

from __future__ import annotations

import io
import math
import re
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batteryxr.core.checks import checked
from batteryxr.core.errors import DataError
from batteryxr.core.files import whole_file
from batteryxr.core.optional import require
from batteryxr.export.tables import (
    SheetTable,
    about,
    groups_of,
    require_ending,
    tables_of,
)

if TYPE_CHECKING:
    import os

    import xarray as xr

#: Limits of a sheet: rows, columns, and characters in a cell.
_ROWS, _COLUMNS, _SIGNS = 1_048_576, 16_384, 32_767
#: Characters that a sheet's name, or a cell, cannot have.
_NOT_IN_CELLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_NOT_IN_NAMES = re.compile(rf"[\[\]:*?/\\]|{_NOT_IN_CELLS.pattern}")


@checked
def write_xlsx(
    data: xr.DataArray | xr.Dataset | xr.DataTree,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> Path:
    """Write results as a workbook: names in the first row, units in the second.

    Quantities on the same dimensions share a sheet. The first sheet, "about", states
    how the numbers were made and what flags mean. Reads once, in blocks.

    Parameters
    ----------
    data
        Quantities along one or two dimensions, or a tree of such groups.
    path
        Path of the file, ending in ``.xlsx``.
    overwrite
        Replace an existing file.

    Returns
    -------
    pathlib.Path
        The workbook; it is written completely or not at all.

    Raises
    ------
    DataError
        If a variable has more than two dimensions, or more rows or columns than a
        sheet can hold; raised before anything is written.
    StoreError
        If the file exists and `overwrite` is False, or it cannot be written.
    MissingDependencyError
        If openpyxl is not installed (extra ``io``).

    Notes
    -----
    Texts are written as texts: no cell is a formula. Times are UTC in ISO 8601, because
    dates of workbooks have no time zone and no microseconds.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> batteryxr.write_xlsx(record, "cell.xlsx").name
    'cell.xlsx'
    """
    openpyxl = require("openpyxl", extra="io", purpose="writing workbooks")
    path = Path(path)
    require_ending(str(path), ".xlsx")
    parts = [
        (f"{name} " if name else "", part)
        for name, part in groups_of(data, "write_xlsx")
    ]
    sheets = [(p, t) for p, part in parts for t in tables_of(part, "write_xlsx")]
    for _, table in sheets:
        _require_room(table)
    with whole_file(path, overwrite=overwrite) as new, ExitStack() as stack:
        book = openpyxl.Workbook(write_only=True)
        stack.callback(_close, book)
        first = book.create_sheet("about")
        for prefix, part in parts:
            for line in about(part):
                first.append([_cell(first, f"{prefix}{line}")])
        names = {"about"}
        for prefix, table in sheets:
            _fill(book, _sheet_name(f"{prefix}{table.name}", names), table)
        packed = io.BytesIO()  # an archive that fails on a full disk complains later
        book.save(packed)
        new.write_bytes(packed.getvalue())
    return path


def _close(book: Any) -> None:
    """Close the sheets of an unsaved workbook, which would warn later."""
    for sheet in book.worksheets:
        with suppress(Exception):  # the first error is reported
            sheet.close()


def _require_room(table: SheetTable) -> None:
    rows = table.columns[0].values.size + 2 + len(table.labels)
    if rows > _ROWS or len(table.columns) > _COLUMNS:
        raise DataError(
            table.name,
            f"{rows} rows and {len(table.columns)} columns are more than a sheet holds",
            "Choose a part, or use batteryxr.write_csv or batteryxr.write_nexus.",
        )


def _fill(book: Any, name: str, table: SheetTable) -> None:
    sheet = book.create_sheet(name)
    sheet.freeze_panes = "B3"
    sheet.append([_cell(sheet, column.name) for column in table.columns])
    sheet.append([_cell(sheet, column.units) for column in table.columns])
    for block in table.blocks():
        for row in block:
            sheet.append([_cell(sheet, value) for value in row])
    for line in table.labels:
        # A long line continues in the next cell.
        parts = [line[k : k + _SIGNS] for k in range(0, len(line), _SIGNS)]
        sheet.append([_cell(sheet, part) for part in parts])


def _cell(sheet: Any, value: object) -> Any:
    """Return the content of a cell; a text stays a text, however it begins."""
    if isinstance(value, float) and math.isinf(value):
        value = str(value)  # a workbook cannot hold infinity
    if not isinstance(value, str):
        return value
    from openpyxl.cell import WriteOnlyCell

    cell = WriteOnlyCell(sheet, value=_NOT_IN_CELLS.sub(" ", value)[:_SIGNS])
    cell.data_type = "s"
    return cell


def _sheet_name(wanted: str, taken: set[str]) -> str:
    """Return a sheet name that is valid and not yet used."""
    name = base = _NOT_IN_NAMES.sub(" ", wanted).strip("' ")[:31] or "values"
    number = 1
    while name.lower() in taken:
        number += 1
        name = f"{base[: 31 - len(str(number)) - 1]} {number}"
    taken.add(name.lower())
    return name
