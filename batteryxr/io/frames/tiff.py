"""Frames in TIFF files: one per file, or many pages in one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.errors import FileFormatError
from batteryxr.core.optional import require

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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


def open_tiff(paths: list[Path], *, chunk: Callable[[int, int], int]) -> Held:
    """Open frames lazily; only the first file's header is read.

    Raises
    ------
    FileFormatError
        If the first file is no TIFF, or holds something other than grey images.
    """
    tifffile = require("tifffile", extra="io", purpose="reading TIFF frames")
    pages, shape, dtype = _look(tifffile, paths[0])
    n = pages if len(paths) == 1 else len(paths)
    step = chunk(int(np.prod(shape)) * dtype.itemsize, n)
    edges = [*range(0, n, step), n]
    parts = []
    for a, b in itertools.pairwise(edges):
        if len(paths) == 1:
            part, pick = paths, range(a, b)
        else:
            part, pick = paths[a:b], range(1)
        block = blocks.from_call(
            _load,
            part,
            pick,
            shape,
            dtype,
            shape=(b - a, *shape),
            dtype=dtype,
        )
        parts.append(block)
    return Held(blocks.concatenate(parts))


def _look(tifffile: Any, path: Path) -> tuple[int, tuple[int, int], np.dtype[Any]]:
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            if page.ndim != 2 or page.dtype is None or page.dtype.kind not in "iuf":
                raise FileFormatError(
                    path, f"expected grey images; found shape {page.shape}."
                )
            return len(file.pages), page.shape, np.dtype(page.dtype)
    except FileFormatError:
        raise
    except Exception as error:
        raise FileFormatError(path, f"no readable TIFF file: {error}") from error


def _load(
    paths: list[Path], pages: range, shape: tuple[int, int], dtype: np.dtype[Any]
) -> np.ndarray:
    tifffile = require("tifffile", extra="io", purpose="reading TIFF frames")
    frames = np.empty((max(len(paths), len(pages)), *shape), dtype)
    at = 0
    for path in paths:
        try:
            with tifffile.TiffFile(path) as file:
                held = [file.pages[k].asarray() for k in pages]
        except Exception as error:
            raise FileFormatError(
                path, f"the frame cannot be read: {error}. Copy the file again."
            ) from error
        for image in held:
            if image.shape != shape or image.dtype != dtype:
                raise FileFormatError(
                    path,
                    f"this frame is {image.shape} {image.dtype}, the first {shape} "
                    f"{dtype}. Files of several scans lie together: pass a pattern.",
                )
            frames[at] = image
            at += 1
    return frames
