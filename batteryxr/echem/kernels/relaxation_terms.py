"""Fit a pulse and its rest with the terms that its rows show.

Besides diffusion these are an even drift, and a slow resistance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.echem.kernels.diffusion import project
from batteryxr.echem.kernels.relaxation import (
    Shape,
    descend,
    fill,
    jacobian_of,
    linear,
    problem,
    scan,
)

if TYPE_CHECKING:
    from batteryxr.echem.kernels.diffusion import Pulses
    from batteryxr.echem.kernels.pulses import Rows
    from batteryxr.echem.kernels.relaxation import Titrated, Valleys

#: Rows of the values that `solve` returns.
TAU, RESISTANCE, BEFORE, AFTER, SLOPE, DIFFUSIVE, RATE = range(7)
FOUND = 7
#: Time constant, relative to the pulse, at which there is no diffusion to see.
_NO_DIFFUSION = 1e-6
#: Gain in squares of the noise that shows diffusion: five sigma.
_EVIDENCE = 25.0
#: Gain in squares of the noise that shows a drift, a slow resistance, or a switch
#: that is not at the row before it.
SHOWN = 12.0
#: Error of ln(tau) from a slow resistance, neither seen nor excluded, that is told.
_WIDE = 0.02
#: Bits of the number of a model, as `Valleys` has them.
_DRIFT, _SLOW = 1, 2


class Tuned(NamedTuple):
    """Hold the parameters at which a model fits best."""

    log_tau: float
    shape: Shape
    squares: float
    inside: bool  # False where the misfit still falls at the end of the scan


def search(problem: Titrated, shape: Shape) -> Tuned:
    """Return the model with the terms of `shape` at its least misfit."""
    plain = shape._replace(drifts=False, rc=0.0)
    number = _DRIFT * shape.drifts + _SLOW * (shape.rc > 0.0)
    return _tried(problem, plain, scan(problem, plain), number)


def _tried(problem: Titrated, plain: Shape, valleys: Valleys, number: int) -> Tuned:
    """Return a model of a number at its least misfit."""
    rc = float(valleys.rc[number]) if number & _SLOW else 0.0
    start = plain._replace(drifts=bool(number & _DRIFT), rc=rc)
    found = descend(float(valleys.log_tau[number]), problem, start)
    return Tuned(*found, bool(valleys.inside[number]))


def unit_of(trial: Tuned, problem: Titrated) -> float:
    """Return the sum of squares per degree of freedom."""
    left = problem.rows.t.size - linear(trial.shape) - 1 - (trial.shape.rc > 0.0)
    return max(trial.squares / max(left, 1), 1e-300)


def _gain(squares: float, trial: Tuned, problem: Titrated) -> float:
    """Return the improvement of a fit over others' squares, in squares of the noise.

    Correlated residuals show a misfit of the model and are counted once.
    """
    basis, _ = fill(trial.log_tau, problem, trial.shape)
    _, residual, _ = project(basis, problem.rows.v, problem.rows.w)
    unit = unit_of(trial, problem)
    return (squares - trial.squares) / (unit * correlated(residual, unit)[1])


def choose(problem: Titrated, plain: Shape) -> tuple[Tuned, Tuned]:
    """Add a drift, a slow resistance, or both, where the rows give evidence of it.

    Returns
    -------
    chosen, next : Tuned
        `next` has one term more, which the rows neither show nor exclude.
    """
    valleys = scan(problem, plain)
    number, chosen = 0, _tried(problem, plain, valleys, 0)
    while True:
        most, best, better = 0.0, number, chosen
        for way in (_DRIFT, _SLOW):
            if number & way:
                continue
            trial = _tried(problem, plain, valleys, number | way)
            gain = _gain(chosen.squares, trial, problem) / way
            if trial.inside and gain > most:
                most, best, better = gain, number | way, trial
        if most <= SHOWN:
            return chosen, better
        number, chosen = best, better


def _gradients(problem: Titrated, shape: Shape, p: int) -> np.ndarray:
    """Return the derivatives of the reported values by the `p` parameters."""
    degree, current = shape.degree, problem.charge / problem.pulse
    gradients = np.zeros((FOUND, p))
    gradients[TAU, linear(shape)] = 1.0
    gradients[RESISTANCE, degree + 1] = 1.0
    gradients[BEFORE, 0] = 1.0
    for a in range(degree + 1):
        gradients[AFTER, a] = 1.0
        if a:
            gradients[SLOPE, a] = 1.0 / problem.charge
    if shape.drifts:
        whole = float(problem.since.seconds[problem.since.steps.size // 2 - 1, -1])
        gradients[AFTER, degree + 2] = problem.pulse / whole
        gradients[RATE, degree + 2] = 1.0 / whole
    for a in range(p):
        gradients[DIFFUSIVE, a] = gradients[AFTER, a]
    gradients[DIFFUSIVE, degree + 1] = current
    if shape.rc > 0.0:
        gradients[RESISTANCE, linear(shape) - 1] = 1.0
        gradients[DIFFUSIVE, linear(shape) - 1] = current
    return gradients


def solve(
    log_tau: float, problem: Titrated, shape: Shape
) -> tuple[np.ndarray, np.ndarray, float, float, np.ndarray]:
    """Return the fitted values at the best ln(tau), with their errors.

    Returns
    -------
    values, errors : (7,) arrays
        ln(tau), R, equilibrium before and after, their difference over the charge,
        the equilibrium after plus I R, and the drift in V/s. Errors are one standard
        deviation. They assume correlated residuals (a first-order process), so a
        misfit of the model widens them.
    chi2 : float
        Mean square residual over the noise. The noise is taken from differences of
        successive residuals; 1 where these are independent (von Neumann, 1941).
    rms : float
        Root mean square residual, weighted by rows.
    model : (n,) array
        Fitted values at the times of `rows`.
    """
    v, w, n = problem.rows.v, problem.rows.w, problem.rows.t.size
    p = linear(shape) + 1 + int(shape.rc > 0.0)
    basis, slopes = fill(log_tau, problem, shape)
    c, residual, _ = project(basis, v, w)
    squares = float(residual @ residual)
    rms, model = math.sqrt(squares / float(w @ w)), v - residual / w
    nothing = np.full(FOUND, np.nan)
    if n <= p or np.isnan(c).any():
        return nothing, nothing.copy(), np.nan, rms, model
    jacobian = np.vstack([basis, jacobian_of(basis, slopes, c, shape)]) * w
    variance = squares / (n - p)
    chi2, alike = correlated(residual, variance)
    gradients = _gradients(problem, shape, p)
    values = gradients @ np.append(c, [log_tau, 0.0])[:p]
    spread = _variances(jacobian, gradients) * variance * alike
    return values, np.sqrt(spread), chi2, rms, model


def correlated(residual: np.ndarray, variance: float) -> tuple[float, float]:
    """Return the variance over that of the noise, and residuals per independent one.

    The noise is taken from differences of neighbours. In a first-order process whose
    neighbours correlate by r these numbers are 1 / (1 - r) and (1 + r) / (1 - r). Rows
    of one rest, at uneven times, tell no more than r; many spectra on one grid of
    energies tell their whole covariance, which XANES uses.
    """
    noise = float((np.diff(residual) ** 2).sum()) / (2.0 * (residual.size - 1))
    chi2 = variance / noise if noise > 0.0 else 1.0
    return chi2, max(1.0, 2.0 * chi2 - 1.0)


def _variances(jacobian: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Return variances of a fit, for residuals of unit variance.

    Parameters
    ----------
    jacobian : (parameters, rows) array
    gradients : (quantities, parameters) array
        Derivatives of the quantities with respect to the parameters.

    Returns
    -------
    (quantities,) array
        NaN where the rows do not determine the parameters.
    """
    scale = np.linalg.norm(jacobian, axis=1)
    if not scale.all():
        return np.full(len(gradients), np.nan)
    scaled = jacobian / scale[:, None]
    eigen, vectors = np.linalg.eigh(scaled @ scaled.T)
    if eigen[0] <= 1e-15 * eigen[-1]:
        return np.full(len(gradients), np.nan)
    return np.asarray((((gradients / scale) @ vectors) ** 2 / eigen).sum(axis=1))


def fit(
    rows: Rows, pulses: Pulses, plain: Shape
) -> tuple[np.ndarray, np.ndarray, float, float, np.ndarray, bool, Shape, bool]:
    """Fit a pulse and its rest, with errors that cover noise and model.

    The equilibrium curve is a polynomial in the surface content. A drift or a slow
    resistance is fitted where the rows show it. Fits with one degree more, and with
    an undecided term, are also tried: the shifts they bring are added to the errors.

    Parameters
    ----------
    rows
        Rows of the pulse and its rest; see `pulses.fitted_rows`.
    pulses
        Earlier pulses that still matter, and this pulse last.
    plain
        Geometry of the particle and degree of the polynomial.

    Returns
    -------
    values, errors, chi2, rms, model
        As from `solve`; NaN where the rows do not determine them.
    inside : bool
        False where the misfit still falls at the end of the scan, or where a curve
        without diffusion fits as well: tau is then unknown.
    shape : Shape
        The model that was fitted.
    undecided : bool
        True where a slow resistance that the rows do not exclude makes most of the
        error of tau, and that is not small.
    """
    given = problem(rows, pulses, plain)
    chosen, other = choose(given, plain)
    shape = chosen.shape
    values, errors, chi2, rms, model = solve(chosen.log_tau, given, shape)
    finer = shape._replace(degree=shape.degree + 1)
    trials = [descend(chosen.log_tau, given, finer)[:2]]
    if other is not chosen:
        trials.append(other[:2])
    undecided, own = False, errors.copy()
    for log_tau, trial in trials:
        if rows.t.size <= linear(trial) + 2:
            continue
        shifted, wider = solve(log_tau, given, trial)[:2]
        here = np.isfinite(shifted) & np.isfinite(wider)
        # Noise alone moves the values by what the term makes their errors wider.
        noise = np.clip(wider**2 - own**2, 0.0, None)
        more = np.clip((shifted - values) ** 2 - noise, 0.0, None)
        if trial.rc > 0.0 and shape.rc == 0.0:
            undecided = bool(abs(log_tau - chosen.log_tau) > max(errors[TAU], _WIDE))
        errors[here] = np.sqrt(errors**2 + more)[here]
    # Without diffusion the surface content is the mean: tau near zero.
    none, _ = fill(math.log(_NO_DIFFUSION * given.pulse), given, shape)
    _, flat, _ = project(none, rows.v, rows.w)
    gain = (float(flat @ flat) - chosen.squares) / unit_of(chosen, given)
    inside = chosen.inside and gain > _EVIDENCE
    return values, errors, chi2, rms, model, inside, shape, undecided
