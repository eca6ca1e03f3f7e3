"""ePIE and rPIE: frame after frame, with probe modes and momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from array_api_compat import array_namespace

from batteryxr.cdi.fourier import empty
from batteryxr.cdi.ptycho.kernels.propagation import Propagation
from batteryxr.cdi.ptycho.kernels.state import Conditions, Shifter, State
from batteryxr.cdi.ptycho.kernels.steps import (
    Reach,
    exit_waves,
    peak,
    position_gradient,
    replace_modulus,
    update_pair,
)

if TYPE_CHECKING:
    import numpy as np

    from batteryxr.core.kernels.arrays import Array


class PieSteps(NamedTuple):
    """Step sizes of each frame; fields as in `RPIE`."""

    object_step: float
    probe_step: float
    object_alpha: float
    probe_alpha: float
    momentum: float
    every: int
    poisson: bool


class _Frame(NamedTuple):
    """Hold one frame: its number, the corner of its patch, and its counts."""

    number: int
    corner: tuple[int, int]
    counts: Array


class Pie:
    """Run one iteration of ePIE or rPIE over frames, block by block.

    Momentum as in mPIE: Maiden, Johnson & Li, Optica 4, 736 (2017).
    """

    def __init__(self, options: PieSteps, like: Array, near: float = 0.0) -> None:
        self.options = options
        self._way = Propagation(like, near)
        self._waves = empty(tuple(like.shape), like)
        self._moved = empty(tuple(like.shape), like)
        self._change = empty(tuple(like.shape), like)
        self._shifter = Shifter(like)

    def sweep(
        self, state: State, index: np.ndarray, frames: Array, now: Conditions
    ) -> float:
        """Visit the frames once in random order; see `Sweep.sweep`."""
        o = self.options
        steps = (
            now.step * o.object_step,
            now.step * o.probe_step if now.move_probe else 0.0,
        )
        corners, shifts = state.corners(), state.shifts()
        shifted = bool(shifts[index].any())
        own, shifter = now.unsteady, self._shifter
        shifted = shifted or own is not None
        spectrum = shifter.forward(state.probe) if shifted else None
        top = peak(state.probe)
        push = _Momentum(state, o) if o.momentum else None
        total = 0.0
        for row in now.rng.permutation(len(index)):
            j = int(index[row])
            frame = _Frame(j, (int(corners[j, 0]), int(corners[j, 1])), frames[row])
            probe, change = state.probe, None
            if spectrum is not None:
                there = (
                    spectrum if own is None else spectrum + shifter.forward(own.part(j))
                )
                probe = shifter.shifted(there, shifts[j], self._moved)
                change = self._change
            waves, misfit, bright = self._measured(probe, state.obj, frame, now)
            reach = Reach(*steps, o.object_alpha, o.probe_alpha, top, bright)
            top = update_pair(waves, probe, state.obj, frame.corner, reach, change)
            if spectrum is not None and change is not None and now.move_probe:
                if own is not None:
                    own.take(j, shifter.unshifted(change, shifts[j])[0])
                shifter.add_unshifted(change, shifts[j], spectrum)
            total += misfit
            if push is not None:
                push()
        if spectrum is not None:
            state.probe = shifter.backward(spectrum)
        return float(total)

    def _measured(
        self, probe: Array, obj: Array, frame: _Frame, now: Conditions
    ) -> tuple[Array, Any, Any]:
        """Return exit waves with measured modulus, the misfit before, and max|O|²."""
        bright = exit_waves(probe, obj, frame.corner, self._waves)
        waves = self._way.forward(self._waves)
        misfit = replace_modulus(
            waves,
            frame.counts,
            now.weight,
            poisson=self.options.poisson,
            recorded=now.recorded,
            numbers=frame.number,
        )
        waves = self._way.backward(waves)
        if now.moves is not None:
            gradient = position_gradient(waves, probe, obj, frame.corner)
            now.moves[frame.number] = gradient
        return waves, misfit, bright


class _Momentum:
    """Push the object along its last motion, every `every` frames."""

    def __init__(self, state: State, options: PieSteps) -> None:
        self._xp = array_namespace(state.obj)
        self._state, self._options = state, options
        memory = state.memory
        if "velocity" not in memory:
            memory["velocity"] = self._xp.zeros_like(state.obj)
        self._before = self._xp.asarray(state.obj, copy=True)
        self._count = 0

    def __call__(self) -> None:
        self._count += 1
        if self._count % self._options.every:
            return
        obj, velocity = self._state.obj, self._state.memory["velocity"]
        velocity *= self._options.momentum
        velocity += obj - self._before
        obj += self._options.momentum * velocity
        self._before = self._xp.asarray(obj, copy=True)
