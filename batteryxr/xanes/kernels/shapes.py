"""Edge, peak and baseline shapes with derivatives, for the least-squares kernel.

A model is three small arrays: `kinds` (kind of each component), `offsets` (index of
its first parameter) and the parameters themselves. The loops over energies hold no
branch or call that a compiler cannot vectorise. This is why exponential and error
function are written out here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.kernels.compiling import njit
from batteryxr.xanes.kernels.problem import (
    ARCTAN,
    ERF,
    GAUSSIAN,
    LORENTZIAN,
    POLYNOMIAL,
)

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats, FloatTable, Ints
    from batteryxr.xanes.kernels.problem import Axis, Model

LN2 = math.log(2.0)
ROOT_PI = math.sqrt(math.pi)
#: Area of a Gaussian of unit height and unit half width at half maximum.
GAUSSIAN_AREA = math.sqrt(math.pi / LN2)
# Sums may be reordered and contracted; NaN and infinity keep their meaning.
FAST = {"contract", "reassoc", "arcp", "nsz"}

# exp(x²) erfc(x) as a polynomial in (x - 3) / (x + 3), which maps [0, inf) to [-1, 1):
# the Chebyshev interpolant of degree 16, largest absolute error of erf 3e-13.
_ERFCX = (
    0.17900115118153642,
    -0.3262335600491832,
    0.24560380168829665,
    -0.15011593620390257,
    0.0716658378486271,
    -0.024392503507037054,
    0.004269129522829804,
    0.0007077730287086873,
    -0.0005970260109259494,
    4.516547917099602e-05,
    6.39488942404291e-05,
    -1.2687473118646547e-05,
    -7.78512735954349e-06,
    1.9285189370268457e-06,
    1.0433134845994616e-06,
    -1.7979391926681908e-07,
    -1.0131086355544054e-07,
)
# 1 / n! for the Taylor series of the exponential.
_TAYLOR = tuple(1.0 / math.factorial(n) for n in range(11))


@njit(fastmath=FAST, inline="always", error_model="numpy")
def exp_minus(x: float) -> float:
    """Return exp(-x) for x >= 0: a series of x / 64, squared six times."""
    z = min(x, 45.0) * (-1.0 / 64.0)
    s = _TAYLOR[10]
    s = s * z + _TAYLOR[9]
    s = s * z + _TAYLOR[8]
    s = s * z + _TAYLOR[7]
    s = s * z + _TAYLOR[6]
    s = s * z + _TAYLOR[5]
    s = s * z + _TAYLOR[4]
    s = s * z + _TAYLOR[3]
    s = s * z + _TAYLOR[2]
    s = s * z + _TAYLOR[1]
    s = s * z + _TAYLOR[0]
    s = s * s
    s = s * s
    s = s * s
    s = s * s
    s = s * s
    return s * s


@njit(fastmath=FAST, inline="always", error_model="numpy")
def half_erf(u: float, exponential: float) -> float:
    """Return (1 + erf(u)) / 2, given exp(-u²)."""
    x = abs(u)
    t = (x - 3.0) / (x + 3.0)
    s = _ERFCX[16]
    s = s * t + _ERFCX[15]
    s = s * t + _ERFCX[14]
    s = s * t + _ERFCX[13]
    s = s * t + _ERFCX[12]
    s = s * t + _ERFCX[11]
    s = s * t + _ERFCX[10]
    s = s * t + _ERFCX[9]
    s = s * t + _ERFCX[8]
    s = s * t + _ERFCX[7]
    s = s * t + _ERFCX[6]
    s = s * t + _ERFCX[5]
    s = s * t + _ERFCX[4]
    s = s * t + _ERFCX[3]
    s = s * t + _ERFCX[2]
    s = s * t + _ERFCX[1]
    s = s * t + _ERFCX[0]
    tail = 0.5 * exponential * s
    return tail if u < 0.0 else 1.0 - tail


@njit(fastmath=FAST, nogil=True, cache=True, error_model="numpy")
def evaluate(
    x: Floats,
    scaled: Floats,
    y: Floats,
    p: Floats,
    kinds: Ints,
    offsets: Ints,
    residual: Floats,
    jacobian: FloatTable,
) -> float:
    """Fill residual y - f and Jacobian df/dp; return the sum of squared residuals.

    Parameters
    ----------
    x, scaled, y : (m,) float64
        Energies, energies scaled to about [-1, 1] (for the baseline), and data.
    p : (n,) float64
        Parameters. Edge: jump, energy, width. Peak: height, position, half width at
        half maximum, and for a pseudo-Voigt the Lorentzian share. Baseline:
        coefficients of the powers of `scaled`, from 0.
    kinds, offsets : (k,) int64
        Shape of each component, and the index of its first parameter.
    residual : (m,) float64, jacobian : (n, m) float64
        Outputs.
    """
    m = x.size
    for i in range(m):
        residual[i] = y[i]
    for c in range(kinds.size):
        o = offsets[c]
        kind = kinds[c]
        if kind == POLYNOMIAL:
            for k in range(o, p.size):
                b = p[k]
                for i in range(m):
                    power = 1.0 if k == o else jacobian[k - 1, i] * scaled[i]
                    jacobian[k, i] = power
                    residual[i] -= b * power
            continue
        height, centre, inverse = p[o], p[o + 1], 1.0 / p[o + 2]
        if kind == ERF:
            slope = height * inverse / ROOT_PI
            for i in range(m):
                u = (x[i] - centre) * inverse
                e = exp_minus(u * u)
                s = half_erf(u, e)
                g = slope * e
                jacobian[o, i] = s
                jacobian[o + 1, i] = -g
                jacobian[o + 2, i] = -g * u
                residual[i] -= height * s
        elif kind == ARCTAN:
            slope = height * inverse / math.pi
            for i in range(m):
                u = (x[i] - centre) * inverse
                s = 0.5 + math.atan(u) / math.pi
                g = slope / (1.0 + u * u)
                jacobian[o, i] = s
                jacobian[o + 1, i] = -g
                jacobian[o + 2, i] = -g * u
                residual[i] -= height * s
        elif kind == LORENTZIAN:
            slope = 2.0 * height * inverse
            for i in range(m):
                u = (x[i] - centre) * inverse
                s = 1.0 / (1.0 + u * u)
                g = slope * s * s * u
                jacobian[o, i] = s
                jacobian[o + 1, i] = g
                jacobian[o + 2, i] = g * u
                residual[i] -= height * s
        elif kind == GAUSSIAN:
            slope = 2.0 * LN2 * height * inverse
            for i in range(m):
                u = (x[i] - centre) * inverse
                s = exp_minus(LN2 * u * u)
                g = slope * s * u
                jacobian[o, i] = s
                jacobian[o + 1, i] = g
                jacobian[o + 2, i] = g * u
                residual[i] -= height * s
        else:
            share = p[o + 3]
            slope = 2.0 * height * inverse
            for i in range(m):
                u = (x[i] - centre) * inverse
                lorentz = 1.0 / (1.0 + u * u)
                gauss = exp_minus(LN2 * u * u)
                s = share * lorentz + (1.0 - share) * gauss
                g = share * lorentz * lorentz + (1.0 - share) * LN2 * gauss
                g *= slope * u
                jacobian[o, i] = s
                jacobian[o + 1, i] = g
                jacobian[o + 2, i] = g * u
                jacobian[o + 3, i] = height * (lorentz - gauss)
                residual[i] -= height * s
    total = 0.0
    for i in range(m):
        total += residual[i] * residual[i]
    return total


@njit(cache=True, nogil=True)
def unit_area(kind: int, p: Floats, o: int) -> tuple[float, float]:
    """Return the area of the peak at `o` per height and half width, and d/dshare."""
    if kind == LORENTZIAN:
        return math.pi, 0.0
    if kind == GAUSSIAN:
        return GAUSSIAN_AREA, 0.0
    share = p[o + 3]
    difference = math.pi - GAUSSIAN_AREA
    return GAUSSIAN_AREA + share * difference, difference


@njit(cache=True, nogil=True)
def curves(
    x: Floats,
    scaled: Floats,
    p: FloatTable,
    kinds: Ints,
    offsets: Ints,
    slopes: np.ndarray,
) -> np.ndarray:
    """Return f(x) for each row of parameters `p` (N, n), as (N, m).

    `slopes` takes df/dp of each row: (N, n, m), or (1, n, m) where none is needed.
    """
    n_rows = len(p)
    m = x.size
    out = np.empty((n_rows, m))
    zero = np.zeros(m)
    row: Floats = np.empty(m)
    for r in range(n_rows):
        evaluate(x, scaled, zero, p[r], kinds, offsets, row, slopes[r % len(slopes)])
        for i in range(m):
            out[r, i] = -row[i]
    return out


def broadcast_curves(*parameters: np.ndarray, axis: Axis, model: Model) -> np.ndarray:
    """Return f(x) for parameters of any shapes (...) that broadcast, as (..., m)."""
    p = np.stack(np.broadcast_arrays(*parameters), axis=-1).astype(float)
    rows = np.ascontiguousarray(p.reshape(-1, p.shape[-1]))
    for o in model.offsets[model.kinds < POLYNOMIAL]:
        # Absent components have height 0 and NaN positions: any number will do.
        absent = rows[:, o] == 0.0
        rows[absent, o + 1 : o + 3] = 1.0
    slopes = np.empty((1, rows.shape[1], axis.x.size))
    values = curves(axis.x, axis.scaled, rows, model.kinds, model.offsets, slopes)
    return np.asarray(values.reshape(*p.shape[:-1], axis.x.size))
