"""Short runs on few frames, to compare guesses about an experiment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.ptycho.engines import LSQML
from batteryxr.cdi.ptycho.examine import look, settled
from batteryxr.cdi.ptycho.experiment import MARGIN
from batteryxr.cdi.ptycho.passes import first_state, reconstruct
from batteryxr.cdi.ptycho.settings import Schedule, Settings
from batteryxr.core.device import to_numpy
from batteryxr.core.errors import ConvergenceError, warn_quality

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.state import State

#: Frames, and detector pixels along a side, that are enough for a comparison.
_FRAMES, _PIXELS = 64, 96
#: Fraction of all counts that a search for positions takes, and fewest pixels for it.
_NEARLY, _FEWEST = 0.998, 32
#: Pixels between the places that two searches find, and the fraction of frames that
#: may be farther apart.
_ALIKE, _ODD = 2.5, 0.02


def trial_of(experiment: Experiment) -> Experiment:
    """Return frames in the middle of a scan, on the middle of the detector.

    Parameters
    ----------
    experiment
        Experiment whose frames were examined.
    """
    few = replace(_cropped(_middle(experiment), _PIXELS), seen=None, held=None)
    # Faults of the frames were reported for the whole scan.
    return settled(few, *look(few, hold=True))


def _middle(experiment: Experiment) -> Experiment:
    """Return the frames in the middle of the scan, where they lie closely."""
    away = experiment.corners - np.median(experiment.corners, axis=0)
    order = np.argsort(np.hypot(*away.T), kind="stable")[:_FRAMES]
    return experiment.only(np.sort(order))


def _cropped(experiment: Experiment, pixels: int) -> Experiment:
    """Return an experiment on the middle of the detector: larger pixels, same field."""
    n = len(experiment.weight)
    if n <= pixels or experiment.near:
        return experiment
    low = n // 2 - pixels // 2
    part = slice(low, low + pixels)
    scale = pixels / n
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
        **room(experiment.corners * scale, pixels, experiment.pixel / scale),
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


def sought(experiment: Experiment, settings: Settings, state: State) -> np.ndarray:
    """Return positions (j, 2) of a state, searched for as far as the schedule says.

    Parameters
    ----------
    experiment
        Experiment whose frames were examined.
    settings
        Settings of the reconstruction.
    state
        First state.

    Warns
    -----
    DataQualityWarning
        If two searches, which start alike, end at different places.
    """
    from batteryxr.cdi.ptycho.kernels.motion import searched

    pixels = _enough(experiment)
    few = replace(experiment, probe=to_numpy(state.probe), corners=state.positions)
    few = replace(_cropped(few, pixels), seen=None, held=None)
    seen, held = look(few, hold=True)
    assert held is not None, "they were asked for"
    scale = few.weight.shape[0] / len(experiment.weight)
    probe = np.asarray(few.probe)[0]
    probe = probe * np.sqrt(seen.counts.mean() / np.sum(np.abs(probe) ** 2))
    reach = int(np.ceil(settings.schedule.positions_reach / few.pixel))
    seeds = np.random.SeedSequence([*settings.seed, 2]).spawn(2)
    both = [
        searched(
            held,
            few.weight,
            few.corners,
            probe.astype(np.complex64),
            reach=max(reach, 1),
            rng=np.random.default_rng(seed),
        )
        for seed in seeds
    ]
    found = min(both, key=lambda pair: pair[1])[0]
    apart = both[0][0] - both[1][0]
    odd = np.abs(apart - np.median(apart, axis=0)).max(axis=1) > _ALIKE
    if odd.mean() > _ODD:
        warn_quality(
            f"ptycho: two searches for positions disagree about {odd.sum()} of "
            f"{odd.size} frames: those may be wrong. Take another seed, a smaller "
            "positions_reach, or a better probe"
        )
    moves = (found - few.corners) / scale
    moves[seen.counts <= 0] = np.nan
    moves = np.nan_to_num(moves - np.nanmean(moves, axis=0))
    top = np.array(state.obj.shape) - len(experiment.weight)
    return np.clip(state.positions + moves, 0, top)


def _enough(experiment: Experiment) -> int:
    """Return the side of the middle of the detector that has nearly all counts."""
    assert experiment.seen is not None
    mean = np.where(experiment.seen.top >= 0, experiment.seen.mean, 0.0)
    n = len(mean)
    away = np.max(np.abs(np.indices(mean.shape) - n // 2), axis=0)
    inside = np.cumsum(np.bincount(away.ravel(), mean.ravel()))
    side = 2 * int(np.searchsorted(inside, _NEARLY * inside[-1])) + 2
    return min(max(side, _FEWEST), _PIXELS, n)
