"""Solve least squares with non-negative weights exactly, for many spectra.

The standards are reduced once by an orthogonal factorisation. Each spectrum is then a
problem with as many rows as standards. It is solved by the active-set method of Lawson
and Hanson (Solving Least Squares Problems, 1974, chapter 23). If the weights must sum
to one, the same method moves along that constraint.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.kernels.compiling import njit
from batteryxr.xanes.kernels.problem import INNER

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats, FloatTable, Ints, Line

#: Vectors that `_solve` overwrites: right side, reflection, and multiplier of the sum.
_RIGHT, _MIRROR, _ONES = range(3)


@njit(**INNER)
def _solve(
    r: FloatTable,
    z: Floats,
    chosen: Ints,
    n_chosen: int,
    sum_to_one: bool,
    t: FloatTable,
    v: FloatTable,
    out: Floats,
) -> None:
    """Solve least squares on the chosen columns of `r`, by Householder reflections.

    Triangle `t` (n, n) and vectors `v` (3, n) are overwritten.
    """
    n = r.shape[0]
    for c in range(n_chosen):
        for i in range(n):
            t[i, c] = r[i, chosen[c]]
    for i in range(n):
        v[_RIGHT, i] = z[i]
    for c in range(n_chosen):
        norm = 0.0
        for i in range(c, n):
            norm += t[i, c] * t[i, c]
        norm = math.sqrt(norm)
        if norm == 0.0:
            continue
        alpha = -norm if t[c, c] > 0.0 else norm
        for i in range(c, n):
            v[_MIRROR, i] = t[i, c]
        v[_MIRROR, c] -= alpha
        square = 0.0
        for i in range(c, n):
            square += v[_MIRROR, i] * v[_MIRROR, i]
        if square == 0.0:
            continue
        for j in range(c, n_chosen):
            s = 0.0
            for i in range(c, n):
                s += v[_MIRROR, i] * t[i, j]
            s *= 2.0 / square
            for i in range(c, n):
                t[i, j] -= s * v[_MIRROR, i]
        s = 0.0
        for i in range(c, n):
            s += v[_MIRROR, i] * v[_RIGHT, i]
        s *= 2.0 / square
        for i in range(c, n):
            v[_RIGHT, i] -= s * v[_MIRROR, i]
    _back(t, v, _RIGHT, n_chosen)
    for c in range(n_chosen):
        out[c] = v[_RIGHT, c]
    if sum_to_one:
        # The solution under 1ᵀw = 1 is w + (RᵀR)⁻¹ 1 times a multiplier.
        for c in range(n_chosen):
            s = 1.0
            for k in range(c):
                s -= t[k, c] * v[_ONES, k]
            v[_ONES, c] = s / t[c, c]
        _back(t, v, _ONES, n_chosen)
        missing = 1.0
        total = 0.0
        for c in range(n_chosen):
            missing -= out[c]
            total += v[_ONES, c]
        for c in range(n_chosen):
            out[c] += missing / total * v[_ONES, c]


@njit(forceinline=True, **INNER)
def _back(t: FloatTable, v: FloatTable, row: int, n: int) -> None:
    """Solve the triangle for one of the vectors, in place."""
    for c in range(n - 1, -1, -1):
        s = v[row, c]
        for k in range(c + 1, n):
            s -= t[c, k] * v[row, k]
        v[row, c] = s / t[c, c] if t[c, c] != 0.0 else 0.0


@njit(forceinline=True, **INNER)
def _begin(
    r: FloatTable,
    z: Floats,
    sum_to_one: bool,
    chosen: Ints,
    member: Line[bool],
    w: Floats,
) -> int:
    """Empty the active set, or start with the standard that fits best alone."""
    n = w.size
    for k in range(n):
        w[k] = 0.0
        member[k] = False
    if not sum_to_one:
        return 0
    best = 0
    least = math.inf
    for k in range(n):
        s = 0.0
        for i in range(n):
            s += (z[i] - r[i, k]) ** 2
        if s < least:
            least, best = s, k
    w[best] = 1.0
    member[best] = True
    chosen[0] = best
    return 1


@njit(forceinline=True, **INNER)
def _slope(
    r: FloatTable,
    z: Floats,
    w: Floats,
    residual: Floats,
    gradient: Floats,
) -> None:
    """Fill the residual, and the gradient of the sum of squares by each weight."""
    n = w.size
    for i in range(n):
        s = z[i]
        for k in range(n):
            s -= r[i, k] * w[k]
        residual[i] = s
    for k in range(n):
        s = 0.0
        for i in range(n):
            s += r[i, k] * residual[i]
        gradient[k] = s


@njit(forceinline=True, **INNER)
def _walk(
    w: Floats, count: int, chosen: Ints, step: Floats, member: Line[bool]
) -> tuple[int, bool]:
    """Move to the solution, or to the first weight that reaches zero and is dropped.

    Returns the number of weights left, and whether the solution was reached.
    """
    share = 1.0
    for c in range(count):
        if step[c] <= 0.0:
            k = chosen[c]
            share = min(share, w[k] / (w[k] - step[c]) if w[k] > step[c] else 0.0)
    for c in range(count):
        k = chosen[c]
        w[k] += share * (step[c] - w[k])
    if share == 1.0:
        return count, True
    kept = 0
    for c in range(count):
        k = chosen[c]
        if step[c] <= 0.0 and w[k] <= 1e-14:
            w[k] = 0.0
            member[k] = False
        else:
            chosen[kept] = k
            kept += 1
    return kept, kept == count  # nothing reached zero: rounding


@njit(nogil=True, cache=True, error_model="numpy")
def solve_rows(
    r: FloatTable,
    z: FloatTable,
    non_negative: bool,
    sum_to_one: bool,
    weights: FloatTable,
) -> None:
    """Fill the weights of every row.

    Parameters
    ----------
    r : (n, n) float64
        Triangular factor of the standards.
    z : (N, n) float64
        Spectra, projected on the orthogonal factor.
    non_negative, sum_to_one : bool
        Constraints.
    weights : (N, n) float64
        Output.
    """
    n_rows, n = z.shape
    step: Floats
    gradient: Floats
    chosen: Ints
    member: Line[bool]
    t, v = np.empty((n, n)), np.empty((3, n))
    step, gradient, residual = np.empty(n), np.empty(n), np.empty(n)
    chosen, member = np.empty(n, np.int64), np.empty(n, np.bool_)
    for k in range(n):
        chosen[k] = k
    scale = 0.0
    for i in range(n):
        for j in range(n):
            scale = max(scale, abs(r[i, j]))
    for row in range(n_rows):
        y, w = z[row], weights[row]
        if not non_negative:
            _solve(r, y, chosen, n, sum_to_one, t, v, w)
            continue
        size = 0.0
        for i in range(n):
            size = max(size, abs(y[i]))
        tolerance = 1e-13 * n * scale * max(scale, size)
        count = _begin(r, y, sum_to_one, chosen, member, w)
        banned = -1
        for _round in range(10 * n):
            _slope(r, y, w, residual, gradient)
            shift = 0.0
            if sum_to_one:
                for c in range(count):
                    shift += gradient[chosen[c]] / count
            best = -1
            most = tolerance
            for k in range(n):
                gain = gradient[k] - shift
                if not member[k] and k != banned and gain > most:
                    most, best = gain, k
            if best < 0:
                break
            member[best] = True
            chosen[count] = best
            count += 1
            first = True
            while count > 0:
                _solve(r, y, chosen, count, sum_to_one, t, v, step)
                if first:  # rounding may choose a column that cannot enter
                    banned = best if step[count - 1] <= 0.0 else -1
                first = False
                count, done = _walk(w, count, chosen, step, member)
                if done:
                    break
