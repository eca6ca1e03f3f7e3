"""A measured pattern prepared for phase retrieval, and how well an object fits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from batteryxr.cdi.bragg.kernels import metrics
from batteryxr.cdi.bragg.kernels.coherence import Coherence
from batteryxr.cdi.bragg.kernels.free import free_voxels
from batteryxr.cdi.bragg.kernels.support import autocorrelation_support
from batteryxr.cdi.fourier import Fourier


@dataclass(frozen=True)
class Pattern:
    """Hold a pattern prepared for phase retrieval, with the origin in the corner.

    Parameters
    ----------
    intensity
        Counts, float32; 0 where nothing was measured.
    used
        Measured voxels that the retrieval sees.
    free
        Measured voxels that are held out.
    support
        Initial support.
    initial
        Object to start from, complex64; None for random ones.
    left_out
        Number of pixels in gaps of zeros, taken as not measured.
    photons
        Sum of the counts as they were passed.
    """

    intensity: np.ndarray
    used: np.ndarray
    free: np.ndarray
    support: np.ndarray
    initial: np.ndarray | None = None
    left_out: int = 0
    photons: float = 0.0


def prepare(
    intensity: np.ndarray,
    rng: np.random.Generator,
    *,
    free: float = 0.05,
    support: np.ndarray | None = None,
    initial: np.ndarray | None = None,
) -> Pattern:
    """Prepare a measured pattern for phase retrieval.

    Parameters
    ----------
    intensity
        Counts; NaN where nothing was measured; origin at ``n // 2``.
    rng
        Random generator that chooses the free voxels.
    free
        Fraction of free voxels.
    support, initial
        Initial support and object, origin at ``n // 2``. Without a support it is taken
        from the object's modulus, else from the autocorrelation.
    """
    volume = np.fft.ifftshift(np.asarray(intensity, np.float32))
    measured = np.isfinite(volume)
    counts = np.where(measured, np.maximum(volume, 0), np.float32(0))
    held = free_voxels(volume.shape, rng, fraction=free) & measured
    if initial is not None:
        initial = np.fft.ifftshift(np.asarray(initial, np.complex64))
        if support is None:
            modulus = np.abs(initial)
            support = np.fft.fftshift(modulus > 0.1 * modulus.max())
    seen = np.where(held, np.float32(0), counts)
    if support is None:
        first = autocorrelation_support(seen) if seen.any() else seen > 0
    else:
        first = np.fft.ifftshift(np.asarray(support, bool))
        if initial is None:  # centre it, so that half supports can cut it
            first = rolled(first, [-c for c in centre(first)])
    return Pattern(counts, measured & ~held, held, first, initial)


def judge(
    pattern: Pattern, rho: np.ndarray, blur: np.ndarray | None = None
) -> dict[str, float]:
    """Return the figures of merit of an object, origin in the corner."""
    spectrum = Fourier(rho).forward(rho.astype(np.complex64))
    calculated: Any = np.abs(spectrum) ** 2
    if blur is not None:
        calculated = blurred(calculated, blur)
    used, observed = pattern.used, pattern.intensity
    calculated *= np.float32(metrics.matched_scale(calculated, observed, used))
    return {
        "amp_residual": metrics.amplitude_residual(
            np.sqrt(calculated), np.sqrt(observed), used
        ),
        "chi2": metrics.chi2(observed, calculated, used),
        "llk": metrics.log_likelihood(calculated, observed, used),
        "llk_free": metrics.log_likelihood(calculated, observed, pattern.free),
    }


def blurred(intensity: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Return an intensity behind a blur by partial coherence."""
    coherence = Coherence(intensity)
    coherence.take(blur)
    return np.asarray(coherence.blur(intensity))


def centre(support: np.ndarray) -> tuple[int, ...]:
    """Return the centre of a support on a periodic array, in whole voxels."""
    found = []
    for axis, n in enumerate(support.shape):
        others = tuple(a for a in range(support.ndim) if a != axis)
        profile = support.sum(axis=others)
        angle = np.angle(profile @ np.exp(2j * np.pi * np.arange(n) / n))
        found.append(round(angle / (2 * np.pi) * n) % n)
    return tuple(found)


def rolled(array: np.ndarray, move: list[int]) -> np.ndarray:
    """Return a periodic array moved by whole voxels along each axis."""
    return np.roll(array, move, tuple(range(array.ndim)))
