"""Weigh models of correlated noise by what few residuals tell of each.

Of some tens of energies a covariance that is read from residuals has a scatter of its
own: at times it is lost altogether, and errors are then too small by far. Models of few
shapes are known better, and each is weighed by its restricted likelihood (D. A.
Harville, J. Am. Stat. Assoc. 72, 320 (1977)), which allows for what the fit has taken.
"""

from __future__ import annotations

import functools

import numpy as np

#: Reach of each shape in energies: exponential, a running mean, a bell.
_DECAYS = (0.7, 1.7, 4.0, 10.0)
_MEANS = (3, 5, 9)
_BELLS = (0.6, 1.1, 1.8, 3.0)
#: Share of independent noise beside noise that is smooth.
_BESIDE = 0.03


def modelled_errors(
    inverse: np.ndarray, left: np.ndarray, freedom: int, basis: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return standard errors (N, n) and energies per independent value (N,).

    Both are means over the models, of variances and of lengths, by their likelihood.

    Parameters
    ----------
    inverse : (n, m)
        Pseudo-inverse of the design, which turns data into fitted values.
    left : (N, m)
        Residuals.
    freedom
        Degrees of freedom.
    basis : (p, m)
        Orthonormal curves of all that was fitted.
    """
    whiten, root, length = _models(left.shape[1])
    curves, triangle = np.linalg.qr(whiten @ basis.T)
    diagonals = (np.diagonal(a, axis1=1, axis2=2) for a in (whiten, triangle))
    white, volume = (np.log(np.abs(d)).sum(axis=1) for d in diagonals)
    known = np.repeat((white - volume)[:, None], len(left), axis=1)
    square = np.empty_like(known)
    size = np.sqrt(np.mean(left**2, axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = (left / size[:, None]).astype(np.float32)  # enough for a likelihood
        for k, (rows, own) in enumerate(zip(whiten, curves, strict=True)):
            taking = (rows - own @ (own.T @ rows)).T.astype(np.float32)
            rest = scaled @ taking
            square[k] = np.einsum("ij,ij->i", rest, rest)
        known -= 0.5 * freedom * np.log(square)
        weight = np.exp(known - known.max(axis=0))
        weight /= weight.sum(axis=0)
    spread = np.square(inverse @ root).sum(axis=2)  # (K, n)
    variance = (weight * square / max(freedom, 1)).T @ spread
    return np.sqrt(variance) * size[:, None], weight.T @ length


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
