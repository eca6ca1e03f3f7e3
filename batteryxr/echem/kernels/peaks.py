"""Extrema of a smoothed curve: a parabola through each, and what noise does to it."""

from __future__ import annotations

import numpy as np


def parabola(half: int) -> np.ndarray:
    """Return the weights of a least-squares parabola on 2 `half` + 1 points.

    Returns
    -------
    (3, 2 half + 1) array
        Rows give value, slope and half the curvature at the centre, per bin.
    """
    x = np.arange(-half, half + 1, dtype=np.float64)
    basis = np.stack([np.ones_like(x), x, x * x], axis=1)
    return np.linalg.pinv(basis)


def variance_factor(functional: np.ndarray, weights: np.ndarray) -> float:
    """Return how noise of the voltages enters a linear functional of a smoothed curve.

    Moving the charge of one row by a voltage moves it along the combined kernel; the
    variance is the integral of the square of its slope. Times charge per row, height
    of the curve and square of the voltage noise, over the cube of the bin width.
    """
    kernel = np.convolve(functional, weights)
    return float((np.diff(np.pad(kernel, 1)) ** 2).sum())


def extremum(y: np.ndarray, centre: int, half: int) -> tuple[float, float, int, bool]:
    """Return place (in bins), value, half width used, and whether it is an extremum.

    Parameters
    ----------
    y : (n,) array
        A curve without gaps.
    centre : int
        Bin of the highest or lowest value.
    half : int
        Half width of the parabola, cut where the curve ends.
    """
    half = int(max(1, min(half, centre, y.size - 1 - centre)))
    value, slope, bend = parabola(half) @ y[centre - half : centre + half + 1]
    shift = -slope / (2.0 * bend) if bend != 0.0 else np.inf
    if not abs(shift) <= half:
        return float(centre), float(y[centre]), half, False
    return centre + shift, value + 0.5 * slope * shift, half, True


def theil_sen(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept of a line: medians over all pairs of points."""
    a, b = np.triu_indices(x.size, 1)
    run = x[b] - x[a]
    rising = run > 0
    slope = float(np.median((y[b] - y[a])[rising] / run[rising]))
    return slope, float(np.median(y - slope * x))
