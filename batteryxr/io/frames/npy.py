"""Open frames in NumPy files: one array of three axes."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.counts import counts_type, only_counts
from batteryxr.io.door.files import named, stamp
from batteryxr.io.door.images import npy_header, npy_values
from batteryxr.io.frames.hdf5 import Held

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


def _load(looked: Stamp, first: int, stop: int) -> np.ndarray:
    looked.check()
    with named(looked.path, "no NumPy array"):
        values = npy_values(looked.path)
        return only_counts(np.asarray(values[first:stop]), looked.path.name)
