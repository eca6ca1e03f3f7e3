"""Read JCAMP-DX: spectra of packed lines, by the format's public definition."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.words import in_numbers, refuse_count
from batteryxr.io.series.decoded import Decoded, decoded

if TYPE_CHECKING:
    from pathlib import Path

_LABEL = re.compile(r"^##([^=]*)=\s*(.*)$")
_SQUEEZED = {c: i for i, c in enumerate("@ABCDEFGHI")} | {
    c: -i for i, c in enumerate("abcdefghi", 1)
}
_DIFFERENCE = {c: i for i, c in enumerate("%JKLMNOPQR")} | {
    c: -i for i, c in enumerate("jklmnopqr", 1)
}
_REPEATED = {c: i for i, c in enumerate("STUVWXYZs", 1)}
_CELL = re.compile(r"([@A-Ia-i%J-Rj-rS-Zs]|[+-]|(?=[\d.]))(\d*\.?\d*(?:E[+-]\d+)?)")
#: Units of the ordinate -> quantity.
_ORDINATE = {
    "ABSORBANCE": "absorbance",
    "TRANSMITTANCE": "transmittance",
    "%TRANSMITTANCE": "transmittance %",
    "REFLECTANCE": "reflectance",
    "COUNTS": "intensity",
    "ARBITRARYUNITS": "intensity",
    "RAMANINTENSITY": "intensity",
    "INTENSITY": "intensity",
}
_ABSCISSA = {"1/CM": "wavenumber 1/cm", "EV": "energy eV", "KEV": "energy keV"}
#: Wavelengths of light, from which wavenumbers follow.
_MICRONS = ("MICROMETERS", "MICROMETRES", "MICRONS", "UM")
#: Most points of a spectrum.
_MOST = 1_000_000
#: Relative difference allowed between a value and the header's check value.
_CLOSE = 2e-3
#: Most that a line's abscissa is off by rounding, in units of its factor, and of it.
_ROUNDED, _DIGITS = 0.6, 1e-4


def read(path: Path, text: str) -> list[Decoded]:
    """Return the spectra of a JCAMP-DX file.

    Raises
    ------
    FileFormatError
        If it holds no readable spectrum, or its checks fail.
    """
    blocks: list[dict[str, list[str]]] = []
    for line in text.splitlines():
        match = _LABEL.match(line.strip())
        if match:
            name = re.sub(r"[\s/_-]", "", match[1]).upper()
            if name == "TITLE":
                blocks.append({})
            if name:
                blocks[-1].setdefault(name, []).append(match[2])
                last = blocks[-1][name]
        elif blocks:
            last.append(line)
    spectra = [b for b in blocks if b.keys() & {"XYDATA", "XYPOINTS"}]
    if not spectra:
        other = {
            "PEAKTABLE": "a table of peaks",
            "NTUPLES": "an NMR spectrum (NTUPLES)",
        }
        words = next((w for k, w in other.items() for b in blocks if k in b), "no data")
        raise FileFormatError(path, f"is JCAMP-DX with {words}, not a spectrum.")
    many = len(spectra) > 1
    found, points = list[Decoded](), 0
    for number, block in enumerate(spectra, 1):
        found.append(_spectrum(path, block, str(number) if many else ""))
        refuse_count(points := points + found[-1].numbers.size, "numbers", 8 * _MOST)
    return found


def _spectrum(path: Path, block: dict[str, list[str]], label: str) -> Decoded:
    packed = "XYDATA" in block
    form, *lines = block["XYDATA" if packed else "XYPOINTS"]
    lines = [ln.split("$$")[0] for ln in lines if ln.split("$$")[0].strip()]
    xfactor, yfactor = (
        _number(path, block, "XFACTOR", 1),
        _number(path, block, "YFACTOR", 1),
    )
    if packed and "X++" in form.replace(" ", ""):
        x, y = _unpacked(path, block, lines, xfactor)
    else:
        words = re.split(r"[\s,;]+", " ".join(lines).strip())
        values = np.array([float(w) for w in words if w])
        x, y = values[::2] * xfactor, values[1::2]
    y = y * yfactor
    points = _number(path, block, "NPOINTS", y.size)
    if y.size != points:
        raise FileFormatError(
            path, f"promises {points:.0f} points and holds {y.size}: it is cut."
        )
    first = _number(path, block, "FIRSTY", y[0])
    if abs(first - y[0]) > _CLOSE * max(abs(first), abs(y[0]), abs(yfactor)) + abs(
        yfactor
    ):
        raise FileFormatError(path, f"begins at {y[0]:g}, not at FIRSTY={first:g}.")
    units = re.sub(r"\s", "", block.get("XUNITS", [""])[0]).upper()
    ordinate = re.sub(r"\s", "", block.get("YUNITS", [""])[0]).upper()
    names = (
        _ABSCISSA.get(units, units.lower() or "x"),
        _ORDINATE.get(ordinate, ordinate.lower() or "y"),
    )
    kept = (
        "TITLE",
        "DATATYPE",
        "ORIGIN",
        "OWNER",
        "LONGDATE",
        "DATE",
        "TIME",
        "RESOLUTION",
    )
    if units in _MICRONS and "RAMAN" not in "".join(block.get("DATATYPE", [])).upper():
        x, names = 1e4 / x, ("wavenumber 1/cm", names[1])
    header = [f"{k.lower()} = {block[k][0]}" for k in kept if k in block]
    return decoded(path, dict(zip(names, (x, y), strict=True)), header, label)


def _unpacked(
    path: Path, block: dict[str, list[str]], lines: list[str], xfactor: float
) -> tuple[np.ndarray, np.ndarray]:
    values: list[float] = []
    starts: list[tuple[float, int]] = []
    checked = False  # after differences, a line repeats the last value
    for line in lines:
        x, cells, differs = _line(path, line)
        if checked and values and cells:
            if abs(values[-1] - cells[0]) > 1:
                raise FileFormatError(
                    path, f"the line at {x:g} does not go on where the last ends."
                )
            values.pop()
        starts.append((x * xfactor, len(values)))
        values += cells
        refuse_count(len(values), "points, unpacked,", _MOST)
        checked = differs
    if not values:
        raise FileFormatError(path, "holds no points.")
    n = len(values)
    first = _number(path, block, "FIRSTX", np.nan)
    last = _number(path, block, "LASTX", np.nan)
    delta = _number(path, block, "DELTAX", np.nan)
    if np.isnan(last) and not np.isnan(delta):
        last = first + delta * (n - 1)
    if np.isnan(first) or np.isnan(last):
        raise FileFormatError(path, "lacks FIRSTX, LASTX or DELTAX.")
    axis = np.linspace(first, last, n)
    step = abs(last - first) / max(n - 1, 1)
    for written, k in starts:  # abscissae may be rounded to integers
        there = axis[min(k, n - 1)]
        if abs(written - there) > step + _ROUNDED * abs(xfactor) + _DIGITS * abs(there):
            raise FileFormatError(
                path,
                f"a line stands at {written:g} where {there:g} is due: lines are lost, "
                "doubled or in another order.",
            )
    return axis, np.array(values)


def _line(path: Path, line: str) -> tuple[float, list[float], bool]:
    """Return abscissa and values of a line, and whether it ends on a difference."""
    match = re.match(r"\s*([+-]?\d*\.?\d+(?:E[+-]\d+)?)", line)
    if match is None:
        raise FileFormatError(path, f"{line[:40]!r} has no abscissa.")
    rest, place = line[match.end() :].rstrip(), 0
    values: list[float] = []
    step: float | None = None
    while place < len(rest):
        if rest[place] in " \t,;":
            place += 1
            continue
        cell = _CELL.match(rest, place)
        if cell is None or cell.end() == place:
            raise FileFormatError(path, f"{rest[place : place + 20]!r} is not packed.")
        sign, digits = cell[1], cell[2]
        place = cell.end()
        if sign in _REPEATED:
            times = int(f"{_REPEATED[sign]}{digits}")
            refuse_count(times, "points of one value", _MOST)
            steps = itertools.repeat(step or 0.0, times - 1)
            values += list(itertools.accumulate(steps, initial=values.pop()))
        elif sign in _DIFFERENCE:
            step = _signed(_DIFFERENCE[sign], sign, digits)
            values.append(values[-1] + step)
        else:
            step = None
            number = f"{sign}{digits}" if sign in "+-" else digits
            packed = sign in _SQUEEZED and sign
            values.append(
                _signed(_SQUEEZED[sign], sign, digits) if packed else float(number)
            )
    return float(match[1]), values, step is not None


def _signed(first: int, sign: str, digits: str) -> float:
    text = f"{abs(first)}{digits}"
    return -float(text) if first < 0 else float(text)


def _number(
    path: Path, block: dict[str, list[str]], name: str, otherwise: float
) -> float:
    words = block.get(name, [""])[0].split()
    found = in_numbers(path, words[:1], f"##{name}")
    return float(found[0]) if words else float(otherwise)
