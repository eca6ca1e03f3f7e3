"""Run the linear Kramers-Kronig test with chains of RC elements."""

from __future__ import annotations

import numpy as np

#: Least and largest number of elements.
_LEAST, _MOST = 3, 60
#: Elements that are tried after the best number, and after the last one with
#: correlated residuals: a sharp process needs many elements to have one close to it.
_PATIENCE = 6
#: Correlation of neighbouring residuals that is hardly noise; and that which noise
#: never has (none of 3600 spectra of noisy circuits).
SYSTEMATIC, NO_NOISE = 0.25, 0.35
#: Relative errors at the level of rounding.
_ROUNDING = 1e-6
#: Number of spectra at once.
_BLOCK = 128


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
    most = points - 2 if number else np.minimum(points - 2, _MOST)
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
    tau = np.exp(np.linspace(-np.log(omega.max()), -np.log(omega.min()), m))
    s = 1j * omega[:, None]
    columns = [
        np.ones((omega.size, 1)),
        s / omega.max(),
        omega.min() / s,
        1.0 / (1.0 + s * tau),
    ]
    basis = np.concatenate(
        [np.broadcast_to(c, (omega.size, c.shape[1])) for c in columns], axis=1
    )
    size = np.abs(np.where(there, flat, 1.0))
    weight = there / np.maximum(size, 1e-300)
    a = basis * weight[:, :, None]
    a = np.concatenate([a.real, a.imag], axis=1)
    b = np.where(there, flat, 0.0) * weight
    b = np.concatenate([b.real, b.imag], axis=1)
    q, r = np.linalg.qr(a)
    right = np.matmul(q.transpose(0, 2, 1), b[:, :, None])
    # A little damping, for elements that no frequency distinguishes.
    size = np.abs(np.einsum("bpp->bp", r)).max(axis=1)
    r = r + 1e-13 * size[:, None, None] * np.eye(r.shape[1])
    x = np.linalg.solve(r, right)[:, :, 0]
    z = np.matmul(x, basis.T.astype(complex))
    return x[:, 3:], np.where(there, z, np.nan)


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
