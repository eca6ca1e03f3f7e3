"""Read names, units, clock and conditions from the header of a column file."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import ArgumentError
from batteryxr.io import clock
from batteryxr.io.door.words import LINE
from batteryxr.io.series.roles import axis_of, role_of
from batteryxr.io.series.titles import BRACKETS, NUMBERED, read_titles, spelled, title

if TYPE_CHECKING:
    from batteryxr.io.series.columns import ColumnFile
    from batteryxr.io.series.decoded import Decoded

_LONGEST_KEY = 60
_WRITTEN = (
    "%a %b %d %H:%M:%S %Y",
    "%d %b %Y %H:%M:%S",
    "%A, %B %d, %Y %I:%M:%S %p",
    "%A, %B %d, %Y %H:%M:%S",
)
_SIGNS = "#%!;*/ \t"
#: A header line of Rigaku, and a section title of PANalytical.
_RIGAKU = re.compile(r'\*(\w+)\s+"(.*)"\s*')
_SECTION = re.compile(r"\[[A-Za-z ]+\]")
_SPEC = re.compile(r"[#%!;*/\s]*#(?P<letter>[DL])\s+(?P<rest>.*)")
_PAIR = re.compile(r"([^=]+?)\s*=\s*(.*?)\s*(?=\s{2,}[^=\s][^=]*=|$)")
_NUMBER = re.compile(
    r"(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|nan)"
    r"(?:\s+(?P<units>[A-Za-zµΩ°%][\w/%^°-]{0,7}))?",
    re.IGNORECASE,
)

_START = (
    "time_at_start",
    "scan_start_time",
    "start_time",
    "acquisition_start",
    "acquisition_time",
    "acquisition_date",
    "acquired",
    "measurement_date_time",
    "date_time",
    "datetime",
    "longdate",
    "start_date",
    "date",
    "time",
)
_END = ("scan_end_time", "end_time", "time_at_end")
_EXPOSURE = (
    "exposure",
    "exposure_time",
    "count_time",
    "counting_time",
    "integration_time",
    "acq_time",
    "acquisition_time",
    "dwell_time",
)
#: Exposures of one of several accumulations, and how many there are.
_EACH = ("integration_time", "acq_time", "acquisition_time")
_TIMES = ("accumulations", "number_of_accumulations")
_SECONDS = {"ms": 1e-3, "min": 60.0}
#: Seconds from the start of an average to its middle.
_MIDDLE = "time_from_start"
#: Keys that give the axis and its units apart from the column's name.
_AXIS_UNITS = (
    "axisunit_1",
    "axisunit",
    "xunits",
    "xunit",
    "x_units",
    "meas_cond_xunit",
)
_BY_UNITS = {"1/cm": "shift", "eV": "energy", "keV": "energy", "deg": "two_theta"}
#: Keys that name the diffractometer axis that moved.
_SCANNED = ("scan_axis", "meas_scan_axis_x", "drive")
_ELEMENT = ("element_symbol", "element", "edge_element")
_SPACING = ("mono_d_spacing", "d_spacing", "crystal_d_spacing", "mono_dspacing")
_CRYSTAL = re.compile(r"\b(Si|Ge)\W*(\d)\W*(\d)\W*(\d)\b", re.IGNORECASE)
_CONSTANTS = {"si": 5.43102, "ge": 5.6579}  # Angstrom, at room temperature
_MONO = re.compile(r"mono(?!i)|crystal|(?<![a-z])dcm", re.IGNORECASE)
_D_EQUALS = re.compile(
    r"\b(2?)d\s*=\s*(\d+[.,]\d+)\s*(a|å|nm)(?![a-z]*\d)", re.IGNORECASE
)
_TEMPERATURE = ("temperature", "sample_temperature", "temp", "sample_temp")


@dataclass(frozen=True)
class Header:
    """Hold the header of one file, as written and not yet checked.

    Attributes
    ----------
    entries
        Slug of the key -> key as written, its units, and its text.
    names, units
        Names and units of the columns. Names are empty unless the header names all
        columns; units are empty where it gives none.
    first
        Name and units of the first column, even if it alone is named.
    misfit
        Column names, if there are more of them than columns.
    """

    entries: dict[str, Entry]
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    first: tuple[str, str] = ("", "")
    misfit: tuple[str, ...] = ()

    def told_axis(self) -> str | None:
        """Return the axis that an entry gives, such as ``AxisUnit[1] = 1/cm``."""
        return next((a for a, _ in self._told_axes()), None)

    def axis_units(self, axis: str) -> str:
        """Return the units of an axis from the entries; empty if not given."""
        return next((units for a, units in self._told_axes() if a == axis), "")

    def _told_axes(self) -> list[tuple[str, str]]:
        texts = [self.entries[s].text for s in _AXIS_UNITS if s in self.entries]
        units = [spelled(text) for text in texts]
        return [(_BY_UNITS[u], u) for u in units if u in _BY_UNITS]

    def scanned(self) -> str:
        """Return the scanned motor from the entries, such as "Omega", or ""."""
        words = (self.entries[s].text for s in _SCANNED if s in self.entries)
        return next((w.strip("\"' ") for w in words), "")

    def element(self) -> str:
        """Return the symbol of the measured element in lower case, or ""."""
        entry = next((self.entries[s] for s in _ELEMENT if s in self.entries), None)
        return entry.text.split()[0].lower() if entry and entry.text.strip() else ""

    def spacing(self) -> float:
        """Return the lattice spacing of the monochromator (Angstrom); 0 if unknown."""
        for slug in _SPACING:
            if slug in self.entries and self.entries[slug].is_number:
                return self.entries[slug].number
        for entry in self.entries.values():
            if match := _D_EQUALS.search(f"{entry.key}={entry.text}"):
                length = float(match[2].replace(",", "."))
                in_angstrom = length * (10.0 if match[3].lower() == "nm" else 1.0)
                return in_angstrom / 2 if match[1] else in_angstrom
        for name, entry in self.entries.items():
            crystal = _CRYSTAL.search(entry.text)
            if crystal and _MONO.search(name):
                order = math.hypot(*map(int, crystal.group(2, 3, 4)))
                return _CONSTANTS[crystal[1].lower()] / order
        return 0.0

    def start(self) -> datetime | None:
        """Return the start of the exposure as written: local unless it has a zone."""
        return self._clock(_START)

    def exposure(self) -> float:
        """Return the exposure in seconds; NaN if the header does not give it.

        For an average of quick scans, the header may give its start and the seconds
        "from start" to its middle. The exposure is then twice those seconds.
        """
        seconds = self._seconds()
        return seconds if 0 <= seconds < np.inf else np.nan

    def _seconds(self) -> float:
        for slug in _EXPOSURE:
            if slug in self.entries and (entry := self.entries[slug]).is_number:
                many = [self.entries[n].number for n in _TIMES if n in self.entries]
                seconds = entry.number * _SECONDS.get(entry.units, 1.0)
                return seconds * (many[0] if many and slug in _EACH else 1.0)
        start, end = self.start(), self._clock(_END)
        if start and end and (start.tzinfo is None) == (end.tzinfo is None):
            return (end - start).total_seconds()
        middle = self.entries.get(_MIDDLE)
        return 2 * middle.number if middle else np.nan

    def conditions(self) -> dict[str, Entry]:
        """Return the entries other than clock times and exposures."""
        spent = {*_START, *_END, *_EXPOSURE, _MIDDLE}
        found = {s: e for s, e in self.entries.items() if s not in spent}
        for slug in _TEMPERATURE:
            if slug in found and found[slug].units in ("degC", "K"):
                found["temperature"] = found.pop(slug)
                break
        return found

    def _clock(self, slugs: tuple[str, ...]) -> datetime | None:
        for slug in slugs:
            if slug not in self.entries:
                continue
            text = self.entries[slug].text
            beside = {"date": "time", "start_date": "start_time"}.get(slug, "")
            if beside in self.entries and not _has_clock(text):
                text = f"{text} {self.entries[beside].text}"
            if (moment := read_time(text)) is not None:
                return moment
        return None


@dataclass(frozen=True)
class Entry:
    """Hold one line of a header: ``key (units) = text``."""

    key: str
    text: str
    units: str = ""

    @property
    def is_number(self) -> bool:
        """Tell whether the text is a number, perhaps followed by units."""
        return _NUMBER.fullmatch(self.text) is not None

    @property
    def number(self) -> float:
        """Return the text as a number; NaN if it is none."""
        match = _NUMBER.fullmatch(self.text)
        return float(match["number"]) if match else np.nan


def read_header(file: ColumnFile | Decoded) -> Header:
    """Read column names, units and ``key = value`` or ``key: value`` lines."""
    entries: dict[str, Entry] = {}
    plain: list[str] = []
    sections = [
        k for k, ln in enumerate(file.header) if _SECTION.fullmatch(ln.strip(" ,;"))
    ]
    for number, line in enumerate(file.header):
        by_comma = bool(sections) and sections[0] < number < sections[-1]
        spec = _SPEC.fullmatch(line)
        if spec:
            if spec["letter"] == "D":
                entries["date"] = Entry("date", spec["rest"].strip())
            continue
        bare = line.lstrip(_SIGNS).strip()
        listed = "\t" in bare and _lists_columns(bare, file.n_columns)
        pairs = [] if listed or len(bare) > LINE else _pairs(bare)
        if rigaku := _RIGAKU.fullmatch(line.strip()):
            pairs = [(rigaku[1], rigaku[2])]
        elif by_comma and bare.count(",") == 1 and _is_key(bare.split(",")[0]):
            key, value = bare.split(",")
            pairs = [(key.strip(), value.strip())] if value.strip() else pairs
        for key, text in pairs:
            if not NUMBERED.match(bare):
                _enter(entries, key, text)
        if len(pairs) == 1 and _lists_columns(pairs[0][1], file.n_columns):
            plain.append(pairs[0][1])  # "columns: energy, i0, it"
        if any(c.isalnum() for c in bare) and not pairs:
            plain.append(bare)
            if _MONO.search(bare) and (_CRYSTAL.search(bare) or _D_EQUALS.search(bare)):
                entries.setdefault("mono_crystal", Entry("mono crystal", bare))
    titles = read_titles(file.header, plain, file.n_columns)
    return Header(entries, titles.names, titles.units, titles.first, titles.misfit)


def _lists_columns(text: str, n: int) -> bool:
    """Tell whether a value is a list of `n` names of columns, the axis first."""
    for separator in (r"[,;\s]+", r"\s*[,;]\s*", r" *\t *"):
        words = re.split(separator, text)
        key = words[0].endswith((":", "="))
        if len(words) == n > 1 and not key and axis_of(title(words[0])[0]):
            return True
    return False


def read_time(text: str) -> datetime | None:
    """Read a date with a clock time; return None if there is none or it is ambiguous.

    It reads ISO 8601, year/month/day, day.month.year, and names of months as in ``Tue
    Jul 26 23:01:58 2022``. Numbers that could be day and month or month and day are not
    read, nor are years of two digits.
    """
    text = text.strip().strip("\"'")
    if not _has_clock(text):
        return None
    for pattern in _WRITTEN:
        try:
            return datetime.strptime(text, pattern)
        except ValueError:
            continue
    if not re.search(r"(?<!\d)\d{4}(?!\d)", text):
        return None
    try:
        return datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        pass
    try:
        return clock.reading(text)
    except ArgumentError:
        return None


def slug(key: str) -> str:
    """Return a key as a name: lower case, words joined by underscores."""
    return re.sub(r"\W+", "_", key.lower()).strip("_")


def _has_clock(text: str) -> bool:
    return re.search(r"\d:\d\d", text) is not None


def _pairs(line: str) -> list[tuple[str, str]]:
    words = line.split()
    by_colon = len(words) > 1 and all(":" in w[1:-1] for w in words)
    if by_colon and any(map(axis_of, words)):
        return []  # names of EPICS: "20ID:mono:energy 20ID:scaler1:I0"
    known = len(words) > 2 and all(role_of(w).name for w in words[1:3])
    if known and axis_of(words[0]):
        return []  # names of columns: "energy I0 It mu=ln(I0/It)"
    equal, colon = line.find("="), re.search(r":(?!/)", line)
    if equal > 0 and (colon is None or equal < colon.start()):
        return [(k.strip(), v) for k, v in _PAIR.findall(line) if _is_key(k)]
    if colon is None:
        return []
    key, text = line[: colon.start()], line[colon.end() :]
    # XDI and EPICS write the source of a value after two bars.
    return [(key.strip(), text.split("||")[0].strip())] if _is_key(key) else []


def _is_key(text: str) -> bool:
    return len(text) <= _LONGEST_KEY and any(c.isalpha() for c in text)


def _enter(entries: dict[str, Entry], key: str, text: str) -> None:
    match = BRACKETS.fullmatch(key)
    name, units = (match["name"], match["units"]) if match else (key, "")
    if units.isdigit():  # AxisUnit[1]
        name, units = key, ""
    number = _NUMBER.fullmatch(text)
    if number and number["units"] and not units:
        units = number["units"]
    if (short := slug(name)) and short not in entries:
        entries[short] = Entry(key, text, spelled(units) or units)
