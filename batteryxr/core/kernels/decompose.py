"""Principal components of the rows of a matrix, by the smaller of its two Grams."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Eigenvalues below this fraction of the largest, times the size, are rounding.
_ROUNDING = 1e-15


class Principal(NamedTuple):
    """Principal components.

    Parameters
    ----------
    axes
        (n, points) orthonormal, the value of largest modulus positive; zero where
        the rows have no such component.
    variance
        (most,) mean square along every component that there can be, falling.
    indicator
        (most,) Malinowski's indicator function.
    mean
        (points,) what was subtracted.
    n_rows
        Number of rows without gaps.
    """

    axes: np.ndarray
    variance: np.ndarray
    indicator: np.ndarray
    mean: np.ndarray
    n_rows: np.ndarray


class Moments(NamedTuple):
    """Number, sum (points,) and Gram matrix (points, points) of complete rows."""

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
    """Return the rows without gaps, as float64."""
    rows = block.astype(np.float64)
    return rows[np.isfinite(rows).all(axis=1)]


def from_moments(sums: Moments, n: int, most: int, centre: bool) -> Principal:
    """Return `n` components from the sums over all rows; `most` there can be."""
    count = int(sums.n_rows)
    mean = sums.total / max(count, 1) if centre else np.zeros_like(sums.total)
    values, vectors = np.linalg.eigh(sums.gram - count * np.outer(mean, mean))
    power = np.maximum(values[::-1][:most], 0.0)
    return _principal(vectors[:, ::-1][:, :n].T, power, mean, count, centre)


def from_rows(block: np.ndarray, n: int, centre: bool) -> Principal:
    """Return `n` components of a whole matrix that has fewer rows than points."""
    rows = complete(block)
    count, points = rows.shape
    mean = rows.mean(axis=0) if centre and count else np.zeros(points)
    rows = rows - mean
    values, left = np.linalg.eigh(rows @ rows.T)
    power = np.zeros(len(block))
    power[:count] = np.maximum(values[::-1], 0.0)
    axes = np.zeros((n, points))
    there = int((power[:n] > _ROUNDING * points * power.max(initial=0.0)).sum())
    axes[:there] = (left[:, ::-1][:, :there] / np.sqrt(power[:there])).T @ rows
    return _principal(axes, power, mean, count, centre)


def _principal(
    axes: np.ndarray, power: np.ndarray, mean: np.ndarray, count: int, centre: bool
) -> Principal:
    """Give the axes their signs and the powers their meaning."""
    # An eigenvector has no sign of its own.
    up = axes.max(axis=1) >= -axes.min(axis=1)
    free = max(count - centre, 1)
    most = min(free, power.size)
    marks = np.full(power.size, np.nan)
    marks[:most] = indicator(power[:most], max(count, mean.size))
    return Principal(
        np.where(up, 1.0, -1.0)[:, None] * axes,
        power / free,
        marks,
        mean,
        np.asarray(count),
    )


def indicator(eigenvalues: np.ndarray, longer: int) -> np.ndarray:
    """Return Malinowski's IND for 1, 2, ... components, NaN for the last.

    Real error over the square of the degrees left (Malinowski, Anal. Chem. 49, 612,
    1977). `longer` is the larger dimension of the data, all eigenvalues are needed.
    """
    c = len(eigenvalues)
    n = np.arange(1, c + 1)
    left = np.maximum(eigenvalues[::-1].cumsum()[::-1] - eigenvalues, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        real_error = np.sqrt(left / (longer * (c - n)))
        out = real_error / (c - n) ** 2
    out[-1:] = np.nan
    return out


def leading(x: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (rows, rank) on orthonormal axes (points, rank), not centred."""
    rows, points = x.shape
    if points <= rows:
        _, axes = np.linalg.eigh(x.T @ x)
        axes = axes[:, ::-1][:, :rank]
        return x @ axes, axes
    power, left = np.linalg.eigh(x @ x.T)
    power, left = power[::-1][:rank], left[:, ::-1][:, :rank]
    lengths = np.sqrt(np.maximum(power, 1e-300))
    return left * lengths, x.T @ (left / lengths)
