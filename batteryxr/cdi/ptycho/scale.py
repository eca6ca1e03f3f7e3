"""Scale of positions: what frames say about it, and how surely.

A wrong distance, pixel or step stretches all positions. Object and probe take up most
of it, above all the probe's defocus. So both, stretch and defocus, are free parameters
of short runs, and what decides is Poisson's deviance of pixels that the runs were not
fitted to: it does not fall because a wider object has more pixels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.cdi.ptycho.engines import LSQML
from batteryxr.cdi.ptycho.frames import UNKNOWN
from batteryxr.cdi.ptycho.passes import first_state, reconstruct
from batteryxr.cdi.ptycho.settings import Schedule, Settings
from batteryxr.cdi.ptycho.trial import room, trial_of
from batteryxr.core.device import to_numpy
from batteryxr.core.errors import ConvergenceError, warn_quality

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.state import State

#: Steps of stretch, and of defocus (rad, root mean square over the pupil).
STEPS = np.array([0.04, 0.2])
#: Farthest steps of both; fraction of pixels kept out of a run; its iterations.
_FAR, _SHARE, _RUN = np.array([5, 5]), 0.1, 40
#: Standard deviations, and stretch, from which a wrong scale is told; the error above
#: which a scan does not tell a tenth.
_SURE, _LEAST, _VAGUE = 3.5, 0.02, 0.025
#: Points, in steps from the middle, that determine a quadratic in both.
_AROUND = np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1)])
#: Counts of a pixel, at least, so that one stray photon does not decide.
_STRAY = 0.01


class FoundScale(NamedTuple):
    """Hold the stretch of positions that frames ask for, and its standard deviation."""

    stretch: float
    error: float


def tell_scale(
    experiment: Experiment, settings: Settings, state: State
) -> dict[str, float | str]:
    """Warn where frames ask for a stretch of positions; return what was found.

    Parameters
    ----------
    experiment, settings
        Experiment that was reconstructed, and how.
    state
        Its last state.

    Returns
    -------
    dict
        `position_scale` in words, and where it can be told `position_stretch` with
        `position_stretch_error`, as attributes of a result.
    """
    found = scale_of(replace(experiment, probe=to_numpy(state.probe)), settings)
    if not found.error < _VAGUE:
        return {"position_scale": "this scan does not tell its scale to a tenth"}
    numbers = {"position_stretch": found.stretch, "position_stretch_error": found.error}
    if abs(found.stretch) < max(_LEAST, _SURE * found.error):
        return {"position_scale": "as told", **numbers}
    stretch, pixel = 100 * found.stretch, 100 * (1 / (1 + found.stretch) - 1)
    warn_quality(
        f"ptycho: frames fit better where all positions are stretched by "
        f"{stretch:+.1f} ± {100 * found.error:.1f} %, as if the object's pixel were "
        f"another by {pixel:+.0f} %: look at distance, pixel_pitch, energy and the "
        "motors' units, at the focus of the first probe, and correct positions: "
        "schedule=Schedule(positions_from=5)"
    )
    return {"position_scale": "off", **numbers}


def scale_of(experiment: Experiment, settings: Settings) -> FoundScale:
    """Return the stretch at the least deviance, its error by a jackknife of frames.

    The deviance around its minimum is a quadratic in stretch and defocus. Where no
    minimum is found within reach, the error is infinite.
    """
    runs = _ShortRuns(trial_of(experiment), settings)
    middle = np.zeros(2, int)
    nothing = FoundScale(float("nan"), float("inf"))
    for _ in range(2 * int(_FAR.max())):
        deviance = np.stack([runs.deviance(middle + p) for p in _AROUND])
        if not np.isfinite(deviance).all():
            return nothing
        total = deviance.sum(axis=1)
        place, curved, lowest = _minimum(total)
        if lowest and np.abs(place).max() < 1:
            moved, bent, _ = _minimum(total[:, None] - deviance)
            j = deviance.shape[1]
            spread, chance = (np.sqrt((j - 1) * np.var(v)) for v in (moved[0], bent))
            if curved < _SURE * chance:  # a minimum that noise alone may dig
                return nothing
            stretch = STEPS[0] * (middle[0] + place[0])
            return FoundScale(float(stretch), float(STEPS[0] * spread))
        step = np.rint(np.clip(place, -2, 2)).astype(int)
        best = _AROUND[total.argmin()]
        middle = middle + (step if lowest and step.any() else best)
        if (np.abs(middle) > _FAR).any() or not (step.any() or best.any()):
            return nothing
    return nothing


def _minimum(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return the minimum (2, ...) of quadratics through `_AROUND`, if all have one.

    The second array is their curvature along stretch, at the best defocus of each.
    """
    x, y = _AROUND.T.astype(float)
    terms = np.stack([np.ones(6), x, y, x * x, x * y, y * y], axis=1)
    _, bx, by, xx, xy, yy = np.linalg.solve(terms, values.reshape(6, -1))
    det = 4 * xx * yy - xy * xy
    det = np.where(det == 0, 1e-300, det)
    place = np.stack([xy * by - 2 * yy * bx, xy * bx - 2 * xx * by]) / det
    shape = (2, *values.shape[1:])
    lowest = bool(np.all((det > 0) & (xx > 0)))
    return place.reshape(shape), det / np.where(yy == 0, 1e-300, yy), lowest


class _ShortRuns:
    """Hold short runs at steps of stretch and defocus, and their free deviance."""

    def __init__(self, few: Experiment, settings: Settings) -> None:
        assert few.held is not None, "a trial holds its frames"
        self._few = few
        self._counts = few.held.astype(np.float32)
        known = (self._counts >= 0) & (few.weight > 0)
        rng = np.random.default_rng(0)
        self._free = known & (rng.random(known.shape) < _SHARE)
        fitted = np.where(self._free, UNKNOWN, self._counts)
        self._fitted = replace(few, held=fitted)
        self._settings = replace(
            settings,
            engine=LSQML(),
            iterations=_RUN,
            schedule=Schedule(),
            block=None,
            streamed=False,
            device="cpu",
        )
        self._done: dict[tuple[int, ...], np.ndarray] = {}

    def deviance(self, steps: np.ndarray) -> np.ndarray:
        """Return the deviance (j,) of the pixels that were kept out."""
        key = tuple(int(k) for k in steps)
        if key not in self._done:
            stretch, defocus = STEPS * steps
            self._done[key] = self._run(float(stretch), float(defocus))
        return self._done[key]

    def _run(self, stretch: float, defocus: float) -> np.ndarray:
        from batteryxr.cdi.ptycho.kernels.metrics import poisson_misfit
        from batteryxr.cdi.ptycho.kernels.propagation import Predicted

        few = self._fitted
        n, j = len(few.weight), len(few.corners)
        moved = replace(
            few,
            probe=_defocused(np.asarray(few.probe), defocus),
            **room(few.corners * (1 + stretch), n, few.pixel),
        )
        try:
            state = first_state(moved, self._settings)
            state = reconstruct(moved, self._settings, state)
        except ConvergenceError:
            return np.full(j, np.inf)
        predicted = Predicted(state, moved.near)
        return np.array([
            2 * poisson_misfit(
                predicted(k)[self._free[k]] + _STRAY, self._counts[k][self._free[k]]
            ).sum()
            for k in range(j)
        ])  # fmt: skip


def _defocused(probe: np.ndarray, phase: float) -> np.ndarray:
    """Return a probe (m, n, n) put out of focus; `phase` is the rms of that change."""
    if not phase:
        return probe
    far = np.fft.fft2(probe)
    square = np.fft.fftfreq(probe.shape[-1]) ** 2
    radius = square[:, None] + square[None, :]
    light = np.sum(np.abs(far) ** 2, axis=0)
    light /= light.sum()
    radius = radius - np.sum(light * radius)
    radius /= np.sqrt(np.sum(light * radius**2))
    return np.asarray(np.fft.ifft2(far * np.exp(1j * phase * radius)))
