"""Smooth curves: smoothers as weights of gain one, extrema, and noise."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from batteryxr.core.errors import ConvergenceError

#: Largest deviation of the weights' sum from one.
GAIN_TOLERANCE = 1e-6


class Smoother(NamedTuple):
    """Hold a smoother of curves and the roughness that sets its noise."""

    weights: np.ndarray  # symmetric, sum 1; zeros at the end up to a multiple of four
    length: int  # without those zeros; odd
    roughness: float  # integral of the square of the kernel's slope, in bins


def gaussian(fwhm: float) -> np.ndarray:
    """Return the weights of a Gaussian, given its full width at half maximum in bins.

    Each weight is the integral over its bin, so a kernel narrower than a bin is the
    identity.
    """
    sigma = fwhm / math.sqrt(8.0 * math.log(2.0))
    if sigma < 1e-3:
        return np.ones(1)
    half = max(1, math.ceil(4.0 * sigma))
    edges = (np.arange(-half, half + 2) - 0.5) / (sigma * math.sqrt(2.0))
    areas = np.diff([math.erf(e) for e in edges])
    return checked(areas / areas.sum(), "gaussian")


def savitzky_golay(window: int, order: int) -> np.ndarray:
    """Return the weights of a Savitzky-Golay filter at the centre of its window.

    It uses a Legendre basis on [-1, 1] and QR. These stay accurate where powers of
    the index lose all digits (window 1001, order 5).

    Parameters
    ----------
    window
        Number of points, odd and larger than `order`.
    order
        Order of the polynomial.
    """
    basis = np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, window), order)
    q, _ = np.linalg.qr(basis)
    weights = q @ q[window // 2]
    # Symmetric to the last bit: mirrored ends keep the charge only for even kernels.
    return checked(0.5 * (weights + weights[::-1]), f"savgol({window}, {order})")


def checked(weights: np.ndarray, name: str) -> np.ndarray:
    """Return `weights` scaled to a sum of one, if they sum to about one.

    Raises
    ------
    ConvergenceError
        If they do not, so that the smoother would change the charge.
    """
    gain = float(weights.sum())
    if not abs(gain - 1.0) < GAIN_TOLERANCE:
        raise ConvergenceError(
            f"smoother {name}: its weights sum to {gain:.6g}, not 1, so it would "
            "change the capacity. Choose a narrower window or a lower order."
        )
    return weights / gain


def smoother(weights: np.ndarray) -> Smoother:
    """Return a `Smoother` with weights padded for the kernels."""
    padded = np.pad(weights, (0, -weights.size % 4))
    return Smoother(padded, weights.size, roughness(weights, 1))


def roughness(weights: np.ndarray, derivative: int) -> float:
    """Return the integral of the squared derivative of the kernel, in bins."""
    edges = np.pad(weights, derivative)
    return float((np.diff(edges, n=derivative) ** 2).sum())


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
    """Return the factor from voltage noise to the variance of a smoothed functional.

    Moving the charge of one row by a voltage moves it along the combined kernel. The
    factor is the integral of the squared slope. Multiply by charge per row, curve
    height and squared voltage noise, and divide by the cube of the bin width.
    """
    kernel = np.convolve(functional, weights)
    return float((np.diff(np.pad(kernel, 1)) ** 2).sum())


def extremum(y: np.ndarray, centre: int, half: int) -> tuple[float, float, int, bool]:
    """Fit an extremum: place (in bins), value, half width used, whether it is one.

    Parameters
    ----------
    y : (n,) array
        A curve without gaps.
    centre : int
        Bin of the highest or lowest value.
    half : int
        Half width of the parabola, reduced near the ends of the curve.
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
