"""Read and write Battery Data Format labels: preferred, machine-readable and legacy."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batteryxr.core.units import affine
from batteryxr.io.cycler.labels import meant
from batteryxr.io.cycler.table import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Words at the end of a label -> units. Counts have none: a cycle is not 2 pi here.
_UNITS = {
    "s": "s",
    "second": "s",
    "ms": "ms",
    "millisecond": "ms",
    "v": "V",
    "volt": "V",
    "a": "A",
    "ampere": "A",
    "ah": "A h",
    "wh": "W h",
    "degc": "degC",
    "celsius": "degC",
    "1": "1",
    "dimensionless": "1",
    "ohm": "ohm",
    "w": "W",
    "watt": "W",
    "pa": "Pa",
    "pascal": "Pa",
    "hz": "Hz",
    "hertz": "Hz",
}
#: Name here -> names in the format, best first.
_STEMS = {
    "test_time": ("test_time",),
    "voltage": ("voltage",),
    "current": ("current",),
    "unix_time": ("unix_time", "date_time"),
    "cycle": ("cycle_count", "cycle"),
    "step": ("step_count", "step", "step_index"),
    "temperature": ("ambient_temperature", "temperature"),
    "charge_capacity": ("charging_capacity",),
    "discharge_capacity": ("discharging_capacity",),
    "charge_energy": ("charging_energy",),
    "discharge_energy": ("discharging_energy",),
    "capacity": ("net_capacity", "step_net_capacity", "step_capacity", "capacity"),
    "energy": ("net_energy", "step_net_energy", "step_energy", "energy"),
}
#: Names in the order of the columns; the clock is called ``time`` in the data model.
ORDER = tuple("time" if name == "unix_time" else name for name in _STEMS)
#: Names for which the format has several words -> the one written by default.
_AMBIGUOUS = {"capacity": "capacity", "energy": "energy", "step": "step_count"}
#: Our units -> their spelling in preferred and machine-readable labels.
_WRITTEN = {
    "s": ("s", "second"),
    "ms": ("ms", "millisecond"),
    "V": ("V", "volt"),
    "A": ("A", "ampere"),
    "A h": ("Ah", "ah"),
    "W h": ("Wh", "wh"),
    "degC": ("degC", "celsius"),
    "1": ("1", ""),
    "ohm": ("ohm", "ohm"),
    "W": ("W", "watt"),
    "Pa": ("Pa", "pa"),
    "Hz": ("Hz", "hertz"),
}
_SMALL = {"mA": "A", "mA h": "A h", "mW h": "W h"}


@dataclass(frozen=True)
class Term:
    """Hold one quantity of the format.

    Attributes
    ----------
    stem
        Name without units, such as ``"test_time"``.
    units
        Units in the file, in UDUNITS spelling.
    """

    stem: str
    units: str

    @property
    def preferred(self) -> str:
        """Return the label for people: ``"Test Time / s"``."""
        words = self.stem.replace("_", " ").title()
        return f"{words} / {_WRITTEN[self.units][0]}"

    @property
    def machine(self) -> str:
        """Return the label for programs: ``"test_time_second"``."""
        unit = _WRITTEN[self.units][1]
        return f"{self.stem}_{unit}" if unit else self.stem


@dataclass(frozen=True)
class Place:
    """Describe a quantity's column in a file, and its conversion to the data model.

    Attributes
    ----------
    index
        Number of the column, from 0.
    term
        Quantity as the file names it.
    units
        Units in the result.
    places
        Places by which the decimal point moves to the right.
    """

    index: int
    term: Term
    units: str
    places: int


def parse(label: str) -> Term | None:
    """Return the quantity that a label names, or None if it names none with units."""
    text = label.strip().lower()
    if "/" in text:
        stem, _, unit = text.rpartition("/")
        stem = "_".join(stem.split())
    else:
        stem, _, unit = text.rpartition("_")
        if unit not in _UNITS and text in _counts():
            stem, unit = text, "1"
    units = _UNITS.get(unit.strip())
    return Term(stem, units) if stem.isidentifier() and units else None


def locate(
    labels: Sequence[str], explicit: Mapping[str, str] | None = None
) -> dict[str, Place]:
    """Return the column of each quantity, by its name in the data model.

    Parameters
    ----------
    labels
        Labels of the file, in order.
    explicit
        Label -> name, given by the user.
    """
    terms = [parse(label) for label in labels]
    found: dict[str, Place] = {}
    taken: set[int] = set()
    chosen = {
        meant(name)[0]: labels.index(label)
        for label, name in (explicit or {}).items()
        if label in labels
    }
    for name, stems in _STEMS.items():
        for stem in stems:
            here = [i for i, t in enumerate(terms) if t is not None and t.stem == stem]
            if name not in chosen and here and here[0] not in taken:
                chosen[name] = here[0]
                break
        if name in chosen:
            taken.add(chosen[name])
    for index, term in enumerate(terms):
        if term is not None and index not in chosen.values():
            chosen.setdefault(term.stem, index)
    for name, index in chosen.items():
        if (term := terms[index]) is not None:
            units = _model_units(name, term.units)
            found[name] = Place(index, term, units, power_of_ten(term.units, units))
    return found


def term_of(name: str, units: str, source_label: str) -> Term | None:
    """Return the format's name for a variable, or None if it lacks the units.

    A variable that was read from this format keeps its name in the file. A cycler's
    plain "capacity" is written as such: it may restart with each step or never, and
    the format has a different word for each.
    """
    units = _SMALL.get(units, units)
    if units not in _WRITTEN:
        return None
    known = parse(source_label)
    stem = known.stem if known is not None and known.stem != name else ""
    if name in _AMBIGUOUS:
        return Term(stem if stem in _STEMS[name] else _AMBIGUOUS[name], units)
    return Term(_STEMS.get(name, (name,))[0], units)


def canonical(name: str, term: Term) -> Term:
    """Return the current name of a quantity in the format, whatever the file uses."""
    known = _STEMS.get(name, ())
    stem = term.stem if name in _AMBIGUOUS or not known else known[0]
    if name == "step" and stem != "step_index":
        stem = known[0]
    return Term(stem, {"ms": "s"}.get(term.units, term.units))


@functools.cache
def power_of_ten(units: str, to: str) -> int:
    """Return the places by which the decimal point moves between two units.

    Raises
    ------
    UnitsError
        If the two units measure different things.
    """
    factor, offset = affine(units, to)
    places = round(math.log10(factor))
    if offset or abs(factor / 10.0**places - 1) > 1e-12:
        raise ValueError(f"{units} to {to} is no power of ten")
    return places


def _model_units(name: str, units: str) -> str:
    if name == "unix_time":
        return "s"
    return str(COLUMNS[name]["units"]) if name in COLUMNS else units


@functools.cache
def _counts() -> frozenset[str]:
    names = {stem for name in ("cycle", "step") for stem in _STEMS[name]}
    return frozenset(names)
