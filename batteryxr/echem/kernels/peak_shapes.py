"""Sums of peaks on a background beside a hold, fitted to one smoothed dQ/dV curve.

Which shape peaks have is not known beforehand: a reaction with a width of its own gives
the derivative of a logistic step, disorder a Gaussian, wide tails a Lorentzian. All
three are fitted; what they disagree about, as far as the curve does not tell between
them, is part of the errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

#: Parameters before those of the peaks: level, its rise, charge and place of a hold.
LEVEL, RISE, HOLD, PLACE, BEFORE = 0, 1, 2, 3, 4


def _gaussian(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return np.asarray(erf(2.0 * np.sqrt(np.log(2.0)) * x))


def _logistic(x: np.ndarray) -> np.ndarray:
    return np.tanh(2.0 * np.arccosh(np.sqrt(2.0)) * x)


def _lorentzian(x: np.ndarray) -> np.ndarray:
    return 2.0 / np.pi * np.arctan(2.0 * x)


#: Twice the charge of a peak from its middle on, by distance over width at half height.
SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "logistic": _logistic,
    "gaussian": _gaussian,
    "lorentzian": _lorentzian,
}


class Curve(NamedTuple):
    """One curve, and how a sharp one would look in it."""

    v: np.ndarray  # (bins,) V
    y: np.ndarray  # (bins,) charge per V
    weights: np.ndarray  # of the smoother
    bin: float  # V
    charging: bool
    noise: float  # of one voltage, V
    step: float  # charge per row


class Fit(NamedTuple):
    """Parameters of a fit, their covariance, and how well it fits."""

    p: np.ndarray
    covariance: np.ndarray
    rms: float
    misfit: float  # charge that the curve and the fit differ by, beyond the noise
    independent: float  # about how many points of the curve are


def model(curve: Curve, shape: str, p: np.ndarray) -> np.ndarray:
    """Return the curve of peaks, background and hold, through the smoother."""
    v, step = curve.v, SHAPES[shape]
    middle, span = 0.5 * (v[0] + v[-1]), v[-1] - v[0]
    sharp = p[LEVEL] + p[RISE] * (v - middle) / span
    # Peaks as differences of steps: their charge within a bin, however narrow.
    edges = np.append(v, v[-1] + curve.bin) - 0.5 * curve.bin
    for place, width, area in p[BEFORE:].reshape(-1, 3):
        steps = 0.5 * step((edges - place) / width)
        sharp = sharp + area * np.diff(steps) / curve.bin
    # A hold is as wide as the noise, which also decides how far the curve reaches.
    end = v[-1] - p[PLACE] if curve.charging else v[0] + p[PLACE]
    width = 2.3548 * max(curve.noise, 0.3 * curve.bin)
    steps = 0.5 * _gaussian((edges - end) / width)
    steps[0], steps[-1] = -0.5, 0.5  # all of it lies within the curve
    behind = 0.5 + 0.5 * (steps[1:] + steps[:-1])
    sharp = sharp * (1.0 - behind if curve.charging else behind)
    sharp = sharp + p[HOLD] * np.diff(steps) / curve.bin
    return smoothed(sharp, curve.weights)


def smoothed(sharp: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return an array through the smoother, mirrored at its ends."""
    padded = np.pad(sharp, weights.size // 2, mode="symmetric")
    return np.convolve(padded, weights, mode="valid")


def fit(curve: Curve, shape: str, first: np.ndarray) -> Fit | None:
    """Fit peaks of one shape; `first` has (peaks, 3) places, widths and heights."""
    from scipy.optimize import least_squares

    span, total = curve.v[-1] - curve.v[0], float(curve.y.sum()) * curve.bin
    level = float(np.percentile(curve.y, 5))
    reach = _reach(curve)
    begin = [level, 0.0, 0.0, 0.5 * reach]
    for place, width, height in first:
        w = max(width, 2 * curve.bin)
        begin += [place, w, max(height - level, 0.1 * height) * 1.1 * w]
    scale = np.array(
        [total / span, total / span, total, reach, *[0.05, 0.04, total] * len(first)]
    )
    each = [curve.v[0], 0.4 * curve.bin, 0.0] * len(first)
    low = [-np.inf, -np.inf, 0.0, 0.0, *each]
    high = [np.inf, np.inf, np.inf, reach]
    high += [curve.v[-1], 2.0 * span, np.inf] * len(first)
    starts = np.clip(begin, np.array(low) + 1e-12, high)

    def left(p: np.ndarray) -> np.ndarray:
        return (model(curve, shape, p) - curve.y) * (span / total)

    found = least_squares(left, starts, bounds=(low, high), x_scale=scale)
    if not found.success:
        return None
    return _judged(curve, found.x, found.jac * (total / span), -left(found.x))


def _judged(curve: Curve, p: np.ndarray, jacobian: np.ndarray, left: np.ndarray) -> Fit:
    """Return a fit with the covariance from the noise and from what is left."""
    r = left * float(curve.y.sum()) * curve.bin / (curve.v[-1] - curve.v[0])
    inverse = _inverse(jacobian)
    noise = _of_noise(curve, inverse)
    unsure = 0.5 * _reach(curve)
    if noise[PLACE, PLACE] > unsure**2:
        # Without a hold, hardly anything tells where the curve ends in its last bins.
        jacobian = jacobian.copy()
        jacobian[:, PLACE] = 0.0
        inverse = _inverse(jacobian)
        noise = _of_noise(curve, inverse)
        noise[HOLD, HOLD] += (
            unsure * float(np.abs(curve.y[-1 if curve.charging else 0]))
        ) ** 2
    expected = _noise_squares(curve)
    squares, size = float(r @ r), max(r.size - p.size, 1)
    # Neighbours in a smoothed curve are not independent.
    lags = [float(r[k:] @ r[: r.size - k]) for k in range(1, r.size // 4)]
    positive = next((k for k, x in enumerate(lags) if x <= 0), len(lags))
    together = max(1.0 + 2.0 * sum(lags[:positive]) / max(squares, 1e-300), 1.0)
    excess = max(squares - expected, 0.0)
    covariance = noise + inverse @ inverse.T * (excess / size * together)
    share = np.sqrt(excess / squares) if squares > 0 else 0.0
    rms = float(np.sqrt(squares / r.size))
    misfit = float(np.abs(r).sum() * curve.bin * share)
    return Fit(p, covariance, rms, misfit, r.size / together)


def _inverse(jacobian: np.ndarray) -> np.ndarray:
    scale = np.linalg.norm(jacobian, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    return np.asarray(np.linalg.pinv(jacobian / scale, rcond=1e-8) / scale[:, None])


def _reach(curve: Curve) -> float:
    """Return how far noise may carry the end of a curve (V)."""
    return 6.0 * curve.noise + 2.0 * curve.bin


def _of_noise(curve: Curve, functionals: np.ndarray) -> np.ndarray:
    """Return the covariance of functionals of the curve from noise of the voltage.

    Noise carries charge from one bin to the next: it is white in the integral of the
    sharp curve, and grows with the root of the height.
    """
    half = curve.weights.size // 2
    wide = np.pad(functionals, ((0, 0), (half, half)))
    through = np.array([np.convolve(f, curve.weights, "same") for f in wide])
    through = through[:, half : half + curve.y.size]
    moved = np.diff(through, axis=1, append=through[:, -1:])
    variance = curve.noise**2 * curve.step * np.abs(curve.y) / curve.bin**3
    return (moved * variance) @ moved.T


def _noise_squares(curve: Curve) -> float:
    """Return the sum of squares that noise alone leaves in the curve."""
    rough = float((np.diff(np.pad(curve.weights, 1)) ** 2).sum())
    variance = curve.noise**2 * curve.step * np.abs(curve.y) / curve.bin**3
    return float(variance.sum()) * rough
