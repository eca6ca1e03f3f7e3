"""Matching measured absorption to a table, and the phase to the absorption."""

from __future__ import annotations

import numpy as np


def match(
    data: np.ndarray, table: np.ndarray, basis: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Match spectra to a tabulated f'' away from the edge.

    data = N f'' + background, by least squares where `weight` is not zero.

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
        N; NaN where it is not positive.
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
    """Compare measured f' with the expected, leaving out a smooth background.

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
        Measured over expected: 1 where both agree.
    residual : (N, m)
    """
    q = np.linalg.qr(basis)[0]
    left = electrons - expected
    left = left - (left @ q) @ q.T
    shape = expected - (expected @ q) @ q.T
    power = np.einsum("ij,ij->i", shape, shape)
    slope = 1.0 + np.einsum("ij,ij->i", left, shape) / power
    return np.sqrt(np.mean(left**2, axis=1)), slope, left
