"""Figures of merit: how well an object fits, and how far it can be trusted.

Patterns are NumPy arrays with their origin in the corner.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import numpy as np

from batteryxr.cdi.bragg.kernels.align import align
from batteryxr.cdi.bragg.kernels.free import radial_frequency
from batteryxr.cdi.fourier import Fourier

#: Figures of merit of a start; smaller is better.
Merit = Literal["amp_residual", "chi2", "llk", "llk_free"]
MERITS: tuple[Merit, ...] = get_args(Merit)
#: Signal-to-noise ratios of half a data set at the usual thresholds: at 1 bit and at
#: 1/2 bit of information per voxel, log2(1 + 2 snr) = 1 and 1/2.
SNR = {"1-bit": 0.5, "1/2-bit": (math.sqrt(2) - 1) / 2}
#: Part of the largest amplitude that is bright, and factor that is another scale.
_BRIGHTEST, _RESCALED = 0.3, 1.5
#: Cosine of the half angle of the cone that belongs to a direction.
_CONE = np.cos(np.deg2rad(30.0))


def amplitude_residual(
    calculated: np.ndarray, amplitude: np.ndarray, used: np.ndarray
) -> float:
    """Return sum (|F| - A)^2 / sum A^2 over the used voxels.

    Parameters
    ----------
    calculated, amplitude
        Modulus of the object's transform, and the measured modulus.
    used
        Voxels that count.
    """
    measured = amplitude[used].astype(np.float64)
    return float(((calculated[used] - measured) ** 2).sum() / (measured**2).sum())


def chi2(measured: np.ndarray, reconstructed: np.ndarray, used: np.ndarray) -> float:
    """Return sum (sqrt|D| - sqrt|R|)^2 / sum |R|, D measured, R reconstructed.

    Serban et al., Commun. Chem. 7 (2024), eq. (1), with D and R as intensities. The
    denominator is the reconstruction.
    """
    d = np.abs(measured[used]).astype(np.float64)
    r = np.abs(reconstructed[used]).astype(np.float64)
    return float(((np.sqrt(d) - np.sqrt(r)) ** 2).sum() / r.sum())


def log_likelihood(
    calculated: np.ndarray, observed: np.ndarray, used: np.ndarray
) -> float:
    """Return the mean negative Poisson log-likelihood per voxel; 0 is a perfect fit.

    mean(C - O + O ln(O / C)), with 0 ln 0 = 0: the likelihood relative to a model that
    predicts every count exactly. Pure counting noise gives about 1/2 where counts are
    high, and less where they are below one.
    """
    c = np.maximum(calculated[used].astype(np.float64), 1e-12)
    o = observed[used].astype(np.float64)
    if not c.size:
        return math.nan
    terms = c - o
    seen = o > 0
    terms[seen] += o[seen] * np.log(o[seen] / c[seen])
    return float(terms.mean())


def matched_scale(
    calculated: np.ndarray, observed: np.ndarray, used: np.ndarray
) -> float:
    """Return the factor that gives `calculated` the observed sum of counts."""
    total = float(calculated[used].sum(dtype=np.float64))
    return float(observed[used].sum(dtype=np.float64)) / total if total else 1.0


class Shells:
    """Hold shells of equal distance from zero frequency, up to the Nyquist frequency.

    Parameters
    ----------
    shape
        Shape of the patterns.
    spacing
        Voxel size along each axis; frequencies are in cycles per its unit. Shells
        reach to the smallest of the axes' Nyquist frequencies.
    count
        Number of shells; None takes half of the shortest axis.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        spacing: tuple[float, ...] | None = None,
        count: int | None = None,
    ) -> None:
        self.count = count or max(1, min(shape) // 2)
        reach = 0.5 / max(spacing or (1.0,))
        radius = radial_frequency(shape, spacing)
        #: Centre of each shell.
        self.frequency = (np.arange(self.count) + 0.5) * (reach / self.count)
        index = (radius * np.float32(self.count / reach)).astype(np.int32)
        self._index = np.minimum(index, self.count).ravel()

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of real values over each shell, float64."""
        sums = np.bincount(self._index, values.ravel(), self.count + 1)
        return sums[: self.count]

    def voxels(self, used: np.ndarray) -> np.ndarray:
        """Return the number of used voxels in each shell."""
        return np.bincount(self._index[used.ravel()], minlength=self.count + 1)[
            : self.count
        ]


def prtf(
    fields: np.ndarray, amplitude: np.ndarray, used: np.ndarray, shells: Shells
) -> np.ndarray:
    """Return the phase-retrieval transfer function on shells.

    |mean of the transforms| over the measured amplitude: 1 where all starts agree on
    the phase and fit, 0 where their phases are random (Chapman et al., JOSA A 23, 1179
    (2006)). For one start it only shows how well the start fits.

    Parameters
    ----------
    fields
        Transform of the mean of the aligned starts.
    """
    above = shells.sum(np.where(used, np.abs(fields), 0.0))
    below = shells.sum(np.where(used, amplitude, 0.0))
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def own_scale(modulus: np.ndarray, amplitude: np.ndarray) -> float:
    """Return the factor to the largest amplitudes of an object on another scale.

    Parameters
    ----------
    modulus
        Modulus of its transform. A retrieval gives that of the counts: the factor is 1.
    amplitude
        Measured modulus, 0 where there is none.
    """
    bright = amplitude > _BRIGHTEST * amplitude.max(initial=0.0)
    found = modulus[bright].astype(float)
    power = float(found @ found)
    factor = float(found @ amplitude[bright].astype(float)) / power if power else 1.0
    return 1.0 if 1 / _RESCALED < factor < _RESCALED else factor


def shell_correlation(a: np.ndarray, b: np.ndarray, shells: Shells) -> np.ndarray:
    """Return the Fourier shell correlation of two transforms.

    Re sum(a b*) / sqrt(sum |a|^2 sum |b|^2) (van Heel & Schatz, J. Struct. Biol. 151,
    250 (2005)).
    """
    cross = shells.sum(np.real(a * np.conj(b)))
    power = np.sqrt(shells.sum(np.abs(a) ** 2) * shells.sum(np.abs(b) ** 2))
    return np.divide(cross, power, out=np.full_like(cross, np.nan), where=power > 0)


def correlation_threshold(n: np.ndarray, snr: float) -> np.ndarray:
    """Return the correlation at which a shell holds a given signal-to-noise ratio.

    (s + (2 sqrt s + 1) / sqrt n) / (1 + s + 2 sqrt s / sqrt n), van Heel & Schatz
    (2005), eq. (17).

    Parameters
    ----------
    n
        Number of independent voxels in each shell.
    snr
        The ratio s of one of the two halves; see `SNR`.
    """
    root = 1.0 / np.sqrt(np.maximum(n, 1))
    s = math.sqrt(snr)
    return np.minimum((snr + (2 * s + 1) * root) / (1 + snr + 2 * s * root), 1.0)


def crossing(frequency: np.ndarray, values: np.ndarray, threshold: np.ndarray) -> float:
    """Return the frequency at which values first fall below a threshold.

    Interpolated linearly; NaN where they never do. The innermost shells hold too few
    voxels to reach their threshold, so the fall must begin above the threshold.
    """
    excess = values - threshold
    falls = np.flatnonzero((excess[:-1] >= 0) & (excess[1:] < 0))
    if not falls.size:
        return math.nan
    k = falls[0]
    part = excess[k] / (excess[k] - excess[k + 1])
    return float(frequency[k] + part * (frequency[k + 1] - frequency[k]))


class Falls(NamedTuple):
    """Hold curves on shells in each direction, and half periods where they end."""

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
    spectrum *= own_scale(spectrum, amplitude)
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
            snr = SNR["1/2-bit"]
            limit = correlation_threshold(fill * held, snr)
        with np.errstate(invalid="ignore"):
            ends = (
                crossing(centres, transfer, np.full(count, np.exp(-1.0))),
                crossing(centres, correlation, limit),
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
