"""Find initial guesses: the best fit of the mean spectrum, and others in the bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.xanes.kernels.block import fit_block
from batteryxr.xanes.kernels.problem import NEVER, Problem, Search
from batteryxr.xanes.kernels.shapes import curves, evaluate

if TYPE_CHECKING:
    from batteryxr.xanes.kernels.problem import Axis, Model

#: Number of guesses from which the mean spectrum is fitted.
SEARCH = 64
#: Further guesses for a doubtful pixel.
FURTHER = 6
#: Digits to which guesses are rounded, so that the order in which a mean was summed
#: does not change any result.
DIGITS = 7
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53)


def from_spectrum(
    axis: Axis, model: Model, mean: np.ndarray
) -> tuple[np.ndarray, float]:
    """Fit one spectrum from many guesses; return guesses for others, and the misfit.

    Parameters
    ----------
    axis, model
        Axis and model.
    mean : (m,)
        Spectrum that is fitted.

    Returns
    -------
    starts : (S, n)
        The best fit, then `FURTHER` guesses spread over the bounds.
    misfit
        Mean square residual of the best fit.
    """
    spread = _amplitudes(axis, model, mean, _spread(model, SEARCH))
    search = make_search(axis, model, spread[:1])
    search = search._replace(multistart=NEVER, limit=300)
    fitted = fit_block(
        np.broadcast_to(mean, (SEARCH, axis.x.size)),
        own=spread,
        problem=Problem(axis, model, search),
    )
    best = int(np.nanargmin(fitted.quality[:, 0]))
    chi2, freedom = fitted.quality[best, :2]
    first = round_digits(fitted.values[best])
    starts = np.concatenate([first[None], round_digits(spread[:FURTHER])])
    return starts, float(round_digits(chi2 / max(freedom, 1)))


def from_values(model: Model, first: np.ndarray) -> np.ndarray:
    """Return given initial values, and others spread over the bounds."""
    spread = _spread(model, FURTHER)
    spread[:, model.linear] = first[model.linear]
    return np.concatenate([first[None], spread])


def make_search(axis: Axis, model: Model, starts: np.ndarray) -> Search:
    """Return a search from initial values, with their model curves."""
    starts = np.ascontiguousarray(starts, dtype=float)
    slopes = np.empty((1, starts.shape[1], axis.x.size))
    shape = curves(axis.x, axis.scaled, starts, model.kinds, model.offsets, slopes)
    if model.constant >= 0:
        shape = shape - starts[:, model.constant, None]
    return Search(starts, shape)


def middle(model: Model) -> np.ndarray:
    """Return the middle of the bounds, with a jump of 1 and heights of 0.3."""
    first = _spread(model, 1)[0]
    nonlinear = ~model.linear
    first[nonlinear] = 0.5 * (model.low[nonlinear] + model.high[nonlinear])
    return first


def round_digits(values: np.ndarray, digits: int = DIGITS) -> np.ndarray:
    """Round to a number of significant digits."""
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.floor(np.log10(np.abs(values)))
    unit = 10.0 ** (np.where(np.isfinite(power), power, 0.0) - (digits - 1))
    return np.asarray(np.round(np.asarray(values) / unit) * unit)


def _spread(model: Model, n: int) -> np.ndarray:
    """Spread positions and widths over their bounds by a Halton sequence."""
    starts = np.zeros((n, model.low.size))
    for column, k in enumerate(np.flatnonzero(~model.linear)):
        low, high = model.low[k], model.high[k]
        share = _halton(n, _PRIMES[column % len(_PRIMES)])
        starts[:, k] = low + share * (high - low)
    if model.jump >= 0:
        starts[:, model.jump] = 1.0
    starts[:, model.peak_offsets] = 0.3
    return np.clip(starts, model.low, model.high)


def _amplitudes(
    axis: Axis, model: Model, mean: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """Solve the linear parameters of each guess for the mean spectrum."""
    there = np.isfinite(mean)
    residual = np.empty(mean.size)
    jacobian = np.empty((model.low.size, mean.size))
    reach = float(np.ptp(mean[there]))
    linear = np.flatnonzero(model.linear)
    heights = [*([model.jump] if model.jump >= 0 else []), *model.peak_offsets]
    solved = starts.copy()
    for row in solved:
        evaluate(
            axis.x, axis.scaled, mean, row, model.kinds, model.offsets, residual,
            jacobian,
        )  # fmt: skip
        basis = jacobian[linear][:, there].T
        row[linear] = np.linalg.lstsq(basis, mean[there], rcond=1e-6)[0]
        # A component without height has no slope for the other parameters.
        for k in heights:
            inside = model.low[k] <= row[k] <= model.high[k]
            if abs(row[k]) < 0.02 * reach or not inside:
                row[k] = 0.05 * reach
        np.clip(row, model.low, model.high, out=row)
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
