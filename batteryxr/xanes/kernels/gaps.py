"""Work on spectra that lack some of the energies.

Spectra of one pattern of gaps are one table. Where almost every spectrum has a pattern
of its own, those with as many values are: `packed` moves the values of each together,
beside their energies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Values that are packed at a time.
_SLAB = 200_000


class Packed(NamedTuple):
    """Hold spectra with as many values, moved together.

    Attributes
    ----------
    chosen : (R,)
        Which rows they are.
    at : (R, k)
        Places of their values, rising.
    """

    chosen: np.ndarray
    at: np.ndarray

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Return their values (R, k), as float64."""
        return rows[self.chosen[:, None], self.at].astype(float)

    def part(self, some: np.ndarray) -> Packed:
        """Return some of them."""
        return Packed(self.chosen[some], self.at[some])


def by_pattern(rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows that lack the same energies, and which energies they have."""
    there = np.isfinite(rows)
    whole = there.all(axis=1)
    if whole.any():
        yield np.flatnonzero(whole), np.ones(rows.shape[1], bool)
    rest = np.flatnonzero(~whole)
    if rest.size:
        patterns, which = np.unique(there[rest], axis=0, return_inverse=True)
        for k, pattern in enumerate(patterns):
            yield rest[which.reshape(-1) == k], pattern


def packed(rows: np.ndarray, least: int) -> Iterator[Packed]:
    """Yield the rows with gaps that have as many values, at least `least`."""
    there = np.isfinite(rows)
    count = there.sum(axis=1)
    some = np.flatnonzero((count < rows.shape[1]) & (count >= least))
    for k in np.unique(count[some]):
        alike = some[count[some] == k]
        size = max(_SLAB // int(k), 1)
        for start in range(0, len(alike), size):
            chosen = alike[start : start + size]
            yield Packed(chosen, np.nonzero(there[chosen])[1].reshape(-1, int(k)))


def fitted(
    x: np.ndarray, y: np.ndarray, inside: np.ndarray, degree: np.ndarray
) -> np.ndarray:
    """Return polynomials fitted to values of each row, at all energies of the row.

    Orthogonal polynomials follow from one another (G. E. Forsythe, J. SIAM 5, 74
    (1957)). Where a row has fewer values than coefficients, the polynomial has as many
    as there are values.

    Parameters
    ----------
    x, y : (R, k)
        Energies and values.
    inside : (R, k) bool
        Values that are fitted.
    degree : (R,)
        Degree of each row's polynomial.
    """
    count = inside.sum(axis=1)
    share = 1.0 / np.maximum(count, 1)
    y = np.where(inside, y, 0.0)
    mean = y.sum(axis=1) * share
    most = int(degree.max(initial=0))
    if most == 0:
        return np.repeat(mean[:, None], x.shape[1], axis=1)
    x = x - (np.einsum("ij,ij->i", x, inside) * share)[:, None]
    ends = inside.argmax(axis=1), x.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
    rows = np.arange(len(x))
    far = np.maximum(np.abs(x[rows, ends[0]]), np.abs(x[rows, ends[1]]))
    x /= np.where(far > 0, far, 1.0)[:, None]
    out, now, before, last = mean[:, None], x, None, count.astype(float)
    for k in range(1, most + 1):
        here = now * inside
        norm = np.einsum("ij,ij->i", here, now)
        use = (k <= degree) & (k < count)
        safe = np.where(norm > 0, norm, 1.0)
        share = np.where(use, np.einsum("ij,ij->i", y, now) / safe, 0.0)
        out = out + share[:, None] * now
        if k < most:
            turn = np.einsum("ij,ij,ij->i", here, now, x) / safe
            ahead = (x - turn[:, None]) * now
            back = (norm / np.where(last > 0, last, 1.0))[:, None]
            ahead -= back if before is None else back * before
            now, before, last = ahead, now, norm
    return np.asarray(out)


def median(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the median of the chosen values of each row; infinite where none is.

    `inside` has a row for each row of values, or one for all.
    """
    if len(inside) == 1:
        return np.asarray(np.median(values[:, inside[0]], axis=1))
    count = inside.sum(axis=1)
    ordered = np.sort(np.where(inside, values, np.inf), axis=1)
    rows, high = np.arange(len(ordered)), np.maximum(count, 1) // 2
    low = np.maximum(count - 1, 0) // 2
    return np.asarray(0.5 * (ordered[rows, low] + ordered[rows, high]))


def deviation(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the standard deviation of the chosen values of each row; 0 where none is.

    `inside` has a row for each row of values, or one for all.
    """
    if len(inside) == 1:
        chosen = values[:, inside[0]]
        return np.asarray(chosen.std(axis=1)) if chosen.size else np.zeros(len(values))
    count = np.maximum(inside.sum(axis=1), 1)
    mean = np.einsum("ij,ij->i", values, inside) / count
    apart = (values - mean[:, None]) * inside
    return np.sqrt(np.einsum("ij,ij->i", apart, apart) / count)
