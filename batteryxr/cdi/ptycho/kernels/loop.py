"""Iterations of the engines over frames, with updates of positions and modes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from array_api_compat import array_namespace

from batteryxr.cdi.ptycho.kernels.motion import move
from batteryxr.cdi.ptycho.kernels.state import Conditions, State, orthogonalise
from batteryxr.cdi.ptycho.kernels.steps import Recorded, faint_scale
from batteryxr.cdi.ptycho.kernels.unsteady import unsteady_of
from batteryxr.core.device import to_device_of, to_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batteryxr.cdi.ptycho.settings import Recording, Settings

#: Names in a state's memory for the background and the intensities of frames.
BACKGROUND, INTENSITY = "background", "intensity"
#: Fraction of the usual steps in the last iterations.
CALM = 0.3
#: Longest motion of a position in one iteration, pixels.
FARTHEST = 1.0


class FrameBlocks(Protocol):
    """Hold frames in blocks, from memory or from a store, origin in the corner."""

    def blocks(self, order: np.random.Generator) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield the numbers of the frames of a block, and its counts."""


def iterate(
    settings: Settings,
    state: State,
    frames: FrameBlocks,
    weight: Any,
    *,
    near: float = 0.0,
    until: int | None = None,
    watch: Callable[[State], None] | None = None,
) -> None:
    """Run iterations on a state until `until` are done.

    Parameters
    ----------
    settings
        Settings of the reconstruction.
    state
        State, which is overwritten.
    frames
        Source of the frames.
    weight : (n, n)
        1 where a pixel counts, origin in the corner.
    near
        λ z / pixel² for near-field frames; 0: far field.
    until
        Number of the last iteration; by default that of the settings.
    watch
        Called with the state after each iteration; may raise to interrupt.
    """
    engine, schedule = settings.engine, settings.schedule
    kernel = engine.begin(state.probe, near)
    while state.iteration < (settings.iterations if until is None else until):
        k = state.iteration
        rng = np.random.default_rng(
            np.random.SeedSequence(list(settings.seed), spawn_key=(k,))
        )
        first = schedule.positions_from
        moves = None
        if first is not None and k >= first:
            moves = np.zeros_like(state.positions)
        step = CALM if k >= settings.calm_from else 1.0
        recorded = recorded_of(state, settings.recording)
        moving = k >= schedule.probe_from
        unsteady = unsteady_of(state, settings.recording.probe_variations * moving)
        now = Conditions(weight, rng, moving, moves, step, recorded, unsteady)
        misfit = 0.0
        for index, counts in frames.blocks(rng):
            misfit += kernel.sweep(state, index, counts, now)
        if moves is not None:
            move(state, moves, FARTHEST)
        if unsteady is not None and moving:
            unsteady.keep(state)
        if recorded is not None and recorded.learn:
            learn(state, recorded, settings.recording)
        if state.probe.shape[0] > 1 and not engine.holds_all_waves:
            state.probe, _ = orthogonalise(state.probe)
        state.iteration += 1
        state.misfits.append(float(misfit))
        if watch is not None:
            watch(state)


def recorded_of(state: State, recording: Recording) -> Recorded | None:
    """Return the background and intensities of frames that a state remembers."""
    background = state.memory.get(BACKGROUND)
    if background is None:
        return None
    xp = array_namespace(background)
    intensity = to_numpy(state.memory[INTENSITY])
    sums = np.zeros((len(intensity), 2))
    return Recorded(
        background,
        intensity,
        xp.zeros_like(background),
        xp.zeros_like(background),
        sums,
        learn=recording.background is not None or recording.intensity,
        apart=None if recording.background is None else np.zeros(6),
    )


def learn(state: State, found: Recorded, recording: Recording) -> None:
    """Update background and intensities after an iteration over the frames.

    A step of expectation maximisation (Shepp & Vardi, IEEE Trans. Med. Imaging 1, 113
    (1982)): neither falls below 0, and the likelihood rises. The overall brightness of
    the background follows from pixels that were not fitted, see `faint_scale`.
    """
    xp = array_namespace(found.background)
    background = found.background
    whole = None if found.apart is None else faint_scale(found.apart)
    if recording.background == "constant":
        alike = float(xp.sum(found.ratio) / xp.sum(found.times))
        background = background * (alike if whole is None else whole)
    elif recording.background == "refined":
        lit = found.times > 0
        times = xp.where(lit, found.times, xp.ones_like(found.times))
        share = xp.where(lit, found.ratio / times, xp.ones_like(times))
        if whole is not None:
            now, then = (xp.sum(background * found.times * s) for s in (1.0, share))
            share = share * (whole * now / then)
        background = background * share
    if recording.intensity:
        measured, expected = found.sums.T
        known = (expected > 0) & (measured > 0)
        intensity = np.where(known, measured / np.where(known, expected, 1.0), 1.0)
        usual = float(intensity.mean())
        state.memory[INTENSITY] = to_device_of(
            background, (intensity / usual).astype(np.float32)
        )
        state.probe *= float(np.sqrt(usual))
        background = background * usual
    state.memory[BACKGROUND] = background


class InMemory:
    """Hold frames that are all in memory; blocks in random order.

    Parameters
    ----------
    frames : (j, n, n)
        Counts, origin in the corner.
    block
        Frames per block; all by default.
    """

    def __init__(self, frames: Any, block: int | None = None) -> None:
        self._frames = frames
        self._edges = edges(frames.shape[0], block)

    def blocks(self, order: np.random.Generator) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield the numbers of the frames of a block, and its counts."""
        for b in order.permutation(len(self._edges) - 1):
            start, stop = self._edges[b], self._edges[b + 1]
            yield np.arange(start, stop), self._frames[start:stop]


def edges(frames: int, block: int | None) -> list[int]:
    """Return where blocks of at most `block` frames begin, and the end."""
    return [*range(0, frames, block or frames), frames]
