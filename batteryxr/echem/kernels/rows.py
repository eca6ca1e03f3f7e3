"""Choosing and thinning the rows of a pulse that a fit looks at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from batteryxr.echem.kernels.pulses import Timing, Window


class Rows(NamedTuple):
    """Rows of a pulse and its rest, averaged where they lie dense."""

    t: np.ndarray  # s
    v: np.ndarray  # V
    i: np.ndarray  # mA
    w: np.ndarray  # square root of the number of rows in each


@njit(cache=True, nogil=True)
def thin(
    t: np.ndarray,
    v: np.ndarray,
    i: np.ndarray,
    origin: float,
    tmin: float,
    limit: int,
    out: np.ndarray,
    n: int,
) -> int:
    """Average rows in bins of log time since `origin`.

    Rows less than `tmin` after `origin`, and rows that are not finite, are left out;
    up to `limit` rows are copied as they are. Appends t, v, i and the number of rows
    to the four rows of `out`, behind their first `n` values; returns the new count.
    """
    usable = 0
    for k in range(t.size):
        if t[k] - origin >= tmin and math.isfinite(v[k]):
            usable += 1
    if usable == 0:
        return n
    out_t, out_v, out_i, out_w = out[0], out[1], out[2], out[3]
    shortest = max(tmin, 1e-3)
    width = math.log(max(t[-1] - origin, 2.0 * shortest) / shortest) / limit
    bin_now = -1
    for k in range(t.size):
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
    window: Window, timing: Timing, *, tmin: float, limit: int = 400
) -> tuple[Rows, int]:
    """Return the rows of a pulse that a fit looks at, and how many are at rest.

    The last row before the pulse, then pulse and rest, each without its first `tmin`
    seconds and averaged to at most about `limit` rows.
    """
    t, v, i, first, last = window[:5]
    out = np.empty((4, t.size + 1))
    n = 0
    if first > 0 and math.isfinite(v[first - 1]):
        out[:, 0] = t[first - 1], v[first - 1], 0.0, 1.0
        n = 1
    pulse = slice(first, last)
    n = thin(t[pulse], v[pulse], i[pulse], timing.on, tmin, limit, out, n)
    leakage = i[last:] * 0.0  # what is read at rest drives no voltage
    rest = n
    n = thin(t[last:], v[last:], leakage, timing.off, tmin, limit, out, n)
    t, v, i, number = out[:, :n]
    return Rows(t, v, i, np.sqrt(number)), n - rest
