"""Fit the sizes of a cell's electrodes and their initial contents; arrays only."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

#: Fit parameters: capacities of cathode and anode, and their initial contents.
PARAMETERS = ("cathode_capacity", "anode_capacity", "cathode_content", "anode_content")
#: Limits of them, relative to the cell's capacity, and of the overvoltage (V) and its
#: change along the charge; steps.
_LOW, _HIGH = (0.7, 0.7, 0.0, -0.05, -0.5, -0.5), (10.0, 10.0, 1.05, 1.0, 0.5, 0.5)
_STEPS = (0.1, 0.1, 0.02, 0.02, 0.01, 0.01)
#: Errors of that change beyond which what it moves is added to the errors.
_CHANGED = 2.0
#: Initial guesses: electrode sizes relative to the cell's capacity, and contents.
_SIZES = (1.0, 1.1, 1.25, 1.45, 1.7, 2.0)
_FULL = (1.0, 0.95, 0.88, 0.8, 0.7, 0.6)
_EMPTY = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
#: Points used to compare initial guesses, and the number that is tried of all, beside
#: the best for each content of the anode: its steps make minima of their own.
_LOOKED_AT, _TRIED = 24, 3
#: Slope of a half cell beyond its measured curve (V for the whole content).
_BEYOND = 50.0


class HalfCell(NamedTuple):
    """Hold the voltage (V) of an electrode against its rising content.

    Its `noise` (V) is known of the rows at which a voltage was measured that rises.
    """

    content: np.ndarray
    voltage: np.ndarray
    noise: float = 0.0

    def at(self, content: np.ndarray) -> np.ndarray:
        """Return the voltage; beyond the curve it falls steeply, as in a cell."""
        inside = np.clip(content, self.content[0], self.content[-1])
        over = content - inside
        return np.interp(inside, self.content, self.voltage) - _BEYOND * over


def half_cell(content: np.ndarray, volts: np.ndarray) -> HalfCell:
    """Return the falling curve next to a measured one.

    A voltage at equilibrium falls with the content. Where noise makes it rise, the fit
    would follow the noise, above all on plateaus. Rows that do not fall become one.
    """
    from scipy.optimize import isotonic_regression

    found = isotonic_regression(volts, increasing=False)
    moved = (volts - found.x)[volts != found.x]
    noise = float(np.sqrt(np.mean(moved**2))) if moved.size else 0.0
    first, rows = found.blocks[:-1], np.diff(found.blocks)
    middle = np.add.reduceat(content, first) / rows
    middle[0], middle[-1] = content[0], content[-1]
    return HalfCell(middle, found.x[first], noise)


class Balance(NamedTuple):
    """Hold parameters in the order of `PARAMETERS`, their covariance, and the curve.

    `at_bound` tells whether the search ended at a limit of physical values,
    `overvoltage` by how much (V) the curve lies above that of its electrodes where that
    is fitted too, and one standard deviation; `uneven` the same of its change along the
    charge, where an even one is fitted.
    """

    values: np.ndarray
    covariance: np.ndarray
    fitted: np.ndarray
    at_bound: bool
    overvoltage: tuple[float, float]
    uneven: tuple[float, float]


def balance(
    capacity: np.ndarray,
    volts: np.ndarray,
    cathode: HalfCell,
    anode: HalfCell,
    *,
    polarised: bool,
) -> Balance:
    """Fit the electrodes of a full cell to one charge curve.

    Parameters
    ----------
    capacity
        (points,) mA h; the charge begins at the first.
    volts
        (points,) voltage of the cell.
    cathode, anode
        Half cells.
    polarised
        Whether the result is that with an overvoltage.
    """
    from scipy.optimize import least_squares

    span = float(np.ptp(capacity))
    charge = (capacity - capacity[0]) / span
    # Dense rows (at the ends) get no more weight than others.
    weight = np.sqrt(np.gradient(charge) * charge.size)

    def model(p: np.ndarray) -> np.ndarray:
        p = np.asarray(p)
        y = p[..., 2, None] - charge / p[..., 0, None]
        x = p[..., 3, None] + charge / p[..., 1, None]
        even, change = np.append(p.ravel()[len(PARAMETERS) :], np.zeros(2))[:2]
        return cathode.at(y) - anode.at(x) + even + change * (charge - 0.5)

    def left(p: np.ndarray) -> np.ndarray:
        return (model(p) - volts) * weight

    def best(starts: np.ndarray) -> Any:
        n = starts.shape[1]
        found = [
            least_squares(left, one, bounds=(_LOW[:n], _HIGH[:n]), x_scale=_STEPS[:n])
            for one in starts
        ]
        return min(found, key=lambda r: float(r.cost))

    begun = _starts(charge, volts, cathode, anode, polarised=polarised)
    if polarised:
        fit = lifted = best(np.column_stack([begun, np.zeros(len(begun))]))
    else:
        fit = best(begun)
        lifted = best(np.append(fit.x, 0.0)[None])
    # Noise of the half cells is there in every curve, and need not show as misfit.
    noise = cathode.noise**2 + anode.noise**2
    spread = _covariance(fit.jac, fit.fun, noise)[:4, :4]
    unsure = _covariance(lifted.jac, lifted.fun, noise)[4, 4]
    uneven = 0.0, 0.0
    if polarised:
        bent = best(np.append(fit.x, 0.0)[None])
        of_change = _covariance(bent.jac, bent.fun, noise)[5, 5]
        uneven = float(bent.x[5]), float(np.sqrt(max(of_change, 0.0)))
        if abs(uneven[0]) > _CHANGED * uneven[1]:
            moved = bent.x[:4] - fit.x[:4]
            spread = spread + np.outer(moved, moved)
    scale = np.array([span, span, 1.0, 1.0])
    ends = (np.isclose(fit.x[:2], end[:2], atol=1e-6).any() for end in (_LOW, _HIGH))
    over = float(lifted.x[4]), float(np.sqrt(max(unsure, 0.0)))
    values = fit.x[:4] * scale
    return Balance(
        values, spread * np.outer(scale, scale), model(fit.x), any(ends), over, uneven
    )


def _starts(
    charge: np.ndarray,
    volts: np.ndarray,
    cathode: HalfCell,
    anode: HalfCell,
    *,
    polarised: bool,
) -> np.ndarray:
    grid = np.array(list(itertools.product(_SIZES, _SIZES, _FULL, _EMPTY)))
    possible = (grid[:, 2] - 1 / grid[:, 0] > -0.02) & (
        grid[:, 3] + 1 / grid[:, 1] < 1.02
    )
    grid = grid[possible]
    some = np.unique(np.linspace(0, charge.size - 1, _LOOKED_AT).round().astype(int))
    y = grid[:, [2]] - charge[some] / grid[:, [0]]
    x = grid[:, [3]] + charge[some] / grid[:, [1]]
    off = cathode.at(y) - anode.at(x) - volts[some]
    if polarised:
        off -= np.clip(np.median(off, axis=1, keepdims=True), *(_LOW[4], _HIGH[4]))
    order = np.argsort((off**2).sum(axis=1))
    own = [order[grid[order, 3] == content][:1] for content in _EMPTY]
    return grid[np.unique(np.concatenate([order[:_TRIED], *own]))]


def _covariance(jacobian: np.ndarray, residual: np.ndarray, noise: float) -> np.ndarray:
    """Return the covariance, allowing for correlated neighbouring residuals."""
    r, n = residual, residual.size
    lags = [float(r[k:] @ r[: n - k]) for k in range(1, n // 4)]
    positive = next((k for k, x in enumerate(lags) if x <= 0), len(lags))
    together = 1.0 + 2.0 * sum(lags[:positive]) / max(float(r @ r), 1e-300)
    variance = float(r @ r) / max(n - jacobian.shape[1], 1) + noise
    variance *= max(together, 1.0)
    found: np.ndarray = np.linalg.pinv(jacobian.T @ jacobian) * variance
    return found
