"""Designs and results of fits of spectra by standards, and what residuals tell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from batteryxr.xanes.kernels.combining.spread import Taken

NO_DATA, SUM_NOT_ONE, SHIFTED, AT_LIMIT = 1, 2, 4, 8
#: Largest deviation of the weights' sum from one, absolute and in standard errors.
_SUM, _SUMS = 0.1, 3.0
#: Energy shifts (eV) that are tried.
_TRIALS = np.arange(-10, 11) / 10
#: Least ratio of a shift that is reported to its error, and least fraction of the
#: residual that it explains, in units of what it leaves.
_SHIFTS, _EXPLAINED = 4.0, 0.1
#: Squared ratio of a shift to its error with white noise from which it is looked at.
_HINT = 4.0
#: Share of the power that a residual of exact numbers leaves at most.
_EXACT = 1e-24


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


class Combination(NamedTuple):
    """Hold the solutions of N spectra over m energies, and what their errors need.

    Attributes
    ----------
    weights, errors : (N, s)
        Weights, and their errors by the residuals alone.
    backgrounds : (N, b)
    left : (N, m)
        Residuals; 0 at gaps.
    chi2 : (3, N)
        Sum of squared residuals, with a free sum, and with a sum of one.
    power : (N,)
        Sum of squares of the spectra.
    used, freedom : (N,)
        Numbers of energies, and degrees of freedom.
    covariance : (N, s, s) or (1, s, s)
        Covariance of the weights for unit noise.
    length : (N,)
        Energies per independent value.
    steep : (N, m)
        Slope of the fit over energy that neither weights nor background can follow.
    """

    weights: np.ndarray
    errors: np.ndarray
    backgrounds: np.ndarray
    left: np.ndarray
    chi2: np.ndarray
    power: np.ndarray
    used: np.ndarray
    freedom: np.ndarray
    covariance: np.ndarray
    length: np.ndarray
    steep: np.ndarray


def judged(solved: Combination, design: Design) -> Combined:
    """Return results with errors and flags for what the residuals show."""
    square, free, one = solved.chi2
    freedom, length = solved.freedom, solved.length
    # Noise of the standards makes them seem larger, and the weights smaller.
    loads = solved.weights * (solved.used[:, None] * design.noise**2)
    if len(solved.covariance) == 1:
        lost = loads @ solved.covariance[0]
    else:
        lost = np.einsum("ij,ijk->ik", loads, solved.covariance)
    errors = np.hypot(solved.errors, lost)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = square, freedom.astype(float), free / solved.power
        last = one / solved.power, solved.used / length
        quality = np.stack([*columns, *last], axis=1)
    flags = np.zeros(len(square), np.uint8)
    scale = np.sqrt(square / freedom * length)
    if not design.sum_to_one:
        total = np.sqrt(solved.covariance.sum(axis=(1, 2)))
        reach = np.maximum(_SUM, _SUMS * scale * total)
        flags[np.abs(solved.weights.sum(axis=1) - 1.0) > reach] |= SUM_NOT_ONE
    shift, change = _shifts(solved, design)
    flags[shift != 0.0] |= SHIFTED
    # The weights absorb a shift: the error reaches to where they would be without it.
    errors = np.hypot(errors, change)
    return Combined(solved.weights, errors, solved.backgrounds, quality, flags)


def _shifts(solved: Combination, design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Return the energy shifts (eV) of spectra if their residuals show them, else 0.

    The second array (N, s) is what a shift does to the weights. Only residuals that
    hold a little of the slope of the fit are looked at closely.
    """
    shift, change = np.zeros(len(solved.left)), np.zeros_like(solved.weights)
    steep = np.einsum("ij,ij->i", solved.steep, solved.steep)
    along = np.einsum("ij,ij->i", solved.steep, solved.left)
    square, freedom = solved.chi2[0], solved.freedom
    with np.errstate(invalid="ignore", divide="ignore"):
        some = along**2 * freedom > _HINT * steep * square
    some &= (square > _EXACT * solved.power) & (freedom > 1)
    for rows in _alike(solved.left, np.flatnonzero(some)):
        there = solved.left[rows[0]] != 0  # a gap leaves no residual
        part = design.at(there)
        left = solved.left[rows]
        left = left if there.all() else left[:, there]
        curves = left + solved.weights[rows] @ part.standards
        shift[rows], change[rows] = _moved(curves, part)
    return shift, change


def _alike(left: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """Return rows in groups that have the same gaps."""
    if not rows.size:
        return []
    there = left[rows] != 0
    if there.all():
        return [rows]
    _, group = np.unique(there, axis=0, return_inverse=True)
    return [rows[group.ravel() == k] for k in range(group.max() + 1)]


def _moved(curves: np.ndarray, design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Return shifts of all standards that fit curves (N, m) better, and what they do.

    Interpolation takes noise off the standards, as much by a shift down as by one up:
    what a shift explains must also exceed what the opposite one does.
    """
    from scipy.interpolate import CubicSpline

    x, n = design.energy, len(design.standards)
    spline = CubicSpline(x, design.standards.T)
    models = [
        np.concatenate([spline(np.clip(x - d, x[0], x[-1])).T, design.background])
        for d in _TRIALS
    ]
    bases = [np.linalg.qr(model.T)[0] for model in models]
    square = np.stack([((curves - (curves @ q) @ q.T) ** 2).sum(axis=1) for q in bases])
    best, row = np.argmin(square, axis=0), np.arange(len(curves))
    least, opposite = square[best, row], square[len(_TRIALS) - 1 - best, row]
    middle = len(_TRIALS) // 2
    drop = np.minimum(square[middle] - least, 0.25 * (opposite - least))
    shift, change = np.zeros(len(curves)), np.zeros((len(curves), n))
    freedom = max(x.size - len(models[0]) - 1, 1)
    drop[drop < max(_EXPLAINED, _SHIFTS**2 / freedom) * least] = 0.0
    plain = np.linalg.pinv(models[middle])[:, :n]
    for k in np.unique(best[drop > 0]):
        rows = np.flatnonzero((best == k) & (drop > 0))
        q = bases[k]
        rest = curves[rows] - (curves[rows] @ q) @ q.T
        length = Taken.by(q.T, freedom, None).errors(rest)[1]
        far = drop[rows] * freedom > _SHIFTS**2 * least[rows] * length
        rows = rows[far]
        shift[rows] = _TRIALS[k]
        change[rows] = curves[rows] @ (np.linalg.pinv(models[k])[:, :n] - plain)
    return shift, change
