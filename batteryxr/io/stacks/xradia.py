"""Read full-field images of Xradia and Zeiss: .xrm (one image) and .txrm (many)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.files import regular, stamp
from batteryxr.io.door.images import compound, stream
from batteryxr.io.stacks import assembly

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batteryxr.io.door.files import Stamp

#: Pixel types by code in ``ImageInfo/DataType``.
_TYPES: dict[int, np.dtype[Any]] = {5: np.dtype("<u2"), 10: np.dtype("<f4")}
_PER_FOLDER = 100
_MOST = 100_000


def open_xradia(paths: Sequence[Path], *, counts: bool = True) -> assembly.RawStack:
    """Open images lazily; every header is read now.

    Integers are `counts` and become float32: see `batteryxr.io.door.counts`.

    Raises
    ------
    FileFormatError
        If a file is damaged, or frames differ in size.
    MissingDependencyError
        If olefile is not installed.
    """
    places: list[tuple[Stamp, int]] = []
    energies: list[np.ndarray] = []
    notes: list[str] = []
    pixels: set[float] = set()
    first: tuple[tuple[int, int], np.dtype[Any]] | None = None
    for path in paths:
        with compound(path) as ole:
            _require_no_mosaic(ole, path)
            shape, dtype = _form(ole, path)
            taken = _numbers(ole, "ImagesTaken", "<i4", 1, path)
            promised = _numbers(ole, "NoOfImages", "<i4", 1, path, missing=taken)
            n = int(taken[0])
            if not 1 <= n <= _MOST:
                raise FileFormatError(path, f"holds {n} images.")
            if n < promised[0]:
                notes.append(f"{path.name}: {n} of {promised[0]} images were taken")
            energies.append(
                _numbers(ole, "Energy", "<f4", n, path, missing=np.full(n, np.nan))
            )
            size = _numbers(ole, "PixelSize", "<f4", 1, path, missing=np.zeros(1))
            pixels.add(round(float(size[0]), 9))
        if first is None:
            first = shape, dtype
        elif (shape, dtype) != first:
            raise FileFormatError(
                path,
                f"its frames are {shape} {dtype}, those of {paths[0].name} {first[0]} "
                f"{first[1]}. Files of several scans lie together: pass a pattern.",
            )
        about = stamp(path)
        places += [(about, k) for k in range(1, n + 1)]
    assert first is not None
    shape, dtype = first
    pixel = min(pixels) * 1000  # um to nm
    if len(pixels) > 1:
        notes.append(
            f"pixel sizes run from {min(pixels):g} to {max(pixels):g} um: the "
            "magnification changes with energy. Resample before registering"
        )
    known = 0 < pixel < 1e6
    energy = np.concatenate(energies).astype(float)
    told = bool(np.isfinite(energy).all() and (energy != 0).all())
    if told:
        assembly.check_energies(paths[0], energy)
    return assembly.RawStack(
        data=assembly.frame_by_frame(_load, places, shape, dtype, counts=counts),
        energy=energy if told else None,
        y=pixel * np.arange(shape[0]) if known else None,
        x=pixel * np.arange(shape[1]) if known else None,
        instrument="TXM",
        notes=tuple(notes),
    )


def _require_no_mosaic(ole: Any, path: Path) -> None:
    """Raise if the images are tiles of one field of view instead of energies.

    The instrument misspells "Mosaic" in its names.
    """
    tiles = [
        int(_numbers(ole, f"Mosiac{way}", "<i4", 1, path, missing=np.ones(1))[0])
        for way in ("Rows", "Columns")
    ]
    if max(tiles) > 1:
        raise FileFormatError(
            path,
            f"is a mosaic of {tiles[0]} x {tiles[1]} tiles. Stitch it with "
            "the instrument's program, and read what that writes.",
        )


def _form(ole: Any, path: Path) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Return shape and type of a frame."""
    width, height, code = (
        int(_numbers(ole, name, "<i4", 1, path)[0])
        for name in ("ImageWidth", "ImageHeight", "DataType")
    )
    if code not in _TYPES:
        raise FileFormatError(
            path, f"its pixels are of the unknown type {code}; known are {[*_TYPES]}."
        )
    assembly.check_shape(path, (height, width), _TYPES[code].itemsize)
    if height * width * _TYPES[code].itemsize > regular(path):
        raise FileFormatError(
            path, f"a frame of {height} x {width} pixels is larger than the file."
        )
    return (height, width), _TYPES[code]


def _numbers(
    ole: Any,
    name: str,
    dtype: str,
    n: int,
    path: Path,
    missing: np.ndarray | None = None,
) -> np.ndarray:
    """Return the first `n` numbers of a stream under ImageInfo."""
    place = f"ImageInfo/{name}"
    if not ole.exists(place):
        if missing is not None:
            return missing
        raise FileFormatError(path, f"has no {place}: it is no X-ray image.")
    raw = stream(path, ole, place)
    size = n * np.dtype(dtype).itemsize
    if len(raw) < size:
        if missing is not None:
            return missing
        raise FileFormatError(path, f"{place} is cut: {len(raw)} of {size} bytes.")
    return np.frombuffer(raw[:size], dtype)


def _load(
    about: Stamp, number: int, shape: tuple[int, int], dtype: np.dtype[Any]
) -> np.ndarray:
    path = about.path
    folder = (number - 1) // _PER_FOLDER + 1
    place = f"ImageData{folder}/Image{number}"
    with compound(path) as ole:
        if not ole.exists(place):
            raise FileFormatError(path, f"image {number} is missing.")
        raw = stream(path, ole, place)
    size = shape[0] * shape[1] * dtype.itemsize
    if len(raw) < size:
        raise FileFormatError(
            path, f"image {number} is cut: {len(raw)} of {size} bytes."
        )
    return np.frombuffer(raw[:size], dtype).reshape(shape)
