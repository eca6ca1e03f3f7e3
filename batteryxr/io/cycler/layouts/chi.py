"""Read text of CH Instruments: settings of one technique, then two columns."""

from __future__ import annotations

import io
import re
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.cycler.checks.direction import turns
from batteryxr.io.cycler.table import RawTable
from batteryxr.io.cycler.text import TextTable, decode, finish, unified
from batteryxr.io.door.files import text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batteryxr.io.cycler.table import Options

_LABELS = re.compile(rb"^(Time/s(?:ec)?|Potential/V)[ \t]*,[^\r\n]*", re.MULTILINE)
_SETTING = re.compile(r"^([^=\r\n]+)=([^\r\n]*)", re.MULTILINE)
_DATE = re.compile(
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.? +(\d{1,2}), +(\d{4})"
    r" +(\d+):(\d\d):(\d\d)"
)
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
_ROW = re.compile(rb"\s*[-+.\d]")
_SKIPPED = re.compile(rb"\s*+(Segment\s*+\d+\s*+:?)?\s*+")
_SET = "the file has no measured current: it is the one set in the header"
_SWING = 0.3  # of the range of the voltage, between two turns of it
_UNSURE = (
    "the file does not say whether it counts reduction or oxidation as positive: the "
    "sign of the current is as written"
)


class _Completed(NamedTuple):
    """Hold time (s), voltage (V) and current (A) of the rows, and notes."""

    time: np.ndarray
    voltage: np.ndarray
    current: np.ndarray
    notes: dict[str, str]


def read(path: Path, options: Options) -> RawTable:
    """Read one file of a voltammogram, or of steps of current or potential.

    These files have two quantities of three; the settings give the third.

    Parameters
    ----------
    path
        The file.
    options
        Not used: the layout leaves nothing open.

    Raises
    ------
    FileFormatError
        Naming the damaged line, or what neither columns nor settings say.
    """
    raw = unified(text(path))
    found = _LABELS.search(raw)
    lines = [line.strip() for line in decode(raw).split("\n", 12)[:12]]
    technique = next((line for line in lines[1:] if line), "")
    if found is None:
        raise FileFormatError(
            path,
            f"holds {technique!r}, which is no cycling: no time or potential.",
        )
    head = decode(raw[: found.start()])
    settings = {name.strip(): said.strip() for name, said in _SETTING.findall(head)}
    labels = tuple(cell.strip() for cell in decode(found[0]).split(","))
    columns, notes = _rows(raw, found.end(), labels)
    curve = _curve(path, technique, settings, columns)
    if (date := _DATE.search(head)) is not None:
        month, day, year = _MONTHS.find(date[1]) // 3 + 1, int(date[2]), int(date[3])
        start = datetime(year, month, day, int(date[4]), int(date[5]), int(date[6]))
        notes["start_or_end"] = (
            f"the date in the header, {date[0]}, does not say whether the run began or "
            "ended then: taken for the beginning"
        )
    model = re.search(r"Instrument Model:\s*(\S+)", head)
    return RawTable(
        {
            "test_time": curve.time,
            "voltage": curve.voltage,
            "current": 1e3 * curve.current,
        },
        instrument=f"CH Instruments {model[1] if model else ''}".strip(),
        start_local=None if date is None else start,
        header={"technique": technique, "text": head},
        notes={**notes, **curve.notes},
    )


def _rows(
    raw: bytes, start: int, labels: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the columns by label, and notes; headings of segments are left out."""
    body, notes = finish(raw[start + 1 :], len(labels) - 1, b",")
    first = raw.count(b"\n", 0, start) + 2
    lines, places = [], []
    for k, line in enumerate(io.BytesIO(body)):
        if _ROW.match(line):
            lines.append(line)
            places.append(k)
        elif not _SKIPPED.fullmatch(line):
            shown = decode(line).rstrip()[:40]
            raise FileFormatError(None, f"{shown!r} among the rows.", first + k)
    rows = b"".join(lines).removesuffix(b"\n") + b"\n" * bool(places)
    table = TextTable(labels, rows, ",", first, np.asarray(places, dtype=np.int64))
    return table.read({label: k for k, label in enumerate(labels) if label}), notes


def _curve(
    path: Path,
    technique: str,
    settings: Mapping[str, str],
    columns: Mapping[str, np.ndarray],
) -> _Completed:
    """Return the curve, with the quantity that the settings give."""
    time = columns.get("Time/sec", columns.get("Time/s"))
    voltage, current = columns.get("Potential/V"), columns.get("Current/A")
    values = {name: number for name, text in settings.items() if (number := _of(text))}
    if voltage is not None and current is not None:
        rate = values.get("Scan Rate (V/s)")
        if time is None and rate is None:
            raise FileFormatError(path, "no time, and no 'Scan Rate (V/s)' to tell it.")
        return _swept(voltage, current, time, rate or 1.0)
    if time is not None and voltage is not None:
        if "open circuit" in technique.lower():
            return _Completed(time, voltage, np.zeros(time.size), {})
        if "i1 (A)" in settings and values.get("T1 (s)", 0.0) > 0:
            return _stepped(time, voltage, settings, values)
        if {"Cathodic Current (A)", "Anodic Current (A)"} & settings.keys():
            return _switched(path, time, voltage, settings)
    held = _of(settings.get("Init E (V)", "")) if "i-t" in technique.lower() else None
    if time is not None and current is not None and held is not None:
        level = np.full(time.size, held)
        return _Completed(time, level, current, {"current_sign": _UNSURE})
    raise FileFormatError(
        path,
        f"{technique!r} with the columns {list(columns)}: neither they nor the "
        "settings tell time, voltage and current of each row.",
    )


def _of(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _swept(
    voltage: np.ndarray, current: np.ndarray, time: np.ndarray | None, rate: float
) -> _Completed:
    """Return a voltammogram; time goes on as the potential moves.

    Round a loop a passive cell takes up energy: the sum of current times change of
    potential is positive if oxidation is.
    """
    moved = np.diff(voltage, prepend=voltage[:1])
    notes = {}
    if time is None:
        time = np.cumsum(np.abs(moved)) / rate
        notes["time_from_rate"] = "the file has no time: it follows from the scan rate"
    ends = turns(voltage, _SWING * float(np.ptp(voltage)), exact=True)
    if ends.size == 0:
        return _Completed(time, voltage, current, {**notes, "current_sign": _UNSURE})
    loops = slice(0, None if ends.size % 2 else int(ends[-1]))
    if float((current[loops] * moved[loops]).sum()) < 0:
        current = -current
        notes["current_sign"] = (
            "positive current reduces in this file, by the sense of its loops: it was "
            "turned, so that positive oxidises"
        )
    return _Completed(time, voltage, current, notes)


def _stepped(
    time: np.ndarray,
    voltage: np.ndarray,
    settings: Mapping[str, str],
    values: Mapping[str, float],
) -> _Completed:
    """Return steps of current, each for its time, as often as the settings say."""
    count = sum(re.fullmatch(r"i\d+ \(A\)", name) is not None for name in settings)
    flows = np.array([values.get(f"i{k + 1} (A)", 0.0) for k in range(count)])
    lasts = np.array([values.get(f"T{k + 1} (s)", 0.0) for k in range(count)])
    ends = np.cumsum(lasts)
    place = np.searchsorted(ends, (time - 1e-9 * ends[-1]) % ends[-1], side="right")
    current = flows[np.minimum(place, count - 1)]
    return _Completed(time, voltage, current, {"set_current": _SET})


def _switched(
    path: Path, time: np.ndarray, voltage: np.ndarray, settings: Mapping[str, str]
) -> _Completed:
    """Return two currents by turns: the potential rises with the anodic one.

    Raises
    ------
    FileFormatError
        If the potential turns more often than the settings say.
    """
    sizes = [
        abs(_of(settings.get(f"{way} Current (A)", "")) or 0.0)
        for way in ("Cathodic", "Anodic")
    ]
    begun = settings.get("Init P/N", settings.get("Initial Polarity", "P"))[:1].upper()
    rises = begun in ("P", "A")
    parts = int(_of(settings.get("Segment", settings.get("Segments", "1"))) or 1)
    ends = turns(voltage, _SWING * float(np.ptp(voltage)), exact=True)
    ends = ends if parts > 1 else ends[:0]
    first = voltage[: int(ends[0]) if ends.size else None]
    if (first[-1] > first[0]) != rises and ends.size + 1 < parts:
        # The first segment was too short to be seen as a turn.
        short = int(first.argmax() if rises else first.argmin()) + 1
        ends = np.concatenate([[short], ends])
        first = first[:short]
    if ends.size >= parts:
        raise FileFormatError(
            path,
            f"the potential turns {ends.size} times in {parts} segments: which current "
            "flowed when is not known.",
        )
    number = np.searchsorted(ends, np.arange(time.size), side="right")
    up = (number % 2 == 0) == rises
    notes = {"set_current": _SET}
    if first.size > 1 and (first[-1] > first[0]) != rises:
        notes["current_sign"] = "the potential moves against the first current"
    return _Completed(time, voltage, np.where(up, sizes[1], -sizes[0]), notes)
