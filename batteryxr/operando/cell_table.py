"""The table of a study of many cells: files, masses, groups, checked before reading."""

from __future__ import annotations

import difflib
import inspect
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.io.cycler.reader import read_cycler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

#: Columns with a meaning of their own; numbers have units.
NAMES = ("cell", "path", "group", "mass", "nominal_capacity")
_UNITS = {"mass": "mg", "nominal_capacity": "mA h"}
#: Columns that are arguments of `read_cycler`.
OPTIONS = tuple(n for n in inspect.signature(read_cycler).parameters if n != "path")
#: How alike a column must be to a known one to be taken for a slip of the pen.
_ALIKE = 0.8


@dataclass(frozen=True)
class CellRow:
    """One cell of the table."""

    name: str
    source: Any  # what `read_cycler` takes, or a record
    group: str
    mass: float | None  # mg
    nominal_capacity: float | None  # mA h
    options: dict[str, Any]  # of `read_cycler`
    about: dict[str, Any]  # columns that are only passed on


def cell_rows(data: Any) -> list[CellRow]:
    """Return the cells of a table in any of its forms; see `cells`.

    Raises
    ------
    ArgumentError
        If there is no cell, a name stands twice, or a number is none.
    """
    rows = [_row(entry, number) for number, entry in enumerate(_entries(data), 1)]
    if not rows:
        raise ArgumentError("data", data, "a table of at least one cell")
    counts = Counter(row.name for row in rows)
    if twice := [name for name, n in counts.items() if n > 1]:
        raise ArgumentError(
            "data",
            twice,
            "names of cells that differ",
            "Several files of one cell go into one row, as a list.",
        )
    _warn_of_slips(rows)
    return rows


def _entries(data: Any) -> Iterator[Mapping[str, Any]]:
    """Yield one mapping of column to value for each cell."""
    if isinstance(data, str | os.PathLike):
        yield from _from_csv(Path(data).expanduser())
    elif hasattr(data, "to_dict") and hasattr(data, "columns"):
        yield from _from_frame(data)
    elif isinstance(data, Mapping):
        for name, entry in data.items():
            more = entry if _is_row(entry) else {"path": entry}
            yield {"cell": name, **more}
    else:
        for entry in data:
            yield entry if _is_row(entry) else {"path": entry}


def _is_row(entry: Any) -> bool:
    return isinstance(entry, Mapping) and not isinstance(entry, xr.Dataset)


def _from_frame(frame: pd.DataFrame) -> Iterator[Mapping[str, Any]]:
    if frame.index.name == "cell":
        frame = frame.reset_index()
    yield from frame.to_dict("records")


def _from_csv(path: Path) -> Iterator[Mapping[str, Any]]:
    import pandas as pd

    if not path.is_file():
        raise ArgumentError("data", str(path), "an existing CSV file, or a table")
    frame = pd.read_csv(path, sep=None, engine="python", skipinitialspace=True)
    for row in _from_frame(frame.rename(columns=lambda name: str(name).strip())):
        where = row.get("path")
        beside = path.parent / where if isinstance(where, str) else where
        yield {**row, "path": beside}


def _row(entry: Mapping[str, Any], number: int) -> CellRow:
    known = {str(k): v for k, v in entry.items() if not _is_nothing(v)}
    source = known.pop("path", None)
    if source is None:
        raise ArgumentError(
            "data",
            dict(entry),
            "a 'path' in each row",
            f"Row {number} has the columns {sorted(map(str, entry))}.",
        )
    name = _text(known.pop("cell")) if "cell" in known else _stem(source, number)
    return CellRow(
        name,
        source,
        _text(known.pop("group", "all")),
        _number(known.pop("mass", None), "mass", name),
        _number(known.pop("nominal_capacity", None), "nominal_capacity", name),
        {option: known.pop(option) for option in OPTIONS if option in known},
        known,
    )


def _is_nothing(value: Any) -> bool:
    """Tell whether a table has no value here: None, NaN or NaT."""
    return value is None or (np.isscalar(value) and value != value)


def _text(value: Any) -> str:
    # A column of whole numbers with a gap becomes one of floats in pandas.
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value).strip()


def _stem(source: Any, number: int) -> str:
    first = source[0] if isinstance(source, list | tuple) and source else source
    if isinstance(first, str | os.PathLike):
        return Path(first).name.partition(".")[0]
    return f"cell {number}"


def _number(value: Any, column: str, cell: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (0 < number < math.inf):
        units = _UNITS[column]
        expected = f"a number > 0 in {units} for cell {cell!r}"
        raise ArgumentError(column, value, expected)
    return number


def _warn_of_slips(rows: Sequence[CellRow]) -> None:
    """Warn of columns that look like a known one, misspelt."""
    for column in sorted({c for row in rows for c in row.about}):
        near = difflib.get_close_matches(
            column.lower(), [*NAMES, *OPTIONS], n=1, cutoff=_ALIKE
        )
        if near:
            warn_quality(
                f"the column {column!r} is passed on as it is; was {near[0]!r} meant?"
            )
