"""Read Battery Data Format, csv and parquet: one table, with units in the labels."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import ArgumentError, FileFormatError, UnitsError
from batteryxr.io import clock
from batteryxr.io.cycler.bdf_labels import Place, canonical, locate, parse
from batteryxr.io.cycler.decimals import shift
from batteryxr.io.cycler.labels import CLOCK, meant, split, zone_of
from batteryxr.io.cycler.recognise import assemble, recognise
from batteryxr.io.cycler.table import RawTable
from batteryxr.io.cycler.text import TextTable, decode, finish
from batteryxr.io.door.archives import parquet_columns, parquet_labels
from batteryxr.io.door.files import head, text
from batteryxr.io.door.words import first_odd
from batteryxr.io.timing.cells import Style
from batteryxr.io.timing.rows import stamped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batteryxr.io.cycler.table import Options

_PARQUET = b"PAR1"
#: Label of a column of dates.
_DATES = re.compile(r"date[ _]?time(?![a-z])", re.IGNORECASE)
#: Most letters of a word that may be a number.
_LONG = 1000


def read(path: Path, options: Options) -> RawTable:
    """Read one file with labels in any of the three styles of the format.

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
    table = TextTable(labels, body, ",", 2)
    places = _located(path.name, labels, options)
    at = _dates(labels, places)
    numbers = {n: place.index for n, place in places.items() if place.index != at}
    columns = table.read(numbers, {} if at is None else {CLOCK: at})
    cells = columns.pop(CLOCK, None)
    found = _table(columns, places, first_line=2, notes=notes)
    return found if at is None else _stamped(found, cells, labels[at], options)


def _parquet(path: Path, options: Options) -> RawTable:
    labels = parquet_labels(path)
    places = _places(path.name, labels, options)
    if not {"voltage", "current"} <= places.keys():
        found = _labelled_otherwise(path, labels, options)
        if found is not None:
            return found
        _refuse_none(labels, places)
    at = _dates(labels, places)
    wanted = {n: labels[p.index] for n, p in places.items() if p.index != at}
    dated = [] if at is None else [labels[at]]
    read = parquet_columns(path, [*wanted.values(), *dated])
    numbers = {n: _numbers(path, label, read[label]) for n, label in wanted.items()}
    found = _table(numbers, places)
    if at is None:
        return found
    return _stamped(found, read[labels[at]].to_pylist(), labels[at], options)


def _dates(labels: Sequence[str], places: dict[str, Place]) -> int | None:
    """Return the index of the column of dates, unless there is one of Unix times."""
    dated = [k for k, label in enumerate(labels) if _DATES.match(label.strip())]
    unix = places.get("unix_time")
    return dated[0] if dated and (unix is None or unix.index in dated) else None


def _stamped(table: RawTable, cells: Any, label: str, options: Options) -> RawTable:
    """Return a table with the clock of a column of dates."""
    style = Style(options.dayfirst, None, clock.zone(zone_of(label)), None)
    try:
        return stamped(table, cells, style)
    except ArgumentError as error:
        if options.dayfirst is not None:
            raise
        return replace(table, notes={**table.notes, "ambiguous_date": str(error)})


def _located(file: str, labels: Sequence[str], options: Options) -> dict[str, Place]:
    places = _places(file, labels, options)
    _refuse_none(labels, places)
    return places


def _places(file: str, labels: Sequence[str], options: Options) -> dict[str, Place]:
    try:
        places = locate(list(labels), options.columns)
    except (UnitsError, ValueError) as error:
        raise FileFormatError(
            None, f"a column has units of another kind: {error}.", 1
        ) from error
    for place in places.values():
        _refuse_twice(labels, labels[place.index])
    _refuse_two_currents(file, labels, places, options)
    return places


def _refuse_two_currents(
    file: str, labels: Sequence[str], places: dict[str, Place], options: Options
) -> None:
    given = {meant(name)[0] for name in (options.columns or {}).values()}
    if "current" not in places or "current" in given:
        return
    stem = places["current"].term.stem
    named = [n for n in labels if (term := parse(n)) is not None and term.stem == stem]
    named += [n for n in labels if n not in named and split(n)[0] == "current"]
    if len(named) > 1:
        raise ArgumentError(
            "columns",
            None,
            f"which of the columns {named} of {file} is the current of the cell",
            f"Pass columns={{{named[0]!r}: 'current'}}, or leave one of them.",
        )


def _refuse_twice(labels: Sequence[str], label: str) -> None:
    if (n := list(labels).count(label)) > 1:
        raise FileFormatError(
            None, f"has {n} columns called {label!r}. Leave one, or rename them.", 1
        )


def _refuse_none(labels: Sequence[str], places: dict[str, Place]) -> None:
    if not places:
        shown = ", ".join(map(repr, labels[:8]))
        raise FileFormatError(
            None,
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
    moved = {n: shift(columns[n], p.places) for n, p in places.items() if n in columns}
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


def _labelled_otherwise(
    path: Path, labels: list[str], options: Options
) -> RawTable | None:
    """Return columns under the labels of a maker or a person; None if unknown.

    Parameters
    ----------
    path, labels
        Path of the file, and the labels of its columns.
    options
        `Options.columns` names labels that are unknown.

    Raises
    ------
    FileFormatError
        If a column does not hold numbers.
    """
    layout = recognise([labels], ["\t".join(labels)], options)
    if layout is None:
        return None
    wanted = {n: labels[i] for n, i in (layout.numbers | layout.words).items()}
    for label in wanted.values():
        _refuse_twice(labels, label)
    own = [label for k, label in enumerate(labels) if k == layout.number]
    own = [label for label in own if labels.count(label) == 1]
    read = parquet_columns(path, [*wanted.values(), *own])
    numbers = {n: _numbers(path, wanted[n], read[wanted[n]]) for n in layout.numbers}
    words = {n: read[wanted[n]].to_pylist() for n in layout.words}
    counts = read[own[0]].to_numpy() if own else None
    if counts is not None and counts.dtype.kind not in "iuf":
        counts = None  # words do not number the rows
    return replace(assemble(layout, numbers, words, options), numbers=counts)


def _numbers(path: Path, label: str, column: Any) -> np.ndarray:
    """Return a column as float64; durations, by type or as text, in seconds."""
    try:
        if hasattr(column.type, "value_type"):
            parts = [_meant(path, label, chunk) for chunk in column.chunks]
            return np.concatenate(parts) if parts else np.empty(0)
        values = column.to_numpy()
        if values.dtype.kind == "m":
            return np.asarray(values / np.timedelta64(1, "s"), dtype=np.float64)
        return np.asarray(values, dtype=np.float64)
    except FileFormatError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise _no_numbers(path, label, column) from error


def _meant(path: Path, label: str, chunk: Any) -> np.ndarray:
    """Return the numbers of a dictionary column; each distinct word is read once."""
    words = chunk.dictionary.to_pylist()
    if any(isinstance(w, str | bytes) and len(w) > _LONG for w in words):
        raise FileFormatError(
            path,
            f"column {label!r} holds words of more than {_LONG} letters, not numbers.",
        )
    numbers = np.array([*map(_number, words), np.nan])
    return numbers[chunk.indices.fill_null(len(words)).to_numpy()]


def _no_numbers(path: Path, label: str, column: Any) -> FileFormatError:
    """Return the error for a column with something that is not a number."""
    odd = first_odd(column.unique().to_pylist())
    found = f", but {odd!r}" if odd else ""
    return FileFormatError(
        path, f"column {label!r} does not hold numbers{found}. Export it again."
    )


def _number(word: Any) -> float:
    if word is None:
        return math.nan
    timed = isinstance(word, str) and word.count(":") >= 2
    return clock.duration(word) if timed else float(word)
