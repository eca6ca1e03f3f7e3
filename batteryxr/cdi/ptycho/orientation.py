"""Orientation and scale of positions relative to the frames."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.cdi.ptycho.examine import examined
from batteryxr.cdi.ptycho.experiment import experiment_of
from batteryxr.cdi.ptycho.trial import residual_of, room, trial_of
from batteryxr.core.errors import warn_quality
from batteryxr.core.model import attributes
from batteryxr.core.progress import bar
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.core.checks import Count, Seed

#: Ratio of the best residual to the second below which the answer is sure.
_SURE = 0.93
#: Stretch or turn (rad) of corrected positions from which to warn.
_STRETCH = 0.01
#: Correction of a coordinate, in pixels, that gradients make surely.
_CAPTURED = 2.0


class Way(NamedTuple):
    """Hold sources of y and x: which of both, and its sign."""

    axes: tuple[int, int]
    signs: tuple[int, int]

    @property
    def names(self) -> tuple[str, str]:
        """Return the names as `read_ptychography` takes them for `sign`."""
        y, x = ("-" * (s < 0) + "yx"[a] for a, s in zip(*self, strict=True))
        return y, x


#: All eight, as they are first.
WAYS = [Way(axes, (y, x)) for axes, y, x in product(((0, 1), (1, 0)), (1, -1), (1, -1))]


@recorded
def orientation(
    scan: xr.Dataset,
    *,
    iterations: Count = 24,
    seed: Seed = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Rank the eight orientations of positions relative to the frames.

    Reads once. A motor that runs against the detector's rows, or swapped axes, give a
    wrong object whose residual still looks fine; a comparison with the other ways shows
    the error. At most 64 frames in the middle of the scan are tried, on the middle of
    the detector, in seconds.

    Parameters
    ----------
    scan
        Scan of one energy, with an initial `probe`; see `ptycho`. The answer is surer
        for a probe near the real one: two ways that differ in both signs fit frames
        equally well with a conjugate probe.
    iterations
        Iterations of each way.
    seed
        Seed of the order of frames.
    progress
        Show a progress bar; None shows it in terminals and notebooks only.

    Returns
    -------
    xarray.Dataset
        Along `way`, best first: `residual`, and the names of the sources `taken_y` and
        `taken_x`. ``attrs["sign"]`` is the best way, as `read_ptychography` takes it;
        ``("y", "x")`` means that all is well.

    Raises
    ------
    DataError, DimensionError, UnitsError, VariableError
        If the scan is no scan of ptychography.

    Warns
    -----
    DataQualityWarning
        If the second way fits nearly as well.

    Examples
    --------
    >>> scan, _ = batteryxr.simulate.ptychography(energy=5470, positions=5, size=32)
    >>> scan = scan.isel(energy=0)
    >>> ranked = scan.cdi.orientation(iterations=8)
    >>> list(ranked.attrs["sign"])
    ['y', 'x']
    """
    few = trial_of(examined(experiment_of(scan, caller="orientation")))
    found = np.full(len(WAYS), np.inf)
    with bar(None, "Turning", total=len(WAYS), progress=progress) as shown:
        for k, way in enumerate(WAYS):
            found[k] = residual_of(
                _turned(few, way), iterations, seed, probe_from=iterations // 2
            )
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


def _turned(experiment: Experiment, way: Way) -> Experiment:
    corners = experiment.corners[:, way.axes] * np.array(way.signs)
    n, pixel = len(experiment.weight), experiment.pixel
    return replace(experiment, **room(corners, n, pixel))


def tell_stretch(
    found: np.ndarray, told: np.ndarray, pixel: float, reach: float
) -> None:
    """Warn where corrections stretch, turn or move positions more than is trusted.

    Parameters
    ----------
    found, told : (position, 2)
        Corrected and nominal positions, in pixels.
    pixel
        Size of a pixel, nm.
    reach
        Error of a coordinate for which positions were searched, nm.
    """
    from batteryxr.cdi.ptycho.kernels.motion import stretch_of

    fit = stretch_of(told, found - told)
    if fit is None:
        return
    (y, turned), (turned_x, x) = fit.matrix
    if np.abs(fit.matrix).max() > _STRETCH and fit.clear:
        turn = np.degrees(max(abs(turned), abs(turned_x)))
        warn_quality(
            f"ptycho: positions were stretched by {100 * y:+.2g} % in y and "
            f"{100 * x:+.2g} % in x, turned or sheared by {turn:.2g}"
            "°: are distance, pixel_pitch, energy and the motors' units right? If they "
            "are, the first probe is off: correct positions later, or take more passes"
        )
    if fit.rest > _CAPTURED and not reach:
        warn_quality(
            f"ptycho: positions were moved by {fit.rest * pixel:.3g} nm in y and x "
            f"({fit.rest:.2g} pixels, standard deviation), and gradients alone often "
            "stop halfway from so far. Search for them first: "
            f"schedule=Schedule(positions_reach={3 * fit.rest * pixel:.2g}, "
            "positions_from=...)"
        )
