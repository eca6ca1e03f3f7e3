"""Frames on their way to the engines: whole in memory, or block by block."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.loop import FrameBlocks
    from batteryxr.cdi.ptycho.settings import Settings

#: Types of counts that the compiled loops know; others become float32.
_KNOWN = ("uint16", "float32")
#: What stands where a pixel does not count in one frame; below every count.
UNKNOWN = np.float32(-1.0)


def counts_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which counts are held: as stored where the loops know it."""
    if dtype.name in _KNOWN:
        return np.dtype(dtype).newbyteorder("=")
    return np.dtype(np.uint16 if dtype == np.uint8 else np.float32)


class Cleaned(NamedTuple):
    """Frames as the engines take them, and what was found in them.

    Parameters
    ----------
    values : (j, n, n)
        Counts, the direct beam in the middle; 0 under the mask of all frames,
        `UNKNOWN` where a pixel does not count in one frame.
    negative, missing, largest : (j,)
        Pixels outside the masks whose number is below 0, none at all, or the largest
        of the frames' type, which no counter reaches.
    """

    values: np.ndarray
    negative: np.ndarray
    missing: np.ndarray
    largest: np.ndarray


def frame_blocks(
    experiment: Experiment, settings: Settings, bring: Callable[..., Any]
) -> FrameBlocks:
    """Return where the engines take frames from: memory, or read anew in each pass.

    Parameters
    ----------
    experiment
        Has the frames, as stored or already held.
    settings
        Tell blocks, and whether they are streamed.
    bring
        Moves an array to the device.
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
    """Return all frames; beside them in memory is one block only."""
    n = experiment.frames.shape[0]
    held = Held(experiment.frames.shape, experiment.frames.dtype)
    for start in range(0, n, step):
        held.put(start, load(experiment, start, start + step))
    return held.values


class Held:
    """An array that takes frames block by block, and floats once a block has some."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.values = np.empty(shape, counts_type(dtype))

    def put(self, start: int, block: np.ndarray) -> None:
        """Take the frames from `start` on."""
        if block.dtype != self.values.dtype:
            self.values = self.values.astype(np.float32, copy=False)
        self.values[start : start + len(block)] = block


def clean(experiment: Experiment, start: int, stop: int) -> Cleaned:
    """Return frames `start` to `stop`, the beam in the middle, free of what is none.

    What stands under a mask never matters. A count below 0, as where a dark level was
    taken off, is 0; a negative whole number, the largest of its type, NaN and infinity
    are no counts: there a pixel is unknown in that frame alone.
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
        nowhere = ~np.isfinite(raw)
        if nowhere.any():
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
    """Return counts with `UNKNOWN` where they are, and 0 under the common mask."""
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
    """Return part of frames as NumPy has it; not on a cluster whose worker may ask."""
    lazy = hasattr(part, "compute")
    return np.asarray(part.compute(scheduler="threads") if lazy else part)


class Streamed:
    """Frames read block by block in every pass, one block ahead.

    Gives the same blocks in the same order as `InMemory` does.
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
