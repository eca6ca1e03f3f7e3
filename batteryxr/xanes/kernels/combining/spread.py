"""Estimate errors of fits from residuals that are correlated over energies.

Noise that is similar at neighbouring energies averages out less than independent
values do. Its sources are a detector's filter, interpolation, or an incomplete model.
"""

from __future__ import annotations

import numpy as np

#: Largest range of energies over which noise correlations are searched.
_LONGEST = 40
#: Least singular value of a parameter, as a share of the largest.
_RANK = 1e-10
#: Number of insignificant lags in a row after which correlations end.
_QUIET = 5


def correlated_errors(
    inverse: np.ndarray,
    left: np.ndarray,
    freedom: int,
    background: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return standard errors of linear fits, from the residuals' own covariance.

    The covariance over energies is averaged along each row, and cut where it is no
    longer significant (D. N. Politis, J. Nonparametric Statistics 15, 453 (2003), with
    a flat-topped window). White residuals give the usual errors. Alternating residuals
    do too: they occur by chance in a fit, and do not make it more precise. The rows of
    a rest in GITT are too few and uneven for it: there one number stands for all lags.

    Parameters
    ----------
    inverse : (n, m)
        Pseudo-inverse of the design, which turns data into fitted values.
    left : (N, m)
        Residuals.
    freedom
        Degrees of freedom.
    background : (m, b)
        Orthonormal curves that were taken off before; they take slow noise too.

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
    own = np.stack([_product(left, left, k) for k in lags], axis=1)
    whole = np.linalg.pinv(_seen(inverse, freedom, longest + 1, background))
    plain = own[:, 0] / max(freedom, 1)
    own = own @ whole.T
    own[:, 0] = np.maximum(own[:, 0], plain)  # slow noise is only ever lost to a fit
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.nan_to_num(own / own[:, :1])
    window = _window(share, m)
    spread = np.stack([_product(inverse, inverse, k) for k in lags])
    spread[1:] *= 2.0
    variance = (window * own) @ spread
    white = own[:, :1] * spread[:1]
    length = 1.0 + 2.0 * (window * share)[:, 1:].sum(axis=1)
    variance *= _widened(window * share, window, spread, freedom)
    errors = np.sqrt(np.maximum(variance, white))
    return errors, np.clip(length, 1.0, None)


def _widened(
    share: np.ndarray, window: np.ndarray, spread: np.ndarray, freedom: int
) -> np.ndarray:
    """Return what variances are too small by, as they are estimates themselves.

    A variance is a weighted sum of the power of residuals over frequencies. Its own
    scatter gives the degrees of freedom of Student's distribution (F. E.
    Satterthwaite, Biometrics Bull. 2, 110 (1946)).
    """
    n_lags = share.shape[1]
    twice = np.where(np.arange(n_lags) > 0, 2.0, 1.0)
    angle = np.pi * (np.arange(2 * n_lags) + 0.5) / (2 * n_lags)
    wave = np.cos(np.outer(np.arange(n_lags), angle))
    power = np.clip((share * twice) @ wave, 0.0, None)  # (N, F)
    taken = np.einsum("nk,kp->npk", window, spread) @ wave  # (N, n, F)
    taken = taken * power[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        own = taken.mean(axis=2) ** 2 / (taken**2).mean(axis=2)
    dof = np.clip(own * freedom, 3.0, max(freedom, 3.0))
    least = max(freedom, 3.0)
    wider: np.ndarray = dof / (dof - 2.0) * (least - 2.0) / least
    return wider


def _seen(
    inverse: np.ndarray,
    freedom: int,
    n_lags: int,
    background: np.ndarray | None = None,
) -> np.ndarray:
    """Return the products of residuals at each lag that a unit covariance leaves.

    A fit takes slow noise for its parameters, so residuals hold less of it. Row k is
    the sum of products of residuals at lag k; column j is for noise that is correlated
    at lag j alone, with a covariance of 1.
    """
    m = inverse.shape[1]
    _, size, basis = np.linalg.svd(inverse, full_matrices=False)
    basis = basis[size > _RANK * size[0]]
    if background is not None:
        basis = np.concatenate([basis, background.T])
    moved = np.zeros((n_lags, *basis.shape))  # what unit covariances make of the basis
    for j in range(n_lags):
        moved[j, :, j:] += basis[:, : m - j]
        if j:
            moved[j, :, : m - j] += basis[:, j:]
    within = (moved @ basis.T).swapaxes(1, 2) @ basis
    from scipy import fft

    length = fft.next_fast_len(2 * m, real=True)
    one, two = fft.rfft(basis, length), fft.rfft(moved, length)
    left = one.conj() * fft.rfft(within - moved, length) - two.conj() * one
    taken = fft.irfft(left.sum(axis=1), length)[:, :n_lags]
    seen: np.ndarray = np.diag(m - np.arange(n_lags, dtype=float)) + taken.T
    left_over = max(freedom, 1) / max(m - len(basis), 1)
    return seen * left_over


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
