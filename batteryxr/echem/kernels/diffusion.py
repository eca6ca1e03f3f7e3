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


@njit(cache=True, nogil=True)
def surface(
    t: Floats,
    pulses: Pulses,
    tau: float,
    geometry: int,
    u: Floats,
    du: Floats,
) -> None:
    """Fill `u`, the surface content as a charge, and `du` = du/d(ln tau).

    Parameters
    ----------
    t : (n,) array
        Times, s.
    pulses
        Pulses in order of time; charge is counted from the last one.
    tau
        Time constant, s.
    geometry
        `PLANAR` or `SPHERE`.
    u, du : (n,) arrays
        Outputs (current times s). u counts from the mean content when the last
        pulse began.
    """
    on, off, current = pulses
    m = on.size
    for k in range(t.size):
        u[k] = current[m - 1] * min(max(t[k] - on[m - 1], 0.0), off[m - 1] - on[m - 1])
        du[k] = 0.0
    for j in range(m):
        if (t[0] - off[j]) / tau > _GONE:
            continue
        scale = current[j] * tau
        for k in range(t.size):
            since = (t[k] - on[j]) / tau
            if since <= 0.0:
                continue
            g, slope = excess(since, geometry)
            value, change = g, g - since * slope
            after = (t[k] - off[j]) / tau
            if after > 0.0:
                g, slope = excess(after, geometry)
                value -= g
                change -= g - after * slope
            u[k] += scale * value
            du[k] += scale * change


@njit(cache=True, nogil=True)
def project(
    basis: FloatTable, target: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
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
    return coefficients, residual
