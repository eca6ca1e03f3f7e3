"""Passes over frames: engine after engine, with positions and modes kept in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from batteryxr.cdi.ptycho.kernels.lsq import LeastSquares, LsqOptions
from batteryxr.cdi.ptycho.kernels.pie import Pie, PieOptions
from batteryxr.cdi.ptycho.kernels.projections import ProjectionOptions, Projections
from batteryxr.cdi.ptycho.kernels.state import Pass, State, orthogonalise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Share of the usual steps in the last passes.
CALM = 0.3

Options = PieOptions | LsqOptions | ProjectionOptions


class Source(Protocol):
    """Frames in blocks, from memory or from a store, origin in the corner."""

    def blocks(self, order: np.random.Generator) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield the numbers of the frames of a block, and its counts."""


@dataclass(frozen=True)
class Plan:
    """What is done in which pass.

    Parameters
    ----------
    options
        Of the engine.
    seed
        Of the order of frames; pass k draws from the seed and k alone.
    probe_from
        First pass that updates the probe.
    positions_from
        First pass that moves positions; None never.
    calm_from
        First pass of smaller steps, in which noise averages out; None never.
    position_step
        Share of the least-squares step that positions move.
    position_limit
        Longest step per pass in pixels.
    """

    options: Options
    seed: tuple[int, ...]
    probe_from: int = 2
    positions_from: int | None = None
    calm_from: int | None = None
    position_step: float = 1.0
    position_limit: float = 1.0


def run(
    plan: Plan,
    state: State,
    source: Source,
    weight: Any,
    until: int,
    *,
    workers: int = 1,
    watch: Callable[[State, float], None] | None = None,
) -> list[float]:
    """Run passes on `state` until `until` are done; return the misfit of each.

    Parameters
    ----------
    plan
        What to do.
    state
        Overwritten.
    source
        The frames.
    weight : (n, n)
        1 where a pixel counts, origin in the corner.
    until
        Number of the last pass.
    workers
        Threads per transform.
    watch
        Called after each pass with state and misfit; may raise to interrupt.
    """
    engine = _engine(plan.options, state.probe, workers)
    misfits = []
    while state.iteration < until:
        k = state.iteration
        rng = np.random.default_rng(
            np.random.SeedSequence(list(plan.seed), spawn_key=(k,))
        )
        correct = plan.positions_from is not None and k >= plan.positions_from
        moves = np.zeros_like(state.positions) if correct else None
        calm = plan.calm_from is not None and k >= plan.calm_from
        share = CALM if calm else 1.0
        now = Pass(weight, rng, k >= plan.probe_from, moves, share)
        misfit = 0.0
        for index, frames in source.blocks(rng):
            misfit += engine.sweep(state, index, frames, now)
        if moves is not None:
            move(state, plan.position_step * moves, plan.position_limit)
        if state.probe.shape[0] > 1 and not isinstance(plan.options, ProjectionOptions):
            state.probe, _ = orthogonalise(state.probe)
        state.iteration += 1
        misfits.append(float(misfit))
        if watch is not None:
            watch(state, float(misfit))
    return misfits


def _engine(
    options: Options, probe: Any, workers: int
) -> Pie | LeastSquares | Projections:
    if isinstance(options, PieOptions):
        return Pie(options, probe, workers)
    if isinstance(options, LsqOptions):
        return LeastSquares(options, probe, workers)
    return Projections(options, probe, workers)


def move(state: State, steps: np.ndarray, limit: float) -> None:
    """Move positions, none further than `limit`, the mean of all staying.

    A common shift belongs to object and probe, which would follow it for ever.
    """
    length = np.linalg.norm(steps, axis=1, keepdims=True)
    steps = steps * np.minimum(1.0, limit / np.maximum(length, 1e-12))
    steps -= steps.mean(axis=0)
    n = state.probe.shape[-1]
    top = np.array(state.obj.shape) - n
    state.positions = np.clip(state.positions + steps, 0, top)


class InMemory:
    """Frames that are all in memory; blocks in random order.

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
