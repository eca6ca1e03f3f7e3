"""The straight line of a transient against the square root of time."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def root_line(
    t: np.ndarray, v: np.ndarray, tmin: float, tmax: float
) -> tuple[float, float, float, float, float, int]:
    """Fit ``v = intercept + slope sqrt(t)`` for tmin <= t <= tmax.

    Returns
    -------
    slope, slope_error, intercept, intercept_error, rms, rows
        NaN with fewer than two different times; errors NaN with fewer than three.
    """
    n, sx, sy = 0, 0.0, 0.0
    for k in range(t.size):
        if tmin <= t[k] <= tmax and math.isfinite(v[k]):
            n += 1
            sx += math.sqrt(t[k])
            sy += v[k]
    nothing = (np.nan, np.nan, np.nan, np.nan, np.nan, n)
    if n < 2:
        return nothing
    mx, my = sx / n, sy / n
    xx = xy = 0.0
    for k in range(t.size):
        if tmin <= t[k] <= tmax and math.isfinite(v[k]):
            dx = math.sqrt(t[k]) - mx
            xx += dx * dx
            xy += dx * (v[k] - my)
    if xx <= 0.0:
        return nothing
    slope = xy / xx
    intercept = my - slope * mx
    if n < 3:
        return slope, np.nan, intercept, np.nan, np.nan, n
    squares = 0.0
    for k in range(t.size):
        if tmin <= t[k] <= tmax and math.isfinite(v[k]):
            left = v[k] - intercept - slope * math.sqrt(t[k])
            squares += left * left
    variance = squares / (n - 2)
    return (
        slope,
        math.sqrt(variance / xx),
        intercept,
        math.sqrt(variance * (1.0 / n + mx * mx / xx)),
        math.sqrt(variance),
        n,
    )
