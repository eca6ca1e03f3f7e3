"""Principal components of the rows of a matrix, by the smaller of its Gram matrices.

For a large matrix only the leading ones are found, by block Lanczos with full
reorthogonalisation (Golub & Underwood, in Mathematical Software III, 361, 1977), and no
Gram matrix is formed. Components above the noise are exact to rounding, those within
the noise to a few per cent of their variance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Eigenvalues below this fraction of the largest, times the size, are rounding.
_ROUNDING = 1e-15
#: Size up to which all eigenvalues are found, beyond the leading ones.
WHOLE = 300
#: Smallest number of eigenvalues that are returned.
_TOLD = 20
#: Largest number of products with the matrix; components within noise stay inexact.
_PRODUCTS = 10
#: Residual of a converged vector, relative to its eigenvalue.
_DONE = 1e-7


class Principal(NamedTuple):
    """Hold principal components.

    Parameters
    ----------
    axes
        (n, points) orthonormal, the value of largest modulus positive; zero where
        the rows have no such component.
    variance
        (told,) mean square along a component, falling; for all possible components, or
        for the first of many.
    indicator
        (told,) Malinowski's indicator function.
    mean
        (points,) pattern that was subtracted.
    n_rows
        Number of rows without gaps.
    total
        Mean square along all components.
    """

    axes: np.ndarray
    variance: np.ndarray
    indicator: np.ndarray
    mean: np.ndarray
    n_rows: np.ndarray
    total: np.ndarray


class Moments(NamedTuple):
    """Hold number, sum (points,) and Gram matrix (points, points) of complete rows."""

    n_rows: float
    total: np.ndarray
    gram: np.ndarray


def moments(blocks: Iterable[np.ndarray], points: int) -> Moments:
    """Sum over blocks (rows, points) in their order; rows with gaps are left out."""
    count, total, gram = 0, np.zeros(points), np.zeros((points, points))
    for block in blocks:
        rows = complete(block)
        count += len(rows)
        total += rows.sum(axis=0)
        gram += rows.T @ rows
    return Moments(count, total, gram)


def complete(block: np.ndarray) -> np.ndarray:
    """Return the rows without gaps, as float64; perhaps the block itself."""
    rows = np.asarray(block, np.float64)
    whole = np.isfinite(rows).all(axis=1)
    return rows if whole.all() else rows[whole]


def from_moments(sums: Moments, n: int, most: int, centre: bool) -> Principal:
    """Return `n` components from the sums over all rows; `most` are possible."""
    count = int(sums.n_rows)
    mean = sums.total / max(count, 1) if centre else np.zeros_like(sums.total)
    gram = sums.gram - count * np.outer(mean, mean)
    values, vectors = _largest(gram, None, n, told(n, most))
    power, total = np.maximum(values, 0.0), float(np.trace(gram))
    whole = _Whole(count, centre, total, most)
    return _principal(vectors[:, :n].T, power, mean, whole)


def from_rows(block: np.ndarray, n: int, centre: bool) -> Principal:
    """Return `n` components of a whole matrix that has fewer rows than points."""
    rows = complete(block)
    count, points = rows.shape
    mean = rows.mean(axis=0) if centre and count else np.zeros(points)
    rows = rows - mean if centre else rows
    size = told(n, len(block))
    values, left = _largest(rows, rows.T, n, min(size, count))
    power = np.zeros(size)
    power[: values.size] = np.maximum(values, 0.0)
    axes = np.zeros((n, points))
    there = int((power[:n] > _ROUNDING * points * power.max(initial=0.0)).sum())
    axes[:there] = (left[:, :there] / np.sqrt(power[:there])).T @ rows
    whole = _Whole(count, centre, float(np.vdot(rows, rows)), len(block))
    return _principal(axes, power, mean, whole)


def told(n: int, most: int) -> int:
    """Return how many of `most` eigenvalues to return if `n` vectors are wanted."""
    return most if most <= WHOLE else max(n, _TOLD)


def _largest(
    left: np.ndarray, right: np.ndarray | None, n: int, listed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest eigenvalues (listed,), falling, and vectors (size, >= n).

    Parameters
    ----------
    left, right
        (size, any) and (any, size): their product is symmetric and has no negative
        eigenvalue. Without `right` it is `left` itself.
    n, listed
        Number of vectors and values.
    """

    def product(q: np.ndarray) -> np.ndarray:
        return np.asarray(left @ (q if right is None else right @ q))

    size = len(left)
    wide = max(n, listed // 2) + 4
    if size <= WHOLE or 2 * wide * _PRODUCTS > 3 * size:
        values, vectors = np.linalg.eigh(left if right is None else left @ right)
        return values[::-1][:listed], vectors[:, ::-1][:, :listed]
    basis = np.empty((size, _PRODUCTS * wide))
    inner = np.zeros((_PRODUCTS * wide,) * 2)
    rng = np.random.default_rng(0)
    new = np.linalg.qr(product(rng.normal(size=(size, wide))))[0]
    for last in range(wide, _PRODUCTS * wide + 1, wide):
        basis[:, last - wide : last] = new
        found = basis[:, :last]
        rest = product(new)
        for again in (False, True):
            shares = found.T @ rest
            rest -= found @ shares
            if not again:
                inner[:last, last - wide : last] = shares
                inner[last - wide : last, :last] = shares.T
        values, turn = np.linalg.eigh(inner[:last, :last])
        values, turn = values[::-1][:listed], turn[:, ::-1][:, :listed]
        residual = np.linalg.norm(rest @ turn[-wide:, :n], axis=0)
        limit = _DONE * np.abs(values[:n]) + 10 * _ROUNDING * values[0]
        done = last >= listed and bool((residual <= limit).all())
        if done or last == basis.shape[1]:
            break
        new = _beside(found, rest, rng)
    return values, found @ turn


def _beside(
    found: np.ndarray, rest: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return an orthonormal block like `rest` (size, wide), orthogonal to `found`.

    Where the rank of a matrix is reached, columns of `rest` are rounding errors, which
    point back into `found`. Random columns replace them.
    """
    new = np.linalg.qr(rest)[0]
    for _ in range(2):
        new -= found @ (found.T @ new)
        # Columns that lost much are rounding errors, which qr has scaled up.
        lost = np.linalg.norm(new, axis=0) < 0.9
        if lost.any():
            new[:, lost] = rng.normal(size=(len(new), int(lost.sum())))
            for _ in range(2):
                new -= found @ (found.T @ new)
        new = np.linalg.qr(new)[0]
    return np.asarray(new)


class _Whole(NamedTuple):
    """Hold rows without gaps, whether centred, sum of squares, and most components."""

    rows: int
    centre: bool
    total: float
    most: int


def _principal(
    axes: np.ndarray, power: np.ndarray, mean: np.ndarray, whole: _Whole
) -> Principal:
    """Set the signs of the axes, and turn powers into variances."""
    # The sign of an eigenvector is free.
    up = axes.max(axis=1) >= -axes.min(axis=1)
    count = whole.rows
    free = max(count - whole.centre, 1)
    most = min(free, whole.most)
    marks = np.full(power.size, np.nan)
    here = power[:most]
    rest = most - here.size, max(whole.total - float(here.sum()), 0.0)
    marks[: here.size] = indicator(here, max(count, mean.size), rest)
    return Principal(
        np.where(up, 1.0, -1.0)[:, None] * axes,
        power / free,
        marks,
        mean,
        np.asarray(count),
        np.asarray(whole.total / free),
    )


def indicator(
    eigenvalues: np.ndarray, longer: int, rest: tuple[int, float] = (0, 0.0)
) -> np.ndarray:
    """Return Malinowski's IND for 1, 2, ... components, NaN for the last of all.

    IND is the real error over the square of the remaining degrees of freedom
    (Malinowski, Anal. Chem. 49, 612, 1977).

    Parameters
    ----------
    eigenvalues
        (k,) falling.
    longer
        The larger dimension of the data.
    rest
        Number of further, smaller eigenvalues, and their sum.
    """
    c = len(eigenvalues) + rest[0]
    n = np.arange(1, len(eigenvalues) + 1)
    left = np.maximum(eigenvalues[::-1].cumsum()[::-1] - eigenvalues, 0.0) + rest[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        real_error = np.sqrt(left / (longer * (c - n)))
        out = real_error / (c - n) ** 2
    out[n == c] = np.nan
    return out


def leading(
    x: np.ndarray, rank: int, sure: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (rows, rank) on orthonormal axes (points, rank), not centred.

    The first `sure` (default: all) are the leading ones; those after them, often noise,
    lead nearly. Both are zero where a matrix with fewer rows than points has no
    component.
    """
    rows, points = x.shape
    sure = rank if sure is None else sure
    if points <= rows:
        axes = _largest(x.T, x, sure, rank)[1][:, :rank]
        return x @ axes, axes
    power, left = _largest(x, x.T, sure, rank)
    there = power > _ROUNDING * points * power.max(initial=0.0)
    lengths = np.sqrt(np.where(there, power, 0.0))
    back = np.where(there, 1.0 / np.where(there, lengths, 1.0), 0.0)
    return left * lengths, x.T @ (left * back)
