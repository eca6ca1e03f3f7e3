"""Layouts of scans in the HDF5 files of beamlines, as rows of data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import ArgumentError
from batteryxr.io.door.chunks import grows
from batteryxr.io.door.datasets import read_all
from batteryxr.io.door.hdf5 import text, walk

if TYPE_CHECKING:
    from pathlib import Path

    import h5py


@dataclass(frozen=True)
class ScanLayout:
    """Tell where one beamline keeps a scan, by patterns of paths in its entry.

    Parameters
    ----------
    name
        Name of the beamline or its software.
    entry
        Pattern of an entry at the top of the file; the group ``scan`` is its number.
    frames
        Pattern of the frames, three axes.
    measured
        Pattern of the columns of the scan, one value a frame; the group ``name``.
    motors
        Patterns of motor positions; the group ``name`` is that of the motor.
    energy
        Path of the photon energy or the wavelength, and its units where the file gives
        none.
    scanned
        Path of a text that names the motor that moved, where columns do not.
    angles
        Column of the angles of that motor.
    """

    name: str
    entry: str
    frames: str
    measured: str
    motors: tuple[str, ...]
    energy: tuple[tuple[str, str], ...] = ()
    scanned: str = ""
    angles: str = ""


#: A motor of SOLEIL: the last word of "i06-c-c07-ex-dif-delta".
_SOLEIL = r"(?:[^/]*[^A-Za-z_/]|[^/]*\d_)?(?P<name>[A-Za-z][A-Za-z_]*)"
LAYOUTS = (
    ScanLayout(
        "BLISS (ID01, ID27)",
        r"(?:.*_)?(?P<scan>\d+)\.1",
        r"measurement/[^/]+",
        r"measurement/(?P<name>[^/]+)",
        (r"instrument/positioners(?:_start)?/(?P<name>[^/]+)",),
        (
            ("instrument/positioners/mononrj", "keV"),
            ("instrument/calibration/wavelength", "Angstrom"),
        ),
    ),
    ScanLayout(
        "NanoMAX",
        r"entry",
        r"measurement/[^/]+/frames",
        r"measurement/(?P<name>[^/]+)",
        (r"snapshots?/(?:pre|post)_scan/(?P<name>[^/]+)",),
        (
            ("snapshots/pre_scan/energy", "eV"),
            ("snapshots/post_scan/energy", "eV"),
            ("snapshot/energy", "eV"),
        ),
    ),
    ScanLayout(
        "I16",
        r"entry1?",
        r"instrument/[^/]+/data",
        r"measurement/(?P<name>[^/]+)",
        (r"instrument/diffractometer_sample/(?P<name>[^/]+)",),
        (("sample/beam/incident_energy", "keV"),),
    ),
    ScanLayout(
        "SOLEIL (SIXS, CRISTAL)",
        r".+",
        r"scan_data/[^/]+",
        r"scan_data/(?P<name>[^/]+)",
        (rf"(?:SIXS|CRISTAL)/(?:[^/]+/)?{_SOLEIL}/position(?:_pre)?",),
        (
            ("SIXS/i14-c-c02-op-mono/energy", "keV"),
            ("CRISTAL/Monochromator/energy", "keV"),
        ),
        "scan_config/name",
        "actuator_1_1",
    ),
)


@dataclass
class FoundScan:
    """Hold one scan found in a file: paths in its entry, and values.

    Parameters
    ----------
    entry
        Name of its group.
    frames
        Path of the frames in the file.
    motor, angles
        Motor that moved and its angles (deg); empty and None where not told.
    motors
        Positions at the start of the scan.
    columns
        Further columns, one value a frame.
    energy
        Path of the photon energy in the file, and its units where it gives none.
    """

    entry: str
    frames: str
    motor: str = ""
    angles: np.ndarray | None = None
    motors: dict[str, float] = field(default_factory=dict)
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    energy: tuple[str, str] | None = None


def find_scan(
    file: h5py.Group, path: Path, scan: int | str | None, dataset: str | None
) -> FoundScan | None:
    """Return a scan in one of the layouts; None if the file has none of them.

    Raises
    ------
    ArgumentError
        If there are several scans or detectors, or no scan of this number.
    """
    for layout in LAYOUTS:
        entries = _entries(file, layout)
        wanted = [e for e in entries if scan is None or e[1] == str(scan)]
        found = [
            (entry, number, held)
            for entry, number in wanted
            if (held := _datasets(file, entry, layout))
        ]
        if found or (scan is not None and any(number for _, number in entries)):
            break
    else:
        if scan is not None:
            raise ArgumentError("scan", scan, f"None: {path.name} numbers no scans")
        return None
    numbers = [number or entry for entry, number in entries]
    if dataset is not None:
        found = [f for f in found if f"{dataset}/".startswith(f"{f[0]}/")]
        if not found:
            return None
    if len(found) != 1:
        told = f"one of the scans of {path.name}: {numbers[:20]}"
        raise ArgumentError("scan", scan, told)
    entry, _, held = found[0]
    return _read(file, entry, layout, held, dataset)


def _entries(file: h5py.Group, layout: ScanLayout) -> list[tuple[str, str]]:
    """Return the entries of a layout, and the number of the scan in each."""
    matches = [(key, re.fullmatch(layout.entry, key)) for key in file]
    return [
        (key, match.groupdict().get("scan") or "")
        for key, match in matches
        if match and hasattr(file[key], "keys")
    ]


def _datasets(
    file: h5py.Group, entry: str, layout: ScanLayout
) -> dict[str, h5py.Dataset]:
    """Return the datasets of an entry if it holds frames and motors of a layout."""
    held = dict(walk(file[entry]))
    seen = any(_is_frames(k, v, layout) for k, v in held.items())
    known = any(re.fullmatch(p, k) for p in layout.motors for k in held)
    return held if seen and known else {}


def _is_frames(name: str, node: h5py.Dataset, layout: ScanLayout) -> bool:
    real = node.dtype.kind in "iuf" and len(node.shape) == 3
    return real and re.fullmatch(layout.frames, name) is not None


def _read(
    file: h5py.Group,
    entry: str,
    layout: ScanLayout,
    held: dict[str, h5py.Dataset],
    dataset: str | None,
) -> FoundScan:
    """Return what an entry tells of its scan."""
    stacks = [f"{entry}/{k}" for k, v in held.items() if _is_frames(k, v, layout)]
    if dataset is None and len(stacks) > 1:
        raise ArgumentError("dataset", None, f"one of {stacks}", "It has several.")
    out = FoundScan(entry, dataset or stacks[0])
    n, growing = int(file[out.frames].shape[0]), grows(file)
    moving: dict[str, np.ndarray] = {}
    for name, node in held.items():
        along = node.shape == (n,) or (growing and node.ndim == 1 and node.size > 1)
        if node.dtype.kind not in "iuf" or not (along or node.size in (1, n)):
            continue
        values = np.ravel(read_all(node)).astype(float)
        if motor := _name(layout.motors, name):
            out.motors.setdefault(motor, float(values[0]))
            if node.size > 1:
                moving.setdefault(motor, values)
        elif along and (column := _name((layout.measured,), name)):
            out.columns[column] = values
    _moved(file[entry], layout, out, moving)
    for name, units in layout.energy:
        if name in held:
            out.energy = (f"{entry}/{name}", units)
            break
    return out


def _moved(
    entry: h5py.Group, layout: ScanLayout, out: FoundScan, moving: dict[str, np.ndarray]
) -> None:
    """Note the motor that moved and its angles, where one alone is told."""
    if layout.angles:
        words = (
            text(np.ravel(read_all(entry[layout.scanned]))[0])
            if layout.scanned in entry
            else ""
        )
        told = [m for m in out.motors if words and words.lower().endswith(m.lower())]
        out.angles = out.columns.pop(layout.angles, None)
        out.motor = max(told, key=len, default="")
        return
    moving |= {k: v for k, v in out.columns.items() if k in out.motors}
    steps = {k: v for k, v in moving.items() if np.ptp(v) > 0}
    out.columns = {k: v for k, v in out.columns.items() if k not in out.motors}
    if len(steps) == 1:
        ((out.motor, out.angles),) = steps.items()


def _name(patterns: tuple[str, ...], path: str) -> str:
    """Return the name that one of some patterns finds in a path; else nothing."""
    matches = (re.fullmatch(pattern, path) for pattern in patterns)
    return next((m["name"].strip("_") for m in matches if m), "")
