"""Whether chains agree: between-chain variance and effective sample size."""

from __future__ import annotations

import numpy as np


def potential_scale(draws: np.ndarray) -> np.ndarray:
    """Return R-hat of split chains: near 1 where all have found the same.

    Gelman & Rubin, Stat. Sci. 7, 457 (1992); split as in Vehtari et al., Bayesian
    Anal. 16, 667 (2021).

    Parameters
    ----------
    draws
        (chains, draws, ...).

    Returns
    -------
    numpy.ndarray
        (...), NaN where nothing varies.
    """
    half = draws.shape[1] // 2
    split = np.concatenate([draws[:, :half], draws[:, half : 2 * half]])
    within = split.var(axis=1, ddof=1).mean(axis=0)
    between = split.mean(axis=1).var(axis=0, ddof=1)
    least = 1e-24 * np.maximum((draws**2).mean(axis=(0, 1)), 1e-300)
    varies = within + between > least
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.sqrt((within * (half - 1) / half + between) / within)
    return np.where(varies, ratio, np.nan)


def effective_size(draws: np.ndarray) -> np.ndarray:
    """Return how many independent draws the draws of all chains are worth.

    By the initial monotone sequence of summed autocorrelations (Geyer, Stat. Sci. 7,
    473, 1992) of all chains together, spread between chains included.

    Parameters
    ----------
    draws
        (chains, draws, ...).

    Returns
    -------
    numpy.ndarray
        (...), NaN where nothing varies.
    """
    chains, n = draws.shape[:2]
    centred = draws - draws.mean(axis=1, keepdims=True)
    size = 2 ** int(np.ceil(np.log2(2 * n)))
    power = np.abs(np.fft.rfft(centred, size, axis=1)) ** 2
    covariance = np.fft.irfft(power, size, axis=1)[:, :n].mean(axis=0) / n
    within = covariance[0] * n / (n - 1)
    total = within * (n - 1) / n
    if chains > 1:
        total = total + draws.mean(axis=1).var(axis=0, ddof=1)
    varies = total > 1e-24 * np.maximum((draws**2).mean(axis=(0, 1)), 1e-300)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = 1 - (within - covariance) / total
    pairs = rho[0 : n - n % 2 : 2] + rho[1:n:2]
    pairs = np.minimum.accumulate(pairs, axis=0)
    stays = np.logical_and.accumulate(pairs > 0, axis=0)
    time = 2 * np.where(stays, pairs, 0.0).sum(axis=0) - 1
    return np.where(varies, chains * n / np.maximum(time, 1.0), np.nan)
