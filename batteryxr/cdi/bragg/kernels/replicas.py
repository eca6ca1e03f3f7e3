"""Replicas: objects retrieved from counts drawn anew, to estimate errors.

A parametric bootstrap: a crystal that could have given the counts stands for the truth.
Counts are drawn from its pattern and phased from a random start. Replicas scatter
around this crystal as answers scatter around the truth. The scatter includes the
effects of noise, starts, iterations and support (Efron & Tibshirani, An Introduction to
the Bootstrap (1993), ch. 6).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.cdi.bragg.kernels.align import align
from batteryxr.cdi.bragg.kernels.answer import run
from batteryxr.cdi.bragg.kernels.coherence import Coherence
from batteryxr.cdi.bragg.kernels.metrics import matched_scale
from batteryxr.cdi.bragg.kernels.pattern import judge, prepare
from batteryxr.core.seeds import generators

if TYPE_CHECKING:
    from batteryxr.cdi.bragg.kernels.answer import Start
    from batteryxr.cdi.bragg.settings import RetrievalSettings

#: Overlap with the answer below which a replica is in another minimum.
_ELSEWHERE = 0.8
#: Fewest replicas for a standard deviation, and largest widening by misfit, squared.
_FEWEST, _WORST = 3, 4.0
#: Residual, over the median, above which a start would not have been chosen.
_CHOSEN = 1.1
#: Smallest fraction of the variance that averaging leaves.
_NARROWEST = 0.2
#: Mean counts below which brightness makes no difference; and a tiny number.
_FAINT, _DARK = 1e-2, 1e-12
_GRADES = 64
#: Fraction of the part beside an answer that stays in the misfit; the rest is fitted.
_LEFT = 0.6
#: Replicas of the answer alone, for the misfit left by photons and iterations.
_PILOTS = 2


def replicas(
    rho: np.ndarray,
    counts: np.ndarray,
    blur: np.ndarray,
    averaged: float,
    number: int,
    *,
    settings: RetrievalSettings,
) -> tuple[np.ndarray, float]:
    """Retrieve objects from counts that are drawn anew.

    Deviations of replicas are widened where the answer fits its counts worse than the
    replicas fit theirs, and by Student's factor for their number. They are narrowed
    since the answer is a mean of several starts.

    Parameters
    ----------
    rho
        (i, j, k) the answer, complex64, origin at ``n // 2``.
    counts
        (i, j, k) measured counts; NaN where nothing was measured.
    blur
        Blur of the pattern on odd numbers of voxels round 0; a single voxel is no blur.
    averaged
        Variance between starts, summed over voxels, that averaging the best of them
        removed from the answer. A replica is one start, and still has it.
    number
        Number of the pattern, from 0; each pattern has its own random numbers.
    settings
        Iterations, number of replicas and seed.

    Returns
    -------
    replicas
        (n, i, j, k) complex64, aligned to the answer. NaN where a replica lost its
        support or ended in another minimum: it says nothing about an answer that is the
        best of several starts.
    worse
        Amplitude residual of the answer over the mean residual of the replicas.
    """
    counts = np.maximum(counts, np.float32(0))  # as `prepare` takes them
    plain = Crystals.of(rho, counts, blur)
    out = np.full((settings.n_starts, *rho.shape), np.nan, np.complex64)
    if not np.isfinite(plain.along).all() or not plain.along.any():
        return out, np.nan
    measured = np.isfinite(counts)
    given = prepare(counts, np.random.default_rng(0), free=0.0, support=rho != 0)
    inner = None if blur.size == 1 else _in_the_corner(blur, rho.shape)
    own = judge(given, np.fft.ifftshift(rho), inner)["amp_residual"]

    def repeat(
        crystals: Crystals, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Start]:
        """Return a crystal, counts drawn from it, the retrieved object, the start."""
        crystal, mean = crystals.draw(rng)
        drawn = np.where(measured, rng.poisson(mean), np.nan)
        start = run(prepare(drawn, rng, free=settings.select.free), settings, rng)
        return crystal, drawn, start.whole(start.box), start

    drawings = generators(settings.seed + 7919 * number, len(out) + _PILOTS)
    usual = []
    for rng in drawings[len(out) :]:
        _, drawn, whole, start = repeat(plain, rng)
        if not start.failed:
            usual.append(squares(*amplitudes(whole, drawn, blur)))
    crystals = plain if not usual else plain.beside(counts, np.mean(usual, axis=0))
    residuals = np.full(len(out), np.nan)
    for k, rng in enumerate(drawings[: len(out)]):
        crystal, _, whole, start = repeat(crystals, rng)
        if start.failed:
            continue
        laid = align(crystal, whole, ramp=False)
        if laid.overlap > _ELSEWHERE:
            out[k] = laid.field - crystal
            residuals[k] = start.merits["amp_residual"]
    found = np.isfinite(residuals)
    if averaged > 0 and found.any():  # choose replicas, as starts were chosen
        out[residuals > _CHOSEN * np.nanmedian(residuals)] = np.nan
    kept = np.isfinite(out.reshape(len(out), -1)[:, 0])
    n = int(kept.sum())
    if n < _FEWEST:
        return np.full_like(out, np.nan), np.nan
    worse = own / float(np.mean(residuals[kept]))
    # Student's quantile for one standard deviation, by Cornish and Fisher's expansion.
    student = 1 + 0.5 / n + 0.25 / n**2
    factor = student * np.sqrt(min(max(worse, 1.0), _WORST))
    scatter = float(np.nansum(np.abs(out[:, rho != 0]) ** 2)) / n
    if scatter > 0:
        factor *= np.sqrt(max(1 - averaged / scatter, _NARROWEST))
    return rho + np.float32(factor) * out, worse


@dataclass(frozen=True)
class Crystals:
    """Hold crystals that could have given the counts, and their mean counts.

    Parameters
    ----------
    field
        Transform of the answer over its modulus, origin in the corner.
    along
        The modulus, with what the counts show beyond photon noise.
    across
        Standard deviation of the random part at right angles to it.
    """

    field: np.ndarray
    along: np.ndarray
    across: np.ndarray

    @classmethod
    def of(cls, rho: np.ndarray, counts: np.ndarray, blur: np.ndarray) -> Crystals:
        """Return the answer alone, on the scale of its counts."""
        field = _transform(rho)
        modulus, _ = _scaled(field, counts, blur)
        whole = np.abs(field)
        return cls(field / np.maximum(whole, _DARK), modulus, np.zeros_like(modulus))

    def beside(self, counts: np.ndarray, usual: np.ndarray) -> Crystals:
        """Add to the answer what its misfit shows beyond that of replicas.

        A crystal has a part outside any support (fringes that end at the edge of the
        detector ring around its surface). No answer has it, and replicas of the answer
        alone would not miss it. Along the amplitude the counts give this part; across,
        where the counts say nothing, as much is drawn at random.

        Parameters
        ----------
        counts
            Measured counts; NaN where nothing was measured.
        usual
            `squares` for replicas of the answer alone.
        """
        amplitude = np.sqrt(np.fft.ifftshift(counts))
        found = squares(self.along, amplitude)
        beyond = np.maximum(found - usual, 0) / _LEFT
        part = np.sqrt(beyond / np.maximum(found, _DARK)).astype(np.float32)
        grade = _grade(self.along)
        off = np.nan_to_num(amplitude - self.along)
        across = np.sqrt(beyond).astype(np.float32)[grade]
        return replace(self, along=self.along + part[grade] * off, across=across)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return a crystal, complex64, and its mean counts; origins at ``n // 2``."""
        import scipy.fft

        drawn = rng.standard_normal(self.across.shape, dtype=np.float32)
        across = self.across * drawn
        crystal = scipy.fft.ifftn(self.field * (self.along + 1j * across))
        mean = np.fft.fftshift(self.along**2 + across**2)
        return np.fft.fftshift(crystal).astype(np.complex64), mean


def amplitudes(
    rho: np.ndarray, counts: np.ndarray, blur: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the amplitudes of an object, scaled to its counts, and of the counts.

    Both have their origin in the corner; amplitudes of the counts are NaN where nothing
    was measured.
    """
    return _scaled(_transform(rho), counts, blur)


def _transform(rho: np.ndarray) -> np.ndarray:
    """Return the transform of an object, origin in the corner."""
    import scipy.fft

    field: np.ndarray = scipy.fft.fftn(np.fft.ifftshift(rho))
    return field


def _scaled(
    field: np.ndarray, counts: np.ndarray, blur: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return `amplitudes` of an object from its transform."""
    mean = _blurred((np.abs(field) ** 2).astype(np.float32), blur)
    seen = np.fft.ifftshift(counts)
    scale = matched_scale(mean, seen, np.isfinite(seen))
    return np.sqrt(mean * np.float32(scale)), np.sqrt(seen)


def squares(modulus: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    """Return the mean square misfit of amplitudes for each grade of brightness."""
    measured = np.isfinite(amplitude)
    known = _grade(modulus)[measured]
    off = (amplitude - modulus)[measured].astype(float)
    number = np.bincount(known, minlength=_GRADES)
    return np.bincount(known, off**2, minlength=_GRADES) / np.maximum(number, 1)


def _grade(modulus: np.ndarray) -> np.ndarray:
    """Return the brightness in powers of two; photon noise and misfit follow it."""
    above = np.maximum(modulus**2, _FAINT) / _FAINT
    return np.minimum(np.log2(above).astype(int), _GRADES - 1)


def _blurred(intensity: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Blur a pattern, origin in the corner, by partial coherence."""
    if blur.size == 1:
        return intensity
    coherence = Coherence(intensity)
    coherence.take(_in_the_corner(blur, intensity.shape))
    return np.asarray(coherence.blur(intensity))


def _in_the_corner(blur: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    whole = np.zeros(shape, np.float32)
    place = tuple(
        slice(n // 2 - m // 2, n // 2 + m // 2 + 1)
        for n, m in zip(shape, blur.shape, strict=True)
    )
    whole[place] = blur
    return np.fft.ifftshift(whole)
