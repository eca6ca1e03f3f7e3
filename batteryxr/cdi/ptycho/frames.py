"""Frames on their way to the engines: whole in memory, or block by block."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batteryxr.cdi.ptycho.kernels.loop import FrameBlocks
    from batteryxr.cdi.ptycho.settings import Settings

#: Types of counts that the compiled loops know; others become float32.
_KNOWN = ("uint16", "float32")


def counts_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which counts are held: as stored where the loops know it."""
    if dtype.name in _KNOWN:
        return np.dtype(dtype)
    return np.dtype(np.uint16 if dtype == np.uint8 else np.float32)


def frame_blocks(
    frames: Any, settings: Settings, bring: Callable[..., Any]
) -> FrameBlocks:
    """Return where the engines take frames from: memory, or read anew in each pass.

    Parameters
    ----------
    frames : (j, n, n)
        Counts as stored, an array of any kind.
    settings
        Tell blocks, and whether they are streamed.
    bring
        Moves an array to the device.
    """
    from batteryxr.cdi.ptycho.kernels.loop import InMemory, edges

    if settings.streamed:
        return Streamed(frames, edges(frames.shape[0], settings.block), bring)
    return InMemory(bring(load_all(frames)), settings.block)


def load(frames: Any, start: int, stop: int) -> np.ndarray:
    """Return frames `start` to `stop` with the origin in the corner."""
    values = _filled(_read(frames[start:stop]))
    values = values.astype(counts_type(frames.dtype), copy=False)
    return np.fft.ifftshift(values, axes=(-2, -1))


def load_all(frames: Any, step: int = 64) -> np.ndarray:
    """Return all frames; beside them in memory is one block only."""
    out = np.empty(frames.shape, counts_type(frames.dtype))
    for start in range(0, frames.shape[0], step):
        out[start : start + step] = load(frames, start, start + step)
    return out


def _read(part: Any) -> np.ndarray:
    # Not on the cluster whose worker may be asking.
    lazy = hasattr(part, "compute")
    return np.asarray(part.compute(scheduler="threads") if lazy else part)


def _filled(values: np.ndarray) -> np.ndarray:
    """Return counts with 0 for NaN, which `mean_counts` lets stand under the mask."""
    if values.dtype.kind != "f":
        return values
    missing = np.isnan(values)
    return np.where(missing, values.dtype.type(0), values) if missing.any() else values


class Streamed:
    """Frames read block by block in every pass, one block ahead.

    Gives the same blocks in the same order as `InMemory` does.
    """

    def __init__(
        self, frames: Any, edges: list[int], bring: Callable[..., Any]
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


def mean_counts(frames: Any, weight: np.ndarray, most: int = 64) -> float:
    """Return the mean counts per frame, from at most `most` frames over the scan.

    Raises
    ------
    DataError
        If counts are NaN where the mask leaves pixels.
    """
    n = frames.shape[0]
    chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
    good = np.fft.fftshift(weight)
    values = _read(frames[chosen])
    if values.dtype.kind == "f" and np.isnan(values[:, good > 0]).any():
        raise DataError(
            "frames",
            "NaN at pixels that the mask leaves",
            "Set mask there: frames.isnull().any('position').",
        )
    return float(np.sum(_filled(values) * good, dtype=float) / len(chosen))
