"""Levels before and after the edge, and the noise below it."""

from __future__ import annotations

import warnings

import numpy as np


def edge_levels(
    data: np.ndarray, *, pre: np.ndarray, post: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sample standard deviation below the edge, and the step over it.

    Parameters
    ----------
    data : (..., m)
        Spectra; what is not finite is left out.
    pre, post : (m,) bool
        Energies below and above the edge.

    Returns
    -------
    noise, step : (...)
        NaN where no energy is left.
    """
    before = np.array(data[..., pre], dtype=float)
    after = np.array(data[..., post], dtype=float)
    before[~np.isfinite(before)] = np.nan
    after[~np.isfinite(after)] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # empty rows give NaN
        noise = np.nanstd(before, axis=-1, ddof=1)
        step = np.nanmean(after, axis=-1) - np.nanmean(before, axis=-1)
    return noise, step


def pooled_sd(deviations: np.ndarray, n: int) -> float:
    """Return the common standard deviation behind many samples of size `n`.

    The median of the sample deviations, freed of its bias: for normal noise the
    median of s² (n - 1) / sigma² is that of chi-squared with n - 1 degrees of freedom.
    """
    from scipy.special import chdtri

    usable = deviations[np.isfinite(deviations) & (deviations > 0)]
    if usable.size == 0:
        return 0.0
    return float(np.median(usable) / np.sqrt(chdtri(n - 1, 0.5) / (n - 1)))
