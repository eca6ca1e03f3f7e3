"""Read arrays from archives of NumPy after checking that they hold what they say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.archives import check_zip
from batteryxr.io.door.files import named
from batteryxr.io.door.images import npy_shape

if TYPE_CHECKING:
    import zipfile
    from pathlib import Path


def arrays_in(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and type of each array in an archive, by name.

    Raises
    ------
    FileFormatError
        If the archive is damaged, or an array holds more or less than it says.
    """
    with check_zip(path, "npz") as archive, named(path, "no NumPy archive"):
        return {
            part.filename.removesuffix(".npy"): _array_in(path, archive, part)
            for part in archive.infolist()
            if part.filename.endswith(".npy")
        }


def _array_in(
    path: Path, archive: zipfile.ZipFile, part: zipfile.ZipInfo
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an array in an archive after checking its size."""
    with archive.open(part) as file:
        shape, dtype = npy_shape(path, file)
        needed = math.prod(shape) * dtype.itemsize
        held = part.file_size - file.tell()
    if held != needed:
        raise FileFormatError(
            path,
            f"{part.filename!r} in it holds {held:,} of {needed:,} bytes of {shape}.",
        )
    return shape, dtype


def unpacked(path: Path, name: str) -> np.ndarray:
    """Return an array of an archive.

    Raises
    ------
    FileFormatError
        If the archive is damaged.
    """
    with check_zip(path, "npz") as archive, named(path, "no NumPy archive"):
        file = archive.open(f"{name}.npy")
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
