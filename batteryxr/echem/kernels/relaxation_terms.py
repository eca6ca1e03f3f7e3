"""Fit a pulse and its rest with the terms that its rows show.

Besides diffusion these are an even drift, and a slow resistance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.echem.kernels.diffusion import project
from batteryxr.echem.kernels.relaxation import (
    TAU,
    Shape,
    correlated,
    descend,
    fill,
    linear,
    problem,
    scan,
    solve,
)

if TYPE_CHECKING:
    from batteryxr.echem.kernels.diffusion import Pulses
    from batteryxr.echem.kernels.pulses import Rows
    from batteryxr.echem.kernels.relaxation import Problem, Scan

#: Time constant, relative to the pulse, at which there is no diffusion to see.
_NO_DIFFUSION = 1e-6
#: Gain in squares of the noise that shows diffusion: five sigma.
_EVIDENCE = 25.0
#: Gain in squares of the noise that shows a drift, a slow resistance, or a switch
#: that is not at the row before it.
SHOWN = 12.0
#: Error of ln(tau) from a slow resistance, neither seen nor excluded, that is told.
_WIDE = 0.02
#: Bits of the number of a model, as `Scan` has them.
_DRIFT, _SLOW = 1, 2


class Trial(NamedTuple):
    """Hold a model at its least misfit."""

    log_tau: float
    shape: Shape
    squares: float
    inside: bool  # False where the misfit still falls at the end of the scan


def search(problem: Problem, shape: Shape) -> Trial:
    """Return the model with the terms of `shape` at its least misfit."""
    plain = shape._replace(drifts=False, rc=0.0)
    number = _DRIFT * shape.drifts + _SLOW * (shape.rc > 0.0)
    return _tried(problem, plain, scan(problem, plain), number)


def _tried(problem: Problem, plain: Shape, valleys: Scan, number: int) -> Trial:
    """Return a model of a number at its least misfit."""
    rc = float(valleys.rc[number]) if number & _SLOW else 0.0
    start = plain._replace(drifts=bool(number & _DRIFT), rc=rc)
    found = descend(float(valleys.log_tau[number]), problem, start)
    return Trial(*found, bool(valleys.inside[number]))


def unit_of(trial: Trial, problem: Problem) -> float:
    """Return the sum of squares per degree of freedom."""
    left = problem.rows.t.size - linear(trial.shape) - 1 - (trial.shape.rc > 0.0)
    return max(trial.squares / max(left, 1), 1e-300)


def _gain(squares: float, trial: Trial, problem: Problem) -> float:
    """Return the improvement of a fit over others' squares, in squares of the noise.

    Correlated residuals show a misfit of the model and are counted once.
    """
    basis, _ = fill(trial.log_tau, problem, trial.shape)
    _, residual, _ = project(basis, problem.rows.v, problem.rows.w)
    unit = unit_of(trial, problem)
    return (squares - trial.squares) / (unit * correlated(residual, unit)[1])


def choose(problem: Problem, plain: Shape) -> tuple[Trial, Trial]:
    """Add a drift, a slow resistance, or both, where the rows give evidence of it.

    Returns
    -------
    chosen, next : Trial
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
    undecided = False
    for log_tau, trial in trials:
        if rows.t.size <= linear(trial) + 2:
            continue
        shifted = solve(log_tau, given, trial)[0]
        here = np.isfinite(shifted)
        shift = (shifted - values)[here]
        if trial.rc > 0.0 and shape.rc == 0.0:
            undecided = bool(abs(log_tau - chosen.log_tau) > max(errors[TAU], _WIDE))
        errors[here] = np.hypot(errors[here], shift)
    # Without diffusion the surface content is the mean: tau near zero.
    none, _ = fill(math.log(_NO_DIFFUSION * given.pulse), given, shape)
    _, flat, _ = project(none, rows.v, rows.w)
    gain = (float(flat @ flat) - chosen.squares) / unit_of(chosen, given)
    inside = chosen.inside and gain > _EVIDENCE
    return values, errors, chi2, rms, model, inside, shape, undecided
