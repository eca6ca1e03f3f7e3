"""What scatter of residuals says about fitted values, when it goes on over energies.

Noise that is alike at neighbouring energies (a detector's filter, interpolation, a
model that lacks something) averages out less than as many independent values.
"""

from __future__ import annotations

import numpy as np

#: Most energies over which noise is looked for to be alike.
_LONGEST = 40
#: Lags in a row that must be insignificant before noise counts as forgotten.
_QUIET = 5


def correlated_errors(
    inverse: np.ndarray, left: np.ndarray, freedom: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return standard errors of linear fits, from the residuals' own covariance.

    The covariance over energies is averaged along each row and cut where it can no
    longer be told from nothing (D. N. Politis, J. Nonparametric Statistics 15, 453
    (2003), with a flat-topped window). White residuals give the usual errors, and so
    do those that alternate: a fit leaves such by chance, and no spectrum is known
    better for it.

    Parameters
    ----------
    inverse : (n, m)
        What turns data into fitted values: the pseudo-inverse of the design.
    left : (N, m)
        Residuals.
    freedom
        Degrees of freedom.

    Returns
    -------
    errors : (N, n)
        Standard errors.
    length : (N,)
        Energies per independent value, at least 1.
    """
    m = left.shape[1]
    longest = max(min(_LONGEST, m // 4), 0)
    lags = range(longest + 1)
    own = np.stack([_product(left, left, k) for k in lags], axis=1) / max(freedom, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.nan_to_num(own / own[:, :1])
    window = _window(share, m)
    spread = np.stack([_product(inverse, inverse, k) for k in lags])
    spread[1:] *= 2.0
    variance = (window * own) @ spread
    white = own[:, :1] * spread[:1]
    errors = np.sqrt(np.maximum(variance, white))
    length = 1.0 + 2.0 * (window * share)[:, 1:].sum(axis=1)
    return errors, np.clip(length, 1.0, None)


def _product(a: np.ndarray, b: np.ndarray, lag: int) -> np.ndarray:
    return np.einsum("ij,ij->i", a[:, : a.shape[1] - lag], b[:, lag:])


def _window(share: np.ndarray, m: int) -> np.ndarray:
    """Return how much each lag counts: all up to the last one that matters."""
    n_lags = share.shape[1]
    limit = 2.0 * np.sqrt(np.log10(max(m, 10)) / m)
    loud = np.abs(share) >= limit
    loud[:, 0] = True
    # The last loud lag before a run of quiet ones.
    padded = np.concatenate([loud, np.zeros((len(loud), _QUIET), bool)], axis=1)
    runs = np.stack([padded[:, k : k + n_lags] for k in range(1, _QUIET + 1)])
    last = np.argmin(runs.any(axis=0), axis=1)
    reach = 2.0 * last[:, None]
    lag = np.arange(n_lags)
    with np.errstate(invalid="ignore", divide="ignore"):
        window = np.clip(2.0 - 2.0 * lag / reach, 0.0, 1.0)
    return np.where(reach > 0, window, lag == 0)
