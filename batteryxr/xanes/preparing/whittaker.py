"""Smooth curves by penalised least squares, and baselines under peaks: arrays only."""

from __future__ import annotations

import numpy as np

_ITERATIONS = 50


def smooth_rows(values: np.ndarray, *, stiffness: float) -> np.ndarray:
    """Return (..., m) curves with small second differences.

    Notes
    -----
    Eilers, Anal. Chem. 75, 3631 (2003).
    """
    from scipy.linalg import solveh_banded

    y = np.array(values, np.float64)
    rows = y.reshape(-1, y.shape[-1])
    bands = _bands(rows.shape[1], stiffness)
    bands[2] += 1.0
    return np.asarray(solveh_banded(bands, rows.T).T.reshape(y.shape))


def asymmetric(
    values: np.ndarray, *, stiffness: float, share: float = 0.01
) -> np.ndarray:
    """Return baselines of (..., m): what lies above them hardly counts.

    Notes
    -----
    Eilers & Boelens, Baseline correction with asymmetric least squares (2005).
    """
    from scipy.linalg import solveh_banded

    y = np.array(values, np.float64)
    rows = y.reshape(-1, y.shape[-1])
    out = np.empty_like(rows)
    bands = _bands(rows.shape[1], stiffness)
    for k, row in enumerate(rows):
        weight = np.ones_like(row)
        for _ in range(_ITERATIONS):
            matrix = bands.copy()
            matrix[2] += weight
            line = solveh_banded(matrix, weight * row)
            new = np.where(row > line, share, 1 - share)
            if (new == weight).all():
                break
            weight = new
        out[k] = line
    return out.reshape(y.shape)


def _bands(m: int, stiffness: float) -> np.ndarray:
    """Return the upper bands of stiffness D'D, D being second differences."""
    d = np.zeros((3, m))
    for shift, pair in ((0, (1.0, 4.0, 1.0)), (1, (-2.0, -2.0)), (2, (1.0,))):
        for k, value in enumerate(pair):
            first = shift + k
            d[2 - shift, first : m - 2 + first] += value
    return stiffness * d
