"""BioLogic EC-Lab and BT-Lab files: text exports (``.mpt``), binary (``.mpr``)."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import FileFormatError, MissingDependencyError
from batteryxr.core.optional import require
from batteryxr.io import clock
from batteryxr.io.cycler.labels import choose, refuse_incomplete
from batteryxr.io.cycler.table import Options, RawTable
from batteryxr.io.cycler.text import TextTable, decode, finish, named
from batteryxr.io.cycler.vendors import BIOLOGIC
from batteryxr.io.door import files
from batteryxr.io.timing.cells import Style, stamps_of
from batteryxr.io.timing.rows import with_start

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

_COUNT = re.compile(rb"Nb header lines\s*:\s*(\d{1,6})")
_PAIR = re.compile(r"([^:\t]+?) ?: *(.*)")
_NUMBER = re.compile(r"([+-]?[\d.,]+(?:[eE][+-]?\d+)?)\s*(.*)")
#: What EC-Lab writes where nobody filled in the cell: mass / mg, molar mass, x.
_TEMPLATE = {
    "Mass of active material": 7000.0,
    "Molecular weight of active material (at x = 0)": 90.93,
    "Acquisition started at": 0.9,
}


def read(path: Path, options: Options) -> RawTable:
    """Read a text export.

    Parameters
    ----------
    path
        The file. Any language of the cycler's computer: decimal commas are told
        from the rows.
    options
        `Options.dayfirst` overrides EC-Lab's month-first dates.

    Returns
    -------
    RawTable
        Current is ``I`` or ``<I>``; where neither was exported it comes from the
        charge passed between rows (``dq``), or is zero at open circuit, and the
        label says so.

    Raises
    ------
    FileFormatError
        Naming the line at fault.
    """
    raw = files.text(path)
    lines, body = _split(raw, path)
    header = _header(lines[:-1])
    text = "\n".join(lines)
    labels = tuple(label.strip() for label in lines[-1].split("\t"))
    if len(labels) < 3:
        raise FileFormatError(
            path, f"a line of labels was expected, found {lines[-1][:60]!r}", len(lines)
        )
    body, notes = finish(body, named(labels) - 1, b"\t")
    table = TextTable(path, labels, body, "\t", len(lines) + 1)
    found = choose(labels, BIOLOGIC.columns, options.columns)
    wanted = {name: source.index for name, source in found.items()}
    charge = None if "current" in found else _charge_label(labels)
    if charge is not None:
        wanted["dq"] = labels.index(charge)
    resting = header.get("Technique") == "Open Circuit Voltage"
    by_itself = ["current"] if charge is not None or resting else []
    refuse_incomplete([*found, *by_itself], labels, path, len(lines))
    clock_times = _absolute(table, wanted.get("test_time"))
    if clock_times:
        del wanted["test_time"]
    columns = table.read(wanted)
    for name, source in found.items():
        if name in columns and (source.factor, source.offset) != (1.0, 0.0):
            columns[name] = columns[name] * source.factor + source.offset
    used = {name: source.label for name, source in found.items()}
    stamps = None
    if clock_times:
        stamps = _stamps(table, found["test_time"].index, options)
        columns["test_time"] = (stamps - stamps[0]) * 1e-9
    if charge is not None:
        passed = columns.pop("dq")
        columns["current"] = current_from_charge(columns["test_time"], passed)
        used["current"] = charge
    elif "current" not in columns:
        columns["current"] = np.zeros(len(columns["voltage"]))
        used["current"] = "none: open circuit"
    if _is_template(header):
        notes["template_mass"] = (
            "mass 7000 mg, molar mass 90.93 g/mol and x = 0.9 in the header are the "
            "EC-Lab template default, not this cell: give the active mass yourself"
        )
    raw_table = RawTable(
        columns,
        instrument=str(header.get("Device", "")).strip() or BIOLOGIC.name,
        start_local=None if clock_times else _start(text, options.dayfirst),
        local_time=stamps,
        timed_by_clock=stamps is not None,
        header=header,
        labels=used,
        units={n: s.units for n, s in found.items()},
        first_line=table.first_line,
        notes=notes,
    )
    return with_start(raw_table)


def read_binary(path: Path, options: Options) -> RawTable:
    """Read a binary file, through galvani where the user installed it.

    galvani is under the GPL, so batteryxr neither contains nor requires it.

    Parameters
    ----------
    path
        The file.
    options
        `Options.columns` names labels that are not known.

    Raises
    ------
    MissingDependencyError
        If galvani is not installed.
    FileFormatError
        If galvani cannot read the file.
    """
    try:
        galvani = require(
            "galvani.BioLogic",
            extra=None,
            package="galvani",
            purpose="reading BioLogic .mpr files",
        )
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"{error} Or export the file as text (.mpt) in EC-Lab: that needs nothing."
        ) from error
    raw = files.whole(path)
    what = "galvani cannot read it; export it as text (.mpt) in EC-Lab"
    with files.named(path, what):  # galvani asserts, and meets unknown columns
        file = galvani.MPRfile(io.BytesIO(raw))
        data = file.data
        labels = list(data.dtype.names)
    found = choose(labels, BIOLOGIC.columns, options.columns)
    charge = _charge_label(labels)
    by_itself = ["current"] if charge is not None else []
    refuse_incomplete([*found, *by_itself], labels, path)
    columns = {
        name: data[labels[s.index]].astype(np.float64) * s.factor + s.offset
        for name, s in found.items()
    }
    used = {name: source.label for name, source in found.items()}
    if "current" not in columns and charge is not None:
        passed = data[charge].astype(np.float64)
        columns["current"] = current_from_charge(columns["test_time"], passed)
        used["current"] = charge
    return RawTable(
        columns,
        instrument=BIOLOGIC.name,
        start_local=getattr(file, "timestamp", None),
        labels=used,
        units={name: source.units for name, source in found.items()},
    )


def _charge_label(labels: Sequence[str]) -> str | None:
    """Return the label of the charge passed since the row before, if it is there."""
    return next((label for label in labels if label.lower() == "dq/ma.h"), None)


def current_from_charge(times: np.ndarray, charge: np.ndarray) -> np.ndarray:
    """Return mean current (mA) up to each row from the charge passed (mA h)."""
    steps = np.diff(times, prepend=times[:1])
    current = np.zeros(len(times))
    np.divide(charge * 3600, steps, out=current, where=steps > 0)
    return current


def _split(raw: bytes, path: Path) -> tuple[list[str], bytes]:
    """Return header lines, that of the labels last, and the rows."""
    match = _COUNT.search(raw[:1000])
    if match is None:
        raise FileFormatError(
            path, "no line 'Nb header lines : ...'. Is it an EC-Lab text export?", 2
        )
    count = int(match[1])
    end = 0
    for number in range(count):
        end = raw.find(b"\n", end) + 1
        if end == 0:
            raise FileFormatError(
                path,
                f"the header has {number + 1} lines where it announces {count}. "
                "The file was cut: export it again.",
                number + 1,
            )
    return decode(raw[:end]).splitlines()[:count], raw[end:]


def _header(lines: list[str]) -> dict[str, Any]:
    """Return what the header says: pairs, technique, and its settings as text."""
    header: dict[str, Any] = {}
    settings: list[str] = []
    for line in lines[2:]:
        text = line.rstrip()
        if not text:
            continue
        if settings or text.startswith("Ns "):  # a table, one column a sequence
            settings.append(text)
            continue
        match = _PAIR.fullmatch(text.strip())
        if match and len(match[1]) < 60:
            key = match[1].strip()
            old = header.get(key)
            header[key] = f"{old}\n{match[2]}" if old is not None else match[2].strip()
        elif not header:
            header["Technique"] = text.strip()
        else:
            header["Remarks"] = f"{header.get('Remarks', '')}\n{text}".strip()
    header["settings"] = "\n".join(settings)
    return header


def _number(text: object) -> float | None:
    match = _NUMBER.search(str(text))
    if match is None:
        return None
    try:
        return float(match[1].replace(",", "."))
    except ValueError:
        return None


def _is_template(header: dict[str, Any]) -> bool:
    return all(
        (value := _number(header.get(key, ""))) is not None
        and abs(value - default) < 1e-3
        for key, default in _TEMPLATE.items()
    )


def _start(text: str, dayfirst: bool | None) -> datetime | None:
    match = re.search(BIOLOGIC.start, text)
    order = BIOLOGIC.dayfirst if dayfirst is None else dayfirst
    return clock.reading(match[1], dayfirst=order) if match else None


def _absolute(table: TextTable, index: int | None) -> bool:
    """Tell whether times were exported as dates."""
    if index is None:
        return False
    first = table.body[: table.body.find(b"\n")].split(b"\t")
    return index < len(first) and first[index].count(b"/") == 2


def _stamps(table: TextTable, index: int, options: Options) -> np.ndarray:
    words = table.read({}, {"time": index})["time"]
    stamps = stamps_of(words, Style(options.dayfirst, BIOLOGIC.dayfirst), None)
    missing = np.ones(len(words), bool) if stamps is None else ~stamps.known
    if stamps is None or missing.any():
        bad = int(np.argmax(missing))
        raise FileFormatError(
            table.path, f"{words[bad]!r} is not a date.", table.first_line + bad
        )
    return stamps.ns
