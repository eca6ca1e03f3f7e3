"""Read PalmSens files: curves side by side in PSTrace's csv, and sessions (JSON)."""

from __future__ import annotations

import csv
import itertools
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import ArgumentError, BatteryxrError, FileFormatError
from batteryxr.io.cycler.labels import choose, refuse_incomplete
from batteryxr.io.cycler.recognise import TableLayout, assemble
from batteryxr.io.cycler.text import decode, unified
from batteryxr.io.cycler.vendors import PALMSENS
from batteryxr.io.door.endings import CUT, ends_within_number
from batteryxr.io.door.files import text
from batteryxr.io.door.words import in_json, in_numbers, told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batteryxr.io.cycler.table import Options, RawTable

_BEGUN = "Date and time measurement:"
_WITHIN = 30  # most lines before the units
_UNIT = re.compile(r"([munp]?[avcs]|µ[ac]|μ[ac]|hz|ohm|Ω|°)", re.IGNORECASE)
_TICKS = datetime(1, 1, 1)  # zero of .NET's count of 100 ns
_LATEST = 662_000_000_000_000_000  # the year 2098
#: PalmSens' class of units -> units. The values are in these, even if the symbol
#: beside them is "A".
_CLASSES = {
    "Time": "s", "Volt": "V", "MicroAmpere": "uA", "Ampere": "A",
}  # fmt: skip
_MORE = (
    "Record the current too (PSTrace: extra values to record), or export the curve "
    "that has it."
)


@dataclass(frozen=True)
class _Recording:
    """Hold one measurement of a file.

    Parameters
    ----------
    title
        Title in the file.
    labels
        Labels with units.
    columns
        One column for each label.
    start
        Start of the measurement as text, or empty.
    line
        Line of the first row, if the file has lines.
    """

    title: str
    labels: tuple[str, ...]
    columns: tuple[np.ndarray, ...]
    start: str = ""
    line: int | None = None


def read(path: Path, options: Options) -> RawTable:
    """Read a csv export of PSTrace.

    Each curve has its own pair of columns. Curves of one measurement, which have the
    same times, are read as one table; `Options.test` chooses one of several, from 1.

    Raises
    ------
    FileFormatError
        If a row is damaged, or no curve has time, voltage and current.
    ArgumentError
        If there are several measurements and none is chosen.
    """
    raw = unified(text(path))
    table = _chosen(path, _exported(path, raw), options)
    cut = {"cut": CUT} if ends_within_number(raw) else {}
    return replace(table, notes={**table.notes, **cut})


def read_session(path: Path, options: Options) -> RawTable:
    """Read a session; `Options.test` chooses one of several measurements, from 1.

    Raises
    ------
    FileFormatError
        If it is damaged, or no measurement has time, voltage and current.
    ArgumentError
        If there are several measurements and none is chosen.
    """
    said = decode(text(path)).lstrip("\ufeff").rstrip("\0 \r\n\ufeff")
    try:
        session = _lowered(in_json(path, said, "PalmSens session"))
        found = [_measured(path, each) for each in session["measurements"]]
    except BatteryxrError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileFormatError(
            path, f"is no whole PalmSens session: {told(error)}. Save it again."
        ) from error
    return _chosen(path, found, options)


def _chosen(
    path: Path, measurements: Sequence[_Recording], options: Options
) -> RawTable:
    fit = [m for m in measurements if _complete(m, options)]
    if not fit:
        labels = list(dict.fromkeys(n for m in measurements for n in m.labels))
        known = choose(labels, PALMSENS.columns, options.columns)
        if any("hz" in label.lower() for label in labels):
            raise FileFormatError(
                path, f"holds an impedance spectrum ({labels}) and no cycling."
            )
        if "current" not in known:
            raise FileFormatError(path, f"no column for current in {labels}. {_MORE}")
        refuse_incomplete(known, labels, path)
        raise FileFormatError(path, f"no measurement has all of {labels}. {_MORE}")
    number = options.test if options.test is not None else 1
    if (options.test is None and len(fit) > 1) or not 1 <= number <= len(fit):
        titles = {k: m.title for k, m in enumerate(fit, 1)}
        raise ArgumentError(
            "test", options.test, f"one of the measurements of {path.name}, {titles}"
        )
    one = fit[number - 1]
    found = choose(one.labels, PALMSENS.columns, options.columns)
    layout = TableLayout(PALMSENS, one.labels, 0, 1, found)
    return assemble(
        layout,
        {name: one.columns[index] for name, index in layout.numbers.items()},
        {},
        options,
        head=f"Started: {one.start}",
        header={"title": one.title},
        first_line=one.line,
    )


def _complete(one: _Recording, options: Options) -> bool:
    wanted = {
        label: name
        for label, name in (options.columns or {}).items()
        if label in one.labels
    }
    found = choose(one.labels, PALMSENS.columns, wanted)
    return {"test_time", "voltage", "current"} <= found.keys()


def _exported(path: Path, raw: bytes) -> list[_Recording]:
    """Return the measurements of a csv export."""
    said = decode(raw)
    separator = ";" if ";" in said.partition("\n")[0] else ","
    rows = list(csv.reader(said.splitlines(), delimiter=separator))
    place = next((k for k, row in enumerate(rows[:_WITHIN]) if _is_units(row)), None)
    if place is None:
        raise FileFormatError(
            path, "no line of units such as 's,V,s,µA' was found. Is it a PSTrace csv?"
        )
    units, above = rows[place], rows[:place]
    start = next((r[1] for r in above if r and r[0] == _BEGUN), above[0][-1])
    named = [r for r in above if r and ":" in r[0] and not r[0].startswith("Date ")]
    titles = named[-1] if named else []
    body = list(itertools.takewhile(_of_curves, rows[place + 1 :]))
    pairs = []
    for k in range(0, len(units) - 1, 2):
        cells = [(row[k : k + 2], n) for n, row in enumerate(body, place + 2)]
        kept = [(c, n) for c, n in cells if any(x.strip() for x in c)]
        values = np.array([_pair(path, c, n) for c, n in kept], float)
        title = titles[k].strip() if k < len(titles) else ""
        columns = tuple(values.reshape(-1, 2).T)
        labels = tuple(cell.strip() for cell in units[k : k + 2])
        pairs.append(_Recording(title, labels, columns, start.strip(), place + 2))
    return _joined(pairs)


def _of_curves(row: Sequence[str]) -> bool:
    """Tell whether a row belongs to the curves; a spectrum may follow below them."""
    return not (row and row[0].startswith("Measurement:"))


def _is_units(row: Sequence[str]) -> bool:
    filled = [cell.strip() for cell in row if cell.strip()]
    return len(filled) > 1 and all(_UNIT.fullmatch(cell) for cell in filled)


def _pair(path: Path, cells: Sequence[str], line: int) -> list[float]:
    words = [c.replace(",", ".") for c in (*cells, "nan", "nan")[:2]]
    return list(in_numbers(path, words, "this row", line))


def _joined(pairs: Sequence[_Recording]) -> list[_Recording]:
    """Return curves over the same time as one measurement each."""
    joined: list[_Recording] = []
    for pair in pairs:
        if pair.labels[0] != "s":
            continue
        for k, other in enumerate(joined):
            if pair.labels[1] not in other.labels and np.array_equal(
                pair.columns[0], other.columns[0]
            ):
                joined[k] = replace(
                    other,
                    labels=(*other.labels, pair.labels[1]),
                    columns=(*other.columns, pair.columns[1]),
                )
                break
        else:
            joined.append(pair)
    return joined or list(pairs)


def _lowered(value: Any) -> Any:
    """Return JSON with keys in lower case, since versions differ in case."""
    if isinstance(value, dict):
        return {str(key).lower(): _lowered(item) for key, item in value.items()}
    return [_lowered(item) for item in value] if isinstance(value, list) else value


def _measured(path: Path, measurement: Mapping[str, Any]) -> _Recording:
    labels, columns = [], []
    for values in measurement["dataset"]["values"]:
        unit = values.get("unit") or {}
        kind = str(unit.get("type", "")).rpartition(".")[2]
        units = _CLASSES.get(kind, unit.get("s", ""))
        numbers = np.array([v["v"] for v in values["datavalues"]], dtype=np.float64)
        labels.append(f"{values.get('description', '')} ({units})")
        columns.append(numbers)
    if len({len(c) for c in columns}) > 1:
        raise FileFormatError(path, "the columns of a measurement differ in length.")
    return _Recording(
        str(measurement.get("title", "")),
        tuple(labels),
        tuple(columns),
        _moment(measurement.get("timestamp")),
    )


def _moment(ticks: Any) -> str:
    """Return the local time of a .NET count of ticks; empty if it is invalid."""
    if not isinstance(ticks, int) or not 0 < ticks < _LATEST:
        return ""
    return (_TICKS + timedelta(microseconds=ticks // 10)).isoformat(sep=" ")
