"""Partial coherence: an estimate of how the coherent intensity is blurred.

Clark, Huang, Harder & Robinson, Nat. Commun. 3, 993 (2012): the blur is estimated
together with the object, by Richardson-Lucy deconvolution.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from batteryxr.core.device import to_device_of

if TYPE_CHECKING:
    from batteryxr.core.kernels.arrays import Array

#: Largest reach of a blur, in voxels.
REACH = 6


class Coherence:
    """Estimate of the blur of a pattern.

    Parameters
    ----------
    amplitude
        Square root of the measured intensity, float32, origin in the corner; negative
        where nothing was measured: these voxels do not enter the estimate.
    reach
        Largest reach of the blur, in voxels.
    sigma
        Width of the Gaussian that is the first estimate, in voxels.
    iterations
        Richardson-Lucy iterations per update.
    workers
        Threads per transform of NumPy arrays.
    """

    def __init__(
        self,
        amplitude: Array,
        *,
        reach: int = REACH,
        sigma: float = 0.7,
        iterations: int = 20,
        workers: int = 1,
    ) -> None:
        self._amplitude = amplitude
        self._iterations = iterations
        self._fft = _RealFourier(amplitude, workers)
        self._start = to_device_of(amplitude, _gaussian(amplitude.shape, reach, sigma))
        #: Current estimate: sums to 1, origin in the corner; None before the first.
        self.kernel: Array | None = None
        self._transfer: Array | None = None

    def blur(self, intensity: Array) -> Array:
        """Blur a coherent intensity with the current estimate."""
        if self.kernel is None:
            return intensity
        xp = array_namespace(intensity)
        blurred = self._fft.backward(self._fft.forward(intensity) * self._transfer)
        # Rounding leaves values just below 0 where the coherent intensity is near 0.
        return xp.maximum(blurred, 1e-7 * xp.mean(blurred))

    def update(self, intensity: Array) -> None:
        """Improve the estimate with the coherent intensity of the current object."""
        xp = array_namespace(intensity)
        if self.kernel is None:
            self.take(self._start)
        amplitude = self._amplitude
        measured = amplitude >= 0
        target = amplitude**2
        power = xp.sum(xp.where(measured, target, 0.0)) / xp.sum(
            xp.where(measured, intensity, 0.0)
        )
        spectrum = self._fft.forward(intensity * power)
        mirrored = xp.conj(spectrum)
        total = float(xp.sum(intensity * power))
        floor = 1e-6 * total / math.prod(amplitude.shape)
        one = xp.ones_like(target)
        for _ in range(self._iterations):
            blurred = self._fft.backward(spectrum * self._transfer)
            ratio = xp.where(measured, target / xp.maximum(blurred, floor), one)
            gain = self._fft.backward(self._fft.forward(ratio) * mirrored) / total
            self.take(_centred(self.kernel * xp.maximum(gain, 0.0)))

    def take(self, kernel: Array) -> None:
        """Set `kernel` as the current estimate."""
        xp = array_namespace(kernel)
        self.kernel = kernel / xp.sum(kernel)
        self._transfer = self._fft.forward(self.kernel)


class _RealFourier:
    """Transform real arrays; NumPy arrays use scipy, which keeps float32."""

    def __init__(self, like: Array, workers: int) -> None:
        self._shape = tuple(like.shape)
        self._options: dict[str, Any] = {}
        if is_numpy_array(like):
            import scipy.fft

            self._fft: Any = scipy.fft
            self._options = {"workers": workers}
        else:
            self._fft = array_namespace(like).fft
        self._axes = tuple(range(like.ndim))

    def forward(self, array: Array) -> Array:
        return self._fft.rfftn(array, axes=self._axes, **self._options)

    def backward(self, array: Array) -> Array:
        return self._fft.irfftn(array, s=self._shape, axes=self._axes, **self._options)


def _centred(kernel: Array) -> Array:
    # A shifted blur and a phase ramp of the object have the same effect on the
    # intensity: take the symmetric blur.
    xp = array_namespace(kernel)
    axes = tuple(range(kernel.ndim))
    mirrored = xp.roll(xp.flip(kernel, axis=axes), (1,) * kernel.ndim, axis=axes)
    return 0.5 * (kernel + mirrored)


def _gaussian(shape: tuple[int, ...], reach: int, sigma: float) -> np.ndarray:
    kernel = np.ones((1,) * len(shape), np.float32)
    for axis, n in enumerate(shape):
        distance = np.fft.fftfreq(n, 1.0 / n)
        line = np.exp(-0.5 * (distance / sigma) ** 2) + 1e-3
        line[np.abs(distance) > min(reach, (n - 1) // 2)] = 0.0
        kernel = kernel * line.reshape(
            [-1 if a == axis else 1 for a in range(len(shape))]
        ).astype(np.float32)
    return kernel / kernel.sum()
