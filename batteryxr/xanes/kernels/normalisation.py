"""Normalise and flatten spectra as Athena and Larch do; compute levels at the edge.

Spectra that share an E0 share ranges and polynomials, so all of them are one product
with a small matrix. The rules follow M. Newville's Larch, `pre_edge`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


NO_DATA, NO_STEP, NEGATIVE_STEP = 1, 2, 4
RANGE_EMPTY, RANGE_ON_EDGE, E0_ISOLATED, RANGE_UNEVEN, E0_IN_GAP = 8, 16, 32, 64, 128
#: Fraction of the step by which a pre-edge range may bend up before it lies on the
#: edge, and the least multiple of the scatter about its line.
_BEND, _BENDS = 0.1, 6.0
#: Scatter about the pre-edge line and the post-edge polynomial, as a share of the step,
#: and least multiple of the noise, above which a range holds something else.
_UNEVEN, _LOUD = (0.06, 0.15), 5.0
#: Least fraction of a real rise that remains beyond the neighbouring points.
_KEPT = 0.2
#: Highest degree of the post-edge polynomial, and least edge step.
MAX_DEGREE, LEAST_STEP = 5, 1e-12


@dataclass(frozen=True)
class Ranges:
    """Hold ranges relative to E0 in eV, and the degree of the post-edge polynomial."""

    pre_low: float
    pre_high: float
    post_low: float
    post_high: float
    degree: int
    constant: bool
    flag: int = 0


def choose_ranges(
    x: np.ndarray,
    e0: float,
    pre: tuple[float | None, float | None],
    post: tuple[float | None, float | None],
    degree: int | None,
) -> Ranges:
    """Return the ranges, with defaults for those that are None."""
    low, high = pre
    nearest = int(np.abs(x - e0).argmin())
    if low is None:
        unit = 5.0 if nearest > 20 else 2.0  # the first point is often bad
        low = unit * round((x[1] - e0) / unit)
    low = max(low, x[0] - e0)
    high = 0.5 * low if high is None else high
    low, high = min(low, high), max(low, high)
    constant = at_or_below(x - e0, high) - at_or_below(x - e0, low) < 3

    start, end = post
    end = 5.0 * round((x[-1] - e0) / 5.0) if end is None else end
    if end < 0:
        end = x[-1] - e0 - end
    end = min(end, x[-1] - e0)
    start = min(25.0, 5.0 * round(end / 15.0)) if start is None else start
    start, end = min(start, end), max(start, end)
    start = min(start, end - 2.0)
    if degree is None:
        degree = 2 if end - start >= 300 else 1 if end - start >= 30 else 0
    degree = max(min(degree, MAX_DEGREE), 0)
    flag = RANGE_ON_EDGE if high >= 0.0 or start <= 0.0 else 0
    if _is_empty(x - e0, pre, 2) or _is_empty(x - e0, post, max(degree + 1, 2)):
        flag |= RANGE_EMPTY
    return Ranges(low, high, start, end, degree, constant, flag)


def _is_empty(
    x: np.ndarray, asked: tuple[float | None, float | None], least: int
) -> bool:
    """Tell whether a given range holds fewer energies than a fit needs."""
    if asked == (None, None):
        return False
    low = -np.inf if asked[0] is None else asked[0]
    high = np.inf if asked[1] is None or asked[1] < 0 < low else asked[1]
    low, high = min(low, high), max(low, high)
    return bool(np.count_nonzero((x >= low) & (x <= high)) < least)


def normalise(
    data: np.ndarray,
    e0: np.ndarray,
    *,
    x: np.ndarray,
    pre: tuple[float | None, float | None],
    post: tuple[float | None, float | None],
    degree: int | None,
    victoreen: int,
    curves: bool,
) -> tuple[np.ndarray, ...]:
    """Normalise and flatten spectra.

    Parameters
    ----------
    data : (..., m)
        Absorption.
    e0 : (...)
        Edge energies.
    x : (m,)
        Energies.
    pre, post, degree, victoreen
        Ranges relative to E0, degree of the post-edge polynomial, and power of the
        energy that multiplies the pre-edge line; None: defaults.
    curves
        Whether to return the two background curves too.

    Returns
    -------
    normalised, flattened : (..., m)
    step : (...)
    flags : (...) uint8
    pre_edge, post_edge : (..., m), only with `curves`
    """
    shape = data.shape
    rows = data.reshape(-1, shape[-1])
    origin = np.broadcast_to(e0, shape[:-1]).reshape(-1)
    kept = data.dtype if data.dtype == np.float32 else np.dtype(float)
    wide = [np.full(rows.shape, np.nan, kept) for _ in range(4 if curves else 2)]
    step = np.full(len(rows), np.nan, kept)
    flags = np.full(len(rows), NO_DATA, np.uint8)
    for chosen, there in by_pattern(rows):
        energies = x[there]
        for value in np.unique(origin[chosen]):
            if there.sum() < 5 or not energies[0] < value < energies[-1]:
                continue
            picked = chosen[origin[chosen] == value]
            ranges = choose_ranges(energies, value, pre, post, degree)
            for part in _slabs(picked):
                y = rows[np.ix_(part, there)].astype(float)
                out, steps = _with_common_e0(energies, y, value, ranges, victoreen)
                flags[part] = np.where(steps < 0, NEGATIVE_STEP, 0) | ranges.flag
                flags[part[_bends(energies - value, out, ranges)]] |= RANGE_ON_EDGE
                flags[part[_uneven(energies - value, out, ranges)]] |= RANGE_UNEVEN
                flags[part[np.abs(steps) <= LEAST_STEP]] = NO_STEP
                step[part] = np.maximum(np.abs(steps), LEAST_STEP)
                for target, source in zip(wide, out, strict=False):
                    target[np.ix_(part, there)] = source
    for target in wide[:2]:
        target[flags == NO_STEP] = np.nan
    step[flags == NO_STEP] = np.nan
    normal, flat, *backgrounds = (a.reshape(shape) for a in wide)
    return (
        normal,
        flat,
        step.reshape(shape[:-1]),
        flags.reshape(shape[:-1]),
        *backgrounds,
    )


def _bends(x: np.ndarray, curves: tuple[np.ndarray, ...], ranges: Ranges) -> np.ndarray:
    """Tell which normalised spectra rise inside the range of their pre-edge line."""
    inside = curves[0][:, (x >= ranges.pre_low) & (x <= ranges.pre_high)]
    out = np.zeros(len(inside), bool)
    if inside.shape[1] < 5:
        return out
    some = np.flatnonzero(inside[:, -1] > _BEND)
    # A few points tell their scatter badly: those after the edge do, too.
    scatter = 1.4826 * np.median(np.abs(inside[some]), axis=1)
    scatter = np.maximum(scatter, _noise_after(x, curves[1][some], ranges))
    out[some] = inside[some, -1] > _BENDS * scatter
    return out


def _noise_after(x: np.ndarray, flat: np.ndarray, ranges: Ranges) -> np.ndarray:
    """Return the noise after the edge, from second differences; 0 of a few points."""
    after = flat[:, (x >= ranges.post_low) & (x <= ranges.post_high)]
    if after.shape[1] < 5:
        return np.zeros(len(flat))
    change = np.abs(np.diff(after, n=2, axis=1))
    return np.asarray(np.median(change, axis=1) / (0.6745 * np.sqrt(6)))


def _uneven(
    x: np.ndarray, curves: tuple[np.ndarray, ...], ranges: Ranges
) -> np.ndarray:
    """Tell in which spectra a range holds more than a line and noise.

    That may be the start of a scan, a jump of the detector, or another edge.
    """
    out = np.zeros(len(curves[0]), bool)
    limits = (ranges.pre_low, ranges.pre_high), (ranges.post_low, ranges.post_high)
    for (low, high), curve, most in zip(limits, curves, _UNEVEN, strict=False):
        inside = curve[:, (x >= low) & (x <= high)]
        if inside.shape[1] < 5:
            continue
        scatter = inside.std(axis=1)
        some = np.flatnonzero(scatter > most)
        change = np.abs(np.diff(inside[some], axis=1))
        noise = np.median(change, axis=1) / (0.6745 * np.sqrt(2))
        # A few points may look calm by chance.
        noise = np.maximum(noise, 0.5 * _noise_after(x, curves[1][some], ranges))
        out[some] |= scatter[some] > _LOUD * noise
    return out


def is_isolated(data: np.ndarray, e0: np.ndarray, *, x: np.ndarray) -> np.ndarray:
    """Tell whether the rise at E0 is one or two isolated points.

    They differ from their neighbours by more than half of the local range, and there
    is no rise beyond them.

    Parameters
    ----------
    data : (..., m)
        Absorption.
    e0 : (...)
        Energies of the steepest rise.
    x : (m,)
        Energies.

    Returns
    -------
    (...) bool
    """
    rows = data.reshape(-1, data.shape[-1])
    origin = np.broadcast_to(e0, data.shape[:-1]).reshape(-1)
    out = np.zeros(len(rows), bool)
    for chosen, there in by_pattern(rows):
        energies = x[there]
        usable = chosen[np.isfinite(origin[chosen])]
        if energies.size < 15 or not usable.size:
            continue
        for part in _slabs(usable):
            place = np.searchsorted(energies, origin[part])
            at = np.clip(place, 6, energies.size - 7)[:, None] + np.arange(-6, 7)
            y = np.take_along_axis(rows[np.ix_(part, there)].astype(float), at, axis=1)
            out[part] = _stands_alone(y)
    return out.reshape(data.shape[:-1])


def _stands_alone(y: np.ndarray) -> np.ndarray:
    """Tell if spectra cut out about E0, their seventh point, have an isolated point."""
    reach = np.maximum(np.ptp(y[:, 4:9], axis=1), LEAST_STEP)
    left = np.median(y[:, 0:5], axis=1)
    right = np.median(y[:, 8:13], axis=1)
    sides = np.stack([np.delete(y[:, k - 2 : k + 3], 2, axis=1) for k in (5, 6, 7)])
    apart = np.abs(y[:, 5:8].T - np.median(sides, axis=2)).max(axis=0)
    return np.asarray((right - left < _KEPT * reach) & (apart > 0.5 * reach))


def _with_common_e0(
    x: np.ndarray, y: np.ndarray, e0: float, ranges: Ranges, victoreen: int
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    first = at_or_below(x, ranges.pre_low + e0)
    last = int(np.abs(x - ranges.pre_high - e0).argmin())
    power = 0 if ranges.constant else victoreen
    if ranges.constant:
        last = max(last, first + 1)
    elif last - first < 2:
        last = min(x.size, first + 2)
    weight = x**power if power else x
    part = slice(first, last)
    below = y[:, part] if power == 0 else y[:, part] * weight[part]
    before = _extrapolated(x, below, part, e0, 0 if ranges.constant else 1)
    if power:
        before /= weight

    degree = ranges.degree
    first = min(at_or_below(x, ranges.post_low + e0), x.size - 3)
    last = int(np.abs(x - ranges.post_high - e0).argmin())
    if last - first < 2:
        first, degree = first - 2, 0
    elif last - first < 5:
        degree = min(1, degree)
    above = y - before
    part = slice(first, last)
    rise = _extrapolated(x, above[:, part], part, e0, degree)

    nearest = int(np.abs(x - e0).argmin())
    steps = rise[:, nearest].copy()
    size = np.maximum(np.abs(steps), LEAST_STEP)[:, None]
    normal = above / size
    flat = normal.copy()
    flat[:, nearest:] -= (rise[:, nearest:] - rise[:, nearest, None]) / size
    return (normal, flat, before, before + rise), steps


def _extrapolated(
    x: np.ndarray, y: np.ndarray, part: slice, e0: float, degree: int
) -> np.ndarray:
    """Return polynomials fitted to `y` (rows, values in `part`) at every energy."""
    far = max(abs(x[part.start] - e0), abs(x[part.stop - 1] - e0), 1.0)
    scaled = (x - e0) / far
    powers = np.ones((degree + 1, x.size))
    for k in range(1, degree + 1):
        np.multiply(powers[k - 1], scaled, out=powers[k])
    q, r = np.linalg.qr(powers[:, part].T)
    if len(r) <= degree or np.abs(np.diagonal(r)).min() <= 1e-13 * np.abs(r).max():
        return np.asarray(y @ np.linalg.pinv(powers[:, part]) @ powers)
    return np.asarray((y @ q) @ np.linalg.solve(r.T, powers))


def at_or_below(x: np.ndarray, value: float) -> int:
    """Return the index of the last energy that is not above `value`, at least 0."""
    return max(int(np.searchsorted(x, value, side="right")) - 1, 0)


def by_pattern(rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows that lack the same energies, and which energies they have."""
    there = np.isfinite(rows)
    whole = there.all(axis=1)
    if whole.any():
        yield np.flatnonzero(whole), np.ones(rows.shape[1], bool)
    rest = np.flatnonzero(~whole)
    if rest.size:
        patterns, which = np.unique(there[rest], axis=0, return_inverse=True)
        for k, pattern in enumerate(patterns):
            yield rest[which.reshape(-1) == k], pattern


def per_pattern(
    data: np.ndarray, x: np.ndarray, function: Callable[..., np.ndarray], least: int
) -> np.ndarray:
    """Apply a function of (energies, complete rows) to rows that may have gaps.

    Rows with fewer than `least` energies give NaN.
    """
    rows = data.reshape(-1, data.shape[-1])
    out = np.full(len(rows), np.nan)
    for chosen, there in by_pattern(rows):
        if there.sum() >= least:
            for part in _slabs(chosen):
                out[part] = function(x[there], rows[np.ix_(part, there)].astype(float))
    return out.reshape(data.shape[:-1])


def _slabs(indices: np.ndarray, size: int = 8192) -> Iterator[np.ndarray]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def edge_levels(
    data: np.ndarray, *, pre: np.ndarray, post: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sample standard deviation below the edge, and the step over it.

    Parameters
    ----------
    data : (..., m)
        Spectra; values that are not finite are left out.
    pre, post : (m,) bool
        Energies below and above the edge.

    Returns
    -------
    noise, step : (...)
        NaN where no energy is left.
    """
    before = np.array(data[..., pre], dtype=float)
    after = np.array(data[..., post], dtype=float)
    before[~np.isfinite(before)] = np.nan
    after[~np.isfinite(after)] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # empty rows give NaN
        noise = np.nanstd(before, axis=-1, ddof=1)
        step = np.nanmean(after, axis=-1) - np.nanmean(before, axis=-1)
    return noise, step


def pooled_sd(deviations: np.ndarray, n: int) -> float:
    """Return the common standard deviation of many samples of size `n`.

    It is the median of the sample deviations, corrected for its bias: for normal noise
    the median of s² (n - 1) / sigma² is that of chi-squared with n - 1 degrees of
    freedom.
    """
    from scipy.special import chdtri

    usable = deviations[np.isfinite(deviations) & (deviations > 0)]
    if usable.size == 0:
        return 0.0
    return float(np.median(usable) / np.sqrt(chdtri(n - 1, 0.5) / (n - 1)))
