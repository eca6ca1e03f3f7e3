"""Energies calibrated: a line through standards, the shift between two spectra."""

from __future__ import annotations

import numpy as np

#: Widths, in eV, over which a shift between two spectra is looked for.
_REACH = 10.0


def fit_line(table: np.ndarray, middle: float) -> tuple[float, float, np.ndarray]:
    """Fit energy = intercept + slope (valence - middle); return the covariance too.

    Parameters
    ----------
    table : (n, 2) or (n, 3)
        Edge energy, valence, and the error of the energy where it is known.
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
    elif freedom:  # errors that are too small to explain the scatter are widened
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
    x: np.ndarray, y: np.ndarray, true: np.ndarray, values: np.ndarray
) -> float:
    """Return what to add to the energies of a spectrum to align it to a known one.

    Least squares, with scale, offset and slope free; NaN where the two overlap
    nowhere.

    Parameters
    ----------
    x, y : (m,)
        Energies and the spectrum.
    true, values : (k,)
        Energies and values of the known spectrum.
    """
    from scipy.optimize import minimize_scalar

    def left(shift: float) -> float:
        inside = (x + shift >= true[0]) & (x + shift <= true[-1])
        if inside.sum() < 8:
            return np.inf
        model = np.interp(x[inside] + shift, true, values)
        basis = np.stack([model, np.ones(model.size), x[inside] - x.mean()], axis=1)
        rest = y[inside] - basis @ np.linalg.lstsq(basis, y[inside], rcond=None)[0]
        return float(rest @ rest) / int(inside.sum())

    grid = np.arange(-_REACH, _REACH + 0.01, 0.25)
    costs = [left(s) for s in grid]
    k = int(np.argmin(costs))
    if not np.isfinite(costs[k]):
        return float("nan")
    span = grid[max(k - 1, 0)], grid[min(k + 1, grid.size - 1)]
    return float(minimize_scalar(left, bounds=span, method="bounded").x)
