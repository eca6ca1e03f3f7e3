"""Read maps of scanning probes, Gwyddion simple fields (.gsf) and text, as (y, x)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.errors import FileFormatError, UnitsError
from batteryxr.core.model import attributes, label
from batteryxr.core.units import affine
from batteryxr.io.door.files import head, text, whole
from batteryxr.io.door.words import in_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: First line of a simple field.
_MAGIC = b"Gwyddion Simple Field 1.0\n"
_LENGTH = re.compile(r"([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)\s*(\S*)")
_MOST = 100_000_000


def read(path: Path) -> xr.DataArray:
    """Return the map in a file.

    Raises
    ------
    FileFormatError
        If it is damaged, or its header does not agree with its values.
    """
    start = head(path, 64)
    if start.startswith(_MAGIC):
        return _simple(path)
    if start.startswith(b"# Channel:"):
        return _text(path)
    raise FileFormatError(path, "does not begin as a Gwyddion simple field does.")


def _simple(path: Path) -> xr.DataArray:
    raw = whole(path)
    end = raw.find(b"\0")
    if end < 0:
        raise FileFormatError(path, "ends within its header: it is cut.")
    told: dict[str, str] = {}
    for line in raw[len(_MAGIC) : end].decode("utf-8", "replace").splitlines():
        name, sign, value = line.partition("=")
        if sign:
            told[name.strip()] = value.strip()
    size = [_count(path, told, name) for name in ("YRes", "XRes")]
    start = end + 4 - end % 4
    if len(raw) - start != 4 * size[0] * size[1]:
        raise FileFormatError(
            path,
            f"promises {size[0]} x {size[1]} values and holds {(len(raw) - start) / 4}"
            ": it is cut.",
        )
    values = np.frombuffer(raw, "<f4", offset=start).reshape(size)
    unit = told.get("XYUnits", "")
    reach = [_length(path, told, n, unit, size[k]) for k, n in enumerate("YX")]
    first = [_shift(path, told, f"{n}Offset", unit) for n in "YX"]
    return _labelled(values, reach, first, told.get("ZUnits", ""), told)


def _text(path: Path) -> xr.DataArray:
    lines = text(path).decode("utf-8", "replace").splitlines()
    told: dict[str, str] = {}
    rows = []
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            name, _, value = line.lstrip("# ").partition(":")
            told[name.strip()] = value.strip()
        elif line.strip():
            rows.append(in_numbers(path, line.split(), "a row of the map", number))
    if not rows or len({r.size for r in rows}) != 1:
        raise FileFormatError(path, "has rows of different length: it is cut.")
    values = np.stack(rows)
    reach = []
    for k, name in enumerate(("Height", "Width")):
        found = _LENGTH.fullmatch(told.get(name, ""))
        if name in told and not (found and 0 < float(found[1]) < np.inf):
            raise FileFormatError(path, f"its header says {name}: {told[name]}.")
        unit = found[2] if found else ""
        reach.append(_in_nm(path, float(found[1]) if found else 0.0, unit))
        if not found:
            reach[k] = (float(values.shape[k]), "1")
    return _labelled(values, reach, [0.0, 0.0], told.get("Value units", ""), told)


def _count(path: Path, told: Mapping[str, str], name: str) -> int:
    word = told.get(name, "")
    if not word.isdigit() or not 0 < int(word) < _MOST:
        raise FileFormatError(path, f"its header says {name} = {word or 'nothing'}.")
    return int(word)


def _length(
    path: Path, told: Mapping[str, str], axis: str, unit: str, points: int
) -> tuple[float, str]:
    """Return the length of an axis and its units: pixels if the file gives none."""
    if f"{axis}Real" not in told:
        return float(points), "1"
    length = _number(path, told, f"{axis}Real")
    if not 0 < length < np.inf:
        raise FileFormatError(path, f"its header says {axis}Real = {length}.")
    return _in_nm(path, length, unit)


def _shift(path: Path, told: Mapping[str, str], name: str, unit: str) -> float:
    return _in_nm(path, _number(path, told, name), unit)[0] if name in told else 0.0


def _number(path: Path, told: Mapping[str, str], name: str) -> float:
    return float(in_numbers(path, [told[name]], name)[0])


def _in_nm(path: Path, value: float, unit: str) -> tuple[float, str]:
    if not unit:
        return value, "1"
    try:
        factor, _ = affine(unit, "nm")
    except UnitsError as error:
        raise FileFormatError(path, f"has lengths in {unit!r}.") from error
    return value * factor, "nm"


def _labelled(
    values: np.ndarray,
    reach: list[tuple[float, str]],
    first: list[float],
    unit: str,
    told: Mapping[str, str],
) -> xr.DataArray:
    """Return a map (row, column) with the positions of the pixel centres."""
    coords = {}
    for k, name in enumerate("yx"):
        n, (length, units) = values.shape[k], reach[k]
        middles = first[k] + (np.arange(n) + 0.5) * length / n
        known = attributes(name) | {"units": units}
        coords[name] = (name, middles if units != "1" else np.arange(float(n)), known)
    array = xr.DataArray(values.astype(np.float64), dims=("y", "x"), coords=coords)
    title = told.get("Title") or told.get("Channel") or "Map"
    return label(array, "map", units=unit or "1", long_name=title)
