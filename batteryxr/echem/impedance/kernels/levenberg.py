"""Solve complex least squares by Levenberg-Marquardt, many spectra at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.echem.impedance.kernels.network import impedance

if TYPE_CHECKING:
    from batteryxr.echem.impedance.circuit import Series

_FIRST, _LEAST, _LARGEST = 1e-2, 1e-12, 1e12
#: Relative change of the misfit below which a spectrum has converged.
_DONE = 1e-8
#: Cosine between residual and a parameter's effect below which the slope is zero.
_LEVEL = 1e-3
#: Fraction of all squares that is rounding.
_EXACT = 1e-24
#: Largest step in the logarithm of a parameter.
_STEP = 2.0
#: Smallest eigenvalue of a scaled curvature that is no rounding.
_SINGULAR = 1e-13
#: Error (of the logarithm) above which a parameter is doubtful, what an exponent counts
#: of it, and errors that are walked.
_DOUBTFUL, _EXPONENT, AWAY = 0.15, 4.0, (-4.5, -2.2, 2.2, 4.5)


class Space(NamedTuple):
    """Set the search space: logarithms of positive parameters, exponents as they are.

    Parameters
    ----------
    log
        (parameters,) whether a parameter is searched as its logarithm.
    low, high
        Bounds in the search space.
    free
        (parameters,) whether a parameter is fitted.
    """

    log: np.ndarray
    low: np.ndarray
    high: np.ndarray
    free: np.ndarray

    def values(self, theta: np.ndarray) -> np.ndarray:
        """Return the parameters at a point of the search space."""
        return np.where(self.log, np.exp(np.where(self.log, theta, 0.0)), theta)

    def theta(self, values: np.ndarray) -> np.ndarray:
        """Return the point of the search space for given parameters."""
        return np.where(self.log, np.log(np.where(self.log, values, 1.0)), values)


class CircuitProblem(NamedTuple):
    """Hold the circuit and the spectra to fit, with weights 1/sd (0: no point)."""

    root: Series
    omega: np.ndarray
    measured: np.ndarray
    weights: np.ndarray


def normal(
    problem: CircuitProblem, space: Space, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return misfit, gradient (spectra, parameters) and curvature of each spectrum."""
    values = space.values(theta)
    z, slopes = impedance(problem.root, problem.omega, values)
    left = (z - problem.measured) * problem.weights
    scale = np.where(space.log, values, 1.0) * space.free
    j = slopes * problem.weights[:, :, None] * scale[:, None, :]
    # One long real Jacobian of real and imaginary parts, for BLAS.
    long = np.concatenate([j.real, j.imag], axis=1)
    curvature = np.matmul(long.transpose(0, 2, 1), long)
    both = np.concatenate([left.real, left.imag], axis=1)
    gradient = np.matmul(long.transpose(0, 2, 1), both[:, :, None])[:, :, 0]
    return np.einsum("bf,bf->b", both, both), gradient, curvature


def search(
    problem: CircuitProblem, space: Space, theta: np.ndarray, max_iter: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the best parameters of each spectrum, its misfit, and convergence."""
    theta = np.clip(theta, space.low, space.high)
    damping = np.full(len(theta), _FIRST)
    best, gradients, curvatures = normal(problem, space, theta)
    best = np.nan_to_num(best, nan=np.inf)
    active = np.arange(len(theta))
    converged = np.zeros(len(theta), bool)
    quiet = np.zeros(len(theta), np.int64)
    eye = np.eye(theta.shape[1])
    whole = (np.abs(problem.measured * problem.weights) ** 2).sum(axis=1)
    for _ in range(max_iter):
        if not active.size:
            break
        part = _of(problem, active)
        gradient, curvature = gradients[active], curvatures[active]
        size = np.einsum("bpp->bp", curvature)
        size = np.maximum(size, 1e-12 * size.max(axis=1, keepdims=True) + 1e-300)
        damped = curvature + (damping[active, None] * size)[:, :, None] * eye
        # A parameter pushed out of its bounds stays, and moves no other parameter.
        moves = _moves(theta[active], gradient, space)
        damped = np.where(moves[:, :, None] & moves[:, None, :], damped, 0.0)
        damped = damped + np.where(moves, 0.0, 1.0)[:, :, None] * eye
        step = _solved(damped, np.where(moves, -gradient, 0.0))
        new = np.clip(
            theta[active] + np.clip(step, -_STEP, _STEP), space.low, space.high
        )
        value, slope, bend = normal(part, space, new)
        value = np.nan_to_num(value, nan=np.inf)
        better = value < best[active]
        gain = (best[active] - value) / np.maximum(best[active], 1e-300)
        won = active[better]
        theta[won], best[won] = new[better], value[better]
        gradients[won], curvatures[won] = slope[better], bend[better]
        damping[active] = np.clip(
            damping[active] * np.where(better, 0.2, 5.0), _LEAST, _LARGEST
        )
        # At a minimum steps gain no more than rounding.
        quiet[active] = np.where(np.abs(gain) < _DONE, quiet[active] + 1, 0)
        stuck = damping[active] >= _LARGEST
        level = _slopes(theta[active], best[active], gradient, size, space) < _LEVEL
        level |= best[active] <= _EXACT * whole[active]
        converged[active] = (quiet[active] >= 2) | (stuck & level)
        active = active[~(converged[active] | stuck)]
    return theta, best, converged


def _slopes(
    theta: np.ndarray,
    best: np.ndarray,
    gradient: np.ndarray,
    size: np.ndarray,
    space: Space,
) -> np.ndarray:
    """Return the largest cosine between the residual and a parameter's effect.

    A parameter at a bound counts only if its gradient points inward.
    """
    cosine = np.abs(gradient) / np.sqrt(np.maximum(size * best[:, None], 1e-300))
    return np.where(_moves(theta, gradient, space), cosine, 0.0).max(axis=1)


def _moves(theta: np.ndarray, gradient: np.ndarray, space: Space) -> np.ndarray:
    """Tell which parameters are free, and not pushed outward at a bound."""
    above, below = theta > space.low, theta < space.high
    moves: np.ndarray = (above | (gradient < 0)) & (below | (gradient > 0)) & space.free
    return moves


def _solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the solutions of many systems, by least squares if one is singular."""
    try:
        return np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        step = np.zeros_like(right)
        for k, (m, r) in enumerate(zip(matrix, right, strict=True)):
            step[k] = np.linalg.lstsq(m, r, rcond=None)[0]
        return step


def _of(problem: CircuitProblem, some: np.ndarray) -> CircuitProblem:
    return problem._replace(
        measured=problem.measured[some], weights=problem.weights[some]
    )


def covariance(curvature: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return the covariance (spectra, parameters, parameters) from the curvature.

    What the spectrum does not tell has a variance that is large, and not 0.
    """
    diagonal = np.einsum("bpp->bp", curvature)
    size = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = curvature / (size[:, :, None] * size[:, None, :])
    value, vector = np.linalg.eigh(scaled)
    vector = vector / np.sqrt(np.maximum(value, _SINGULAR))[:, None, :]
    inverse = np.matmul(vector, vector.transpose(0, 2, 1))
    return inverse / (size[:, :, None] * size[:, None, :]) * variance[:, None, None]


def walk(
    problem: CircuitProblem,
    space: Space,
    theta: np.ndarray,
    sd: np.ndarray,
    max_iter: int,
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Walk from each minimum along its least certain parameter, both ways.

    The curvature at a minimum tells little of a long and bent valley. The parameter is
    held some errors away while all others are fitted, and then let go.

    Returns
    -------
    tuple of tuples of numpy.ndarray
        Of each place (places, spectra): parameters, misfit and convergence while it is
        held; and the same after it was let go.
    """
    doubt = sd * np.where(space.log, 1.0, _EXPONENT)
    least = np.argmax(np.where(space.free, doubt, 0.0), axis=1)
    held = [
        np.stack([a] * len(AWAY))
        for a in (theta, np.full(len(theta), np.inf), least < 0)
    ]
    freed = [one.copy() for one in held]
    for k in np.unique(least).tolist():
        rows = np.flatnonzero((least == k) & (doubt[:, k] > _DOUBTFUL))
        if not rows.size:
            continue
        part = _of(problem, rows)
        others = space._replace(free=space.free & (np.arange(theta.shape[1]) != k))
        for end, way in enumerate(AWAY):
            start = theta[rows].copy()
            start[:, k] += way * sd[rows, k]
            for out, by in ((held, others), (freed, space)):
                found = search(part, by, start, max_iter)
                start = found[0]
                for one, new in zip(out, found, strict=True):
                    one[end, rows] = new
    return tuple(held), tuple(freed)
