"""The Kramers-Kronig transform of piecewise linear spectra, as one matrix."""

from __future__ import annotations

import numpy as np

#: Energies closer than this (eV) count as one: the logarithms of the two segments
#: that meet at a node cancel there.
_CLOSE = 1e-9


def transform_matrix(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Return the matrix from f'' on `x` to f' at `out`.

    f'(E) = (2/π) P∫ e f''(e) / (E² - e²) de, exact where f'' is linear between the
    energies of `x`; f'' counts as zero outside.

    Parameters
    ----------
    x : (m,)
        Rising energies, in any spacing.
    out : (k,)
        Energies of f'.

    Returns
    -------
    (k, m)
    """
    a, b = x[:-1], x[1:]
    width = b - a
    matrix = np.zeros((out.size, x.size))
    for sign in (1.0, -1.0):
        pole = sign * out[:, None]
        log = np.log(_apart(b - pole) / _apart(a - pole))
        # ∫ (b - e) / (e - s) de and ∫ (e - a) / (e - s) de over each segment, / width
        matrix[:, :-1] += (b - pole) / width * log - 1.0
        matrix[:, 1:] += 1.0 + (pole - a) / width * log
    return -matrix / np.pi


def _apart(difference: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(difference), _CLOSE)


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
