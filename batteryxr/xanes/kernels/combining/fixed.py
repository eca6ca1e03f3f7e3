"""Fit spectra as sums of standards: weights, their errors, and residual checks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from batteryxr.xanes.kernels.combining.active_set import solve_rows
from batteryxr.xanes.kernels.combining.spread import correlated_errors
from batteryxr.xanes.kernels.gaps import by_pattern

#: Spectra that are held in float64 at a time.
SLAB = 8192
NO_DATA, SUM_NOT_ONE, SHIFTED, AT_LIMIT = 1, 2, 4, 8
#: Largest deviation of the weights' sum from one, absolute and in standard errors.
_SUM, _SUMS = 0.1, 3.0
#: Least energy shift (eV) that is reported, its least ratio to the error, and the least
#: fraction of the residual that it explains.
_SHIFT, _SHIFTS, _EXPLAINED = 0.05, 5.0, 0.3
#: Fraction of the longest curve below which a combination of curves counts as zero.
_TAIL = 1e-6


class Design(NamedTuple):
    """Define the standards, and the constraints on their weights.

    Attributes
    ----------
    standards : (s, m)
        Standards.
    background : (b, m)
        Curves whose weights have any sign and are not in the sum; b may be 0.
    noise : (s,)
        Standard deviation of each standard's own noise.
    energy : (m,)
        Energies.
    non_negative, sum_to_one
        Constraints on the weights of the standards.
    """

    standards: np.ndarray
    background: np.ndarray
    noise: np.ndarray
    energy: np.ndarray
    non_negative: bool
    sum_to_one: bool

    def at(self, there: np.ndarray) -> Design:
        """Return the design on some of the energies."""
        return self._replace(
            standards=self.standards[:, there],
            background=self.background[:, there],
            energy=self.energy[there],
        )


class Combined(NamedTuple):
    """Hold the results of N spectra.

    Attributes
    ----------
    weights, errors : (N, s)
        Weights, and errors as if no weight were at its bound.
    backgrounds : (N, b)
    quality : (N, 5)
        Sum of squared residuals, degrees of freedom, R factor with a free sum and with
        a sum of one, number of independent values among the energies.
    flags : (N,) uint8
        Bits.
    """

    weights: np.ndarray
    errors: np.ndarray
    backgrounds: np.ndarray
    quality: np.ndarray
    flags: np.ndarray


def empty(size: int, n: int, n_back: int) -> Combined:
    """Return empty results for all spectra."""
    weights, errors, back, quality = (
        np.full((size, k), np.nan) for k in (n, n, n_back, 5)
    )
    flags = np.full(size, NO_DATA, np.uint8)
    return Combined(weights, errors, back, quality, flags)


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
    for chosen, there in by_pattern(rows):
        if there.sum() <= n + n_back or not told_apart(design, there):
            continue
        chosen = chosen[rows[chosen][:, there].any(axis=1)]  # skip zeros
        part = design.at(there)
        for start in range(0, len(chosen), SLAB):
            some = chosen[start : start + SLAB]
            found = _combine(rows[np.ix_(some, there)].astype(float), part)
            for target, source in zip(results, found, strict=True):
                target[some] = source
    return Combined(*(a.reshape((*shape, *a.shape[1:])) for a in results))


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


def _combine(y: np.ndarray, design: Design) -> Combined:
    """Fit whole spectra."""
    a, c = design.standards.T, design.background.T
    n, m = a.shape[1], len(a)
    u = np.linalg.qr(c)[0]  # the background is projected out of both
    q, r = np.linalg.qr(a - u @ (u.T @ a))
    power = np.einsum("ij,ij->i", y, y)
    out = y - (y @ u) @ u.T
    z = np.ascontiguousarray(out @ q)
    chi2: dict[bool, np.ndarray] = {}
    weights, left = z, out
    for total in (False, True):
        w = np.empty((len(y), n))
        solve_rows(np.ascontiguousarray(r), z, design.non_negative, total, w)
        rest = out - (w @ r.T) @ q.T
        chi2[total] = np.einsum("ij,ij->i", rest, rest)
        if total == design.sum_to_one:
            weights, left = w, rest
    freedom = m - n - c.shape[1] + int(design.sum_to_one)
    covariance, inverse = _inverse(q, r, design.sum_to_one)
    errors, length = correlated_errors(inverse, left, freedom, u)
    # Noise of the standards makes them seem larger, and the weights smaller.
    pulled = (weights * (m * design.noise**2)) @ covariance
    errors = np.hypot(errors, pulled)
    square = chi2[design.sum_to_one]
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = square, square * 0.0 + freedom, chi2[False] / power
        quality = np.stack([*columns, chi2[True] / power, m / length], axis=1)
    flags = np.zeros(len(y), np.uint8)
    scale = np.sqrt(square / freedom * length)
    if not design.sum_to_one:
        reach = np.maximum(_SUM, _SUMS * scale * np.sqrt(covariance.sum()))
        flags[np.abs(weights.sum(axis=1) - 1.0) > reach] |= SUM_NOT_ONE
    shift = _shifts(weights, left, scale, design, (u, q))
    flags[shift != 0.0] |= SHIFTED
    # The weights absorb a shift: the error reaches to where they would be without it.
    slope = weights @ np.gradient(design.standards, design.energy, axis=1)
    errors = np.hypot(errors, shift[:, None] * (slope @ inverse.T))
    rest = y - weights @ a.T
    back = rest @ np.linalg.pinv(c).T if c.shape[1] else np.empty((len(y), 0))
    return Combined(weights, errors, back, quality, flags)


def _inverse(
    q: np.ndarray, r: np.ndarray, sum_to_one: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariance of weights for unit noise, and the pseudo-inverse."""
    root = np.linalg.inv(r)
    covariance, inverse = root @ root.T, root @ q.T
    if sum_to_one:
        along = covariance.sum(axis=1)
        inverse = inverse - np.outer(along, inverse.sum(axis=0)) / along.sum()
        covariance = covariance - np.outer(along, along) / along.sum()
    return covariance, inverse


def _shifts(
    weights: np.ndarray,
    left: np.ndarray,
    scale: np.ndarray,
    design: Design,
    explained: tuple[np.ndarray, ...],
) -> np.ndarray:
    """Return the energy shift (eV) of spectra if their residuals show it; else 0."""
    slopes = np.gradient(design.standards, design.energy, axis=1)
    slope = weights @ slopes
    for basis in explained:
        slope = slope - (slope @ basis) @ basis.T
    steep = np.einsum("ij,ij->i", slope, slope)
    along = np.einsum("ij,ij->i", slope, left)
    total = np.einsum("ij,ij->i", left, left)
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = np.abs(along / steep)
        error = scale / np.sqrt(steep)
        share = along**2 / (steep * total)
        far = (shift > _SHIFT) & (shift > _SHIFTS * error) & (share > _EXPLAINED)
    return np.where(far, shift, 0.0)
