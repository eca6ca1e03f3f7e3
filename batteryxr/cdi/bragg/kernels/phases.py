"""Unwrapping of phases, planes in phases, and gradients of phases."""

from __future__ import annotations

from typing import Any

import numpy as np

from batteryxr.core.kernels.compiling import njit

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
        Unwrapped, its mean within (-pi, pi]; NaN outside. A part that does not touch
        the largest part gets a mean within pi of it: the number of turns between them
        is unknown.
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


def slopes(field: np.ndarray) -> np.ndarray:
    """Return the mean change of phase (rad) of an object per voxel along each axis.

    A conjugate has the other signs, a mirror image some of them; the twin has the same.

    Parameters
    ----------
    field
        (i, j, k) complex; NaN counts as zero.
    """
    known = np.nan_to_num(field)
    found = []
    for axis in range(known.ndim):
        turned = np.moveaxis(known, axis, 0)
        found.append(np.angle(np.vdot(turned[:-1], turned[1:])))
    return np.array(found, float)


def unwrap_difference(
    field: np.ndarray, other: np.ndarray, support: np.ndarray, *, unwrap_phase: Any
) -> np.ndarray:
    """Return the unwrapped phase difference of two complex fields.

    Parameters
    ----------
    field, other
        (i, j, k) complex.
    support, unwrap_phase
        See `unwrap`.
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
    # Normal equations suffice: four columns of counts are well conditioned.
    solution = np.linalg.lstsq(matrix.T @ matrix, matrix.T @ values, rcond=None)[0]
    return solution[:3], float(solution[3])


def without_plane(
    phase: np.ndarray, slopes: np.ndarray, offset: float | np.ndarray
) -> np.ndarray:
    """Subtract a plane, as fitted by `plane`, from a phase."""
    out = phase - np.asarray(offset, phase.dtype)
    for axis, n in enumerate(phase.shape):
        line = slopes[axis] * (np.arange(n) - n // 2)
        shape = [-1 if a == axis else 1 for a in range(3)]
        out -= line.reshape(shape).astype(phase.dtype)
    return out


def along(
    phase: np.ndarray, support: np.ndarray, basis: np.ndarray, q: np.ndarray
) -> np.ndarray:
    """Return the derivative of phase / |Q| along Q.

    Parameters
    ----------
    phase
        (i, j, k) phase (rad), wrapped or not.
    support
        (i, j, k) bool.
    basis
        (3, 3) step of each index in space: axis, then (x, y, z); Angstrom.
    q
        (3,) scattering vector; 1/Angstrom.

    Returns
    -------
    numpy.ndarray
        (i, j, k), float64. NaN outside the support, and where a voxel has no
        neighbour along an axis.
    """
    length = float(np.linalg.norm(q))
    # phase(r) with r = sum n_i D_i: the index derivatives are D times the gradient.
    weights = np.linalg.solve(np.asarray(basis, float).T, np.asarray(q) / length)
    return _along(
        np.ascontiguousarray(phase, dtype=np.float64),
        np.ascontiguousarray(support, dtype=np.bool_),
        weights / length,
    )


@njit(cache=True, nogil=True)
def _along(phase: np.ndarray, support: np.ndarray, weights: np.ndarray) -> np.ndarray:
    out = np.full(phase.shape, np.nan)
    n0, n1, n2 = phase.shape
    for i in range(n0):
        for j in range(n1):
            for k in range(n2):
                if not support[i, j, k]:
                    continue
                total = 0.0
                for axis in range(3):
                    d0, d1, d2 = axis == 0, axis == 1, axis == 2
                    slope, count = 0.0, 0
                    a, b, c = i + d0, j + d1, k + d2
                    if a < n0 and b < n1 and c < n2 and support[a, b, c]:
                        step = phase[a, b, c] - phase[i, j, k]
                        # Wrapped, so that the cut at a dislocation leaves no trace.
                        slope += step - _TAU * np.round(step / _TAU)
                        count += 1
                    a, b, c = i - d0, j - d1, k - d2
                    if a >= 0 and b >= 0 and c >= 0 and support[a, b, c]:
                        step = phase[i, j, k] - phase[a, b, c]
                        slope += step - _TAU * np.round(step / _TAU)
                        count += 1
                    total += weights[axis] * slope / count if count else np.nan
                out[i, j, k] = total
    return out
