"""Frames in HDF5 files: NeXus, CXI, or any file whose dataset is named."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError, FileFormatError, UnitsError
from batteryxr.core.optional import require
from batteryxr.core.units import affine
from batteryxr.io.frames.tiff import Held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import h5py

_SUFFIXES = (".h5", ".hdf5", ".nxs", ".nx", ".cxi", ".hdf")
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
_JOULE = 1.602176634e-19


def is_hdf5(path: Path) -> bool:
    """Tell by its first bytes, or its name where it is empty, if a file is HDF5."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError:
        start = b""
    return start == b"\x89HDF\r\n\x1a\n" or path.suffix.lower() in _SUFFIXES


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
        shape, dtype = frames.shape, frames.dtype
        held = _beside(file, path, name, rocking, shape)
        # Whole chunks of the file: none is decompressed twice.
        stored = frames.chunks[0] if frames.chunks else 1
    step = chunk(math.prod(shape[1:]) * dtype.itemsize, shape[0])
    step = min(shape[0], max(stored, step // stored * stored))
    source = FileFrames(path, name, shape, dtype)
    data = blocks.from_source(source, (step, *shape[1:]), asarray=True, lock=False)
    return Held(data, **held)


@dataclass(frozen=True)
class FileFrames:
    """What dask slices: opens the file anew, on whatever process it is."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Return the number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        with opened(self.path) as file:
            return np.asarray(file[self.name][key])


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading, with the filters of fast detectors where they are.

    Raises
    ------
    FileFormatError
        If it cannot be read as HDF5.
    """
    h5py = require("h5py", extra="io", purpose="reading HDF5 frames")
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401  (registers the filters of fast detectors)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:
        raise FileFormatError(
            path,
            f"cannot be read as HDF5: {error}. If it is compressed by a detector's "
            "filter, install 'batteryxr[io]'.",
        ) from error


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
        for path, item in datasets(file).items()
        if len(item.shape) == 3 and item.dtype.kind in "iuf"
    ]


def datasets(file: h5py.Group, deepest: int = 8) -> dict[str, h5py.Dataset]:
    """Return all datasets of an HDF5 file by path, links followed."""
    found: dict[str, h5py.Dataset] = {}

    def walk(group: h5py.Group, prefix: str, depth: int) -> None:
        for key in group:
            try:
                item = group[key]
            except (KeyError, OSError):  # a link to a file that is not here
                continue
            if hasattr(item, "shape"):
                found[f"{prefix}{key}"] = item
            elif depth < deepest:
                walk(item, f"{prefix}{key}/", depth + 1)

    walk(file, "", 0)
    return found


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
                held["mask"] = np.asarray(detector[key][()]).astype(np.int64)
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
        values = np.asarray(place[rocking][()], dtype=float).ravel()
        factor = _factor(path, place[rocking], "deg", "deg")
        return values * factor, rocking.rsplit("/", 1)[-1]
    axes = group.attrs.get("axes", ())
    for axis in [axes] if isinstance(axes, str | bytes) else list(axes):
        key = text(axis)
        if key in group and group[key].shape == (n,):
            factor = _factor(path, group[key], "deg", "deg")
            return np.asarray(group[key][()], float) * factor, key
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
    value = float(np.ravel(node[()])[0])
    return value * _factor(path, node, theirs, ours)


def _factor(path: Path, node: h5py.Dataset, theirs: str, ours: str) -> float:
    units = text(node.attrs.get("units", "")) or theirs
    if units == "J" and ours == "eV":
        return 1 / _JOULE
    try:
        return affine(units, ours)[0]
    except UnitsError as error:
        raise FileFormatError(path, f"{node.name}: {error}") from error


def text(value: Any) -> str:
    """Return an attribute or a scalar as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)
