"""Find the columns of cycler files by label, with their units."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import ArgumentError, FileFormatError, UnitsError
from batteryxr.core.units import affine
from batteryxr.io.cycler.checks.direction import states_of
from batteryxr.io.cycler.table import COLUMNS, COUNTERS, REQUIRED
from batteryxr.io.door.words import LABEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

#: Names of columns beside those of the data model: a local date and time, a time of
#: day beside dates, a word that distinguishes charge from discharge, and the number of
#: each row.
CLOCK, HOURS, STATE, NUMBER = "clock", "time of day", "state", "number of the row"
_BARE = {*COUNTERS, CLOCK, HOURS, STATE, NUMBER}
#: Name that a user gives a column: one of the data model, with units if the label has
#: none.
_NAMED = re.compile(r"\s*([^()\[\]]*[^()\[\]\s])\s*(?:[(\[]([^()\[\]]*)[)\]])?\s*")

# Spelling of units by cyclers, in lower case -> our spelling.
_UNITS = {
    "s": "s", "sec": "s", "second": "s", "seconds": "s", "ms": "ms",
    "min": "min", "minutes": "min", "h": "h", "hr": "h", "hour": "h", "hours": "h",
    "decimal hours": "h",
    "v": "V", "volt": "V", "volts": "V", "mv": "mV", "uv": "uV",
    "a": "A", "ampere": "A", "amp": "A", "amps": "A",
    "ma": "mA", "ua": "uA", "na": "nA",
    "ah": "A h", "a.h": "A h", "a·h": "A h", "mah": "mA h", "ma.h": "mA h",
    "ma·h": "mA h", "uah": "uA h", "ua.h": "uA h", "ua·h": "uA h",
    "mas": "mA s", "as": "A s", "mws": "mW s", "ws": "W s",
    "wh": "W h", "w.h": "W h", "w·h": "W h", "mwh": "mW h", "mw.h": "mW h",
    "mw·h": "mW h", "uwh": "uW h", "uw.h": "uW h",
    "c": "degC", "°c": "degC", "℃": "degC", "degc": "degC", "celsius": "degC",
    "oc": "degC", "deg c": "degC", "deg. c": "degC", "k": "K",
    "sek": "s", "std": "h", "秒": "s", "с": "s", "сек": "s", "мин": "min", "ч": "h",
    "в": "V", "мв": "mV", "а": "A", "ма": "mA", "мка": "uA", "ач": "A h", "а·ч": "A h",
    "мач": "mA h", "ма·ч": "mA h", "вт·ч": "W h", "мвт·ч": "mW h",
    "h:m:s": "s", "h:min:s": "s", "h:min:s.ms": "s", "h:m:s.ms": "s",
    "h:m:s:ms": "s", "hh:mm:ss": "s", "hh:mm:ss.ms": "s", "hh:mm:ss.sss": "s",
}  # fmt: skip
#: Words in a row of units for quantities that are not read.
_ELSE = re.compile(r"#|bits|%|deg|n/?a|[mk]?w|[mk]?ohms?|hz|f|mah/g|mwh/g|-+")
#: Words of a column of current or voltage, and of one that holds something else about
#: it, such as the potential of one electrode. Such columns are read under a name with
#: the mark.
_TWICE = {
    "current": re.compile(r"current|\bcur\b|\bi\b|\bstrom\b|courant|电流|電流|전류"),
    "voltage": re.compile(
        r"voltage|\bvolts?\b|potential|\bu\b|spannung|tension|电压|電圧|전압"
    ),
}
_RIVAL = "?"
_ABOUT = re.compile(
    r"set|target|limit|control|max|min|avg|average|mean|std|dev|range|cut|nominal|"
    r"ref|leak|dens|rate|rms|start|end|final|error|noise|aux|discharge|charge|soll|"
    r"ewe|ece|working|counter|anode|cathode|positive|negative|half|\bvs\b|open|ocv|"
    r"over|delta|diff|drop|\bir\b|comp|supply|input|source|bias|offset|polaris|polariz"
)
#: The mean since the row before, beside the current itself.
_MEAN = re.compile(r"<[^<>]*>")
_SAME = {"current": 0.01, "voltage": 2e-3}  # of the largest

_LONGEST = 120  # most letters of a label
_ZONE = re.compile(
    r"(?P<bare>.*?\w)[\s_]*[(\[/_ ]\s*(?:utc|gmt)\s*(?P<offset>[+-]\d{1,2}(?::?\d\d)?)?"
    r"\s*[)\]]?"
)
_FORMS = (
    re.compile(r"<(?P<bare>[^<>/]+)/(?P<unit>[^<>/]+)>"),
    re.compile(r"(?P<bare>.*\S)\s*[(\[](?P<unit>[^()\[\]]*)[)\]]"),
    re.compile(r"(?P<bare>.*\S)\s*/\s*(?P<unit>[^/]+)"),
    re.compile(r"(?P<bare>.*\S)#(?P<unit>[^#]+)"),
    re.compile(r"(?P<bare>.*\S)\s*,\s*(?P<unit>[^,]+)"),
    re.compile(r"(?P<bare>.*[^_])_+(?P<unit>[^_]+)"),
)


@dataclass(frozen=True)
class Column:
    """Hold one possible label of a quantity.

    Parameters
    ----------
    name
        Name in the data model, or `CLOCK`, `STATE` or `NUMBER`.
    pattern
        Regular expression for the whole label without its unit, in lower case.
    units
        Units if the label gives none. Empty: a label without units does not count,
        since amperes are not guessed from milliamperes.
    """

    name: str
    pattern: str
    units: str = ""


@dataclass(frozen=True)
class Source:
    """Describe where a file has a quantity, and its conversion to the data model.

    Parameters
    ----------
    index
        Number of the column, from 0.
    label
        Label as written.
    factor, offset
        ``value = factor * read + offset``.
    units
        Units of the result.
    """

    index: int
    label: str
    factor: float
    offset: float
    units: str


@functools.cache
def split(label: str) -> tuple[str, str | None]:
    """Return the label in lower case without its unit, and the unit or None.

    Examples
    --------
    >>> split("Voltage (mV)"), split("Q charge/discharge/mA.h"), split("Step")
    (('voltage', 'mV'), ('q charge/discharge', 'mA h'), ('step', None))
    """
    text = " ".join(label.strip().lstrip("~").split()).lower()
    if len(text) > _LONGEST:
        return text, None
    text = text.replace("（", "(").replace("）", ")")
    for form in _FORMS:
        if (match := form.fullmatch(text)) and (units := _unit(match["unit"])):
            return match["bare"].rstrip("_ ,"), units
    return text, None


def zone_of(label: str) -> str | None:
    """Return the zone in the label of a clock, such as ``"+02:00"``, or None.

    Examples
    --------
    >>> zone_of("Date Time (UTC)"), zone_of("Timestamp [GMT+02:00]"), zone_of("Date")
    ('UTC', '+02:00', None)
    """
    match = _ZONE.fullmatch(" ".join(label.split()).lower())
    return None if match is None else match["offset"] or "UTC"


def choose(
    labels: Sequence[str],
    columns: Sequence[Column],
    explicit: Mapping[str, str] | None = None,
) -> dict[str, Source]:
    """Return the column of each quantity; earlier entries of `columns` come first.

    Parameters
    ----------
    labels
        Labels of the file, in order.
    columns
        Known labels, by preference.
    explicit
        Label -> name, given by the user; it takes precedence.

    Raises
    ------
    ArgumentError
        If an explicit label is not in the file, or its units do not fit.
    """
    found: dict[str, Source] = {}
    for label, name in (explicit or {}).items():
        found[meant(name)[0]] = _explicit(label, name, labels)
    taken = {source.index for source in found.values()}
    bare = [split(label if len(label) <= LABEL else "?") for label in labels]
    for column in columns:
        if column.name in found:
            continue
        for index, (text, units) in enumerate(bare):
            if index in taken:
                continue
            if column.name == CLOCK and (match := _ZONE.fullmatch(text)):
                text = match["bare"]
            if not re.fullmatch(column.pattern, text):
                continue
            units = units or column.units
            if not units and column.name not in _BARE:
                continue
            source = _source(index, labels[index], column.name, units)
            if source is not None:
                found[column.name] = source
                taken.add(index)
                break
    return found


def _explicit(label: str, name: str, labels: Sequence[str]) -> Source:
    stripped = [text.strip() for text in labels]
    if label.strip() not in stripped:
        raise ArgumentError(
            "columns", label, f"labels of the file, which are {stripped}"
        )
    index = stripped.index(label.strip())
    name, said = meant(name)
    units = split(label)[1] or said
    if name not in COLUMNS and name not in (CLOCK, STATE):
        return Source(index, stripped[index], 1.0, 0.0, units or "1")
    if not units and name not in _BARE:
        raise ArgumentError(
            "columns",
            f"{label}: {name}",
            "a label with its units, such as 'I (A)', or the units with the name",
            f"Pass columns={{{label!r}: '{name} ({COLUMNS[name]['units']})'}}, or "
            "whatever they are.",
        )
    source = _source(index, stripped[index], name, units or "")
    if source is None:
        raise ArgumentError(
            "columns",
            f"{label}: {name}",
            f"a label whose units become {COLUMNS[name]['units']!r}",
            f"{label!r} is in {units!r}.",
        )
    return source


def meant(name: str) -> tuple[str, str | None]:
    """Return the name of a column, and the units that the user gives behind it.

    Raises
    ------
    ArgumentError
        If it is not a name, or the units are unknown.
    """
    match = _NAMED.fullmatch(name)
    bare = match[1] if match else name
    if match is None or not bare.isidentifier():
        raise ArgumentError("columns", name, "a name such as 'voltage'")
    if match[2] is None:
        return bare, None
    units = _unit(match[2])
    if units is None:
        raise ArgumentError(
            "columns", name, "units behind the name, such as 'current (mA)'"
        )
    # A time with units counts from the start; a clock has none.
    return "test_time" if bare == "time" else bare, units


def _unit(written: str) -> str | None:
    """Return a file's units in our spelling, or None if they are unknown."""
    text = written if len(written) <= LABEL else "?"
    text = text.strip().lower().replace("μ", "u").replace("µ", "u")
    text = re.sub(r"\s+vs\.?\s.*", "", text)  # volts against a reference electrode
    joined = re.sub(r"\s*[\s*⋅×-]\s*", "", text)  # mA h, mA*h
    return _UNITS.get(text.rstrip(".")) or _UNITS.get(text) or _UNITS.get(joined)


def _source(index: int, label: str, name: str, units: str) -> Source | None:
    """Return the source, or None if its units measure something else."""
    if name in (CLOCK, HOURS, STATE, NUMBER):
        return Source(index, label, 1.0, 0.0, "")
    wanted = COLUMNS[name]["units"]
    try:
        factor, offset = affine(units or wanted, wanted)
    except UnitsError:
        return None
    return Source(index, label, factor, offset, wanted)


def refuse_incomplete(
    found: Iterable[str], labels: Sequence[str], path: Path, line: int | None = None
) -> None:
    """Raise if a required quantity was not found among the labels.

    Raises
    ------
    FileFormatError
        Naming what is missing and the labels that are there.
    """
    if missing := sorted(set(REQUIRED).difference(found)):
        raise FileFormatError(
            path,
            f"no column for {' and '.join(missing)} among {list(labels)}. If one of "
            f"them is it, pass columns={{'label': {missing[0]!r}}}.",
            line,
        )


def units_row(cells: Sequence[str]) -> list[str] | None:
    """Return the units in a row that holds nothing else, such as ``[V]``, or None."""
    inner = [cell[: LABEL + 1].strip().strip("[]()").strip().lower() for cell in cells]
    known = [_unit(text) is not None for text in inner]
    other = [not text or _ELSE.fullmatch(text) is not None for text in inner]
    if sum(known) < 2 or not all(a or b for a, b in zip(known, other, strict=True)):
        return None
    return [text if a else "" for text, a in zip(inner, known, strict=True)]


def rivals(
    labels: Sequence[str], found: Mapping[str, Source], known: Sequence[Column]
) -> dict[str, Source]:
    """Return the columns besides those found that may hold the current or voltage.

    Parameters
    ----------
    labels
        Labels of the file, in order.
    found
        Column of each quantity.
    known
        Labels of the maker.
    """
    taken = {source.index for source in found.values()}
    others: dict[str, Source] = {}
    for index, label in enumerate(labels):
        bare, units = split(label)
        about = _ABOUT.search(bare) or _MEAN.match(label.strip())
        if index in taken or about or states_of([label])[0] != 0:
            continue
        mine = choose((label,), known)
        for name, words in _TWICE.items():
            bald = re.sub(r"[\d#_.]+", " ", bare).strip()
            named = mine.get(name)
            if named is None and words.search(bald):
                plain = f"{name.capitalize()} ({units})" if units else bald
                named = choose((plain,), known).get(name)
            if named is not None:
                other = replace(named, index=index, label=label)
                others[f"{name}{_RIVAL} {index}"] = other
    return others


def without_rivals(
    columns: Mapping[str, np.ndarray], found: Mapping[str, Source]
) -> tuple[dict[str, np.ndarray], dict[str, Source]]:
    """Return the columns without further ones of current or voltage, if they agree.

    Raises
    ------
    ArgumentError
        If one holds another current or voltage.
    """
    kept = {n: v for n, v in columns.items() if _RIVAL not in n}
    sources = {n: s for n, s in found.items() if _RIVAL not in n}
    for rival in columns.keys() - kept.keys():
        name, other = rival.split(_RIVAL)[0], columns[rival]
        mine = kept.get(name, np.empty(0))
        known = np.isfinite(mine) & np.isfinite(other)
        if not known.any():
            continue
        most = _SAME[name] * float(np.abs(mine[known]).max(initial=0.0))
        # A second column may hold the magnitude of a current with its sign.
        same = (mine, np.abs(mine)) if name == "current" else (mine,)
        if not any((np.abs(one - other)[known] <= most).all() for one in same):
            pair = [found[n].label.strip() for n in (name, rival)]
            mend = f"Pass columns={{{pair[0]!r}: {name!r}}}, or the other."
            if pair[0] == pair[1]:
                mend = "Leave one of them, or rename one."
            raise ArgumentError(
                "columns",
                None,
                f"which of {pair} is the {name} of the cell: they differ",
                mend,
            )
    return kept, sources
