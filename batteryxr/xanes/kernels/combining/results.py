"""Designs and results of fits of spectra by standards, and what residuals tell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NO_DATA, SUM_NOT_ONE, SHIFTED, AT_LIMIT = 1, 2, 4, 8
#: Largest deviation of the weights' sum from one, absolute and in standard errors.
_SUM, _SUMS = 0.1, 3.0
#: Least energy shift (eV) that is reported, its least ratio to the error, and the least
#: fraction of the residual that it explains.
_SHIFT, _SHIFTS, _EXPLAINED = 0.05, 4.0, 0.2


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
    pulled : (N, s)
        What a shift of 1 eV does to the weights.
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
    pulled: np.ndarray


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
    shift = _shifts(solved.steep, solved.left, scale)
    flags[shift != 0.0] |= SHIFTED
    # The weights absorb a shift: the error reaches to where they would be without it.
    errors = np.hypot(errors, shift[:, None] * solved.pulled)
    return Combined(solved.weights, errors, solved.backgrounds, quality, flags)


def _shifts(slope: np.ndarray, left: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the energy shift (eV) of spectra if their residuals show it; else 0."""
    steep = np.einsum("ij,ij->i", slope, slope)
    along = np.einsum("ij,ij->i", slope, left)
    total = np.einsum("ij,ij->i", left, left)
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = np.abs(along / steep)
        share = along**2 / (steep * total)
        # What the shift leaves is noise, not what it explains.
        error = scale * np.sqrt(np.maximum(1.0 - share, 0.0) / steep)
        far = (shift > _SHIFT) & (shift > _SHIFTS * error) & (share > _EXPLAINED)
    return np.where(far, shift, 0.0)
