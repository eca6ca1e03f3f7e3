"""How the noise of neighbouring points adds up.

Points of a pattern seldom err on their own: G(r) is a transform, detectors blur, and
spectra are interpolated. A weight is a sum over points, so that its error grows where
they err together (sandwich estimator: White, Econometrica 48, 817, 1980).
"""

from __future__ import annotations

import numpy as np


def autocorrelation(rest: np.ndarray) -> np.ndarray:
    """Return the correlation of residuals (scans, points) by distance, up to zero.

    It begins with one, and has no more for noise without memory or no residual.
    """
    size = rest.shape[-1]
    power = np.abs(np.fft.rfft(np.atleast_2d(rest), 2 * size)) ** 2
    alike = np.fft.irfft(power.sum(axis=0), 2 * size)[:size]
    if alike[0] <= 0.0:
        return np.ones(1)
    ends = np.flatnonzero(alike <= 0.0)
    first = int(ends[0]) if ends.size else alike.size
    return np.asarray(alike[:first] / alike[0])


def together(rest: np.ndarray) -> float:
    """Return how many neighbours on the last axis count as one point; 1 for noise."""
    return 2.0 * float(autocorrelation(rest).sum()) - 1.0


def adding_up(rest: np.ndarray, components: np.ndarray, *, closure: bool) -> float:
    """Return the variance of weights over that for noise without memory, at least 1.

    Parameters
    ----------
    rest
        (samples, points) residuals.
    components
        (k, points), in units of the noise of each point.
    closure
        Whether weights sum to one.
    """
    k, points = components.shape
    rows = components - components.mean(axis=0) if closure and k > 1 else components
    back = np.linalg.pinv(rows)  # how each point enters each weight
    alike = autocorrelation(rest)
    power = np.abs(np.fft.rfft(back.T, 2 * points)) ** 2
    own = np.fft.irfft(power, 2 * points)[:, : alike.size].sum(axis=0)
    if own[0] <= 0.0:
        return 1.0
    return max(2.0 * float(alike @ own / own[0]) - 1.0, 1.0)


def unabsorbed(components: np.ndarray, memory: float, *, closure: bool) -> float:
    """Return the variance of residuals over that for noise without memory.

    Weights absorb a part of the noise, and more of it where neighbours err together.
    """
    k, points = components.shape
    share = (k - int(closure)) / max(points, 1)
    return max(1.0 - share * memory, 0.3) / max(1.0 - share, 0.3)
