"""Simulate the photon counts of an object's coherent diffraction pattern."""

from __future__ import annotations

import numpy as np


def pattern(obj: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    """Return photon counts of an object's pattern, float32, centred at ``n // 2``."""
    import scipy.fft

    field = scipy.fft.fftshift(scipy.fft.fftn(scipy.fft.ifftshift(obj)))
    mean = np.abs(field).astype(float) ** 2
    mean *= photons / mean.sum()
    return rng.poisson(mean).astype(np.float32)
