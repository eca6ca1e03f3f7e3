"""Normalise and flatten spectra as Athena and Larch do; compute levels at the edge.

Spectra that share an E0 share ranges and polynomials, so all of them are one product
with a small matrix. The rules follow M. Newville's Larch, `pre_edge`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.xanes.kernels import gaps

if TYPE_CHECKING:
    from collections.abc import Iterator


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


class Ranges(NamedTuple):
    """Hold ranges relative to E0 in eV, and the degree of the post-edge polynomial.

    Each is an array with one value for each row of energies.
    """

    pre_low: np.ndarray
    pre_high: np.ndarray
    post_low: np.ndarray
    post_high: np.ndarray
    degree: np.ndarray
    constant: np.ndarray
    flag: np.ndarray

    def of(self, some: np.ndarray) -> Ranges:
        """Return the ranges of some rows, or the one that all rows share."""
        return self if len(self.degree) == 1 else Ranges(*(v[some] for v in self))


def choose_ranges(
    x: np.ndarray,
    e0: np.ndarray,
    pre: tuple[float | None, float | None],
    post: tuple[float | None, float | None],
    degree: int | None,
) -> Ranges:
    """Return the ranges, with defaults for those that are None.

    Parameters
    ----------
    x : (R, k)
        Energies of each row.
    e0 : (R,)
        Edge energies.
    pre, post, degree
        As in `normalise`.
    """
    away, one = x - e0[:, None], np.ones(len(x))
    first, last = x[:, 0] - e0, x[:, -1] - e0
    if pre[0] is None:  # the first point is often bad
        unit = np.where(np.abs(away).argmin(axis=1) > 20, 5.0, 2.0)
        low = unit * np.round(away[:, 1] / unit)
    else:
        low = pre[0] * one
    low = np.maximum(low, first)
    high = 0.5 * low if pre[1] is None else pre[1] * one
    low, high = np.minimum(low, high), np.maximum(low, high)
    constant = _at_or_below(away, high) - _at_or_below(away, low) < 3

    end = 5.0 * np.round(last / 5.0) if post[1] is None else post[1] * one
    end = np.minimum(np.where(end < 0, last - end, end), last)
    start = post[0] * one if post[0] is not None else 5.0 * np.round(end / 15.0)
    if post[0] is None:
        start = np.minimum(25.0, start)
    start, end = np.minimum(start, end), np.maximum(start, end)
    start = np.minimum(start, end - 2.0)
    span = end - start
    by_span = np.where(span >= 300, 2, np.where(span >= 30, 1, 0))
    degrees = np.clip(by_span if degree is None else degree, 0, MAX_DEGREE) * one
    flag = np.where((high >= 0.0) | (start <= 0.0), RANGE_ON_EDGE, 0).astype(np.uint8)
    least = np.maximum(degrees + 1, 2)
    flag[_is_empty(away, pre, 2 * one) | _is_empty(away, post, least)] |= RANGE_EMPTY
    return Ranges(low, high, start, end, degrees.astype(int), constant, flag)


def _is_empty(
    away: np.ndarray, asked: tuple[float | None, float | None], least: np.ndarray
) -> np.ndarray:
    """Tell whether a given range holds fewer energies than a fit needs."""
    if asked == (None, None):
        return np.zeros(len(away), bool)
    low = -np.inf if asked[0] is None else asked[0]
    high = np.inf if asked[1] is None or asked[1] < 0 < low else asked[1]
    low, high = min(low, high), max(low, high)
    return np.asarray(((away >= low) & (away <= high)).sum(axis=1) < least)


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
    for group in _groups(rows, origin, x):
        place, energies, y = group.of(rows, x)
        value = origin[group.chosen[: len(energies)]]
        ranges = choose_ranges(energies, value, pre, post, degree)
        if len(energies) == 1:
            out, steps = _with_common_e0(energies[0], y, value[0], ranges, victoreen)
        else:
            out, steps = _with_own_energies(energies, y, value, ranges, victoreen)
        away = energies - value[:, None]
        found = np.where(steps < 0, NEGATIVE_STEP, 0).astype(np.uint8) | ranges.flag
        found[_bends(away, out, ranges)] |= RANGE_ON_EDGE
        found[_uneven(away, out, ranges)] |= RANGE_UNEVEN
        found[np.abs(steps) <= LEAST_STEP] = NO_STEP
        flags[group.chosen] = found
        step[group.chosen] = np.maximum(np.abs(steps), LEAST_STEP)
        for target, source in zip(wide, out, strict=False):
            target[place] = source
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


class _Group(NamedTuple):
    """Hold rows that are normalised together: of one E0, or with gaps alike."""

    chosen: np.ndarray
    at: np.ndarray | None = None

    def of(
        self, rows: np.ndarray, x: np.ndarray
    ) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
        """Return the places of their values, the energies (1 or R, k) and values."""
        place = (self.chosen,) if self.at is None else (self.chosen[:, None], self.at)
        energies = x[None] if self.at is None else x[self.at]
        return place, energies, rows[place].astype(float)


def _groups(rows: np.ndarray, origin: np.ndarray, x: np.ndarray) -> Iterator[_Group]:
    """Yield the rows that have five values, and an E0 inside their energies."""
    whole = np.isfinite(rows).all(axis=1) & (origin > x[0]) & (origin < x[-1])
    for value in np.unique(origin[whole]) if x.size >= 5 else ():
        for chosen in _slabs(np.flatnonzero(whole & (origin == value))):
            yield _Group(chosen)
    for alike in gaps.packed(rows, 5):
        first, last = x[alike.at[:, 0]], x[alike.at[:, -1]]
        value = origin[alike.chosen]
        inside = alike.part((first < value) & (value < last))
        if len(inside.chosen):
            yield _Group(*inside)


def _cut(
    away: np.ndarray, low: np.ndarray, high: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the values in a range, and where they are; a shared range is cut out."""
    inside = (away >= low[:, None]) & (away <= high[:, None])
    if len(inside) == 1:
        values = values[:, inside[0]]
        inside = np.ones((1, values.shape[1]), bool)
    return values, inside


def _of(some: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the masks of some rows; of all where they share one."""
    return inside if len(inside) == 1 else inside[some]


def _bends(away: np.ndarray, curves: tuple[np.ndarray, ...], r: Ranges) -> np.ndarray:
    """Tell which normalised spectra rise inside the range of their pre-edge line."""
    before, inside = _cut(away, r.pre_low, r.pre_high, curves[0])
    out = np.zeros(len(before), bool)
    if before.shape[1] < 5:
        return out
    count = np.broadcast_to(inside.sum(axis=1), len(before))
    end = before.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
    last = before[np.arange(len(before)), end]
    some = np.flatnonzero((count >= 5) & (last > _BEND))
    if not some.size:
        return out
    # A few points tell their scatter badly: those after the edge do, too.
    scatter = 1.4826 * gaps.median(np.abs(before[some]), _of(some, inside))
    after = _noise_after(_of(some, away), curves[1][some], r.of(some))
    out[some] = last[some] > _BENDS * np.maximum(scatter, after)
    return out


def _noise_after(away: np.ndarray, flat: np.ndarray, r: Ranges) -> np.ndarray:
    """Return the noise after the edge, from second differences; 0 of a few points."""
    after, inside = _cut(away, r.post_low, r.post_high, flat)
    if after.shape[1] < 5:
        return np.zeros(len(flat))
    known = inside[:, 2:] & inside[:, :-2]
    change = gaps.median(np.abs(np.diff(after, n=2, axis=1)), known)
    return np.where(inside.sum(axis=1) < 5, 0.0, change / (0.6745 * np.sqrt(6)))


def _uneven(away: np.ndarray, curves: tuple[np.ndarray, ...], r: Ranges) -> np.ndarray:
    """Tell in which spectra a range holds more than a line and noise.

    That may be the start of a scan, a jump of the detector, or another edge.
    """
    out = np.zeros(len(curves[0]), bool)
    limits = (r.pre_low, r.pre_high), (r.post_low, r.post_high)
    for (low, high), curve, most in zip(limits, curves, _UNEVEN, strict=False):
        values, inside = _cut(away, low, high, curve)
        count = np.broadcast_to(inside.sum(axis=1), len(values))
        scatter = gaps.deviation(values, inside)
        some = np.flatnonzero((count >= 5) & (scatter > most))
        if not some.size:
            continue
        mask = _of(some, inside)
        change = np.abs(np.diff(values[some], axis=1))
        noise = gaps.median(change, mask[:, 1:] & mask[:, :-1]) / (0.6745 * np.sqrt(2))
        # A few points may look calm by chance.
        after = _noise_after(_of(some, away), curves[1][some], r.of(some))
        out[some] |= scatter[some] > _LOUD * np.maximum(noise, 0.5 * after)
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
    known = np.isfinite(origin)
    whole = np.flatnonzero(known & np.isfinite(rows).all(axis=1))
    every = np.arange(x.size)[None]
    groups = (
        [gaps.Packed(part, every) for part in _slabs(whole)] if x.size >= 15 else []
    )
    for part in (*groups, *gaps.packed(rows, 15)):
        energies, value = x[part.at], origin[part.chosen][:, None]
        place = (energies < value).sum(axis=1, keepdims=True)
        near = np.clip(place, 6, energies.shape[1] - 7) + np.arange(-6, 7)
        at = np.take_along_axis(
            np.broadcast_to(part.at, (len(near), energies.shape[1])), near, axis=1
        )
        out[part.chosen] = _stands_alone(rows[part.chosen[:, None], at].astype(float))
    out &= known
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
    r = Ranges(*(v[0] for v in ranges))
    first = at_or_below(x, float(r.pre_low) + e0)
    last = int(np.abs(x - r.pre_high - e0).argmin())
    power = 0 if r.constant else victoreen
    if r.constant:
        last = max(last, first + 1)
    elif last - first < 2:
        last = min(x.size, first + 2)
    weight = x**power if power else x
    part = slice(first, last)
    below = y[:, part] if power == 0 else y[:, part] * weight[part]
    before = _extrapolated(x, below, part, e0, 0 if r.constant else 1)
    if power:
        before /= weight

    degree = int(r.degree)
    first = min(at_or_below(x, float(r.post_low) + e0), x.size - 3)
    last = int(np.abs(x - r.post_high - e0).argmin())
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


def _with_own_energies(
    x: np.ndarray, y: np.ndarray, e0: np.ndarray, r: Ranges, victoreen: int
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Do the same for rows that each have their own energies and E0."""
    k, place, rows = x.shape[1], np.arange(x.shape[1]), np.arange(len(x))
    first = _at_or_below(x, r.pre_low + e0)
    last = np.abs(x - (r.pre_high + e0)[:, None]).argmin(axis=1)
    more = np.where(last - first < 2, np.minimum(k, first + 2), last)
    last = np.where(r.constant, np.maximum(last, first + 1), more)
    power = np.where(r.constant, 0, victoreen)[:, None]
    weight = x**power if victoreen else 1.0
    inside = (place >= first[:, None]) & (place < last[:, None])
    before = gaps.fitted(x, y * weight, inside, np.where(r.constant, 0, 1)) / weight

    first = np.minimum(_at_or_below(x, r.post_low + e0), k - 3)
    last = np.abs(x - (r.post_high + e0)[:, None]).argmin(axis=1)
    few = last - first < 2
    degree = np.where(last - first < 5, np.minimum(1, r.degree), r.degree)
    first, degree = np.where(few, first - 2, first), np.where(few, 0, degree)
    inside = (place >= first[:, None]) & (place < last[:, None])
    above = y - before
    rise = gaps.fitted(x, above, inside, degree)

    nearest = np.abs(x - e0[:, None]).argmin(axis=1)
    steps = rise[rows, nearest]
    size = np.maximum(np.abs(steps), LEAST_STEP)[:, None]
    normal = above / size
    lift = np.where(place >= nearest[:, None], rise - steps[:, None], 0.0)
    return (normal, normal - lift / size, before, before + rise), steps


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


def _at_or_below(x: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return the same for each row of energies (R, k)."""
    return np.maximum((x <= value[:, None]).sum(axis=1) - 1, 0)


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
