"""Find edge energies of spectra: steepest rise, half jump, white line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from batteryxr.core.kernels.compiling import njit
from batteryxr.xanes.kernels import gaps

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats, FloatTable, Ints

#: Depth of a dip, as a fraction of the jump, that shows a pre-edge peak. The dip lies
#: between an edge energy and the last rise through half the jump.
DIP = 0.05
#: Deviations of the noise below the maximum within which a value may be the maximum,
#: and distance (eV) of such values above which the maximum is uncertain.
ALIKE, APART = 2.0, 2.0
#: Least number of energies for a steepest rise.
LEAST = 15
#: Matrices of smoothing that are kept at a time.
_KEPT = 100


def find(
    data: np.ndarray,
    *,
    x: np.ndarray,
    method: str,
    window: tuple[float, float],
    level: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the edge energies, the heights of white lines, and flags.

    Parameters
    ----------
    data : (..., m)
        Normalised spectra.
    x : (m,)
        Energies.
    method
        "half_jump", "derivative" or "white_line".
    window
        Search range in eV.
    level
        Fraction of the jump.

    Returns
    -------
    found, height, flag : (...)
        Flag 1: no data; 2: the edge energy lies on the pre-edge; 4: energies far from
        the white line are as high within the noise; 8: values are missing there.
    """
    rows = np.ascontiguousarray(data.reshape(-1, data.shape[-1]), dtype=float)
    found, height = np.empty(len(rows)), np.full(len(rows), np.nan)
    flag = np.zeros(len(rows), np.uint8)
    low, high = (float(v) for v in window)
    if method == "half_jump":
        half_jump(x, rows, level, low, high, found)
    elif method == "white_line":
        white_line(x, rows, low, high, found, height)
    else:
        inside = (x >= low) & (x <= high)
        found = steepest(rows[:, inside], x=x[inside])
    if method != "white_line":
        early = np.empty(len(rows), bool)
        on_pre_edge(x, rows, found, level, DIP, early)
        flag[early] = 2
    else:
        flag[rivalled(rows, found, height, x=x, window=(low, high))] = 4
    flag[in_gap(rows, found, x)] |= 8
    flag[np.isnan(found)] = 1
    shape = data.shape[:-1]
    return found.reshape(shape), height.reshape(shape), flag.reshape(shape)


def in_gap(rows: np.ndarray, found: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Tell in which rows the edge energy lies in a gap of the data.

    The points on both sides of it are then more than `APART` from each other.
    """
    there = np.isfinite(rows)
    out = np.zeros(len(rows), bool)
    some = np.flatnonzero(np.isfinite(found) & ~there.all(axis=1))
    place, every, end = np.arange(some.size), np.arange(x.size), x.size - 1
    before = np.maximum.accumulate(np.where(there[some], every, -1), axis=1)
    after = np.where(there[some], every, x.size)[:, ::-1]
    after = np.minimum.accumulate(after, axis=1)[:, ::-1]
    at = np.clip(np.searchsorted(x, found[some], side="right") - 1, 0, end)
    below = before[place, at]
    for low, high in (
        (below, after[place, np.minimum(at + 1, end)]),
        (before[place, np.maximum(below - 1, 0)], below),
    ):
        inside = (low >= 0) & (high <= end) & (high - low > 1)
        wide = x[np.minimum(high, end)] - x[np.maximum(low, 0)] > APART
        out[some] |= inside & wide
    return out


def steepest(data: np.ndarray, *, x: np.ndarray) -> np.ndarray:
    """Return E0, the steepest rise, first without and then with smoothing.

    The rules follow M. Newville's Larch, `find_e0`: both neighbours of the maximum
    must be steep too, and the two ends are left out.

    Parameters
    ----------
    data : (..., m)
        Absorption.
    x : (m,)
        Energies.

    Returns
    -------
    (...)
        E0 in eV, always an energy of `x`; NaN for spectra of fewer than `LEAST` values.
    """
    rows = data.reshape(-1, data.shape[-1])
    out = np.full(len(rows), np.nan)
    every = np.arange(x.size)[None]
    whole = np.flatnonzero(np.isfinite(rows).all(axis=1) & (x.size >= LEAST))
    groups = [
        gaps.Packed(whole[k : k + 8192], every) for k in range(0, len(whole), 8192)
    ]
    matrices: dict[tuple[int, int, float], np.ndarray] = {}
    for part in (*groups, *gaps.packed(rows, LEAST)):
        out[part.chosen] = _steepest(x, part.of(rows), part.at, matrices)
    return out.reshape(data.shape[:-1])


def _steepest(
    x: np.ndarray,
    y: np.ndarray,
    at: np.ndarray,
    matrices: dict[tuple[int, int, float], np.ndarray],
) -> np.ndarray:
    """Return E0 of rows `y` (R, k) whose energies are at `at` (1 or R, k) of `x`.

    `matrices` keeps the smoothing of each range and step.
    """
    own, n = x[at], at.shape[1]
    coarse = _steep_index(n - 1, _slope(own[:, :-1], y[:, :-1]))
    e0, least = np.empty(len(y)), _least_steps(own[:, :-1])
    for index in np.unique(coarse):
        some = np.flatnonzero(coarse == index)
        mine = slice(None) if len(own) == 1 else some
        guess = own[mine, index]
        start, stop = max(3, index - 75), min(index + 75, n - 3)
        if index < 0.05 * n:  # a glitch at the start of a scan
            guess = own[mine].mean(axis=1)
            start, stop = max(3, index - 20), n - 3
        step = 0.5 * (_clip(least[mine]) + _clip(guess / 25000.0))
        # As in the original, the last point of each range is left out.
        near, values = at[mine, start : stop - 1], y[some, start : stop - 1]
        slope = _slope(x[near], values)
        fine = _steep_index(near.shape[1], _smoothed(slope, near, step, x, matrices))
        at_fine = near[0, fine] if len(near) == 1 else near[np.arange(len(fine)), fine]
        e0[some] = np.where(fine < 1, own[mine, start + 2], x[at_fine])
    return e0


def _smoothed(
    slope: np.ndarray,
    at: np.ndarray,
    step: np.ndarray,
    x: np.ndarray,
    matrices: dict[tuple[int, int, float], np.ndarray],
) -> np.ndarray:
    """Return smoothed slopes; those of missing energies are on lines beside them."""
    low, high, size = int(at[:, 0].min()), int(at[:, -1].max()) + 1, at.shape[1]
    whole = high - low == size
    filled = slope if whole else _on_lines(slope, at - low, x[low:high])
    ends = np.stack([at[:, 0], at[:, -1], step], axis=1)
    kinds, which = np.unique(ends, axis=0, return_inverse=True)
    out = np.empty_like(filled)
    for k, (first, last, width) in enumerate(kinds):
        key = int(first), int(last), float(width)
        if len(matrices) > _KEPT:
            matrices.clear()
        if key not in matrices:
            matrices[key] = _smoothing(x[key[0] : key[1] + 1], key[2])
        some = which.reshape(-1) == k if len(kinds) > 1 else slice(None)
        part = slice(key[0] - low, key[1] + 1 - low)
        out[some, part] = filled[some, part] @ matrices[key]
    return out if whole else np.take_along_axis(out, at - low, axis=1)


def _on_lines(values: np.ndarray, at: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return values (R, k) at places `at` of `x`, and on lines between them."""
    rows = np.arange(len(values))[:, None]
    known = np.zeros((len(values), x.size), bool)
    known[rows, at] = True
    below = np.maximum(known.cumsum(axis=1) - 1, 0)
    above = np.minimum(below + 1, at.shape[1] - 1)
    low, high = x[at[rows, below]], x[at[rows, above]]
    left, right = values[rows, below], values[rows, above]
    with np.errstate(invalid="ignore", divide="ignore"):
        between = left + (right - left) * (x - low) / (high - low)
    return np.where(known, left, between)


def _clip(value: np.ndarray) -> np.ndarray:
    return np.clip(value, 0.01, 1.0)


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(np.gradient(y, axis=-1) / np.gradient(x, axis=-1))


def _least_steps(x: np.ndarray) -> np.ndarray:
    """Return the mean of ten of each row's finest steps, without the very finest."""
    skip = int(0.01 * x.shape[1])
    if skip == 0:
        return np.ones(len(x))
    steps = np.sort(np.diff(x[:, :-1][:, skip:-skip], axis=1), axis=1)
    return np.asarray(steps[:, skip : skip + 10].mean(axis=1))


def _steep_index(n: int, slope: np.ndarray) -> np.ndarray:
    margin = max(3, int(0.02 * n))
    slope = np.where(np.isfinite(slope), slope, -1.0)
    inner = slope[:, margin:-margin]
    low = inner.min(axis=1, keepdims=True)
    reach = np.maximum(1e-10, np.ptp(inner, axis=1, keepdims=True))
    share = (slope - low) / reach
    steep = _steep_points(share, 0.60 if n > 20 else 0.30)
    valid = steep[:, 1:-1] & steep[:, 2:] & steep[:, :-2]
    place = np.arange(1, n - 1)
    valid &= (place >= margin) & (place <= n - margin) & (share[:, 1:-1] > 0)
    candidate = np.where(valid, share[:, 1:-1], -np.inf)
    best = candidate.argmax(axis=1)
    return np.where(valid.any(axis=1), best + 1, 0)


def _steep_points(share: np.ndarray, limit: float) -> np.ndarray:
    steep = share > limit
    count = steep.sum(axis=1)
    few = count < 3
    for divisor in (2.0, 4.0):
        again = few & (count <= 3)
        steep[again] = share[again] > limit / divisor
        count = steep.sum(axis=1)
    steep[count < 3] = True
    return np.asarray(steep)


def _smoothing(x: np.ndarray, step: float) -> np.ndarray:
    """Return the matrix of smoothing by a Lorentzian of half width `step`, transposed.

    The rows are resampled evenly, mirrored at both ends, convolved and sampled back.
    """
    first = step * int((x[0] - 5 * step) / step)
    last = step * int((x[-1] + 5 * step) / step)
    n = min(1 + int(abs(last - first + 0.1 * step) / step), 50 * x.size)
    even = np.linspace(first, last, n)
    rows, place = np.arange(n), np.clip(np.searchsorted(x, even) - 1, 0, x.size - 2)
    share = np.clip((even - x[place]) / (x[place + 1] - x[place]), 0.0, 1.0)
    there = np.zeros((n, x.size))
    there[rows, place], there[rows, place + 1] = 1.0 - share, share
    window = np.zeros(6 * n)  # the window itself begins at 2 n
    window[2 * n : 4 * n] = 1.0 / (1.0 + (np.arange(2 * n) - n) ** 2.0)
    window /= window.sum()
    low = np.clip(np.searchsorted(even, x) - 1, 0, n - 2)
    share = np.clip((x - even[low]) / (even[low + 1] - even[low]), 0.0, 1.0)
    back = np.zeros((x.size, n))
    ahead, behind = (sliding_window_view(w, n) for w in (window, window[::-1]))
    for at, weight in ((low, 1.0 - share), (low + 1, share)):
        near = behind[3 * n - 1 - at] + ahead[n + 1 + at]
        near[:, 1:] += ahead[3 * n + at, 1:]
        back += weight[:, None] * near
    return np.asarray((back @ there).T)


def noise_of(rows: np.ndarray, *, x: np.ndarray) -> np.ndarray:
    """Return the noise of spectra, from the deviation of values from four neighbours.

    It is the median over energies, so narrow structure does not count. Values next to
    gaps are not used.

    Parameters
    ----------
    rows : (N, m)
        Spectra.
    x : (m,)
        Energies.

    Returns
    -------
    (N,)
        Standard deviations; NaN for spectra of fewer than five energies.
    """
    if x.size < 5:
        return np.full(len(rows), np.nan)
    left = np.zeros((len(rows), x.size - 4))
    square = np.ones(x.size - 4)
    near = [x[k : x.size - 4 + k] for k in range(5)]
    for k in (0, 1, 3, 4):
        weight = np.ones(x.size - 4)
        for other in {0, 1, 3, 4} - {k}:
            weight *= (near[2] - near[other]) / (near[k] - near[other])
        left += weight * rows[:, k : x.size - 4 + k]
        square += weight**2
    left = np.abs(rows[:, 2:-2] - left) / np.sqrt(square)
    known = np.isfinite(left)
    out = np.full(len(rows), np.nan)
    some = known.any(axis=1)
    if known.all():
        return np.asarray(np.median(left, axis=1) / 0.6745)
    out[some] = np.nanmedian(np.where(known, left, np.nan)[some], axis=1) / 0.6745
    return out


def rivalled(
    rows: np.ndarray,
    found: np.ndarray,
    height: np.ndarray,
    *,
    x: np.ndarray,
    window: tuple[float, float],
) -> np.ndarray:
    """Tell in which rows energies far from the maximum are as high within noise."""
    noise = noise_of(rows, x=x)
    inside = (x >= window[0]) & (x <= window[1])
    with np.errstate(invalid="ignore"):
        high = rows[:, inside] >= (height - ALIKE * noise)[:, None]
        step = np.gradient(x)[inside] if x.size > 1 else np.ones(1)
        far = np.abs(x[inside] - found[:, None]) > np.maximum(APART, 1.01 * step)
    return np.asarray((high & far).any(axis=1))


@njit(nogil=True, cache=True)
def half_jump(
    x: Floats, data: FloatTable, level: float, low: float, high: float, out: Floats
) -> None:
    """Fill `out` (N,) with the first rise of each row of `data` through `level`.

    Only energies between `low` and `high` count; points are joined by lines.
    """
    for row in range(data.shape[0]):
        out[row] = np.nan
        before = -1
        for i in range(x.size):
            y = data[row, i]
            if not np.isfinite(y) or x[i] < low or x[i] > high:
                continue
            if y >= level and before >= 0 and data[row, before] < level:
                lower = data[row, before]
                share = (level - lower) / (y - lower)
                out[row] = x[before] + share * (x[i] - x[before])
                break
            before = i


@njit(nogil=True, cache=True)
def white_line(
    x: Floats, data: FloatTable, low: float, high: float, out: Floats, heights: Floats
) -> None:
    """Fill position and height of the maximum of each row, by a parabola.

    A maximum at the end of the range, or next to a gap, is not refined.
    """
    for row in range(data.shape[0]):
        best = -1
        out[row] = np.nan
        heights[row] = np.nan
        for i in range(x.size):
            y = data[row, i]
            usable = np.isfinite(y) and low <= x[i] <= high
            if usable and (best < 0 or y > data[row, best]):
                best = i
        if best < 0:
            continue
        out[row] = x[best]
        heights[row] = data[row, best]
        if best == 0 or best == x.size - 1:
            continue
        a, b = x[best - 1] - x[best], x[best + 1] - x[best]
        left = data[row, best - 1] - data[row, best]
        right = data[row, best + 1] - data[row, best]
        if not (np.isfinite(left) and np.isfinite(right)):
            continue
        curvature = (right / b - left / a) / (b - a)
        slope = left / a - curvature * a
        if curvature < 0.0:
            shift = -0.5 * slope / curvature
            if a < shift < b:
                out[row] += shift
                heights[row] += 0.5 * slope * shift


@njit(nogil=True, cache=True)
def on_pre_edge(
    x: Floats, data: FloatTable, found: Floats, level: float, dip: float, out: Ints
) -> None:
    """Tell for each row whether `found` precedes a dip that precedes the real rise.

    The real rise is the last one through `level` before the maximum.
    """
    for row in range(data.shape[0]):
        out[row] = False
        top = -1
        for i in range(x.size):
            if np.isfinite(data[row, i]) and (top < 0 or data[row, i] > data[row, top]):
                top = i
        if top < 0 or not np.isfinite(found[row]):
            continue
        rise = -1
        for i in range(top, -1, -1):
            if data[row, i] < level:
                rise = i
                break
        highest = -np.inf
        for i in range(rise + 1):
            if x[i] < found[row] or not np.isfinite(data[row, i]):
                continue
            highest = max(highest, data[row, i])
            if highest - data[row, i] > dip:
                out[row] = True
                break
