"""Open frames in NumPy files: an array of three axes, alone or in an archive."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError, FileFormatError
from batteryxr.io.door.arrays import arrays_in, unpacked
from batteryxr.io.door.counts import counts_type, only_counts
from batteryxr.io.door.files import named, stamp
from batteryxr.io.door.images import npy_header, npy_values
from batteryxr.io.frames.hdf5 import SUPPORTS, Held

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batteryxr.io.door.files import Stamp


def open_npy(paths: list[Path], *, chunk: Callable[[int, int], int]) -> Held:
    """Open frames lazily; only the header is read.

    Raises
    ------
    FileFormatError
        If the file holds no real numbers on three axes, or is damaged.
    """
    path = paths[0]
    shape, stored = npy_header(path, frames=True)
    if path.stem.lower() in SUPPORTS:
        raise FileFormatError(path, "is a support by its name, and holds no counts.")
    if paths[1:] or len(shape) != 3 or stored.kind not in "iuf":
        found = f"{len(paths)} files, {len(shape)} axes of {stored}"
        raise FileFormatError(
            path,
            f"frames are one array of 3 axes of real numbers; found {found}. A "
            "complex object is no measurement: give it names with xr.DataArray.",
        )
    dtype = counts_type(stored)
    step = chunk(math.prod(shape[1:]) * dtype.itemsize, shape[0])
    looked = stamp(path)
    parts = [
        blocks.from_call(_load, looked, a, b, shape=(b - a, *shape[1:]), dtype=dtype)
        for a, b in itertools.pairwise([*range(0, shape[0], step), shape[0]])
    ]
    return Held(blocks.concatenate(parts))


def open_npz(
    paths: list[Path], *, chunk: Callable[[int, int], int], dataset: str | None
) -> Held:
    """Open frames in a NumPy archive lazily; they are unpacked all at once.

    Raises
    ------
    ArgumentError
        If several arrays could be frames, or there is no such array.
    FileFormatError
        If the archive is damaged, or holds no such array.
    """
    path = paths[0]
    if paths[1:]:
        told = "one .npz file"
        raise ArgumentError("path", len(paths), told, "Read each, then concatenate.")
    held = arrays_in(path)
    stacks = [k for k, (n, t) in held.items() if len(n) == 3 and t.kind in "iuf"]
    if dataset is None and not stacks:
        found = {k: n for k, (n, _) in held.items()}
        raise FileFormatError(path, f"holds no real array of 3 axes: {found}.")
    if dataset not in stacks and (dataset is not None or len(stacks) > 1):
        told = f"one of the {len(stacks)} arrays of {path.name}: {stacks[:20]}"
        raise ArgumentError("dataset", dataset, told, "It has several.")
    name = dataset or stacks[0]
    if name.lower() in SUPPORTS:
        raise FileFormatError(path, f"holds a support alone: {name}, no counts.")
    shape, stored = held[name]
    dtype = counts_type(stored)
    looked = stamp(path)
    return Held(blocks.from_call(_unpack, looked, name, shape=shape, dtype=dtype))


def _unpack(looked: Stamp, name: str) -> np.ndarray:
    looked.check()
    return only_counts(unpacked(looked.path, name), looked.path.name)


def _load(looked: Stamp, first: int, stop: int) -> np.ndarray:
    looked.check()
    with named(looked.path, "no NumPy array"):
        values = npy_values(looked.path)
        return only_counts(np.asarray(values[first:stop]), looked.path.name)
