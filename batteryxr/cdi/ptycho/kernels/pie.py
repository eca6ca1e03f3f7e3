"""ePIE and rPIE: frame after frame, with probe modes and momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from array_api_compat import array_namespace

from batteryxr.cdi.fourier import Fourier, empty
from batteryxr.cdi.ptycho.kernels.state import Pass, Shifter, State
from batteryxr.cdi.ptycho.kernels.steps import (
    exit_waves,
    peak,
    position_gradient,
    replace_modulus,
    update_pair,
)

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class PieOptions:
    """How far object and probe move.

    Parameters
    ----------
    object_step, probe_step
        Share of the full step.
    object_alpha, probe_alpha
        Regularisation: 1 is ePIE; less trusts weakly lit pixels more (rPIE).
    momentum
        Share of the last motion that is kept (0: none).
    every
        Frames between two pushes of the momentum.
    poisson
        Fit counts by their Poisson likelihood instead of amplitudes.
    """

    object_step: float = 1.0
    probe_step: float = 1.0
    object_alpha: float = 1.0
    probe_alpha: float = 1.0
    momentum: float = 0.0
    every: int = 100
    poisson: bool = False


class Pie:
    """One pass of ePIE or rPIE over frames, block by block.

    Momentum as in mPIE: Maiden, Johnson & Li, Optica 4, 736 (2017).
    """

    def __init__(self, options: PieOptions, like: Any, workers: int = 1) -> None:
        self.options = options
        self._fourier = Fourier(like, axes=(-2, -1), workers=workers, repeatable=True)
        self._waves = empty(tuple(like.shape), like)
        self._moved = empty(tuple(like.shape), like)
        self._change = empty(tuple(like.shape), like)
        self._shifter = Shifter(like, workers)

    def sweep(self, state: State, index: np.ndarray, frames: Any, now: Pass) -> float:
        """Visit the frames once in random order; return the misfit before updates.

        Parameters
        ----------
        state
            Object and probe are overwritten.
        index : (b,)
            Number of each frame.
        frames : (b, n, n)
            Counts, origin in the corner.
        now
            What holds for this pass.
        """
        o = self.options
        steps = (
            now.share * o.object_step,
            now.share * o.probe_step if now.move_probe else 0.0,
        )
        corners, shifts = state.corners(), state.shifts()
        shifted = bool(shifts[index].any())
        spectrum = self._shifter.forward(state.probe) if shifted else None
        top = peak(state.probe)
        push = _Momentum(state, o) if o.momentum else None
        total = 0.0
        for row in now.rng.permutation(len(index)):
            j = int(index[row])
            corner = (int(corners[j, 0]), int(corners[j, 1]))
            probe, change = state.probe, None
            if spectrum is not None:
                probe = self._shifter.shifted(spectrum, shifts[j], self._moved)
                change = self._change
            misfit, top = self._frame(
                *(probe, state.obj, corner, frames[row], top, change, j, now, steps)
            )
            if spectrum is not None and now.move_probe:
                self._shifter.add_unshifted(change, shifts[j], spectrum)
            total += misfit
            if push is not None:
                push()
        if spectrum is not None:
            state.probe = self._shifter.backward(spectrum)
        return float(total)

    def _frame(
        self,
        probe: Any,
        obj: Any,
        corner: tuple[int, int],
        frame: Any,
        top: Any,
        change: Any,
        j: int,
        now: Pass,
        steps: tuple[float, float],
    ) -> tuple[Any, Any]:
        o = self.options
        bright = exit_waves(probe, obj, corner, self._waves)
        waves = self._fourier.forward(self._waves)
        misfit = replace_modulus(waves, frame, now.weight, poisson=o.poisson)
        waves = self._fourier.backward(waves)
        if now.moves is not None:
            now.moves[j] = position_gradient(waves, probe, obj, corner)
        top = update_pair(
            *(waves, probe, obj, corner),
            steps,
            (o.object_alpha, o.probe_alpha),
            (top, bright),
            change,
        )
        return misfit, top


class _Momentum:
    """Pushes the object along its last motion, every so many frames."""

    def __init__(self, state: State, options: PieOptions) -> None:
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
