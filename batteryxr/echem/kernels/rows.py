"""Choosing and thinning the rows of a pulse that a fit looks at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from batteryxr.echem.kernels.pulses import Window


@njit(cache=True, nogil=True)
def thin(
    t: np.ndarray,
    v: np.ndarray,
    i: np.ndarray,
    start: int,
    stop: int,
    origin: float,
    tmin: float,
    limit: int,
    out_t: np.ndarray,
    out_v: np.ndarray,
    out_i: np.ndarray,
    out_w: np.ndarray,
    n: int,
) -> int:
    """Average rows ``start:stop`` in bins of log time since `origin`.

    Rows less than `tmin` after `origin`, and rows that are not finite, are left out;
    up to `limit` rows are copied as they are. Appends to the four outputs behind
    their first `n` values and returns the new count; `out_w` counts rows.
    """
    usable = 0
    for k in range(start, stop):
        if t[k] - origin >= tmin and math.isfinite(v[k]):
            usable += 1
    if usable == 0:
        return n
    shortest = max(tmin, 1e-3)
    width = math.log(max(t[stop - 1] - origin, 2.0 * shortest) / shortest) / limit
    bin_now = -1
    for k in range(start, stop):
        since = t[k] - origin
        if since < tmin or not math.isfinite(v[k]):
            continue
        own = int(math.log(max(since, shortest) / shortest) / width)
        if usable <= limit or own != bin_now:
            bin_now = own
            out_t[n], out_v[n], out_i[n], out_w[n] = t[k], v[k], i[k], 1.0
            n += 1
            continue
        last = n - 1
        out_w[last] += 1.0
        share = 1.0 / out_w[last]
        out_t[last] += (t[k] - out_t[last]) * share
        out_v[last] += (v[k] - out_v[last]) * share
        out_i[last] += (i[k] - out_i[last]) * share
    return n


def fitted_rows(
    window: Window, on: float, off: float, *, tmin: float, limit: int = 400
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Return t, v, i, the square root of row weights, and how many rows are at rest.

    The last row before the pulse, then pulse and rest, each without its first `tmin`
    seconds and averaged to at most about `limit` rows.
    """
    t, v, i, first, last = window[:5]
    out = np.empty((4, t.size + 1))
    n = 0
    if first > 0 and math.isfinite(v[first - 1]):
        out[:, 0] = t[first - 1], v[first - 1], 0.0, 1.0
        n = 1
    n = thin(t, v, i, first, last, on, tmin, limit, *out, n)
    current = i[last:] * 0.0  # leakage read at rest drives no voltage
    rest = n
    n = thin(t[last:], v[last:], current, 0, current.size, off, tmin, limit, *out, n)
    t, v, i, weight = out[:, :n]
    return t, v, i, np.sqrt(weight), n - rest
