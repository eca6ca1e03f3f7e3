"""Fit spectra as sums of standards: weights, their errors, and residual checks.

Spectra with few gaps, each its own, are solved together: standards and background have
one orthonormal basis over all energies, and the values at a spectrum's gaps are taken
from its products (a downdate: G. H. Golub and C. F. Van Loan, Matrix Computations,
6.5). Spectra with more gaps are tables of those that have the same.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.xanes.kernels.combining.active_set import solve_rows
from batteryxr.xanes.kernels.combining.results import (
    Combination,
    Combined,
    Design,
    empty,
    judged,
)
from batteryxr.xanes.kernels.combining.spread import (
    Taken,
    correlation,
    lag_sums,
    undone,
)
from batteryxr.xanes.kernels.gaps import by_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batteryxr.xanes.kernels.combining.spread import Correlation

#: Spectra that are held in float64 at a time.
SLAB = 8192
#: Fraction of the longest curve below which a combination of curves counts as zero.
_TAIL = 1e-6
#: Share of the energies up to which gaps are few, and up to which they are where so
#: many energies are left; least share of any combination of curves that is left then.
_FEW, _MORE, _ENOUGH, _LEFT = 1.0 / 3.0, 2.0 / 3.0, 24, 1e-2
#: Spectra that are solved at a time.
_SLAB = 2048


def combine(data: np.ndarray, *, design: Design) -> Combined:
    """Fit spectra by standards, with a free sum and with a sum of one.

    Parameters
    ----------
    data : (..., m)
        Spectra; energies that are not finite are left out of their spectrum.
    design
        Standards and constraints.
    """
    shape = data.shape[:-1]
    rows = data.reshape(-1, data.shape[-1])
    n, n_back = len(design.standards), len(design.background)
    results = empty(len(rows), n, n_back)
    left = np.ones(len(rows), bool)
    for chosen, found in _combine_gapped(rows, design):
        left[chosen] = False
        _put(results, chosen, found)
    rest = np.flatnonzero(left)
    for alike, there in by_pattern(rows if left.all() else rows[rest]):
        if there.sum() <= n + n_back or not told_apart(design, there):
            continue
        chosen, part = rest[alike], design.at(there)
        for start in range(0, len(chosen), SLAB):
            some = chosen[start : start + SLAB]
            y = rows[some] if there.all() else rows[np.ix_(some, there)]
            told = y.any(axis=1)  # skip zeros
            if not told.all():
                some, y = some[told], y[told]
            if some.size:
                _put(results, some, _combine(y.astype(float, copy=False), part))
    return Combined(*(a.reshape((*shape, *a.shape[1:])) for a in results))


def _put(results: Combined, chosen: np.ndarray, found: Combined) -> None:
    for target, source in zip(results, found, strict=True):
        target[chosen] = source


def told_apart(design: Design, there: np.ndarray) -> bool:
    """Tell whether all curves are distinguishable on a spectrum's energies.

    The remaining parts are compared with the whole curves: tails of an edge carry no
    information.
    """
    if there.all():
        return True
    curves = np.concatenate([design.standards, design.background])
    least = _TAIL * np.linalg.norm(curves, axis=1).max()
    return float(np.linalg.svd(curves[:, there], compute_uv=False)[-1]) > least


class _Prepared(NamedTuple):
    """Hold what of a fit of whole spectra does not depend on them.

    Attributes
    ----------
    u, q : (m, b), (m, s)
        Orthonormal curves of the background, and of the standards without it.
    r : (s, s)
        Triangle that gives those standards.
    covariance, inverse : (s, s), (s, m)
        Covariance of the weights for unit noise, and what gives them.
    steep : (s, m)
        Slopes of the standards that neither weights nor background can follow.
    back : (b, m)
        What gives the background.
    taken
        What the fit takes from noise.
    """

    u: np.ndarray
    q: np.ndarray
    r: np.ndarray
    covariance: np.ndarray
    inverse: np.ndarray
    steep: np.ndarray
    back: np.ndarray
    taken: Taken


def _prepared(design: Design) -> _Prepared:
    """Return what a design asks once: calls for single spectra often have the same."""
    arrays = design.standards, design.background, design.energy
    kept = (np.ascontiguousarray(a, float).tobytes() for a in arrays)
    return _prepared_once(*kept, len(design.standards), design.sum_to_one)


@lru_cache(maxsize=4)
def _prepared_once(
    standards: bytes, background: bytes, energy: bytes, n: int, sum_to_one: bool
) -> _Prepared:
    x = np.frombuffer(energy)
    m = x.size
    own, others = (np.frombuffer(a).reshape(-1, m) for a in (standards, background))
    a, c = own.T, others.T
    u = np.linalg.qr(c)[0]  # the background is projected out of both
    q, r = np.linalg.qr(a - u @ (u.T @ a))
    freedom = m - n - c.shape[1] + int(sum_to_one)
    covariance, inverse = (k[0] for k in _inverse(r[None], q.T[None], sum_to_one))
    steep = np.asarray(np.gradient(own, x, axis=1))
    for basis in (u, q):
        steep = steep - (steep @ basis) @ basis.T
    back = np.linalg.pinv(c) if c.shape[1] else np.empty((0, m))
    taken = Taken.by(inverse, freedom, u)
    r = np.ascontiguousarray(r)
    return _Prepared(u, q, r, covariance, inverse, steep, back, taken)


def _combine(y: np.ndarray, design: Design) -> Combined:
    """Fit whole spectra."""
    fit = _prepared(design)
    u, q, freedom = fit.u, fit.q, fit.taken.freedom
    power = np.einsum("ij,ij->i", y, y)
    out = y - (y @ u) @ u.T
    z = np.ascontiguousarray(out @ q)
    chi2: dict[bool, np.ndarray] = {}
    weights = short = z
    out -= z @ q.T  # what no standard can follow
    beyond = np.einsum("ij,ij->i", out, out)
    for total in (False, True):
        w = np.empty_like(z)
        solve_rows(fit.r, z, design.non_negative, total, w)
        rest = z - w @ fit.r.T
        chi2[total] = beyond + np.einsum("ij,ij->i", rest, rest)
        if total == design.sum_to_one:
            weights, short = w, rest
    left = out + short @ q.T
    errors, length = fit.taken.errors(left)
    solved = Combination(
        weights=weights,
        backgrounds=(y - weights @ design.standards) @ fit.back.T,
        left=left,
        chi2=np.stack([chi2[design.sum_to_one], chi2[False], chi2[True]]),
        power=power,
        used=np.full(len(y), y.shape[1]),
        freedom=np.full(len(y), freedom),
        covariance=fit.covariance[None],
        errors=errors,
        length=length,
        steep=weights @ fit.steep,
    )
    return judged(solved, design)


def _combine_gapped(
    rows: np.ndarray, design: Design
) -> Iterator[tuple[np.ndarray, Combined]]:
    """Yield which spectra have few gaps, and their results.

    The weights are those of least squares on the energies that each spectrum has.
    Covariances of the noise are means over the pairs of energies that it has.

    Parameters
    ----------
    rows : (N, m)
        Spectra; values that are not finite are gaps.
    design
        Standards and constraints.
    """
    m = rows.shape[1]
    gaps = m - np.isfinite(rows).sum(axis=1)
    curves = np.concatenate([design.background, design.standards])
    most = max(_FEW * m, min(_MORE * m, m - _ENOUGH))
    few = np.flatnonzero((gaps > 0) & (gaps <= min(most, m - len(curves) - 1)))
    if few.size:
        basis, triangle = np.linalg.qr(curves.T)
        pairs = (basis[:, :, None] * basis[:, None]).reshape(m, -1)
    for start in range(0, few.size, _SLAB):
        chosen = few[start : start + _SLAB]
        there = np.isfinite(rows[chosen]).astype(float)
        y = np.where(there > 0, rows[chosen], 0.0).astype(float)
        left = np.eye(len(curves)) - ((1.0 - there) @ pairs).reshape(
            -1, *2 * (len(curves),)
        )
        sound = (np.linalg.eigvalsh(left)[:, 0] > _LEFT) & y.any(axis=1)
        sound &= lag_sums(there).min(axis=1) > 0  # pairs of energies at each lag
        if sound.any():
            spectra = y[sound], there[sound], left[sound]
            yield chosen[sound], _solve_gapped(spectra, basis, triangle, design)


def _solve_gapped(
    spectra: tuple[np.ndarray, ...],
    basis: np.ndarray,
    triangle: np.ndarray,
    design: Design,
) -> Combined:
    """Fit spectra (y, there: (N, m)) by products (N, p, p) of the basis beside gaps."""
    y, there, products = spectra
    n_back = len(design.background)
    root = np.linalg.cholesky(products)
    undo = np.linalg.inv(root)
    r = root.swapaxes(1, 2) @ triangle
    z = np.einsum("ijk,ik->ij", undo, y @ basis)
    own = np.ascontiguousarray(r[:, n_back:, n_back:])
    goal = np.ascontiguousarray(z[:, n_back:])
    fits = {t: _weights(own, goal, design.non_negative, t) for t in (False, True)}
    solved, rests = {}, {}
    for total, weights in fits.items():
        solved[total] = z.copy()
        solved[total][:, n_back:] = np.einsum("ijk,ik->ij", own, weights)
        curve = np.einsum("ikj,ik->ij", undo, solved[total]) @ basis.T
        rests[total] = y - there * curve
    weights, left = fits[design.sum_to_one], rests[design.sum_to_one]
    back = z[:, :n_back] - np.einsum("ijk,ik->ij", r[:, :n_back, n_back:], weights)
    back = np.linalg.solve(r[:, :n_back, :n_back], back[:, :, None])[:, :, 0]
    covariance, inverse = _inverse(own, undo[:, n_back:], design.sum_to_one)
    count = there.sum(axis=1)
    freedom = count - len(triangle) + int(design.sum_to_one)
    noise = _correlation(left, there, freedom, _undoing(basis, triangle, design))
    alone = np.einsum("ijk,ikl,ijl->ij", inverse, products, inverse, optimize=True)

    def spread(some: np.ndarray) -> np.ndarray:
        return lag_sums((inverse[some] @ basis.T) * there[some][:, None])

    slope = weights @ np.gradient(design.standards, design.energy, axis=1) * there
    along = slope @ basis
    follows = np.einsum("ikj,ikl,il->ij", undo, undo, along, optimize=True)
    square = [np.einsum("ij,ij->i", a, a) for a in (left, rests[False], rests[True])]
    found = Combination(
        weights=weights,
        errors=noise.errors(alone, spread, freedom),
        backgrounds=back,
        left=left,
        chi2=np.stack(square),
        power=np.einsum("ij,ij->i", y, y),
        used=count,
        freedom=freedom,
        covariance=covariance,
        length=noise.length,
        steep=slope - there * (follows @ basis.T),
    )
    return judged(found, design)


def _weights(
    r: np.ndarray, z: np.ndarray, non_negative: bool, sum_to_one: bool
) -> np.ndarray:
    """Return the weights (N, n) for triangles (N, n, n) and right sides (N, n)."""
    weights = np.empty_like(z)
    for k in range(len(z)):
        solve_rows(r[k], z[k : k + 1], non_negative, sum_to_one, weights[k : k + 1])
    return weights


def _inverse(
    r: np.ndarray, undo: np.ndarray, sum_to_one: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return covariances for unit noise, and inverses (N, n, p) that take products."""
    root = np.linalg.inv(r)
    covariance, inverse = root @ root.swapaxes(1, 2), root @ undo
    if sum_to_one:
        along = covariance.sum(axis=2)
        share = along / along.sum(axis=1, keepdims=True)
        inverse = inverse - share[:, :, None] * inverse.sum(axis=1)[:, None]
        covariance = covariance - share[:, :, None] * along[:, None]
    return covariance, inverse


def _undoing(basis: np.ndarray, triangle: np.ndarray, design: Design) -> np.ndarray:
    """Return what undoes the loss of noise to a fit of spectra without gaps."""
    m, p = basis.shape
    n_back = len(design.background)
    own = triangle[None, n_back:, n_back:], np.eye(p)[None, n_back:]
    inverse = _inverse(*own, design.sum_to_one)[1][0] @ basis.T
    return undone(inverse, m - p + int(design.sum_to_one), basis[:, :n_back])


def _correlation(
    left: np.ndarray, there: np.ndarray, freedom: np.ndarray, undoing: np.ndarray
) -> Correlation:
    """Return the correlation of residuals, from the pairs that are there."""
    sums, pairs = lag_sums(left), lag_sums(there)
    plain = sums[:, 0] / freedom
    sums *= (left.shape[1] - np.arange(sums.shape[1])) / pairs
    return correlation(sums, plain, undoing, there.sum(axis=1))
