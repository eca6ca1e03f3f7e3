"""When the current of a pulse ended, where no row was written at the switch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.echem.kernels.relaxation import choose, search, squares_of

if TYPE_CHECKING:
    from batteryxr.echem.kernels.diffusion import Pulses
    from batteryxr.echem.kernels.pulses import Rows, Window
    from batteryxr.echem.kernels.relaxation import Shape

#: Squares of the noise by which another end than the last row must fit better.
_SHOWN = 12.0
#: A rest that begins sooner after the last row, relative to the time between rows of
#: the pulse, or to the pulse: the row was written at the switch.
_AT_ONCE, _SHORT = 0.2, 2e-4


class End(NamedTuple):
    """When the current ended (s), and its error."""

    off: float
    error: float


def reach(window: Window) -> float:
    """Return how long after its last row the current may have flowed (s).

    Zero where the rest begins at once, as where cyclers write a row at each switch.
    """
    t, first, last = window.t, window.first, window.last
    if last >= t.size or last - first < 3:
        return 0.0
    gap, usual = t[last] - t[last - 1], float(np.max(np.diff(t[first:last])[-5:]))
    if gap < _AT_ONCE * usual or gap < _SHORT * (t[last - 1] - t[first]):
        return 0.0
    return float(min(gap, 1.5 * usual))


def ending(pulses: Pulses, off: float) -> Pulses:
    """Return pulses of which the last ends at another time."""
    return pulses._replace(off=np.append(pulses.off[:-1], off))


def find_end(rows: Rows, pulses: Pulses, shape: Shape, span: float) -> End:
    """Return the end of least misfit within `span` (s) after the last row.

    The last row stays the end unless another one fits better by far.

    Parameters
    ----------
    rows
        As `pulses.fitted_rows` gives them for the latest end.
    pulses
        As they end at their last rows.
    shape
        Geometry of the particle and degree of the polynomial.
    span
        See `reach`.
    """
    written = float(pulses.off[-1])
    least, _ = _chosen(written, rows, pulses, shape)
    end, fitted = _valley((0.0, span), rows, pulses, shape), shape
    for _ in range(2):
        _, fitted = _chosen(end.off, rows, pulses, shape)
        at, wide = end.off - written, 0.3 * span
        near = (max(at - wide, 0.0), min(at + wide, span))
        end = _valley(near, rows, pulses, fitted)
    most, unit = _squares(end.off, rows, pulses, fitted)
    if least - most > _SHOWN * unit:
        return end
    return End(written, min(end.error, span))


def _squares(
    off: float, rows: Rows, pulses: Pulses, shape: Shape
) -> tuple[float, float]:
    ended = ending(pulses, off)
    return squares_of(search(rows, ended, shape)[0], rows, ended, shape)


def _chosen(
    off: float, rows: Rows, pulses: Pulses, shape: Shape
) -> tuple[float, Shape]:
    """Return the misfit with what the rows show besides diffusion, and what that is."""
    fitted = choose(rows, ending(pulses, off), shape)[0]
    return _squares(off, rows, pulses, fitted)[0], fitted


def _valley(near: tuple[float, float], rows: Rows, pulses: Pulses, shape: Shape) -> End:
    """Return the floor of the parabola through three misfits, within their span."""
    written, middle = float(pulses.off[-1]), 0.5 * (near[0] + near[1])
    low, mean, high = (
        _squares(written + at, rows, pulses, shape) for at in (near[0], middle, near[1])
    )
    half = 0.5 * (near[1] - near[0])
    bend = (low[0] - 2.0 * mean[0] + high[0]) / half**2
    unit = min(low[1], mean[1], high[1])
    if bend <= 0.0:
        at, error = (near[0] if low[0] < high[0] else near[1]), 2.0 * half
    else:
        at = middle - 0.5 * (high[0] - low[0]) / (half * bend)
        error = math.sqrt(2.0 * unit / bend)
    return End(written + min(max(at, near[0]), near[1]), error)
