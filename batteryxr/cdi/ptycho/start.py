"""The state from which a reconstruction begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.cdi.ptycho.experiment import lateral
from batteryxr.cdi.ptycho.frames import mean_counts
from batteryxr.core.device import to_device, to_numpy
from batteryxr.core.errors import DataError

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.state import State
    from batteryxr.cdi.ptycho.settings import Settings


class Known(NamedTuple):
    """Object (y, x) and probe (mode, n, n) of another energy; y and x in nm."""

    obj: np.ndarray
    probe: np.ndarray
    y: np.ndarray
    x: np.ndarray


def first_state(experiment: Experiment, settings: Settings) -> State:
    """Return a unit object, and the first guess of the probe with the frames' power.

    Raises
    ------
    DataError
        If the probe has no power, or the frames hold no counts.
    """
    from batteryxr.cdi.ptycho.kernels.state import State, add_modes

    positions = experiment.corners
    if not settings.engine.subpixel:
        positions = np.rint(positions)
    probe = np.asarray(experiment.probe).astype(np.complex64)
    if not np.sum(np.abs(probe) ** 2) > 0:
        raise DataError("probe", "no power", "Make one with .cdi.ptycho_probe(...).")
    used = [m for m in probe if np.any(m)]
    probe = np.ascontiguousarray(used[: settings.n_modes])
    counts = mean_counts(experiment.frames, experiment.weight)
    if not counts > 0:
        raise DataError("frames", "no counts where the mask leaves pixels")
    rng = np.random.default_rng(np.random.SeedSequence([*settings.seed, 1]))
    probe = add_modes(probe, settings.n_modes, rng)
    probe = probe * np.sqrt(counts / np.sum(np.abs(probe) ** 2))
    bring = to_device(settings.device, purpose="ptychography")
    obj = np.ones((experiment.y.size, experiment.x.size), np.complex64)
    return State(bring(obj), bring(probe.astype(np.complex64)), positions)


def following_state(experiment: Experiment, settings: Settings, other: Known) -> State:
    """Return object and probe of another energy, on the grids of this one."""
    from batteryxr.cdi.ptycho.kernels.alignment import resampled

    state = first_state(experiment, settings)
    bring = to_device(settings.device, purpose="ptychography")
    n = other.probe.shape[-1]
    theirs, ours = (lateral(n, p) for p in (other.y[1] - other.y[0], experiment.pixel))
    modes = np.stack([resampled(m, theirs, theirs, ours, ours) for m in other.probe])
    power = float(np.sum(np.abs(to_numpy(state.probe)) ** 2))
    modes *= np.sqrt(power / np.sum(np.abs(modes) ** 2))
    obj = resampled(other.obj, other.y, other.x, experiment.y, experiment.x)
    state.obj = bring(obj.astype(np.complex64))
    state.probe = bring(modes.astype(np.complex64))
    return state
