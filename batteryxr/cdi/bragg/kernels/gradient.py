"""Gradients of a phase that may be wrapped, inside a support of any shape."""

from __future__ import annotations

import math

import numba
import numpy as np

_TAU = 2 * math.pi


def along(
    phase: np.ndarray, support: np.ndarray, basis: np.ndarray, q: np.ndarray
) -> np.ndarray:
    """Return the derivative of phase / |Q| along Q.

    Parameters
    ----------
    phase
        (i, j, k) phase (rad), wrapped or not.
    support
        (i, j, k) bool.
    basis
        (3, 3) step of each index in space: axis, then (x, y, z); Angstrom.
    q
        (3,) scattering vector; 1/Angstrom.

    Returns
    -------
    numpy.ndarray
        (i, j, k), float64. NaN outside the support, and where a voxel has no
        neighbour along an axis.
    """
    length = float(np.linalg.norm(q))
    # phase(r) with r = sum n_i D_i: the index derivatives are D times the gradient.
    weights = np.linalg.solve(np.asarray(basis, float).T, np.asarray(q) / length)
    return _along(
        np.ascontiguousarray(phase, dtype=np.float64),
        np.ascontiguousarray(support, dtype=np.bool_),
        weights / length,
    )


@numba.njit(cache=True, nogil=True)
def _along(phase, support, weights):  # type: ignore[no-untyped-def]
    out = np.full(phase.shape, np.nan)
    n0, n1, n2 = phase.shape
    for i in range(n0):
        for j in range(n1):
            for k in range(n2):
                if not support[i, j, k]:
                    continue
                total = 0.0
                for axis in range(3):
                    d0, d1, d2 = axis == 0, axis == 1, axis == 2
                    slope, count = 0.0, 0
                    a, b, c = i + d0, j + d1, k + d2
                    if a < n0 and b < n1 and c < n2 and support[a, b, c]:
                        step = phase[a, b, c] - phase[i, j, k]
                        # Wrapped: the cut that ends at a dislocation leaves no trace.
                        slope += step - _TAU * np.round(step / _TAU)
                        count += 1
                    a, b, c = i - d0, j - d1, k - d2
                    if a >= 0 and b >= 0 and c >= 0 and support[a, b, c]:
                        step = phase[i, j, k] - phase[a, b, c]
                        slope += step - _TAU * np.round(step / _TAU)
                        count += 1
                    total += weights[axis] * slope / count if count else np.nan
                out[i, j, k] = total
    return out
