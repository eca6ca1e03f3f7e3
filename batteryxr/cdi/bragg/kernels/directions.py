"""Transfer and correlation of patterns along directions of reciprocal space."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from batteryxr.cdi.bragg.kernels import metrics
from batteryxr.cdi.bragg.kernels.align import align
from batteryxr.cdi.fourier import Fourier

#: Cosine of the half angle of the cone that belongs to a direction.
_CONE = np.cos(np.deg2rad(30.0))


class Falls(NamedTuple):
    """Curves on shells, along each direction, and the half periods where they end."""

    prtf: np.ndarray
    fsc: np.ndarray
    threshold: np.ndarray
    half_prtf: np.ndarray
    half_fsc: np.ndarray
    half_limit: np.ndarray


def farthest(shape: tuple[int, ...], steps: np.ndarray) -> float:
    """Return the largest frequency along an axis of a pattern.

    Parameters
    ----------
    shape
        Shape of the pattern.
    steps : (3, 3)
        Frequency from one index to the next, by axis.
    """
    return float((np.linalg.norm(steps, axis=1) * np.asarray(shape)).max() / 2)


def curves(
    rho: np.ndarray,
    counts: np.ndarray,
    halves: np.ndarray,
    steps: np.ndarray,
    directions: np.ndarray,
    *,
    reach: float,
    count: int,
) -> Falls:
    """Return transfer and correlation along directions, and in all of them.

    Parameters
    ----------
    rho, counts
        Object and its measured pattern, NaN where not measured; origins at ``n // 2``.
    halves : (2, i, j, k)
        Objects from each half of the counts; no voxel but zero if there are none.
    steps : (3, 3)
        Frequency from one index of the pattern to the next, by axis.
    directions : (d, 3)
        Unit vectors; of the length zero for the mean over all.
    reach, count
        Largest frequency, and number of shells up to it.
    """
    spectrum = np.abs(_forward(rho))
    used = counts > 0
    amplitude = np.sqrt(np.where(used, counts, 0))
    pair = None
    if halves.any():
        second = align(halves[0], halves[1], ramp=False).field
        pair = _forward(halves[0]), _forward(second)
    fill = float((halves[0] != 0).mean()) if pair else 0.0
    radius, cosine = _polar(counts.shape, steps, directions)
    shell = np.minimum((radius * (count / reach)).astype(np.int32), count)
    centres = (np.arange(count) + 0.5) * (reach / count)

    def summed(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
        sums = np.bincount(shell[inside], values[inside], count + 1)
        return sums[:count]

    def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        out = np.full(count, np.nan)
        return np.divide(above, below, out=out, where=below > 0)

    rows = []
    for along in cosine:
        inside = along >= _CONE
        seen = inside & used
        transfer = ratio(summed(spectrum, seen), summed(amplitude, seen))
        held = np.bincount(shell[inside], minlength=count + 1)[:count]
        last = float(centres[np.flatnonzero(held)[-1]]) if held.any() else np.nan
        correlation = limit = np.full(count, np.nan)
        if pair:
            a, b = pair
            power = summed(np.abs(a) ** 2, inside) * summed(np.abs(b) ** 2, inside)
            correlation = ratio(summed((a * b.conj()).real, inside), np.sqrt(power))
            snr = metrics.SNR["1/2-bit"]
            limit = metrics.correlation_threshold(fill * held, snr)
        with np.errstate(invalid="ignore"):
            ends = (
                metrics.crossing(centres, transfer, np.full(count, np.exp(-1.0))),
                metrics.crossing(centres, correlation, limit),
                last,
            )
        rows.append((transfer, correlation, limit, *(0.5 / end for end in ends)))
    return Falls(*map(np.array, zip(*rows, strict=True)))


def _forward(rho: np.ndarray) -> np.ndarray:
    """Return the transform of an object, both with their origin at ``n // 2``."""
    rho = np.fft.ifftshift(rho.astype(np.complex64))
    return np.fft.fftshift(Fourier(rho).forward(rho))


def _polar(
    shape: tuple[int, ...], steps: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return each voxel's frequency, and |cosine| to each direction (1 for none)."""
    axes = np.ogrid[tuple(slice(-(n // 2), n - n // 2) for n in shape)]

    def along(vector: np.ndarray) -> np.ndarray:
        i, j, k = (np.float32(s @ vector) for s in steps)
        return axes[0] * i + axes[1] * j + axes[2] * k

    x, y, z = (along(e) for e in np.eye(3))
    radius = np.sqrt(x**2 + y**2 + z**2)
    length = np.maximum(radius, np.finfo(np.float32).tiny)
    return radius, [
        np.abs(along(d)) / length if d.any() else np.ones(shape, np.float32)
        for d in directions
    ]


def thinned(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return counts split in two at random, each photon in one half; NaN stays."""
    known = np.isfinite(counts)
    whole = np.rint(np.where(known, counts, 0)).astype(np.int64)
    first = rng.binomial(whole, 0.5)
    out = np.stack([first, whole - first]).astype(np.float32)
    out[:, ~known] = np.nan
    return out
