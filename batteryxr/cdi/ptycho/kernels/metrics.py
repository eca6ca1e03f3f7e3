"""How good a reconstruction is: likelihood, ring correlation, transfer function."""

from __future__ import annotations

import numpy as np


def ring_numbers(shape: tuple[int, int]) -> np.ndarray:
    """Return for each pixel of a transform (origin in the corner) its ring.

    Rings are one pixel of the smaller side wide; the last is the Nyquist frequency.
    """
    smaller = min(shape)
    fy = np.fft.fftfreq(shape[0])[:, None] * smaller
    fx = np.fft.fftfreq(shape[1])[None, :] * smaller
    return np.rint(np.hypot(fy, fx)).astype(int)


def fourier_ring_correlation(
    first: np.ndarray, second: np.ndarray, *, window: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlate two images ring by ring (van Heel & Schatz, J. Struct. Biol. 2005).

    Parameters
    ----------
    first, second : (y, x)
        Registered images, real or complex.
    window
        Fade the edges with a Hann window.

    Returns
    -------
    frequency : (k,)
        In cycles per pixel.
    correlation : (k,)
    count : (k,)
        Independent pixels per ring: half for real images, less what the window takes.
    """
    real = not (np.iscomplexobj(first) or np.iscomplexobj(second))
    fade: np.ndarray = np.ones(first.shape)
    if window:
        fade = np.outer(np.hanning(first.shape[0]), np.hanning(first.shape[1]))
    f, g = (np.fft.fft2((a - a.mean()) * fade) for a in (first, second))
    ring = ring_numbers(first.shape).ravel()
    k = min(first.shape) // 2 + 1

    def summed(values: np.ndarray) -> np.ndarray:
        return np.bincount(ring, values.ravel(), minlength=k)[:k]

    cross = summed(np.real(f * np.conj(g)))
    power: np.ndarray = np.sqrt(summed(np.abs(f) ** 2) * summed(np.abs(g) ** 2))
    count = summed(np.ones(first.shape)) * (0.5 if real else 1.0)
    if window:
        # The share of independent pixels that the window leaves: (Σw²)² / (N Σw⁴).
        count *= np.sum(fade**2) ** 2 / (fade.size * np.sum(fade**4))
    correlation = cross / np.where(power > 0, power, np.nan)
    return np.arange(k) / min(first.shape), correlation, count


def threshold(count: np.ndarray, bits: float) -> np.ndarray:
    """Return the threshold of information content, ½ or 1 bit per pixel.

    van Heel & Schatz (2005), with signal to noise 2^bits - 1 shared by two halves.
    """
    snr = (2.0**bits - 1.0) / 2.0
    root = np.sqrt(np.maximum(count, 1.0))
    top = snr + (2.0 * np.sqrt(snr) + 1.0) / root
    return top / (1.0 + snr + 2.0 * np.sqrt(snr) / root)


def half_period(
    frequency: np.ndarray, correlation: np.ndarray, limit: np.ndarray
) -> float:
    """Return the half period in pixels at which the correlation falls below `limit`.

    The first ring that is below with the two after it, between rings by a straight
    line: one ring alone may hold hardly any of an object's structure. 1 pixel where
    there is none, NaN where already the first rings do not correlate.
    """
    left = correlation[1:] - limit[1:]
    # The smallest rings hold too few pixels to fail: their threshold is about 1.
    below = ~((left > 0) | (limit[1:] > 0.9))
    padded = np.r_[below, True, True]
    lost = np.flatnonzero(below & padded[1:-1] & padded[2:])
    if lost.size == 0:
        return 1.0
    first = int(lost[0])
    if first == 0:
        return float("nan")
    a, b = left[first - 1], left[first]
    share = a / (a - b) if np.isfinite(b) else 0.0
    f = frequency[first] + share * (frequency[first + 1] - frequency[first])
    return float(0.5 / f)


def ring_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of (n, n), origin in the corner, over each ring."""
    ring = ring_numbers(values.shape).ravel()
    k = min(values.shape) // 2 + 1
    total = np.bincount(ring, values.ravel(), minlength=k)[:k]
    return total / np.bincount(ring, minlength=k)[:k]


def poisson_misfit(modelled: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return I_m - I + I ln(I / I_m) per pixel: 0 if equal, about ½ at noise."""
    safe = np.maximum(modelled, 1e-12)
    ratio = np.where(counts > 0, counts / safe, 1.0)
    return modelled - counts + counts * np.log(ratio)
