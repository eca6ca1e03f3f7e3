"""Products and solutions of small matrices, in loops.

For a few rows they are as fast as matrix products, and numba compiles them in a third
of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats, FloatTable


@njit(cache=True, nogil=True, error_model="numpy")
def dot(a: Floats, b: Floats) -> float:
    """Return the scalar product."""
    total = 0.0
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def products(a: FloatTable, b: FloatTable) -> FloatTable:
    """Return all scalar products of rows of `a` and `b`."""
    out: FloatTable = np.zeros((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)):
            for p in range(a.shape[1]):
                out[i, j] += a[i, p] * b[j, p]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def trace_of(a: FloatTable) -> float:
    """Return the sum of the diagonal."""
    total = 0.0
    for j in range(len(a)):
        total += a[j, j]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def solve(a: FloatTable, b: FloatTable) -> None:
    """Solve a x = b in place of `b`; `a`, positive definite, is overwritten."""
    k = len(a)
    for j in range(k):
        for i in range(j + 1, k):
            factor = a[i, j] / a[j, j]
            for q in range(j + 1, k):
                a[i, q] -= factor * a[j, q]
            for q in range(b.shape[1]):
                b[i, q] -= factor * b[j, q]
    for j in range(k - 1, -1, -1):
        for q in range(b.shape[1]):
            for i in range(j + 1, k):
                b[j, q] -= a[j, i] * b[i, q]
            b[j, q] /= a[j, j]
