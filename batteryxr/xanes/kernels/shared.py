"""Make one step of a fit in which some parameters are common to all rows.

At given common parameters every row is fitted in the others. The gain of the common
ones is computed after the others have followed (the Schur complement of the normal
equations), and is summed over rows. Source: Golub and Pereyra, Inverse Problems 19,
R1 (2003), section 5, on separating variables.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.kernels.compiling import njit
from batteryxr.xanes.kernels.batch import compress, count_free, scale_start
from batteryxr.xanes.kernels.levenberg import descend, factorise, normal, substitute
from batteryxr.xanes.kernels.memory import (
    Scratch,
    first_points,
    new_points,
    new_work,
    shorter_work,
)
from batteryxr.xanes.kernels.problem import INNER, Model, Problem

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats, FloatTable, Line


@njit(**INNER)
def _held(model: Model, shared: Line[bool], start: Floats) -> Model:
    """Return the model with its common parameters held at their start."""
    low, high = model.low.copy(), model.high.copy()
    for k in range(low.size):
        if shared[k]:
            low[k] = start[k]
            high[k] = start[k]
    return Model(
        model.kinds,
        model.offsets,
        low,
        high,
        model.linear,
        model.constant,
        model.jump,
        model.tracked,
    )


@njit(**INNER)
def _is_own(k: int, p: Floats, held: Model, a: FloatTable) -> bool:
    """Tell if a parameter is the row's own, off its bounds and with an effect."""
    return held.low[k] < p[k] < held.high[k] and a[k, k] > 0.0


@njit(**INNER)
def _add_reduced(
    p: Floats,
    held: Model,
    shared: Line[bool],
    work: Scratch,
    hessian: FloatTable,
    gradient: Floats,
) -> None:
    """Add one row's equations for the common parameters, with its own eliminated."""
    a, b, lower, g, d, q = work.a, work.b, work.lower, work.g, work.d, work.q
    n = p.size
    for i in range(n):
        for j in range(i):
            a[j, i] = a[i, j]
    # Keep rows and columns of the row's own free parameters, identity elsewhere.
    for i in range(n):
        own_i = _is_own(i, p, held, a)
        for j in range(i + 1):
            b[i, j] = a[i, j] if own_i and _is_own(j, p, held, a) else 0.0
        if not own_i:
            b[i, i] = 1.0
        else:
            b[i, i] *= 1.0 + 1e-12
    if not factorise(b, lower):
        return
    for s in range(n):
        if not shared[s]:
            continue
        for k in range(n):
            q[k] = a[k, s] if _is_own(k, p, held, a) else 0.0
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


@njit(nogil=True, cache=True, error_model="numpy")
def reduce_rows(
    problem: Problem,
    data: FloatTable,
    shared: Line[bool],
    hessian: FloatTable,
    gradient: Floats,
) -> tuple[float, int, int]:
    """Add the reduced normal equations of every row to `hessian` and `gradient`.

    Parameters
    ----------
    problem
        As for `fit_rows`. Only the first start is used, with its common parameters
        held.
    data : (N, m) float64
        Spectra. Values that are not finite are left out of their row.
    shared : (n,) bool
        Which parameters are common.
    hessian : (n, n) float64, gradient : (n,) float64
        Outputs, added to at the common parameters.

    Returns
    -------
    chi2 : float
        Sum over the rows.
    points, used : int
        Number of points, and of rows.
    """
    axis, model, search, _ = problem
    start, start_curve = search.starts[0], search.curves[0]
    n_rows, m_all = data.shape
    n = model.low.size
    held = _held(model, shared, start)
    n_free = count_free(held)
    p, index, curve = np.empty(n), np.empty(m_all, np.int64), np.empty(m_all)
    room, row_points = new_work(n, m_all), new_points(m_all, False)
    chi2 = 0.0
    n_points, used = 0, 0
    for row in range(n_rows):
        m, total = compress(axis, data[row], data[row], row_points, index)
        if m <= n_free or total == 0.0:
            continue
        work = room if m == m_all else shorter_work(room, m)
        points = first_points(row_points, m)
        for i in range(m):
            curve[i] = start_curve[index[i]]
        scale_start(points.y, curve[:m], start, model, p)
        for k in range(n):
            p[k] = min(max(p[k], held.low[k]), held.high[k])
        chi, _, res, jacobian = descend(
            points, p, held, work, search.tolerance, search.limit
        )
        chi2 += chi
        n_points += m
        used += 1
        normal(jacobian, res, work.a, work.g)
        _add_reduced(p, held, shared, work, hessian, gradient)
    return chi2, n_points, used


def step(
    hessian: np.ndarray,
    gradient: np.ndarray,
    theta: np.ndarray,
    *,
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
    """Return the standard errors of the common parameters; NaN at a bound."""
    out = np.full(len(hessian), math.nan)
    if inside.any():
        inverse = np.linalg.pinv(hessian[np.ix_(inside, inside)])
        out[inside] = np.sqrt(variance * np.maximum(np.diag(inverse), 0.0))
    return out
