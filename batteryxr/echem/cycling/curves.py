"""The engine of differential curves: kernels over half cycles, shared or streamed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from batteryxr.core.errors import ArgumentError
from batteryxr.echem.record import Arrays, Walked, is_mean

#: More bins than any converter can tell apart within one kernel.
_WIDEST = 20_000


@dataclass(frozen=True)
class Grid:
    """Bins of a curve: over voltage (V), or over charge (mA h)."""

    origin: float
    width: float
    centres: np.ndarray
    over_charge: bool


def smoother(
    smoothing: float, width: float, method: str, order: int, names: tuple[str, str]
) -> np.ndarray:
    """Return the weights of a smoother, checked; `names` are those of the arguments.

    Raises
    ------
    ArgumentError, ConvergenceError
        If an argument is out of range, or the weights do not sum to one.
    """
    from batteryxr.echem.kernels import smoothers

    if not smoothing >= 0:
        raise ArgumentError(names[0], smoothing, "a width >= 0")
    if not width > 0:
        raise ArgumentError(names[1], width, "a width > 0 in V")
    if smoothing > _WIDEST * width:
        raise ArgumentError(
            names[1], width, f"bins no finer than {smoothing / _WIDEST:.3g} V"
        )
    if method == "gaussian":
        return smoothers.gaussian(smoothing / width)
    if method != "savgol":
        raise ArgumentError("method", method, "'gaussian' or 'savgol'")
    window = round(smoothing / width) // 2 * 2 + 1
    if not 0 <= order < window:
        raise ArgumentError(
            "order", order, f"0 to {window - 1} for a window of {window} bins"
        )
    return smoothers.savitzky_golay(window, order)


def lay_out(
    source: Arrays,
    walked: Walked,
    chosen: np.ndarray,
    grid: Grid,
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return curve and error (half cycles, bins), and noise (half cycles, 2).

    In memory the half cycles are shared between threads; lazy records are streamed.
    """
    from batteryxr.echem.kernels import histogram, parts, segments, smoothers

    shape = (chosen.size, grid.centres.size)
    out, error, noise = np.empty(shape), np.empty(shape), np.empty((chosen.size, 2))
    first = walked.integers[chosen, parts.FIRST]
    stop = walked.integers[chosen, parts.LAST_ACTIVE] + 1
    direction = walked.integers[chosen, parts.DIRECTION].astype(np.float64)
    charge = np.abs(walked.floats[chosen, parts.CHARGE])
    rule = (walked.i_zero, walked.max_gap, is_mean(source.current))
    where = (grid.over_charge, grid.origin, grid.width)
    kernel = (smoothers.padded(weights), weights.size, smoothers.roughness(weights, 1))
    if not source.lazy:
        (block,) = source.blocks()
        shares = _shares(stop - first, segments.threads())
        segments.in_threads(
            lambda part: histogram.curves(
                *block[:4],
                first[part],
                stop[part],
                direction[part],
                charge[part],
                *rule,
                *where,
                *kernel,
                out[part],
                error[part],
                noise[part],
            ),
            [(part,) for part in shares],
        )
        return out, error, noise
    bins, room = np.zeros(shape[1]), np.empty(shape[1] + kernel[0].size)
    state, before = np.zeros(histogram.STATE), np.zeros(histogram.STATE)
    row = k = 0
    for block in source.blocks():
        data, n = block[:4], block[0].size
        while k < chosen.size and first[k] < row + n:
            a, b = max(first[k] - row, 0), min(stop[k] - row, n)
            if first[k] >= row and not histogram.seed(*data, a, state):
                state[:] = before
            histogram.lay_out(*data, a, b, direction[k], *rule, *where, bins, state)
            if stop[k] > row + n:
                break
            histogram.finish(
                bins,
                *kernel,
                charge[k],
                grid.over_charge,
                grid.width,
                state,
                room,
                out[k],
                error[k],
                noise[k],
            )
            bins[:], state[:] = 0.0, 0.0
            k += 1
        histogram.seed(*data, n, before)
        row += n
    return out, error, noise


def _shares(rows: np.ndarray, workers: int) -> list[slice]:
    """Cut half cycles into runs of about as many rows each."""
    total = np.cumsum(rows)
    if not total.size:
        return []
    cuts = np.searchsorted(total, total[-1] * np.arange(1, workers) / workers)
    edges = np.unique(np.concatenate([[0], cuts, [rows.size]]))
    return [slice(a, b) for a, b in itertools.pairwise(edges)]
