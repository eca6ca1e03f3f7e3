"""Run Levenberg-Marquardt with bounds for one small fit, in memory from the caller.

Sources: Marquardt, J. SIAM 11, 431 (1963); bounds by a free set: Bertsekas, SIAM J.
Control Optim. 20, 221 (1982).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from batteryxr.core.kernels.compiling import njit
from batteryxr.xanes.kernels.problem import INNER
from batteryxr.xanes.kernels.shapes import FAST, evaluate

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats, FloatTable, Line
    from batteryxr.xanes.kernels.memory import Points, Scratch
    from batteryxr.xanes.kernels.problem import Model

_SQUEEZE, _RELAX = 0.1, 8.0
#: Squared residual over data at the level of rounding; below it chi2 may keep falling
#: by rounding alone.
_EXACT = 1e-24


@njit(fastmath=FAST, **INNER)
def _residuals(
    points: Points, p: Floats, model: Model, r: Floats, j: FloatTable
) -> float:
    """Fill weighted residual and Jacobian; return the sum of squares."""
    x, scaled, y, weight, weighted = points
    total: float = evaluate(x, scaled, y, p, model.kinds, model.offsets, r, j)
    if weighted:
        total = 0.0
        for i in range(x.size):
            r[i] *= weight[i]
            total += r[i] * r[i]
        for k in range(p.size):
            for i in range(x.size):
                j[k, i] *= weight[i]
    return total


@njit(fastmath=FAST, **INNER)
def normal(jacobian: FloatTable, residual: Floats, a: FloatTable, g: Floats) -> None:
    """Fill the lower triangle of A = JᵀJ, and g = Jᵀr."""
    n, m = jacobian.shape
    for i in range(n):
        s = 0.0
        for k in range(m):
            s += jacobian[i, k] * residual[k]
        g[i] = s
        for j in range(i + 1):
            s = 0.0
            for k in range(m):
                s += jacobian[i, k] * jacobian[j, k]
            a[i, j] = s


@njit(**INNER)
def factorise(a: FloatTable, lower: FloatTable) -> bool:
    """Compute the Cholesky factor of `a` (lower triangle); False if not definite."""
    n = a.shape[0]
    for j in range(n):
        s = a[j, j]
        for k in range(j):
            s -= lower[j, k] * lower[j, k]
        if not s > 1e-300:
            return False
        d = math.sqrt(s)
        lower[j, j] = d
        d = 1.0 / d
        for i in range(j + 1, n):
            s = a[i, j]
            for k in range(j):
                s -= lower[i, k] * lower[j, k]
            lower[i, j] = s * d
    return True


@njit(**INNER)
def substitute(lower: FloatTable, b: Floats, x: Floats) -> None:
    """Solve L Lᵀ x = b."""
    n = b.size
    for i in range(n):
        s = b[i]
        for k in range(i):
            s -= lower[i, k] * x[k]
        x[i] = s / lower[i, i]
    for i in range(n - 1, -1, -1):
        s = x[i]
        for k in range(i + 1, n):
            s -= lower[k, i] * x[k]
        x[i] = s / lower[i, i]


@njit(**INNER)
def damp(a: FloatTable, free: Line[bool], damping: float, b: FloatTable) -> None:
    """Copy A with Marquardt's damping; frozen parameters become identity rows."""
    n = a.shape[0]
    for i in range(n):
        for j in range(i):
            b[i, j] = a[i, j] if free[i] and free[j] else 0.0
        b[i, i] = a[i, i] * (1.0 + damping) + 1e-30 if free[i] else 1.0


@njit(**INNER)
def _release(p: Floats, g: Floats, model: Model, free: Line[bool]) -> None:
    """Free every parameter that the gradient does not press against a bound."""
    low, high = model.low, model.high
    for k in range(p.size):
        pressed = (p[k] <= low[k] and g[k] <= 0.0) or (p[k] >= high[k] and g[k] >= 0.0)
        free[k] = not pressed


@njit(**INNER)
def descend(
    points: Points,
    p: Floats,
    model: Model,
    work: Scratch,
    tolerance: float,
    limit: int,
) -> tuple[float, bool, Floats, FloatTable]:
    """Descend from `p` in place; return chi2, whether it converged, and r, J."""
    r, r2, jac, jac2, a, b, lower, g, d, q, free = work
    low, high = model.low, model.high
    chi = _residuals(points, p, model, r, jac)
    tiny = 0.0
    for i in range(points.y.size):
        tiny += (points.y[i] * points.weight[i]) ** 2
    tiny *= _EXACT
    damping = 1e-3
    for _ in range(limit):
        normal(jac, r, a, g)
        _release(p, g, model, free)
        for k in range(p.size):
            if not free[k]:
                g[k] = 0.0
        lowered = False
        trial = chi
        for _attempt in range(12):
            damp(a, free, damping, b)
            if factorise(b, lower):
                substitute(lower, g, d)
                for k in range(p.size):
                    q[k] = min(max(p[k] + d[k], low[k]), high[k])
                trial = _residuals(points, q, model, r2, jac2)
                if trial <= chi:
                    lowered = True
                    break
            damping *= _RELAX
        if not lowered:  # no shorter step helps: a minimum up to rounding
            return chi, True, r, jac
        gain = chi - trial
        r, r2 = r2, r
        jac, jac2 = jac2, jac
        for k in range(p.size):
            p[k] = q[k]
        settled = gain <= tolerance * chi or trial <= tiny
        chi = trial
        damping = max(damping * _SQUEEZE, 1e-12)
        if settled:
            return chi, True, r, jac
    return chi, False, r, jac


@njit(**INNER)
def covariance(
    jac: FloatTable,
    r: Floats,
    p: Floats,
    model: Model,
    work: Scratch,
    cov: FloatTable,
) -> None:
    """Fill `cov` with (JᵀJ)⁻¹ over the free parameters, NaN elsewhere."""
    a, b, lower, g, d, free = (
        work.a, work.b, work.lower, work.g, work.d, work.free,
    )  # fmt: skip
    low, high = model.low, model.high
    n = p.size
    normal(jac, r, a, g)
    for k in range(n):
        inside = low[k] < p[k] < high[k]
        free[k] = inside and a[k, k] > 0.0
    damp(a, free, 0.0, b)
    definite = factorise(b, lower)
    for i in range(n):
        if not (definite and free[i]):
            for k in range(n):
                cov[i, k] = math.nan
            continue
        for k in range(n):
            g[k] = 0.0
        g[i] = 1.0
        substitute(lower, g, d)
        for k in range(n):
            cov[i, k] = d[k]
