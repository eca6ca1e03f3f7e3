"""Propagation from the exit wave to the detector and back, in far or near field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.fourier import Fourier
from batteryxr.cdi.ptycho.kernels.state import Shifter
from batteryxr.core.device import to_device_of, to_numpy

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.kernels.state import State
    from batteryxr.core.kernels.arrays import Array


class Propagation:
    """Propagate exit waves (..., n, n) to the detector, with origin in the corner.

    Neither direction is scaled: ``backward(forward(x))`` is ``size * x``. In the near
    field the wave passes a Fresnel propagator of the same sampling (Paganin, Coherent
    X-Ray Optics, Oxford 2006, section 1.4); an expanding beam counts as a parallel one
    over a shorter way.

    Parameters
    ----------
    like
        An array of the namespace, device and shape that will be propagated.
    near
        λ z / pixel² of the near field; 0: far field.
    """

    def __init__(self, like: Array, near: float = 0.0) -> None:
        self._fourier = Fourier(like, axes=(-2, -1), repeatable=True)
        self.size = self._fourier.size
        self._there: Any = None
        if near:
            there = near_kernel(like.shape[-1], near) / like.shape[-1]
            self._there = to_device_of(like, there.astype(np.complex64))
            self._back = to_device_of(like, np.conj(there).astype(np.complex64))

    def forward(self, field: Array) -> Array:
        """Return the wave on the detector; `field` may be overwritten."""
        if self._there is None:
            return self._fourier.forward(field)
        return self._fourier.backward(self._fourier.forward(field) * self._there)

    def backward(self, field: Array) -> Array:
        """Return the exit wave times `size`; may overwrite `field`."""
        if self._there is None:
            return self._fourier.backward(field)
        return self._fourier.backward(self._fourier.forward(field) * self._back)


def near_kernel(n: int, near: float) -> np.ndarray:
    """Return the factor (n, n) of transforms in the near field.

    The resulting wave has its origin in the corner.
    """
    f = np.fft.fftfreq(n)
    line = np.exp(-1j * np.pi * near * f**2 + 2j * np.pi * f * (n // 2))
    return np.outer(line, line)


class Predicted:
    """Hold counts that a state predicts, frame by frame, origin in the corner."""

    def __init__(self, state: State, near: float = 0.0) -> None:
        self._corners, self._shifts = state.corners(), state.shifts()
        self._obj, probe = to_numpy(state.obj), to_numpy(state.probe)
        self._shifter, self._way = Shifter(probe), Propagation(probe, near)
        self._spectrum, self._out = self._shifter.forward(probe), np.empty_like(probe)
        fields = state.memory.get("variation", np.zeros((0, *probe.shape[1:])))
        self._fields = to_numpy(fields)
        self._shares = state.memory.get("variation_share")
        self._background: Any = state.memory.get("background", 0.0)
        self._light: Any = state.memory.get("intensity", np.ones(len(self._corners)))

    def __call__(self, j: int) -> np.ndarray:
        """Return the counts (n, n) of frame `j`."""
        spectrum = self._spectrum
        if self._shares is not None:
            part = np.zeros_like(self._out)
            part[0] = np.tensordot(to_numpy(self._shares)[j], self._fields, 1)
            spectrum = spectrum + self._shifter.forward(part)
        probe = self._shifter.shifted(spectrum, self._shifts[j], self._out)
        n = probe.shape[-1]
        y, x = self._corners[j]
        waves = self._way.forward(probe * self._obj[y : y + n, x : x + n]) / n
        total: np.ndarray = np.sum(np.abs(waves) ** 2, axis=0)
        return self._light[j] * (total + self._background)
