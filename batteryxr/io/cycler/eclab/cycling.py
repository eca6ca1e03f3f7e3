"""Turn the rows of one EC-Lab file into cycling: add current, remove impedance."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from batteryxr.io.cycler.eclab.derived import current_from_charge
from batteryxr.io.cycler.labels import choose, refuse_incomplete
from batteryxr.io.cycler.table import NOTHING, REQUIRED, RawTable
from batteryxr.io.cycler.vendors import BIOLOGIC
from batteryxr.io.timing.rows import with_start

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from batteryxr.io.cycler.labels import Source
    from batteryxr.io.cycler.table import Options

_OPEN_CIRCUIT = 3  # value in the column "mode"
#: Names for columns that are read and not kept; the data model has none of them.
_FREQUENCY, _CHARGE, _MODE = "/frequency", "/charge", "/mode"
_REST = "Open Circuit Voltage"
#: Words in the names of techniques that measure only impedance.
_IMPEDANCE = ("Impedance Spectroscopy", "IR compensation (PEIS)")

_NUMBER = re.compile(r"([+-]?[\d.,]+(?:[eE][+-]?\d+)?)\s*(.*)")
#: Defaults in EC-Lab if nobody described the cell: mass / mg, molar mass, x.
_TEMPLATE = {
    "Mass of active material": 7000.0,
    "Molecular weight of active material (at x = 0)": 90.93,
    "Acquisition started at": 0.9,
}
_TOLD = (
    "mass 7000 mg, molar mass 90.93 g/mol and x = 0.9 in the header are the EC-Lab "
    "template default, not this cell: give the active mass yourself"
)


class LabelledTable(Protocol):
    """Hold labelled columns that are read when needed."""

    @property
    def labels(self) -> Sequence[str]:
        """Return the labels in order."""
        ...

    def read(self, wanted: Mapping[str, int]) -> dict[str, np.ndarray]:
        """Return columns as float64: name -> index among the labels."""
        ...


@dataclass(frozen=True)
class About:
    """Hold the description of a file beside its rows.

    Parameters
    ----------
    path
        The file.
    technique
        Technique as EC-Lab names it; empty if the file does not give it.
    header, start, instrument, notes, first_line
        As in `RawTable`.
    unknown
        Name -> index of unknown columns that are kept.
    stamps
        (rows,) clock readings in ns, if times were exported as dates.
    """

    path: Path
    technique: str
    header: Mapping[str, Any]
    start: datetime | None
    instrument: str
    notes: Mapping[str, str]
    unknown: Mapping[str, int] = field(default_factory=dict)
    stamps: np.ndarray | None = None
    first_line: int | None = None

    @property
    def label_line(self) -> int | None:
        """Return the line of the labels, if the file has lines."""
        return None if self.first_line is None else self.first_line - 1


def cycling(table: LabelledTable, about: About, options: Options) -> RawTable:
    """Return the rows of a file that are cycling.

    Current is ``I`` or ``<I>``. If neither exists, it is computed from the charge
    passed between rows (``dq``), or is zero at open circuit; the label then says so.
    Rows of impedance have a frequency, or belong to a technique of impedance. They are
    left out, and a note gives their number.

    Raises
    ------
    FileFormatError
        If there is no column for time, voltage or current.
    """
    labels, notes = list(table.labels), dict(about.notes)
    nothing = f"{about.technique or 'the technique'} recorded no data rows"
    if len(labels) < 2:
        return _empty(about, {**notes, NOTHING: nothing}, None)
    found = choose(labels, BIOLOGIC.columns, options.columns)
    taken = {source.index for source in found.values()}
    unknown = {n: k for n, k in about.unknown.items() if k not in taken}
    places = {name: source.index for name, source in found.items()} | unknown
    columns = table.read(places | _helpers(labels, found))
    frequency = columns.pop(_FREQUENCY, None)
    kept = None if frequency is None else ~(frequency > 0)
    if kept is not None and any(words in about.technique for words in _IMPEDANCE):
        kept = np.zeros(kept.size, bool)
    left_out = None
    if kept is not None and not kept.all():
        notes["impedance"] = (
            f"{int((~kept).sum())} of {kept.size} rows are impedance, not cycling, and "
            "left out; read_impedance reads them"
        )
        left_out = columns.get("test_time", np.full(kept.size, np.nan))[~kept]
        if not kept.any():
            return _empty(about, notes, left_out)
    used = {name: source.label for name, source in found.items()}
    used |= _complete(columns, labels, found, about)
    if not len(columns["test_time"]):
        notes[NOTHING] = nothing
        return _empty(about, notes, None)
    if _is_template(about.header):
        notes["template_mass"] = _TOLD
    stamps = about.stamps
    if left_out is not None:
        columns = {name: values[kept] for name, values in columns.items()}
        stamps = None if stamps is None else stamps[kept]
    units = {name: source.units for name, source in found.items()}
    return with_start(
        RawTable(
            columns,
            instrument=about.instrument,
            start_local=None if stamps is not None else about.start,
            local_time=stamps,
            timed_by_clock=stamps is not None,
            header=about.header,
            labels=used | {name: labels[k] for name, k in unknown.items()},
            units=units | dict.fromkeys(unknown, "1"),
            first_line=about.first_line if kept is None else None,
            notes=notes,
            left_out=left_out,
        )
    )


def _helpers(labels: Sequence[str], found: Mapping[str, Source]) -> dict[str, int]:
    """Return helper columns that are not kept: a frequency, and sources of current."""
    wanted = {}
    if (place := _at(labels, "freq/hz")) is not None:
        wanted[_FREQUENCY] = place
    if "current" not in found:
        for name, label in ((_CHARGE, "dq/ma.h"), (_MODE, "mode")):
            if (place := _at(labels, label)) is not None:
                wanted[name] = place
    return wanted


def _complete(
    columns: dict[str, np.ndarray],
    labels: Sequence[str],
    found: Mapping[str, Source],
    about: About,
) -> dict[str, str]:
    """Convert columns to the data model's units, add a current; return its label.

    Raises
    ------
    FileFormatError
        If a required column is missing.
    """
    modes, passed = columns.pop(_MODE, None), columns.pop(_CHARGE, None)
    resting = about.technique == _REST
    resting |= modes is not None and bool((modes == _OPEN_CIRCUIT).all())
    by_itself = ["current"] if passed is not None or resting else []
    refuse_incomplete([*found, *by_itself], labels, about.path, about.label_line)
    for name, source in found.items():
        if (source.factor, source.offset) != (1.0, 0.0):
            columns[name] = columns[name] * source.factor + source.offset
    net = "capacity" in found and found["capacity"].label.lower().startswith("q ch")
    if net:
        columns["capacity"] = np.abs(columns["capacity"])  # as EC-Lab has its capacity
    if passed is not None:
        columns["current"] = current_from_charge(columns["test_time"], passed)
        return {"current": labels[_at(labels, "dq/ma.h") or 0]}
    if "current" not in columns:
        columns["current"] = np.zeros(len(columns["voltage"]))
        return {"current": "none: open circuit"}
    return {}


def _empty(
    about: About, notes: Mapping[str, str], left_out: np.ndarray | None
) -> RawTable:
    return RawTable(
        {name: np.empty(0) for name in REQUIRED},
        instrument=about.instrument,
        start_local=about.start,
        header=about.header,
        notes=notes,
        left_out=left_out,
    )


def _at(labels: Sequence[str], label: str) -> int | None:
    return next((k for k, text in enumerate(labels) if text.lower() == label), None)


def _number(text: object) -> float | None:
    match = _NUMBER.search(str(text))
    if match is None:
        return None
    try:
        return float(match[1].replace(",", "."))
    except ValueError:
        return None


def _is_template(header: Mapping[str, Any]) -> bool:
    return all(
        (value := _number(header.get(key, ""))) is not None
        and abs(value - default) < 1e-3
        for key, default in _TEMPLATE.items()
    )
