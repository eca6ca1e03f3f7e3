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
