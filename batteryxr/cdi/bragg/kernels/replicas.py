"""Replicas: what the same crystal would have given with other photons.

A parametric bootstrap: the pattern of the answer is taken as the mean of the counts,
counts are drawn from it anew, and phased from a random start. Replica less answer then
scatters as answer less truth does, with what iterations do to noise and what starts
leave open (Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.cdi.bragg.kernels.align import align
from batteryxr.cdi.bragg.kernels.answer import run
from batteryxr.cdi.bragg.kernels.coherence import Coherence
from batteryxr.cdi.bragg.kernels.metrics import matched_scale
from batteryxr.cdi.bragg.kernels.pattern import judge, prepare
from batteryxr.core.seeds import generators

if TYPE_CHECKING:
    from batteryxr.cdi.bragg.settings import RetrievalSettings

#: Overlap with the answer below which a replica found another minimum.
_ELSEWHERE = 0.8
#: Fewest that tell a standard deviation, and the widest that misfit makes it, squared.
_FEWEST, _WORST = 3, 4.0
#: Least part of the variance that averaging leaves.
_NARROWEST = 0.2


def replicas(
    rho: np.ndarray,
    counts: np.ndarray,
    blur: np.ndarray,
    averaged: float,
    number: int,
    *,
    settings: RetrievalSettings,
) -> tuple[np.ndarray, float]:
    """Return objects phased from counts that were drawn anew.

    What replicas differ by is widened where the answer fits its counts worse than they
    fit theirs, and by Student's factor for their number; it is narrowed as the answer
    is a mean of several starts.

    Parameters
    ----------
    rho
        (i, j, k) the answer, complex64, origin at ``n // 2``.
    counts
        (i, j, k) measured; NaN where nothing was.
    blur
        Blur of the pattern on odd numbers of voxels round 0; a single one is none.
    averaged
        Sum over voxels of the variance between starts that averaging the best of them
        took out of the answer; a replica is one start, and still has it.
    number
        Of the pattern, from 0: each has random numbers of its own.
    settings
        Iterations, number of replicas and seed.

    Returns
    -------
    replicas
        (n, i, j, k) complex64, aligned to the answer; NaN where one lost its support,
        or ended elsewhere: of an answer that is the best of several starts that tells
        nothing.
    worse
        Amplitude residual of the answer over the mean one of the replicas.
    """
    mean = expected(rho, counts, blur)
    out = np.full((settings.n_starts, *rho.shape), np.nan, np.complex64)
    if not np.isfinite(mean).all() or not mean.any():
        return out, np.nan
    measured = np.isfinite(counts)
    given = prepare(counts, np.random.default_rng(0), free=0.0, support=rho != 0)
    inner = None if blur.size == 1 else _in_the_corner(blur, rho.shape)
    own = judge(given, np.fft.ifftshift(rho), inner)["amp_residual"]
    residuals = []
    for k, rng in enumerate(generators(settings.seed + 7919 * number, len(out))):
        drawn = np.where(measured, rng.poisson(mean), np.nan)
        pattern = prepare(drawn, rng, free=settings.select.free)
        start = run(pattern, settings, rng)
        if start.failed:
            continue
        laid = align(rho, start.whole(start.box), ramp=False)
        if laid.overlap > _ELSEWHERE:
            out[k] = laid.field
            residuals.append(start.merits["amp_residual"])
    if len(residuals) < _FEWEST:
        return np.full_like(out, np.nan), np.nan
    worse = own / float(np.mean(residuals))
    n = len(residuals)
    # Student's quantile of one standard deviation, Cornish and Fisher's expansion.
    student = 1 + 0.5 / n + 0.25 / n**2
    factor = student * np.sqrt(min(max(worse, 1.0), _WORST))
    scatter = float(np.nansum(np.abs(out - rho) ** 2)) / n
    if scatter > 0:
        factor *= np.sqrt(max(1 - averaged / scatter, _NARROWEST))
    return rho + np.float32(factor) * (out - rho), worse


def expected(rho: np.ndarray, counts: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Return the counts that an object makes everywhere, scaled to those measured."""
    import scipy.fft

    field = scipy.fft.fftn(np.fft.ifftshift(rho))
    mean = (np.abs(field) ** 2).astype(np.float32)
    if blur.size > 1:
        coherence = Coherence(mean)
        coherence.take(_in_the_corner(blur, rho.shape))
        mean = np.asarray(coherence.blur(mean))
    mean = np.fft.fftshift(mean)
    return mean * np.float32(matched_scale(mean, counts, np.isfinite(counts)))


def _in_the_corner(blur: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    whole = np.zeros(shape, np.float32)
    place = tuple(
        slice(n // 2 - m // 2, n // 2 + m // 2 + 1)
        for n, m in zip(shape, blur.shape, strict=True)
    )
    whole[place] = blur
    return np.fft.ifftshift(whole)
