"""Recognise whose table it is, and convert it to units of the data model."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import ArgumentError, FileFormatError
from batteryxr.io import clock
from batteryxr.io.cycler.checks.direction import states_of
from batteryxr.io.cycler.labels import (
    CLOCK,
    HOURS,
    NUMBER,
    STATE,
    Source,
    choose,
    meant,
    rivals,
    split,
    units_row,
    without_rivals,
    zone_of,
)
from batteryxr.io.cycler.table import COUNTERS, REQUIRED, Options, RawTable
from batteryxr.io.cycler.vendors import GENERIC, TEXT, Vendor
from batteryxr.io.door.words import refuse_count
from batteryxr.io.timing.cells import Style, tells_time
from batteryxr.io.timing.rows import stamped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_TELLING = re.compile(
    r"vol(t|\b)|potential|ewe|ecell|电压|電[圧壓]|전압|spannung|tensi|напряж"
    r"|\bu\b|\be\b|\bm?v\b",
    re.IGNORECASE,
)
_IMPEDANCE = re.compile(r"z\s?real|z\s?imag|re\s?\(z\)|im\s?\(z\)|z''?\s?[/(]", re.I)
_WORD, _DIGIT = re.compile(r"[^\W\d]"), re.compile(r"\s*[-+]?\d")
_COLDEST = -273.15  # degC
_CELLS = 20_000  # most cells of lines that may be labels
_TIMES = ("test_time", "step_time")
#: Cell that lasts so long, or shows a time of day.
_LASTS = re.compile(r"(\d+d\s+)?\d+:\d\d:\d\d([.,:]\d+)?")
#: Date with a time of day, and the number of rows in which one is looked for.
_DATED, _SHOWN = re.compile(r"(\d{1,4}[-/.]){2}\d{1,4}[ T]+\d\d?:\d\d(:\d\d.*)?"), 50
#: Date alone, time of day beside it, and labels of such a time.
_DAY = re.compile(r"(\d{1,4}[-/.]){2}\d{1,4}( 00:00:00)?")
_HOUR = re.compile(
    r"(?!0?0:0[0-4])([01]?\d|2[0-3]):\d\d(:\d\d(\.\d+)?)?( ?[AP]M)?", re.I
)
_OF_DAY = re.compile(r"time|(uhr)?zeit|heure|hora|ora|время|時刻|時間|时间|시간|시각")
#: Units and words of a column of current.
_AMPERES = ("A", "mA", "uA", "nA")
_FLOWS = r"current|cur\b|amp|strom|courant|corr|电流|電流|전류"

#: Quantities that are read as text.
_WORDS = (CLOCK, HOURS, STATE)
#: Columns that an export may have beside those of its maker, in anybody's words: it
#: may have been edited. A counter of charge counts only if the maker's is missing.
_BESIDE = (*_WORDS, NUMBER, "cycle", "step", "step_time")
_ANY = tuple(column for column in GENERIC.columns if column.name in _BESIDE)
_COUNTED = (
    ("capacity", "charge_capacity", "discharge_capacity"),
    ("energy", "charge_energy", "discharge_energy"),
)
_CHANNEL = re.compile(r"ch(annel|an)?([ _-]?(index|number|no\.?|id|name))?#?|通道号?")


@dataclass(frozen=True)
class TableLayout:
    """Place and meaning of a table's labels.

    Parameters
    ----------
    vendor
        Maker whose labels they are.
    labels
        Labels as written, with units from a row of units.
    row
        Index of the line of labels.
    first
        Index of the first row below them.
    found
        Column of each quantity.
    number
        Column of the cycler's own number of each row, if there is one.
    """

    vendor: Vendor
    labels: tuple[str, ...]
    row: int
    first: int
    found: Mapping[str, Source]
    number: int | None = None

    @property
    def numbers(self) -> dict[str, int]:
        """Return name -> column index for columns that are read as numbers."""
        return {n: s.index for n, s in self.found.items() if n not in _WORDS}

    @property
    def words(self) -> dict[str, int]:
        """Return name -> column index for columns that are read as text."""
        return {n: s.index for n, s in self.found.items() if n in _WORDS}

    @property
    def channel(self) -> int | None:
        """Return the column index of the channel of each row, or None."""
        bare = [split(label)[0] for label in self.labels]
        named = (k for k, label in enumerate(bare) if _CHANNEL.fullmatch(label))
        return next(named, None)


def recognise(
    rows: Sequence[Sequence[str]], head: Sequence[str], options: Options
) -> TableLayout | None:
    """Return the layout of the first line that holds the labels of a known maker.

    Parameters
    ----------
    rows
        First lines, split into cells.
    head
        The same lines as text, in which makers leave their marks.
    options
        `Options.columns` takes precedence over the labels of makers.
    """
    explicit, tried = dict(options.columns or {}), 0
    for number, cells in enumerate(rows):
        present = {cell.strip() for cell in cells}
        if len(cells) < 3 or not explicit.keys() <= present:
            continue
        if not explicit and not any(map(_TELLING.search, cells)):
            continue
        refuse_count(tried := tried + len(cells), "labels of columns", _CELLS)
        labels, first = tuple(cells), number + 1
        while first < len(rows) and not any(cell.strip() for cell in rows[first]):
            first += 1
        if first < len(rows) and (units := units_row(rows[first])) is not None:
            pairs = zip(cells, units + [""] * len(cells), strict=False)
            labels = tuple(f"{c} [{u}]" if u else c for c, u in pairs)
            first += 1
        labels = _with_durations(labels, rows[first] if first < len(rows) else ())
        wanted = {
            label: explicit[cell.strip()]
            for cell, label in zip(cells, labels, strict=True)
            if cell.strip() in explicit
        }
        text = "\n".join(head[: number + 1])
        for vendor in TEXT:
            if not re.search(vendor.mark, text):
                continue
            known = (*vendor.columns, *_ANY)
            found = choose(labels, known, wanted)
            if missing := [
                n for k in _COUNTED if found.keys().isdisjoint(k) for n in k
            ]:
                more = (c for c in GENERIC.columns if c.name in missing)
                found = choose(labels, (*known, *more), wanted)
            found = _with_clock(labels, found, rows[first : first + _SHOWN])
            if {"voltage", "current"} <= found.keys() and not found.keys().isdisjoint(
                (*_TIMES, CLOCK)
            ):
                own = found.pop(NUMBER, None)
                place = None if own is None else own.index
                told = {meant(name)[0] for name in wanted.values()}
                found |= {
                    name: source
                    for name, source in rivals(labels, found, known).items()
                    if told.isdisjoint(name.split("?"))
                }
                return TableLayout(vendor, labels, number, first, found, place)
    return None


def _with_durations(labels: Sequence[str], below: Sequence[str]) -> tuple[str, ...]:
    """Mark the labels of columns of durations, such as 26:03:12.5.

    Columns of times of day are marked too, beside a column of dates without times.
    """
    told = list(labels)
    dated = any(_DAY.fullmatch(cell.strip()) for cell in below)
    for index, cell in enumerate(below[: len(told)]):
        bare, units = split(told[index])
        if dated and _OF_DAY.fullmatch(bare) and _HOUR.fullmatch(cell.strip()):
            told[index], dated = HOURS, False
        elif units in (None, "min", "h", "ms") and _LASTS.fullmatch(cell.strip()):
            told[index] = f"{bare if units else told[index].strip()} [h:m:s]"
    return tuple(told)


def _with_clock(
    labels: Sequence[str], found: dict[str, Source], below: Sequence[Sequence[str]]
) -> dict[str, Source]:
    """Return the columns with that of dates with times that go on, if it is one.

    Where nothing else tells the time, a clock that cannot be read is left out.
    """
    full = [row for row in below if len(row) >= len(labels)]
    if found.keys().isdisjoint(_TIMES):
        at = found[CLOCK].index if CLOCK in found else -1
        unread = at >= 0 and not tells_time(r[at] for r in full)
        return {n: s for n, s in found.items() if not (unread and n == CLOCK)}
    if CLOCK in found:
        return found
    dates = {}
    for index, label in enumerate(labels):
        cells = [row[index].strip() for row in full]
        if len(set(cells)) > 1 and all(map(_DATED.fullmatch, cells)):
            dates[index] = Source(index, label, 1.0, 0.0, "")
    return found | ({CLOCK: dates.popitem()[1]} if len(dates) == 1 else {})


def _unread(layout: TableLayout) -> dict[str, str]:
    """Return a note of a column of times that is left out, since it has no units."""
    known = [c.pattern for c in layout.vendor.columns if c.name == "test_time"]
    for label in layout.labels:
        bare, units = split(label)
        if not units and any(re.fullmatch(one, bare) for one in known):
            return {
                "time_units": f"the label {label.strip()!r} says no units: not read. "
                "Test time is the clock's, which goes on in pauses. "
                f"columns={{{label.strip()!r}: 'test_time (s)'}} says them"
            }
    return {}


def unknown(path: Path, rows: Sequence[Sequence[str]]) -> FileFormatError:
    """Return the error for a file in which no line of labels was recognised."""
    wide = [(n, cells) for n, cells in enumerate(rows, 1) if len(cells) >= 3]
    likely = [one for one in wide if any(map(_TELLING.search, one[1]))]
    # In another language: the first line of words, before one that has numbers.
    likely = likely or [
        one
        for one, (_, below) in itertools.pairwise(wide)
        if all(map(_WORD.search, one[1])) and any(map(_DIGIT.match, below))
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
            "cycling: read_impedance reads it.",
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
        Layout from `recognise`.
    numbers, words
        Columns as read, by name; a clock may hold text or datetimes.
    options
        `Options.dayfirst` for dates.
    head
        Text above the labels, in which some makers write the start.
    header, first_line
        Passed on to the `RawTable`.
    """
    found = layout.found
    columns = {
        name: values * found[name].factor + found[name].offset
        if (found[name].factor, found[name].offset) != (1.0, 0.0)
        else np.asarray(values, dtype=np.float64)
        for name, values in numbers.items()
    }
    columns, found = without_rivals(columns, found)
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
        codes = layout.vendor.codes
        said = [codes.get(str(w).strip(), w) for w in words[STATE]]
        table = replace(table, states=states_of(said))
    stamps = words.get(CLOCK)
    if stamps is not None and HOURS in words:
        stamps = [
            f"{str(d)[:10]} {h}" for d, h in zip(stamps, words[HOURS], strict=True)
        ]
    try:
        table = _started(table, stamps, layout.vendor, head, options)
        told = _unread(layout) if table.timed_by_clock else {}
        return replace(table, notes={**table.notes, **told})
    except ArgumentError as error:
        if options.dayfirst is not None:
            raise
        return replace(table, notes={**table.notes, "ambiguous_date": str(error)})


def doubled(table: RawTable, labels: Sequence[str]) -> dict[str, str]:
    """Return a note if several columns share the label of one that is read.

    Another note tells of a column with the current of discharges alone.
    """
    every = [label.strip() for label in labels]
    notes = {}
    if twice := [name for name in table.labels.values() if every.count(name) > 1]:
        notes["two_columns"] = (
            f"several columns are called {twice[0]!r}: the first counts"
        )
    current = {split(label)[0]: label for label in every if _is_current(label)}
    apart = [
        name
        for name, sign in zip(current, states_of(list(current)), strict=True)
        if sign < 0 and current[name] != table.labels.get("current")
    ]
    if apart:
        notes["two_currents"] = (
            f"the column {current[apart[0]]!r} is not read: if it holds the current of "
            "discharges, make one column of both, with negative discharges"
        )
    return notes


def _is_current(label: str) -> bool:
    """Tell whether a column holds a current, by its unit and label."""
    bare, units = split(label)
    return units in _AMPERES and re.search(_FLOWS, bare) is not None


def _started(
    table: RawTable,
    stamps: Sequence[Any] | np.ndarray | None,
    vendor: Vendor,
    head: str,
    options: Options,
) -> RawTable:
    """Set the clock reading of every row, or else the start from the header."""
    written = re.search(vendor.start, head) if vendor.start else None
    order = vendor.dayfirst if options.dayfirst is None else options.dayfirst
    noted = clock.reading(written[1], dayfirst=order) if written else None
    day = None if noted is None else noted.date()
    if written is None or ":" not in written[1]:
        noted = None  # a date without a time of day gives no start
    label = table.labels.get(CLOCK, "")
    zone = clock.zone(zone_of(label))
    style = Style(options.dayfirst, vendor.dayfirst, zone, day)
    table = stamped(table, stamps, style, noted)
    if table.timed_by_clock:
        table = replace(table, labels={**table.labels, "test_time": label})
    return table


def _running(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return seconds since the start, from a clock that restarts with each step.

    The last row of a step marks its end, as cyclers write it.
    """
    elapsed = columns["step_time"]
    begins = np.diff(elapsed, prepend=elapsed[:1]) < 0
    if not begins.any():
        return elapsed  # one step, or a clock that never restarts
    for name in COUNTERS & columns.keys():
        begins |= np.diff(columns[name], prepend=columns[name][:1]) != 0
    ends = np.where(begins, np.concatenate([elapsed[:1], elapsed[:-1]]), 0.0)
    return elapsed + np.cumsum(ends)


def _sensed(
    columns: dict[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the columns without temperatures of missing sensors, and notes.

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
