"""Where the beam meets no sample: the brightest part of the field, well inside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.cdi.ptycho.kernels.alignment import flattened
from batteryxr.core.errors import ConvergenceError

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.kernels.images import Images


def find_vacuum(fields: Images, inside: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Return where the objects are most transparent, well away from the rest.

    Parameters
    ----------
    fields
        The objects.
    inside : (y, x)
        Where their phases can be trusted.
    field : (y, x)
        Their mean.

    Raises
    ------
    ConvergenceError
        If hardly any such place is there.
    """
    from scipy import ndimage

    mean = np.zeros(inside.shape)
    for k in range(len(fields)):
        modulus = np.abs(fields.read(k))
        mean += modulus / np.percentile(modulus[inside], 90) / len(fields)
    smooth = ndimage.gaussian_filter(np.where(inside, mean, mean[inside].max()), 1.5)
    bright = (smooth > _otsu(smooth[inside])) & inside
    empty = ndimage.binary_erosion(bright, iterations=3)
    empty = _without_skirt(field, bright, empty)
    if empty.sum() < 0.02 * inside.sum():
        raise ConvergenceError(
            "hardly any vacuum was found in the field. Pass registration="
            "Registration(vacuum=image): True where the beam meets no sample."
        )
    return empty


def _without_skirt(
    field: np.ndarray, bright: np.ndarray, empty: np.ndarray
) -> np.ndarray:
    """Return the part of `bright` where also the phase is that of vacuum.

    The phase sees the thin rim of a particle that the modulus does not.
    """
    from scipy import ndimage

    for _ in range(5):
        if empty.sum() < 3:
            return empty
        phase = np.angle(flattened(field, empty.astype(float)))
        phase = ndimage.gaussian_filter(phase, 1.0)
        middle = np.median(phase[empty])
        spread = 1.4826 * np.median(np.abs(phase[empty] - middle))
        calm = bright & (np.abs(phase - middle) < 2.0 * spread)
        empty = ndimage.binary_opening(calm, iterations=2)
    return empty


def _otsu(values: np.ndarray) -> float:
    """Return the value that parts `values` into the two tightest groups (Otsu 1979)."""
    counts, edges = np.histogram(values, 256)
    centres = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts)
    above = below[-1] - below
    first = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = (first / below - (first[-1] - first) / above) ** 2
    return float(centres[np.nanargmax(below * above * apart)])
