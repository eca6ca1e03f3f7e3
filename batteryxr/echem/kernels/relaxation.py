"""Fitting a pulse and the rest after it with the finite-length solution."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from batteryxr.echem.kernels.diffusion import PLANAR, SPHERE, Pulses, project, surface
from batteryxr.echem.kernels.pulses import Rows

#: What `fit` returns, in order.
TAU, RESISTANCE, BEFORE, AFTER, SLOPE, DIFFUSIVE = range(6)
_FOUND = 6
#: The scan over ln(tau): from a hundredth of the pulse to 1e5 times it.
_SCAN_FROM, _SCAN_TO, _SCAN_STEP = 0.01, 1e5, 0.4
_NO_DIFFUSION = 1e-6
#: Squares of the noise by which diffusion must improve the fit: five sigma.
_EVIDENCE = 25.0
#: Rows used while scanning; the search that follows uses them all.
_SCAN_ROWS = 96
_INVERSE_GOLDEN = 0.6180339887498949


class Shape(NamedTuple):
    """What is fitted: diffusion in a particle, and the equilibrium curve."""

    geometry: int  # `diffusion.PLANAR` or `diffusion.SPHERE`
    degree: int  # of the equilibrium curve within the pulse


def shape(geometry: str, degree: int) -> Shape:
    """Return the shape of a "sphere" or of a "planar" particle."""
    return Shape(SPHERE if geometry == "sphere" else PLANAR, degree)


def enough(rows: Rows, shape: Shape) -> bool:
    """Tell whether there are enough rows to fit."""
    return rows.t.size >= shape.degree + 6


class _Room(NamedTuple):
    """Arrays to work in: content at the surface, its slope, and the basis."""

    u: np.ndarray
    du: np.ndarray
    basis: np.ndarray


@njit(cache=True, nogil=True)
def _room(n: int, degree: int) -> _Room:
    return _Room(np.empty(n), np.empty(n), np.empty((degree + 2, n)))


@njit(cache=True, nogil=True)
def _fill(
    log_tau: float, rows: Rows, pulses: Pulses, shape: Shape, room: _Room
) -> None:
    """Fill the basis: powers of the content at the surface, and the current."""
    t, i, degree, out = rows.t, rows.i, shape.degree, room.basis
    surface(t, pulses, math.exp(log_tau), shape.geometry, room.u, room.du)
    charge = pulses.current[-1] * (pulses.off[-1] - pulses.on[-1])
    for k in range(t.size):
        z = room.u[k] / charge
        power = 1.0
        for a in range(degree + 1):
            out[a, k] = power
            power *= z
        out[degree + 1, k] = i[k]


@njit(cache=True, nogil=True)
def _misfit(
    log_tau: float, rows: Rows, pulses: Pulses, shape: Shape, room: _Room
) -> float:
    _fill(log_tau, rows, pulses, shape, room)
    _, residual = project(room.basis, rows.v, rows.w)
    return np.dot(residual, residual)


@njit(cache=True, nogil=True)
def search(rows: Rows, pulses: Pulses, shape: Shape) -> tuple[float, bool]:
    """Return the ln(tau) of least misfit, and whether it lies inside the scan.

    A scan on thinned rows finds the deepest valley, a golden-section search on all
    rows its floor: no starting value is needed and no other valley can trap it.
    """
    pulse = pulses.off[-1] - pulses.on[-1]
    low = math.log(_SCAN_FROM * pulse)
    count = int((math.log(_SCAN_TO * pulse) - low) / _SCAN_STEP) + 1
    step = max(1, rows.t.size // _SCAN_ROWS)
    t, v, i, w = rows
    few = Rows(t[::step].copy(), v[::step].copy(), i[::step].copy(), w[::step].copy())
    room = _room(few.t.size, shape.degree)
    best, at = np.inf, 0
    for k in range(count):
        value = _misfit(low + k * _SCAN_STEP, few, pulses, shape, room)
        if value < best:
            best, at = value, k
    inside = 0 < at < count - 1
    a = low + (at - 2) * _SCAN_STEP
    b = low + (at + 2) * _SCAN_STEP
    room = _room(t.size, shape.degree)
    c, d = b - _INVERSE_GOLDEN * (b - a), a + _INVERSE_GOLDEN * (b - a)
    at_c = _misfit(c, rows, pulses, shape, room)
    at_d = _misfit(d, rows, pulses, shape, room)
    while b - a > 1e-5:
        if at_c < at_d:
            b, d, at_d = d, c, at_c
            c = b - _INVERSE_GOLDEN * (b - a)
            at_c = _misfit(c, rows, pulses, shape, room)
        else:
            a, c, at_c = c, d, at_d
            d = a + _INVERSE_GOLDEN * (b - a)
            at_d = _misfit(d, rows, pulses, shape, room)
    return 0.5 * (a + b), inside


@njit(cache=True, nogil=True)
def solve(
    log_tau: float, rows: Rows, pulses: Pulses, shape: Shape
) -> tuple[np.ndarray, np.ndarray, float, float, np.ndarray]:
    """Return what the fit finds at its best ln(tau), with covariances.

    Returns
    -------
    values, errors : (6,) arrays
        ln(tau), R, equilibrium before and after, their difference over the charge,
        and the equilibrium after plus I R. Errors are one standard deviation, for
        residuals that follow one another as a first-order process: a misfit of the
        model widens them.
    chi2 : float
        Mean square residual over the noise, which is taken from the differences of
        successive residuals: 1 where these are independent (von Neumann, 1941).
    rms : float
        Root mean square residual, weighted by rows.
    model : (n,) array
        Fitted values at the times of `rows`.
    """
    v, i, w, degree, n = rows.v, rows.i, rows.w, shape.degree, rows.t.size
    p = degree + 3
    jacobian = np.zeros((p, n))
    room = _room(n, degree)
    _fill(log_tau, rows, pulses, shape, room)
    basis, du = room.basis, room.du
    c, residual = project(basis, v, w)
    values, errors = np.full(_FOUND, np.nan), np.full(_FOUND, np.nan)
    model = v - residual / w
    squares = np.dot(residual, residual)
    rms = math.sqrt(squares / np.dot(w, w))
    if n <= p or np.any(np.isnan(c)):
        return values, errors, np.nan, rms, model
    current = pulses.current[-1]
    charge = current * (pulses.off[-1] - pulses.on[-1])
    for k in range(n):
        slope, power = 0.0, 1.0
        for a in range(degree + 1):
            jacobian[a, k] = basis[a, k] * w[k]
            if a:
                slope += a * c[a] * power
                power *= basis[1, k]
        jacobian[degree + 1, k] = i[k] * w[k]
        jacobian[degree + 2, k] = slope * du[k] / charge * w[k]
    variance = squares / (n - p)
    steps = np.diff(residual)
    noise = np.dot(steps, steps) / (2.0 * (n - 1))
    chi2 = variance / noise if noise > 0.0 else 1.0
    gradients = np.zeros((_FOUND, p))
    gradients[TAU, p - 1] = 1.0
    gradients[RESISTANCE, degree + 1] = 1.0
    gradients[BEFORE, 0] = 1.0
    gradients[AFTER, : degree + 1] = 1.0
    gradients[SLOPE, 1 : degree + 1] = 1.0 / charge
    gradients[DIFFUSIVE, : degree + 1] = 1.0
    gradients[DIFFUSIVE, degree + 1] = current
    full = np.empty(p)
    full[: degree + 2] = c
    full[p - 1] = log_tau
    values[:] = gradients @ full
    normal = jacobian @ jacobian.T
    scale = np.sqrt(np.diag(normal))
    if np.any(scale == 0.0):
        return values, errors, chi2, rms, model
    normal = normal / np.outer(scale, scale)
    eigen, vectors = np.linalg.eigh(normal)
    if eigen[0] <= 1e-15 * eigen[-1]:
        return values, errors, chi2, rms, model
    rotated = (gradients / scale) @ vectors
    correlated = max(1.0, 2.0 * chi2 - 1.0)
    for a in range(_FOUND):
        total = np.sum(rotated[a] ** 2 / eigen)
        errors[a] = math.sqrt(total * variance * correlated)
    return values, errors, chi2, rms, model


@njit(cache=True, nogil=True)
def fit(
    rows: Rows, pulses: Pulses, shape: Shape
) -> tuple[np.ndarray, np.ndarray, float, float, np.ndarray, bool]:
    """Fit a pulse and its rest, with errors that cover noise and model.

    The equilibrium curve is a polynomial in the content at the surface; one degree
    more is fitted too, and the shift it brings is added to the errors.

    Parameters
    ----------
    rows
        Of the pulse and its rest; see `pulses.fitted_rows`.
    pulses
        This pulse, last, and those before it that it may remember.
    shape
        Geometry of the particle and degree of the polynomial.

    Returns
    -------
    values, errors, chi2, rms, model
        As `solve` gives them; NaN where the rows do not determine them.
    inside : bool
        False where the misfit still falls at the end of the scan, or where a curve
        without diffusion fits as well: no tau.
    """
    n, degree = rows.t.size, shape.degree
    log_tau, inside = search(rows, pulses, shape)
    values, errors, chi2, rms, model = solve(log_tau, rows, pulses, shape)
    finer = Shape(shape.geometry, degree + 1)
    more, found = search(rows, pulses, finer)
    if found and n > degree + 4:
        other = solve(more, rows, pulses, finer)[0]
        for a in range(_FOUND):
            if math.isfinite(other[a]):
                errors[a] = math.hypot(errors[a], other[a] - values[a])
    # Without diffusion the content at the surface is the mean: tau near zero.
    none = math.log(_NO_DIFFUSION * (pulses.off[-1] - pulses.on[-1]))
    flat = _misfit(none, rows, pulses, shape, _room(n, degree))
    squares = rms * rms * np.dot(rows.w, rows.w)
    gain = (flat - squares) / max(squares, 1e-300) * (n - degree - 3)
    seen = gain > _EVIDENCE
    return values, errors, chi2, rms, model, inside and seen
