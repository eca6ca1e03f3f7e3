"""Open frames in HDF5 files: NeXus, CXI, or any file with a named dataset."""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.bounds import BOUNDS
from batteryxr.core.errors import (
    ArgumentError,
    FileFormatError,
    UnitsError,
    warn_quality,
)
from batteryxr.core.units import affine
from batteryxr.core.xray import HC
from batteryxr.io.door.chunks import grows
from batteryxr.io.door.datasets import frames_of, read_all
from batteryxr.io.door.files import head
from batteryxr.io.door.hdf5 import attribute, opened, text, walk
from batteryxr.io.door.signatures import kind_of
from batteryxr.io.frames.scan_layouts import find_scan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import h5py

    from batteryxr.io.frames.scan_layouts import FoundScan

#: Names of volumes that tell where a crystal is.
SUPPORTS = ("support", "mask")
#: Places of frames in CXI (version 1.3 and later), and usual ones in NeXus.
_USUAL = (
    "entry_1/data_1/data",
    "entry_1/instrument_1/detector_1/data",
    "entry_1/image_1/data",
    "entry/data/data",
    "entry/instrument/detector/data",
)
#: Name in the file -> our name, default units in the file, our units.
_BEAM = {
    "energy": ("J", "eV"),
    "incident_energy": ("eV", "eV"),
    "incident_wavelength": ("Angstrom", "m"),
}
_DETECTOR = {
    "distance": ("distance", "mm"),
    "detector_distance": ("distance", "mm"),
    "y_pixel_size": ("pixel_size_y", "um"),
    "x_pixel_size": ("pixel_size_x", "um"),
}
#: File endings of HDF5.
SUFFIXES = (".h5", ".hdf5", ".nxs", ".nx", ".cxi", ".hdf")
#: Name of one part of the frames in the master file of an Eiger.
_PART = re.compile(r"data_[0-9]+")
#: Name of an axis of a detector, in NeXus `axes`.
_PIXELS = re.compile(r"(.*_)?[xy](_.*)?|.*(pixel|row|col).*", re.IGNORECASE)
_JOULE = 1.602176634e-19


@dataclass(frozen=True)
class Held:
    """Hold frames of one or several files, with angles, instrument and mask.

    Parameters
    ----------
    data
        (frame, y, x) dask array.
    rocking
        (frame,) rocking angles (deg), if the file has them.
    rocking_motor
        Name of the motor, if the file gives it.
    instrument
        ``energy`` (eV), ``distance`` (mm), ``pixel_size_y``, ``pixel_size_x`` (um).
    mask
        (y, x) pixel flags; 0 is good.
    motors
        Motor positions by name at the start of the scan.
    columns
        Further values of each frame, by name.
    """

    data: Any
    rocking: np.ndarray | None = None
    rocking_motor: str = ""
    instrument: dict[str, float] = field(default_factory=dict)
    mask: np.ndarray | None = None
    motors: dict[str, float] = field(default_factory=dict)
    columns: dict[str, np.ndarray] = field(default_factory=dict)


def is_hdf5(path: Path) -> bool:
    """Tell whether a file is HDF5, by its first bytes or its name.

    Raises
    ------
    FileFormatError
        If it is not a regular file, or is empty.
    """
    signed = (kind := kind_of(head(path))) is not None and kind.name == "hdf5"
    return signed or path.suffix.lower() in SUFFIXES


def open_hdf5(
    path: Path,
    *,
    dataset: str | None,
    rocking: str | None,
    chunk: Callable[[int, int], int],
    scan: int | str | None = None,
) -> Held:
    """Open frames lazily, with angles and instrument if the file has them.

    Parameters
    ----------
    path
        The file.
    dataset
        Path of the frames in it; None looks for them.
    rocking
        Path of the angles; None looks for them.
    chunk
        Frames per chunk, from the bytes of a frame and the number of frames.
    scan
        Number of the scan, where a beamline keeps several in a file.

    Raises
    ------
    ArgumentError
        If frames or angles are ambiguous; the message lists the candidates.
    FileFormatError
        If the file is no HDF5 file or damaged.
    """
    with opened(path) as file:
        known = find_scan(file, path, scan, dataset)
        names = [known.frames] if known else _frames(file, path, dataset)
        parts = [file[name] for name in names]
        sources = [frames_of(path, part, counts=True) for part in parts]
        shapes = [source.shape for source in sources]
        if len({shape[1:] for shape in shapes}) > 1:
            raise FileFormatError(path, f"joins frames of {shapes}, not of one size.")
        total = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        held = _beside(file, path, names[0], rocking, total)
        if known is not None:
            _take(file, path, known, held)
        if grows(file):
            total = _growing(path, total, held)
        # Use whole chunks of the file, so that none is decompressed twice.
        stored = parts[0].chunks[0] if parts[0].chunks else 1
    data = []
    for source in sources:
        n, *frame = source.shape
        step = chunk(math.prod(frame) * source.dtype.itemsize, n)
        step = min(n, max(stored, step // stored * stored))
        data.append(
            blocks.from_source(source, (step, *frame), asarray=True, lock=False)
        )
    frames = data[0] if len(data) == 1 else blocks.concatenate(data)
    return Held(frames[: total[0]], **held)


def _growing(
    path: Path, total: tuple[int, ...], held: dict[str, Any]
) -> tuple[int, ...]:
    """Cut what a file holds so far to the frames that have all of it.

    Warns
    -----
    DataQualityWarning
        If some frames have no angle or value yet.
    """
    angles, columns = held.get("rocking"), held.get("columns", {})
    each = [len(v) for v in (angles, *columns.values()) if v is not None]
    n = min([total[0], *each])
    if n < total[0]:
        warn_quality(
            f"{path.name}: {n} of {total[0]} frames have all of their values so far: "
            "these are read"
        )
    if angles is not None:
        held["rocking"] = angles[:n]
    held["columns"] = {name: values[:n] for name, values in columns.items()}
    return (n, *total[1:])


def _frames(file: h5py.Group, path: Path, dataset: str | None) -> list[str]:
    """Return the names of the datasets that hold the frames, in their order."""
    if dataset is not None:
        if dataset not in file or not hasattr(file[dataset], "shape"):
            raise ArgumentError("dataset", dataset, f"one of {_stacks(file)}")
        if len(file[dataset].shape) != 3:
            raise ArgumentError("dataset", dataset, "a dataset of 3 axes")
        return [dataset]
    stacks, objects = _stacks(file), _objects(file)
    bodies = [s for s in stacks if s.rsplit("/", 1)[-1].lower() in SUPPORTS]
    if bodies and not objects and len(bodies) == len(stacks):
        raise FileFormatError(path, f"holds a support alone: {bodies[0]}, no counts.")
    if (usual := _default(file)) in stacks:
        return [usual]
    for usual in _USUAL:
        if usual in stacks:
            alike = [s for s in stacks if _unnumbered(s) == _unnumbered(usual)]
            if any(file[s] != file[usual] for s in alike):
                told = f"{path.name} has several"
                raise ArgumentError("dataset", None, f"one of {alike}", told)
            return [usual]
    if numbered := _numbered(file, path, stacks):
        return numbered
    if objects:
        raise FileFormatError(
            path,
            f"holds a reconstruction ({objects[0]}, complex), and no counts that are "
            f"told from its support: {stacks or 'nothing'}. Frames beside it are named "
            "by dataset=...",
        )
    if len(stacks) == 1:
        return stacks
    if not stacks:
        raise FileFormatError(path, "holds no frames: no dataset has 3 axes.")
    raise ArgumentError("dataset", None, f"one of {stacks}", f"{path.name} has several")


def _unnumbered(path: str) -> str:
    """Return a path without the numbers of its groups, such as entry_2."""
    return re.sub(r"_?\d+(?=/|$)", "", path)


def _stacks(file: h5py.Group) -> list[str]:
    """Return the paths of all datasets with three axes."""
    return [
        path
        for path, item in walk(file)
        if len(item.shape) == 3 and item.dtype.kind in "iuf"
    ]


def _objects(file: h5py.Group) -> list[str]:
    """Return the paths of complex datasets with three or more axes."""
    return [
        path
        for path, item in walk(file)
        if len(item.shape) >= 3 and item.dtype.kind == "c"
    ]


def _numbered(file: h5py.Group, path: Path, stacks: list[str]) -> list[str]:
    """Return the datasets data_000001, data_000002, ... of a group in a master file."""
    found = [s for s in stacks if _PART.fullmatch(s.rsplit("/", 1)[-1])]
    groups = {s.rpartition("/")[0] for s in found}
    if len(groups) != 1:
        return []
    (group,) = groups
    linked = {k for k in (file[group] if group else file) if _PART.fullmatch(k)}
    if lost := sorted(linked - {s.rsplit("/", 1)[-1] for s in found}):
        raise FileFormatError(
            path, f"links to {lost}, which are not there: copy their files beside it."
        )
    return sorted(found)


def _default(file: h5py.Group) -> str:
    """Return the signal that NeXus `default` attributes lead to; empty if none."""
    group, path = file, list[str]()
    for _ in range(4):
        if "signal" in group.attrs:
            return "/".join([*path, text(attribute(group, "signal"))])
        name = text(attribute(group, "default"))
        if not name or name not in group:
            return ""
        path.append(name)
        group = group[name]
    return ""


def _beside(
    file: h5py.Group, path: Path, name: str, rocking: str | None, shape: tuple[int, ...]
) -> dict[str, Any]:
    group = file[name].parent
    entry = file[name.strip("/").split("/")[0]] if "/" in name.strip("/") else file
    held: dict[str, Any] = {"instrument": {}}
    angles, motor = _angles(file, path, group, rocking, shape[0])
    if angles is not None:
        held |= {"rocking": angles, "rocking_motor": motor}
    for detector in _nodes(entry, "detector"):
        for key, (ours, units) in _DETECTOR.items():
            if key in detector and ours not in held["instrument"]:
                held["instrument"][ours] = _scalar(path, detector[key], "m", units)
        for key in ("mask", "pixel_mask"):
            if key in detector and detector[key].shape == shape[1:]:
                held["mask"] = np.asarray(read_all(detector[key])).astype(np.int64)
    held["motors"] = _positions(entry)
    low, high = BOUNDS["photon energy"].possible
    for beam in (*_nodes(entry, "beam"), *_nodes(entry, "source")):
        for key, (theirs, ours_units) in _BEAM.items():
            if key in beam and "energy" not in held["instrument"]:
                value = _scalar(path, beam[key], theirs, ours_units)
                value = HC / value if ours_units == "m" else value
                # The energy of a source may be that of the ring.
                if low <= value <= high:
                    held["instrument"]["energy"] = value
    return held


def _take(file: h5py.Group, path: Path, known: FoundScan, held: dict[str, Any]) -> None:
    """Add what the layout of a beamline tells of a scan."""
    if held.get("rocking") is None and known.angles is not None:
        held |= {"rocking": known.angles, "rocking_motor": known.motor}
    held["motors"] = known.motors | held["motors"]
    held["columns"] = known.columns
    if known.energy is None:
        return
    name, units = known.energy
    if units == "Angstrom":
        value = HC / _scalar(path, file[name], units, "m")
    else:
        value = _scalar(path, file[name], units, "eV")
    held["instrument"]["energy"] = value


def _positions(entry: h5py.Group) -> dict[str, float]:
    """Return single motor positions from the groups that BLISS uses."""
    found: dict[str, float] = {}
    for name in ("instrument/positioners", "instrument/positioners_start"):
        group = entry.get(name)
        if group is None or hasattr(group, "shape"):
            continue
        for key in group:
            with contextlib.suppress(KeyError, OSError):
                node = group[key]
                if getattr(node, "size", 0) == 1 and node.dtype.kind in "iuf":
                    found[str(key)] = float(np.ravel(read_all(node))[0])
    return found


def _angles(
    file: h5py.Group, path: Path, group: h5py.Group, rocking: str | None, n: int
) -> tuple[np.ndarray | None, str]:
    if rocking is not None:
        place = file if rocking in file else group
        if rocking not in place:
            raise ArgumentError("rocking", rocking, "a dataset of the file")
        angles = np.asarray(read_all(place[rocking]), dtype=float).ravel()
        factor = factor_of(path, place[rocking], "deg", "deg")
        return angles * factor, rocking.rsplit("/", 1)[-1]
    axes = attribute(group, "axes", ())
    axes = [axes] if isinstance(axes, str | bytes) else list(axes)
    key, *others = [text(axis) for axis in axes] or [""]
    if _PIXELS.fullmatch(key):
        if along := [k for k in others if k != "." and not _PIXELS.fullmatch(k)]:
            told = f"{group.name} tells that its frames lie along {along[0]!r}, which "
            told += "is not its first axis: write them with that axis first."
            raise FileFormatError(path, told)
        return None, ""
    if key in group and getattr(group[key], "ndim", 0) == 1:
        node = group[key]
        if len(node) == n or grows(node):
            factor = factor_of(path, node, "deg", "deg")
            return np.asarray(read_all(node), float) * factor, key
    return None, ""


def _nodes(entry: h5py.Group, what: str) -> list[h5py.Group]:
    """Return groups of one kind, by NeXus class or name, from the upper levels."""
    found = []
    for _, item in _groups(entry):
        for name, inner in [*_groups(item), ("", item)]:
            kind = text(attribute(inner, "NX_class"))
            if kind == f"NX{what}" or name.split("_")[0] == what:
                found.append(inner)
    return found


def _groups(group: h5py.Group) -> list[tuple[str, h5py.Group]]:
    items = []
    for key in group:
        with contextlib.suppress(KeyError, OSError):
            if not hasattr(group[key], "shape"):
                items.append((key, group[key]))
    return items


def _scalar(path: Path, node: h5py.Dataset, theirs: str, ours: str) -> float:
    value = float(np.ravel(read_all(node))[0])
    return value * factor_of(path, node, theirs, ours)


def factor_of(path: Path, node: h5py.Dataset, theirs: str, ours: str) -> float:
    """Return the factor from a dataset's units, `theirs` if it tells none, to `ours`.

    Raises
    ------
    FileFormatError
        If it tells units of another kind.
    """
    units = text(attribute(node, "units")) or theirs
    if units == "J" and ours == "eV":
        return 1 / _JOULE
    try:
        return affine(units, ours)[0]
    except UnitsError as error:
        raise FileFormatError(path, f"{node.name}: {error}") from error
