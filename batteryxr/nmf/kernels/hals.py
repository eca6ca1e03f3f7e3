"""Hierarchical alternating least squares on Gram matrices.

One sweep minimises over each row in turn in closed form (Cichocki & Phan, IEICE
Trans. E92-A, 708, 2009). A sweep costs k^2 per column whatever the data's length, so
several are done per product with the data (Gillis & Glineur, Neural Comput. 24, 1085,
2012). Smoothness adds the squared second differences of each row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Cube, Floats, FloatTable


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
    """Improve as `sweep`, `stiffness[j] * sum(second difference of row j)^2` added."""
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
                # Each second difference h[c-1] - 2 h[c] + h[c+1] that holds p.
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
