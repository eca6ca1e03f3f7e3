"""Factorisation with components that stretch: ``x_i(r) = sum_j w_ij h_j(r / a_ij)``.

Thermal expansion or a drifting lattice moves each peak in proportion to r. Three
blocks are improved in turn: weights exactly; stretches by a Gauss-Newton step with the
weights projected out (Kaufman, BIT 15, 49, 1975); components by accelerated gradient
steps under a separable majoriser (Beck & Teboulle, SIAM J. Imaging Sci. 2, 183, 2009).
Patterns between grid points are cubic (Catmull and Rom), so that all is linear in the
components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.kernels.algebra import products, solve, trace_of
from batteryxr.core.kernels.compiling import njit
from batteryxr.nmf.kernels import nnls

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Batch, Cube, Floats, FloatTable, Line
    from batteryxr.nmf.kernels.alternate import Rules

#: Gradient steps of the components in each iteration.
STEPS = 15


class Spacing(NamedTuple):
    """Hold the first value and step of a regular axis."""

    start: float
    step: float


class Parts(NamedTuple):
    """Hold both factors, and the stretches of the components.

    Parameters
    ----------
    components
        (k, points).
    weights, stretch
        (k, samples).
    """

    components: np.ndarray
    weights: np.ndarray
    stretch: np.ndarray


@dataclass
class Stretched:
    """Hold weights (k, samples), components (k, points), stretches (k, samples)."""

    weights: np.ndarray
    components: np.ndarray
    stretch: np.ndarray
    error: float
    n_iter: int
    converged: bool


@dataclass(frozen=True)
class Elastic:
    """Set how far and how freely components stretch.

    Parameters
    ----------
    stiffness
        Pull of each stretch towards the mean of its neighbours along the series,
        relative to the pull of the data.
    limit
        Stretches stay within 1 - limit and 1 + limit.
    """

    stiffness: float
    limit: float


def factorise(
    x: np.ndarray,
    grid: Spacing,
    components: np.ndarray,
    stretch: np.ndarray,
    rules: Rules,
    elastic: Elastic,
) -> Stretched:
    """Improve a start until ten iterations lower the error by less than `rules.tol`.

    Parameters
    ----------
    x
        (samples, points), non-negative.
    grid
        The axis.
    components, stretch
        Initial guess, (k, points) and (k, samples).
    rules
        Fixed components, closure, and when to stop.
    elastic
        How far and how freely components stretch.
    """
    h, a = components.astype(np.float64), stretch.astype(np.float64)
    total = float(np.vdot(x, x))
    w = weights_of(x, h, a, grid, rules.closure)
    free = ~rules.fixed
    trace: list[float] = []
    converged = False
    ahead, momentum = h.copy(), 1.0
    for _ in range(rules.max_iter):
        move_stretches(x, Parts(h, w, a), grid, elastic.stiffness, elastic.limit)
        w = weights_of(x, h, a, grid, rules.closure)
        if free.any():
            # Momentum is kept between iterations: components that drift nearly
            # alike separate slowly.
            momentum = improve_components(
                x, Parts(h, w, a), ahead, momentum, grid, free, STEPS
            )
        w = weights_of(x, h, a, grid, rules.closure)
        trace.append(misfit(x, Parts(h, w, a), grid))
        if len(trace) > 1 and trace[-1] > trace[-2]:
            ahead, momentum = h.copy(), 1.0
        if len(trace) > 10 and trace[-11] - trace[-1] < 2 * rules.tol * trace[-1]:
            converged = True
            break
    error = float(np.sqrt(trace[-1] / total)) if total > 0 else 0.0
    return Stretched(w, h, a, error, len(trace), converged)


def weights_of(
    x: np.ndarray, h: np.ndarray, a: np.ndarray, grid: Spacing, closure: bool
) -> np.ndarray:
    """Return the exact weights (k, samples) for given components and stretches."""
    grams, rhs = _normal(x, h, a, grid)
    return nnls.solve(grams, rhs, closure=closure)


@njit(cache=True, nogil=True, error_model="numpy")
def _place(r: float, a: float, grid: Spacing, n: int) -> tuple[int, float]:
    """Return the interval of the grid that holds r / a, and the fraction in it."""
    u = (r / a - grid.start) / grid.step
    u = min(max(u, 0.0), n - 1.000001)
    i = int(u)
    return i, u - i


@njit(cache=True, nogil=True, error_model="numpy")
def _coefficients(f: float, c: Floats) -> None:
    f2, f3 = f * f, f * f * f
    c[0] = 0.5 * (-f3 + 2 * f2 - f)
    c[1] = 0.5 * (3 * f3 - 5 * f2 + 2)
    c[2] = 0.5 * (-3 * f3 + 4 * f2 + f)
    c[3] = 0.5 * (f3 - f2)


@njit(cache=True, nogil=True, error_model="numpy")
def _slopes(f: float, c: Floats) -> None:
    f2 = f * f
    c[0] = 0.5 * (-3 * f2 + 4 * f - 1)
    c[1] = 0.5 * (9 * f2 - 10 * f)
    c[2] = 0.5 * (-9 * f2 + 8 * f + 1)
    c[3] = 0.5 * (3 * f2 - 2 * f)


@njit(cache=True, nogil=True, error_model="numpy")
def stretched(h: FloatTable, a: Floats, grid: Spacing) -> tuple[np.ndarray, np.ndarray]:
    """Return components (k, points) stretched by a (k,), and their derivatives by a."""
    k, n = h.shape
    out, slope = np.empty((k, n)), np.empty((k, n))
    c: Floats
    d: Floats
    c, d = np.empty(4), np.empty(4)
    for j in range(k):
        for p in range(n):
            r = grid.start + p * grid.step
            i, f = _place(r, a[j], grid, n)
            _coefficients(f, c)
            _slopes(f, d)
            s = t = 0.0
            for q in range(4):
                v = h[j, min(max(i + q - 1, 0), n - 1)]
                s += c[q] * v
                t += d[q] * v
            out[j, p] = s
            slope[j, p] = -t * r / (a[j] * a[j] * grid.step)
    return out, slope


@njit(cache=True, nogil=True, error_model="numpy")
def _left(x: FloatTable, w: FloatTable, s: int, basis: FloatTable) -> FloatTable:
    """Return the residual of sample `s` as one row."""
    e: FloatTable = np.empty((1, x.shape[1]))
    for p in range(x.shape[1]):
        e[0, p] = x[s, p]
    for j in range(len(basis)):
        for p in range(x.shape[1]):
            e[0, p] -= w[j, s] * basis[j, p]
    return e


@njit(cache=True, nogil=True, error_model="numpy")
def _normal(
    x: FloatTable, h: FloatTable, a: FloatTable, grid: Spacing
) -> tuple[np.ndarray, np.ndarray]:
    k = len(h)
    grams, rhs = np.empty((len(x), k, k)), np.empty((k, len(x)))
    for s in range(len(x)):
        basis, _ = stretched(h, a[:, s], grid)
        gram, right = products(basis, basis), products(basis, x[s : s + 1])
        for i in range(k):
            rhs[i, s] = right[i, 0]
            for j in range(k):
                grams[s, i, j] = gram[i, j]
    return grams, rhs


@njit(cache=True, nogil=True, error_model="numpy")
def misfit(x: FloatTable, parts: Parts, grid: Spacing) -> float:
    """Return the sum of squared residuals."""
    h, w, a = parts.components, parts.weights, parts.stretch
    total = 0.0
    for s in range(len(x)):
        basis, _ = stretched(h, a[:, s], grid)
        e = _left(x, w, s, basis)
        total += products(e, e)[0, 0]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _follow(basis: FloatTable, slope: FloatTable) -> None:
    """Project out of `slope` the effect of a change of the weights."""
    k = len(basis)
    gram = products(basis, basis)
    ridge = 1e-9 * trace_of(gram) / k + 1e-300
    for j in range(k):
        gram[j, j] += ridge
    shares = products(basis, slope)
    solve(gram, shares)
    for i in range(k):
        for j in range(k):
            for p in range(basis.shape[1]):
                slope[i, p] -= shares[j, i] * basis[j, p]


@njit(cache=True, nogil=True, error_model="numpy")
def move_stretches(
    x: FloatTable, parts: Parts, grid: Spacing, stiffness: float, limit: float
) -> None:
    """Step all stretches (k, samples) in place, sample after sample."""
    h: FloatTable
    h, w, a = parts.components, parts.weights, parts.stretch
    k, samples = a.shape
    trial: Floats = np.empty(k)
    for s in range(samples):
        basis, slope = stretched(h, a[:, s], grid)
        e = _left(x, w, s, basis)
        for j in range(k):
            for p in range(slope.shape[1]):
                slope[j, p] *= w[j, s]
        # Project out the effect of a change of the weights.
        _follow(basis, slope)
        normal, step = products(slope, slope), products(slope, e)
        strength = stiffness * trace_of(normal) / k if samples > 2 else 0.0
        for j in range(k):
            # Pull to the line through the neighbours; at the ends, the next two.
            if s == 0:
                smooth = 2 * a[j, 1] - a[j, min(2, samples - 1)]
            elif s == samples - 1:
                smooth = 2 * a[j, s - 1] - a[j, max(s - 2, 0)]
            else:
                smooth = 0.5 * (a[j, s - 1] + a[j, s + 1])
            normal[j, j] += strength
            step[j, 0] += strength * (smooth - a[j, s])
            normal[j, j] += 1e-6 * trace_of(normal) / k + 1e-300
        solve(normal, step)
        before, largest = products(e, e)[0, 0], 1e-300
        for j in range(k):
            largest = max(largest, abs(step[j, 0]))
        # A step of more than a peak's width would leave the linear range.
        share = min(1.0, 0.2 * limit / largest)
        for _ in range(4):
            for j in range(k):
                moved = a[j, s] + share * step[j, 0]
                trial[j] = min(max(moved, 1 - limit), 1 + limit)
            other, _ = stretched(h, trial, grid)
            d = _left(x, w, s, other)
            if stiffness > 0 or products(d, d)[0, 0] <= before:
                for j in range(k):
                    a[j, s] = trial[j]
                break
            share *= 0.3


@njit(cache=True, nogil=True, error_model="numpy")
def improve_components(
    x: np.ndarray,
    parts: Parts,
    ahead: FloatTable,
    t: float,
    grid: Spacing,
    free: Line[bool],
    steps: int,
) -> float:
    """Descend in the free components (k, points) in place, never below zero.

    `ahead` is the point that momentum `t` has reached; returns the new momentum.
    """
    h: FloatTable
    h, w = parts.components, parts.weights
    k, n = h.shape
    place, c = _tables(parts.stretch, grid, n)
    bound: FloatTable = _bound(w, place, c)
    y = ahead
    for _ in range(steps):
        gradient: FloatTable = _gradient(x, y, w, place, c)
        t_next = 0.5 * (1 + np.sqrt(1 + 4 * t * t))
        for j in range(k):
            if not free[j]:
                continue
            for p in range(n):
                v = y[j, p] - gradient[j, p] / (bound[j, p] + 1e-300)
                v = max(v, 0.0)
                y[j, p] = v + (t - 1) / t_next * (v - h[j, p])
                h[j, p] = v
        t = t_next
    return t


@njit(cache=True, nogil=True, error_model="numpy")
def _tables(a: FloatTable, grid: Spacing, n: int) -> tuple[Cube[int], Batch[float]]:
    """Return the interval of each stretched point, and its four coefficients."""
    k, samples = a.shape
    place: Cube[int] = np.empty((samples, k, n), dtype=np.int32)
    c: Batch[float] = np.empty((samples, k, n, 4))
    for s in range(samples):
        for j in range(k):
            for p in range(n):
                i, f = _place(grid.start + p * grid.step, a[j, s], grid, n)
                place[s, j, p] = i
                _coefficients(f, c[s, j, p])
    return place, c


@njit(cache=True, nogil=True, error_model="numpy")
def _gradient(
    x: FloatTable, h: FloatTable, w: FloatTable, place: Cube[int], c: Batch[float]
) -> np.ndarray:
    """Return half the gradient of the misfit by the components."""
    k, n = h.shape
    # A margin of one on the left and two on the right continues the edge value.
    wide: FloatTable = np.empty((k, n + 3))
    for j in range(k):
        for p in range(n + 3):
            wide[j, p] = h[j, min(max(p - 1, 0), n - 1)]
    out = np.zeros((k, n + 3))
    e: Floats = np.empty(n)
    for s in range(len(x)):
        for p in range(n):
            e[p] = -x[s, p]
        for j in range(k):
            if w[j, s] == 0.0:
                continue
            for p in range(n):
                i = place[s, j, p]
                v = c[s, j, p, 0] * wide[j, i] + c[s, j, p, 1] * wide[j, i + 1]
                v += c[s, j, p, 2] * wide[j, i + 2] + c[s, j, p, 3] * wide[j, i + 3]
                e[p] += w[j, s] * v
        for j in range(k):
            if w[j, s] == 0.0:
                continue
            for p in range(n):
                i = place[s, j, p]
                v = w[j, s] * e[p]
                out[j, i] += c[s, j, p, 0] * v
                out[j, i + 1] += c[s, j, p, 1] * v
                out[j, i + 2] += c[s, j, p, 2] * v
                out[j, i + 3] += c[s, j, p, 3] * v
    return _folded(out)


@njit(cache=True, nogil=True, error_model="numpy")
def _bound(w: FloatTable, place: Cube[int], c: Batch[float]) -> np.ndarray:
    """Return a diagonal that majorises the normal matrix: |M|' |M| 1."""
    samples, k, n = place.shape
    out = np.zeros((k, n + 3))
    for s in range(samples):
        # |c| of a cubic sums to at most 1.25.
        reach = 0.0
        for j in range(k):
            reach += 1.25 * w[j, s]
        for j in range(k):
            for p in range(n):
                for q in range(4):
                    at = place[s, j, p] + q
                    out[j, at] += w[j, s] * abs(c[s, j, p, q]) * reach
    return _folded(out)


@njit(cache=True, nogil=True, error_model="numpy")
def _folded(wide: FloatTable) -> np.ndarray:
    """Return (k, n) from (k, n + 3): margins belong to the edge values."""
    k, n = wide.shape[0], wide.shape[1] - 3
    out = np.zeros((k, n))
    for j in range(k):
        for p in range(n + 3):
            out[j, min(max(p - 1, 0), n - 1)] += wide[j, p]
    return out
