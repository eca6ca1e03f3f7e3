"""Run the linear Kramers-Kronig test with chains of RC elements."""

from __future__ import annotations

import warnings

import numpy as np

#: Least and largest number of elements.
_LEAST, _MOST = 3, 60
#: How many elements a chain has less than its spectrum has points, at least.
LESS = 2
#: Elements that are tried after the best number, and after the last one with
#: correlated residuals: a sharp process needs many elements to have one close to it.
_PATIENCE = 6
#: Correlation of neighbouring residuals that is hardly noise; and that which noise
#: never has (none of 3600 spectra of noisy circuits).
SYSTEMATIC, NO_NOISE = 0.25, 0.35
#: Residual of a model, and correlation of its neighbours, above which it does not fit.
_LARGE, _PLAIN = 0.01, 0.5
#: Relative errors at the level of rounding.
_ROUNDING = 1e-6
#: Number of spectra at once.
_BLOCK = 128
#: Points that a spectrum must have more than elements, to tell a drift.
_SPARE = 8
#: Elements beyond the chosen number with which a drift is sought; told if with all.
_MORE = 2, 8, 16


def test(
    measured: np.ndarray, *, omega: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fit chains of RC elements to spectra (..., frequencies).

    Parameters
    ----------
    measured
        Complex; NaN where there is no point.
    omega
        (frequencies,) rad/s.
    number
        Number of elements, at least two less than points. 0: the Bayesian criterion
        chooses it for each spectrum.

    Returns
    -------
    tuple of numpy.ndarray
        The chain's impedance, the residual relative to the modulus (..., frequencies);
        the number of elements and ``mu``, the share of positive resistances (...).
    """
    lead = measured.shape[:-1]
    flat = measured.reshape(-1, measured.shape[-1])
    parts = [
        _test(flat[a : a + _BLOCK], omega, number)
        for a in range(0, max(len(flat), 1), _BLOCK)
    ]
    fitted, count, mu = (np.concatenate(c) for c in zip(*parts, strict=True))
    shape = measured.shape
    whole = fitted.reshape(shape), _relative(flat, fitted).reshape(shape)
    return *whole, count.reshape(lead), mu.reshape(lead)


def _relative(flat: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Return the residual relative to the modulus; NaN where there is no point."""
    there = np.isfinite(flat)
    size = np.abs(np.where(there, flat, 1.0))
    return np.where(there, (flat - fitted) * (1.0 / size), np.nan)


def _test(
    flat: np.ndarray, omega: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    there = np.isfinite(flat)
    fitted = np.full(flat.shape, np.nan, complex)
    count, mu = np.zeros(len(flat), np.int32), np.full(len(flat), np.nan)
    best, patience = np.full(len(flat), np.inf), np.zeros(len(flat), np.int64)
    points = there.sum(axis=1)
    most = points - LESS if number else np.minimum(points - LESS, _MOST)
    m = number or _LEAST
    active = np.flatnonzero(most >= max(m, _LEAST))
    while active.size:
        sizes, z = _chain(flat[active], there[active], omega, m)
        score = _score(flat[active], z, m)
        better = score < best[active]
        won = active[better]
        best[won], count[won], fitted[won] = score[better], m, z[better]
        below = -np.minimum(sizes, 0).sum(axis=1)
        above = np.maximum(sizes, 0).sum(axis=1)
        mu[won] = (1.0 - below / np.maximum(above, 1e-300))[better]
        relative = _relative(flat[active], z)
        alike = correlation(relative, omega=omega) > SYSTEMATIC
        patience[active] = np.where(better | alike, 0, patience[active] + 1)
        if number:
            break
        m += 1
        active = active[(patience[active] < _PATIENCE) & (most[active] >= m)]
    return fitted, count, mu


def _score(flat: np.ndarray, z: np.ndarray, m: int) -> np.ndarray:
    """Return the Bayesian criterion (BIC) of a chain: misfit and cost of elements."""
    there = np.isfinite(flat)
    relative = np.abs(np.where(there, (flat - z), 0.0) / np.where(there, flat, 1.0))
    n = 2 * there.sum(axis=1)
    left = np.maximum((relative**2).sum(axis=1) / n, _ROUNDING**2)
    score: np.ndarray = n * np.log(left) + (m + 3) * np.log(n)
    return score


def _chain(
    flat: np.ndarray, there: np.ndarray, omega: np.ndarray, m: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the resistances of a chain of m elements, and its impedance."""
    basis = _basis(omega, m)
    a, b = _weighed(basis, flat, there)
    r, right = _triangular(a, b)
    x = np.linalg.solve(r, right)[:, :, 0]
    z = np.matmul(x, basis.T.astype(complex))
    return x[:, 3:], np.where(there, z, np.nan)


def _basis(omega: np.ndarray, m: int) -> np.ndarray:
    """Return the terms of a chain of m elements (frequencies, m + 3)."""
    tau = np.exp(np.linspace(-np.log(omega.max()), -np.log(omega.min()), m))
    s = 1j * omega[:, None]
    columns = [
        np.ones((omega.size, 1)),
        s / omega.max(),
        omega.min() / s,
        1.0 / (1.0 + s * tau),
    ]
    return np.concatenate(columns, axis=1)


def _weighed(
    basis: np.ndarray, flat: np.ndarray, there: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return real matrices and right sides, relative to the modulus."""
    size = np.abs(np.where(there, flat, 1.0))
    weight = there / np.maximum(size, 1e-300)
    a = basis * weight[:, :, None]
    a = np.concatenate([a.real, a.imag], axis=1)
    b = np.where(there, flat, 0.0) * weight
    return a, np.concatenate([b.real, b.imag], axis=1)[:, :, None]


def _triangular(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the triangular systems of least squares."""
    q, r = np.linalg.qr(a)
    # A little damping, for elements that no frequency distinguishes.
    size = np.abs(np.einsum("bpp->bp", r)).max(axis=1)
    r = r + 1e-13 * size[:, None, None] * np.eye(r.shape[1])
    return r, np.matmul(q.transpose(0, 2, 1), b)


def drift(
    measured: np.ndarray,
    fitted: np.ndarray,
    count: np.ndarray,
    elapsed: np.ndarray,
    *,
    omega: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return how much spectra grew while they were taken, and one sd of it.

    A term that grows evenly in time is fitted beside the chain. No chain is like it,
    so that little of a drift is hidden by the elements.

    Parameters
    ----------
    measured, fitted
        (..., frequencies), and the impedance of the chain.
    count
        (...) number of elements.
    elapsed
        (..., frequencies) time of each point. If it is NaN all over, each point
        takes its period, from high to low frequencies.

    Returns
    -------
    tuple of numpy.ndarray
        Growth relative to the impedance, and its standard deviation (...).
    """
    lead = measured.shape[:-1]
    flat, chain = (one.reshape(-1, omega.size) for one in (measured, fitted))
    at = np.broadcast_to(elapsed, measured.shape).reshape(flat.shape)
    there = np.isfinite(flat)
    order = np.argsort(-omega, kind="stable")
    periods = np.zeros(flat.shape)
    periods[:, order] = np.cumsum(there[:, order] / omega[order], axis=1)
    timed = (there & np.isfinite(at)).sum(axis=1) > 2
    at = np.where(timed[:, None], at, periods)
    there &= np.isfinite(at)
    at = np.where(there, at, np.nan)
    grown, sd = np.full(len(flat), np.nan), np.full(len(flat), np.nan)
    points, number = there.sum(axis=1), count.reshape(-1)
    enough = (points >= number + _SPARE) & (2 * points >= number + _MORE[-1] + _SPARE)
    numbers = np.where(enough, number, 0)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no point at all
        first, last = np.nanmin(at, axis=1), np.nanmax(at, axis=1)
    span = np.where(last > first, last - first, 1.0)
    share = np.nan_to_num((at - first[:, None]) / span[:, None])
    growth = share * np.where(there & np.isfinite(chain), chain, 0.0)
    for m in np.unique(numbers[numbers > 0]).tolist():
        rows = np.flatnonzero(numbers == m)
        each = [
            _growth(flat[rows], there[rows], growth[rows], _basis(omega, m + more))
            for more in _MORE
        ]
        value, error = np.array(each).transpose(1, 0, 2)
        # A process that few elements miss must not pass for a drift.
        least = np.argmin(np.abs(value) / error, axis=0)
        grown[rows], sd[rows] = (
            np.take_along_axis(one, least[None], axis=0)[0] for one in (value, error)
        )
    return grown.reshape(lead), sd.reshape(lead)


def _growth(
    flat: np.ndarray, there: np.ndarray, growth: np.ndarray, basis: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the size of a term beside a chain, and its error, of each spectrum."""
    terms = np.broadcast_to(basis, (len(flat), *basis.shape))
    terms = np.concatenate([terms, growth[:, :, None]], axis=2)
    a, b = _weighed(terms, flat, there)
    r, right = _triangular(a, b)
    left = (b**2).sum(axis=(1, 2)) - (right**2).sum(axis=(1, 2))
    free = np.maximum(2 * there.sum(axis=1) - r.shape[1], 1)
    last = np.abs(r[:, -1, -1])
    sd = np.sqrt(np.maximum(left, 1e-30) / free) / last
    return right[:, -1, 0] / r[:, -1, -1], sd


def systematic(relative: np.ndarray, *, omega: np.ndarray) -> np.ndarray:
    """Tell where residuals, relative to the modulus, are large and no noise (...)."""
    there = np.isfinite(relative)
    squares = np.where(there, np.abs(relative) ** 2, 0.0).sum(axis=-1)
    large = squares > _LARGE**2 * there.sum(axis=-1)
    found: np.ndarray = large & (correlation(relative, omega=omega) > _PLAIN)
    return found


def correlation(residual: np.ndarray, *, omega: np.ndarray) -> np.ndarray:
    """Return the correlation of residuals at neighbouring frequencies (...).

    Neighbours are adjacent points of the spectrum itself; missing points are skipped.
    """
    r = residual[..., np.argsort(omega, kind="stable")]
    first = np.argsort(~np.isfinite(r), axis=-1, kind="stable")
    r = np.take_along_axis(r, first, axis=-1)
    there = np.isfinite(r)
    r = np.where(there, r, 0.0)
    both = there[..., 1:] & there[..., :-1]
    products = (r[..., 1:] * r[..., :-1].conj()).real * both
    with np.errstate(invalid="ignore", divide="ignore"):
        power = (np.abs(r) ** 2).sum(axis=-1) / there.sum(axis=-1)
        found: np.ndarray = products.sum(axis=-1) / both.sum(axis=-1) / power
    return found
