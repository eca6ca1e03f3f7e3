"""Pictures on their way to the browser: read in blocks, sixteen bits a pixel."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.blocks import block_edges, is_lazy
from batteryxr.core.progress import track

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

#: Bytes that the browser holds; beyond, every second (third, ...) pixel is sent.
BUDGET = 128e6
#: The sixteen-bit number that means: no value.
MISSING = 65535
_LEVELS = 65534
#: A range below this has no level that single precision can count: it is flat.
_FLAT = _LEVELS / float(np.finfo(np.float32).max)
#: Pixels that the limits of a picture are judged by.
_SAMPLE = 40_000
_FRAMES = 4


@dataclass(frozen=True)
class Frame:
    """One picture: ``value = base + step * number``, and the limits to show it in."""

    place: int
    numbers: np.ndarray
    base: float
    step: float
    low: float
    high: float


def thinning(shape: tuple[int, ...]) -> int:
    """Return n where every n-th row and column are sent."""
    return max(1, int(np.ceil(np.sqrt(2 * np.prod(shape, dtype=np.float64) / BUDGET))))


def frames(stack: xr.DataArray, part: str, first: int) -> Iterator[Frame]:
    """Yield all pictures, those around `first` before the others.

    Reads each block of the first dimension once.

    Parameters
    ----------
    stack
        (pictures, rows, columns), lazy or not.
    part
        "real", or "modulus" or "phase" of complex numbers.
    first
        The picture that is looked at.
    """
    dim = str(stack.dims[0])
    thin = {d: slice(None, None, thinning(stack.shape)) for d in stack.dims[1:]}
    thinned = stack.isel(thin)
    # Whole chunks of lazy data: a part of one costs as much.
    whole = stack.sizes[dim] if is_lazy(stack) else _FRAMES
    edges = block_edges(stack, dim=dim, block=whole)
    blocks = list(itertools.pairwise(edges))
    blocks.sort(key=lambda b: max(b[0] - first, first - b[1] + 1, 0))
    for begin, end in track(blocks, "Reading pictures"):
        block = np.asarray(thinned.isel({dim: slice(begin, end)}).data)
        if part == "phase":
            block = np.angle(block)
        elif part == "modulus":
            block = np.abs(block)
        for k, picture in enumerate(block):
            yield quantised(begin + k, np.ascontiguousarray(picture, dtype=np.float32))


def quantised(place: int, picture: np.ndarray) -> Frame:
    """Return a picture in sixteen bits: levels finer than 1e-4 of what is shown.

    A few wild pixels do not spoil the levels of the others: beyond three times the
    range that is shown, values are cut off.
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
