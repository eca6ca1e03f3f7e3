"""Frames for the engines: held in memory, or read block by block."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.loop import FrameBlocks
    from batteryxr.cdi.ptycho.settings import Settings

#: Types of counts that the compiled loops support; others become float32.
_KNOWN = ("uint16", "float32")
#: Value of a pixel that does not count in one frame; below every count.
UNKNOWN = np.float32(-1.0)
#: Largest number that the compiled loops hold; beyond it is no count.
_HIGHEST = np.finfo(np.float32).max


def counts_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which counts are held: as stored if the loops support it."""
    if dtype.name in _KNOWN:
        return np.dtype(dtype).newbyteorder("=")
    return np.dtype(np.uint16 if dtype == np.uint8 else np.float32)


class Cleaned(NamedTuple):
    """Hold frames as the engines use them, and the faults found in them.

    Parameters
    ----------
    values : (j, n, n)
        Counts, the direct beam in the middle; 0 under the mask of all frames,
        `UNKNOWN` where a pixel does not count in one frame.
    negative, missing, largest : (j,)
        Numbers of pixels outside the masks that are below 0, no number at all, or the
        largest number of the frames' type, which no counter reaches.
    """

    values: np.ndarray
    negative: np.ndarray
    missing: np.ndarray
    largest: np.ndarray


def frame_blocks(
    experiment: Experiment, settings: Settings, bring: Callable[..., Any]
) -> FrameBlocks:
    """Return the source of frames: memory, or reading again in each iteration.

    Parameters
    ----------
    experiment
        Experiment with the frames, as stored or already held.
    settings
        Settings of blocks and streaming.
    bring
        Function that moves an array to the device.
    """
    from batteryxr.cdi.ptycho.kernels.loop import InMemory, edges

    if settings.streamed:
        return Streamed(
            experiment, edges(experiment.frames.shape[0], settings.block), bring
        )
    held = experiment.held
    return InMemory(
        bring(load_all(experiment) if held is None else held), settings.block
    )


def load(experiment: Experiment, start: int, stop: int) -> np.ndarray:
    """Return frames `start` to `stop` for the engines, origin in the corner."""
    return np.fft.ifftshift(clean(experiment, start, stop).values, axes=(-2, -1))


def load_all(experiment: Experiment, step: int = 64) -> np.ndarray:
    """Return all frames; only one more block is in memory at a time."""
    n = experiment.frames.shape[0]
    held = HeldFrames(experiment.frames.shape, experiment.frames.dtype)
    for start in range(0, n, step):
        held.put(start, load(experiment, start, start + step))
    return held.values


class HeldFrames:
    """Hold an array filled block by block; it becomes float once a block needs it."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.values = np.empty(shape, counts_type(dtype))

    def put(self, start: int, block: np.ndarray) -> None:
        """Store the frames from `start` on."""
        if block.dtype != self.values.dtype:
            self.values = self.values.astype(np.float32, copy=False)
        self.values[start : start + len(block)] = block


def clean(experiment: Experiment, start: int, stop: int) -> Cleaned:
    """Return frames `start` to `stop`, beam in the middle, without invalid counts.

    Values under a mask never matter. A count below 0, as after subtraction of a dark
    level, becomes 0. A negative whole number, the largest of its type, NaN and infinity
    are no counts: the pixel is unknown in that frame alone.
    """
    frames = experiment.frames
    raw = read(frames[start:stop])
    dark, axes = experiment.dark, (-2, -1)
    hidden: np.ndarray = np.broadcast_to(dark, raw.shape)
    if experiment.ignored is not None:
        hidden = hidden | (read(experiment.ignored[start:stop]) != 0)
    kind, none = raw.dtype.kind, np.zeros(len(raw), int)
    negative = missing = largest = none
    unknown = hidden
    if kind in "iu":
        top = np.iinfo(raw.dtype).max - (kind == "u" and raw.dtype.itemsize >= 4)
        full = (raw >= top) & ~hidden if raw.max(initial=0) >= top else None
        if full is not None:
            largest, unknown = full.sum(axes), unknown | full
        if kind == "i" and raw.min(initial=0) < 0:
            below = (raw < 0) & ~hidden
            missing, unknown = below.sum(axes), unknown | below
    elif kind == "f":
        nowhere = ~(np.abs(raw) <= _HIGHEST)
        if nowhere.any():
            raw = np.where(nowhere, raw.dtype.type(0), raw)
            nowhere &= ~hidden
            missing, unknown = nowhere.sum(axes), unknown | nowhere
        if np.fmin.reduce(raw, axis=None, initial=0.0) < 0:
            negative = ((raw < 0) & ~unknown).sum(axes)
    each = experiment.ignored is not None or bool((missing + largest).any())
    values = _values(raw, dark, unknown if each else None, bool(negative.any()))
    return Cleaned(values, negative, missing, largest)


def _values(
    raw: np.ndarray, dark: np.ndarray, unknown: np.ndarray | None, clip: bool
) -> np.ndarray:
    """Return counts, `UNKNOWN` where they are unknown, 0 under the common mask."""
    kept = counts_type(raw.dtype) if unknown is None else np.dtype(np.float32)
    values = raw.astype(kept, copy=False)
    if dark.any():
        values = np.where(dark, kept.type(0), values)
    if clip:
        values = np.maximum(values, kept.type(0))
    if unknown is not None:
        values = np.where(unknown & ~dark, UNKNOWN, values)
    return values


def read(part: Any) -> np.ndarray:
    """Return part of frames in NumPy, by threads: a cluster's worker may call this."""
    lazy = hasattr(part, "compute")
    return np.asarray(part.compute(scheduler="threads") if lazy else part)


class Streamed:
    """Hold frames read block by block in every iteration, one block ahead.

    Yields the same blocks in the same order as `InMemory`.
    """

    def __init__(
        self, experiment: Experiment, edges: list[int], bring: Callable[..., Any]
    ) -> None:
        self._frames, self._edges, self._bring = experiment, edges, bring

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
