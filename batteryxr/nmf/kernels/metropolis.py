"""Monte Carlo moves of one factor, the other held: Metropolis, and exact draws.

A factor x is (k, q): components (k, points) or weights (k, samples). The normal
equations, Gram and right-hand side, hold all that the other factor and the data
contribute. A proposal therefore costs O(k), whatever the size of the data: a change d
of entry j changes half the misfit by ``G_jj d^2 / 2 - d (rhs_j - G_j . x)``. The
probability of a state is ``exp(-misfit / (2 noise T))``, with misfit the sum of squared
residuals; it is the posterior for a flat prior at T = 1 (Metropolis et al., J. Chem.
Phys. 21, 1087, 1953; Geman & Geman, IEEE Trans. PAMI 6, 721, 1984).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Cube, FloatTable, Line
    from batteryxr.nmf.kernels.normal import Terms


@njit(cache=True, nogil=True, error_model="numpy")
def _gram(grams: Cube[float], c: int) -> FloatTable:
    """Return the Gram matrix of a column: its own, or the shared one."""
    return grams[c if len(grams) > 1 else 0]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _pull(gram: FloatTable, rhs: FloatTable, x: FloatTable, j: int, c: int) -> float:
    """Return the force on entry (j, c), all other entries fixed."""
    pull = rhs[j, c]
    for i in range(x.shape[0]):
        pull -= gram[j, i] * x[i, c]
    return pull


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _pull_between(
    gram: FloatTable, rhs: FloatTable, x: FloatTable, a: int, b: int, c: int
) -> float:
    """Return the force that moves weight from row b to row a of a column."""
    pull = rhs[a, c] - rhs[b, c]
    for i in range(x.shape[0]):
        pull -= (gram[a, i] - gram[b, i]) * x[i, c]
    return pull


@njit(cache=True, nogil=True, error_model="numpy")
def propose_entries(
    rng: np.random.Generator,
    terms: Terms,
    x: FloatTable,
    free: Line[bool],
    temperature: float,
    step: float,
) -> float:
    """Try to change each free entry once, in place; return the fraction accepted.

    Parameters
    ----------
    rng
        Random numbers.
    terms
        Grams, (1, k, k) or (q, k, k) where each column has its own, and the
        right-hand side (k, q); both float64 and contiguous.
    x
        (k, q), never negative.
    free
        (k,) bool: rows that may change.
    temperature
        Variance of the noise times T.
    step
        Standard deviation of a proposal, over that of the conditional distribution.
    """
    rhs: FloatTable
    grams, rhs = terms
    k, q = x.shape
    tried = accepted = 0
    for c in range(q):
        gram = _gram(grams, c)
        for j in range(k):
            if not free[j] or gram[j, j] <= 0.0:
                continue
            tried += 1
            d = step * math.sqrt(temperature / gram[j, j]) * rng.normal()
            if x[j, c] + d < 0.0:
                continue
            pull = _pull(gram, rhs, x, j, c)
            change = 0.5 * gram[j, j] * d * d - d * pull
            if change <= 0.0 or rng.random() < math.exp(-change / temperature):
                x[j, c] += d
                accepted += 1
    return accepted / max(tried, 1)


@njit(cache=True, nogil=True, error_model="numpy")
def propose_transfers(
    rng: np.random.Generator,
    terms: Terms,
    x: FloatTable,
    temperature: float,
    step: float,
) -> float:
    """Try to move weight between all pairs of rows, keeping the sum of columns.

    Parameters and return value are as in `propose_entries`.
    """
    rhs: FloatTable
    grams, rhs = terms
    k, q = x.shape
    tried = accepted = 0
    for c in range(q):
        gram = _gram(grams, c)
        for a in range(k):
            for b in range(a):
                stiff = gram[a, a] + gram[b, b] - 2 * gram[a, b]
                if stiff <= 0.0:
                    continue
                tried += 1
                d = step * math.sqrt(temperature / stiff) * rng.normal()
                if x[a, c] + d < 0.0 or x[b, c] - d < 0.0:
                    continue
                pull = _pull_between(gram, rhs, x, a, b, c)
                change = 0.5 * stiff * d * d - d * pull
                if change <= 0.0 or rng.random() < math.exp(-change / temperature):
                    x[a, c] += d
                    x[b, c] -= d
                    accepted += 1
    return accepted / max(tried, 1)


@njit(cache=True, nogil=True, error_model="numpy")
def draw_entries(
    rng: np.random.Generator,
    terms: Terms,
    x: FloatTable,
    free: Line[bool],
    temperature: float,
) -> None:
    """Draw each free entry from its conditional, a normal truncated at zero."""
    rhs: FloatTable
    grams, rhs = terms
    k, q = x.shape
    for c in range(q):
        gram = _gram(grams, c)
        for j in range(k):
            if not free[j] or gram[j, j] <= 0.0:
                continue
            pull = _pull(gram, rhs, x, j, c)
            mean = x[j, c] + pull / gram[j, j]
            sigma = math.sqrt(temperature / gram[j, j])
            x[j, c] = max(mean + sigma * truncated(rng, -mean / sigma, np.inf), 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def draw_transfers(
    rng: np.random.Generator,
    terms: Terms,
    x: FloatTable,
    temperature: float,
) -> None:
    """Draw the amounts that move between pairs of rows, keeping the column sums."""
    rhs: FloatTable
    grams, rhs = terms
    k, q = x.shape
    for c in range(q):
        gram = _gram(grams, c)
        for a in range(k):
            for b in range(a):
                stiff = gram[a, a] + gram[b, b] - 2 * gram[a, b]
                both = x[a, c] + x[b, c]
                if both <= 0.0:
                    continue
                if stiff <= 0.0:
                    x[a, c] = both * rng.random()
                    x[b, c] = both - x[a, c]
                    continue
                pull = _pull_between(gram, rhs, x, a, b, c)
                mean = x[a, c] + pull / stiff
                sigma = math.sqrt(temperature / stiff)
                z = truncated(rng, -mean / sigma, (both - mean) / sigma)
                x[a, c] = min(max(mean + sigma * z, 0.0), both)
                x[b, c] = both - x[a, c]


@njit(cache=True, nogil=True, error_model="numpy")
def truncated(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw from the standard normal between two bounds.

    Candidates come from a normal, a uniform or an exponential distribution, whichever
    is seldom rejected there (Robert, Stat. Comput. 5, 121, 1995).
    """
    if not high > low:
        return low
    if low > 0.0:
        return _tail(rng, low, high)
    if high < 0.0:
        return -_tail(rng, -high, -low)
    if high - low < 2.0:
        while True:
            z = low + (high - low) * rng.random()
            if rng.random() <= math.exp(-0.5 * z * z):
                return z
    while True:
        z = rng.normal()
        if low <= z <= high:
            return z


@njit(cache=True, nogil=True, error_model="numpy")
def _tail(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw between two bounds above zero."""
    rate = 0.5 * (low + math.sqrt(low * low + 4.0))
    if (high - low) * rate < 1.0:
        while True:
            z = low + (high - low) * rng.random()
            if rng.random() <= math.exp(0.5 * (low * low - z * z)):
                return z
    while True:
        z = low + rng.exponential() / rate
        if z <= high and rng.random() <= math.exp(-0.5 * (z - rate) ** 2):
            return z
