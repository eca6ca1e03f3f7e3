"""Differential curves: charge laid out over voltage, or voltage over charge.

Each interval of a half cycle is laid out evenly between its two ends on a grid of
bins; one that is shorter than a bin is shared between the two bins next to its middle.
Rows are taken in the order of measurement and voltages may go back and forth. Nothing
is lost, so the area of the curve is the capacity.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from batteryxr.echem.kernels.segments import all_equal

# What is kept from row to row and of a half cycle.
TIME, VOLTAGE, CURRENT, FILE, VALID = 0, 1, 2, 3, 4
SLOPE, CURVATURE, ROWS, PASSED = 5, 6, 7, 8
STATE = 9
#: Mean magnitude of the second difference of white noise: sqrt(6) sqrt(2 / pi) sigma.
_SECOND = np.sqrt(6.0) * np.sqrt(2.0 / np.pi)


@njit(cache=True, nogil=True)
def _spread(bins, low, high, amount):  # type: ignore[no-untyped-def]
    a, b = int(low), int(high)
    density = amount / (high - low)
    bins[a] += density * (a + 1 - low)
    for k in range(a + 1, b):
        bins[k] += density
    bins[b] += density * (high - b)


@njit(cache=True, nogil=True, inline="always")
def _share(bins, place, amount):  # type: ignore[no-untyped-def]
    # Between the two bins whose centres are nearest: no branch to mispredict, and the
    # mean place is exact even where a coarse converter puts every voltage on an edge.
    left = int(place - 0.5)
    right = (place - 0.5 - left) * amount
    bins[left] += amount - right
    bins[left + 1] += right


@njit(cache=True, nogil=True)
def seed(t, v, i, file, row, state):  # type: ignore[no-untyped-def]
    """Put the last valid row before `row` into `state`; tell whether there is one."""
    for k in range(row - 1, -1, -1):
        if t[k] == t[k] and v[k] == v[k] and i[k] == i[k]:
            state[TIME], state[VOLTAGE], state[CURRENT] = t[k], v[k], i[k]
            state[FILE] = np.float64(file[k]) if file.size > 0 else 0.0
            state[VALID] = 1.0
            return True
    return False


@njit(cache=True, nogil=True)
def lay_charge(  # type: ignore[no-untyped-def]
    t, v, i, file, a, b, direction, i_zero, max_gap, mean, origin, width, bins, state
):
    """Lay the charge of the rows `a` to `b` of one half cycle out over voltage.

    Parameters
    ----------
    t, v, i, file : (rows,) arrays
        As for `segments.walk`.
    a, b : int
        First row, and one beyond the last; what was before is in `state`.
    direction : float
        1 for a charge, -1 for a discharge.
    i_zero, max_gap, mean
        As for `segments.walk`.
    origin, width : float
        Left edge of the first bin and width of all, in V.
    bins : (n,) array
        Charge in each bin, in mA h; added to.
    state : (STATE,) array
        Zeros at the start of a half cycle; changed in place.
    """
    before_t, before_v, before_i = state[TIME], state[VOLTAGE], state[CURRENT]
    before_file = state[FILE]
    slope, curvature, rows = state[SLOPE], state[CURVATURE], int(state[ROWS])
    per_width, top = 1.0 / width, bins.size - 1.000001
    factor = direction / 7200.0
    # Of a half cycle that begins a record nothing was before: no comparison holds.
    if state[VALID] == 0.0:
        before_t = np.nan
    before_x = min(max((before_v - origin) * per_width, 1.0), top)
    several = file.size > 0 and not all_equal(file, a, b, np.int16(before_file))
    t, v, i = t[a:b], v[a:b], i[a:b]
    for k in range(t.size):
        tk, vk, ik = t[k], v[k], i[k]
        d = tk - before_t
        follows = (d >= 0.0) & (d <= max_gap) & (direction * ik >= i_zero)
        follows &= mean | (direction * before_i >= i_zero)
        if several:
            follows &= file[a + k] == before_file
        if not ((tk == tk) & (vk == vk) & (ik == ik)):
            continue
        if several:
            before_file = np.float64(file[a + k])
        x = (vk - origin) * per_width
        if mean:  # what was before may be a rest, beyond the bins
            x = min(max(x, 1.0), top)
        if follows:
            charge = (ik + (ik if mean else before_i)) * d * factor
            if abs(x - before_x) > 1.0:
                _spread(bins, min(x, before_x), max(x, before_x), charge)
            else:
                _share(bins, 0.5 * (x + before_x), charge)
            rise = vk - before_v
            curvature += abs(rise - slope)
            slope = rise
            rows += 1
        else:
            slope = 0.0
        before_t, before_v, before_i, before_x = tk, vk, ik, x
    state[TIME], state[VOLTAGE], state[CURRENT] = before_t, before_v, before_i
    state[FILE], state[VALID] = before_file, 1.0 if before_t == before_t else 0.0
    state[SLOPE], state[CURVATURE], state[ROWS] = slope, curvature, rows


@njit(cache=True, nogil=True)
def lay_voltage(  # type: ignore[no-untyped-def]
    t, v, i, file, a, b, direction, i_zero, max_gap, mean, width, bins, state
):
    """Lay the voltage gained in each row out over the charge passed; see `lay_charge`.

    The first bin is spare; the second begins where the half cycle does.
    """
    before_t, before_v, before_i = state[TIME], state[VOLTAGE], state[CURRENT]
    before_file, valid, passed = state[FILE], state[VALID] == 1.0, state[PASSED]
    slope, curvature, rows = state[SLOPE], state[CURVATURE], int(state[ROWS])
    top = bins.size - 1.000001
    for k in range(a, b):
        tk, vk, ik = t[k], v[k], i[k]
        if not ((tk == tk) & (vk == vk) & (ik == ik)):
            continue
        d = tk - before_t
        follows = valid & (d >= 0.0) & (d <= max_gap) & (direction * ik >= i_zero)
        follows &= mean | (direction * before_i >= i_zero)
        if file.size > 0:
            follows &= file[k] == before_file
            before_file = file[k]
        if follows:
            charge = direction * (ik + (ik if mean else before_i)) * d / 7200.0
            low = min(1.0 + passed / width, top)
            high = min(1.0 + (passed + charge) / width, top)
            rise = vk - before_v
            if high - low > 1.0:
                _spread(bins, low, high, direction * rise)
            else:
                _share(bins, 0.5 * (low + high), direction * rise)
            passed += charge
            curvature += abs(rise - slope)
            slope = rise
            rows += 1
        else:
            slope = 0.0
        before_t, before_v, before_i = tk, vk, ik
        valid = True
    state[TIME], state[VOLTAGE], state[CURRENT] = before_t, before_v, before_i
    state[FILE], state[VALID], state[PASSED] = (
        before_file,
        1.0 if valid else 0.0,
        passed,
    )
    state[SLOPE], state[CURVATURE], state[ROWS] = slope, curvature, rows


@njit(cache=True, nogil=True)
def _filled(bins):  # type: ignore[no-untyped-def]
    first, last = 0, bins.size - 1
    while first <= last and bins[first] == 0.0:
        first += 1
    while last >= first and bins[last] == 0.0:
        last -= 1
    return first, last


@njit(cache=True, nogil=True)
def _last_over_charge(widths, n):  # type: ignore[no-untyped-def]
    # The bin in which the half cycle ends. Where it ends on an edge, rounding must not
    # open a bin more, in which no voltage was gained.
    return min(max(int(np.ceil(widths - 1e-6)), 1), n - 1)


@njit(cache=True, nogil=True)
def _fold(bins, first, last):  # type: ignore[no-untyped-def]
    # An interval at either end is shared with a bin beyond it: back to the end.
    for k in range(first):
        bins[first] += bins[k]
        bins[k] = 0.0
    for k in range(last + 1, bins.size):
        bins[last] += bins[k]
        bins[k] = 0.0


@njit(cache=True, nogil=True)
def _mirrored(place, n):  # type: ignore[no-untyped-def]
    place %= 2 * n
    return place if place < n else 2 * n - 1 - place


@njit(cache=True, nogil=True)
def smooth(bins, first, last, weights, length, padded, out):  # type: ignore[no-untyped-def]
    """Convolve `bins` from `first` to `last` with a symmetric kernel; NaN outside.

    The ends are mirrored, so that nothing leaves that part: the sum is kept.

    Parameters
    ----------
    bins : (n,) array
    first, last : int
    weights : (m,) array
        Symmetric, sum 1; zeros behind the first `length`, up to a multiple of four.
    length : int
        Odd.
    padded : (n + m,) array
        Room to work in.
    out : (n,) array
        The result.
    """
    out[:first] = np.nan
    out[last + 1 :] = np.nan
    n, m = last - first + 1, weights.size
    half = length // 2
    padded[half : half + n] = bins[first : last + 1]
    for j in range(half):
        padded[j] = bins[first + _mirrored(j - half, n)]
    for j in range(half + n, n + m):
        padded[j] = bins[first + _mirrored(j - half, n)]
    inside = out[first : last + 1]
    inside[:] = 0.0
    for k in range(0, m, 4):
        w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        s0, s1 = padded[k : k + n], padded[k + 1 : k + 1 + n]
        s2, s3 = padded[k + 2 : k + 2 + n], padded[k + 3 : k + 3 + n]
        for j in range(n):
            inside[j] += (w0 * s0[j] + w1 * s1[j]) + (w2 * s2[j] + w3 * s3[j])


@njit(cache=True, nogil=True)
def finish(  # type: ignore[no-untyped-def]
    bins,
    weights,
    length,
    roughness,
    charge,
    over_charge,
    width,
    state,
    padded,
    out,
    error,
    noise,
):
    """Smooth one half cycle, divide by the bin width, and estimate the error.

    Noise of standard deviation s in the voltage of each row moves charge from bin to
    bin. To first order the smoothed curve y = sum q_i g(V - V_i) varies by
    s sqrt(y q int g'^2) with q the charge per row, its counterpart dV/dQ by
    s sqrt(q int g'^2). The noise is estimated from second differences.

    Parameters
    ----------
    bins, weights, length, padded
        See `smooth`.
    roughness : float
        Integral of the square of the kernel's slope, in bins.
    charge : float
        That of the half cycle, in mA h.
    over_charge : bool
        Whether `bins` come from `lay_voltage`.
    width, state
        See `lay_charge`.
    out, error : (n,) arrays
        The curve and its standard deviation.
    noise : (2,) array
        Standard deviation of a voltage, and charge per row.
    """
    if over_charge:
        first, last = 1, _last_over_charge(charge / width, bins.size)
        _fold(bins, first, last)
    else:
        first, last = _filled(bins)
    if last < first or state[ROWS] == 0.0:
        out[:], error[:], noise[:] = np.nan, np.nan, np.nan
        return
    smooth(bins, first, last, weights, length, padded, out)
    noise[0] = state[CURVATURE] / state[ROWS] / _SECOND
    noise[1] = charge / state[ROWS]
    per_width = 1.0 / width
    # Not by the cube of the width: of small currents it is zero.
    factor = noise[0] * np.sqrt(noise[1] * per_width * roughness) * per_width
    error[:] = np.nan
    for k in range(first, last + 1):
        out[k] *= per_width
        error[k] = factor
    if not over_charge:
        for k in range(first, last + 1):
            error[k] *= np.sqrt(abs(out[k]))


@njit(cache=True, nogil=True)
def lay_out(  # type: ignore[no-untyped-def]
    t,
    v,
    i,
    file,
    a,
    b,
    direction,
    i_zero,
    max_gap,
    mean,
    over_charge,
    origin,
    width,
    bins,
    state,
):
    """Lay voltage out over charge, or charge over voltage."""
    if over_charge:
        lay_voltage(
            t, v, i, file, a, b, direction, i_zero, max_gap, mean, width, bins, state
        )
    else:
        lay_charge(
            t,
            v,
            i,
            file,
            a,
            b,
            direction,
            i_zero,
            max_gap,
            mean,
            origin,
            width,
            bins,
            state,
        )


@njit(cache=True, nogil=True)
def curves(  # type: ignore[no-untyped-def]
    t,
    v,
    i,
    file,
    first,
    stop,
    direction,
    charge,
    i_zero,
    max_gap,
    mean,
    over_charge,
    origin,
    width,
    weights,
    length,
    roughness,
    out,
    error,
    noise,
):
    """Lay out and smooth many half cycles of a record in memory.

    Parameters
    ----------
    first, stop : (half cycles,) arrays of int
        Rows of each half cycle, `stop` one beyond the last under current.
    direction, charge : (half cycles,) arrays
    out, error : (half cycles, n) arrays
    noise : (half cycles, 2) array
    """
    n = out.shape[1]
    bins, padded = np.empty(n), np.empty(n + weights.size)
    state = np.empty(STATE)
    for k in range(first.size):
        bins[:] = 0.0
        state[:] = 0.0
        seed(t, v, i, file, first[k], state)
        lay_out(
            t,
            v,
            i,
            file,
            first[k],
            stop[k],
            direction[k],
            i_zero,
            max_gap,
            mean,
            over_charge,
            origin,
            width,
            bins,
            state,
        )
        finish(
            bins,
            weights,
            length,
            roughness,
            charge[k],
            over_charge,
            width,
            state,
            padded,
            out[k],
            error[k],
            noise[k],
        )
