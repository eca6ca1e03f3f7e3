"""A plane through a phase that may wrap: offset and slopes of the vacuum."""

from __future__ import annotations

import numpy as np

#: Products of the three basis functions that the normal equations need.
_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
N_MOMENTS = 3 + len(_PAIRS)


def plane_moments(
    field: np.ndarray,
    good: np.ndarray,
    offset: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
) -> np.ndarray:
    """Return what each pixel adds to the normal equations of a plane.

    Parameters
    ----------
    field : (...)
        Complex values whose phase is nearly `offset`.
    good : (...) bool
        Pixels that count.
    offset : (...)
        Phase that is taken off first, so that nothing wraps.
    rows, columns : (...)
        Pixel numbers, counted from the middle.

    Returns
    -------
    (..., N_MOMENTS)
        To be summed over the image.
    """
    left = np.where(good, np.angle(field * np.exp(-1j * offset)), 0.0)
    counted = np.where(good, 1.0, 0.0)
    basis = 1.0, rows, columns
    moments = [left * b for b in basis]
    moments += [counted * basis[i] * basis[j] for i, j in _PAIRS]
    return np.stack(np.broadcast_arrays(*moments), axis=-1)


def fit_plane(moments: np.ndarray) -> np.ndarray:
    """Return offset and slopes along rows and columns, by least squares.

    Parameters
    ----------
    moments : (..., N_MOMENTS)
        Sums over the image of what `plane_moments` returned.

    Returns
    -------
    (..., 3)
    """
    matrix = np.empty((*moments.shape[:-1], 3, 3))
    for k, (i, j) in enumerate(_PAIRS):
        matrix[..., i, j] = matrix[..., j, i] = moments[..., 3 + k]
    return np.asarray((np.linalg.pinv(matrix) @ moments[..., :3, None])[..., 0])
