"""Frames on their way to the engines: whole in memory, or block by block."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.blocks import is_lazy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr

#: Types of counts that the compiled loops know; others become float32.
_KNOWN = ("uint16", "float32")


def counts_type(frames: xr.DataArray) -> np.dtype[Any]:
    """Return the type in which counts are held: as stored where the loops know it."""
    if frames.dtype.name in _KNOWN:
        return np.dtype(frames.dtype)
    return np.dtype(np.uint16 if frames.dtype == np.uint8 else np.float32)


def load(frames: xr.DataArray, start: int, stop: int) -> np.ndarray:
    """Return frames `start` to `stop` with the origin in the corner."""
    part = frames.isel(position=slice(start, stop))
    values = part.data
    if is_lazy(frames):
        # Not on the cluster whose worker may be asking.
        values = values.compute(scheduler="threads")
    values = np.asarray(values).astype(counts_type(frames), copy=False)
    return np.fft.ifftshift(values, axes=(-2, -1))


def load_all(frames: xr.DataArray, step: int = 64) -> np.ndarray:
    """Return all frames; beside them in memory is one block only."""
    out = np.empty(frames.shape, counts_type(frames))
    for start in range(0, frames.shape[0], step):
        out[start : start + step] = load(frames, start, start + step)
    return out


class Streamed:
    """Frames read block by block in every pass, one block ahead.

    Gives the same blocks in the same order as `InMemory` does.
    """

    def __init__(
        self, frames: xr.DataArray, edges: list[int], bring: Callable[..., Any]
    ) -> None:
        self._frames, self._edges, self._bring = frames, edges, bring

    def blocks(self, order: np.random.Generator) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield the numbers of the frames of a block, and its counts."""
        numbers = order.permutation(len(self._edges) - 1)
        parts = [(self._edges[b], self._edges[b + 1]) for b in numbers]
        with ThreadPoolExecutor(1) as ahead:
            coming = [ahead.submit(load, self._frames, *parts[0])]
            for number, (start, stop) in enumerate(parts):
                frames = coming.pop().result()
                if number + 1 < len(parts):
                    coming.append(ahead.submit(load, self._frames, *parts[number + 1]))
                yield np.arange(start, stop), self._bring(frames)


def mean_counts(frames: xr.DataArray, weight: np.ndarray, most: int = 64) -> float:
    """Return the mean counts per frame, from at most `most` frames over the scan."""
    n = frames.sizes["position"]
    chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
    values = frames.isel(position=chosen).data
    if is_lazy(frames):
        values = values.compute(scheduler="threads")
    good = np.fft.fftshift(weight)
    return float(np.sum(np.asarray(values) * good, dtype=float) / len(chosen))
