"""Open frames in TIFF files: one frame per file, or many pages in one file."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.counts import counts_type, only_counts
from batteryxr.io.door.files import stamp
from batteryxr.io.door.images import (
    check_page,
    page_at,
    page_places,
    pixels,
    planes,
    tiff,
)
from batteryxr.io.frames.hdf5 import Held

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batteryxr.io.door.files import Stamp


def open_tiff(
    paths: list[Path], *, chunk: Callable[[int, int], int], counts: bool = True
) -> Held:
    """Open frames lazily; only the first file's header is read.

    Integers are `counts` and become float32: see `batteryxr.io.door.counts`.

    Raises
    ------
    FileFormatError
        If the first file is no TIFF, or holds something other than grey images.
    """
    with tiff(paths[0]) as file:
        page = file.pages[0]
        check_page(paths[0], page)
        places, shape, stored = page_places(paths[0], file), page.shape, page.dtype
    if len(paths) > 1 and (len(places) > 1 or planes(page) > 1):
        each = [open_tiff([path], chunk=chunk, counts=counts) for path in paths]
        return Held(blocks.concatenate([held.data for held in each]))
    if planes(page) > 1:
        return _in_planes(paths[0], places, page, counts)
    n = len(places) if len(paths) == 1 else len(paths)
    dtype = counts_type(stored) if counts else np.dtype(stored)
    step = chunk(int(np.prod(shape)) * dtype.itemsize, n)
    stamps = [stamp(path) for path in paths]
    parts = []
    for a, b in itertools.pairwise([*range(0, n, step), n]):
        if len(paths) == 1:
            part, pick = stamps, places[a:b]
        else:
            part, pick = stamps[a:b], [0]
        block = blocks.from_call(
            _load, part, pick, shape, stored, counts, shape=(b - a, *shape), dtype=dtype
        )
        parts.append(block)
    return Held(blocks.concatenate(parts))


def _in_planes(path: Path, places: list[int], page: Any, counts: bool) -> Held:
    """Return the frames of pages that hold several frames each."""
    stored = page.dtype
    dtype = counts_type(stored) if counts else np.dtype(stored)
    parts = [
        blocks.from_call(
            _load_planes, stamp(path), place, counts, shape=page.shape, dtype=dtype
        )
        for place in places
    ]
    return Held(blocks.concatenate(parts))


def _load_planes(about: Stamp, place: int, counts: bool) -> np.ndarray:
    with tiff(about.path, about) as file:
        page = page_at(file, place)
        check_page(about.path, page, known=True)
        image = pixels(about.path, page)
    return only_counts(image, about.path.name) if counts else image


def _load(
    stamps: list[Stamp],
    places: list[int],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    counts: bool,
) -> np.ndarray:
    size = max(len(stamps), len(places)), *shape
    frames = np.empty(size, counts_type(dtype) if counts else dtype)
    at = 0
    for each in stamps:
        path = each.path
        with tiff(path, each) as file:
            for place in places:
                page = page_at(file, place) if place else file.pages[0]
                if page.shape != shape or page.dtype != dtype:
                    raise FileFormatError(
                        path,
                        f"this frame is {page.shape} {page.dtype}, the first {shape} "
                        f"{dtype}. Files of several scans lie together: pass a "
                        "pattern.",
                    )
                check_page(path, page, known=True)
                image = pixels(path, page)
                frames[at] = only_counts(image, path.name) if counts else image
                at += 1
    return frames
