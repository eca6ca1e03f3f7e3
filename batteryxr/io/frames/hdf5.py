"""Frames in HDF5 files: NeXus, CXI, or any file whose dataset is named."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError, FileFormatError, UnitsError
from batteryxr.core.units import affine
from batteryxr.io.door.datasets import frames_of, read_all
from batteryxr.io.door.files import head
from batteryxr.io.door.hdf5 import opened, text, walk
from batteryxr.io.door.signatures import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import h5py

#: Where CXI (version 1.3 and later) puts frames, and NeXus files usually do.
_USUAL = (
    "entry_1/data_1/data",
    "entry_1/instrument_1/detector_1/data",
    "entry_1/image_1/data",
    "entry/data/data",
    "entry/instrument/detector/data",
)
#: Name in the file -> our name, units there unless it says otherwise, our units.
_BEAM = {"energy": ("J", "eV"), "incident_energy": ("eV", "eV")}
_DETECTOR = {
    "distance": ("distance", "mm"),
    "y_pixel_size": ("pixel_size_y", "um"),
    "x_pixel_size": ("pixel_size_x", "um"),
}
#: Endings of HDF5 files.
SUFFIXES = (".h5", ".hdf5", ".nxs", ".nx", ".cxi", ".hdf")
_JOULE = 1.602176634e-19


@dataclass(frozen=True)
class Held:
    """Frames of one file or set of files, with what lies beside them.

    Parameters
    ----------
    data
        (frame, y, x) dask array.
    rocking
        (frame,) rocking angles (deg), if the file has them.
    rocking_motor
        Name of the motor, if the file tells it.
    instrument
        ``energy`` (eV), ``distance`` (mm), ``pixel_size_y``, ``pixel_size_x`` (um).
    mask
        (y, x) pixel flags, 0 where good.
    """

    data: Any
    rocking: np.ndarray | None = None
    rocking_motor: str = ""
    instrument: dict[str, float] = field(default_factory=dict)
    mask: np.ndarray | None = None


def is_hdf5(path: Path) -> bool:
    """Tell by its first bytes, or its name, if a file is HDF5.

    Raises
    ------
    FileFormatError
        If it is no regular file, or empty.
    """
    signed = (kind := kind_of(head(path))) is not None and kind.name == "hdf5"
    return signed or path.suffix.lower() in SUFFIXES


def open_hdf5(
    path: Path,
    *,
    dataset: str | None,
    rocking: str | None,
    chunk: Callable[[int, int], int],
) -> Held:
    """Open frames lazily, with angles and instrument where the file has them.

    Raises
    ------
    ArgumentError
        If the frames or the angles cannot be told: names what there is.
    FileFormatError
        If the file is no HDF5 file or damaged.
    """
    with opened(path) as file:
        name = _frames(file, path, dataset)
        frames = file[name]
        shape = frames.shape
        source = frames_of(path, frames, counts=True)
        held = _beside(file, path, name, rocking, shape)
        # Whole chunks of the file: none is decompressed twice.
        stored = frames.chunks[0] if frames.chunks else 1
    step = chunk(math.prod(shape[1:]) * source.dtype.itemsize, shape[0])
    step = min(shape[0], max(stored, step // stored * stored))
    data = blocks.from_source(source, (step, *shape[1:]), asarray=True, lock=False)
    return Held(data, **held)


def _frames(file: h5py.Group, path: Path, dataset: str | None) -> str:
    if dataset is not None:
        if dataset not in file or not hasattr(file[dataset], "shape"):
            raise ArgumentError("dataset", dataset, f"one of {_stacks(file)}")
        if len(file[dataset].shape) != 3:
            raise ArgumentError("dataset", dataset, "a dataset of 3 axes")
        return dataset
    stacks = _stacks(file)
    for usual in (*_USUAL, _default(file)):
        if usual in stacks:
            return usual
    if len(stacks) == 1:
        return stacks[0]
    if not stacks:
        raise FileFormatError(path, "holds no frames: no dataset has 3 axes.")
    raise ArgumentError("dataset", None, f"one of {stacks}", f"{path.name} has several")


def _stacks(file: h5py.Group) -> list[str]:
    """Return the paths of all datasets of three axes."""
    return [
        path
        for path, item in walk(file)
        if len(item.shape) == 3 and item.dtype.kind in "iuf"
    ]


def _default(file: h5py.Group) -> str:
    """Follow the `default` attributes of NeXus to the signal; empty if none."""
    group, path = file, list[str]()
    for _ in range(4):
        if "signal" in group.attrs:
            return "/".join([*path, text(group.attrs["signal"])])
        name = text(group.attrs.get("default", ""))
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
    for beam in (*_nodes(entry, "beam"), *_nodes(entry, "source")):
        for key, (theirs, ours_units) in _BEAM.items():
            if key in beam and "energy" not in held["instrument"]:
                value = _scalar(path, beam[key], theirs, ours_units)
                held["instrument"]["energy"] = value
    return held


def _angles(
    file: h5py.Group, path: Path, group: h5py.Group, rocking: str | None, n: int
) -> tuple[np.ndarray | None, str]:
    if rocking is not None:
        place = file if rocking in file else group
        if rocking not in place:
            raise ArgumentError("rocking", rocking, "a dataset of the file")
        angles = np.asarray(read_all(place[rocking]), dtype=float).ravel()
        factor = _factor(path, place[rocking], "deg", "deg")
        return angles * factor, rocking.rsplit("/", 1)[-1]
    axes = group.attrs.get("axes", ())
    for axis in [axes] if isinstance(axes, str | bytes) else list(axes):
        key = text(axis)
        if key in group and group[key].shape == (n,):
            factor = _factor(path, group[key], "deg", "deg")
            return np.asarray(read_all(group[key]), float) * factor, key
    return None, ""


def _nodes(entry: h5py.Group, what: str) -> list[h5py.Group]:
    """Return groups of one kind by NeXus class or by name, the first levels down."""
    found = []
    for _, item in _groups(entry):
        for name, inner in [*_groups(item), ("", item)]:
            kind = text(inner.attrs.get("NX_class", ""))
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
    return value * _factor(path, node, theirs, ours)


def _factor(path: Path, node: h5py.Dataset, theirs: str, ours: str) -> float:
    units = text(node.attrs.get("units", "")) or theirs
    if units == "J" and ours == "eV":
        return 1 / _JOULE
    try:
        return affine(units, ours)[0]
    except UnitsError as error:
        raise FileFormatError(path, f"{node.name}: {error}") from error
