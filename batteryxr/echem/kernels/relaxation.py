"""Fit a current pulse and the rest after it with the finite-length solution.

The voltage is linear in all parameters but two: the time constants of diffusion and of
a slow resistance. A scan over both, on thinned rows, finds the deepest valley of each
model; a few Gauss-Newton steps on all rows then find its minimum (variable projection,
Kaufman, BIT 15, 49 (1975)). No initial guess is needed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.kernels.algebra import dot
from batteryxr.core.kernels.compiling import njit
from batteryxr.echem.kernels.diffusion import (
    PLANAR,
    SPHERE,
    Pulses,
    Since,
    project,
    since_switches,
    surface,
)
from batteryxr.echem.kernels.pulses import Rows

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats, FloatTable

#: The scan over ln(tau): from a hundredth of the pulse to 1e5 times it.
_SCAN_FROM, _SCAN_TO, _SCAN_STEP = 0.01, 1e5, 0.4
#: The scan over the time constant of a slow resistance: from this part of the time of
#: the first fitted row in the pulse, to so many pulses.
_RC_FROM, _RC_TO, _RC_STEP = 0.7, 3.0, 2.0
#: Rows used while scanning; the search that follows uses them all.
_SCAN_ROWS = 96
#: Gauss-Newton steps, the change of a logarithm that ends them, and the longest one.
_STEPS, _SMALL, _LONG = 30, 1e-5, 0.5
#: Distance of both logarithms from where they started at most.
_REACH = 1.2


class Shape(NamedTuple):
    """Set the model: diffusion in a particle, and the equilibrium curve."""

    geometry: int  # `diffusion.PLANAR` or `diffusion.SPHERE`
    degree: int  # of the equilibrium curve within the pulse
    drifts: bool = False  # whether the voltage drifts evenly with time
    rc: float = 0.0  # time constant of a slow resistance (s); 0: none


class Titrated(NamedTuple):
    """Hold rows of a pulse and its rest, with what no trial changes."""

    rows: Rows
    since: Since
    charge: float  # of the pulse, mA s
    pulse: float  # its length, s
    drift: Floats  # drift up to each row, as a fraction of that up to the last one


class Valleys(NamedTuple):
    """Hold the valleys of four models: neither term, drift, slow resistance, both."""

    log_tau: Floats
    rc: Floats
    inside: np.ndarray  # False where the misfit still falls at an end of the scan


def shape(geometry: str, degree: int) -> Shape:
    """Return the model of a "sphere" or of a "planar" particle."""
    return Shape(SPHERE if geometry == "sphere" else PLANAR, degree, False, 0.0)


def problem(rows: Rows, pulses: Pulses, shape: Shape) -> Titrated:
    """Return rows and pulses as the search takes them."""
    on, off = float(pulses.on[-1]), float(pulses.off[-1])
    drift = (rows.t - on) / (rows.t[-1] - on)
    since = since_switches(rows.t, pulses, shape.geometry)
    return Titrated(rows, since, pulses.current[-1] * (off - on), off - on, drift)


def enough(rows: Rows, shape: Shape) -> bool:
    """Tell whether there are enough rows for a fit."""
    return rows.t.size >= shape.degree + 6


def linear(shape: Shape) -> int:
    """Return the number of linear parameters."""
    return shape.degree + 2 + int(shape.drifts) + int(shape.rc > 0.0)


@njit(cache=True, nogil=True)
def _delayed(since: Since, rc: float, felt: Floats, slope: Floats) -> None:
    """Fill the current (mA), delayed by a slow resistance, and its slope by ln(rc)."""
    felt[:] = 0.0
    slope[:] = 0.0
    for j in range(since.steps.size):
        step = since.steps[j]
        for k in range(felt.size):
            x = since.seconds[j, k] / rc
            if x > 40.0:
                felt[k] += step
            elif x > 0.0:
                left = math.exp(-x)
                felt[k] += step * (1.0 - left)
                slope[k] -= step * left * x


@njit(cache=True, nogil=True)
def fill(
    log_tau: float, problem: Titrated, shape: Shape
) -> tuple[FloatTable, FloatTable]:
    """Return the basis, and two slopes: of the surface content, and by ln(rc).

    The basis has powers of the surface content, the current, and the terms of the
    shape. The first slope is that by ln(tau).
    """
    n, degree = problem.rows.t.size, shape.degree
    terms = degree + 2 + int(shape.drifts) + int(shape.rc > 0.0)
    out: FloatTable = np.empty((terms, n))
    slopes: FloatTable = np.zeros((2, n))
    u = np.empty(n)
    surface(log_tau, problem.since, u, slopes[0])
    for k in range(n):
        z = u[k] / problem.charge
        power = 1.0
        for a in range(degree + 1):
            out[a, k] = power
            power *= z
        out[degree + 1, k] = problem.rows.i[k]
        slopes[0, k] /= problem.charge
    if shape.drifts:
        out[degree + 2] = problem.drift
    if shape.rc > 0.0:
        _delayed(problem.since, shape.rc, out[terms - 1], slopes[1])
    return out, slopes


@njit(cache=True, nogil=True)
def jacobian_of(
    basis: FloatTable, slopes: FloatTable, c: np.ndarray, shape: Shape
) -> FloatTable:
    """Return the slopes of the model by ln(tau) and, with a resistance, by ln(rc)."""
    out = np.zeros((1 + int(shape.rc > 0.0), basis.shape[1]))
    for k in range(basis.shape[1]):
        for a in range(1, shape.degree + 1):
            out[0, k] += a * c[a] * basis[a - 1, k] * slopes[0, k]
        if shape.rc > 0.0:
            out[1, k] = c[len(basis) - 1] * slopes[1, k]
    return out


@njit(cache=True, nogil=True)
def _clear(column: Floats, q: FloatTable) -> None:
    """Take away from a column what lies along the rows of `q`."""
    for b in range(len(q)):
        shared = dot(q[b], column)
        for k in range(column.size):
            column[k] -= shared * q[b, k]


@njit(cache=True, nogil=True)
def _descend(
    log_tau: float, problem: Titrated, shape: Shape
) -> tuple[float, float, float]:
    """Return ln(tau), the other time constant, and the misfit, at the minimum."""
    rows, n = problem.rows, problem.rows.t.size
    first = np.array([log_tau, math.log(shape.rc) if shape.rc > 0.0 else 0.0])
    here, best, damping = first.copy(), np.inf, 1e-3
    lean, bend = np.zeros(2), np.zeros((2, 2))
    trial, step = here.copy(), np.zeros(2)
    for _ in range(_STEPS):
        now = shape
        if shape.rc > 0.0:
            now = Shape(shape.geometry, shape.degree, shape.drifts, math.exp(trial[1]))
        basis, slopes = fill(trial[0], problem, now)
        c, residual, q = project(basis, rows.v, rows.w)
        misfit = dot(residual, residual)
        if misfit < best:
            gain, best, here = best - misfit, misfit, trial.copy()
            damping *= 0.1
            if np.abs(step).max() < _SMALL and gain < np.inf:
                break
            for a in range(c.size):
                if math.isnan(c[a]):
                    c[a] = 0.0
            ways = jacobian_of(basis, slopes, c, now)
            for a in range(len(ways)):
                for k in range(n):
                    ways[a, k] *= rows.w[k]
                _clear(ways[a], q)
                lean[a] = dot(ways[a], residual)
                for b in range(a + 1):
                    bend[a, b] = bend[b, a] = dot(ways[a], ways[b])
        else:
            damping *= 10.0
            if np.abs(step).max() < _SMALL or damping > 1e9:
                break
        a, b = bend[0, 0] * (1.0 + damping), bend[1, 1] * (1.0 + damping)
        whole = a * b - bend[0, 1] ** 2
        step[:] = 0.0
        if shape.rc > 0.0 and whole > 1e-12 * a * b:
            step[0] = (b * lean[0] - bend[0, 1] * lean[1]) / whole
            step[1] = (a * lean[1] - bend[0, 1] * lean[0]) / whole
        elif a > 0.0:
            step[0] = lean[0] / a
        for k in range(2):
            step[k] = min(max(step[k], -_LONG), _LONG)
            trial[k] = min(max(here[k] + step[k], first[k] - _REACH), first[k] + _REACH)
            step[k] = trial[k] - here[k]
    return here[0], math.exp(here[1]) if shape.rc > 0.0 else 0.0, best


def descend(
    log_tau: float, problem: Titrated, shape: Shape
) -> tuple[float, Shape, float]:
    """Return the ln(tau) of least misfit near one, the shape with its rc, and it."""
    log_tau, rc, misfit = _descend(log_tau, problem, shape)
    return log_tau, shape._replace(rc=rc), misfit


@njit(cache=True, nogil=True)
def _scan(
    few: Titrated, shape: Shape, low: float, count: int, delayed: FloatTable
) -> tuple[FloatTable, np.ndarray]:
    """Return the least misfits of four models, and which of the slow resistances.

    Columns of `delayed` are the currents that these delay, times the weights.
    """
    w, n = few.rows.w, few.rows.t.size
    best: FloatTable = np.full((4, count), np.inf)
    at = np.zeros((4, count), np.int64)
    drift, number = np.empty(n), delayed.shape[1]
    shared: FloatTable = np.empty((shape.degree + 4, number))
    full = np.zeros(number)
    for k in range(n):
        for j in range(number):
            full[j] += delayed[k, j] ** 2
    for trial in range(count):
        basis, _ = fill(low + trial * _SCAN_STEP, few, shape)
        _, residual, q = project(basis, few.rows.v, w)
        misfit = dot(residual, residual)
        for k in range(n):
            drift[k] = few.drift[k] * w[k]
        _clear(drift, q)
        size = math.sqrt(dot(drift, drift))
        for k in range(n):
            drift[k] /= max(size, 1e-300)
        less = dot(drift, residual)
        best[0, trial], best[1, trial] = misfit, misfit - less * less
        # What is left of a column is at right angles to the basis: products with the
        # column itself are enough.
        shared[:] = 0.0
        for b in range(len(q)):
            for k in range(n):
                for j in range(number):
                    shared[b, j] += q[b, k] * delayed[k, j]
        for k in range(n):
            for j in range(number):
                shared[len(q), j] += drift[k] * delayed[k, j]
                shared[len(q) + 1, j] += residual[k] * delayed[k, j]
        for j in range(number):
            own = full[j]
            for b in range(len(q)):
                own -= shared[b, j] ** 2
            alike, along = shared[len(q), j], shared[len(q) + 1, j]
            both, apart = own - alike * alike, along - alike * less
            # No resistance is negative.
            if own > 1e-10 * full[j] and along > 0.0:
                value = misfit - along * along / own
                if value < best[2, trial]:
                    best[2, trial], at[2, trial] = value, j
            if both > 1e-10 * full[j] and apart > 0.0:
                value = best[1, trial] - apart * apart / both
                if value < best[3, trial]:
                    best[3, trial], at[3, trial] = value, j
    return best, at


def scan(problem: Titrated, shape: Shape) -> Valleys:
    """Return the valleys of the four models over both time constants.

    `shape` has no term besides diffusion.
    """
    every = max(1, problem.rows.t.size // _SCAN_ROWS)
    rows, since = problem.rows, problem.since
    few = problem._replace(
        rows=Rows(*(np.ascontiguousarray(column[::every]) for column in rows)),
        since=since._replace(
            seconds=np.ascontiguousarray(np.asarray(since.seconds)[:, ::every]),
            logs=np.ascontiguousarray(np.asarray(since.logs)[:, ::every]),
            mean=np.ascontiguousarray(since.mean[::every]),
        ),
        drift=np.ascontiguousarray(problem.drift[::every]),
    )
    pulse, m = problem.pulse, since.steps.size // 2
    first = np.asarray(since.seconds)[m - 1]
    shortest = _RC_FROM * float(first[first > 0.0].min())
    longest = _RC_TO * pulse
    number = max(1, math.ceil(math.log(longest / shortest) / math.log(_RC_STEP)) + 1)
    rcs = np.geomspace(shortest, longest, number)
    delayed, slope = np.empty((number, few.rows.t.size)), few.drift.copy()
    for j in range(number):
        _delayed(few.since, rcs[j], delayed[j], slope)
    weighted = np.ascontiguousarray((delayed * few.rows.w).T)
    low = math.log(_SCAN_FROM * pulse)
    count = int((math.log(_SCAN_TO * pulse) - low) / _SCAN_STEP) + 1
    least, at = _scan(few, shape, low, count, weighted)
    best = np.asarray(least)
    where = best.argmin(axis=1)
    rc = rcs[at[np.arange(4), where]]
    inside = (where > 0) & (where < count - 1) & np.isfinite(best.min(axis=1))
    return Valleys(low + where * _SCAN_STEP, rc, inside)
