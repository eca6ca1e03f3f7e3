"""Which way round positions lie to the frames: short runs in all eight ways."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.cdi.ptycho.engines import LSQML
from batteryxr.cdi.ptycho.examine import examined
from batteryxr.cdi.ptycho.experiment import MARGIN, experiment_of
from batteryxr.cdi.ptycho.reconstruct import first_state, reconstruct
from batteryxr.cdi.ptycho.settings import Schedule, Settings
from batteryxr.core.errors import ConvergenceError, warn_quality
from batteryxr.core.model import attributes
from batteryxr.core.progress import bar
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.core.checks import Count, Seed

#: Frames, and detector pixels along a side, that tell the way as well as more would.
_FRAMES, _PIXELS = 64, 96
#: The best must leave so much less than the second for the answer to be sure.
_SURE = 0.93


class Way(NamedTuple):
    """What is taken for y and for x: which of both, and its sign."""

    axes: tuple[int, int]
    signs: tuple[int, int]

    @property
    def names(self) -> tuple[str, str]:
        """As `read_ptychography` takes them for `sign`."""
        y, x = ("-" * (s < 0) + "yx"[a] for a, s in zip(*self, strict=True))
        return y, x


#: All eight, as they are first.
WAYS = [Way(a, s) for a, s in product(((0, 1), (1, 0)), product((1, -1), repeat=2))]


@recorded
def orientation(
    scan: xr.Dataset,
    *,
    iterations: Count = 24,
    seed: Seed = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Rank the eight ways in which positions may lie to the frames.

    Reads once. A motor that runs against the detector's rows, or axes that are
    swapped, give a wrong object whose residual still looks fine; beside the others it
    does not. At most 64 frames in the middle of the scan are tried, on the middle of
    the detector, in seconds.

    Parameters
    ----------
    scan
        Of one energy, with a first `probe`; see `ptycho`. The nearer the probe is to
        the real one, the surer is the answer: two ways that differ in both signs fit
        frames alike, with a conjugate probe.
    iterations
        Passes of each way.
    seed
        Of the order of frames.
    progress
        Show a bar: True, False, or None for only where somebody watches.

    Returns
    -------
    xarray.Dataset
        Along `way`, best first: `residual`, and the names of what is to be `taken_y`
        and `taken_x`. ``attrs["sign"]`` is the best, as `read_ptychography` takes it;
        ``("y", "x")`` means that all is well.

    Raises
    ------
    DataError, DimensionError, UnitsError, VariableError
        If the scan is not one of ptychography.

    Warns
    -----
    DataQualityWarning
        If the second fits nearly as well.

    Examples
    --------
    >>> sign = scan.cdi.orientation().attrs["sign"]
    >>> scan = read_ptychography("scan.h5", sign=tuple(sign))
    """
    whole = examined(experiment_of(scan, caller="orientation"))
    few = _coarse(_middle(whole))
    few = examined(replace(few, seen=None), hold=True)
    found = np.full(len(WAYS), np.inf)
    with bar(None, "Turning", total=len(WAYS), progress=progress) as shown:
        for k, way in enumerate(WAYS):
            found[k] = _residual(_turned(few, way), iterations, seed)
            shown.update(1)
    order = np.argsort(found)
    best, second = found[order[:2]]
    if not best < _SURE * second:
        names = [WAYS[k].names for k in order[:2]]
        warn_quality(
            f"orientation: {names[0]} and {names[1]} fit nearly alike, residuals "
            f"{best:.3g} and {second:.3g}: take a better probe, or more iterations"
        )
    taken = np.array([WAYS[k].names for k in order])
    values: dict[str, tuple[Any, str]] = {
        "residual": (found[order], "Σ(|F| - √I)² / ΣI"),
        "taken_y": (taken[:, 0], "What y is"),
        "taken_x": (taken[:, 1], "What x is"),
    }
    result = xr.Dataset(
        {
            name: ("way", v, attributes(name, units="1", long_name=long_name))
            for name, (v, long_name) in values.items()
        },
        coords={
            "way": ("way", np.arange(1, 9), {"units": "1", "long_name": "Rank"}),
        },
    )
    result.attrs["sign"] = list(WAYS[order[0]].names)
    return result


def _middle(experiment: Experiment) -> Experiment:
    """Return the frames in the middle of the scan, about which others lie closely."""
    away = experiment.corners - np.median(experiment.corners, axis=0)
    order = np.argsort(np.hypot(*away.T), kind="stable")[:_FRAMES]
    return experiment.only(np.sort(order))


def _coarse(experiment: Experiment) -> Experiment:
    """Return an experiment on the middle of the detector: larger pixels, same field."""
    n = len(experiment.weight)
    if n <= _PIXELS:
        return experiment
    low = n // 2 - _PIXELS // 2
    part = slice(low, low + _PIXELS)
    scale = _PIXELS / n
    probe = np.asarray(experiment.probe)
    far = np.fft.fftshift(np.fft.fft2(probe), axes=(-2, -1))[..., part, part]
    small = np.fft.ifft2(np.fft.ifftshift(far, axes=(-2, -1)))
    weight = np.fft.fftshift(experiment.weight)[part, part]
    ignored = experiment.ignored
    return replace(
        experiment,
        frames=experiment.frames[:, part, part],
        ignored=None if ignored is None else ignored[:, part, part],
        weight=np.fft.ifftshift(weight),
        probe=small,
        pixel=experiment.pixel / scale,
        **_room(experiment.corners * scale, _PIXELS, experiment.pixel / scale),
    )


def _room(corners: np.ndarray, n: int, pixel: float) -> dict[str, Any]:
    """Return corners on an object of their own, and its axes."""
    from batteryxr.cdi.ptycho.kernels.state import frame_of

    shape, origin = frame_of(corners, n, MARGIN)
    y, x = (np.arange(m) * pixel for m in shape)
    return {"corners": corners - origin, "y": y, "x": x}


def _turned(experiment: Experiment, way: Way) -> Experiment:
    corners = experiment.corners[:, way.axes] * np.array(way.signs)
    n, pixel = len(experiment.weight), experiment.pixel
    return replace(experiment, **_room(corners, n, pixel))


def _residual(experiment: Experiment, iterations: int, seed: int) -> float:
    """Return what a short run leaves."""
    settings = Settings(
        engine=LSQML(),
        iterations=iterations,
        schedule=Schedule(probe_from=iterations // 2),
        seed=(seed,),
    )
    try:
        state = reconstruct(experiment, settings, first_state(experiment, settings))
    except ConvergenceError:
        return float("inf")
    return float(state.residuals()[-1])
