"""Datasets of HDF5 files: whole, or lazily frame by frame; none made up by HDF5."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.counts import counts_type, only_counts
from batteryxr.io.door.files import Stamp, stamp
from batteryxr.io.door.hdf5 import opened
from batteryxr.io.door.limits import ARRAY, FRAME, refuse_larger
from batteryxr.io.door.links import check_stored, sources_of

#: A frame of so many bytes must be stored in more than a few.
_LARGE, _RATIO = 256_000_000, 200


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
        Of the dataset; of `counts` that are integers, float32.
    stamps
        Of the files that hold the values, as they were looked at.
    counts
        Whether the file holds what a detector counted: see `only_counts`.
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
        Whether numbers in it are counts of a detector.

    Raises
    ------
    FileFormatError
        If it is empty, was never written, lies in a file that is missing, or has
        frames larger than any detector.
    """
    if not node.size:
        raise FileFormatError(
            path, f"{node.name} of shape {node.shape} is empty: nothing was measured."
        )
    if node.dtype.kind not in "biufc":
        raise FileFormatError(
            path, f"{node.name} holds {node.dtype}, not numbers: these are no frames."
        )
    others = _check_written(path, node)
    frame = math.prod(node.shape[-2:]) * node.dtype.itemsize
    refuse_larger(path, frame, FRAME, f"one frame of {node.name}")
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
    counts = counts and node.dtype.kind in "iuf"
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
    if not others:
        check_stored(path, node)
    return others
