"""What the header of a column file says: names, units, clock, conditions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from batteryxr.io.series.columns import ColumnFile

_LONGEST_KEY = 60
_SIGNS = "#%!;*/ \t"
_SPEC = re.compile(r"[#%!;*/\s]*#(?P<letter>[DL])\s+(?P<rest>.*)")
_PAIR = re.compile(r"([^=]+?)\s*=\s*(.*?)\s*(?=\s{2,}[^=\s][^=]*=|$)")
_XDI_COLUMN = re.compile(r"column\.(\d+)", re.IGNORECASE)
_BRACKETS = re.compile(r"(?P<name>.*?)\s*[(\[](?P<units>[^)\]]*)[)\]]?\s*")
_SUFFIXED = re.compile(r"(?P<name>2th|tth|q|r|e|energy)_(?P<units>.+)", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan)"
    r"(?:\s+(?P<units>[A-Za-zµΩ°%][\w/%^°-]{0,7}))?",
    re.IGNORECASE,
)

#: How files spell units -> the data model's spelling.
_UNITS = {
    "Angstrom": ("å", "a", "angstrom", "angstroms", "aa"),
    "nm": ("nm",),
    "1/Angstrom": (
        *("å^-1", "å-1", "1/å", "a^-1", "a-1", "1/a", "aa^-1"),
        *("invangstrom", "inverseangstrom", "inverseangstroms"),
    ),
    "1/nm": ("nm^-1", "nm-1", "1/nm", "inversenm"),
    "1/cm": ("cm^-1", "cm-1", "1/cm"),
    "eV": ("ev",),
    "keV": ("kev",),
    "deg": ("deg", "degree", "degrees", "°"),
    "rad": ("rad", "radian", "radians"),
    "degC": ("c", "°c", "degc", "celsius"),
    "K": ("k", "kelvin"),
    "s": ("s", "sec", "second", "seconds"),
    "ms": ("ms", "millisecond", "milliseconds"),
    "min": ("min", "minutes"),
    "mA": ("ma",),
    "V": ("v", "volt", "volts"),
}
_SPELLED = {spelling: unit for unit, known in _UNITS.items() for spelling in known}

#: Axis -> how its column is called.
_AXES = {
    "energy": re.compile(r".*energ(?:y|ie).*|e|ev|kev", re.IGNORECASE),
    "two_theta": re.compile(
        r"(?:2\s*-?_?th(?:eta)?|two[ _-]?theta|2θ|tth)(?: angle)?", re.IGNORECASE
    ),
    "shift": re.compile(r".*raman.*|wave\s?number", re.IGNORECASE),
    "q": re.compile(r"q", re.IGNORECASE),
    "r": re.compile(r"r|distance", re.IGNORECASE),
}
#: File ending -> axis, where the header is silent. A .chi may be either.
_BY_SUFFIX = {
    ".gr": "r",
    ".iq": "q",
    ".sq": "q",
    ".fq": "q",
    ".xy": "two_theta",
    ".xye": "two_theta",
    ".xdi": "energy",
    ".xmu": "energy",
    ".nor": "energy",
}
_START = (
    "time_at_start",
    "scan_start_time",
    "start_time",
    "acquisition_start",
    "acquisition_time",
    "acquisition_date",
    "date_time",
    "datetime",
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
    "dwell_time",
)
#: Seconds from the start of an average to its middle.
_MIDDLE = "time_from_start"
_TEMPERATURE = ("temperature", "sample_temperature", "temp", "sample_temp")


@dataclass(frozen=True)
class Header:
    """The header of one file, read but not yet believed.

    Attributes
    ----------
    entries
        Slug of the key -> key as written, its units, and its text.
    names, units
        Of the columns; empty where the header does not name all of them, and empty
        units where it does not give them.
    first
        Name and units of the first column, also where it alone is named.
    """

    entries: dict[str, Entry]
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    first: tuple[str, str] = ("", "")

    def axis(self, suffix: str) -> str | None:
        """Return which axis the first column is, from its name or the file ending."""
        return _axis(self.first[0]) or _BY_SUFFIX.get(suffix)

    def start(self) -> datetime | None:
        """Return the start of the exposure as written: local unless it has a zone."""
        return self._clock(_START)

    def exposure(self) -> float:
        """Return the exposure in seconds; NaN where the header does not tell.

        An average of quick scans that gives its start and the seconds "from start"
        to its middle lasts twice those seconds.
        """
        seconds = self._seconds()
        return seconds if 0 <= seconds < np.inf else np.nan

    def _seconds(self) -> float:
        for slug in _EXPOSURE:
            if slug in self.entries and (entry := self.entries[slug]).is_number:
                return entry.number * {"ms": 1e-3, "min": 60.0}.get(entry.units, 1.0)
        start, end = self.start(), self._clock(_END)
        if start and end and (start.tzinfo is None) == (end.tzinfo is None):
            return (end - start).total_seconds()
        middle = self.entries.get(_MIDDLE)
        return 2 * middle.number if middle else np.nan

    def conditions(self) -> dict[str, Entry]:
        """Return the entries that say neither clock nor columns."""
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
            if slug == "date" and "time" in self.entries and not _has_clock(text):
                text = f"{text} {self.entries['time'].text}"
            if (moment := read_time(text)) is not None:
                return moment
        return None


@dataclass(frozen=True)
class Entry:
    """One line of a header: ``key (units) = text``."""

    key: str
    text: str
    units: str = ""

    @property
    def is_number(self) -> bool:
        """Tell whether the text is a number, perhaps with units behind it."""
        return _NUMBER.fullmatch(self.text) is not None

    @property
    def number(self) -> float:
        """The number that the text is."""
        match = _NUMBER.fullmatch(self.text)
        return float(match["number"]) if match else np.nan


def read_header(file: ColumnFile) -> Header:
    """Read column names, units and ``key = value`` or ``key: value`` lines."""
    entries: dict[str, Entry] = {}
    columns: dict[int, str] = {}
    titles, first = "", ("", "")
    for line in file.header:
        spec = _SPEC.fullmatch(line)
        if spec:
            if spec["letter"] == "D":
                entries.setdefault("date", Entry("date", spec["rest"].strip()))
            else:
                titles = spec["rest"]
            continue
        bare = line.lstrip(_SIGNS).strip()
        pairs = _pairs(bare)
        for key, text in pairs:
            if match := _XDI_COLUMN.fullmatch(key):
                columns[int(match[1])] = text
            else:
                _enter(entries, key, text)
        if any(c.isalnum() for c in bare) and not pairs:
            titles = bare
            # Fit2D gives each column a line of its own.
            if _axis((alone := _title(bare))[0]) and not first[0]:
                first = alone
    if columns and set(columns) == set(range(1, file.n_columns + 1)):
        # XDI: "Column.1: energy eV"
        words = [(columns[i].split() or [""]) for i in sorted(columns)]
        names = tuple(w[0] for w in words)
        units = tuple(spelled(u) or u for u in (" ".join(w[1:]) for w in words))
    else:
        names, units = _titles(titles, file.n_columns)
    if names:
        first = names[0], units[0]
    return Header(entries, names, units, first)


def read_time(text: str) -> datetime | None:
    """Read a date with a clock time; None where it is neither or could be two.

    ISO 8601, year/month/day, and ``Tue Jul 26 23:01:58 2022``. Day and month as
    two bare numbers are not read: nobody can tell which is which.
    """
    text = text.strip().strip("\"'")
    if not _has_clock(text):
        return None
    for pattern in ("%a %b %d %H:%M:%S %Y", "%d %b %Y %H:%M:%S"):
        try:
            return datetime.strptime(text, pattern)
        except ValueError:
            continue
    if not re.match(r"\d{4}[-/]\d", text):
        return None
    try:
        return datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return None


def spelled(units: str) -> str:
    """Return units in the data model's spelling; empty where they are unknown."""
    plain = re.sub(r"[\s${}]", "", units).replace(r"\AA", "å").lower()
    return _SPELLED.get(plain, "")


def slug(key: str) -> str:
    """Return a key as a name: lower case, words joined by underscores."""
    return re.sub(r"\W+", "_", key.lower()).strip("_")


def _has_clock(text: str) -> bool:
    return re.search(r"\d:\d\d", text) is not None


def _pairs(line: str) -> list[tuple[str, str]]:
    equal, colon = line.find("="), re.search(r":(?!/)", line)
    if equal > 0 and (colon is None or equal < colon.start()):
        return [(k.strip(), v) for k, v in _PAIR.findall(line) if _is_key(k)]
    if colon is None:
        return []
    key, text = line[: colon.start()], line[colon.end() :]
    # XDI and EPICS write where a value came from behind two bars.
    return [(key.strip(), text.split("||")[0].strip())] if _is_key(key) else []


def _is_key(text: str) -> bool:
    return len(text) <= _LONGEST_KEY and any(c.isalpha() for c in text)


def _enter(entries: dict[str, Entry], key: str, text: str) -> None:
    match = _BRACKETS.fullmatch(key)
    name, units = (match["name"], match["units"]) if match else (key, "")
    number = _NUMBER.fullmatch(text)
    if number and number["units"] and not units:
        units = number["units"]
    if (short := slug(name)) and short not in entries:
        entries[short] = Entry(key, text, spelled(units) or units)


def _titles(line: str, n: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    for separator in (r"\t+", r"\s*,\s*", r"\s*;\s*", r"\s{2,}", r"\s+"):
        words = [w.strip("\"'") for w in re.split(separator, line.strip())]
        if len(words) == n and all(re.search(r"[^\W\d_]", w) for w in words):
            break
    else:
        return (), ()
    names, units = zip(*map(_title, words), strict=True)
    return names, units


def _title(word: str) -> tuple[str, str]:
    """Return name and units; units that are not known stay as written, not lost."""
    if (match := _SUFFIXED.fullmatch(word)) and (units := spelled(match["units"])):
        return match["name"], units
    if match := _BRACKETS.fullmatch(word):
        return match["name"], spelled(match["units"]) or match["units"]
    return word, ""


def _axis(name: str) -> str | None:
    for axis, pattern in _AXES.items():
        if pattern.fullmatch(name):
            return axis
    return None
