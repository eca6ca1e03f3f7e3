"""Fit the phase of a stack: its plane in vacuum, and its match to the absorption.

Absorption is matched to a table; the Kramers-Kronig relation gives the phase.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Products of the three basis functions in the normal equations.
_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
N_MOMENTS = 3 + len(_PAIRS)


def plane_moments(
    field: np.ndarray,
    good: np.ndarray,
    offset: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
) -> np.ndarray:
    """Return the terms of each pixel in the normal equations of a plane.

    Parameters
    ----------
    field : (...)
        Complex values whose phase is nearly `offset`.
    good : (...) bool
        Pixels that are used.
    offset : (...)
        Phase that is subtracted first, so that nothing wraps.
    rows, columns : (...)
        Pixel numbers, counted from the middle.

    Returns
    -------
    (..., N_MOMENTS)
        Terms to be summed over the image.
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
        Sums over the image of the result of `plane_moments`.

    Returns
    -------
    (..., 3)
    """
    matrix = np.empty((*moments.shape[:-1], 3, 3))
    for k, (i, j) in enumerate(_PAIRS):
        matrix[..., i, j] = matrix[..., j, i] = moments[..., 3 + k]
    return np.asarray((np.linalg.pinv(matrix) @ moments[..., :3, None])[..., 0])


class Reference(NamedTuple):
    """Hold the data that are the same for every spectrum.

    Attributes
    ----------
    matrix : (m, m)
        Kramers-Kronig transform of f''.
    f1, f2 : (m,)
        Tabulated f' and f''.
    basis : (m, b)
        Background curves.
    weight : (m,)
        Weights of the energies.
    absorption, phase : (m,)
        Factors from absorption to f'' and from phase to electrons, per area.
    """

    matrix: np.ndarray
    f1: np.ndarray
    f2: np.ndarray
    basis: np.ndarray
    weight: np.ndarray
    absorption: np.ndarray
    phase: np.ndarray


def factors_of(data: np.ndarray, reference: Reference) -> tuple[np.ndarray, ...]:
    """Return f' and f'' from absorption, and the atoms per area.

    Parameters
    ----------
    data : (..., m)
        Absorption.

    Returns
    -------
    f1, f2 : (..., m)
    density : (...)
    """
    rows = data.reshape(-1, data.shape[-1]).astype(float) * reference.absorption
    density, f2 = match_table(rows, reference.f2, reference.basis, reference.weight)
    f1 = reference.f1 + (f2 - reference.f2) @ reference.matrix.T
    f2 = np.where(np.isnan(f1), np.nan, f2)
    return (
        f1.reshape(data.shape),
        f2.reshape(data.shape),
        density.reshape(data.shape[:-1]),
    )


def compare_phase(
    data: np.ndarray, phase: np.ndarray, reference: Reference
) -> tuple[np.ndarray, ...]:
    """Compare the phase with that expected from the absorption; see `misfit`.

    Parameters
    ----------
    data, phase : (..., m)
        Absorption, and phase in rad.

    Returns
    -------
    rms, slope : (...)
    residual : (..., m)
    """
    f1, _, density = factors_of(data, reference)
    rows = phase.reshape(-1, phase.shape[-1]).astype(float) * reference.phase
    electrons = rows / density.reshape(-1, 1)
    rms, slope, residual = misfit(electrons, f1.reshape(rows.shape), reference.basis)
    shape = data.shape[:-1]
    return rms.reshape(shape), slope.reshape(shape), residual.reshape(data.shape)


def match_table(
    data: np.ndarray, table: np.ndarray, basis: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Match spectra to a tabulated f'' away from the edge.

    It solves data = N f'' + background by least squares where `weight` is not zero.

    Parameters
    ----------
    data : (N, m)
        Spectra proportional to f''.
    table : (m,)
        Tabulated f''.
    basis : (m, b)
        Background curves.
    weight : (m,)
        Weights of the energies.

    Returns
    -------
    scale : (N,)
        N; NaN if it is not positive.
    matched : (N, m)
        (data - background) / N.
    """
    used = weight > 0
    columns = np.concatenate([table[:, None], basis], axis=1)
    solve = np.linalg.pinv(columns[used] * weight[used, None]) * weight[used]
    found = data[:, used] @ solve.T
    scale = np.where(found[:, 0] > 0, found[:, 0], np.nan)
    return scale, (data - found[:, 1:] @ basis.T) / scale[:, None]


def misfit(
    electrons: np.ndarray, expected: np.ndarray, basis: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare measured and expected f', without a smooth background.

    Parameters
    ----------
    electrons : (N, m)
        Electrons per atom from the phase.
    expected : (N, m)
        f' from the absorption.
    basis : (m, b)
        Background curves.

    Returns
    -------
    rms : (N,)
        Root mean square difference, with the background fitted.
    slope : (N,)
        Measured over expected: 1 if both agree.
    residual : (N, m)
    """
    q = np.linalg.qr(basis)[0]
    left = electrons - expected
    left = left - (left @ q) @ q.T
    shape = expected - (expected @ q) @ q.T
    power = np.einsum("ij,ij->i", shape, shape)
    slope = 1.0 + np.einsum("ij,ij->i", left, shape) / power
    return np.sqrt(np.mean(left**2, axis=1)), slope, left
