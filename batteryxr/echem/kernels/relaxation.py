"""Fitting a pulse and the rest after it with the finite-length solution."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from batteryxr.echem.kernels.diffusion import project, surface

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


@njit(cache=True, nogil=True)
def _basis(
    log_tau: float,
    t: np.ndarray,
    i: np.ndarray,
    on: np.ndarray,
    off: np.ndarray,
    current: np.ndarray,
    geometry: int,
    degree: int,
    u: np.ndarray,
    du: np.ndarray,
    out: np.ndarray,
) -> None:
    surface(t, on, off, current, math.exp(log_tau), geometry, u, du)
    charge = current[-1] * (off[-1] - on[-1])
    for k in range(t.size):
        z = u[k] / charge
        power = 1.0
        for a in range(degree + 1):
            out[a, k] = power
            power *= z
        out[degree + 1, k] = i[k]


@njit(cache=True, nogil=True)
def _misfit(
    log_tau: float,
    t: np.ndarray,
    v: np.ndarray,
    i: np.ndarray,
    w: np.ndarray,
    on: np.ndarray,
    off: np.ndarray,
    current: np.ndarray,
    geometry: int,
    degree: int,
    u: np.ndarray,
    du: np.ndarray,
    out: np.ndarray,
) -> float:
    _basis(log_tau, t, i, on, off, current, geometry, degree, u, du, out)
    _, residual = project(out, v, w)
    return np.dot(residual, residual)


@njit(cache=True, nogil=True)
def search(
    t: np.ndarray,
    v: np.ndarray,
    i: np.ndarray,
    w: np.ndarray,
    on: np.ndarray,
    off: np.ndarray,
    current: np.ndarray,
    geometry: int,
    degree: int,
) -> tuple[float, bool]:
    """Return the ln(tau) of least misfit, and whether it lies inside the scan.

    A scan on thinned rows finds the deepest valley, a golden-section search on all
    rows its floor: no starting value is needed and no other valley can trap it.
    """
    pulse = off[-1] - on[-1]
    low = math.log(_SCAN_FROM * pulse)
    count = int((math.log(_SCAN_TO * pulse) - low) / _SCAN_STEP) + 1
    step = max(1, t.size // _SCAN_ROWS)
    ts, vs, cs, ws = t[::step].copy(), v[::step].copy(), i[::step].copy(), w[::step]
    u, du = np.empty(ts.size), np.empty(ts.size)
    out = np.empty((degree + 2, ts.size))
    best, at = np.inf, 0
    for k in range(count):
        value = _misfit(
            low + k * _SCAN_STEP,
            *(ts, vs, cs, ws, on, off, current, geometry, degree, u, du, out),
        )
        if value < best:
            best, at = value, k
    inside = 0 < at < count - 1
    a = low + (at - 2) * _SCAN_STEP
    b = low + (at + 2) * _SCAN_STEP
    u, du = np.empty(t.size), np.empty(t.size)
    out = np.empty((degree + 2, t.size))
    data = (t, v, i, w, on, off, current, geometry, degree, u, du, out)
    c, d = b - _INVERSE_GOLDEN * (b - a), a + _INVERSE_GOLDEN * (b - a)
    at_c, at_d = _misfit(c, *data), _misfit(d, *data)
    while b - a > 1e-5:
        if at_c < at_d:
            b, d, at_d = d, c, at_c
            c = b - _INVERSE_GOLDEN * (b - a)
            at_c = _misfit(c, *data)
        else:
            a, c, at_c = c, d, at_d
            d = a + _INVERSE_GOLDEN * (b - a)
            at_d = _misfit(d, *data)
    return 0.5 * (a + b), inside


@njit(cache=True, nogil=True)
def solve(
    log_tau: float,
    t: np.ndarray,
    v: np.ndarray,
    i: np.ndarray,
    w: np.ndarray,
    on: np.ndarray,
    off: np.ndarray,
    current: np.ndarray,
    geometry: int,
    degree: int,
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
        Fitted values at `t`.
    """
    n = t.size
    u, du = np.empty(n), np.empty(n)
    p = degree + 3
    jacobian = np.zeros((p, n))
    basis = np.empty((degree + 2, n))
    _basis(log_tau, t, i, on, off, current, geometry, degree, u, du, basis)
    c, residual = project(basis, v, w)
    values, errors = np.full(_FOUND, np.nan), np.full(_FOUND, np.nan)
    model = v - residual / w
    squares = np.dot(residual, residual)
    rms = math.sqrt(squares / np.dot(w, w))
    if n <= p or np.any(np.isnan(c)):
        return values, errors, np.nan, rms, model
    charge = current[-1] * (off[-1] - on[-1])
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
    gradients[DIFFUSIVE, degree + 1] = current[-1]
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
    t: np.ndarray,
    v: np.ndarray,
    i: np.ndarray,
    w: np.ndarray,
    on: np.ndarray,
    off: np.ndarray,
    current: np.ndarray,
    geometry: int,
    degree: int,
) -> tuple[np.ndarray, np.ndarray, float, float, np.ndarray, bool]:
    """Fit a pulse and its rest, with errors that cover noise and model.

    The equilibrium curve is a polynomial of `degree` in the content at the surface;
    one degree more is fitted too, and the shift it brings is added to the errors.

    Parameters
    ----------
    t, v, i : (n,) arrays
        Time (s), voltage (V), current (mA); the rows of `thin`.
    w : (n,) array
        Square root of the number of rows in each.
    on, off, current : (m,) arrays
        This pulse, last, and those before it that it may remember.
    geometry
        `diffusion.PLANAR` or `diffusion.SPHERE`.
    degree
        Degree of the equilibrium curve.

    Returns
    -------
    values, errors, chi2, rms, model
        As `solve` gives them; NaN where the rows do not determine them.
    inside : bool
        False where the misfit still falls at the end of the scan, or where a curve
        without diffusion fits as well: no tau.
    """
    log_tau, inside = search(t, v, i, w, on, off, current, geometry, degree)
    values, errors, chi2, rms, model = solve(
        log_tau, t, v, i, w, on, off, current, geometry, degree
    )
    more, found = search(t, v, i, w, on, off, current, geometry, degree + 1)
    if found and t.size > degree + 4:
        other = solve(more, t, v, i, w, on, off, current, geometry, degree + 1)[0]
        for a in range(_FOUND):
            if math.isfinite(other[a]):
                errors[a] = math.hypot(errors[a], other[a] - values[a])
    # Without diffusion the content at the surface is the mean: tau near zero.
    u, du, out = np.empty(t.size), np.empty(t.size), np.empty((degree + 2, t.size))
    none = math.log(_NO_DIFFUSION * (off[-1] - on[-1]))
    flat = _misfit(none, t, v, i, w, on, off, current, geometry, degree, u, du, out)
    squares = rms * rms * np.dot(w, w)
    gain = (flat - squares) / max(squares, 1e-300) * (t.size - degree - 3)
    seen = gain > _EVIDENCE
    return values, errors, chi2, rms, model, inside and seen
