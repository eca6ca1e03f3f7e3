"""An experiment: a scan at one energy as plain arrays, checked and read once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.ptycho.scan import FRAME, geometry_of
from batteryxr.core.errors import DataError, DimensionError
from batteryxr.core.model import require_variables

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.cdi.ptycho.scan import Geometry

#: Room round the object for positions that move, in pixels.
MARGIN = 6
_PROBE = "(.cdi.ptycho_probe makes one)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """What a reconstruction is made from; it travels to a worker as it is.

    Parameters
    ----------
    frames : (position, n, n)
        Counts as stored, the direct beam in the middle; an array that may be lazy.
    weight : (n, n)
        1 where a detector pixel counts, 0 where it does not; origin in the corner.
    corners : (position, 2)
        Upper left corner of each frame's patch, in pixels of the object.
    y, x
        Axes of the object, nm.
    pixel
        Size of the object's pixel, nm.
    energy
        Of the light, eV.
    probe : (mode, n, n) or None
        The first guess; an array that may be lazy.
    """

    frames: Any
    weight: np.ndarray
    corners: np.ndarray
    y: np.ndarray
    x: np.ndarray
    pixel: float
    energy: float
    probe: Any = None

    def __post_init__(self) -> None:
        if not self.weight.any():
            raise DataError("mask", "no pixel counts", "Set it to 0 where pixels work.")


def lateral(n: int, pixel: float) -> np.ndarray:
    """Return the axis of a probe of `n` pixels in nm, 0 in the middle."""
    return (np.arange(n) - n // 2) * pixel


def experiment_of(scan: xr.Dataset, *, caller: str, probe: bool = True) -> Experiment:
    """Return the experiment of a labelled scan of one energy.

    Parameters
    ----------
    scan
        See `ptycho_scan`.
    caller
        Public function that asks, for messages.
    probe
        Whether there must be a first guess of it.

    Raises
    ------
    DataError, DimensionError, UnitsError, VariableError
        If the scan is not one of ptychography, or of several energies.
    """
    geometry = geometry_of(scan, caller=caller)
    frames = scan["frames"].variable
    if "energy" in frames.dims:
        raise DimensionError(
            f"{caller} works on one energy; found {scan.sizes['energy']}. Choose one "
            "with .isel(energy=0), or reconstruct all with .cdi.ptycho_energies(...)."
        )
    if probe:
        require_variables(scan, ["probe"], caller=f"{caller} {_PROBE}")
    first = scan["probe"].variable if "probe" in scan else None
    return _experiment(frames, first, _weight(scan, geometry.n), geometry)


def experiments_of(scan: xr.Dataset, *, caller: str) -> list[Experiment]:
    """Return the experiments of a scan along `energy`; see `experiment_of`."""
    geometry = geometry_of(scan, caller=caller)
    frames = scan["frames"].variable
    if "energy" not in frames.dims:
        raise DimensionError(
            f"{caller} needs frames along 'energy'; for one energy use ptycho, "
            "or .expand_dims('energy') on the frames."
        )
    if np.any(np.diff(geometry.energy) <= 0):
        raise DataError("energy", "not rising", "Use .sortby('energy').")
    require_variables(scan, ["probe"], caller=f"{caller} {_PROBE}")
    probe = scan["probe"].variable
    each = "energy" in probe.dims
    weight = _weight(scan, geometry.n)
    return [
        _experiment(
            frames.isel(energy=k),
            probe.isel(energy=k) if each else probe,
            weight,
            geometry.at(k),
        )
        for k in range(scan.sizes["energy"])
    ]


def _weight(scan: xr.Dataset, n: int) -> np.ndarray:
    if "mask" not in scan:
        return np.ones((n, n), np.float32)
    return np.fft.ifftshift((scan["mask"].values == 0).astype(np.float32))


def _experiment(
    frames: xr.Variable, probe: Any, weight: np.ndarray, geometry: Geometry
) -> Experiment:
    from batteryxr.cdi.ptycho.kernels.state import frame_of

    n, pixel = geometry.n, float(geometry.pixel)
    corners = geometry.positions / pixel - n // 2
    shape, origin = frame_of(corners, n, MARGIN)
    y, x = (
        (first + np.arange(m)) * pixel for first, m in zip(origin, shape, strict=True)
    )
    return Experiment(
        frames=frames.transpose(*FRAME),
        weight=weight,
        corners=corners - origin,
        y=y,
        x=x,
        pixel=pixel,
        energy=float(geometry.energy),
        probe=probe,
    )
