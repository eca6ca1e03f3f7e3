"""Read series of patterns or spectra: one file per scan, one labelled array."""

from __future__ import annotations

import os
from collections.abc import Sequence  # noqa: TC003
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
from batteryxr.io.door.folders import files_in
from batteryxr.io.door.marks import turned_in
from batteryxr.io.series.axis import on_one_axis
from batteryxr.io.series.choice import choose, made
from batteryxr.io.series.contents import AXES, FORMULAS
from batteryxr.io.series.headers import slug
from batteryxr.io.series.labels import (
    beside,
    from_headers,
    from_names,
    in_order_of_time,
    natural,
    times,
)
from batteryxr.io.series.scans import Wanted, described, look, quantity_attributes

if TYPE_CHECKING:
    import numpy.typing as npt

    from batteryxr.io.series.contents import Scan

#: Up to so many files are read at once; more are opened lazily.
_EAGER = 512
_SUFFIXES = (
    *(".fio", ".dpt", ".jdx", ".dx", ".xrdml", ".ras", ".uxd", ".udf", ".cpi"),
    *(".brml", ".rasx", ".fxye", ".gsa", ".gda", ".spec", ".flat", ".wdf", ".0"),
    *(".gr", ".chi", ".xy", ".xye", ".iq", ".sq", ".fq", ".xdi", ".xmu", ".nor"),
    *(".xsp", ".dat", ".txt", ".csv", ".asc"),
)
#: Names of the coordinates that every series has.
#: Fewer distinct numbers than these may come twice by chance.
_LEVELS = 5
#: Quantities of the ends of axes.
_ENDS = {"two_theta": "largest scattering angle", "r": "largest r"}
_RESERVED = ("time", "exposure", "file", "label", "scan", "start_local")


@recorded
def read_series(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    axis: str | None = None,
    columns: int | str | Sequence[int | str] | None = None,
    skip_rows: int = 0,
    order: str = "natural",
    timezone: str | None = None,
    time_from: str | None = "header",
    exposure: float | npt.ArrayLike | None = None,
    pattern: str | None = None,
    interpolate: bool | npt.ArrayLike = True,
    lazy: bool | None = None,
    progress: bool | None = None,
) -> Any:
    r"""Read patterns or spectra, one file per scan, into one array.

    Reads once, up to 512 files; more are opened lazily: every header is read now,
    and the numbers in groups of 64 files when they are needed.

    Text columns under any header are read, plain or gzipped: ``.gr``, ``.chi``,
    ``.xy``, XDI and what beamlines, Athena, Larch, Renishaw, LabSpec, WITec, OPUS
    (``.dpt``), pyFAI, GSAS, Rigaku and Bruker write as text; SPEC and ``.fio``;
    JCAMP-DX; PANalytical ``.xrdml``, Bruker ``.brml``, Rigaku ``.rasx``; point scans
    in HDF5 (BLISS, NeXus), each entry a scan; with the
    extra `spectra` OPUS binaries (``.0``) and Renishaw ``.wdf``. Axis and values are
    chosen by their names in the header, never by their place.

    Parameters
    ----------
    path
        A folder, a pattern such as ``"run7/*.gr"``, a list of paths, or one path.
    axis
        ``"r"``, ``"q"``, ``"two_theta"``, ``"energy"`` or ``"shift"``. Add the units
        of the first column in parentheses, as in ``"energy (keV)"``, if the header
        does not give them and they are not Angstrom, 1/Angstrom, deg, eV or 1/cm. The
        result is always in these. None: from the header or the file name ending.
    columns
        Column to read: its number, from 0, its name in the header, or
        ``"transmission"`` ln(i0/itrans), ``"fluorescence"`` ifluor/i0 (all elements
        of a detector), ``"electron_yield"``, ``"reference"`` ln(itrans/irefer). A
        list of these, or ``"all"``, gives a Dataset. None: absorption that is named
        or follows from monitors, the intensity or G(r). If no column is named so,
        the error lists them.
    skip_rows
        Lines at the top of each file that belong to the header, whatever they contain.
    order
        ``"natural"`` (run_2 before run_10), ``"time"`` (start of exposure), or
        ``"given"``.
    timezone
        Zone of the clock that wrote the headers, such as ``"Europe/Paris"``. It is
        never guessed: without it ``time`` is NaT if the headers write local time.
    time_from
        ``"header"``; ``"mtime"``, the file's time of last change, taken as the end
        of the exposure; or None.
    exposure
        Seconds: one number, or one for each scan in the order of the result. None:
        from the header. If a header gives the seconds from the start of an average
        to its middle ("Time from start"), the exposure is twice that.
    pattern
        Regular expression searched in each file name; each named group becomes a
        coordinate on ``scan``: ``r"_T(?P<temperature>[\d.]+)C"``,
        ``r"(?P<position>pos\d)"``. Groups named as a quantity of the data model
        become numbers in its units; others stay text.
    interpolate
        How to treat axes that differ. True: interpolate linearly onto the points of
        the first file that all files cover, and warn. False: raise. An axis:
        interpolate onto it.
    lazy
        True or False to override the limit of 512 files.
    progress
        Show a bar. None shows it in terminals and notebooks only.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        ``pdf``, ``absorption``, ``intensity``, ``absorbance``, ``transmittance`` or
        ``reflectance`` on ``(scan, axis)``. A file of several scans or spectra gives
        as many, distinguished by ``label``. The coordinates are ``time`` (UTC, start
        of exposure), ``start_local`` (as written, if it has no zone), ``exposure``
        (s), ``file``, and on ``scan`` every number in the headers that varies.
        Entries that are the same in all headers are in ``attrs["header"]`` (JSON).

    Raises
    ------
    ArgumentError
        If there is no file, or axis or column are ambiguous.
    FileFormatError
        If a file is damaged; the message names file and line. A lazy series raises
        on computing.

    Warns
    -----
    DataQualityWarning
        If axes differ, values are not finite, no time zone is declared, energies look
        like keV, or a monitor that absorption is computed from is stuck, saturates or
        sees no beam.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> folder = batteryxr.simulate.write_cell_experiment(cell, "run")
    >>> spectra = batteryxr.read_series("run/scans/*.txt", timezone="Europe/Paris")
    >>> spectra.dims
    ('scan', 'energy')
    """
    name, units = _named_axis(axis)
    _check(order, time_from)
    paths = _paths(path, order)
    if lazy is None:
        lazy = len(paths) > _EAGER
    wanted = Wanted(name, units, None, skip_rows, not lazy)
    labels = Labelling(order, time_from, exposure, pattern, timezone)
    if columns is None or (not isinstance(columns, list | tuple) and columns != "all"):
        scans = _look(paths, replace(wanted, column=columns), progress)  # type: ignore[arg-type]
        return _series(scans, labels, interpolate, lazy=lazy)
    arrays = {}
    for key, column in _channels(paths[0], wanted, columns).items():
        scans = _look(paths, replace(wanted, column=column), progress)
        array = _series(scans, labels, interpolate, lazy=lazy)
        arrays[key] = array.rename(key)
    return xr.Dataset(arrays, attrs={"header": array.attrs["header"]})


class Labelling(NamedTuple):
    """Describe settings for ordering and labelling scans; see `read_series`."""

    order: str
    time_from: str | None
    exposure: Any
    pattern: str | None
    timezone: str | None


def _look(paths: Sequence[Path], wanted: Wanted, progress: bool | None) -> list[Scan]:
    scans: list[Scan] = []
    for one in track(paths, "Reading scans", progress=progress):
        scans += look(one, wanted)
    seen = scans
    if not wanted.read:  # of many files only the ends are looked at closely
        near = replace(wanted, read=True)
        seen = [look(paths[place], near)[place] for place in (0, -1)]
        for place, one_end in zip((0, -1), seen, strict=True):
            scans[place] = replace(scans[place], doubts=one_end.doubts)
    if wanted.column is None and all(map(_without_beam, seen)):
        return _other_kind(paths, wanted, progress) or scans
    return scans


def _without_beam(scan: Scan) -> bool:
    """Tell whether a monitor that absorption is computed from measured nothing."""
    if not scan.source.formula or scan.data is None:
        return False
    still = any("everywhere" in seen for seen in scan.doubts.values())
    return still or bool(np.isnan(scan.data[1]).all())


def _other_kind(
    paths: Sequence[Path], wanted: Wanted, progress: bool | None
) -> list[Scan]:
    """Return the scans in another kind of absorption whose monitors did measure."""
    for kind in ("fluorescence", "electron_yield"):
        near = replace(wanted, column=kind, read=True)
        with suppress(ArgumentError):
            if any(map(_without_beam, look(paths[0], near))):
                continue
            scans = _look(paths, replace(wanted, column=kind), progress)
            note = (
                f"a monitor of transmission measured nothing in these files: {kind} is "
                "read. Pass columns='transmission' for the other, or 'all'."
            )
            scans[0] = replace(scans[0], notes=(*scans[0].notes, note))
            return scans
    return []


def _of_monitors(scans: Sequence[Scan]) -> list[str]:
    """Return messages on monitors that absorption should not be computed from."""
    found: dict[tuple[str, str], list[Scan]] = {}
    for scan in scans:
        for key in scan.doubts:
            found.setdefault(key, []).append(scan)
    return [
        f"{name!r}, which absorption is computed from, {kind} in {len(some)} of "
        f"{len(scans)} scans: {some[0].doubts[name, kind]} ({some[0].source.path.name})"
        for (name, kind), some in found.items()
    ]


def _channels(path: Path, wanted: Wanted, columns: Any) -> dict[str, int | str | None]:
    """Return the name of each variable and the column or formula it is read from.

    `columns` is ``"all"``, or a list of columns and formulas. All files are read like
    the first, at `path`.
    """
    if columns != "all":
        if not columns:
            raise ArgumentError("columns", columns, "at least one column")
        return {_called(column): column for column in columns}
    file = described(path, wanted.skip_rows)
    last = file.n - 1
    position = choose(file, wanted.axis, last).position if last else 0
    found: dict[str, int | str | None] = {
        name: name for name in made(file, wanted.axis or "") if name in FORMULAS
    }
    for column in range(file.n):
        if column == position:
            continue
        name = slug(file.names[column]) if file.names else ""
        free = name if name and name not in found else f"column_{column}"
        free = f"{free}_column" if free in _RESERVED else free
        found[free] = column
    return found


def _called(column: Any) -> str:
    return f"column_{column}" if isinstance(column, int) else slug(str(column))


def _series(
    scans: list[Scan], labels: Labelling, interpolate: Any, *, lazy: bool
) -> xr.DataArray:
    """Return one array of scans whose headers were read."""
    messages = [*_agree(scans), *dict.fromkeys(note for s in scans for note in s.notes)]
    if ends := [s.source.path.name for s in scans if s.seems_cut]:
        messages.append(f"{', '.join(ends[:3])}: {CUT} ({len(ends)} files)")
    bounds.check("exposure", labels.exposure, argument="exposure")
    messages += [*_of_monitors(scans), *_stretched(scans)]
    where = clock.zone(labels.timezone)
    moments, said = times(scans, where, labels.time_from, labels.exposure)
    messages += said
    if labels.order == "time":
        scans, moments = in_order_of_time(scans, moments, labels.exposure)
    coords = moments | from_names([s.source.path for s in scans], labels.pattern)
    coords |= beside(scans)
    conditions, common = from_headers(scans, reserved={*coords, "scan"})
    data, grid, said = on_one_axis(scans, interpolate, lazy=lazy)
    messages += said
    messages += _copies(scans, data)
    messages += _turned(scans, data)
    first = scans[0]
    array = xr.DataArray(
        data,
        dims=("scan", first.axis),
        coords={first.axis: (first.axis, grid, _axis_attributes(first))}
        | conditions
        | coords,
    )
    attrs = quantity_attributes(first.quantity, first.units)
    array = label(array, first.quantity, **attrs)
    array.attrs |= {
        "column": first.column,
        "timezone": labels.timezone or "",
        "header": common,
    }
    for message in messages:
        warn_quality(message)
    if quantity := _ENDS.get(first.axis):
        largest = float(np.abs(grid).max(initial=0.0))
        # Numbers that are too large are told below, of each axis.
        if 0 < largest < bounds.BOUNDS[quantity].likely[0]:
            bounds.check(quantity, largest, argument=first.axis, data=True)
    return bounds.told(array)


def _axis_attributes(scan: Scan) -> dict[str, str]:
    """Return units and name of an axis: only Raman spectra run over a shift."""
    own = attributes(scan.axis)
    if scan.axis == "shift" and scan.quantity != "intensity":
        own["long_name"] = "Wavenumber"
    return own


def _stretched(scans: Sequence[Scan]) -> list[str]:
    """Return a message if scans have other numbers of points between the same ends."""
    sizes: dict[tuple[float, float], dict[int, Scan]] = {}
    for scan in scans:
        if scan.data is not None and scan.axis == "two_theta":
            sizes.setdefault(scan.ends, {}).setdefault(scan.data[0].size, scan)
    return [
        f"{', '.join(s.source.path.name for s in some.values())} run over the same "
        f"angles with {', '.join(map(str, some))} points: if a scan was stopped and "
        "its file gives the planned end, its angles are stretched. Leave it out."
        for some in sizes.values()
        if len(some) > 1
    ]


def _turned(scans: Sequence[Scan], data: Any) -> list[str]:
    """Tell of numbers whose sign those beside them do not have."""
    if not isinstance(data, np.ndarray) or not (found := turned_in(data)).any():
        return []
    scan, point = np.argwhere(found)[0]
    return [
        f"{scans[scan].source.path.name}: point {point}, {data[scan, point]:.6g}, fits "
        f"those beside it only with the other sign ({int(found.sum())} such points in "
        f"{int(found.any(axis=1).sum())} scans): was a minus lost?"
    ]


def _copies(scans: list[Scan], values: Any) -> list[str]:
    """Return a message if scans hold the numbers of others: noise never repeats.

    Those of lazy series are compared as they are written.
    """
    read = isinstance(values, np.ndarray)
    keys = [row.tobytes() for row in values] if read else [s.digest for s in scans]
    seen: dict[bytes, Scan] = {}
    pairs = [
        (seen[key], row)
        for row, key in enumerate(keys)
        if seen.setdefault(key, scans[row]) is not scans[row]
    ]
    if read:
        pairs = [p for p in pairs if np.unique(values[p[1]]).size > _LEVELS]
    elif pairs and np.unique(scans[pairs[0][1]].source.read()[1]).size <= _LEVELS:
        pairs = []
    if not pairs:
        return []
    one, other = (s.source.path.name for s in (pairs[0][0], scans[pairs[0][1]]))
    return [
        f"{len(pairs)} of {len(scans)} scans hold the same numbers as others, first "
        f"of all {other} those of {one}: are they copies?"
    ]


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


def _is_series(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(_SUFFIXES) and name[0] != "."


def _in_folder(folder: Path) -> list[Path]:
    kinds: dict[str, list[Path]] = {}
    for path in sorted(files_in(folder, _is_series), key=natural):
        name = path.name.lower().removesuffix(".gz")
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
    """Raise if scans differ in kind; return a warning if column names differ."""
    first = scans[0]
    for scan in scans[1:]:
        here, there = scan.source.path.name, first.source.path.name
        kind = scan.axis, scan.quantity, scan.units
        if kind != (first.axis, first.quantity, first.units):
            raise ArgumentError(
                "path",
                here,
                f"{first.quantity} on {first.axis}, like {there}",
                f"It holds {scan.quantity} on {scan.axis} ({scan.units}): read the two "
                "kinds apart, "
                "or pass axis= and columns=.",
            )
    names = dict.fromkeys(s.column for s in scans)
    if len(names) > 1:
        return [
            f"the column read has different names in different files "
            f"({', '.join(map(repr, names))}): pass columns= to choose one"
        ]
    return []
