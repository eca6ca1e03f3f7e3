"""Read impedance from files of EC-Lab, binary and exported."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.formats import Format
from batteryxr.io.impedance.labels import (
    FromColumn,
    is_complex,
    named_here,
    replaced,
    told,
)
from batteryxr.io.impedance.rows import Readings, complex_columns

if TYPE_CHECKING:
    from pathlib import Path

    from batteryxr.io.cycler.eclab.cycling import About, LabelledTable
    from batteryxr.io.cycler.table import Options

_EPOCH = datetime(1970, 1, 1)
#: Readers of a file's columns, for cycling and impedance alike.
_TEXT = Format("cycler.eclab.text", function="contents")
_BINARY = Format("cycler.eclab.binary", function="contents")
#: EC-Lab's label in lower case -> name; the units are those of the model.
_LABELS: dict[str, str] = {
    "freq/hz": "frequency",
    "re(z)/ohm": "real",
    "-im(z)/ohm": "minus_imaginary",
    "time/s": "test_time",
    "<ewe>/v": "voltage",
    "<i>/ma": "current",
    "temperature/°c": "temperature",
    "cycle number": "cycle",
    "ns": "sequence",
}
#: The same of files that hold modulus and phase alone, as of Modulo Bat.
_POLAR: dict[str, str] = {"|z|/ohm": "modulus", "phase(z)/deg": "phase"}
#: Further impedances of a cell with a reference electrode: name -> electrode.
_ELECTRODES = {"impedance_counter": "ce", "impedance_cell": "we-ce"}


def read_mpt(path: Path, options: Options) -> Readings:
    """Read the impedance of an export (``.mpt``)."""
    table, about = _TEXT.read(path, replace(options, columns=None))
    return _read(table, about, path, options)


def read_mpr(path: Path, options: Options) -> Readings:
    """Read the impedance of a binary file (``.mpr``)."""
    table, about = _BINARY.read(path)
    return _read(table, about, path, options)


def _read(table: LabelledTable, about: About, path: Path, options: Options) -> Readings:
    labels = [label.lower() for label in table.labels]
    said = about.instrument, about.technique
    known = _LABELS if "re(z)/ohm" in labels else _LABELS | _POLAR
    places = {
        n: FromColumn(labels.index(k), 1.0, 0.0)
        for k, n in known.items()
        if k in labels
    }
    stripped = [label.strip() for label in table.labels]
    named = options.columns and named_here(stripped, options.columns)
    if "frequency" not in places and not named:
        return Readings({"frequency": np.empty(0), "impedance": np.empty(0)}, *said)
    if options.columns:
        own = told(stripped, options.columns)
        places = {n: s for n, s in places.items() if n not in replaced(own)} | own
    if "frequency" not in places or not is_complex(places):
        raise FileFormatError(
            path,
            f"has frequencies and no impedance among {list(table.labels)}. Say which "
            "columns hold it: columns={'label': 'imaginary (ohm)', ...}.",
        )
    others = {
        f"{name} {part}": labels.index(label)
        for name, electrode in _ELECTRODES.items()
        for part, label in (
            ("real", f"re(z{electrode})/ohm"),
            ("imaginary", f"-im(z{electrode})/ohm"),
        )
        if {f"re(z{electrode})/ohm", f"-im(z{electrode})/ohm"} <= set(labels)
    }
    read = table.read({n: s.column for n, s in places.items()} | others)
    columns = complex_columns({n: read[n] for n in places}, places)
    for name in _ELECTRODES:
        if f"{name} real" in read:
            values = read[f"{name} real"] - 1j * read[f"{name} imaginary"]
            if np.any(values != 0):
                columns[name] = values
    loop = columns.pop("cycle", None), columns.pop("sequence", None)
    number = np.zeros(columns["frequency"].size)
    for counter in loop:
        if counter is not None:
            number = number + np.cumsum(np.diff(counter, prepend=counter[:1]) != 0)
    notes = {k: v for k, v in about.notes.items() if k != "impedance"}
    columns.setdefault("spectrum", number)
    return Readings(columns, *said, start=_moment(about), notes=notes)


def _moment(about: About) -> datetime | None:
    """Return the moment at test time 0; with exported dates, the first of them."""
    if about.stamps is None or not about.stamps.size:
        return about.start
    return _EPOCH + timedelta(microseconds=int(about.stamps[0]) // 1000)
