"""Exact non-negative least squares for many right-hand sides, with sum to one.

Each column w of the answer solves ``min 1/2 w'Gw - c'w`` subject to ``w >= 0`` and,
under closure, ``sum(w) = 1``. Block principal pivoting (Kim & Park, SIAM J. Sci.
Comput. 33, 3261, 2011) finds the passive set. For few components the inverses of
all 2^k passive sets are tabulated, so that a column costs a few products of k x k.
Where pivoting cycles, all are tried. For more components, the factor of a passive set
is kept for the next column, and pivoting starts at the column's previous passive set;
where it cycles, a primal active-set method finishes (Lawson & Hanson, 1974).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Cube, Floats, FloatTable, Ints, Line


class _Work(NamedTuple):
    """Hold the work arrays for the solution of a column.

    Parameters
    ----------
    lower
        (k, k) Cholesky's factor of the Gram matrix on the passive set `held`.
    held
        (k,) bool.
    z, ones
        (k,) solution without bounds, and the one for a right-hand side of ones.
    w
        (k,) the answer.
    """

    lower: np.ndarray
    held: Line[bool]
    z: np.ndarray
    ones: np.ndarray
    w: np.ndarray


#: Up to this many components all passive sets are tabulated.
TABULATED = 8
#: Columns solved at a time, so that their right-hand sides stay in cache.
_STRIP = 256
#: Ridge relative to the mean diagonal; keeps Grams of similar components invertible.
_RIDGE = 1e-11
#: Ratio of sizes below which components are measured in units of their own.
_APART = 1e-2


def solve(
    gram: np.ndarray,
    rhs: np.ndarray,
    *,
    closure: bool = False,
    before: np.ndarray | None = None,
) -> np.ndarray:
    """Solve all columns exactly.

    Parameters
    ----------
    gram
        (k, k), or (q, k, k) where each column has its own.
    rhs
        (k, q).
    closure
        Let each column sum to one.
    before
        (k, q) nearby solution: speeds up the search, same result.

    Returns
    -------
    numpy.ndarray
        (k, q), float64, never negative.
    """
    gram = np.ascontiguousarray(gram, dtype=np.float64)
    rhs = np.ascontiguousarray(rhs, dtype=np.float64)
    unit = None if closure else units_apart(gram)
    if unit is not None:
        gram = gram / (unit[..., :, None] * unit[..., None, :])
        rhs = np.ascontiguousarray(rhs / _of_columns(unit))
        near = None if before is None else before * _of_columns(unit)
        return solve(gram, rhs, before=near) / _of_columns(unit)
    out = np.empty_like(rhs)
    if gram.ndim == 2 and len(rhs) <= TABULATED:
        inverses, offsets = tabulate(gram, closure)
        solve_tabulated(gram, inverses, offsets, rhs, closure, out)
        return out
    out[:] = 1.0 if before is None else before
    _solve_each(gram if gram.ndim == 3 else gram[None], rhs, closure, out)
    return out


def units_apart(gram: np.ndarray) -> np.ndarray | None:
    """Return a unit of each component, (k,) or (q, k), or None if sizes are alike.

    The ridge that keeps Grams invertible would hold back a component in a far smaller
    unit. Powers of two avoid rounding.
    """
    power = np.diagonal(gram, axis1=-2, axis2=-1)
    if power.ndim == 1 and power.min() >= _APART**2 * power.max() > 0:
        return None  # by far the most
    size = np.sqrt(power)
    largest = size.max(axis=-1, keepdims=True, initial=0.0)
    small = (size > 0) & (size < _APART * largest)
    if not small.any():
        return None
    return np.asarray(np.exp2(np.round(np.log2(np.where(size > 0, size, 1.0)))))


def _of_columns(unit: np.ndarray) -> np.ndarray:
    """Return units (k,) or (q, k) in the shape of columns (k, q)."""
    return unit[:, None] if unit.ndim == 1 else unit.T


# Plain loops replace NumPy functions such as `sum(axis=)` and `take`: numba would take
# seconds to compile them, with all their error messages.


@njit(cache=True, nogil=True, error_model="numpy")
def tabulate(gram: FloatTable, closure: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return A (2^k, k, k) and b (2^k, k): the solution on a passive set is A c + b."""
    k = len(gram)
    inverses = np.zeros((1 << k, k, k))
    offsets = np.zeros((1 << k, k))
    ridge = _ridge(gram)
    inside: Ints = np.zeros(k, np.int64)
    rows = np.zeros(k)
    for mask in range(1, 1 << k):
        p = 0
        for j in range(k):
            if mask >> j & 1:
                inside[p] = j
                p += 1
        inverse = _inverse(_block(gram, inside, p, ridge))
        if closure:
            # Lagrange's multiplier eliminated: project on sum(w) = 1.
            total = 0.0
            for a in range(p):
                rows[a] = 0.0
                for b in range(p):
                    rows[a] += inverse[a, b]
                total += rows[a]
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
    k = len(rhs)
    full = (1 << k) - 1
    w, c = np.empty(k), np.empty(k)
    for first in range(0, rhs.shape[1], _STRIP):
        last = min(first + _STRIP, rhs.shape[1])
        for j in range(k):
            row = out[j, first:last]
            for p in range(last - first):
                row[p] = offsets[full, j]
            for i in range(k):
                g = inverses[full, j, i]
                right = rhs[i, first:last]
                for p in range(last - first):
                    row[p] += g * right[p]
        for p in range(first, last):
            mask = 0
            for j in range(k):
                if out[j, p] > 0.0:
                    mask |= 1 << j
            if mask != full:
                for j in range(k):
                    c[j] = rhs[j, p]
                if not _pivot(gram, inverses, offsets, c, closure, mask, w):
                    _try_all(gram, inverses, offsets, c, closure, w)
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
    """Pivot in blocks from the passive set `mask`; return False if it cycles."""
    k = len(c)
    largest = 0.0
    for j in range(k):
        largest = max(largest, abs(c[j]))
    tolerance = 1e-13 * (largest + 1e-300)
    best = k + 1
    patience = 3
    if mask == 0 and closure:
        mask = 1 << _nearest_vertex(gram, c)
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
def _try_all(
    gram: np.ndarray,
    inverses: Cube[float],
    offsets: FloatTable,
    c: np.ndarray,
    closure: bool,
    w: Floats,
) -> None:
    """Fill `w` with the best solution without negative values, of all passive sets."""
    k = len(c)
    z: Floats = np.empty(k)
    least = np.inf
    for mask in range(int(closure), len(inverses)):
        lowest, misfit = 0.0, 0.0
        for j in range(k):
            z[j] = offsets[mask, j]
            for i in range(k):
                z[j] += inverses[mask, j, i] * c[i]
            lowest = min(lowest, z[j])
        for j in range(k):
            misfit -= z[j] * c[j]
            for i in range(k):
                misfit += 0.5 * z[j] * gram[j, i] * z[i]
        if lowest >= 0.0 and misfit < least:
            least = misfit
            for j in range(k):
                w[j] = z[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_each(
    grams: np.ndarray, rhs: np.ndarray, closure: bool, out: np.ndarray
) -> None:
    """Fill `out`; its positive values mark where pivoting starts."""
    k, q = rhs.shape
    w, c, z, ones = np.empty(k), np.empty(k), np.empty(k), np.empty(k)
    lower = np.empty((k, k))
    passive: Line[bool] = np.zeros(k, dtype=np.bool_)
    held: Line[bool] = np.zeros(k, dtype=np.bool_)
    room = _Work(lower, held, z, ones, w)
    own = len(grams) == q
    ridge = _ridge(grams[0])
    for p in range(q):
        gram = grams[p if own else 0]
        if own:
            ridge = _ridge(gram)
            for j in range(k):
                held[j] = False
        for j in range(k):
            c[j] = rhs[j, p]
            passive[j] = out[j, p] > 0.0
        if not _settle(gram, c, closure, ridge, passive, room):
            _active_set(gram, c, closure, ridge, passive, room)
        total = 0.0
        for j in range(k):
            total += w[j]
        for j in range(k):
            out[j, p] = w[j] / total if closure else w[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _settle(
    gram: np.ndarray,
    c: Floats,
    closure: bool,
    ridge: float,
    passive: Line[bool],
    room: _Work,
) -> bool:
    """Pivot in blocks into `room.w` from a passive set; return False if it cycles."""
    k = len(c)
    w = room.w
    largest = 0.0
    for j in range(k):
        largest = max(largest, abs(c[j]))
    tolerance = 1e-13 * (largest + 1e-300)
    best, patience = k + 1, 3
    for _ in range(5 * k):
        inside = 0
        for j in range(k):
            inside += passive[j]
        if closure and inside == 0:
            passive[_nearest_vertex(gram, c)] = True
        _on_passive(gram, c, passive, ridge, closure, room)
        level = 0.0
        for j in range(k):
            w[j] = room.z[j]
        for j in range(k):
            room.z[j] = c[j]
            for i in range(k):
                room.z[j] -= gram[j, i] * w[i]
            if closure and passive[j]:
                level += room.z[j] / max(inside, 1)
        count, highest = 0, 0
        for j in range(k):
            if _is_wrong(passive[j], w[j], room.z[j] - level, tolerance):
                count += 1
                highest = j
        if count == 0:
            return True
        alone = False
        if count < best:
            best, patience = count, 3
        elif patience > 0:
            patience -= 1
        else:
            alone = True
        for j in range(k):
            wrong = _is_wrong(passive[j], w[j], room.z[j] - level, tolerance)
            if wrong and (j == highest or not alone):
                passive[j] = not passive[j]
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def _is_wrong(passive: bool, w: float, descent: float, tolerance: float) -> bool:
    """Tell whether a component is on the wrong side of its bound."""
    return w < 0.0 if passive else descent > tolerance


@njit(cache=True, nogil=True, error_model="numpy")
def _active_set(
    gram: np.ndarray,
    c: Floats,
    closure: bool,
    ridge: float,
    passive: Line[bool],
    room: _Work,
) -> None:
    """Solve one column from a vertex, one constraint at a time; this always ends."""
    k = len(c)
    w, z = room.w, room.z
    barred: Line[bool] = np.zeros(k, dtype=np.bool_)
    largest = 0.0
    for j in range(k):
        largest = max(largest, abs(c[j]))
        w[j] = 0.0
        passive[j] = False
    tolerance = 1e-12 * (largest + 1e-300)
    if closure:
        first = _nearest_vertex(gram, c)
        w[first] = 1.0
        passive[first] = True
    for _ in range(10 * k):
        entering = _entering(gram, c, w, passive, barred, closure, tolerance)
        if entering < 0:
            break
        passive[entering] = True
        while True:
            _on_passive(gram, c, passive, ridge, closure, room)
            step = 1.0
            for j in range(k):
                if passive[j] and z[j] <= 0.0:
                    step = min(step, w[j] / max(w[j] - z[j], 1e-300))
            if step >= 1.0:
                for j in range(k):
                    w[j] = z[j]
                    barred[j] = False
                break
            for j in range(k):
                if passive[j]:
                    w[j] += step * (z[j] - w[j])
                    if w[j] <= 1e-15 and z[j] <= 0.0:
                        w[j] = 0.0
                        passive[j] = False
                        # Rounding let it in and out again: bar it this time.
                        barred[j] = barred[j] or j == entering


@njit(cache=True, nogil=True, error_model="numpy")
def _entering(
    gram: np.ndarray,
    c: Floats,
    w: Floats,
    passive: Line[bool],
    barred: Line[bool],
    closure: bool,
    tolerance: float,
) -> int:
    """Return the component that lowers the misfit most on entering, or -1."""
    k = len(c)
    descent = np.empty(k)
    level = 0.0
    inside = 0
    for j in range(k):
        descent[j] = c[j]
        for i in range(k):
            descent[j] -= gram[j, i] * w[i]
        if passive[j]:
            level += descent[j]
            inside += 1
    level = level / inside if closure else 0.0
    entering = -1
    for j in range(k):
        if passive[j] or barred[j] or descent[j] - level <= tolerance:
            continue
        if entering < 0 or descent[j] > descent[entering]:
            entering = j
    return entering


@njit(cache=True, nogil=True, error_model="numpy")
def _on_passive(
    gram: np.ndarray,
    c: Floats,
    passive: Line[bool],
    ridge: float,
    closure: bool,
    room: _Work,
) -> None:
    """Fill `room.z` with the least-squares solution on the passive set, else zero.

    `room` keeps the Cholesky factor, which an equal passive set uses again.
    """
    k = len(c)
    same = True
    for j in range(k):
        same = same and room.held[j] == passive[j]
    if not same:
        _factor(gram, passive, ridge, room.lower)
        for j in range(k):
            room.held[j] = passive[j]
            room.ones[j] = 1.0
        if closure:
            _back(room.lower, passive, room.ones)
    for j in range(k):
        room.z[j] = c[j]
    _back(room.lower, passive, room.z)
    if closure:
        total, length = -1.0, 0.0
        for j in range(k):
            if passive[j]:
                total += room.z[j]
                length += room.ones[j]
        for j in range(k):
            if passive[j]:
                room.z[j] -= total / length * room.ones[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _factor(
    gram: FloatTable, passive: Line[bool], ridge: float, lower: FloatTable
) -> None:
    """Fill the rows and columns of the passive set with Cholesky's factor."""
    k = len(gram)
    for i in range(k):
        if not passive[i]:
            continue
        for j in range(i + 1):
            if not passive[j]:
                continue
            s = gram[i, j] + (ridge if i == j else 0.0)
            for m in range(j):
                if passive[m]:
                    s -= lower[i, m] * lower[j, m]
            lower[i, j] = math.sqrt(max(s, ridge)) if i == j else s / lower[j, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _back(lower: FloatTable, passive: Line[bool], z: Floats) -> None:
    """Solve L L' x = z in place on the passive set; zero elsewhere."""
    k = len(z)
    for i in range(k):
        if passive[i]:
            for m in range(i):
                if passive[m]:
                    z[i] -= lower[i, m] * z[m]
            z[i] /= lower[i, i]
        else:
            z[i] = 0.0
    for i in range(k - 1, -1, -1):
        if passive[i]:
            for m in range(i + 1, k):
                if passive[m]:
                    z[i] -= lower[m, i] * z[m]
            z[i] /= lower[i, i]


@njit(cache=True, nogil=True, error_model="numpy")
def _ridge(gram: FloatTable) -> float:
    """Return the number added to the diagonal."""
    trace = 0.0
    for j in range(len(gram)):
        trace += gram[j, j]
    return _RIDGE * trace / len(gram) + 1e-300


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest_vertex(gram: FloatTable, c: Floats) -> int:
    """Return the component that fits best alone, with a weight of one."""
    best = 0
    for j in range(1, len(c)):
        if c[j] - 0.5 * gram[j, j] > c[best] - 0.5 * gram[best, best]:
            best = j
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _block(gram: FloatTable, inside: Ints, p: int, ridge: float) -> np.ndarray:
    """Return the rows and columns of a passive set of `p` components."""
    small = np.empty((p, p))
    for a in range(p):
        for b in range(p):
            small[a, b] = gram[inside[a], inside[b]]
        small[a, a] += ridge
    return small


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
