"""Quality of reconstructions: likelihood, ring correlation, transfer function."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.kernels.images import Images


def ring_numbers(shape: tuple[int, int]) -> np.ndarray:
    """Return the ring of each pixel of a transform (origin in the corner).

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
        Independent pixels per ring: half for real images, less by the window.
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
        # Fraction of independent pixels that the window leaves: (Σw²)² / (N Σw⁴).
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

    The ring is the first that is below together with the two after it: one ring alone
    may hold hardly any of an object's structure. The value is interpolated linearly
    between rings. It is 1 pixel where no ring is below, NaN where already the first
    rings do not correlate.
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


class TwoHalves(NamedTuple):
    """Hold how two halves of each energy differ, and the error of their mean.

    Standard deviations of absorption and phase are ``sqrt(map * share[k])``: `maps` (2,
    y, x) are variances of the error that each energy has by itself, `shares` (2,
    energy) scale them for each energy. `common` (2, y, x) are standard deviations of
    the error that all energies share.
    `frequency` (f) is in cycles per pixel, `correlation` and `limit` (energy, f) are
    the ring correlations of the halves and their half-bit threshold.
    """

    maps: np.ndarray
    shares: np.ndarray
    common: np.ndarray
    frequency: np.ndarray
    correlation: np.ndarray
    limit: np.ndarray


def scatter(
    first: Images, second: Images, whole: Images, inside: np.ndarray
) -> TwoHalves:
    """Compare two independent halves of each energy.

    The error of their mean is half of their difference. A difference that is the same
    at all energies is no noise of a spectrum, and is given separately. With it is given
    how the whole differs from the mean of both at all energies. The whole has seen
    twice the frames as often: what iterations leave unfinished is less there.

    Parameters
    ----------
    first, second, whole
        Registered objects (energy, y, x).
    inside : (y, x)
        Where every energy has light.
    """
    n = len(first)
    mean, square, beyond = np.zeros((3, 2, *inside.shape))
    part = _lit_part(inside)
    rings = []
    for k in range(n):
        pair = first.read(k), second.read(k)
        rings.append(fourier_ring_correlation(*(image[part] for image in pair)))
        apart = _apart(*pair)
        mean += apart / n
        square += apart**2 / n
        beyond += sum(_apart(whole.read(k), half) for half in pair) / n
    alone = (square - mean**2) * n / (n - 1) if n > 1 else square
    shared = mean**2 - alone / n if n > 1 else np.zeros_like(mean)
    maps = np.stack([_smooth(v, inside, 1.5) for v in alone]) / 4
    common = np.stack([_smooth(v, inside, 3.0) for v in shared + beyond**2]) / 4
    shares = np.ones((2, n))
    if n > 1:
        for k in range(n):
            left = (_apart(first.read(k), second.read(k)) - mean) ** 2 / 4
            where = inside & (maps > 0).all(0)
            shares[:, k] = [
                np.mean(v[where] / m[where]) for v, m in zip(left, maps, strict=True)
            ]
        shares *= n / (n - 1)
    frequency, _, count = rings[0]
    limit = np.broadcast_to(threshold(count, 0.5), (n, frequency.size))
    correlation = np.stack([r[1] for r in rings])
    return TwoHalves(
        maps, shares, np.sqrt(np.maximum(common, 0)), frequency, correlation, limit
    )


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the differences (2, y, x) of absorption and phase."""
    modulus = [np.maximum(np.abs(v), 1e-6) for v in (a, b)]
    absorption = -2 * np.log(modulus[0] / modulus[1])
    return np.stack([absorption, np.angle(a * np.conj(b))]).astype(float)


def _smooth(values: np.ndarray, inside: np.ndarray, width: float) -> np.ndarray:
    """Return a mean of the inside pixels over a width in pixels."""
    from scipy import ndimage

    weight = ndimage.gaussian_filter(inside.astype(float), width)
    smooth = ndimage.gaussian_filter(np.where(inside, values, 0.0), width)
    return np.asarray(smooth / np.maximum(weight, 1e-6))


def _lit_part(inside: np.ndarray) -> tuple[slice, slice]:
    """Return a rectangle without dark pixels, cut where most of them are."""
    edges = [0, inside.shape[0], 0, inside.shape[1]]
    while True:
        part = slice(*edges[:2]), slice(*edges[2:])
        dark = ~inside[part]
        if not dark.any() or min(dark.shape) < 9:
            return part
        lost = [line.mean() for line in (dark[0], dark[-1], dark[:, 0], dark[:, -1])]
        # Where the rim is lit but dark pixels lie further in, the rim is cut too.
        side = int(np.argmax(lost))
        edges[side] += 1 if side % 2 == 0 else -1


def transfer_of(correlation: np.ndarray) -> np.ndarray:
    """Return √(2 C / (1 + C)): how the mean of two halves fits the object.

    C is the correlation of the halves (Rosenthal & Henderson, J. Mol. Biol. 333, 721
    (2003)).
    """
    some = np.maximum(correlation, 0.0)
    return np.sqrt(2 * some / (1 + some))


def poisson_misfit(modelled: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return I_m - I + I ln(I / I_m) per pixel: 0 if equal, about ½ at noise."""
    safe = np.maximum(modelled, 1e-12)
    ratio = np.where(counts > 0, counts / safe, 1.0)
    return modelled - counts + counts * np.log(ratio)


def noise_left(mean: np.ndarray) -> float:
    """Return the largest residual (|F| - √I)² of frames due to counting noise, summed.

    This holds for one frame whose counts are `mean` at each pixel. Speckle that changes
    from frame to frame makes it less, as the loss of √I bends down with I.
    """
    counts, left = _left_of()
    return float(np.sum(np.interp(mean, counts, left)))


@cache
def _left_of() -> tuple[np.ndarray, np.ndarray]:
    """Return expected counts λ, and the mean of (√I - √λ)² over Poisson's I."""
    from scipy.special import gammaln, xlogy

    expected = np.r_[0.0, np.geomspace(1e-4, 60.0, 120)]
    found = np.arange(160)[:, None]
    squares = (np.sqrt(found) - np.sqrt(expected)) ** 2
    logarithm = xlogy(found, expected) - expected - gammaln(found + 1)
    left = np.sum(np.exp(logarithm) * squares, axis=0)
    return np.r_[expected, 1e3], np.r_[left, 0.25]
