"""Calibrate energies: a line through standards, the shift between two spectra."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.xanes.kernels.combining.spread import correlated_errors

if TYPE_CHECKING:
    from collections.abc import Callable

#: Largest shift in eV that is searched between two spectra.
REACH = 10.0
#: Part of a step by which energies may differ: they are rounded.
SLACK = 1e-3
#: Deviation (robust standard deviations) above which a point is an outlier of a fit.
_ASTRAY = 6.0
#: Rounds of weighted fits towards the least sum of absolute deviations, and the least
#: deviation in the weights, as a share of the largest.
_ROUNDS, _LEAST = 4, 1e-6


def fit_line(table: np.ndarray, middle: float) -> tuple[float, float, np.ndarray]:
    """Fit energy = intercept + slope (valence - middle); return the covariance too.

    Parameters
    ----------
    table : (n, 2) or (n, 3)
        Edge energy, valence, and the error of the energy if known.
    middle
        Valence at which the intercept is given.
    """
    known = table.shape[1] == 3
    weight = 1.0 / table[:, 2] if known else np.ones(len(table))
    basis = np.stack([np.ones(len(table)), table[:, 1] - middle], axis=1)
    weighted = basis * weight[:, None]
    inverse = np.linalg.inv(weighted.T @ weighted)
    found = inverse @ weighted.T @ (weight * table[:, 0])
    left = weight * (table[:, 0] - basis @ found)
    freedom = len(table) - 2
    if not known:
        scatter = float(left @ left) / freedom if freedom else 0.0
        inverse = inverse * scatter
    elif freedom:  # widen errors that are too small for the scatter
        inverse = inverse * max(1.0, float(left @ left) / freedom)
    return float(found[0]), float(found[1]), inverse


def refine_steepest(x: np.ndarray, y: np.ndarray, found: float) -> float:
    """Return the steepest rise near an energy of the grid, by a parabola.

    Parameters
    ----------
    x, y : (m,)
        Energies and the spectrum.
    found
        The steepest rise on the grid.
    """
    slope = np.gradient(y, x)
    k = int(np.clip(np.argmin(np.abs(x - found)), 1, x.size - 2))
    k = k - 1 + int(np.argmax(slope[k - 1 : k + 2]))
    if not 0 < k < x.size - 1:
        return found
    a, b, _ = np.polyfit(x[k - 1 : k + 2] - x[k], slope[k - 1 : k + 2], 2)
    top = -b / (2 * a) if a < 0 else 0.0
    return float(x[k] + np.clip(top, x[k - 1] - x[k], x[k + 1] - x[k]))


def best_shift(
    x: np.ndarray,
    y: np.ndarray,
    true: np.ndarray,
    values: np.ndarray,
    reach: float = REACH,
) -> tuple[float, float]:
    """Return the energy shift that aligns a spectrum to a known one, and its error.

    Least-squares fits have free scale, offset and slope. If some points are outliers
    of the first, the least sum of absolute deviations finds the shift again, and the
    outliers of that are left out. The error is that of least squares, with the
    covariance of what is left. NaN if the spectra do not overlap.

    Parameters
    ----------
    x, y : (m,)
        Energies and the spectrum.
    true, values : (k,)
        Energies and values of the known spectrum.
    reach
        Largest shift, in eV.
    """
    from scipy.interpolate import make_interp_spline
    from scipy.optimize import minimize_scalar

    if true.size < 4:
        return float("nan"), float("nan")
    curve: Any = make_interp_spline(true, values, k=3)
    slope = curve.derivative()
    middle = x.mean()

    def basis_at(shift: float) -> tuple[np.ndarray, np.ndarray]:
        inside = (x + shift >= true[0]) & (x + shift <= true[-1])
        model = curve(x[inside] + shift)
        return inside, np.stack([model, model**0, x[inside] - middle], axis=1)

    def rest(shift: float, rounds: int = 0) -> tuple[np.ndarray, np.ndarray]:
        inside, basis = basis_at(shift)
        if len(basis) < 8:
            return inside, np.full(1, np.inf)
        over = _over(basis, y[inside], np.ones(len(basis)))
        for _ in range(rounds):
            size = np.abs(over)
            over = _over(basis, y[inside], 1 / np.maximum(size, _LEAST * size.max()))
        return inside, over

    def squares(shift: float) -> float:
        over = rest(shift)[1]
        return float(over @ over) / over.size

    def absolute(shift: float) -> float:
        return float(np.mean(np.abs(rest(shift, _ROUNDS)[1])))

    def lowest(cost: Callable[[float], float], near: np.ndarray) -> float:
        costs = [cost(s) for s in near]
        k = int(np.argmin(costs))
        if not np.isfinite(costs[k]):
            return float("nan")
        span = near[k] - 0.5, near[k] + 0.5
        return float(minimize_scalar(cost, bounds=span, method="bounded").x)

    def error(shift: float) -> float:
        inside, basis = basis_at(shift)
        over = _over(basis, y[inside], np.ones(len(basis)))
        scale = np.linalg.lstsq(basis, y[inside], rcond=None)[0][0]
        own = np.linalg.qr(basis)[0]
        steep = scale * slope(x[inside] + shift)
        steep = steep - own @ (own.T @ steep)
        power = float(steep @ steep)
        freedom = over.size - 4
        if power == 0.0 or freedom < 1:
            return float("nan")
        row = steep[None] / power
        return float(correlated_errors(row, over[None], freedom, own)[0][0, 0])

    grid = np.arange(-reach, reach + 0.01, 0.5)
    best = lowest(squares, grid)
    if np.isfinite(best) and not _sound(rest(best)[1]).all():
        best = lowest(absolute, grid)
        inside, over = rest(best, _ROUNDS)
        sound = _sound(over)
        if not sound.all() and sound.sum() >= 8:
            kept = ~inside
            kept[inside] = sound
            x, y = x[kept], y[kept]
            best = lowest(squares, np.array([best]))
    return (best, error(best)) if np.isfinite(best) else (best, best)


def _over(basis: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return what a weighted least-squares fit leaves."""
    weighted = basis.T * weights
    found = np.linalg.pinv(weighted @ basis, hermitian=True) @ (weighted @ y)
    return np.asarray(y - basis @ found)


def _sound(over: np.ndarray) -> np.ndarray:
    return np.abs(over) <= _ASTRAY * 1.4826 * np.median(np.abs(over))


def best_shifts(
    data: np.ndarray,
    *,
    x: np.ndarray,
    true: np.ndarray,
    values: np.ndarray,
    reach: float = REACH,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the energy shift that aligns each spectrum (..., m), and its error.

    As `best_shift`. Glitches are bridged first, and the ends, where none is looked
    for, left out.
    """
    from batteryxr.xanes.kernels.glitches import BESIDE, without_glitches

    known = without_glitches(values, x=true)
    known = known / _unit(known)
    rows = data.reshape(-1, data.shape[-1]).astype(float)
    rows = without_glitches(rows, x=x)
    out = np.full((2, len(rows)), np.nan)
    for k, row in enumerate(rows):
        there = np.isfinite(row)
        there[:BESIDE] = there[-BESIDE:] = False
        if there.sum() >= 8 and np.ptp(row[there]) > 0:
            y = row[there] / _unit(row[there])
            out[:, k] = best_shift(x[there], y, true, known, reach)
    shift, error = out.reshape(2, *data.shape[:-1])
    return shift, error


def _unit(values: np.ndarray) -> float:
    """Return the power of two near the largest value: over it, squares are sound."""
    largest = float(np.max(np.abs(values), where=np.isfinite(values), initial=0.0))
    return math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest else 1.0


def interpolate(data: np.ndarray, shift: np.ndarray, *, x: np.ndarray) -> np.ndarray:
    """Return shifted spectra at the original energies `x`.

    Cubic interpolation; NaN outside, and where a neighbour is missing.

    Parameters
    ----------
    data : (..., m)
        Spectra.
    shift : (...)
        Energy shift added to each spectrum.
    x : (m,)
        Energies.
    """
    from scipy.interpolate import make_interp_spline

    rows = data.reshape(-1, data.shape[-1]).astype(float)
    shifts = np.broadcast_to(shift, data.shape[:-1]).reshape(-1)
    out = np.full(rows.shape, np.nan)
    for row, by, target in zip(rows, shifts, out, strict=True):
        there = np.isfinite(row)
        if there.sum() < 4 or not np.isfinite(by):
            continue
        at = x - by
        curve = make_interp_spline(x[there], row[there], k=3)
        slack = SLACK * np.abs(np.diff(x)).min(initial=np.inf)
        inside = (at >= x[there][0] - slack) & (at <= x[there][-1] + slack)
        inside &= np.interp(at, x, (~there).astype(float)) == 0.0
        target[inside] = curve(at[inside])
    kept = data.dtype if data.dtype.kind == "f" else np.dtype(float)
    return out.reshape(data.shape).astype(kept)
