"""Read Bruker .brml and Rigaku .rasx: patterns in zip archives."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.archives import check_zip
from batteryxr.io.door.limits import refuse_larger
from batteryxr.io.door.words import in_xml
from batteryxr.io.series.decoded import Decoded, decoded

if TYPE_CHECKING:
    import zipfile
    from pathlib import Path

_BRUKER = re.compile(r"(?:^|/)RawData\d*\.xml$", re.IGNORECASE)
_RIGAKU = re.compile(r"^Data(\d+)/Profile\d+\.txt$", re.IGNORECASE)
#: Names of scan axes that are 2theta.
_ANGLE = ("twotheta", "2theta", "2-theta", "2-theta/theta")
#: Part of the name of a 2theta axis, since other angles have theta in theirs too.
_TWICE = re.compile(r"(?:two|2)[\s_-]*theta")
_FEWEST = 2
#: Most bytes of the text of one pattern: half a million points.
_PROFILE = 16_000_000


def read(path: Path) -> list[Decoded]:
    """Return the scans of an archive of patterns.

    Raises
    ------
    FileFormatError
        If it is damaged, or holds no pattern over 2theta.
    """
    with check_zip(path) as archive:
        names = sorted(archive.namelist(), key=_by_number)
        bruker = [n for n in names if _BRUKER.search(n)]
        rigaku = [n for n in names if _RIGAKU.match(n)]
        if bruker:
            every = [_brml(path, archive.read(n), _label(n, bruker)) for n in bruker]
            return [table for tables in every for table in tables]
        if rigaku:
            return [_rasx(path, archive, n, _label(n, rigaku)) for n in rigaku]
    raise FileFormatError(
        path,
        f"is a zip archive of {names[:4]}, and no .brml or .rasx. Unpack it, and read "
        "what is inside.",
    )


def _by_number(name: str) -> list[str | int]:
    """Return a sort key that puts the tenth scan after the ninth."""
    parts = re.split(r"(\d+)", name)
    return [int(p) if k % 2 else p for k, p in enumerate(parts)]


def _label(name: str, among: list[str]) -> str:
    return name if len(among) > 1 else ""


def _brml(path: Path, raw: bytes, label: str) -> list[Decoded]:
    """Return each data route of a measurement as a table with its own axes."""
    root = in_xml(path, raw)
    routes = [
        r for r in root.iter("DataRoute") if next(r.iter("Datum"), None) is not None
    ]
    if len(routes) < 2:
        return [_route(path, root, root, label)]
    names = [f"{label} route {i}".strip() for i in range(1, len(routes) + 1)]
    return [_route(path, root, *both) for both in zip(routes, names, strict=True)]


def _route(path: Path, root: Any, route: Any, label: str) -> Decoded:
    axes = [
        str(a.get("AxisId") or a.get("AxisName") or "").lower()
        for a in route.iter("ScanAxisInfo")
    ]
    if not axes:
        axes = [str(a.get("AxisId") or "").lower() for a in route.iter("ScanAxis")]
    angle = next((i for i, a in enumerate(axes) if a in _ANGLE), None)
    data = [(d.text or "").split(",") for d in route.iter("Datum")]
    if angle is None or len(data) < _FEWEST or len({len(d) for d in data}) != 1:
        raise FileFormatError(
            path, f"holds no scan over 2theta; its axes are {axes or 'not named'}."
        )
    try:
        table = np.array(data, dtype=np.float64).T
    except ValueError as error:
        raise FileFormatError(path, f"holds no numbers of a scan ({error}).") from error
    # Columns: time of each step, a mark, the axes in their order, and counts.
    if len(table) < 2 + len(axes) + 1:
        raise FileFormatError(
            path, f"has {len(table)} columns for time, mark, {len(axes)} axes, counts."
        )
    header = _said(root, "WaveLengthAlpha1", "TimeStampStarted")
    columns = {"two_theta deg": table[2 + angle], "intensity": table[-1]}
    return decoded(
        path, columns, [*header, f"count_time = {table[0].sum():g} s"], label
    )


def _said(root: Any, wavelength: str, start: str) -> list[str]:
    """Return the wavelength (with its unit) and the start as header lines."""
    lines = []
    node = next(root.iter(wavelength), None)
    if node is not None:
        text = (node.get("Value") or node.text or "").strip()
        unit = (node.get("Unit") or node.get("unit") or "").strip()
        lines.append(f"wavelength_alpha1{f' ({unit})' if unit else ''} = {text}")
    node = next(root.iter(start), None)
    if node is not None:
        text = (node.get("Value") or node.text or "").strip()
        lines.append(f"start_time = {text}")
    return lines


def _rasx(path: Path, archive: zipfile.ZipFile, name: str, label: str) -> Decoded:
    size = archive.getinfo(name).file_size
    refuse_larger(path, size, _PROFILE, name)
    text = archive.read(name).decode("utf-8-sig", "replace")
    if not text.strip():
        raise FileFormatError(path, f"{name} holds no columns of a pattern.")
    try:
        table = np.loadtxt(io.StringIO(text), comments=None, ndmin=2).T
    except ValueError as error:
        raise FileFormatError(path, f"{name} holds no numbers ({error}).") from error
    if table.shape[0] < 2 or table.shape[1] < _FEWEST:
        raise FileFormatError(path, f"{name} holds no columns of a pattern.")
    folder = name.partition("/")[0]
    header, axis = [], ""
    for other in archive.namelist():
        if other.startswith(f"{folder}/") and re.search(r"Conditions\d+\.xml$", other):
            root = in_xml(path, archive.read(other))
            header += _said(root, "WavelengthKalpha1", "StartTime")
            found = next(root.iter("AxisName"), None)
            axis = "" if found is None else str(found.text or "").strip().lower()
    if axis and not _TWICE.search(axis.replace("θ", "theta")):
        raise FileFormatError(path, f"{name} runs over {axis!r}, not over 2theta.")
    # An unnamed axis may be the angle of a rocking curve: the user gives axis=.
    columns = {"two_theta deg" if axis else "x": table[0], "intensity": table[1]}
    if len(table) > 2:
        columns["attenuation"] = table[2]
    return decoded(path, columns, header, label)
