"""Estimate errors of fits from residuals that are correlated over energies.

Noise that is similar at neighbouring energies averages out less than independent
values do. Its sources are a detector's filter, interpolation, or an incomplete model.
"""

from __future__ import annotations

import numpy as np

#: Largest range of energies over which noise correlations are searched.
_LONGEST = 40
#: Least share of the independent values that a fit leaves.
_LEAST = 0.25
#: Number of insignificant lags in a row after which correlations end.
_QUIET = 5


def correlated_errors(
    inverse: np.ndarray, left: np.ndarray, freedom: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return standard errors of linear fits, from the residuals' own covariance.

    The covariance over energies is averaged along each row, and cut where it is no
    longer significant (D. N. Politis, J. Nonparametric Statistics 15, 453 (2003), with
    a flat-topped window). White residuals give the usual errors. Alternating residuals
    do too: they occur by chance in a fit, and do not make it more precise. A fit takes
    its parameters from the independent values, so that fewer of these are left.

    Parameters
    ----------
    inverse : (n, m)
        Pseudo-inverse of the design, which turns data into fitted values.
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
    length = 1.0 + 2.0 * (window * share)[:, 1:].sum(axis=1)
    length = np.clip(length, 1.0, None)
    taken = (m - freedom) / m
    more = (1.0 - taken) / np.maximum(1.0 - taken * length, _LEAST)
    errors = np.sqrt(np.maximum(variance, white) * more[:, None])
    return errors, length


def _product(a: np.ndarray, b: np.ndarray, lag: int) -> np.ndarray:
    return np.einsum("ij,ij->i", a[:, : a.shape[1] - lag], b[:, lag:])


def _window(share: np.ndarray, m: int) -> np.ndarray:
    """Return the weight of each lag: all up to the last significant one."""
    n_lags = share.shape[1]
    limit = 2.0 * np.sqrt(np.log10(max(m, 10)) / m)
    loud = np.abs(share) >= limit
    loud[:, 0] = True
    # Find the last significant lag before a run of insignificant ones.
    padded = np.concatenate([loud, np.zeros((len(loud), _QUIET), bool)], axis=1)
    runs = np.stack([padded[:, k : k + n_lags] for k in range(1, _QUIET + 1)])
    last = np.argmin(runs.any(axis=0), axis=1)
    reach = 2.0 * last[:, None]
    lag = np.arange(n_lags)
    with np.errstate(invalid="ignore", divide="ignore"):
        window = np.clip(2.0 - 2.0 * lag / reach, 0.0, 1.0)
    return np.where(reach > 0, window, lag == 0)
