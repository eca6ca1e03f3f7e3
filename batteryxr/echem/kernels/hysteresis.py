"""The area between two curves known at points."""

from __future__ import annotations

import numpy as np


def overlap_grid(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return all points of two sorted axes inside their overlap, its ends included."""
    low, high = max(a[0], b[0]), min(a[-1], b[-1])
    if not low < high:
        return np.empty(0)
    joined = np.unique(np.concatenate([a, b, [low, high]]))
    return joined[(joined >= low) & (joined <= high)]


def linear(
    x: np.ndarray, y: np.ndarray, error: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate linearly; return values and the matrix of weights times errors.

    The matrix, (at, x), gives the covariance of any linear functional of the values.
    """
    right = np.clip(np.searchsorted(x, at), 1, x.size - 1)
    share = (at - x[right - 1]) / (x[right] - x[right - 1])
    weights = np.zeros((at.size, x.size))
    rows = np.arange(at.size)
    weights[rows, right - 1] = 1.0 - share
    weights[rows, right] = share
    return weights @ y, weights * error


def trapezoid_weights(x: np.ndarray) -> np.ndarray:
    """Return w such that ``w @ y`` is the trapezoidal integral over `x`."""
    step = np.diff(x)
    weights = np.zeros(x.size)
    weights[:-1] += 0.5 * step
    weights[1:] += 0.5 * step
    return weights
