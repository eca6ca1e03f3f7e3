"""One step of a fit in which some parameters are common to all rows.

At given common parameters every row is fitted in the others; what the common ones
would gain is left after the others have followed (the Schur complement of the normal
equations), and is summed over rows. Source: Golub and Pereyra, Inverse Problems 19,
R1 (2003), section 5, on separating variables.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from batteryxr.xanes.kernels.batch import compress, scale_start
from batteryxr.xanes.kernels.levenberg import descend, factorise, normal, substitute


@numba.njit(nogil=True, cache=True, error_model="numpy")
def reduce_rows(  # type: ignore[no-untyped-def]
    x, scaled, data, start, start_curve, linear, constant, low, high, kinds, offsets,
    shared, tolerance, limit, hessian, gradient,
):  # fmt: skip
    """Add the reduced normal equations of every row to `hessian` and `gradient`.

    Parameters
    ----------
    x, scaled, data, start_curve, linear, constant, kinds, offsets
        As in `fit_rows`.
    start : (n,) float64
        Start values, the common parameters among them.
    low, high : (n,) float64
        Bounds of the others; the common ones are held.
    shared : (n,) bool
        Which parameters are common.
    hessian : (n, n) float64, gradient : (n,) float64
        Added to, at the common parameters.

    Returns
    -------
    chi2 : float
        Sum over the rows.
    points, used : int
        Points in them, and rows.
    """
    n_rows, m_all = data.shape
    n = low.size
    lo, hi = low.copy(), high.copy()
    for k in range(n):
        if shared[k]:
            lo[k] = start[k]
            hi[k] = start[k]
    n_free = int((lo < hi).sum())
    p = np.empty(n)
    a, b, lower = np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
    g, d, q = np.empty(n), np.empty(n), np.empty(n)
    free = np.empty(n, np.bool_)
    index = np.empty(m_all, np.int64)
    x_row, s_row, y_row = np.empty(m_all), np.empty(m_all), np.empty(m_all)
    w_row, c_row = np.empty(m_all), np.empty(m_all)
    r, r2 = np.empty(m_all), np.empty(m_all)
    jac, jac2 = np.empty((n, m_all)), np.empty((n, m_all))
    chi2 = 0.0
    points, used = 0, 0
    for row in range(n_rows):
        m, total = compress(
            x, scaled, data[row], data[row], False, index, x_row, s_row, y_row, w_row
        )
        if m <= n_free or total == 0.0:
            continue
        if m == m_all:
            work = (r, r2, jac, jac2, a, b, lower, g, d, q, free)
        else:
            short = np.empty((2, n, m))
            work = (r[:m], r2[:m], short[0], short[1], a, b, lower, g, d, q, free)
        for i in range(m):
            c_row[i] = start_curve[index[i]]
        scale_start(y_row[:m], c_row[:m], start, linear, constant, p)
        for k in range(n):
            p[k] = min(max(p[k], lo[k]), hi[k])
        chi, _, res, jacobian = descend(
            x_row[:m], s_row[:m], y_row[:m], w_row[:m], False, p, lo, hi, kinds,
            offsets, tolerance, limit, work,
        )  # fmt: skip
        chi2 += chi
        points += m
        used += 1
        normal(jacobian, res, a, g)
        for i in range(n):
            for j in range(i):
                a[j, i] = a[i, j]
        # Rows and columns of the row's own free parameters, identity elsewhere.
        for i in range(n):
            own_i = lo[i] < p[i] < hi[i] and a[i, i] > 0.0
            for j in range(i + 1):
                own_j = lo[j] < p[j] < hi[j] and a[j, j] > 0.0
                b[i, j] = a[i, j] if own_i and own_j else 0.0
            if not own_i:
                b[i, i] = 1.0
            else:
                b[i, i] *= 1.0 + 1e-12
        if not factorise(b, lower):
            continue
        for s in range(n):
            if not shared[s]:
                continue
            for k in range(n):
                own = lo[k] < p[k] < hi[k] and a[k, k] > 0.0
                q[k] = a[k, s] if own else 0.0
            substitute(lower, q, d)
            gain = g[s]
            for k in range(n):
                gain -= d[k] * g[k] if q[k] != 0.0 else 0.0
            gradient[s] += gain
            for t in range(n):
                if shared[t]:
                    left = a[t, s]
                    for k in range(n):
                        if q[k] != 0.0:
                            left -= a[t, k] * d[k]
                    hessian[t, s] += left
    return chi2, points, used


def step(
    hessian: np.ndarray,
    gradient: np.ndarray,
    theta: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    damping: float,
) -> np.ndarray:
    """Return the common parameters after one damped step inside their bounds."""
    pressed = ((theta <= low) & (gradient <= 0)) | ((theta >= high) & (gradient >= 0))
    move = np.zeros_like(theta)
    free = ~pressed & (np.diag(hessian) > 0)
    if free.any():
        part = hessian[np.ix_(free, free)]
        part = part + damping * np.diag(np.diag(part))
        move[free] = np.linalg.lstsq(part, gradient[free], rcond=None)[0]
    return np.asarray(np.clip(theta + move, low, high))


def standard_errors(
    hessian: np.ndarray, variance: float, inside: np.ndarray
) -> np.ndarray:
    """Return the standard errors of the common parameters, NaN at a bound."""
    out = np.full(len(hessian), math.nan)
    if inside.any():
        inverse = np.linalg.pinv(hessian[np.ix_(inside, inside)])
        out[inside] = np.sqrt(variance * np.maximum(np.diag(inverse), 0.0))
    return out
