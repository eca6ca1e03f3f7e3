"""Series of patterns or spectra: one file per scan, one labelled array."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.model import attributes, label
from batteryxr.core.progress import track
from batteryxr.core.provenance import recorded
from batteryxr.io import clock
from batteryxr.io.cycler.reader import find
from batteryxr.io.door.endings import CUT
from batteryxr.io.series.axis import on_one_axis
from batteryxr.io.series.labels import from_headers, from_names, natural, times
from batteryxr.io.series.scans import (
    AXES,
    Scan,
    look,
    quantity_attributes,
    suspicious_energy,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

#: Up to so many files are read at once, more are opened lazily.
_EAGER = 512
_SUFFIXES = (
    *(".gr", ".chi", ".xy", ".xye", ".iq", ".sq", ".fq", ".xdi", ".xmu", ".nor"),
    *(".dat", ".txt", ".csv", ".asc"),
)


@recorded
def read_series(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    axis: str | None = None,
    columns: int | str | None = None,
    skip_rows: int = 0,
    order: str = "natural",
    timezone: str | None = None,
    time_from: str | None = "header",
    exposure: float | npt.ArrayLike | None = None,
    pattern: str | None = None,
    interpolate: bool | npt.ArrayLike = True,
    lazy: bool | None = None,
    progress: bool | None = None,
) -> xr.DataArray:
    r"""Read patterns or spectra, one file per scan, into one array.

    Reads once, up to 512 files; more are opened lazily: every header is read now,
    and the numbers in groups of 64 files when they are asked for.

    Text columns under any header are read, plain or gzipped: ``.gr``, ``.chi``,
    ``.xy``, XDI, Athena and Larch columns, quick-XAS averages, ``.dat``, ``.csv``.
    The first column is the axis.

    Parameters
    ----------
    path
        A folder, a pattern such as ``"run7/*.gr"``, a list of paths, or one path.
    axis
        ``"r"``, ``"q"``, ``"two_theta"``, ``"energy"`` or ``"shift"``; with the units
        of the first column in parentheses, as in ``"energy (keV)"``, where the header
        does not tell them and they are not Angstrom, 1/Angstrom, deg, eV or 1/cm. The
        result is always in these. None: as the header or the file name ending tells.
    columns
        What to read: the number of a column (0 is the axis), its name in the header,
        or ``"transmission"`` ln(i0/itrans), ``"fluorescence"`` ifluor/i0,
        ``"reference"`` ln(itrans/irefer). None: the absorption that an XDI file
        holds or that follows from its counts, else the second column.
    skip_rows
        Lines at the top of each file that are header whatever they look like.
    order
        ``"natural"`` (run_2 before run_10), ``"time"`` (start of exposure), or
        ``"given"``.
    timezone
        Zone of the clock that wrote the headers, such as ``"Europe/Paris"``. Never
        guessed: without it ``time`` is NaT where the headers write local time.
    time_from
        ``"header"``; ``"mtime"``, the file's time of last change, taken as the end
        of the exposure; or None.
    exposure
        Seconds, one number or one for each scan in the order of the result. None:
        as the header tells. A header that gives the seconds from the start of an
        average to its middle ("Time from start") means an exposure of twice that.
    pattern
        Regular expression searched in each file name; each named group becomes a
        coordinate on ``scan``: ``r"_T(?P<temperature>[\d.]+)C"``,
        ``r"(?P<position>pos\d)"``. Groups named as a quantity of the data model
        become numbers in its units, others stay text.
    interpolate
        What to do where axes differ: True, interpolate linearly onto the points of
        the first file that all files cover, and warn; False, raise; or an axis to
        interpolate onto.
    lazy
        True or False to override the limit of 512 files.
    progress
        Show a bar: True, False, or None for only where somebody watches.

    Returns
    -------
    xarray.DataArray
        ``pdf``, ``absorption`` or ``intensity`` on ``(scan, axis)``, with the
        coordinates ``time`` (UTC, start of exposure), ``start_local`` (as written,
        where it has no zone), ``exposure`` (s), ``file``, and on ``scan`` every
        number of the headers that varies. What is the same in all headers is in
        ``attrs["header"]`` (JSON).

    Raises
    ------
    ArgumentError
        If there is no file, or axis or column cannot be told.
    FileFormatError
        If a file is damaged: names file and line. On computing, for lazy series.

    Warns
    -----
    DataQualityWarning
        If axes differ, values are not finite, no time zone is declared, or energies
        look like keV.

    Examples
    --------
    >>> spectra = read_series("xas/*.txt", timezone="Europe/Paris", order="time")
    >>> pdfs = read_series("ramp/*.gr.gz", pattern=r"_T(?P<temperature>[\d.]+)C")
    """
    name, units = _named_axis(axis)
    _check(order, time_from)
    where = clock.zone(timezone)
    paths = _paths(path, order)
    if lazy is None:
        lazy = len(paths) > _EAGER
    scans = [
        look(
            one,
            axis=name,
            units=units,
            column=columns,
            skip_rows=skip_rows,
            read=not lazy,
        )
        for one in track(paths, "Reading scans", progress=progress)
    ]
    messages = _agree(scans)
    if ends := [s.source.path.name for s in scans if s.seems_cut]:
        messages.append(f"{', '.join(ends[:3])}: {CUT} ({len(ends)} files)")
    if suspicious_energy(scans[0], units):
        messages.append(
            f"energies without units end at {scans[0].ends[1]:g} and are taken as eV. "
            "If they are keV, pass axis='energy (keV)'."
        )
    bounds.check("exposure", exposure, argument="exposure")
    moments, said = times(scans, where, time_from, exposure)
    messages += said
    if order == "time":
        scans, moments = _by_time(scans, moments, exposure)
    coords = moments | from_names([s.source.path for s in scans], pattern)
    conditions, common = from_headers(scans, reserved={*coords, "scan"})
    data, grid, said = on_one_axis(scans, interpolate, lazy=lazy)
    messages += said
    first = scans[0]
    array = xr.DataArray(
        data,
        dims=("scan", first.axis),
        coords={first.axis: (first.axis, grid, attributes(first.axis))}
        | conditions
        | coords,
    )
    array = label(array, first.quantity, **quantity_attributes(first.quantity))
    array.attrs |= {
        "column": first.column,
        "timezone": timezone or "",
        "header": common,
    }
    for message in messages:
        warn_quality(message)
    return bounds.told(array)


def _named_axis(axis: str | None) -> tuple[str | None, str | None]:
    """Return name and units of an axis such as ``"energy (keV)"``."""
    if axis is None:
        return None, None
    name, opened, rest = axis.partition("(")
    if name.strip() not in AXES or (opened and not rest.endswith(")")):
        raise ArgumentError(
            "axis", axis, f"one of {list(AXES)}, or with units, 'energy (keV)'"
        )
    return name.strip(), rest[:-1].strip() or None


def _check(order: str, time_from: str | None) -> None:
    for name, value, known in (
        ("order", order, ("natural", "time", "given")),
        ("time_from", time_from, ("header", "mtime", None)),
    ):
        if value not in known:
            raise ArgumentError(name, value, f"one of {list(known)}")


def _paths(files: Any, order: str) -> list[Path]:
    items = files if isinstance(files, list | tuple) else [files]
    paths: dict[Path, None] = {}
    for item in items:
        folder = Path(item).expanduser()
        found = _in_folder(folder) if os.path.isdir(folder) else find(item)
        paths |= dict.fromkeys(found)
    if not paths:
        raise ArgumentError("path", files, "at least one path")
    return list(paths) if order == "given" else sorted(paths, key=natural)


def _in_folder(folder: Path) -> list[Path]:
    kinds: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir(), key=natural):
        name = path.name.lower().removesuffix(".gz")
        if path.is_file() and name.endswith(_SUFFIXES) and name[0] != ".":
            kinds.setdefault(name[name.rfind(".") :], []).append(path)
    if len(kinds) == 1:
        return next(iter(kinds.values()))
    if not kinds:
        raise ArgumentError(
            "path", str(folder), f"a folder with files that end in {list(_SUFFIXES)}"
        )
    counts = ", ".join(f"{len(found)} {suffix}" for suffix, found in kinds.items())
    raise ArgumentError(
        "path",
        str(folder),
        "a folder with files of one kind",
        f"It holds {counts}: pass a pattern such as "
        f"{str(folder / ('*' + next(iter(kinds))))!r}.",
    )


def _agree(scans: Sequence[Scan]) -> list[str]:
    """Raise where scans are of different kinds; say where columns are called apart."""
    first = scans[0]
    for scan in scans[1:]:
        here, there = scan.source.path.name, first.source.path.name
        if (scan.axis, scan.quantity) != (first.axis, first.quantity):
            raise ArgumentError(
                "path",
                here,
                f"{first.quantity} on {first.axis}, like {there}",
                f"It holds {scan.quantity} on {scan.axis}: read the two kinds apart, "
                "or pass axis= and columns=.",
            )
    names = dict.fromkeys(s.column for s in scans)
    if len(names) > 1:
        return [
            f"the column read has different names in different files "
            f"({', '.join(map(repr, names))}): pass columns= to choose one"
        ]
    return []


def _by_time(
    scans: list[Scan], moments: dict[str, Any], exposure: Any
) -> tuple[list[Scan], dict[str, Any]]:
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
