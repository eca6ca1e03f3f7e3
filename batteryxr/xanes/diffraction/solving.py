"""Solve positions of reflections for lattice and offset, all scans at once."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.xanes.diffraction.geometry import offset_slope, place_slope
from batteryxr.xanes.diffraction.solved import MISFIT, MISSING, UNCHECKED, Solved

if TYPE_CHECKING:
    from batteryxr.xanes.diffraction.cells import Reflections
    from batteryxr.xanes.diffraction.geometry import Asked
    from batteryxr.xanes.diffraction.profiles import Positions

#: Ratio of chi2 to the usual one above which a foreign position is searched.
_FOREIGN = 4.0
#: Scans on each side that one foreign line may disturb.
_CROSSED = 6
#: Smallest eigenvalue at which the unknowns are distinguishable.
_SINGULAR = 1e-9
#: Misfit, in standard deviations, above which reflections disagree.
_DISAGREE = 4.0
#: Misfit, in widths of the widest reflection, above which they disagree in any series.
_PART = 0.15
#: Share of the usual number of reflections below which a lattice is not checked by the
#: others.
_FEW = 0.6
#: Least number of scans for a common offset.
_SHARED = 5
#: Trial steps of the offset from scan to scan, in errors of one.
_STEPS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
#: Log likelihood by which a constant offset is preferred.
_SIMPLER = 2.0
#: Standard deviations above which a scan gets less weight.
_ODD = 3.0
#: Standard deviations above which scans before and after disagree.
_AGREE = 1.5


def solve(
    lines: Reflections,
    found: Positions,
    start: np.ndarray,
    asked: Asked,
    known: tuple[Reflections, Positions] | None,
) -> Solved:
    """Solve positions for the lattice and the offset, for all patterns at once."""
    at, error, width = found.position, found.position_error, found.fwhm
    free = lines.metric.size
    if known is not None:
        at = np.concatenate([at, known[1].position], axis=1)
        error = np.concatenate([error, known[1].position_error], axis=1)
    good = np.isfinite(at) & np.isfinite(error) & (error > 0)
    sd = np.where(good, error, 1.0)
    p = np.concatenate([start, np.zeros((len(at), asked.shifts))], axis=1)
    weight = good / sd**2
    count = good[:, : lines.form.shape[0]].sum(axis=1)
    enough = (count >= free) & (good.sum(axis=1) >= p.shape[1])
    p[~enough] = np.nan
    none = np.zeros((2, len(at)))
    newton = partial(_newton, lines, asked=asked, known=known)
    q, covariance, left = newton(at, weight, p, prior=none)
    chi2, degrees = _chi2(left, weight, p.shape[1])
    usual = _usual(chi2, degrees, share=0.15)
    prior = none
    if asked.shifts:
        agree = np.where(chi2 < _FOREIGN * usual, q[:, free], np.nan)
        prior = _drifting(agree, covariance[:, free, free] * usual, usual)
    kept = _without_foreign(newton, at, weight, p, prior, usual)
    if asked.shifts:
        # Now scans with foreign lines also give their offset.
        q, covariance, left = newton(at, kept, p, prior=none)
        chi2, degrees = _chi2(left, kept, p.shape[1])
        usual = _usual(chi2, degrees)
        agree = np.where(chi2 < _FOREIGN * usual, q[:, free], np.nan)
        prior = _drifting(agree, covariance[:, free, free] * usual, usual)
        weight = _without_disturbed(weight, kept, p.shape[1])
        kept = _without_foreign(newton, at, weight, p, prior, usual)
    weight = kept
    p, covariance, left = newton(at, weight, p, prior=prior)
    chi2, degrees = _chi2(left, weight, p.shape[1])
    usual = _usual(chi2, degrees)
    # Errors of positions neglect asymmetry: the residuals show how much is missing.
    factor = np.where(degrees >= 3, np.maximum(usual, chi2 / 2.5), usual)
    covariance *= np.maximum(factor, 1.0)[:, None, None]
    misfit = np.sqrt(np.where(degrees > 0, chi2, np.nan))
    flag = np.where(enough, 0, MISSING)
    odd = misfit > _DISAGREE * np.sqrt(usual)
    odd |= (misfit > _DISAGREE) & (
        _typical(left, weight) > _PART * np.fmax.reduce(width, axis=1)
    )
    flag |= np.where(odd, MISFIT, 0)
    few = count < _FEW * float(np.median(count[enough])) if enough.any() else 0
    flag |= np.where(enough & ((degrees < 1) | few), UNCHECKED, 0)
    shift, shift_error = np.full((2, len(at)), np.nan)
    if asked.shifts:
        shift = p[:, free]
        shift_error = np.sqrt(np.maximum(covariance[:, free, free], 0))
    return Solved(
        p[:, :free],
        covariance[:, :free, :free],
        shift,
        shift_error,
        misfit,
        flag.astype(np.int16),
        weight[:, : lines.form.shape[0]] > 0,
    )


def _typical(left: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted root mean square of residuals (N, m)."""
    total = np.maximum(weight.sum(axis=1), 1e-300)
    return np.asarray(np.sqrt((left**2 * weight).sum(axis=1) / total))


def _chi2(
    left: np.ndarray, weight: np.ndarray, unknown: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return chi2 per degree of freedom, and the number of degrees of freedom."""
    degrees = (weight > 0).sum(axis=1) - unknown
    return (left**2 * weight).sum(axis=1) / np.maximum(degrees, 1), degrees


def _without_foreign(
    newton: Any,
    at: np.ndarray,
    weight: np.ndarray,
    p: np.ndarray,
    prior: np.ndarray,
    usual: float,
) -> np.ndarray:
    """Drop one or two positions, taken as foreign lines, if the others then agree."""
    _, _, left = newton(at, weight, p, prior=prior)
    chi2, degrees = _chi2(left, weight, p.shape[1])
    rows = np.flatnonzero((chi2 > _FOREIGN * usual) & (degrees >= 2))
    weight = weight.copy()
    for n in (1, 2):
        if not rows.size:
            break
        best = chi2[rows].copy()
        kept = weight[rows].copy()
        for out in itertools.combinations(range(at.shape[1]), n):
            tried = weight[rows].copy()
            tried[:, out] = 0.0
            _, _, left = newton(at[rows], tried, p[rows], prior=prior[:, rows])
            now, spare = _chi2(left, tried, p.shape[1])
            better = (now < best) & (spare >= 1)
            best = np.where(better, now, best)
            kept[better] = tried[better]
        done = (best < 0.67 * _FOREIGN * usual) | (n == 2)
        weight[rows[done]] = kept[done]
        rows = rows[~done]
        rows = rows[((weight[rows] > 0).sum(axis=1) - p.shape[1]) >= 3]
    return weight


def _without_disturbed(
    weight: np.ndarray, kept: np.ndarray, unknown: int
) -> np.ndarray:
    """Leave out positions that were dropped in several nearby scans.

    A crossing foreign line disturbs a run of scans. In some of them another position
    looks as odd by chance.
    """
    dropped = (weight > 0) & (kept == 0)
    from scipy.ndimage import correlate1d

    reach = np.ones(2 * _CROSSED + 1)
    ends = ((_CROSSED, _CROSSED), (0, 0))
    near = correlate1d(np.pad(1.0 * dropped, ends), reach, axis=0)[_CROSSED:-_CROSSED]
    out = np.where(near >= _CROSSED // 2, 0.0, weight)
    few = (out > 0).sum(axis=1) <= unknown
    return np.where(few[:, None], weight, out)


def _usual(chi2: np.ndarray, degrees: np.ndarray, share: float = 0.5) -> float:
    """Return the usual chi2 per degree of freedom in a series.

    It is the median, or a low quantile if foreign lines may disturb most scans.
    """
    told = chi2[(degrees > 0) & np.isfinite(chi2)]
    if not told.size:
        return 1.0
    from scipy.stats import chi2 as distribution

    free = float(np.median(degrees[degrees > 0]))
    expected = distribution.ppf(share, free) / free
    return float(max(1.0, np.quantile(told, share) / expected))


def _newton(
    lines: Reflections,
    at: np.ndarray,
    weight: np.ndarray,
    p: np.ndarray,
    *,
    asked: Asked,
    known: tuple[Reflections, Positions] | None,
    prior: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Minimise the residuals of positions; return parameters, covariance, residuals.

    `prior` (2, N) is the expected offset, and its weight.
    """
    free = lines.metric.size
    p = p.copy()
    fine = np.isfinite(p).all(axis=1)
    q = np.where(fine[:, None], p, np.concatenate([lines.metric, [0] * asked.shifts]))
    given = np.nan_to_num(at)
    inverse = np.zeros((len(at), p.shape[1], p.shape[1]))
    left = np.zeros_like(given)
    for _ in range(8):
        calculated, slopes = place_slope(q[:, :free], lines.form, asked)
        if known is not None:
            fixed, _ = place_slope(known[0].metric[None], known[0].form, asked)
            fixed = np.repeat(fixed, len(at), axis=0)
            calculated = np.concatenate([calculated, fixed], axis=1)
            none = np.zeros((len(at), fixed.shape[1], free))
            slopes = np.concatenate([slopes, none], axis=1)
        calculated = np.nan_to_num(calculated)
        if asked.shifts:
            moved = offset_slope(calculated, asked)
            calculated = calculated + q[:, free, None] * moved
            slopes = np.concatenate([slopes, moved[:, :, None]], axis=2)
        slopes = np.nan_to_num(slopes)
        left = np.where(weight > 0, given - calculated, 0.0)
        weighted = slopes * weight[:, :, None]
        matrix = weighted.transpose(0, 2, 1) @ slopes
        force = (weighted.transpose(0, 2, 1) @ left[:, :, None])[:, :, 0]
        if asked.shifts:
            matrix[:, free, free] += prior[1]
            force[:, free] += prior[1] * (prior[0] - q[:, free])
        scale = np.sqrt(np.maximum(np.einsum("nii->ni", matrix), 1e-300))
        scaled = matrix / scale[:, :, None] / scale[:, None, :]
        fine &= np.linalg.eigvalsh(scaled)[:, 0] > _SINGULAR
        scaled[~fine] = np.eye(p.shape[1])
        inverse = np.linalg.inv(scaled) / scale[:, :, None] / scale[:, None, :]
        q = q + np.where(fine[:, None], (inverse @ force[:, :, None])[:, :, 0], 0.0)
    return np.where(fine[:, None], q, np.nan), inverse, left


def _drifting(offset: np.ndarray, variance: np.ndarray, usual: float) -> np.ndarray:
    """Return the offset expected in each scan from the others, and its weight.

    A sample hardly moves during a series. Its offset is modelled as a random walk from
    scan to scan, with the most likely step. The scans before and after then give it,
    without the scan itself, so that errors are not counted twice.

    Parameters
    ----------
    offset, variance
        (N,) values found in each scan alone; NaN if unknown.
    usual
        Factor that variances were multiplied by; weights are given without it.

    Returns
    -------
    numpy.ndarray
        (2, N) expected offset and its weight.

    Notes
    -----
    Kalman, J. Basic Eng. 82, 35 (1960), forward and backward.
    """
    known = np.isfinite(offset) & (variance > 0)
    prior = np.zeros((2, offset.size))
    if known.sum() < _SHARED:
        return prior
    value = np.where(known, offset, 0.0)
    noise = np.where(known, variance, np.inf)
    typical = float(np.median(noise[known]))
    walks = [step**2 * typical for step in _STEPS]
    _, _, likely = _forward(value, noise, np.array(walks))
    likely[0] += _SIMPLER
    walk = np.array([walks[int(np.argmax(likely))]])
    before, before_var, _ = _forward(value, noise, walk)
    after, after_var, _ = _forward(value[::-1], noise[::-1], walk)
    one, other = 1 / before_var[:, 0], 1 / after_var[::-1, 0]
    total = one + other
    mean = before[:, 0] * one + after[::-1, 0] * other
    # If scans before and after disagree, the offset has jumped: reduce the weight.
    apart = (
        (before[:, 0] - after[::-1, 0]) ** 2 * one * other / np.maximum(total, 1e-300)
    )
    jumped = np.maximum(apart / _AGREE**2, 1.0)
    prior[0] = np.where(total > 0, mean / np.where(total > 0, total, 1.0), 0.0)
    prior[1] = usual * total / jumped
    return prior


def _forward(
    value: np.ndarray, noise: np.ndarray, walk: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the value expected from earlier scans, its variance, and the likelihood.

    The shapes are (N, walks), (N, walks) and (walks,): several walks at once.
    """
    expected = np.zeros((value.size, walk.size))
    spread = np.full((value.size, walk.size), np.inf)
    likely = np.zeros(walk.size)
    mean, variance = np.zeros(walk.size), np.full(walk.size, np.inf)
    for k in range(value.size):
        expected[k], spread[k] = mean, variance
        if np.isfinite(noise[k]):
            if np.isinf(variance[0]):
                mean, variance = (
                    np.full(walk.size, value[k]),
                    np.full_like(walk, noise[k]),
                )
            else:
                whole = variance + noise[k]
                away = value[k] - mean
                odd = np.maximum(away**2 / whole / _ODD**2, 1.0)
                likely -= 0.5 * (np.log(whole) + away**2 / whole / odd + np.log(odd))
                gain = variance / (variance + noise[k] * odd)
                mean = mean + gain * away
                variance = (1 - gain) * variance
        variance = variance + walk
    return expected, spread, likely
