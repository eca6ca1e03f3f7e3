"""HDF5 files: opened though still written, followed in no circle, read from no gap."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import FileFormatError, warn_quality
from batteryxr.core.optional import require
from batteryxr.io.door.counts import counts_type, only_counts
from batteryxr.io.door.files import Stamp, head, named, refuse_other, regular, stamp
from batteryxr.io.door.limits import ARRAY, refuse_larger
from batteryxr.io.door.links import check_links, sources_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUFFIXES = (".h5", ".hdf5", ".nxs", ".nx", ".cxi", ".hdf")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: How often a group is gone into that several links lead to, and datasets in all.
_VISITS = 4
_MOST = 100_000
#: A frame of so many bytes must be stored in more than a few.
_LARGE = 256_000_000
_RATIO = 200


def is_hdf5(path: Path) -> bool:
    """Tell by its first bytes, or its name, if a file is HDF5.

    Raises
    ------
    FileFormatError
        If it is no regular file, or empty.
    """
    start = head(path, len(_SIGNATURE))
    return start == _SIGNATURE or path.suffix.lower() in _SUFFIXES


@contextlib.contextmanager
def opened(path: Path, *, again: bool = False) -> Iterator[Any]:
    """Open a file for reading, with the filters of fast detectors where they are.

    A file that is being written so that others may read (SWMR) opens with what is
    there.

    Parameters
    ----------
    path
        The file.
    again
        It was opened before, and its links are known to be sound.

    Raises
    ------
    FileFormatError
        If it cannot be read as HDF5, or links to where it should not; for whatever
        goes wrong inside the block.
    """
    regular(path)
    h5py = require("h5py", extra="io", purpose="reading HDF5 frames")
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401  (registers the filters of fast detectors)
    with _file(h5py, path) as file, _told(path):
        if not again:
            check_links(path, file)
        yield file


def _file(h5py: Any, path: Path) -> Any:
    try:
        return h5py.File(path, "r")
    except Exception as error:
        with contextlib.suppress(Exception):
            return h5py.File(path, "r", libver="latest", swmr=True)
        start = head(path)
        if not h5py.is_hdf5(path):
            refuse_other(path, start)
        if any(word in str(error) for word in ("lock", "already open for write")):
            raise FileFormatError(
                path,
                "is being written by a program that lets nobody read meanwhile, or "
                f"was not closed ({error}). Wait, or copy it when it is finished.",
            ) from error
        raise FileFormatError(
            path, f"cannot be read as HDF5: {error}. Copy it again."
        ) from error


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Name the file in whatever h5py raises, and what mends a missing filter."""
    try:
        with named(path, "cannot be read as HDF5"):
            yield
    except FileFormatError as error:
        said = str(error.__cause__)
        if isinstance(error.__cause__, OSError) and (
            "filter" in said or "plugin" in said
        ):
            raise FileFormatError(
                path,
                f"cannot be read as HDF5: {said}. It is compressed by a detector's "
                "filter: install 'batteryxr[io]'.",
            ) from error
        raise


def walk(file: Any, deepest: int = 8) -> Iterator[tuple[str, Any]]:
    """Yield path and dataset for all datasets, links followed, no circle for ever.

    The default branch of NeXus comes first. Links to what is not here are left out.

    Raises
    ------
    FileFormatError
        If the file has more datasets than any measurement.
    """
    import h5py

    visits: dict[tuple[int, int], int] = {}
    waiting: list[tuple[str, Any, int]] = [("", file, 0)]
    found = 0
    while waiting:
        prefix, item, depth = waiting.pop()
        if isinstance(item, h5py.Dataset):
            found += 1
            if found > _MOST:
                raise FileFormatError(
                    file.file.filename, f"has more than {_MOST} datasets: it is a trap."
                )
            yield prefix, item
            continue
        about = h5py.h5o.get_info(item.id)
        place = (about.fileno, about.addr)
        visits[place] = visits.get(place, 0) + 1
        if depth > deepest or visits[place] > _VISITS:
            continue
        inside = [
            (f"{prefix}/{key}".lstrip("/"), inner, depth + 1)
            for key, inner in _items(item)
        ]
        waiting += reversed(inside)


def _items(group: Any) -> Iterator[tuple[str, Any]]:
    import h5py

    default = text(group.attrs.get("default", ""))
    for key in sorted(group, key=lambda k: (k != default, k)):
        try:
            inner = group[key]
        except (KeyError, OSError, RuntimeError):  # a link to what is not here
            continue
        if isinstance(inner, h5py.Group | h5py.Dataset):
            yield key, inner


def read_all(node: Any) -> Any:
    """Return all of a dataset that lies beside frames: angles, energies, a mask.

    Raises
    ------
    FileFormatError
        If it is larger than allowed, was never written, or lies in a file that is
        missing.
    """
    path = Path(node.file.filename)
    refuse_larger(path, (node.size or 0) * node.dtype.itemsize, ARRAY, node.name)
    _check_written(path, node)
    return node[()]


@dataclass(frozen=True)
class FileFrames:
    """What dask slices: opens the file anew, on whatever process it is.

    Parameters
    ----------
    path, name
        File and dataset.
    shape, dtype
        Of the dataset; of `counts`, float32.
    stamps
        Of the files that hold the values, as they were looked at.
    counts
        Whether the file holds integers that a detector counted: see `only_counts`.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stamps: tuple[Stamp, ...]
    counts: bool = False

    @property
    def ndim(self) -> int:
        """Return the number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Return a part, NaN where it holds no counts."""
        for each in self.stamps:
            each.check()
        with opened(self.path, again=True) as file:
            read = np.asarray(file[self.name][key])
        if self.counts:
            return only_counts(read, self.path.name).astype(self.dtype, copy=False)
        return read


def frames_of(path: Path, node: Any, *, counts: bool = False) -> FileFrames:
    """Return the lazy source of a dataset, checked before anything is read.

    Parameters
    ----------
    path
        The file that was opened.
    node
        The dataset, in it or in a file that it links to.
    counts
        Whether integers in it are counts of a detector.

    Raises
    ------
    FileFormatError
        If it was never written, lies in a file that is missing, or has frames larger
        than any detector.
    """
    others = _check_written(path, node)
    frame = math.prod(node.shape[-2:]) * node.dtype.itemsize
    refuse_larger(path, frame, 2_000_000_000, f"one frame of {node.name}")
    stored = node.id.get_storage_size()
    if (
        frame > _LARGE
        and not others
        and node.size * node.dtype.itemsize > (_RATIO * max(stored, 1))
    ):
        raise FileFormatError(
            path, f"{node.name} has frames of {frame:,} bytes, packed into almost none."
        )
    home = Path(node.file.filename)
    home = path if home.name == path.name and home.samefile(path) else home
    growing = bool(node.file.swmr_mode)
    stamps = tuple(stamp(p, growing=growing) for p in dict.fromkeys((home, *others)))
    counts = counts and node.dtype.kind in "iu"
    dtype = counts_type(node.dtype) if counts else node.dtype
    return FileFrames(home, node.name, node.shape, dtype, stamps, counts)


def gaps(source: FileFrames) -> np.ndarray:
    """Return where neither the first frame nor the last has counts.

    Reads these two. What fills the gaps of a detector stands in every frame.
    """
    frame = source.shape[-2:]
    if not source.counts or not source.shape[0]:
        return np.zeros(frame, bool)
    outer = source.shape[:-2]
    first, last = source[(0,) * len(outer)], source[tuple(n - 1 for n in outer)]
    return np.asarray(np.isnan(first) & np.isnan(last))


def _check_written(path: Path, node: Any) -> list[Path]:
    """Raise where values would be made up; return the other files that hold them."""
    others = sources_of(path, node)
    if others or node.size in (0, None) or node.is_virtual:
        return others
    fill = node.fillvalue
    if node.id.get_storage_size() == 0:
        raise FileFormatError(
            path, f"{node.name} was never written: all of it would be {fill}."
        )
    if node.chunks:
        there = node.id.get_num_chunks()
        sides = zip(node.shape, node.chunks, strict=True)
        every = math.prod(-(-size // chunk) for size, chunk in sides)
        if there < every:
            warn_quality(
                f"{path.name}: {every - there} of {every} pieces of {node.name} were "
                f"never written and read as {fill}. Was the scan stopped early?"
            )
    return others


def text(value: Any) -> str:
    """Return an attribute or a scalar as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)
