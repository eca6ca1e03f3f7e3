"""Fit a current pulse and the rest after it with the finite-length solution.

What runs for each of many trial time constants is compiled. The rest decides between
models, a few times per pulse; compiling it would take longer than most titrations.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from batteryxr.core.kernels.algebra import dot
from batteryxr.core.kernels.compiling import njit
from batteryxr.echem.kernels.diffusion import PLANAR, SPHERE, Pulses, project, surface
from batteryxr.echem.kernels.pulses import Rows

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


def linear(shape: Shape) -> int:
    """Return the number of linear parameters."""
    return shape.degree + 2 + int(shape.drifts) + int(shape.rc > 0.0)


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


def few_of(rows: Rows) -> Rows:
    """Return every so many rows, for a scan."""
    step = max(1, rows.t.size // _SCAN_ROWS)
    return Rows(*(np.ascontiguousarray(column[::step]) for column in rows))


@njit(cache=True, nogil=True)
def _scan(
    few: Rows, pulses: Pulses, shape: Shape, room: _Room, low: float, count: int
) -> tuple[float, int]:
    """Return the least misfit over ln(tau) from `low` on, and its index."""
    best, at = np.inf, 0
    for k in range(count):
        value = _misfit(low + k * _SCAN_STEP, few, pulses, shape, room)
        if value < best:
            best, at = value, k
    return best, at


@njit(cache=True, nogil=True)
def _narrow(
    a: float, b: float, rows: Rows, pulses: Pulses, shape: Shape, room: _Room
) -> float:
    """Return the ln(tau) of least misfit between `a` and `b`, by golden sections."""
    middle = b - _INVERSE_GOLDEN * (b - a)
    least = _misfit(middle, rows, pulses, shape, room)
    while b - a > 1e-5:
        other = a + b - middle
        value = _misfit(other, rows, pulses, shape, room)
        if value < least:
            middle, other, least = other, middle, value
        if other > middle:
            b = other
        else:
            a = other
    return 0.5 * (a + b)


def scan(few: Rows, pulses: Pulses, shape: Shape) -> tuple[float, float, bool]:
    """Return the least misfit over ln(tau), where it is, and if inside the scan."""
    pulse = float(pulses.off[-1] - pulses.on[-1])
    low = math.log(_SCAN_FROM * pulse)
    count = int((math.log(_SCAN_TO * pulse) - low) / _SCAN_STEP) + 1
    room = room_of(few.t.size, shape)
    best, at = _scan(few, pulses, shape, room, low, count)
    return best, low + at * _SCAN_STEP, 0 < at < count - 1


def search(rows: Rows, pulses: Pulses, shape: Shape) -> tuple[float, bool]:
    """Return the ln(tau) of least misfit, and whether it lies inside the scan.

    A scan on thinned rows finds the deepest valley. A golden-section search on all
    rows then finds its minimum, so no initial guess is needed.
    """
    _, at, inside = scan(few_of(rows), pulses, shape)
    a, b = at - 2 * _SCAN_STEP, at + 2 * _SCAN_STEP
    room = room_of(rows.t.size, shape)
    return _narrow(a, b, rows, pulses, shape, room), inside


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
    room = room_of(n, shape)
    fill(log_tau, rows, pulses, shape, room)
    c, residual = project(room.basis, v, w)
    squares = float(residual @ residual)
    rms, model = math.sqrt(squares / float(w @ w)), v - residual / w
    nothing = np.full(FOUND, np.nan)
    if n <= p or np.isnan(c).any():
        return nothing, nothing.copy(), np.nan, rms, model
    charge = pulses.current[-1] * (pulses.off[-1] - pulses.on[-1])
    powers = np.arange(1, degree + 1) * c[1 : degree + 1]
    slope = powers @ room.basis[:degree]
    jacobian = np.vstack([room.basis, slope * room.du / charge]) * w
    variance = squares / (n - p)
    chi2, alike = correlated(residual, variance)
    gradients = _gradients(rows, pulses, shape, p)
    values = gradients @ np.append(c, log_tau)
    spread = _variances(jacobian, gradients) * variance * alike
    return values, np.sqrt(spread), chi2, rms, model


def correlated(residual: np.ndarray, variance: float) -> tuple[float, float]:
    """Return the variance over that of the noise, and residuals per independent one.

    The noise is taken from differences of neighbours. In a first-order process whose
    neighbours correlate by r these numbers are 1 / (1 - r) and (1 + r) / (1 - r). Rows
    of one rest, at uneven times, tell no more than r; many spectra on one grid of
    energies tell their whole covariance, which XANES uses.
    """
    noise = float((np.diff(residual) ** 2).sum()) / (2.0 * (residual.size - 1))
    chi2 = variance / noise if noise > 0.0 else 1.0
    return chi2, max(1.0, 2.0 * chi2 - 1.0)


def _variances(jacobian: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Return variances of a fit, for residuals of unit variance.

    Parameters
    ----------
    jacobian : (parameters, rows) array
    gradients : (quantities, parameters) array
        Derivatives of the quantities with respect to the parameters.

    Returns
    -------
    (quantities,) array
        NaN where the rows do not determine the parameters.
    """
    scale = np.linalg.norm(jacobian, axis=1)
    if not scale.all():
        return np.full(len(gradients), np.nan)
    scaled = jacobian / scale[:, None]
    eigen, vectors = np.linalg.eigh(scaled @ scaled.T)
    if eigen[0] <= 1e-15 * eigen[-1]:
        return np.full(len(gradients), np.nan)
    return np.asarray((((gradients / scale) @ vectors) ** 2 / eigen).sum(axis=1))


def squares_of(
    log_tau: float, rows: Rows, pulses: Pulses, shape: Shape
) -> tuple[float, float]:
    """Return the sum of squares, and the same per degree of freedom."""
    misfit = _misfit(log_tau, rows, pulses, shape, room_of(rows.t.size, shape))
    left = max(rows.t.size - linear(shape) - 1, 1)
    return misfit, max(misfit / left, 1e-300)
