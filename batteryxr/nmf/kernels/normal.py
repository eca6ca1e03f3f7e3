"""Normal equations of both halves of a factorisation, and sweeps that solve them.

A sweep of hierarchical alternating least squares minimises over each row in turn in
closed form (Cichocki & Phan, IEICE Trans. E92-A, 708, 2009). It costs k^2 per column
whatever the data's length, so that several sweeps are done per product with the data
(Gillis & Glineur, Neural Comput. 24, 1085, 2012). Smoothness adds the squared second
differences of each row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Cube, Floats, FloatTable

#: Normal equations of one half: Gram, (k, k) or one per column, and right-hand side.
Terms = tuple[np.ndarray, np.ndarray]


class Normal(Protocol):
    """Give the normal equations of either half of the problem."""

    #: Weighted sum of squares of the data.
    total: float
    #: Mean of the data, the unit of the sparsity penalty.
    mean: float
    shape: tuple[int, int]

    def for_weights(self, components: np.ndarray) -> Terms:
        """Return Gram and right-hand side for the weights (k, samples)."""

    def for_components(self, weights: np.ndarray) -> Terms:
        """Return Gram and right-hand side for the components (k, points)."""

    def misfit(
        self, weights: np.ndarray, components: np.ndarray, terms: Terms
    ) -> float:
        """Return the weighted sum of squared residuals; `terms` of the components."""


class Plain:
    """Hold complete data (samples, points), equally weighted.

    Parameters
    ----------
    x
        (samples, points), or (samples, r) coordinates in `basis`.
    basis
        (points, r) orthonormal: the data are ``x @ basis.T`` plus a neglected rest.
    total
        Sum of squares of the data, if larger than that of `x`.
    """

    def __init__(
        self,
        x: np.ndarray,
        basis: np.ndarray | None = None,
        total: float | None = None,
        mean: float | None = None,
    ) -> None:
        self.x = x
        self.basis = basis
        self.total = square_sum(x) if total is None else total
        self.mean = float(x.mean(dtype=np.float64)) if mean is None else mean
        self.shape = (len(x), x.shape[1] if basis is None else len(basis))

    def for_weights(self, components: np.ndarray) -> Terms:
        """Return Gram and right-hand side for the weights."""
        h = components if self.basis is None else components @ self.basis
        rhs = h.astype(self.x.dtype, copy=False) @ self.x.T
        return components @ components.T, rhs

    def for_components(self, weights: np.ndarray) -> Terms:
        """Return Gram and right-hand side for the components."""
        rhs = weights.astype(self.x.dtype, copy=False) @ self.x
        return weights @ weights.T, rhs if self.basis is None else rhs @ self.basis.T

    def misfit(
        self, weights: np.ndarray, components: np.ndarray, terms: Terms
    ) -> float:
        """Return the sum of squared residuals without computing them."""
        gram, rhs = terms
        cross = float(np.vdot(components, rhs))
        return self.total - 2 * cross + float(np.vdot(components @ components.T, gram))


class Weighted:
    """Hold data with a statistical weight per value, zero where not measured."""

    def __init__(self, x: np.ndarray, v: np.ndarray) -> None:
        self.x = np.where(v > 0, x, 0.0)
        self.v = v
        self.vx = self.v * self.x
        self.total = float(np.vdot(self.vx, self.x))
        self.mean = float(self.vx.sum() / v.sum())
        self.shape = (len(x), x.shape[1])

    def for_weights(self, components: np.ndarray) -> Terms:
        """Return a Gram per sample, and the right-hand side."""
        return grams(components, self.v.T), components @ self.vx.T

    def for_components(self, weights: np.ndarray) -> Terms:
        """Return a Gram per point, and the right-hand side."""
        return grams(weights, self.v), weights @ self.vx

    def misfit(
        self, weights: np.ndarray, components: np.ndarray, terms: Terms
    ) -> float:
        """Return the weighted sum of squared residuals."""
        residual = self.x - weights.T @ components
        return float(np.vdot(self.v * residual, residual))


def square_sum(x: np.ndarray) -> float:
    """Return the sum of squares in float64, whatever the dtype."""
    if x.dtype == np.float64:
        return float(np.vdot(x, x))
    return float(np.einsum("ij,ij->", x, x, dtype=np.float64))


def grams(rows: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return ``rows diag(v[:, q]) rows'`` for each q, as one product: (q, k, k)."""
    k = len(rows)
    a, b = np.triu_indices(k)
    packed = (rows[a] * rows[b]) @ v
    out = np.empty((v.shape[1], k, k))
    out[:, a, b] = out[:, b, a] = packed.T
    return out


def sweep(gram: np.ndarray, rhs: np.ndarray, rows: np.ndarray, sweeps: int) -> None:
    """Improve `rows` (k, q) in place towards ``gram @ rows = rhs``, rows >= 0.

    `gram` is (k, k), or (q, k, k) where each column has its own.
    """
    rhs = np.ascontiguousarray(rhs)
    if gram.ndim == 2:
        _sweep_all(gram, rhs, rows, sweeps)
    else:
        _sweep_each(gram, rhs, rows, sweeps)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _sweep_all(
    gram: FloatTable, rhs: FloatTable, rows: FloatTable, sweeps: int
) -> None:
    k, q = rows.shape
    new: Floats = np.empty(q)
    for _ in range(sweeps):
        for j in range(k):
            g = gram[j, j]
            if g <= 0.0:
                continue
            for p in range(q):
                new[p] = rhs[j, p]
            for i in range(k):
                if i != j:
                    h = gram[j, i]
                    for p in range(q):
                        new[p] -= h * rows[i, p]
            for p in range(q):
                rows[j, p] = max(new[p] / g, 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _sweep_each(
    grams: Cube[float], rhs: FloatTable, rows: FloatTable, sweeps: int
) -> None:
    k, q = rows.shape
    for p in range(q):
        for _ in range(sweeps):
            for j in range(k):
                g = grams[p, j, j]
                if g <= 0.0:
                    continue
                s = rhs[j, p] + g * rows[j, p]
                for i in range(k):
                    s -= grams[p, j, i] * rows[i, p]
                rows[j, p] = max(s / g, 0.0)


def sweep_smooth(
    gram: np.ndarray,
    rhs: np.ndarray,
    rows: np.ndarray,
    stiffness: np.ndarray,
    sweeps: int,
) -> None:
    """Sweep like `sweep`, adding ``stiffness[j] sum(second difference of row j)^2``."""
    grams = gram[None] if gram.ndim == 2 else gram
    _sweep_smooth(grams, np.ascontiguousarray(rhs), rows, stiffness, sweeps)


@njit(cache=True, nogil=True, error_model="numpy")
def _sweep_smooth(
    grams: Cube[float],
    rhs: FloatTable,
    rows: FloatTable,
    stiffness: Floats,
    sweeps: int,
) -> None:
    k, q = rows.shape
    own_gram = len(grams) == q
    for _ in range(sweeps):
        for j in range(k):
            for p in range(q):
                gram = grams[p if own_gram else 0]
                g = gram[j, j]
                if g <= 0.0:
                    continue
                s = rhs[j, p]
                for i in range(k):
                    if i != j:
                        s -= gram[j, i] * rows[i, p]
                diagonal = 0.0
                pull = 0.0
                # Loop over the second differences h[c-1] - 2 h[c] + h[c+1] with p.
                for c in range(max(1, p - 1), min(q - 2, p + 1) + 1):
                    own = -2.0 if c == p else 1.0
                    rest = rows[j, c - 1] - 2.0 * rows[j, c] + rows[j, c + 1]
                    rest -= own * rows[j, p]
                    diagonal += own * own
                    pull += own * rest
                v = (s - stiffness[j] * pull) / (g + stiffness[j] * diagonal)
                rows[j, p] = max(v, 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def roughness(rows: np.ndarray) -> np.ndarray:
    """Return the sum of squared second differences of each row."""
    k, q = rows.shape
    out = np.zeros(k)
    for j in range(k):
        for c in range(1, q - 1):
            d = rows[j, c - 1] - 2.0 * rows[j, c] + rows[j, c + 1]
            out[j] += d * d
    return out
