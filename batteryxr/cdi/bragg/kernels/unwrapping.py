"""Phase without its jumps of 2 pi, and the plane that lies in it."""

from __future__ import annotations

from typing import Any

import numpy as np

_TAU = 2 * np.pi


def unwrap(phase: np.ndarray, support: np.ndarray, unwrap_phase: Any) -> np.ndarray:
    """Unwrap a phase inside a support.

    Parameters
    ----------
    phase
        (i, j, k) wrapped phase (rad).
    support
        (i, j, k) bool.
    unwrap_phase
        scikit-image's function: Abdul-Rahman et al., Opt. Lett. 32, 2280 (2007).

    Returns
    -------
    numpy.ndarray
        Unwrapped, its mean within (-pi, pi]; NaN outside. Parts of the support that
        do not touch lie within pi of the largest in the mean: between them the number
        of turns cannot be known.
    """
    from scipy import ndimage

    out = np.full(phase.shape, np.nan, phase.dtype)
    if not support.any():
        return out
    parts, n = ndimage.label(support)
    masked = np.ma.masked_array(np.where(support, phase, 0.0), ~support)
    free = np.asarray(unwrap_phase(masked, rng=0))
    mean = ndimage.mean(free, parts, np.arange(1, n + 1))
    largest = mean[np.argmax(np.bincount(parts.ravel())[1:])]
    anchor = largest - _TAU * np.ceil(largest / _TAU - 0.5)
    turns = np.concatenate([[0.0], np.round((mean - anchor) / _TAU)])
    out[support] = (free - _TAU * turns[parts])[support]
    return out


def unwrap_difference(
    field: np.ndarray, other: np.ndarray, support: np.ndarray, *, unwrap_phase: Any
) -> np.ndarray:
    """Return the phase of one complex field less that of another, unwrapped.

    Parameters
    ----------
    field, other
        (i, j, k) complex.
    support, unwrap_phase
        As in `unwrap`.
    """
    return unwrap(np.angle(field * np.conj(other)), support, unwrap_phase)


def plane(phase: np.ndarray, support: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit a plane to a phase by least squares.

    Parameters
    ----------
    phase
        (i, j, k) unwrapped phase (rad).
    support
        (i, j, k) bool; NaN of the phase is left out too.

    Returns
    -------
    slopes
        (3,) rad per index.
    offset
        Value at index ``n // 2`` of each axis (rad).
    """
    used = np.nonzero(support & np.isfinite(phase))
    if len(used[0]) < 4:
        return np.zeros(3), 0.0
    centre = [n // 2 for n in phase.shape]
    columns = [u - float(c) for u, c in zip(used, centre, strict=True)]
    matrix = np.stack([*columns, np.ones(len(used[0]))], axis=1)
    values = phase[used].astype(float)
    # Normal equations: four columns of counts are as well conditioned as they come.
    solution = np.linalg.lstsq(matrix.T @ matrix, matrix.T @ values, rcond=None)[0]
    return solution[:3], float(solution[3])


def without_plane(
    phase: np.ndarray, slopes: np.ndarray, offset: float | np.ndarray
) -> np.ndarray:
    """Return `phase` less a plane from `plane`."""
    out = phase - np.asarray(offset, phase.dtype)
    for axis, n in enumerate(phase.shape):
        line = slopes[axis] * (np.arange(n) - n // 2)
        shape = [-1 if a == axis else 1 for a in range(3)]
        out -= line.reshape(shape).astype(phase.dtype)
    return out
