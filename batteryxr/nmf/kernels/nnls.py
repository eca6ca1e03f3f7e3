"""Exact non-negative least squares for many right-hand sides, with sum to one.

Each column w of the answer solves ``min 1/2 w'Gw - c'w`` subject to ``w >= 0`` and,
under closure, ``sum(w) = 1``. Block principal pivoting (Kim & Park, SIAM J. Sci.
Comput. 33, 3261, 2011) finds the passive set; for few components the inverses of
all 2^k passive sets are tabulated, so that a column costs a few products of k x k.
Where pivoting cycles, a primal active-set method finishes (Lawson & Hanson, 1974).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Cube, Floats, FloatTable, Ints, Line

#: Up to this many components all passive sets are tabulated.
TABULATED = 8
#: Columns solved at a time: their right-hand sides stay in the nearest cache.
_STRIP = 256
#: Relative to the mean diagonal: keeps Grams of near-equal components invertible.
_RIDGE = 1e-11


def solve(gram: np.ndarray, rhs: np.ndarray, *, closure: bool = False) -> np.ndarray:
    """Solve all columns exactly.

    Parameters
    ----------
    gram
        (k, k), or (q, k, k) where each column has its own.
    rhs
        (k, q).
    closure
        Let each column sum to one.

    Returns
    -------
    numpy.ndarray
        (k, q), float64, never negative.
    """
    gram = np.ascontiguousarray(gram, dtype=np.float64)
    rhs = np.ascontiguousarray(rhs, dtype=np.float64)
    out = np.empty_like(rhs)
    k = len(rhs)
    if gram.ndim == 3:
        _solve_each(gram, rhs, closure, out)
    elif k <= TABULATED:
        inverses, offsets = tabulate(gram, closure)
        solve_tabulated(gram, inverses, offsets, rhs, closure, out)
    else:
        _solve_each(gram[None], rhs, closure, out)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def tabulate(gram: FloatTable, closure: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return A (2^k, k, k) and b (2^k, k): the answer on a passive set is A c + b."""
    k = len(gram)
    inverses = np.zeros((1 << k, k, k))
    offsets = np.zeros((1 << k, k))
    ridge = _RIDGE * np.trace(gram) / k + 1e-300
    for mask in range(1, 1 << k):
        inside: Ints = np.array([j for j in range(k) if mask >> j & 1])
        p = len(inside)
        small = np.empty((p, p))
        for a in range(p):
            for b in range(p):
                small[a, b] = gram[inside[a], inside[b]]
            small[a, a] += ridge
        inverse = _inverse(small)
        if closure:
            # Lagrange's multiplier eliminated: project on sum(w) = 1.
            rows = inverse.sum(axis=1)
            total = rows.sum()
            for a in range(p):
                offsets[mask, inside[a]] = rows[a] / total
                for b in range(p):
                    inverse[a, b] -= rows[a] * rows[b] / total
        for a in range(p):
            for b in range(p):
                inverses[mask, inside[a], inside[b]] = inverse[a, b]
    return inverses, offsets


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def solve_tabulated(
    gram: np.ndarray,
    inverses: Cube[float],
    offsets: FloatTable,
    rhs: FloatTable,
    closure: bool,
    out: FloatTable,
) -> None:
    """Fill `out` (k, q) from the tables of `tabulate`."""
    for first in range(0, rhs.shape[1], _STRIP):
        last = min(first + _STRIP, rhs.shape[1])
        _solve_strip(gram, inverses, offsets, rhs, closure, first, last, out)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _solve_strip(
    gram: np.ndarray,
    inverses: Cube[float],
    offsets: FloatTable,
    rhs: FloatTable,
    closure: bool,
    first: int,
    last: int,
    out: FloatTable,
) -> None:
    k = len(rhs)
    full = (1 << k) - 1
    for j in range(k):
        row = out[j, first:last]
        row[:] = offsets[full, j]
        for i in range(k):
            g = inverses[full, j, i]
            right = rhs[i, first:last]
            for p in range(last - first):
                row[p] += g * right[p]
    w = np.empty(k)
    c = np.empty(k)
    for p in range(first, last):
        mask = 0
        for j in range(k):
            if out[j, p] > 0.0:
                mask |= 1 << j
        if mask != full:
            for j in range(k):
                c[j] = rhs[j, p]
            if not _pivot(gram, inverses, offsets, c, closure, mask, w):
                _active_set(gram, c, closure, w)
            for j in range(k):
                out[j, p] = w[j]
        if closure:
            total = 0.0
            for j in range(k):
                total += out[j, p]
            for j in range(k):
                out[j, p] /= total


@njit(cache=True, nogil=True, error_model="numpy")
def _pivot(
    gram: np.ndarray,
    inverses: Cube[float],
    offsets: FloatTable,
    c: np.ndarray,
    closure: bool,
    mask: int,
    w: Floats,
) -> bool:
    """Block pivoting from the passive set `mask`; False where it does not settle."""
    k = len(c)
    largest = 0.0
    for j in range(k):
        largest = max(largest, abs(c[j]))
    tolerance = 1e-13 * (largest + 1e-300)
    best = k + 1
    patience = 3
    if mask == 0 and closure:
        mask = 1 << int(np.argmax(c - 0.5 * np.diag(gram)))
    for _ in range(5 * k):
        bad = 0
        count = 0
        highest = 0
        multiplier = 0.0
        inside = 0
        for j in range(k):
            w[j] = 0.0
            if mask >> j & 1:
                s = offsets[mask, j]
                for i in range(k):
                    s += inverses[mask, j, i] * c[i]
                w[j] = s
                if s < 0.0:
                    bad |= 1 << j
                    count += 1
                    highest = j
        if closure:
            for j in range(k):
                if mask >> j & 1:
                    multiplier += c[j]
                    for i in range(k):
                        multiplier -= gram[j, i] * w[i]
                    inside += 1
            multiplier /= max(inside, 1)
        for j in range(k):
            if not mask >> j & 1:
                y = multiplier - c[j]
                for i in range(k):
                    y += gram[j, i] * w[i]
                if y < -tolerance:
                    bad |= 1 << j
                    count += 1
                    highest = max(highest, j)
        if count == 0:
            return True
        if count < best:
            best = count
            patience = 3
            mask ^= bad
        elif patience > 0:
            patience -= 1
            mask ^= bad
        else:
            mask ^= 1 << highest
        if mask == 0 and closure:
            return False
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_each(
    grams: np.ndarray, rhs: np.ndarray, closure: bool, out: np.ndarray
) -> None:
    k, q = rhs.shape
    w = np.empty(k)
    own = len(grams) == q
    for p in range(q):
        _active_set(grams[p if own else 0], rhs[:, p].copy(), closure, w)
        out[:, p] = w


@njit(cache=True, nogil=True, error_model="numpy")
def _active_set(gram: np.ndarray, c: np.ndarray, closure: bool, w: np.ndarray) -> None:
    """Solve one column from a vertex, one constraint at a time: always ends."""
    k = len(c)
    passive: Line[bool] = np.zeros(k, dtype=np.bool_)
    barred: Line[bool] = np.zeros(k, dtype=np.bool_)
    ridge = _RIDGE * np.trace(gram) / k + 1e-300
    tolerance = 1e-12 * (np.abs(c).max() + 1e-300)
    w[:] = 0.0
    if closure:
        first = int(np.argmax(c - 0.5 * np.diag(gram)))
        w[first] = 1.0
        passive[first] = True
    for _ in range(10 * k):
        descent = c - gram @ w
        if closure:
            descent -= descent[passive].mean()
        entering = -1
        for j in range(k):
            if passive[j] or barred[j] or descent[j] <= tolerance:
                continue
            if entering < 0 or descent[j] > descent[entering]:
                entering = j
        if entering < 0:
            break
        passive[entering] = True
        while True:
            z: Floats = _on_passive(gram, c, passive, ridge, closure)
            step = 1.0
            for j in range(k):
                if passive[j] and z[j] <= 0.0:
                    step = min(step, w[j] / max(w[j] - z[j], 1e-300))
            if step >= 1.0:
                w[:] = z
                barred[:] = False
                break
            for j in range(k):
                if passive[j]:
                    w[j] += step * (z[j] - w[j])
                    if w[j] <= 1e-15 and z[j] <= 0.0:
                        w[j] = 0.0
                        passive[j] = False
                        # Rounding let it in and out again: not twice in a row.
                        barred[j] = barred[j] or j == entering
    if closure:
        w /= w.sum()


@njit(cache=True, nogil=True, error_model="numpy")
def _on_passive(
    gram: np.ndarray, c: np.ndarray, passive: Line[bool], ridge: float, closure: bool
) -> np.ndarray:
    inside: Ints = np.flatnonzero(passive)
    p = len(inside)
    z = np.zeros(len(c))
    if p == 0:
        return z
    small = np.empty((p, p))
    right = np.empty((p, 2))
    for a in range(p):
        for b in range(p):
            small[a, b] = gram[inside[a], inside[b]]
        small[a, a] += ridge
        right[a, 0] = c[inside[a]]
        right[a, 1] = 1.0
    inverse = _inverse(small)
    answer = inverse @ right
    shift = 0.0
    if closure:
        shift = (answer[:, 0].sum() - 1.0) / answer[:, 1].sum()
    for a in range(p):
        z[inside[a]] = answer[a, 0] - shift * answer[a, 1]
    return z


@njit(cache=True, nogil=True, error_model="numpy")
def _inverse(a: np.ndarray) -> np.ndarray:
    """Invert a positive definite matrix by Gauss and Jordan, in place."""
    p = len(a)
    for i in range(p):
        pivot = a[i, i]
        a[i, i] = 1.0
        for j in range(p):
            a[i, j] /= pivot
        for r in range(p):
            if r != i:
                factor = a[r, i]
                a[r, i] = 0.0
                for j in range(p):
                    a[r, j] -= factor * a[i, j]
    return a
