"""Battery Data Format, csv and parquet: one table of rows, units in the labels."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import FileFormatError, UnitsError
from batteryxr.core.optional import require
from batteryxr.io import clock
from batteryxr.io.cycler.bdf_labels import Place, canonical, locate
from batteryxr.io.cycler.decimals import shift
from batteryxr.io.cycler.recognise import assemble, recognise
from batteryxr.io.cycler.table import RawTable
from batteryxr.io.cycler.text import TextTable, decode, finish
from batteryxr.io.door.files import head, named, refuse_other, regular, text
from batteryxr.io.door.limits import refuse_bomb
from batteryxr.io.door.words import first_odd

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batteryxr.io.cycler.table import Options

_PARQUET = b"PAR1"


def read(path: Path, options: Options) -> RawTable:
    """Read one file, labels in any of the format's three styles.

    Raises
    ------
    FileFormatError
        If the file is damaged, or has no column of the format.
    MissingDependencyError
        If it is parquet and pyarrow is not installed.
    """
    is_parquet = head(path, 4) == _PARQUET
    if is_parquet or path.suffix.lower() == ".parquet":
        return _parquet(path, options)
    return _csv(path, options)


def _csv(path: Path, options: Options) -> RawTable:
    raw = text(path)
    first, _, rest = raw.partition(b"\n")
    try:
        labels = tuple(next(csv.reader([decode(first).rstrip("\r")]), ()))
    except csv.Error as error:
        raise FileFormatError(
            path,
            "the labels are damaged: a quote is not closed, or one is too long.",
            1,
        ) from error
    body, notes = finish(rest, len(labels) - 1, b",")
    table = TextTable(path, labels, body, ",", 2)
    places = _located(path, labels, options)
    columns = table.read({name: place.index for name, place in places.items()})
    return _table(columns, places, first_line=2, notes=notes)


def _parquet(path: Path, options: Options) -> RawTable:
    parquet = require(
        "pyarrow.parquet", extra="io", package="pyarrow", purpose="reading parquet"
    )
    refuse_other(path, head(path), "parquet")
    with (
        named(path, "is not a whole parquet file"),
        parquet.ParquetFile(path) as file,
    ):
        about = file.metadata
        needed = 8 * about.num_rows * about.num_columns
        refuse_bomb(path, regular(path), needed, "the table")
        table = file.read()
    labels = table.column_names
    places = _places(path, labels, options)
    if not {"voltage", "current"} <= places.keys():
        found = _labelled_otherwise(path, table, options)
        if found is not None:
            return found
        _refuse_none(path, labels, places)
    columns = {}
    for name, place in places.items():
        try:
            values = table.column(place.index).to_numpy()
            columns[name] = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            label = table.column_names[place.index]
            raise _no_numbers(path, label, table.column(place.index)) from error
    return _table(columns, places)


def _located(path: Path, labels: Sequence[str], options: Options) -> dict[str, Place]:
    places = _places(path, labels, options)
    _refuse_none(path, labels, places)
    return places


def _places(path: Path, labels: Sequence[str], options: Options) -> dict[str, Place]:
    try:
        places = locate(list(labels), options.columns)
    except (UnitsError, ValueError) as error:
        raise FileFormatError(
            path, f"a column has units of another kind: {error}.", 1
        ) from error
    for place in places.values():
        label = labels[place.index]
        if (n := list(labels).count(label)) > 1:
            raise FileFormatError(
                path, f"has {n} columns called {label!r}. Leave one, or rename them.", 1
            )
    return places


def _refuse_none(path: Path, labels: Sequence[str], places: dict[str, Place]) -> None:
    if not places:
        shown = ", ".join(map(repr, labels[:8]))
        raise FileFormatError(
            path,
            f"no column of the Battery Data Format, such as 'Voltage / V', nor one "
            f"that a maker writes, among {shown}. Pass "
            "columns={'label': 'voltage (V)', ...}; or format='csv' for text.",
            1,
        )


def _table(
    columns: dict[str, np.ndarray],
    places: dict[str, Place],
    *,
    first_line: int | None = None,
    notes: dict[str, str] | None = None,
) -> RawTable:
    moved = {name: shift(columns[name], place.places) for name, place in places.items()}
    unix = moved.pop("unix_time", None)
    return RawTable(
        columns=moved,
        instrument="Battery Data Format",
        unix_time=unix,
        labels={n: canonical(n, place.term).preferred for n, place in places.items()},
        units={name: place.units for name, place in places.items()},
        first_line=first_line,
        notes=notes or {},
    )


def _labelled_otherwise(path: Path, table: Any, options: Options) -> RawTable | None:
    """Return columns under the labels of a maker or a person; None if not known.

    Parameters
    ----------
    path
        The file.
    table
        As Arrow read it.
    options
        `Options.columns` names labels that no map knows.

    Raises
    ------
    FileFormatError
        If a column does not hold numbers.
    """
    labels = list(map(str, table.column_names))
    layout = recognise([labels], ["\t".join(labels)], options)
    if layout is None:
        return None
    numbers = {
        name: _numbers(path, labels[index], table.column(index))
        for name, index in layout.numbers.items()
    }
    words = {n: table.column(i).to_pylist() for n, i in layout.words.items()}
    return assemble(layout, numbers, words, options)


def _numbers(path: Path, label: str, column: Any) -> np.ndarray:
    """Return float64; durations, as types or as text, in seconds."""
    try:
        values = column.to_numpy()
        if values.dtype.kind == "m":
            return np.asarray(values / np.timedelta64(1, "s"), dtype=np.float64)
        if values.dtype.kind == "O" and isinstance(values[0], str):
            return np.array([_number(value) for value in values])
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _no_numbers(path, label, column) from error


def _no_numbers(path: Path, label: str, column: Any) -> FileFormatError:
    """Return the error of a column in which something is no number."""
    odd = first_odd(column.to_pylist())
    found = f", but {odd!r}" if odd else ""
    return FileFormatError(
        path, f"column {label!r} does not hold numbers{found}. Export it again."
    )


def _number(text: str) -> float:
    return clock.duration(text) if text.count(":") >= 2 else float(text)
