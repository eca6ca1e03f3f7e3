"""Estimate errors of fits from residuals that are correlated over energies.

Noise that is similar at neighbouring energies averages out less than independent
values do. Its sources are a detector's filter, interpolation, or an incomplete model.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

#: Largest range of energies over which noise correlations are searched.
_LONGEST = 40
#: Least singular value of a parameter, as a share of the largest.
_RANK = 1e-10
#: Up to so many energies, models of the noise have a say in its errors.
_FEW = 100
#: Reach of each shape in energies: exponential, a running mean, a bell.
_DECAYS = (0.7, 1.7, 4.0, 10.0)
_MEANS = (3, 5, 9)
_BELLS = (0.6, 1.1, 1.8, 3.0)
#: Share of independent noise beside noise that is smooth.
_BESIDE = 0.03
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
    do too: they occur by chance in a fit, and do not make it more precise. Of up to 100
    energies, variances are the means of this estimate and of `_modelled_errors`: it is
    at times far too small, those where no model has the noise's shape. The rows of a
    rest in GITT are too few and uneven for it: there one number stands for all lags.

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
    return Taken.by(inverse, freedom, background).errors(left)


class Taken(NamedTuple):
    """Hold what a fit takes from noise, which is the same for all its spectra.

    Attributes
    ----------
    freedom
        Degrees of freedom.
    whole : (L, L)
        Matrix from `undone`.
    spread : (n, L)
        Sums of products of the pseudo-inverse at each lag.
    models
        What models of the noise need, of few energies.
    """

    freedom: int
    whole: np.ndarray
    spread: np.ndarray
    models: _Models | None

    @classmethod
    def by(
        cls, inverse: np.ndarray, freedom: int, background: np.ndarray | None
    ) -> Taken:
        """Return what a fit takes, from the arguments of `correlated_errors`."""
        few = inverse.shape[1] <= _FEW
        models = _models_of(inverse, _fitted(inverse, background)) if few else None
        whole = undone(inverse, freedom, background)
        return cls(freedom, whole, lag_sums(inverse), models)

    def errors(self, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return standard errors and lengths, as `correlated_errors` does."""
        own = lag_sums(left)
        count, freedom = (np.full(len(left), k) for k in (left.shape[1], self.freedom))
        plain = own[:, 0] / max(self.freedom, 1)
        seen = correlation(own, plain, self.whole, count)
        errors = seen.errors(self.spread[:, 0], lambda _: self.spread, freedom)
        if self.models is None:
            return errors, seen.length
        others, modelled = _modelled_errors(self.models, left, self.freedom)
        sound = np.isfinite(others).all(axis=1)  # no residual at all tells of no noise
        errors[sound] = np.sqrt(0.5 * (errors[sound] ** 2 + others[sound] ** 2))
        return errors, np.where(sound, 0.5 * (seen.length + modelled), seen.length)


class Correlation(NamedTuple):
    """Hold how the noise of N spectra is correlated over energies.

    Attributes
    ----------
    own : (N, L)
        Covariance at each lag.
    share : (N, L)
        Covariance at each lag over that at lag 0.
    window : (N, L)
        Weight of each lag.
    """

    own: np.ndarray
    share: np.ndarray
    window: np.ndarray

    @property
    def length(self) -> np.ndarray:
        """Return the energies per independent value (N,), at least 1."""
        far = (self.window * self.share)[:, 1:].sum(axis=1)
        return np.clip(1.0 + 2.0 * far, 1.0, None)

    def errors(
        self,
        alone: np.ndarray,
        spread: Callable[[np.ndarray], np.ndarray],
        freedom: np.ndarray,
    ) -> np.ndarray:
        """Return the standard errors (N, n) of fitted values.

        Parameters
        ----------
        alone : (n,) or (N, n)
            Sum of squares of the pseudo-inverse.
        spread
            Returns the sums of its products at each lag, (n, L) or (R, n, L), for R
            chosen spectra.
        freedom : (N,)
            Degrees of freedom.
        """
        variance = self.own[:, :1] * alone
        loud = np.flatnonzero(self.window[:, 1:].any(axis=1))
        if loud.size:  # the others have noise that is white
            own, share, window = (a[loud] for a in self)
            twice = np.where(np.arange(own.shape[1]) > 0, 2.0, 1.0)
            taken = window[:, None] * (spread(loud) * twice)
            over = np.einsum("npk,nk->np", taken, own)
            over *= _widened(window * share, taken, freedom[loud])
            variance[loud] = np.maximum(variance[loud], over)
        return np.asarray(np.sqrt(variance))


def lag_sums(rows: np.ndarray) -> np.ndarray:
    """Return the sums of products of the values of rows (..., m) at each lag."""
    m = rows.shape[-1]
    lags = _n_lags(m)
    flat = rows.reshape(-1, m)
    if len(flat) < lags:  # fewer rows than lags: row by row
        longer = np.concatenate([flat, np.zeros((len(flat), lags - 1))], axis=1)
        sums = [np.correlate(a, b) for a, b in zip(longer, flat, strict=True)]
        return np.array(sums).reshape(*rows.shape[:-1], lags)
    return np.stack([_product(rows, k) for k in range(lags)], axis=-1)


def _n_lags(m: int) -> int:
    """Return over how many lags correlations of m energies are searched."""
    return min(_LONGEST, m // 4) + 1


def undone(
    inverse: np.ndarray, freedom: int, background: np.ndarray | None = None
) -> np.ndarray:
    """Return the matrix that undoes what a fit takes from the sums at each lag."""
    n_lags = _n_lags(inverse.shape[1])
    return np.linalg.pinv(_seen(inverse, freedom, n_lags, background))


def correlation(
    own: np.ndarray, plain: np.ndarray, whole: np.ndarray, count: np.ndarray
) -> Correlation:
    """Return the correlation of noise.

    Parameters
    ----------
    own : (N, L)
        Sums of products of residuals at each lag.
    plain : (N,)
        Variance of the residuals if they were white.
    whole : (L, L)
        Matrix from `undone`.
    count : (N,)
        Number of energies.
    """
    own = own @ whole.T
    own[:, 0] = np.maximum(own[:, 0], plain)  # slow noise is only ever lost to a fit
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.nan_to_num(own / own[:, :1])
    return Correlation(own, share, _window(share, count))


def _widened(share: np.ndarray, taken: np.ndarray, freedom: np.ndarray) -> np.ndarray:
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
    over = (taken @ wave) * power[:, None]  # (N, n, F)
    with np.errstate(invalid="ignore", divide="ignore"):
        own = over.mean(axis=2) ** 2 / (over**2).mean(axis=2)
    least = np.maximum(freedom, 3.0)[:, None]
    dof = np.clip(own * freedom[:, None], 3.0, least)
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
    basis = _fitted(inverse, background)
    ahead = _moved(basis, 2 * n_lags)
    behind = _moved(basis[:, ::-1], n_lags)
    near = ahead[:, :n_lags]
    # Residuals are I - P of noise. P takes at each pair of lags, once from either side:
    ends = (near @ near.swapaxes(1, 2) + behind @ behind.swapaxes(1, 2)).sum(axis=0)
    far = np.einsum("pi,pli->l", basis, ahead)
    lags = np.arange(n_lags)
    taken = ends + 2.0 * far[lags[:, None] + lags]
    # and P on both sides gives back:
    cross = np.tensordot(basis, near, axes=(1, 2))
    both = (cross + cross.swapaxes(0, 1)).reshape(-1, n_lags)
    taken -= cross.reshape(-1, n_lags).T @ both
    taken[:, 0] *= 0.5
    taken[:, 0] += 0.5 * ends[:, 0] - far[:n_lags]
    seen = np.diag(m - lags.astype(float)) - taken
    left_over = max(freedom, 1) / max(m - len(basis), 1)
    return np.asarray(seen * left_over)


def _fitted(inverse: np.ndarray, background: np.ndarray | None) -> np.ndarray:
    """Return orthonormal curves (p, m) of all that a fit can follow."""
    _, size, basis = np.linalg.svd(inverse, full_matrices=False)
    basis = basis[size > _RANK * size[0]]
    if background is None:
        return basis
    return np.concatenate([basis, background.T])


def _moved(basis: np.ndarray, n_lags: int) -> np.ndarray:
    """Return curves (p, m) from each of the lags on, with zeros behind their end."""
    p, m = basis.shape
    padded = np.concatenate([basis, np.zeros((p, n_lags - 1))], axis=1)
    return np.lib.stride_tricks.sliding_window_view(padded, m, axis=1)


def _product(a: np.ndarray, lag: int) -> np.ndarray:
    first = a[..., : a.shape[-1] - lag]
    return np.asarray(np.einsum("...j,...j->...", first, a[..., lag:]))


def _window(share: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return the weight of each lag: 1 to the last significant one, 0 from twice it."""
    n_lags = share.shape[1]
    limit = 2.0 * np.sqrt(np.log10(np.maximum(count, 10)) / count)
    loud = np.abs(share) >= limit[:, None]
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


class _Models(NamedTuple):
    """Hold K models of the noise beside what a fit takes.

    Attributes
    ----------
    known : (K,)
        Logarithm of the likelihood that residuals do not change.
    taking : K times (m, m) float32
        Matrices that make residuals white and free of what the fit has taken.
    spread : (K, n)
        Variances of the fitted values.
    length : (K,)
        Energies per independent value.
    """

    known: np.ndarray
    taking: list[np.ndarray]
    spread: np.ndarray
    length: np.ndarray


def _models_of(inverse: np.ndarray, basis: np.ndarray) -> _Models:
    """Return models of the noise for a fit of the orthonormal curves `basis` (p, m)."""
    whiten, root, length = _models(inverse.shape[1])
    curves, triangle = np.linalg.qr(whiten @ basis.T)
    diagonals = (np.diagonal(a, axis1=1, axis2=2) for a in (whiten, triangle))
    white, volume = (np.log(np.abs(d)).sum(axis=1) for d in diagonals)
    taking = [
        (rows - own @ (own.T @ rows)).T.astype(np.float32)  # enough for a likelihood
        for rows, own in zip(whiten, curves, strict=True)
    ]
    spread = np.square(inverse @ root).sum(axis=2)
    return _Models(white - volume, taking, spread, length)


def _modelled_errors(
    models: _Models, left: np.ndarray, freedom: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return standard errors (N, n) and lengths (N,) by models of the noise.

    Of some tens of energies a covariance that is read from residuals has a scatter of
    its own: at times it is lost altogether. Models of few shapes are known better.
    Variances and lengths are their means by restricted likelihood (D. A. Harville, J.
    Am. Stat. Assoc. 72, 320 (1977)), which allows for what the fit has taken.
    """
    known = np.repeat(models.known[:, None], len(left), axis=1)
    square = np.empty_like(known)
    size = np.sqrt(np.mean(left**2, axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = (left / size[:, None]).astype(np.float32)
        for k, taking in enumerate(models.taking):
            rest = scaled @ taking
            square[k] = np.einsum("ij,ij->i", rest, rest)
        known -= 0.5 * freedom * np.log(square)
        weight = np.exp(known - known.max(axis=0))
        weight /= weight.sum(axis=0)
    variance = (weight * square / max(freedom, 1)).T @ models.spread
    return np.sqrt(variance) * size[:, None], weight.T @ models.length


@functools.lru_cache(maxsize=4)
def _models(m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return matrices that make noise white, their inverses, and lengths."""
    lag = np.abs(np.subtract.outer(np.arange(m), np.arange(m)))
    white = np.eye(m)
    shapes = [np.exp(-lag / decay) for decay in _DECAYS]
    smooth = [np.clip(1.0 - lag / mean, 0.0, None) for mean in _MEANS]
    smooth += [np.exp(-((lag / (2.0 * bell)) ** 2)) for bell in _BELLS]
    shapes += [(1.0 - _BESIDE) * a + _BESIDE * white for a in smooth]
    roots = np.linalg.cholesky(np.stack([white, *shapes]))
    middle = m // 2
    length = np.array([1.0, *(shape[middle].sum() for shape in shapes)])
    return np.linalg.inv(roots), roots, length
