"""Fit a current pulse and the rest after it with the finite-length solution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.kernels.algebra import dot, variances
from batteryxr.core.kernels.compiling import njit
from batteryxr.echem.kernels.diffusion import PLANAR, SPHERE, Pulses, project, surface
from batteryxr.echem.kernels.pulses import Rows

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats

#: Rows of the values that `solve` returns.
TAU, RESISTANCE, BEFORE, AFTER, SLOPE, DIFFUSIVE, RATE = range(7)
FOUND = 7
#: The scan over ln(tau): from a hundredth of the pulse to 1e5 times it.
_SCAN_FROM, _SCAN_TO, _SCAN_STEP = 0.01, 1e5, 0.4
#: Rows used while scanning; the search that follows uses them all.
_SCAN_ROWS = 96
_INVERSE_GOLDEN = 0.6180339887498949


class Shape(NamedTuple):
    """Set the model: diffusion in a particle, and the equilibrium curve."""

    geometry: int  # `diffusion.PLANAR` or `diffusion.SPHERE`
    degree: int  # of the equilibrium curve within the pulse
    drifts: bool = False  # whether the voltage drifts evenly with time
    rc: float = 0.0  # time constant of a slow resistance (s); 0: none


def shape(geometry: str, degree: int) -> Shape:
    """Return the model of a "sphere" or of a "planar" particle."""
    return Shape(SPHERE if geometry == "sphere" else PLANAR, degree, False, 0.0)


def enough(rows: Rows, shape: Shape) -> bool:
    """Tell whether there are enough rows for a fit."""
    return rows.t.size >= shape.degree + 6


class _Room(NamedTuple):
    """Hold work arrays: surface content, its slope, and the basis."""

    u: np.ndarray
    du: np.ndarray
    basis: np.ndarray


@njit(cache=True, nogil=True)
def linear(shape: Shape) -> int:
    """Return the number of linear parameters."""
    return shape.degree + 2 + int(shape.drifts) + int(shape.rc > 0.0)


@njit(cache=True, nogil=True)
def room_of(n: int, shape: Shape) -> _Room:
    """Return work arrays for `n` rows."""
    return _Room(np.empty(n), np.empty(n), np.empty((linear(shape), n)))


@njit(cache=True, nogil=True)
def _drift_until(t: float, rows: Rows, pulses: Pulses) -> float:
    """Return the drift up to `t`, as a fraction of the drift up to the end."""
    on = pulses.on[-1]
    return (t - on) / (rows.t[-1] - on)


@njit(cache=True, nogil=True)
def _delayed(t: float, pulses: Pulses, rc: float) -> float:
    """Return the current (mA), delayed by the time constant of a slow resistance."""
    felt = 0.0
    for j in range(pulses.on.size):
        if t > pulses.on[j]:
            felt -= pulses.current[j] * math.expm1(-(t - pulses.on[j]) / rc)
        if t > pulses.off[j]:
            felt += pulses.current[j] * math.expm1(-(t - pulses.off[j]) / rc)
    return felt


@njit(cache=True, nogil=True)
def fill(log_tau: float, rows: Rows, pulses: Pulses, shape: Shape, room: _Room) -> None:
    """Fill the basis with powers of the surface content, and the current."""
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
        if shape.drifts:
            out[degree + 2, k] = _drift_until(t[k], rows, pulses)
        if shape.rc > 0.0:
            out[out.shape[0] - 1, k] = _delayed(t[k], pulses, shape.rc)


@njit(cache=True, nogil=True)
def _misfit(
    log_tau: float, rows: Rows, pulses: Pulses, shape: Shape, room: _Room
) -> float:
    fill(log_tau, rows, pulses, shape, room)
    _, residual = project(room.basis, rows.v, rows.w)
    return dot(residual, residual)


@njit(cache=True, nogil=True)
def _every(values: Floats, step: int) -> np.ndarray:
    """Return every `step`-th value."""
    n = (values.size + step - 1) // step
    out = np.empty(n)
    for k in range(n):
        out[k] = values[k * step]
    return out


@njit(cache=True, nogil=True)
def few_of(rows: Rows) -> Rows:
    """Return a few of the rows, evenly chosen."""
    step = max(1, rows.t.size // _SCAN_ROWS)
    t, v, i, w = rows
    return Rows(_every(t, step), _every(v, step), _every(i, step), _every(w, step))


@njit(cache=True, nogil=True)
def scan(few: Rows, pulses: Pulses, shape: Shape) -> tuple[float, float, bool]:
    """Return the least misfit over ln(tau), where it is, and if inside the scan."""
    pulse = pulses.off[-1] - pulses.on[-1]
    low = math.log(_SCAN_FROM * pulse)
    count = int((math.log(_SCAN_TO * pulse) - low) / _SCAN_STEP) + 1
    room = room_of(few.t.size, shape)
    best, at = np.inf, 0
    for k in range(count):
        value = _misfit(low + k * _SCAN_STEP, few, pulses, shape, room)
        if value < best:
            best, at = value, k
    return best, low + at * _SCAN_STEP, 0 < at < count - 1


@njit(cache=True, nogil=True)
def search(rows: Rows, pulses: Pulses, shape: Shape) -> tuple[float, bool]:
    """Return the ln(tau) of least misfit, and whether it lies inside the scan.

    A scan on thinned rows finds the deepest valley. A golden-section search on all
    rows then finds its minimum, so no initial guess is needed.
    """
    _, at, inside = scan(few_of(rows), pulses, shape)
    t, a, b = rows.t, at - 2 * _SCAN_STEP, at + 2 * _SCAN_STEP
    room = room_of(t.size, shape)
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
def _gradients(rows: Rows, pulses: Pulses, shape: Shape, p: int) -> np.ndarray:
    """Return the derivatives of the reported values by the `p` parameters."""
    degree, current, off = shape.degree, pulses.current[-1], pulses.off[-1]
    gradients = np.zeros((FOUND, p))
    gradients[TAU, p - 1] = 1.0
    gradients[RESISTANCE, degree + 1] = 1.0
    gradients[BEFORE, 0] = 1.0
    for a in range(degree + 1):
        gradients[AFTER, a] = 1.0
        if a:
            gradients[SLOPE, a] = 1.0 / (current * (off - pulses.on[-1]))
    if shape.drifts:
        gradients[AFTER, degree + 2] = _drift_until(off, rows, pulses)
        gradients[RATE, degree + 2] = 1.0 / (rows.t[-1] - pulses.on[-1])
    for a in range(p):
        gradients[DIFFUSIVE, a] = gradients[AFTER, a]
    gradients[DIFFUSIVE, degree + 1] = current
    if shape.rc > 0.0:
        gradients[RESISTANCE, p - 2] = 1.0
        gradients[DIFFUSIVE, p - 2] = current
    return gradients


@njit(cache=True, nogil=True)
def solve(
    log_tau: float, rows: Rows, pulses: Pulses, shape: Shape
) -> tuple[np.ndarray, np.ndarray, float, float, np.ndarray]:
    """Return the fitted values at the best ln(tau), with their errors.

    Returns
    -------
    values, errors : (7,) arrays
        ln(tau), R, equilibrium before and after, their difference over the charge,
        the equilibrium after plus I R, and the drift in V/s. Errors are one standard
        deviation. They assume correlated residuals (a first-order process), so a
        misfit of the model widens them.
    chi2 : float
        Mean square residual over the noise. The noise is taken from differences of
        successive residuals; 1 where these are independent (von Neumann, 1941).
    rms : float
        Root mean square residual, weighted by rows.
    model : (n,) array
        Fitted values at the times of `rows`.
    """
    v, w, degree, n = rows.v, rows.w, shape.degree, rows.t.size
    p = linear(shape) + 1
    jacobian = np.zeros((p, n))
    room = room_of(n, shape)
    fill(log_tau, rows, pulses, shape, room)
    basis, du = room.basis, room.du
    c, residual = project(basis, v, w)
    values, errors = np.full(FOUND, np.nan), np.full(FOUND, np.nan)
    model = np.empty(n)
    for k in range(n):
        model[k] = v[k] - residual[k] / w[k]
    squares = dot(residual, residual)
    rms = math.sqrt(squares / dot(w, w))
    determined = n > p
    for a in range(p - 1):
        determined &= not math.isnan(c[a])
    if not determined:
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
        for a in range(degree + 1, p - 1):
            jacobian[a, k] = basis[a, k] * w[k]
        jacobian[p - 1, k] = slope * du[k] / charge * w[k]
    variance, noise = squares / (n - p), 0.0
    for k in range(n - 1):
        noise += (residual[k + 1] - residual[k]) ** 2 / (2.0 * (n - 1))
    chi2 = variance / noise if noise > 0.0 else 1.0
    gradients = _gradients(rows, pulses, shape, p)
    for row in range(FOUND):
        values[row] = gradients[row, p - 1] * log_tau
        for a in range(p - 1):
            values[row] += gradients[row, a] * c[a]
    variances(jacobian, gradients, errors)
    correlated = max(1.0, 2.0 * chi2 - 1.0)
    for row in range(FOUND):
        errors[row] = math.sqrt(errors[row] * variance * correlated)
    return values, errors, chi2, rms, model


@njit(cache=True, nogil=True)
def squares_of(
    log_tau: float, rows: Rows, pulses: Pulses, shape: Shape
) -> tuple[float, float]:
    """Return the sum of squares, and the same per degree of freedom."""
    squares = _misfit(log_tau, rows, pulses, shape, room_of(rows.t.size, shape))
    left = max(rows.t.size - linear(shape) - 1, 1)
    return squares, max(squares / left, 1e-300)
