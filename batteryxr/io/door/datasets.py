"""Read HDF5 datasets, whole or lazily by frame, without values that HDF5 makes up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from batteryxr.core.errors import FileFormatError, warn_quality
from batteryxr.io.door.chunks import check_pieces, fill_of, grows, part_of, rows_there
from batteryxr.io.door.counts import (
    FILLS,
    NoCounts,
    counts_type,
    one_of,
    only_counts,
    told_of,
)
from batteryxr.io.door.files import Stamp, stamp
from batteryxr.io.door.hdf5 import attribute, opened, refuse_lists
from batteryxr.io.door.limits import ARRAY, FRAME, refuse_larger
from batteryxr.io.door.links import check_stored, sources_of

#: A frame larger than this must not be packed more tightly than the ratio.
_LARGE, _RATIO = 256_000_000, 200
#: Attributes of netCDF that give a factor and an offset.
_SCALES = ("scale_factor", "add_offset")
#: Fewest pixels of a frame, and values of a list, that are judged by zeros.
_PIXELS, _LIST = 16, 4


def read_all(node: Any) -> Any:
    """Return all values of a dataset beside the frames: angles, energies, a mask.

    Raises
    ------
    FileFormatError
        If it is larger than allowed, was never written, or lies in a file that is
        missing.
    """
    path = Path(node.file.filename)
    refuse_lists(node.id, node.name)
    refuse_larger(path, (node.size or 0) * node.dtype.itemsize, ARRAY, node.name)
    _check_written(path, node)
    check_pieces(node, exact=True)
    values = node[()]
    scale, offset = _scale(node)
    for name in FILLS:
        mark = attribute(node, name, None)
        gone = False if mark is None or node.dtype.kind not in "iuf" else values == mark
        if np.any(gone):
            values = np.where(gone, np.nan, values)
    _tell_ending(path, node, values)
    return values if (scale, offset) == (1.0, 0.0) else values * scale + offset


def _scale(node: Any) -> tuple[float, float]:
    """Return factor and offset that a file gives for the numbers of a dataset.

    netCDF writes them as attributes, NeXus beside the dataset.
    """
    import h5py

    scale, offset = (one_of(attribute(node, n, None)) for n in _SCALES)
    beside = node.parent.get(f"{node.name.rpartition('/')[2]}_scaling_factor")
    if np.isnan(scale) and isinstance(beside, h5py.Dataset) and beside.size == 1:
        scale = one_of(beside[()])
    return (
        float(scale) if np.isfinite(scale) else 1.0,
        float(offset) if np.isfinite(offset) else 0.0,
    )


def _tell_ending(path: Path, node: Any, values: Any) -> None:
    """Warn if a list of floating numbers ends in zeros, as what was never written."""
    if node.dtype.kind != "f" or node.ndim not in (1, 2) or len(values) < _LIST:
        return
    there = np.flatnonzero(values.reshape(len(values), -1).any(axis=1))
    left = len(values) - there.size
    if there.size and left > 1 and there[-1] < there.size:
        warn_quality(
            f"{path.name}: the last {left} of {len(values)} values of {node.name} are "
            "0, as if they were never written. Was the scan stopped early?"
        )


def _tell_unwritten(read: np.ndarray, fill: Any, source: str) -> None:
    """Warn of whole frames that hold nothing but what was never written reads as."""
    frames = read.reshape(-1, math.prod(read.shape[-2:]))
    if frames.shape[1] < _PIXELS or not frames.size:
        return
    alike = frames.max(axis=1) == fill
    if alike.any() and (frames[alike].min(axis=1) == fill).any():
        warn_quality(
            f"{source}: frames hold nothing but {fill}, as if they were never written. "
            "Was the scan stopped early?"
        )


@dataclass(frozen=True)
class FileFrames:
    """Give dask frames from a file, which each process opens anew.

    Parameters
    ----------
    path, name
        Path of the file, and name of the dataset.
    shape, dtype
        Shape and type of the dataset; `counts` that are integers become float32.
    stamps
        Stamps of the files that hold the values, taken when they were checked.
    counts
        Whether the dataset holds counts of a detector: see `only_counts`.
    none
        Which numbers the file says are no counts.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stamps: tuple[Stamp, ...]
    counts: bool = False
    none: NoCounts = field(default_factory=NoCounts)

    @property
    def ndim(self) -> int:
        """Return the number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Return part of the dataset, with NaN where there are no counts."""
        for each in self.stamps:
            each.check()
        with opened(self.path, again=True) as file:
            node = file[self.name]
            read, fill = part_of(node, key), fill_of(node)
        if self.counts:
            if read.ndim > 1 and read.shape[-2:] == self.shape[-2:] != self.shape:
                _tell_unwritten(read, fill, self.path.name)
            found = only_counts(read, self.path.name).astype(self.dtype, copy=False)
            return self.none.left_out(read, found, self.path.name)
        return read


def frames_of(path: Path, node: Any, *, counts: bool = False) -> FileFrames:
    """Return the lazy source of a dataset, after checking its file.

    Parameters
    ----------
    path
        The file that was opened.
    node
        The dataset, in that file or in a file it links to.
    counts
        Whether its numbers are counts of a detector.

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
    if node.dtype.kind not in ("iuf" if counts else "biufc"):
        raise FileFormatError(
            path, f"{node.name} holds {node.dtype}, not numbers: these are no frames."
        )
    frame = math.prod(node.shape[-2:]) * node.dtype.itemsize
    refuse_larger(path, frame, FRAME, f"one frame of {node.name}")
    growing = grows(node)
    shape = _written(path, node) if growing and node.ndim > 2 else node.shape
    others = _check_written(path, node, shape[0] if shape else None)
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
    stamps = tuple(stamp(p, growing=growing) for p in dict.fromkeys((home, *others)))
    if (scaled := _scale(node)) != (1.0, 0.0):
        warn_quality(
            f"{path.name} tells to multiply {node.name} by {scaled[0]:g} and to add "
            f"{scaled[1]:g}: it is read as stored. Do it yourself if they are to be so"
        )
    dtype = counts_type(node.dtype) if counts else node.dtype
    none = told_of(path, node) if counts else NoCounts()
    return FileFrames(home, node.name, shape, dtype, stamps, counts, none)


def paired(path: Path, node: Any, n: int, what: str = "positions") -> int:
    """Return how many frames to take of a file that is being written.

    These are the frames that have a value in another dataset already. Where the file
    is finished, nothing is cut: all `n` are returned.

    Parameters
    ----------
    path
        The file.
    node
        Dataset with one value or row for each frame.
    n
        Number of frames that are there.
    what
        What the dataset holds, for the warning.

    Warns
    -----
    DataQualityWarning
        If there are frames without such a value.
    """
    if not grows(node) or not (rows := rows_there(node)) or rows >= n:
        return n
    warn_quality(
        f"{path.name}: {rows} of {n} frames have {what} so far: these are read"
    )
    return rows


def _written(path: Path, node: Any) -> tuple[int, ...]:
    """Return the shape of the frames that a growing file holds so far, and tell it.

    Raises
    ------
    FileFormatError
        If there are none.
    """
    rows, wanted = rows_there(node), node.shape[0]
    if not rows:
        raise FileFormatError(
            path,
            f"is being written, and no frame of {node.name} is there yet. Read it "
            "again when there are some.",
        )
    if rows < wanted:
        warn_quality(
            f"{path.name}: {rows} of {wanted} frames of {node.name} have been written "
            "so far: these are read"
        )
    return (rows, *node.shape[1:])


def gaps(source: FileFrames) -> np.ndarray:
    """Return which pixels have no counts in both the first and the last frame.

    Only these two frames are read: the gaps of a detector are in every frame.
    """
    frame = source.shape[-2:]
    if not source.counts or not source.shape[0]:
        return np.zeros(frame, bool)
    outer = source.shape[:-2]
    first, last = source[(0,) * len(outer)], source[tuple(n - 1 for n in outer)]
    return np.asarray(np.isnan(first) & np.isnan(last))


def _check_written(path: Path, node: Any, rows: int | None = None) -> list[Path]:
    """Raise if HDF5 would make values up; return the other files that hold them."""
    others = sources_of(path, node)
    if not others:
        check_stored(path, node, rows)
    return others
