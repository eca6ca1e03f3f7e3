"""Supports of objects: initial support, shrink-wrap, and gaps.

All arrays have their origin in the corner, as in Fourier transforms.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from batteryxr.cdi.fourier import Fourier

if TYPE_CHECKING:
    from batteryxr.core.kernels.arrays import Array


#: Standard deviations above the mean outside that a voxel inside must exceed, but at
#: most this fraction of the rms inside.
_ABOVE, _AT_MOST = 3.0, 0.6


class LostSupport(Exception):
    """The support has vanished or fills the array: this start has failed."""


def autocorrelation_support(
    intensity: np.ndarray, *, threshold: float = 0.1
) -> np.ndarray:
    """Return an initial support from the autocorrelation of the object.

    The autocorrelation is the inverse transform of the intensity and reaches twice as
    far as the object. Smoothed by one voxel, its part above `threshold` that is
    connected with the centre contains the object.

    Parameters
    ----------
    intensity
        Measured intensity, float, any number of axes; unmeasured voxels 0.
    threshold
        Fraction of the maximum.

    Returns
    -------
    numpy.ndarray of bool
        Same shape.
    """
    import scipy.fft
    from scipy import ndimage

    spread = np.abs(scipy.fft.fftshift(scipy.fft.ifftn(intensity)))
    spread = ndimage.gaussian_filter(spread / spread.max(), 1.0, mode="wrap")
    centre = tuple(n // 2 for n in intensity.shape)
    near = spread > threshold
    near[centre] = True  # smoothing may put it below the threshold
    parts, _ = ndimage.label(near)
    return scipy.fft.ifftshift(parts == parts[centre])


def half(support: Array) -> Array:
    """Cut the support in half along each of the last two axes.

    A few iterations in the cut support favour one of the two conjugate twins, which the
    intensity cannot distinguish (Guizar-Sicairos & Fienup, JOSA A 29, 2367 (2012)).
    """
    xp = array_namespace(support)
    for axis in range(max(0, support.ndim - 2), support.ndim):
        n = support.shape[axis]
        index = xp.arange(n, device=support.device)
        keep = index < n // 2
        shape = [1] * support.ndim
        shape[axis] = n
        support = support & xp.reshape(keep, tuple(shape))
    return support


def gaps(missing: np.ndarray, minimum: int) -> np.ndarray:
    """Return the connected parts of a mask of at least `minimum` voxels."""
    from scipy import ndimage

    parts, _ = ndimage.label(missing)
    large = np.bincount(parts.ravel()) >= minimum
    large[0] = False
    return np.asarray(large[parts])


class Shrinking:
    """Update a support from the smoothed modulus of the object: shrink-wrap.

    Marchesini et al., Phys. Rev. B 68, 140101 (2003), with the threshold relative to
    the rms inside the current support, which does not follow a single bright voxel.

    Parameters
    ----------
    like
        An array of the namespace, device and shape of the objects.
    sigma
        Width of the smoothing in voxels, at the first and at the last update.
    threshold
        Fraction of the rms.
    fractions
        Smallest and largest fraction of the array that a support may fill.
    """

    def __init__(
        self,
        like: Array,
        *,
        sigma: tuple[float, float] = (2.0, 0.5),
        threshold: float = 0.25,
        fractions: tuple[float, float] = (1e-5, 0.7),
    ) -> None:
        self._fourier = Fourier(like)
        self._sigma, self._threshold, self._fractions = sigma, threshold, fractions

    def __call__(self, rho: Array, support: Array, progress: float) -> Array:
        """Return the next support.

        Parameters
        ----------
        rho
            Object, complex64.
        support
            Current support, bool.
        progress
            0 at the first update, 1 at the last.

        Raises
        ------
        LostSupport
            If the new support is smaller or larger than `fractions` allow.
        """
        xp = array_namespace(rho)
        first, last = self._sigma
        smooth = self._smoothed(
            xp.abs(rho), first + (last - first) * min(1.0, progress)
        )
        inside = xp.astype(support, smooth.dtype)
        count = float(xp.sum(inside))
        rms = math.sqrt(float(xp.sum(smooth**2 * inside)) / count)
        limit = max(self._threshold * rms, min(_noise(smooth, inside), _AT_MOST * rms))
        new = smooth > limit
        filled = float(xp.sum(xp.astype(new, smooth.dtype))) / math.prod(rho.shape)
        if not self._fractions[0] <= filled <= self._fractions[1]:
            raise LostSupport(f"the support fills {filled:.2g} of the array")
        return new

    def _smoothed(self, modulus: Array, sigma: float) -> Array:
        if is_numpy_array(modulus):
            from scipy import ndimage

            return ndimage.gaussian_filter(modulus, sigma, mode="wrap", truncate=3.0)
        xp = array_namespace(modulus)
        field = self._fourier.forward(xp.astype(modulus, xp.complex64))
        for axis, n in enumerate(modulus.shape):
            f = xp.fft.fftfreq(n, device=modulus.device)
            window = xp.exp(-2.0 * (math.pi * sigma * f) ** 2)
            shape = [1] * modulus.ndim
            shape[axis] = n
            field = field * xp.astype(xp.reshape(window, tuple(shape)), xp.float32)
        return xp.real(self._fourier.backward(field)) / self._fourier.size


def _noise(smooth: Array, inside: Array) -> float:
    """Return a level that noise outside the support hardly ever exceeds."""
    xp = array_namespace(smooth)
    count = math.prod(smooth.shape) - float(xp.sum(inside))
    if count < 1:
        return -math.inf
    outside = smooth * (1 - inside)
    mean = float(xp.sum(outside)) / count
    variance = float(xp.sum(outside**2)) / count - mean**2
    return mean + _ABOVE * math.sqrt(max(variance, 0.0))


def body(
    amplitude: np.ndarray, around: np.ndarray, *, threshold: float = 0.5
) -> np.ndarray:
    """Find the crystal from its amplitude relative to that of its core.

    Parameters
    ----------
    amplitude
        (i, j, k) modulus.
    around
        (i, j, k) bool, a support that may be too large.
    threshold
        Fraction of the core's amplitude: half lies on the surface, however blurred it
        is.
    """
    from scipy import ndimage

    inside = around & (amplitude > 0)
    if not inside.any():
        return inside
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1]
    bulk = np.median(amplitude[depth > 0.5 * depth.max()])
    dense = inside & (amplitude > threshold * bulk)
    number, n = ndimage.label(dense)
    if n == 0:
        return dense
    sizes = ndimage.sum_labels(dense, number, np.arange(1, n + 1))
    return ndimage.binary_fill_holes(number == 1 + int(np.argmax(sizes)))
