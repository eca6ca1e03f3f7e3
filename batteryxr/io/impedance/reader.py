"""Read impedance spectra of any known format into one labelled Dataset."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.errors import ArgumentError, NothingFoundError, warn_quality
from batteryxr.core.kernels.times import NAT
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.io import clock
from batteryxr.io.cycler.reader import FORMATS as CYCLER
from batteryxr.io.cycler.reader import find
from batteryxr.io.cycler.table import Options
from batteryxr.io.door.files import head, named
from batteryxr.io.door.signatures import kind_of
from batteryxr.io.formats import Format
from batteryxr.io.impedance.rows import (
    ONE,
    Readings,
    order_note,
    phase_note,
    polar_note,
    reactance_note,
    spectra_of,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo
    from pathlib import Path

_ECLAB, _TEXT = "impedance.eclab", "impedance.text"
#: Formats by name, in the order in which they are tried.
FORMATS: dict[str, Format] = {
    "biologic-mpt": replace(CYCLER["biologic-mpt"], module=_ECLAB, function="read_mpt"),
    "biologic-mpr": replace(CYCLER["biologic-mpr"], module=_ECLAB, function="read_mpr"),
    "gamry": replace(CYCLER["gamry"], module=_TEXT, function="read_gamry"),
    "text": Format(
        _TEXT, (".txt", ".csv", ".tsv", ".dat", ".z"), function="read_table"
    ),
}
_ZAHNER = (".ism", ".isc", ".isw")
_OHM = {"units": "ohm"}
_ELECTRODES = {
    "impedance": "Impedance",
    "impedance_counter": "Impedance of the counter electrode",
    "impedance_cell": "Impedance of the whole cell",
}


class _Taken(NamedTuple):
    """Hold one spectrum, with its start (ns, UTC) and the number of its file."""

    points: Mapping[str, np.ndarray]
    began: int
    file: int


@recorded
def read_impedance(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    timezone: str | None = None,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    dayfirst: bool | None = None,
) -> xr.Dataset:
    """Read impedance spectra from any potentiostat into one Dataset.

    Reads once. The format is recognised by content and file name: BioLogic ``.mpt``
    and ``.mpr`` (PEIS, GEIS and the like, in files of their own or between the rows of
    cycling), Gamry ``.DTA``, and tables of text as Zahner, Ivium and others export
    them. Files without a spectrum are skipped if others have some, so that all files
    of a run can be passed.

    Parameters
    ----------
    path
        A path, a list of paths, a folder, or a pattern, as in `read_cycler`.
    timezone
        Zone of the instrument's clock, as in `read_cycler`.
    format
        Name of the format, if content and file name do not identify it.
    columns
        Label in the file -> ``"frequency"``, ``"angular_frequency"`` (rad/s),
        ``"log10_frequency"`` (decades of Hz), ``"real"``, ``"imaginary"``,
        ``"minus_imaginary"``, ``"modulus"``, ``"phase"``, ``"minus_phase"``,
        ``"conductance"`` and ``"susceptance"`` (real and imaginary part of Y),
        ``"test_time"``, ``"voltage"``, ``"current"``, ``"temperature"`` or
        ``"spectrum"``, with units if the label has none:
        ``{"Z2": "minus_imaginary (ohm)"}``. The sign of an imaginary part is never
        guessed: an ambiguous label, neither Im nor -Im, is refused.
    dayfirst
        Whether dates are written day first. None: as the maker writes them.

    Returns
    -------
    xarray.Dataset
        ``impedance`` (complex, ohm) on (``spectrum``, ``frequency``), NaN where a
        spectrum lacks that frequency, and ``point_time`` (s since the spectrum
        began), if the file has times. ``impedance_counter`` and
        ``impedance_cell`` if a reference electrode was used. On ``spectrum``:
        ``time`` (UTC, of its first point), ``exposure`` (s), ``voltage``,
        ``current`` and ``temperature`` (means), ``file``. ``attrs["flags"]`` as in
        `read_cycler`.

    Raises
    ------
    ArgumentError
        If a file does not exist, has no known format, or an argument is wrong.
    FileFormatError
        If a file is damaged, none has a spectrum, or a column is ambiguous. The
        message names the file and, for text, the line.

    Warns
    -----
    DataQualityWarning
        For an undeclared time zone, and once for each flag.

    Examples
    --------
    >>> loop = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> paths = batteryxr.simulate.write_impedance_loop(loop, "run")
    >>> spectra = batteryxr.read_impedance("run/*.mpt", timezone="Europe/Paris")
    >>> spectra["impedance"].dims
    ('spectrum', 'frequency')
    """
    where = clock.zone(timezone)
    options = Options(columns=columns, dayfirst=dayfirst)
    if format is not None and format not in FORMATS:
        raise ArgumentError("format", format, f"one of {sorted(FORMATS)}")
    # In the cycler reader, which finds the files of a folder, text is "csv".
    paths = find(path, format={"text": "csv"}.get(format or "", format))
    taken, read, notes = _taken(paths, format, options, where)
    if not taken:
        raise NothingFoundError(paths[0], _silence(paths, read))
    _tell(paths, taken, read, notes, zoned=where is not None)
    used = [rows.technique for rows in read if rows.columns["frequency"].size]
    about = {
        "title": paths[0].stem,
        "instrument": ", ".join(dict.fromkeys(rows.instrument for rows in read)),
        "technique": ", ".join(dict.fromkeys(filter(None, used))),
        "source_files": [one.name for one in paths],
        "timezone": timezone or "",
        "flags": list(notes),
        "flag_notes": list(notes.values()),
    }
    return bounds.told(_labelled(_in_order(taken)).assign_attrs(about))


def _taken(
    paths: Sequence[Path],
    format: str | None,
    options: Options,
    where: tzinfo | None,
) -> tuple[list[_Taken], list[Readings], dict[str, str]]:
    """Return the spectra of some files, what was read, and a message for each flag."""
    taken: list[_Taken] = []
    read: list[Readings] = []
    notes: dict[str, list[str]] = {}
    for number, one in enumerate(paths):
        with named(one):
            rows = FORMATS[_identify(one, format)].read(one, options)
            mine, said = spectra_of(rows, one)
        read.append(rows)
        if mine:
            odd = reactance_note(mine) | phase_note(mine) | order_note(mine)
            odd |= polar_note(mine)
            for flag, words in {**rows.notes, **said, **odd}.items():
                notes.setdefault(flag, []).append(f"{one.name}: {words}")
        taken += [
            _Taken(points, _began(rows, points, where), number) for points in mine
        ]
    if twice := _twice(taken):
        notes["same_spectra"] = [
            f"{twice} spectra are there twice, with one time and one impedance: is a "
            "file there as .mpr and as .mpt?"
        ]
    return taken, read, {flag: "; ".join(said) for flag, said in notes.items()}


def _tell(
    paths: Sequence[Path],
    taken: Sequence[_Taken],
    read: Sequence[Readings],
    notes: Mapping[str, str],
    *,
    zoned: bool,
) -> None:
    """Warn of flags, and of files with spectra whose time zone is undeclared."""
    local = [
        number
        for number in dict.fromkeys(one.file for one in taken)
        if (start := read[number].start) is not None and start.tzinfo is None
    ]
    if local and not zoned:
        warn_quality(
            f"{paths[local[0]].name}: local time of an undeclared zone, so `time` is "
            "NaT. Pass timezone='Europe/Paris', or wherever the instrument's clock "
            "stood."
        )
    for flag, sentence in notes.items():
        warn_quality(f"{flag}: {sentence}")


def _twice(taken: Sequence[_Taken]) -> int:
    """Return how many spectra repeat another one."""
    seen, twice = set(), 0
    for one in taken:
        z = one.points["impedance"]
        # Exported text has seven digits.
        key = one.began // 1_000_000, z.size, *(f"{v:.4g}" for v in (z[0], z[-1]))
        twice += key in seen
        seen.add(key)
    return twice


def _identify(path: Path, name: str | None) -> str:
    if name is not None:
        return name
    start = head(path)
    for key, form in FORMATS.items():
        if form.matches(start):
            return key
    for key, form in FORMATS.items():
        if path.name.lower().endswith(form.suffixes):
            return key
    kind = kind_of(start)
    if kind is None and b"\0" not in start:
        return "text"
    suffixes = sorted(s for form in FORMATS.values() for s in form.suffixes)
    mend = f"It is {kind.words}. {kind.mend}" if kind is not None else ""
    if path.suffix.lower() in _ZAHNER:
        mend = (
            "It is a file of Zahner's Thales, whose layout is not published: export "
            "it as text (frequency, impedance, phase), and read that."
        )
    raise ArgumentError("path", str(path), f"a file that ends in {suffixes}", mend)


def looks_for(path: Path) -> tuple[bool, bool]:
    """Tell whether a file may hold impedance, and whether it holds nothing else.

    A text table that names frequencies and impedance holds no cycling. Files that only
    cyclers write, such as a workbook, hold no impedance that can be read.
    """
    try:
        name = _identify(path, None)
    except ArgumentError:
        return False, False
    if name != "text":
        return True, False
    with named(path):
        rows = FORMATS[name].read(path, Options())
    return True, rows.columns["frequency"].size > 0


def _silence(paths: Sequence[Path], read: Sequence[Readings]) -> str:
    technique = next((rows.technique for rows in read if rows.technique), "")
    others = f" nor in {len(paths) - 1} others" * (len(paths) > 1)
    held = f" It holds {technique}." if technique else ""
    return (
        f"no impedance in it{others}: no column of frequencies with units, or none "
        f"above 0.{held} If it has labels of its own, say what they are: columns="
        "{'label': 'frequency (Hz)', ...}."
    )


def _began(
    rows: Readings, points: Mapping[str, np.ndarray], where: tzinfo | None
) -> int:
    """Return the time of the first point (ns, UTC), or NaT if it is unknown."""
    start = clock.stamp(rows.start, where)
    if start == NAT:
        return start
    elapsed = points["test_time"][0] if "test_time" in points else 0.0
    return start + round(float(elapsed) * 1e9) if np.isfinite(elapsed) else start


def _in_order(taken: list[_Taken]) -> list[_Taken]:
    """Return spectra in order of time, or as given if any time is unknown."""
    if any(one.began == NAT for one in taken):
        return taken
    return sorted(taken, key=lambda one: one.began)


def _axis(taken: Sequence[_Taken]) -> np.ndarray:
    """Return all frequencies, rising; those that differ only by rounding are merged."""
    every = np.unique(np.concatenate([one.points["frequency"] for one in taken]))
    kept, k = [], 0
    while k < every.size:
        kept.append(every[k])
        k = int(np.searchsorted(every, every[k] * (1 + ONE), "right"))
    return np.array(kept)


def _labelled(taken: Sequence[_Taken]) -> xr.Dataset:
    axis = _axis(taken)
    shape = len(taken), axis.size
    places = [
        np.searchsorted(axis, one.points["frequency"], "right") - 1 for one in taken
    ]

    def spread(name: str, kind: type, shift: bool = False) -> np.ndarray:
        values: np.ndarray = np.full(shape, np.nan, kind)
        for k, (one, place) in enumerate(zip(taken, places, strict=True)):
            column = one.points.get(name)
            if column is not None:
                values[k, place] = column - column[0] if shift else column
        return values

    names = [n for n in _ELECTRODES if any(n in one.points for one in taken)]
    on = ("spectrum", "frequency")
    variables: dict[str, Any] = {
        n: (on, spread(n, complex), _OHM | {"long_name": _ELECTRODES[n]}) for n in names
    }
    coords: dict[str, Any] = {
        "spectrum": ("spectrum", np.arange(1, len(taken) + 1), attributes("spectrum")),
        "frequency": ("frequency", axis, attributes("frequency")),
        "time": (
            "spectrum",
            np.array([one.began for one in taken]).astype("datetime64[ns]"),
            {"long_name": "Time (UTC)"},
        ),
        "file": (
            "spectrum",
            np.array([one.file for one in taken], np.int16),
            {"units": "1", "long_name": "File number"},
        ),
    }
    if any("test_time" in one.points for one in taken):
        times = spread("test_time", float, shift=True)
        about = {"units": "s", "long_name": "Time since the spectrum began"}
        variables["point_time"] = (on, times, about)
        lasting = np.array([_span(one.points.get("test_time")) for one in taken])
        coords["exposure"] = ("spectrum", lasting, attributes("exposure"))
    for name in ("voltage", "current", "temperature"):
        if any(name in one.points for one in taken):
            means = np.array([_mean(one.points.get(name)) for one in taken])
            coords[name] = ("spectrum", means, attributes(name))
    return xr.Dataset(variables, coords)


def _span(times: np.ndarray | None) -> float:
    return np.nan if times is None else float(np.ptp(times))


def _mean(values: np.ndarray | None) -> float:
    return np.nan if values is None else float(np.mean(values))
