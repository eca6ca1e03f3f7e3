"""Start values: the best fit of the mean spectrum, and others across the bounds."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from batteryxr.xanes.fit.terms import Plan

#: Starts from which the mean spectrum itself is fitted.
SEARCH = 64
#: Starts beside the first that a doubtful pixel is given.
FURTHER = 6
#: Digits to which start values are rounded, so that the order in which a mean was
#: summed cannot show in any result.
DIGITS = 7
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53)


def from_spectrum(plan: Plan, axis: np.ndarray, mean: np.ndarray) -> tuple[Plan, float]:
    """Fit one spectrum from many starts; return the plan with its starts, and misfit.

    Parameters
    ----------
    plan
        The model.
    axis, mean : (m,)
        Energies and the spectrum.

    Returns
    -------
    plan
        With `starts`: the best fit, then `FURTHER` that are spread over the bounds.
    misfit
        Mean square residual of the best fit.
    """
    from batteryxr.xanes.kernels.batch import NEVER
    from batteryxr.xanes.kernels.block import fit_block

    spread = _amplitudes(plan, axis, mean, _spread(plan, SEARCH))
    values, _, _, quality, _ = fit_block(
        np.broadcast_to(mean, (SEARCH, axis.size)),
        own=spread,
        axis=axis,
        plan=with_starts(plan, axis, spread[:1]),
        multistart=NEVER,
        limit=300,
    )
    best = int(np.nanargmin(quality[:, 0]))
    first = round_digits(values[best])
    starts = np.concatenate([first[None], round_digits(spread[:FURTHER])])
    misfit = round_digits(quality[best, 0] / max(quality[best, 1], 1))
    return with_starts(plan, axis, starts), float(misfit)


def from_values(plan: Plan, axis: np.ndarray, first: np.ndarray) -> Plan:
    """Return the plan with given start values, and others spread over the bounds."""
    spread = _spread(plan, FURTHER)
    spread[:, plan.linear] = first[plan.linear]
    return with_starts(plan, axis, np.concatenate([first[None], spread]))


def with_starts(plan: Plan, axis: np.ndarray, starts: np.ndarray) -> Plan:
    """Attach start values, and the curves they stand for."""
    from batteryxr.xanes.kernels.shapes import curves

    starts = np.ascontiguousarray(starts, dtype=float)
    shape = curves(axis, plan.scaled, starts, plan.kinds, plan.offsets)
    if plan.constant >= 0:
        shape = shape - starts[:, plan.constant, None]
    return dataclasses.replace(plan, starts=starts, start_curves=shape)


def middle(plan: Plan) -> np.ndarray:
    """Return the middle of the bounds, with a jump of 1 and heights of 0.3."""
    first = _spread(plan, 1)[0]
    nonlinear = ~plan.linear
    first[nonlinear] = 0.5 * (plan.low[nonlinear] + plan.high[nonlinear])
    return first


def round_digits(values: np.ndarray, digits: int = DIGITS) -> np.ndarray:
    """Round to so many significant digits."""
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.floor(np.log10(np.abs(values)))
    unit = 10.0 ** (np.where(np.isfinite(power), power, 0.0) - (digits - 1))
    return np.asarray(np.round(np.asarray(values) / unit) * unit)


def _spread(plan: Plan, n: int) -> np.ndarray:
    """Spread positions and widths over their bounds by a Halton sequence."""
    starts = np.zeros((n, plan.low.size))
    for column, k in enumerate(np.flatnonzero(~plan.linear)):
        low, high = plan.low[k], plan.high[k]
        share = _halton(n, _PRIMES[column % len(_PRIMES)])
        starts[:, k] = low + share * (high - low)
    if plan.jump >= 0:
        starts[:, plan.jump] = 1.0
    starts[:, plan.peak_offsets] = 0.3
    return np.clip(starts, plan.low, plan.high)


def _amplitudes(
    plan: Plan, axis: np.ndarray, mean: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """Solve the linear parameters of each start for the mean spectrum."""
    from batteryxr.xanes.kernels.shapes import evaluate

    there = np.isfinite(mean)
    residual = np.empty(axis.size)
    jacobian = np.empty((plan.low.size, axis.size))
    reach = float(np.ptp(mean[there]))
    columns = np.flatnonzero(plan.linear)
    solved = starts.copy()
    for row in solved:
        evaluate(
            axis, plan.scaled, mean, row, plan.kinds, plan.offsets, residual, jacobian
        )
        basis = jacobian[columns][:, there].T
        row[columns] = np.linalg.lstsq(basis, mean[there], rcond=1e-6)[0]
        # A component that starts at nothing has no slope to be found by.
        for k in (*([plan.jump] if plan.jump >= 0 else []), *plan.peak_offsets):
            if abs(row[k]) < 0.02 * reach or not plan.low[k] <= row[k] <= plan.high[k]:
                row[k] = 0.05 * reach
        np.clip(row, plan.low, plan.high, out=row)
    return solved


def _halton(n: int, base: int) -> np.ndarray:
    values = np.empty(n)
    for i in range(n):
        share, left, digit = 0.0, i + 1, 1.0
        while left:
            digit /= base
            share += digit * (left % base)
            left //= base
        values[i] = share
    return values
