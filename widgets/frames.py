"""Pictures for the browser: read in blocks, with sixteen bits per pixel.

If the stack is too large for the browser, it gets each n-th pixel of it, and the part
in view at the resolution of its screen.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.blocks import block_edges, is_lazy
from batteryxr.core.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr

#: Bytes that the browser holds; above, each second (third, ...) pixel is sent.
BUDGET = 128e6
#: Sixteen-bit number that stands for a missing value.
MISSING = 65535
_LEVELS = 65534
#: Range below which single precision cannot count levels: the picture is flat.
_FLAT = _LEVELS / float(np.finfo(np.float32).max)
#: Number of pixels from which the limits of a picture are estimated.
_SAMPLE = 40_000
_FRAMES = 4
#: Rows of data in memory averaged at a time, and largest number of pixels of a tile.
_ROWS, _TILE = 512, 4e6


@dataclass(frozen=True)
class Frame:
    """Hold one picture, ``value = base + step * number``, and the limits to show it."""

    place: int
    numbers: np.ndarray
    base: float
    step: float
    low: float
    high: float


def thinning(shape: tuple[int, ...]) -> int:
    """Return n, if each n-th row and column are sent."""
    return max(1, int(np.ceil(np.sqrt(2 * np.prod(shape, dtype=np.float64) / BUDGET))))


def every_nth(shape: tuple[int, ...], most: int) -> list[slice]:
    """Return slices that reduce rows and columns to at most `most`."""
    return [slice(None, None, max(1, -(-n // most))) for n in shape]


def frames(stack: xr.DataArray, part: str, first: int) -> Iterator[Frame]:
    """Yield all pictures, starting with those around `first`.

    Reads each block of the first dimension once; thinned pictures are read a band of
    rows at a time.

    Parameters
    ----------
    stack
        (pictures, rows, columns), lazy or not.
    part
        "real"; or "modulus" or "phase" of complex numbers.
    first
        Number of the picture in view.
    """
    dim = str(stack.dims[0])
    thin = thinning(stack.shape)
    # Read whole chunks of lazy data: a part of a chunk costs as much.
    whole = stack.sizes[dim] if is_lazy(stack) else _FRAMES
    edges = block_edges(stack, dim=dim, block=whole)
    blocks = list(itertools.pairwise(edges))
    blocks.sort(key=lambda b: max(b[0] - first, first - b[1] + 1, 0))
    for begin, end in track(blocks, "Reading pictures"):
        block = _thinned(stack.isel({dim: slice(begin, end)}), thin)
        if part == "phase":
            block = np.angle(block)
        elif part == "modulus":
            block = np.abs(block)
        for k, picture in enumerate(block):
            yield quantised(begin + k, np.ascontiguousarray(picture, dtype=np.float32))


def tile(
    stack: xr.DataArray,
    part: str,
    *,
    axis: str,
    index: int,
    window: tuple[int, int, int, int],
    every: int,
    check: Callable[[], None] = lambda: None,
) -> tuple[int, Frame]:
    """Return a part of one picture: its pixels, or means over squares of pixels.

    Reads the chunks of that part once, a band of rows at a time.

    Parameters
    ----------
    stack, part
        As in `frames`.
    axis, index
        Dimension and position of the picture.
    window
        First and last row, first and last column.
    every
        Side of the squares; it grows if a tile would be larger than any screen.
    check
        Function called between bands; an error that it raises ends the reading.

    Returns
    -------
    int
        Side of the squares that were used.
    Frame
        The means, NaN where no pixel has a value.
    """
    rows, columns = (str(d) for d in stack.dims if d != axis)
    r0, r1, c0, c1 = window
    at = {axis: index, rows: slice(r0, r1 + 1), columns: slice(c0, c1 + 1)}
    seen = stack.isel(at)
    every = max(1, every, int(np.ceil(np.sqrt(seen.size / _TILE))))
    shape = [-(-n // every) for n in seen.shape]
    kind = np.complex128 if part == "phase" else np.float64
    total, count = np.zeros(shape, kind), np.zeros(shape)
    across = np.arange(0, seen.shape[1], every)
    for begin, end in _bands(seen, rows):
        check()
        band = np.asarray(seen.isel({rows: slice(begin, end)}).data)
        band = np.abs(band) if part == "modulus" else band
        there = np.isfinite(band)
        numbers = np.arange(begin, end) // every
        down = np.flatnonzero(np.diff(numbers, prepend=-1))
        for sums, values in ((total, np.where(there, band, 0)), (count, there)):
            by_rows = np.add.reduceat(values, down, axis=0, dtype=sums.dtype)
            sums[numbers[down]] += np.add.reduceat(by_rows, across, axis=1)
    means = np.divide(total, count, out=np.full(shape, np.nan, kind), where=count > 0)
    if part == "phase":
        means = np.angle(means)
    return every, quantised(index, means.astype(np.float32))


def _thinned(block: xr.DataArray, every: int) -> np.ndarray:
    """Return each n-th row and column of pictures, holding a band of rows at a time."""
    if every == 1:
        return np.asarray(block.data)
    _, rows, columns = block.dims
    thin = [len(range(0, n, every)) for n in block.shape[1:]]
    out = np.empty((block.shape[0], *thin), block.dtype)
    for begin, end in _bands(block, str(rows)):
        first = begin + (-begin % every)
        if first >= end:
            continue
        band = block.isel(
            {rows: slice(first, end, every), columns: slice(None, None, every)}
        )
        out[:, first // every :][:, : band.shape[1]] = np.asarray(band.data)
    return out


def _bands(picture: xr.DataArray, rows: str) -> Iterator[tuple[int, int]]:
    """Return first and last rows of bands; lazy data are taken in whole chunks."""
    most = picture.sizes[rows] if is_lazy(picture) else _ROWS
    return itertools.pairwise(block_edges(picture, dim=rows, block=most))


def quantised(place: int, picture: np.ndarray) -> Frame:
    """Return a picture in sixteen bits, with levels finer than 1e-4 of the range shown.

    Values beyond three times the range shown are clipped, so that a few extreme pixels
    do not coarsen the levels of the others.
    """
    step = max(1, picture.size // _SAMPLE)
    sample = picture.ravel()[::step]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        missing = np.full(picture.shape, MISSING, dtype=np.uint16)
        return Frame(place, missing, 0.0, 0.0, np.inf, -np.inf)
    low, high = (float(v) for v in np.percentile(sample, (0.5, 99.5)))
    span = high - low
    least, most = float(np.nanmin(picture)), float(np.nanmax(picture))
    least = max(least, low - span) if np.isfinite(least) else low - span
    most = min(most, high + span) if np.isfinite(most) else high + span
    if not most - least > _FLAT:
        numbers = np.zeros(picture.shape, dtype=np.uint16)
        numbers[~np.isfinite(picture)] = MISSING
        return Frame(place, numbers, least, 0.0, low, high)
    scaled = np.clip((picture - least) * (_LEVELS / (most - least)), 0, _LEVELS)
    holes = ~np.isfinite(picture)
    if holes.any():
        scaled[holes] = MISSING
    numbers = (scaled + np.float32(0.5)).astype(np.uint16)
    return Frame(place, numbers, least, (most - least) / _LEVELS, low, high)
