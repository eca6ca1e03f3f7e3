"""Finite-length diffusion: the response to current pulses, and its fit.

The flux that a current drives through the surface of a particle raises the surface
content above the mean. Written as a charge, the surface content after a current
I is switched on at t = 0 is

    u(t) = I [t + tau g(t / tau)],    tau = L^2 / D,

where g is the dimensionless excess of the surface over the mean (Crank, The
Mathematics of Diffusion, 2nd ed., chapters 4 and 6). A pulse is a current switched on,
and one of the opposite sign switched on later; earlier pulses add up. The voltage is a
polynomial in u plus I R, hence linear in all parameters but tau. Only tau is searched
(variable projection, Golub & Pereyra, SIAM J. Numer. Anal. 10, 413 (1973)).
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats, FloatTable

PLANAR, SPHERE = 0, 1
#: Roots of tan(x) = x, and multiples of pi: the decay rates of the two geometries.
_SPHERE_ROOTS = np.array(
    [
        4.493409457909064,
        7.725251836937707,
        10.904121659428899,
        14.066193912831473,
        17.220755271930768,
        20.371302959287561,
        23.519452498689006,
        26.666054258812675,
        29.811598790892958,
        32.956389039822476,
    ]
)
_PLANAR_ROOTS = np.pi * np.arange(1, 11)
#: Theta below which the short-time form, and above which ten roots, hold to 1e-10.
_SHORT = 0.04
#: Time over tau after which a pulse has no effect, to 1e-15.
_GONE = 3.6


class Pulses(NamedTuple):
    """Hold pulses of current: (m,) arrays in order of time."""

    on: Floats  # s
    off: Floats  # s
    current: Floats  # mA


@njit(cache=True, nogil=True)
def excess(theta: float, geometry: int) -> tuple[float, float]:
    """Return g and dg/dtheta, the excess of the surface over the mean content.

    Parameters
    ----------
    theta
        Time over tau.
    geometry
        `PLANAR` (flux on one side of a slab of thickness L) or `SPHERE` (radius L).

    Returns
    -------
    tuple of float
        g, and its derivative; both 0 for theta <= 0.
    """
    if theta <= 0.0:
        return 0.0, 0.0
    if theta < _SHORT:
        root = math.sqrt(theta)
        if geometry == PLANAR:
            g = 2.0 * root / math.sqrt(math.pi) - theta
            return g, 1.0 / (math.sqrt(math.pi) * root) - 1.0
        risen = math.exp(theta) * math.erf(root) + math.expm1(theta)
        slope = risen + 1.0 + 1.0 / (math.sqrt(math.pi) * root)
        return risen / 3.0 - theta, slope / 3.0 - 1.0
    g = 1.0 / 3.0 if geometry == PLANAR else 1.0 / 15.0
    slope = 0.0
    weight = 2.0 if geometry == PLANAR else 2.0 / 3.0
    for k in range(10):
        rate = _PLANAR_ROOTS[k] if geometry == PLANAR else _SPHERE_ROOTS[k]
        rate *= rate
        if rate * theta > 36.0:
            break
        left = weight * math.exp(-rate * theta)
        g -= left / rate
        slope += left
    return g, slope


#: Logarithms of theta between which the excess is tabulated, and their distance.
_TABLE_FROM, _TABLE_TO, _TABLE_STEP = -40.0, 1.4, 0.01


class Since(NamedTuple):
    """Hold the times since each switch of a current, row by row."""

    seconds: FloatTable  # (switches, rows), all "on" before all "off"; 0 before it
    logs: FloatTable  # their logarithms
    steps: Floats  # (switches,): by how much the current rose, mA
    mean: Floats  # (rows,): charge of the last pulse so far, mA s
    table: FloatTable  # of `excess_table`


@functools.cache
def excess_table(geometry: int) -> FloatTable:
    """Return the excess, and its slope over one step, at even steps of ln(theta).

    A cubic between two steps has the value to a part in 1e10.
    """
    return _tabulated(geometry, int((_TABLE_TO - _TABLE_FROM) / _TABLE_STEP) + 1)


@njit(cache=True, nogil=True)
def _tabulated(geometry: int, count: int) -> FloatTable:
    table: FloatTable = np.empty((count, 2))
    for k in range(count):
        theta = math.exp(_TABLE_FROM + k * _TABLE_STEP)
        table[k, 0], slope = excess(theta, geometry)
        table[k, 1] = slope * theta * _TABLE_STEP
    return table


def since_switches(t: Floats, pulses: Pulses, geometry: int) -> Since:
    """Return the times (s) since each switch of the pulses, for rows at `t`."""
    on, off, current = pulses
    at = np.concatenate([on, off])
    seconds = np.maximum(t - at[:, None], 0.0)
    logs = np.log(np.maximum(seconds, 1e-300))
    mean = current[-1] * np.minimum(seconds[on.size - 1], off[-1] - on[-1])
    rises = np.asarray(current)
    steps = np.concatenate([rises, -rises])
    return Since(seconds, logs, steps, mean, excess_table(geometry))


@njit(cache=True, nogil=True)
def surface(log_tau: float, since: Since, u: Floats, du: Floats) -> None:
    """Fill `u`, the surface content as a charge, and `du` = du/d(ln tau).

    Parameters
    ----------
    log_tau
        Logarithm of the time constant in s.
    since
        Times since the switches of the pulses, from `since_switches`.
    u, du : (n,) arrays
        Outputs (current times s). u counts from the mean content when the last
        pulse began.
    """
    logs, steps, table = since.logs, since.steps, since.table
    m, last = steps.size // 2, len(table) - 1
    tau = math.exp(log_tau)
    gone = log_tau + math.log(_GONE)
    u[:] = since.mean
    du[:] = 0.0
    for j in range(2 * m):
        if logs[j % m + m, 0] > gone:
            continue
        scale = steps[j] * tau
        for k in range(u.size):
            place = (logs[j, k] - log_tau - _TABLE_FROM) / _TABLE_STEP
            if place <= 0.0:
                continue
            at = int(place)
            if at >= last:
                u[k] += scale * table[last, 0]
                du[k] += scale * table[last, 0]
                continue
            f = place - at
            low, high = table[at, 0], table[at + 1, 0]
            a, b = table[at, 1], table[at + 1, 1]
            c = 3.0 * (high - low) - 2.0 * a - b
            d = a + b - 2.0 * (high - low)
            g = low + f * (a + f * (c + f * d))
            slope = (a + f * (2.0 * c + 3.0 * f * d)) / _TABLE_STEP
            u[k] += scale * g
            du[k] += scale * (g - slope)


@njit(cache=True, nogil=True)
def project(
    basis: FloatTable, target: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, FloatTable]:
    """Solve a weighted linear least-squares problem (modified Gram-Schmidt).

    Parameters
    ----------
    basis : (p, n) array
        One row per parameter.
    target : (n,) array
        The values that are fitted.
    weight : (n,) array
        Square roots of the weights.

    Returns
    -------
    coefficients : (p,) array
        NaN for a row that depends on those before it.
    residual : (n,) array
        Weighted residual: what is left of ``weight * target``.
    q : (p, n) array
        Orthonormal rows that span the weighted basis; 0 for a dependent one.
    """
    p, n = basis.shape
    q: FloatTable = np.empty((p, n))
    r: FloatTable = np.zeros((p, p))
    z: Floats = np.zeros(p)
    residual = np.empty(n)
    for k in range(n):
        residual[k] = weight[k] * target[k]
    for a in range(p):
        full = 0.0
        for k in range(n):
            q[a, k] = basis[a, k] * weight[k]
            full += q[a, k] * q[a, k]
        for b in range(a):
            dot = 0.0
            for k in range(n):
                dot += q[b, k] * q[a, k]
            r[b, a] = dot
            for k in range(n):
                q[a, k] -= dot * q[b, k]
        norm = 0.0
        for k in range(n):
            norm += q[a, k] * q[a, k]
        norm = math.sqrt(norm)
        if norm <= 1e-10 * math.sqrt(full):
            r[a, a] = 0.0
            for k in range(n):
                q[a, k] = 0.0
            continue
        r[a, a] = norm
        dot = 0.0
        for k in range(n):
            q[a, k] /= norm
            dot += q[a, k] * residual[k]
        z[a] = dot
        for k in range(n):
            residual[k] -= dot * q[a, k]
    coefficients = np.empty(p)
    for a in range(p - 1, -1, -1):
        coefficients[a] = np.nan
        if r[a, a] == 0.0:
            continue
        value = z[a]
        for b in range(a + 1, p):
            if not math.isnan(coefficients[b]):
                value -= r[a, b] * coefficients[b]
        coefficients[a] = value / r[a, a]
    return coefficients, residual, q
