"""Short runs on few frames, to compare guesses about an experiment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.ptycho.engines import LSQML
from batteryxr.cdi.ptycho.examine import look, settled
from batteryxr.cdi.ptycho.experiment import MARGIN
from batteryxr.cdi.ptycho.reconstruct import first_state, reconstruct
from batteryxr.cdi.ptycho.settings import Schedule, Settings
from batteryxr.core.errors import ConvergenceError

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.experiment import Experiment

#: Frames, and detector pixels along a side, that are enough for a comparison.
_FRAMES, _PIXELS = 64, 96


def trial_of(experiment: Experiment) -> Experiment:
    """Return frames in the middle of a scan, on the middle of the detector.

    Parameters
    ----------
    experiment
        Experiment whose frames were examined.
    """
    few = replace(_coarse(_middle(experiment)), seen=None, held=None)
    # Faults of the frames were reported for the whole scan.
    return settled(few, *look(few, hold=True))


def _middle(experiment: Experiment) -> Experiment:
    """Return the frames in the middle of the scan, where they lie closely."""
    away = experiment.corners - np.median(experiment.corners, axis=0)
    order = np.argsort(np.hypot(*away.T), kind="stable")[:_FRAMES]
    return experiment.only(np.sort(order))


def _coarse(experiment: Experiment) -> Experiment:
    """Return an experiment on the middle of the detector: larger pixels, same field."""
    n = len(experiment.weight)
    if n <= _PIXELS or experiment.near:
        return experiment
    low = n // 2 - _PIXELS // 2
    part = slice(low, low + _PIXELS)
    scale = _PIXELS / n
    small = None
    if experiment.probe is not None:
        probe = np.asarray(experiment.probe)
        far = np.fft.fftshift(np.fft.fft2(probe), axes=(-2, -1))[..., part, part]
        small = np.fft.ifft2(np.fft.ifftshift(far, axes=(-2, -1)))

    def cut(corner: np.ndarray) -> np.ndarray:
        return np.fft.ifftshift(np.fft.fftshift(corner)[part, part])

    background = experiment.background
    ignored = experiment.ignored
    return replace(
        experiment,
        frames=experiment.frames[:, part, part],
        ignored=None if ignored is None else ignored[:, part, part],
        weight=cut(experiment.weight),
        background=None if background is None else cut(background),
        probe=small,
        pixel=experiment.pixel / scale,
        **room(experiment.corners * scale, _PIXELS, experiment.pixel / scale),
    )


def room(corners: np.ndarray, n: int, pixel: float) -> dict[str, Any]:
    """Return corners on a new object, and its axes."""
    from batteryxr.cdi.ptycho.kernels.state import frame_of

    shape, origin = frame_of(corners, n, MARGIN)
    y, x = (np.arange(m) * pixel for m in shape)
    return {"corners": corners - origin, "y": y, "x": x}


def residual_of(
    experiment: Experiment, iterations: int, seed: int, probe_from: int = 2
) -> float:
    """Return the residual after a short run."""
    settings = Settings(
        engine=LSQML(),
        iterations=iterations,
        schedule=Schedule(probe_from=probe_from),
        seed=(seed,),
    )
    try:
        state = reconstruct(experiment, settings, first_state(experiment, settings))
    except ConvergenceError:
        return float("inf")
    return float(state.residuals()[-1])
