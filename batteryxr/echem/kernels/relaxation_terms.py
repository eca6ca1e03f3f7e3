"""Fit a pulse and its rest with the terms that its rows show.

Besides diffusion these are an even drift, and a slow resistance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.echem.kernels.diffusion import project
from batteryxr.echem.kernels.relaxation import (
    Shape,
    correlated,
    few_of,
    fill,
    linear,
    room_of,
    scan,
    search,
    solve,
    squares_of,
)

if TYPE_CHECKING:
    from batteryxr.echem.kernels.diffusion import Pulses
    from batteryxr.echem.kernels.pulses import Rows

#: Time constant, relative to the pulse, at which there is no diffusion to see.
_NO_DIFFUSION = 1e-6
#: Gain in squares of the noise that shows diffusion: five sigma.
_EVIDENCE = 25.0
#: Gain in squares of the noise that shows a drift or a slow resistance.
_SHOWN = 12.0
#: Trial time constants of a slow resistance (s).
_RC_FROM, _RC_TO, _RC_STEP = 1.5, 160.0, 1.6
_RC_TURNS = 2  # parabolas through misfits of three time constants


def _evidence(
    squares: float, log_tau: float, rows: Rows, pulses: Pulses, shape: Shape
) -> tuple[float, float]:
    """Return the improvement of a fit in squares of the noise, and its own squares.

    Correlated residuals show a misfit of the model and are counted once.
    """
    room = room_of(rows.t.size, shape)
    fill(log_tau, rows, pulses, shape, room)
    _, residual = project(room.basis, rows.v, rows.w)
    less = float(residual @ residual)
    left = max(rows.t.size - linear(shape) - 1, 1)
    _, alike = correlated(residual, less / left)
    unit = max(less / left, 1e-300) * alike
    return (squares - less) / unit, less


def _slow(rows: Rows, pulses: Pulses, shape: Shape) -> float:
    """Return the time constant (s) of the best-fitting slow resistance."""
    few = few_of(rows)
    pulse = pulses.off[-1] - pulses.on[-1]
    best, found, rc = np.inf, 0.0, _RC_FROM
    while rc < min(_RC_TO, 0.5 * pulse):
        other = shape._replace(rc=rc)
        value = scan(few, pulses, other)[0]
        if value < best:
            best, found = value, rc
        rc *= _RC_STEP
    return found


def choose(rows: Rows, pulses: Pulses, shape: Shape) -> tuple[Shape, Shape]:
    """Add a drift, a slow resistance, or both, where the rows give evidence of it.

    Returns
    -------
    chosen, next : Shape
        `next` has one term more, which the rows neither show nor exclude.
    """
    chosen = shape
    squares, _ = squares_of(search(rows, pulses, chosen)[0], rows, pulses, chosen)
    for _ in range(2):
        most, better, at = 0.0, chosen, squares
        for way in range(2):
            if way == 0:
                if chosen.drifts:
                    continue
                other = chosen._replace(drifts=True)
            else:
                if chosen.rc > 0.0:
                    continue
                rc = _slow(rows, pulses, chosen)
                if rc == 0.0:
                    continue
                other = chosen._replace(rc=rc)
            log_tau, inside = search(rows, pulses, other)
            gain, less = _evidence(squares, log_tau, rows, pulses, other)
            gain /= 1.0 + way
            if inside and gain > most:
                most, better, at = gain, other, less
        if most <= _SHOWN:
            return chosen, better
        chosen, squares = better, at
    return chosen, chosen


def refined(rows: Rows, pulses: Pulses, shape: Shape) -> tuple[Shape, float]:
    """Return a model with the best time constant of its slow resistance.

    Also returns the error of the constant's logarithm, from a parabola through the
    misfits of three constants, each with the best tau of its own.
    """
    if shape.rc == 0.0:
        return shape, 0.0
    middle, half, error = math.log(shape.rc), 0.5 * math.log(_RC_STEP), 0.0
    for _ in range(_RC_TURNS):
        squares = np.empty(3)
        unit = 0.0
        for k in range(3):
            rc = math.exp(middle + (k - 1) * half)
            trial = shape._replace(rc=rc)
            best = search(rows, pulses, trial)[0]
            _, squares[k] = _evidence(0.0, best, rows, pulses, trial)
            left = max(rows.t.size - linear(trial) - 2, 1)
            unit = squares[k] / left if k == 0 else min(unit, squares[k] / left)
        bend = (squares[0] - 2.0 * squares[1] + squares[2]) / half**2
        lean = 0.5 * (squares[2] - squares[0]) / half
        if bend <= 0.0:
            error = half
            middle -= math.copysign(half, lean)
            continue
        error = min(math.sqrt(2.0 * unit / bend), half)
        middle -= min(max(lean / bend, -half), half)
        half *= 0.5
    return shape._replace(rc=math.exp(middle)), error


def fit(
    rows: Rows, pulses: Pulses, shape: Shape
) -> tuple[np.ndarray, np.ndarray, float, float, np.ndarray, bool, Shape]:
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
    shape
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
    """
    n = rows.t.size
    chosen, other = choose(rows, pulses, shape)
    shape, unsure = refined(rows, pulses, chosen)
    log_tau, inside = search(rows, pulses, shape)
    values, errors, chi2, rms, model = solve(log_tau, rows, pulses, shape)
    if other.rc == chosen.rc:
        other = other._replace(rc=shape.rc)
    finer = shape._replace(degree=shape.degree + 1)
    slower = shape._replace(rc=shape.rc * math.exp(unsure))
    for trial in (finer, other, slower):
        if n <= linear(trial) + 2 or trial == shape:
            continue
        more, found = search(rows, pulses, trial)
        if not found:
            continue
        shifted = solve(more, rows, pulses, trial)[0]
        here = np.isfinite(shifted)
        errors[here] = np.hypot(errors[here], (shifted - values)[here])
    # Without diffusion the surface content is the mean: tau near zero.
    none = math.log(_NO_DIFFUSION * (pulses.off[-1] - pulses.on[-1]))
    flat, _ = squares_of(none, rows, pulses, shape)
    squares = rms * rms * float(rows.w @ rows.w)
    gain = (flat - squares) / max(squares, 1e-300) * (n - linear(shape) - 1)
    return values, errors, chi2, rms, model, inside and gain > _EVIDENCE, shape
