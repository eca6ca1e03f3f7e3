"""Compute differential curves: charge laid out over voltage, or the reverse.

Each interval of a half cycle is laid out evenly between its two ends on a grid of
bins. An interval shorter than a bin is shared between the two bins next to its
middle. Rows are taken in the order of measurement, and voltages may go back and forth.
Nothing is lost, so the area of the curve is the capacity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.kernels.compiling import njit
from batteryxr.echem.kernels.record import (
    CURRENT,
    FILE,
    TIME,
    VALID,
    VOLTAGE,
    all_equal,
    is_missing,
    last_before,
)

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats
    from batteryxr.echem.kernels.record import Record, Rule
    from batteryxr.echem.kernels.smoothers import Smoother

# State carried from row to row besides time, voltage, current, file and VALID.
SLOPE, CURVATURE, ROWS, PASSED = 5, 6, 7, 8
CARRIED = 9
#: Mean magnitude of the second difference of white noise: sqrt(6) sqrt(2 / pi) sigma.
_SECOND = np.sqrt(6.0) * np.sqrt(2.0 / np.pi)


class Bins(NamedTuple):
    """Hold the bins of a curve."""

    over_charge: bool  # else over voltage
    origin: float  # left edge of the first bin, V or mA h
    width: float  # of each bin, V or mA h
    centres: np.ndarray


class HalfCycles(NamedTuple):
    """Hold half cycles of a record; (n,) arrays."""

    first: np.ndarray  # row
    stop: np.ndarray  # one beyond the last row under current
    direction: np.ndarray  # 1 for a charge, -1 for a discharge
    charge: np.ndarray  # mA h, positive
    deposits_from: np.ndarray  # range of its deposits, up to the next column
    deposits_to: np.ndarray


class Deposits(NamedTuple):
    """Hold the charge that flowed outside of lines; (m,) arrays."""

    voltage: np.ndarray  # V
    charge: np.ndarray  # mA h, positive in the direction of the half cycle


class Rows(NamedTuple):
    """Hold rows of one half cycle, or the part of them that is in memory."""

    first: int
    stop: int  # one beyond the last
    direction: float  # 1 for a charge, -1 for a discharge


class Making(NamedTuple):
    """Set how curves are made."""

    rule: Rule
    grid: Bins
    smoother: Smoother


class Curves(NamedTuple):
    """Hold a curve for each half cycle."""

    value: np.ndarray  # (n, bins)
    error: np.ndarray  # (n, bins), one standard deviation
    noise: np.ndarray  # (n, 2): sd of a voltage (V), and charge per row (mA h)


@njit(cache=True, nogil=True)
def _spread(bins: Floats, low: float, high: float, amount: float) -> None:
    a, b = int(low), int(high)
    density = amount / (high - low)
    bins[a] += density * (a + 1 - low)
    for k in range(a + 1, b):
        bins[k] += density
    bins[b] += density * (high - b)


@njit(cache=True, nogil=True, inline="always")
def _share(bins: Floats, place: float, amount: float) -> None:
    # Share between the two bins whose centres are nearest, without a branch. The mean
    # place is exact even if a coarse converter puts every voltage on an edge.
    left = int(place - 0.5)
    right = (place - 0.5 - left) * amount
    bins[left] += amount - right
    bins[left + 1] += right


@njit(cache=True, nogil=True)
def seed(record: Record, row: int, carry: Floats) -> bool:
    """Put the last valid row before `row` into `carry`; tell whether there is one."""
    k = last_before(record, row)
    if k < 0:
        return False
    carry[TIME], carry[VOLTAGE], carry[CURRENT] = record.t[k], record.v[k], record.i[k]
    carry[FILE] = np.float64(record.file[k]) if record.file.size > 0 else 0.0
    carry[VALID] = 1.0
    return True


@njit(cache=True, nogil=True)
def _follows(d: float, i: float, before: float, rule: Rule) -> bool:
    # Tell whether current of one direction flows over an interval, like
    # `record.interval` but without a branch. In pulses it is the other direction.
    flows = (d >= 0.0) & (d <= rule.max_gap) & (abs(i) >= rule.i_zero)
    return flows & (rule.mean | ((i * before > 0.0) & (abs(before) >= rule.i_zero)))


@njit(cache=True, nogil=True)
def lay_charge(
    record: Record, rows: Rows, rule: Rule, grid: Bins, bins: Floats, carry: Floats
) -> None:
    """Lay the charge of some rows of one half cycle out over voltage.

    Parameters
    ----------
    record : Record
    rows : Rows
        The rows; the state before them is in `carry`.
    rule : Rule
    grid : Bins
    bins : (n,) array
        Charge in each bin, in mA h; added to.
    carry : (CARRIED,) array
        Zeros at the start of a half cycle; changed in place.
    """
    a, b, direction = rows
    before_t, before_v, before_i = carry[TIME], carry[VOLTAGE], carry[CURRENT]
    before_file = carry[FILE]
    slope, curvature, counted = carry[SLOPE], carry[CURVATURE], int(carry[ROWS])
    origin, per_width, top = grid.origin, 1.0 / grid.width, bins.size - 1.000001
    factor, mean = direction / 7200.0, rule.mean
    # The first half cycle of a record has no row before it to compare with.
    if carry[VALID] == 0.0:
        before_t = np.nan
    before_x = min(max((before_v - origin) * per_width, 1.0), top)
    file = record.file
    several = file.size > 0 and not all_equal(file, a, b, np.int16(before_file))
    t: Floats
    v: Floats
    i: Floats
    t, v, i = record.t[a:b], record.v[a:b], record.i[a:b]
    for k in range(t.size):
        tk, vk, ik = t[k], v[k], i[k]
        d = tk - before_t
        follows = _follows(d, ik, before_i, rule)
        if several:
            follows &= file[a + k] == before_file
        if is_missing(tk, vk, ik):
            continue
        if several:
            before_file = np.float64(file[a + k])
        x = (vk - origin) * per_width
        if mean:  # the row before may be at rest, outside of the bins
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
            counted += 1
        else:
            slope = 0.0
        before_t, before_v, before_i, before_x = tk, vk, ik, x
    carry[TIME], carry[VOLTAGE], carry[CURRENT] = before_t, before_v, before_i
    carry[FILE], carry[VALID] = before_file, 1.0 if before_t == before_t else 0.0
    carry[SLOPE], carry[CURVATURE], carry[ROWS] = slope, curvature, counted


@njit(cache=True, nogil=True)
def lay_voltage(
    record: Record, rows: Rows, rule: Rule, grid: Bins, bins: Floats, carry: Floats
) -> None:
    """Lay the voltage gained in each row out over the charge; see `lay_charge`.

    The first bin is spare; the half cycle begins at the second.
    """
    a, b, direction = rows
    before_t, before_v, before_i = carry[TIME], carry[VOLTAGE], carry[CURRENT]
    before_file, passed = carry[FILE], carry[PASSED]
    slope, curvature, counted = carry[SLOPE], carry[CURVATURE], int(carry[ROWS])
    width, top, mean = grid.width, bins.size - 1.000001, rule.mean
    if carry[VALID] == 0.0:
        before_t = np.nan
    file = record.file
    for k in range(a, b):
        tk, vk, ik = record.t[k], record.v[k], record.i[k]
        if is_missing(tk, vk, ik):
            continue
        d = tk - before_t
        follows = _follows(d, ik, before_i, rule)
        if file.size > 0:
            follows &= file[k] == before_file
            before_file = np.float64(file[k])
        if follows:
            charge = direction * (ik + (ik if mean else before_i)) * d / 7200.0
            low = min(max(1.0 + passed / width, 1.0), top)
            high = min(max(1.0 + (passed + charge) / width, 1.0), top)
            if high < low:  # a pulse goes back over charge already passed
                low, high = high, low
            rise = vk - before_v
            if high - low > 1.0:
                _spread(bins, low, high, direction * rise)
            else:
                _share(bins, 0.5 * (low + high), direction * rise)
            passed += charge
            curvature += abs(rise - slope)
            slope = rise
            counted += 1
        else:
            slope = 0.0
        before_t, before_v, before_i = tk, vk, ik
    carry[TIME], carry[VOLTAGE], carry[CURRENT] = before_t, before_v, before_i
    carry[FILE], carry[VALID] = before_file, 1.0 if before_t == before_t else 0.0
    carry[SLOPE], carry[CURVATURE], carry[ROWS] = slope, curvature, counted
    carry[PASSED] = passed


@njit(cache=True, nogil=True)
def deposit(
    halves: HalfCycles,
    k: int,
    deposits: Deposits,
    grid: Bins,
    bins: Floats,
    carry: Floats,
) -> None:
    """Begin half cycle `k` with its deposits, before its rows are laid out."""
    top = bins.size - 1.000001
    for j in range(halves.deposits_from[k], halves.deposits_to[k]):
        if grid.over_charge:
            carry[PASSED] += deposits.charge[j]
            continue
        place = (deposits.voltage[j] - grid.origin) / grid.width
        _share(bins, min(max(place, 1.0), top), deposits.charge[j])


@njit(cache=True, nogil=True)
def _filled(bins: Floats) -> tuple[int, int]:
    first, last = 0, bins.size - 1
    while first <= last and bins[first] == 0.0:
        first += 1
    while last >= first and bins[last] == 0.0:
        last -= 1
    return first, last


@njit(cache=True, nogil=True)
def _last_over_charge(widths: float, n: int) -> int:
    # Return the bin in which the half cycle ends. If it ends on an edge, rounding must
    # not open another bin, in which no voltage was gained.
    return min(max(int(np.ceil(widths - 1e-6)), 1), n - 1)


@njit(cache=True, nogil=True)
def _fold(bins: Floats, first: int, last: int) -> None:
    # Fold the bins beyond each end, into which intervals are shared, back to the end.
    for k in range(first):
        bins[first] += bins[k]
        bins[k] = 0.0
    for k in range(last + 1, bins.size):
        bins[last] += bins[k]
        bins[k] = 0.0


@njit(cache=True, nogil=True)
def _mirrored(place: int, n: int) -> int:
    place %= 2 * n
    return place if place < n else 2 * n - 1 - place


@njit(cache=True, nogil=True)
def smooth(
    bins: Floats, first: int, last: int, smoother: Smoother, room: Floats, out: Floats
) -> None:
    """Convolve `bins` from `first` to `last` with a symmetric kernel; NaN outside.

    The ends are mirrored, so nothing leaves the range and the sum is kept.

    Parameters
    ----------
    bins : (n,) array
    first, last : int
    smoother : Smoother
    room : (n + weights,) array
        Work array.
    out : (n,) array
        The result.
    """
    weights = smoother.weights
    out[:first] = np.nan
    out[last + 1 :] = np.nan
    n, m = last - first + 1, weights.size
    half = smoother.length // 2
    room[half : half + n] = bins[first : last + 1]
    for j in range(half):
        room[j] = bins[first + _mirrored(j - half, n)]
    for j in range(half + n, n + m):
        room[j] = bins[first + _mirrored(j - half, n)]
    inside = out[first : last + 1]
    inside[:] = 0.0
    for k in range(0, m, 4):
        w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        s0, s1 = room[k : k + n], room[k + 1 : k + 1 + n]
        s2, s3 = room[k + 2 : k + 2 + n], room[k + 3 : k + 3 + n]
        for j in range(n):
            inside[j] += (w0 * s0[j] + w1 * s1[j]) + (w2 * s2[j] + w3 * s3[j])


@njit(cache=True, nogil=True)
def finish(
    bins: Floats,
    charge: float,
    smoother: Smoother,
    grid: Bins,
    carry: Floats,
    room: Floats,
    out: Curves,
    k: int,
) -> None:
    """Smooth one half cycle, divide by the bin width, and estimate the error.

    Noise of standard deviation s in the voltage of each row moves charge between
    bins. To first order the smoothed curve y = sum q_i g(V - V_i) varies by
    s sqrt(y q int g'^2) with q the charge per row; dV/dQ varies by s sqrt(q int g'^2).
    The noise is estimated from second differences.

    Parameters
    ----------
    bins, grid, carry
        Results of `lay_charge` or `lay_voltage`.
    charge : float
        Charge of the half cycle, in mA h.
    smoother, room
        As in `smooth`.
    out : Curves
        Output; row `k` is written.
    """
    if grid.over_charge:
        first, last = 1, _last_over_charge(charge / grid.width, bins.size)
        _fold(bins, first, last)
    else:
        first, last = _filled(bins)
    curve, error, noise = out.value[k], out.error[k], out.noise[k]
    if last < first or carry[ROWS] == 0.0:
        curve[:], error[:], noise[:] = np.nan, np.nan, np.nan
        return
    smooth(bins, first, last, smoother, room, curve)
    noise[0] = carry[CURVATURE] / carry[ROWS] / _SECOND
    noise[1] = charge / carry[ROWS]
    per_width = 1.0 / grid.width
    # Do not divide by the cube of the width: for small currents it underflows to zero.
    factor = noise[0] * np.sqrt(noise[1] * per_width * smoother.roughness) * per_width
    error[:] = np.nan
    for j in range(first, last + 1):
        curve[j] *= per_width
        error[j] = factor
    if not grid.over_charge:
        for j in range(first, last + 1):
            error[j] *= np.sqrt(abs(curve[j]))


@njit(cache=True, nogil=True)
def lay_out(
    record: Record, rows: Rows, rule: Rule, grid: Bins, bins: Floats, carry: Floats
) -> None:
    """Lay voltage out over charge, or charge over voltage."""
    if grid.over_charge:
        lay_voltage(record, rows, rule, grid, bins, carry)
    else:
        lay_charge(record, rows, rule, grid, bins, carry)


@njit(cache=True, nogil=True)
def curves(
    record: Record, halves: HalfCycles, deposits: Deposits, making: Making, out: Curves
) -> None:
    """Lay out and smooth many half cycles of a record in memory.

    Parameters
    ----------
    record : Record
    halves : HalfCycles
    deposits : Deposits
    making : Making
    out : Curves
        Output.
    """
    rule, grid, smoother = making
    n = grid.centres.size
    bins, room = np.empty(n), np.empty(n + smoother.weights.size)
    carry = np.empty(CARRIED)
    for k in range(halves.first.size):
        bins[:] = 0.0
        carry[:] = 0.0
        rows = Rows(halves.first[k], halves.stop[k], halves.direction[k])
        deposit(halves, k, deposits, grid, bins, carry)
        seed(record, rows.first, carry)
        lay_out(record, rows, rule, grid, bins, carry)
        finish(bins, halves.charge[k], smoother, grid, carry, room, out, k)
