"""Smooth curves by penalised least squares, and find baselines under peaks.

The penalty is an integral over the axis, so points may be unevenly spaced.
"""

from __future__ import annotations

import numpy as np

_ITERATIONS = 50


def smooth_rows(
    values: np.ndarray, *, x: np.ndarray, width: float, there: np.ndarray
) -> np.ndarray:
    """Return (N, m) curves of little curvature close to the rows.

    Waves with a length of 2 pi widths are halved.

    Parameters
    ----------
    values : (N, m)
        Rows; points outside `there` are ignored.
    x : (m,)
        Axis.
    width
        Width in units of the axis.
    there : (m,) bool
        Which points are known.

    Notes
    -----
    Eilers, Anal. Chem. 75, 3631 (2003).
    """
    from scipy.linalg import solveh_banded

    mean = np.ptp(x) / (x.size - 1)
    weight = np.gradient(x) / mean * there
    bands = _bands(x / mean, (width / mean) ** 4)
    bands[2] += weight
    known = np.where(there, values, 0.0)
    return np.asarray(solveh_banded(bands, (known * weight).T).T)


def asymmetric(
    values: np.ndarray, *, x: np.ndarray, stiffness: float, share: float = 0.01
) -> np.ndarray:
    """Return baselines of (..., m); points above them have little weight.

    The stiffness is that for even points with the mean spacing of `x`.

    Notes
    -----
    Eilers & Boelens, Baseline correction with asymmetric least squares (2005).
    """
    from scipy.linalg import solveh_banded

    y = np.array(values, np.float64)
    rows = y.reshape(-1, y.shape[-1])
    out = np.empty_like(rows)
    mean = np.ptp(x) / (x.size - 1)
    own = np.gradient(x) / mean
    bands = _bands(x / mean, stiffness)
    for k, row in enumerate(rows):
        weight = np.ones_like(row)
        for _ in range(_ITERATIONS):
            matrix = bands.copy()
            matrix[2] += weight * own
            line = solveh_banded(matrix, weight * own * row)
            new = np.where(row > line, share, 1 - share)
            if (new == weight).all():
                break
            weight = new
        out[k] = line
    return out.reshape(y.shape)


def _bands(x: np.ndarray, stiffness: float) -> np.ndarray:
    """Return the upper bands of stiffness D'D, with D the second derivatives.

    Each derivative is weighted by its part of the axis.
    """
    before, after = np.diff(x)[:-1], np.diff(x)[1:]
    root = np.sqrt(0.5 * (before + after))
    second = [1 / before, -1 / before - 1 / after, 1 / after]
    rows = np.stack([part / root for part in second])
    bands = np.zeros((3, x.size))
    for shift in range(3):
        for k in range(3 - shift):
            first = k + shift
            bands[2 - shift, first : x.size - 2 + first] += rows[k] * rows[first]
    return stiffness * bands
