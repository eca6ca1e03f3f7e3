"""Read binary files of spectrometers (Bruker OPUS, Renishaw .wdf) with libraries."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.core.optional import require
from batteryxr.io.door.files import whole
from batteryxr.io.series.decoded import Decoded, decoded

if TYPE_CHECKING:
    from pathlib import Path

#: First bytes of OPUS files and of WiRE files.
OPUS, WIRE = b"\n\n\xfe\xfe", b"WDF1"
#: Result in OPUS -> quantity; single channels are read only if nothing else is there.
_RESULTS = {
    "a": "absorbance",
    "atr": "absorbance",
    "t": "transmittance",
    "r": "reflectance",
    "ra": "intensity",
    "sm": "single channel of sample",
    "rf": "single channel of reference",
}
_CLOCK = re.compile(r"(\d+:\d\d:\d\d)\S*\s*(?:\(GMT([+-]\d+)(?::?(\d\d))?\))?")
_DATE = re.compile(r"(\d\d)/(\d\d)/(\d{4})|(\d{4})/(\d\d)/(\d\d)")
#: Header of a WiRE block: name of four letters, number, length.
_BLOCK = struct.Struct("<4sIQ")


def read(path: Path, start: bytes) -> list[Decoded]:
    """Return the spectra of a binary file that begins with `start`.

    Raises
    ------
    FileFormatError
        If it is damaged, or holds no spectrum.
    MissingDependencyError
        If the library that reads it is not installed.
    """
    return _opus(path) if start.startswith(OPUS) else _wire(path)


def _opus(path: Path) -> list[Decoded]:
    library = require(
        "brukeropus", extra="spectra", purpose="OPUS files", package="brukeropus"
    )
    try:
        file = library.read_opus(str(path))
        data = list(file.iter_data())
    except Exception as error:  # a damaged file may raise anything
        raise FileFormatError(path, f"is a damaged OPUS file ({error}).") from error
    if file.parse_error_blocks or file.unmatched_data_blocks:
        raise FileFormatError(path, "is an OPUS file that was cut or damaged.")
    told = {_kind(d.key): d for d in data if _kind(d.key)}
    if not told:
        kinds = sorted(file.all_data_keys)
        raise FileFormatError(path, f"is an OPUS file without a spectrum: {kinds}.")
    results = {n: d for n, d in told.items() if not n.startswith("single")} or told
    first = next(iter(results.values()))
    axis = _along(path, first)
    columns: dict[str, np.ndarray] = {"wavenumber 1/cm": axis}
    for name, one in results.items():
        if one.x.size == axis.size and np.allclose(_along(path, one), axis):
            columns[name] = np.asarray(one.y, np.float64)
    return [decoded(path, columns, _said(first, file))]


def _kind(key: str) -> str:
    name, _, number = key.partition("_")
    return f"{_RESULTS[name]} {number}".strip() if name in _RESULTS else ""


def _along(path: Path, data: Any) -> np.ndarray:
    """Return the wavenumbers of a spectrum."""
    units = str(data.params.dxu)
    x = np.asarray(data.x, np.float64)
    if units == "WN":
        return x
    if units == "MI":
        return 1e4 / x
    if units == "LGW":
        return np.exp(x)
    raise FileFormatError(path, f"has an axis in {units!r}: no spectrum.")


def _said(data: Any, file: Any) -> list[str]:
    """Return start, resolution, sample and number of scans as header lines."""
    lines = []
    found = {str(k): v for k, v in file.params.items()}
    found |= {str(k): v for k, v in data.params.items()}
    clock = _CLOCK.match(str(found.get("tim", "")))
    date = _DATE.match(str(found.get("dat", "")))
    if clock and date:
        d, m, y, *other = date.groups()
        day = f"{y}-{m}-{d}" if y else "-".join(other)
        hours = clock[2]
        zone = f"{hours[0]}{int(hours[1:]):02d}:{clock[3] or '00'}" if hours else ""
        lines.append(f"start_time = {day} {clock[1]}{zone}")
    for key, name in (("res", "resolution (1/cm)"), ("snm", "sample_name")):
        if key in found:
            lines.append(f"{name} = {found[key]}")
    if "nss" in found:
        lines.append(f"scans_averaged = {found['nss']}")
    return lines


def _wire(path: Path) -> list[Decoded]:
    library = require(
        "renishawWiRE", extra="spectra", purpose=".wdf files", package="renishawWiRE"
    )
    _check_blocks(path, whole(path))
    try:
        file = library.WDFReader(str(path))
        file.close()
    except Exception as error:  # a damaged file may raise anything
        raise FileFormatError(path, f"is a damaged .wdf file ({error}).") from error
    units = str(file.xlist_unit)
    if units != "1/cm":
        raise FileFormatError(
            path, f"runs over {units or 'no unit'}: export it over the Raman shift."
        )
    n, m = int(file.count), int(file.point_per_spectrum)
    axis = np.asarray(file.xdata, np.float64)
    spectra = np.asarray(file.spectra, np.float64)
    if axis.size != m or spectra.size != n * m:
        raise FileFormatError(
            path, f"promises {n} spectra of {m} points and holds {spectra.size} values."
        )
    header = [f"title = {file.title}", f"laser_wavelength (nm) = {file.laser_length}"]
    where = {}
    for name, values in (("x um", "xpos"), ("y um", "ypos"), ("z um", "zpos")):
        places = np.asarray(getattr(file, values, np.zeros(n)))
        if n > 1 and np.ptp(places) > 0:
            where[name] = np.repeat(places, m)
    columns = {"raman_shift 1/cm": np.tile(axis, n), "intensity": spectra.ravel()}
    return [decoded(path, columns | where, header)]


def _check_blocks(path: Path, raw: bytes) -> None:
    """Raise if the blocks of a file do not follow one another to its end."""
    at = 0
    while at < len(raw):
        if at + _BLOCK.size > len(raw):
            break
        _, _, size = _BLOCK.unpack_from(raw, at)
        if size < _BLOCK.size or at + size > len(raw):
            break
        at += size
    if at != len(raw) or not raw:
        raise FileFormatError(path, "is a .wdf file that was cut or damaged.")
