"""Build the coordinates of a series: time, exposure, conditions and file."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import ArgumentError, UnitsError
from batteryxr.core.model import QUANTITIES, attributes, in_words
from batteryxr.core.units import affine
from batteryxr.io import clock
from batteryxr.io.door.words import first_odd
from batteryxr.io.series.headers import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo
    from pathlib import Path

    from batteryxr.io.series.contents import Scan

Coords = dict[str, tuple[str, np.ndarray, dict[str, Any]]]

#: Entries that tell the kind of radiation of a G(r).
_RADIATION = ("mode", "radiation", "scatteringtype", "stype", "rad_type")


def natural(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that puts run_2 before run_10."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(p), "") if p.isdigit() else (-1, p) for p in parts]


def times(
    scans: Sequence[Scan], where: tzinfo | None, time_from: str | None, exposure: Any
) -> tuple[Coords, list[str]]:
    """Return ``time``, ``exposure`` and ``start_local``, and warnings for the user."""
    lasting = _exposure(scans, exposure)
    starts: list[datetime | None] = [None] * len(scans)
    if time_from == "header":
        starts = [scan.header.start() for scan in scans]
    elif time_from == "mtime":
        starts = [
            _changed(scan.source.path, seconds)
            for scan, seconds in zip(scans, lasting, strict=True)
        ]
    stamps = np.array([clock.stamp(start, where) for start in starts], dtype=np.int64)
    coords: Coords = {
        "time": (
            "scan",
            stamps.view("datetime64[ns]"),
            {"long_name": "Start of exposure (UTC)"},
        ),
        "exposure": ("scan", lasting, attributes("exposure")),
    }
    local = [s is not None and s.tzinfo is None for s in starts]
    if any(local):
        texts = [s.replace(tzinfo=None).isoformat() if s else "" for s in starts]
        coords["start_local"] = _text(texts, "Start of exposure as written")
    if any(local) and where is None:
        return coords, [
            "the headers write local time of an undeclared zone, so `time` is NaT. "
            "Pass timezone='Europe/Paris', or wherever the instrument's clock stood."
        ]
    if 0 < starts.count(None) < len(starts):
        return coords, [f"{starts.count(None)} of {len(starts)} headers give no start"]
    return coords, []


def from_names(paths: Sequence[Path], pattern: str | None) -> Coords:
    """Return the file names, and what `pattern` finds in them.

    Raises
    ------
    ArgumentError
        If the pattern has no named group, does not match every name, or finds no
        number in a group named as a quantity.
    """
    coords = {"file": _text([p.name for p in paths], "File")}
    if pattern is None:
        return coords
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ArgumentError(
            "pattern",
            pattern,
            f"a regular expression; it breaks at character {(error.pos or 0) + 1}",
        ) from error
    if not compiled.groupindex:
        raise ArgumentError(
            "pattern", pattern, r"named groups, such as r'_T(?P<temperature>[\d.]+)C'"
        )
    if taken := {"scan", "file", "time", "exposure"} & compiled.groupindex.keys():
        raise ArgumentError(
            "pattern", pattern, f"groups of other names than {sorted(taken)}"
        )
    matches = [compiled.search(p.name) for p in paths]
    if None in matches:
        raise ArgumentError(
            "pattern",
            pattern,
            "a pattern that every file name matches",
            f"{paths[matches.index(None)].name} does not "
            f"({matches.count(None)} of {len(paths)} do not).",
        )
    for name in compiled.groupindex:
        words = [(m[name] or "") if m else "" for m in matches]
        if name not in QUANTITIES:
            coords[name] = _text(words, in_words(name))
            continue
        try:
            numbers = np.array([float(w) if w else np.nan for w in words])
        except ValueError as error:
            raise ArgumentError(
                "pattern",
                pattern,
                f"a number for {name!r} in every file name, not "
                f"{first_odd(w for w in words if w)!r}",
                f"To keep text, call the group something else than {name!r}.",
            ) from error
        coords[name] = ("scan", numbers, attributes(name))
    return coords


def beside(scans: Sequence[Scan]) -> Coords:
    """Return coordinates that distinguish the scans of a file: label, positions."""
    coords: Coords = {}
    files = {s.source.path for s in scans}
    if len(files) < len(scans):
        coords["label"] = _text([s.label for s in scans], "Scan or column")
    for name in dict.fromkeys(name for s in scans for name in s.beside):
        values = np.array([s.beside.get(name, (np.nan, ""))[0] for s in scans])
        units = next(s.beside[name][1] for s in scans if name in s.beside)
        entry = Entry(name, "", units)
        placed, coord = _number(name, entry, values, {"scan", "time"})
        coords[placed.replace("header_", "column_")] = coord
    return coords


def from_headers(scans: Sequence[Scan], reserved: set[str]) -> tuple[Coords, str]:
    """Return varying numbers as coordinates, and common entries as JSON.

    Temperatures are kept even if they do not vary. Text about the sample and the kind
    of radiation is kept if it varies; other text that varies is dropped.
    """
    found = [scan.header.conditions() for scan in scans]
    names = dict.fromkeys(name for entries in found for name in entries)
    reserved = reserved | {scans[0].axis, scans[0].quantity, "time", "start_local"}
    coords: Coords = {}
    common: dict[str, str] = {}
    for name in names:
        entries = [e[name] for e in found if name in e]
        column = [e.get(name) for e in found]
        same = len(entries) == len(found) and len({e.text for e in entries}) == 1
        if same:
            common[entries[0].key] = entries[0].text
        if same and name != "temperature":
            continue
        if all(e.is_number for e in entries) and len({e.units for e in entries}) == 1:
            numbers = np.array([np.nan if e is None else e.number for e in column])
            if not np.isnan(numbers).all():
                placed, coord = _number(name, entries[0], numbers, reserved)
                coords[placed] = coord
        elif name.startswith("sample_") or name in _RADIATION:
            coords[name] = _text([e.text if e else "" for e in column], entries[0].key)
    return coords, json.dumps(common, ensure_ascii=False)


def _number(
    name: str, entry: Entry, values: np.ndarray, reserved: set[str]
) -> tuple[str, tuple[str, np.ndarray, dict[str, Any]]]:
    if name in QUANTITIES and name not in reserved and entry.units:
        try:
            factor, offset = affine(entry.units, QUANTITIES[name].units)
        except UnitsError:
            pass
        else:
            return name, ("scan", values * factor + offset, attributes(name))
    # A name of the data model promises its units; without units, use another name.
    safe = f"header_{name}" if name in reserved or name in QUANTITIES else name
    attrs = {"units": entry.units or "1", "long_name": entry.key}
    return safe, ("scan", values, attrs)


def _exposure(scans: Sequence[Scan], given: Any) -> np.ndarray:
    if given is None:
        return np.array([scan.header.exposure() for scan in scans])
    seconds = np.asarray(given, dtype=np.float64)
    if seconds.ndim > 1 or (seconds.ndim and seconds.size != len(scans)):
        raise ArgumentError(
            "exposure", given, f"seconds: one number, or {len(scans)} of them"
        )
    if not (seconds >= 0).all():
        raise ArgumentError("exposure", given, "seconds >= 0")
    return np.broadcast_to(seconds, len(scans)).copy()


def _changed(path: Path, seconds: float) -> datetime:
    end = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return end if np.isnan(seconds) else end - timedelta(seconds=seconds)


def _text(
    words: Sequence[str], long_name: str
) -> tuple[str, np.ndarray, dict[str, Any]]:
    return "scan", np.array(words, dtype=str), {"units": "1", "long_name": long_name}


def in_order_of_time(
    scans: list[Scan], moments: dict[str, Any], exposure: Any
) -> tuple[list[Scan], dict[str, Any]]:
    """Return scans and their coordinates in the order of measurement.

    Raises
    ------
    ArgumentError
        If the start of a scan is unknown.
    """
    key = moments["time"][1]
    if np.isnat(key).any():
        key = moments["start_local"][1] if "start_local" in moments else key
    if (key.dtype.kind == "M" and np.isnat(key).any()) or (key == "").any():
        raise ArgumentError(
            "order",
            "time",
            "scans whose headers all give their start",
            "Use order='natural', or time_from='mtime'.",
        )
    ranks = np.argsort(key, kind="stable")
    each = exposure is not None and np.ndim(exposure) > 0
    placed = {
        # Exposures given one by one are in the order of the result already.
        name: entry
        if each and name == "exposure"
        else (entry[0], entry[1][ranks], *entry[2:])
        for name, entry in moments.items()
    }
    return [scans[i] for i in ranks], placed
