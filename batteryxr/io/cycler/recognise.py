"""Tell whose table it is, and bring it into units of the data model."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import ArgumentError, FileFormatError
from batteryxr.io import clock
from batteryxr.io.cycler.labels import CLOCK, STATE, Source, choose, units_row
from batteryxr.io.cycler.table import COUNTERS, REQUIRED, Options, RawTable
from batteryxr.io.cycler.vendors import GENERIC, TEXT, Vendor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_TELLING = re.compile(
    r"vol(t|\b)|potential|ewe|ecell|电压|\bu\b|\be\b|\bv\b", re.IGNORECASE
)
_IMPEDANCE = re.compile(r"z\s?real|z\s?imag|re\s?\(z\)|im\s?\(z\)|z''?\s?[/(]", re.I)
_DISCHARGE = re.compile(r"\s*(d\b|dis|(.*[\W_])?d(is)?ch|.*放电)", re.IGNORECASE)
_COLDEST = -273.15  # degC
_TIME = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})(?:\.\d+)?")


@dataclass(frozen=True)
class TableLayout:
    """Where a table's labels stand and what they mean.

    Parameters
    ----------
    vendor
        Whose labels they are.
    labels
        As written, units of a units row added.
    row
        Index of the line of labels.
    first
        Index of the first row below them.
    found
        Where each quantity stands.
    """

    vendor: Vendor
    labels: tuple[str, ...]
    row: int
    first: int
    found: Mapping[str, Source]

    @property
    def numbers(self) -> dict[str, int]:
        """Name -> column index of what is read as numbers."""
        words = (CLOCK, STATE)
        return {n: s.index for n, s in self.found.items() if n not in words}

    @property
    def words(self) -> dict[str, int]:
        """Name -> column index of what is read as text."""
        words = (CLOCK, STATE)
        return {n: s.index for n, s in self.found.items() if n in words}


def recognise(
    rows: Sequence[Sequence[str]], head: Sequence[str], options: Options
) -> TableLayout | None:
    """Return the layout of the first line of labels that some maker's map fits.

    Parameters
    ----------
    rows
        The first lines, split into cells.
    head
        The same lines as text, in which makers leave their marks.
    options
        `Options.columns` goes before every map.
    """
    explicit = dict(options.columns or {})
    for number, cells in enumerate(rows):
        present = {cell.strip() for cell in cells}
        if len(cells) < 3 or not explicit.keys() <= present:
            continue
        if not explicit and not any(map(_TELLING.search, cells)):
            continue
        labels, first, wanted = tuple(cells), number + 1, explicit
        while first < len(rows) and not any(cell.strip() for cell in rows[first]):
            first += 1
        if first < len(rows) and (units := units_row(rows[first])) is not None:
            pairs = zip(cells, units + [""] * len(cells), strict=False)
            labels = tuple(f"{c} [{u}]" if u else c for c, u in pairs)
            wanted = {
                label: explicit[cell.strip()]
                for cell, label in zip(cells, labels, strict=True)
                if cell.strip() in explicit
            }
            first += 1
        text = "\n".join(head[: number + 1])
        for vendor in TEXT:
            if not re.search(vendor.mark, text):
                continue
            found = choose(labels, vendor.columns, wanted)
            if {"voltage", "current"} <= found.keys() and not found.keys().isdisjoint(
                ("test_time", "step_time", CLOCK)
            ):
                return TableLayout(vendor, labels, number, first, found)
    return None


def unknown(path: Path, rows: Sequence[Sequence[str]]) -> FileFormatError:
    """Return the error for a file in which no line of labels was recognised."""
    likely = [
        (number, cells)
        for number, cells in enumerate(rows, 1)
        if len(cells) >= 3 and any(map(_TELLING.search, cells))
    ]
    need = f"{', '.join(REQUIRED)} with its units, such as 'Current (mA)'"
    if not likely:
        return FileFormatError(
            path,
            f"no line of labels for {need} was found. "
            "Pass columns={'label': 'voltage (V)', ...}.",
        )
    number, cells = likely[0]
    shown = [cell.strip() for cell in cells]
    if any(map(_IMPEDANCE.search, shown)):
        return FileFormatError(
            path,
            f"the labels {shown} are those of an impedance spectrum, which is no "
            "cycling.",
            number,
        )
    found = choose(shown, GENERIC.columns)
    missing = [name for name in REQUIRED if name not in found]
    return FileFormatError(
        path,
        f"the labels {shown} do not name {need}: {' and '.join(missing)} not found. "
        "Say which label it is, and its units where the label has none: "
        f"columns={{'label': '{(missing or ['current'])[0]} (units)', ...}}.",
        number,
    )


def assemble(
    layout: TableLayout,
    numbers: Mapping[str, np.ndarray],
    words: Mapping[str, Sequence[Any] | np.ndarray],
    options: Options,
    *,
    head: str = "",
    header: Mapping[str, Any] | None = None,
    first_line: int | None = None,
) -> RawTable:
    """Return the table: units converted, sign of the current and start found.

    Parameters
    ----------
    layout
        From `recognise`.
    numbers, words
        Columns as read, by name; a clock may hold text or datetimes.
    options
        `Options.dayfirst` for dates.
    head
        Text above the labels, in which some makers write the start.
    header, first_line
        For the `RawTable`.
    """
    found = layout.found
    columns = {
        name: values * found[name].factor + found[name].offset
        if (found[name].factor, found[name].offset) != (1.0, 0.0)
        else np.asarray(values, dtype=np.float64)
        for name, values in numbers.items()
    }
    order = layout.vendor.dayfirst if options.dayfirst is None else options.dayfirst
    labels = {name: source.label.strip() for name, source in found.items()}
    if "test_time" not in columns and "step_time" in columns:
        columns["test_time"] = _running(columns)
        labels["test_time"] = labels["step_time"]
    columns, left_out = _sensed(columns)
    table = RawTable(
        columns,
        instrument=layout.vendor.name or "unknown",
        header=header or {},
        labels=labels,
        units={name: source.units for name, source in found.items()},
        first_line=first_line,
        notes=left_out,
    )
    if STATE in words:
        table = _signed(table, words[STATE])
    try:
        return _started(table, words.get(CLOCK), layout.vendor, head, order)
    except ArgumentError as error:
        return replace(table, notes={**table.notes, "ambiguous_date": str(error)})


def _signed(table: RawTable, states: Sequence[Any] | np.ndarray) -> RawTable:
    """Give the current its sign where the cycler writes its magnitude only."""
    current = table.columns["current"]
    if (current < 0).any():
        return table
    kinds = {state: bool(_DISCHARGE.match(str(state))) for state in set(states)}
    discharging = np.array([kinds[state] for state in states], dtype=bool)
    if not discharging.any():
        return table
    signed = np.where(discharging, -current, current)
    header = {**table.header, "current_sign": f"from {table.labels[STATE]!r}"}
    return replace(table, columns={**table.columns, "current": signed}, header=header)


def _started(
    table: RawTable,
    stamps: Sequence[Any] | np.ndarray | None,
    vendor: Vendor,
    head: str,
    order: bool | None,
) -> RawTable:
    written = re.search(vendor.start, head) if vendor.start else None
    noted = clock.reading(written[1], dayfirst=order) if written else None
    first = _moment(stamps[0], noted, order) if stamps is not None else None
    columns = dict(table.columns)
    if "test_time" not in columns and stamps is not None and first is not None:
        columns["test_time"] = _seconds(stamps, first, order)
        labels = {**table.labels, "test_time": table.labels[CLOCK]}
        table = replace(table, columns=columns, labels=labels)
    if "test_time" not in columns:
        return table  # the check of required columns tells the user
    begin = columns["test_time"][0]
    if not abs(begin) < 1e9:
        return table  # the check of times names the row
    start = noted if first is None else first - timedelta(seconds=float(begin))
    if start is None:
        return table
    if start.tzinfo is None:
        return replace(table, start_local=start)
    return replace(table, unix_time=start.timestamp() + columns["test_time"])


def _running(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return seconds of a clock that starts again with each step.

    The last row of a step stands at its end, as cyclers write it.
    """
    elapsed = columns["step_time"]
    begins = np.diff(elapsed, prepend=elapsed[:1]) < 0
    if not begins.any():
        return elapsed  # one step, or a clock that runs on
    for name in COUNTERS & columns.keys():
        begins |= np.diff(columns[name], prepend=columns[name][:1]) != 0
    ends = np.where(begins, np.concatenate([elapsed[:1], elapsed[:-1]]), 0.0)
    return elapsed + np.cumsum(ends)


def _sensed(
    columns: dict[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the columns without temperatures that no sensor read, and notes.

    Cyclers write -9999 or -327.6 degC where no sensor is connected.
    """
    if (read := columns.get("temperature")) is None:
        return columns, {}
    cold = read < _COLDEST
    if not cold.any():
        return columns, {}
    if cold.all():
        return {n: v for n, v in columns.items() if n != "temperature"}, {}
    warm = columns | {"temperature": np.where(cold, np.nan, read)}
    said = f"{int(cold.sum())} rows have a temperature below absolute zero: no sensor"
    return warm, {"no_temperature": said}


def _moment(stamp: Any, noted: datetime | None, order: bool | None) -> datetime | None:
    if isinstance(stamp, datetime):
        return stamp
    text = str(stamp).strip()
    if noted is not None and (match := _TIME.fullmatch(text)):
        hour, minute, second = (int(part) for part in match.groups())
        if hour < 24 and minute < 60 and second < 60:
            return datetime.combine(noted.date(), time(hour, minute, second))
    return clock.reading(text, dayfirst=order)


def _seconds(
    stamps: Sequence[Any] | np.ndarray, first: datetime, order: bool | None
) -> np.ndarray:
    """Return seconds since the first stamp; NaN where one cannot be read."""
    elapsed = np.full(len(stamps), np.nan)
    for row, stamp in enumerate(stamps):
        moment = _moment(stamp, None, order)
        if moment is not None and (moment.tzinfo is None) == (first.tzinfo is None):
            elapsed[row] = (moment - first).total_seconds()
    return elapsed
