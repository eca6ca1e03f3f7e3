"""Find cosmic rays in spectra; arrays only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Bits of ``spike_flag``.
REPLACED, SUSPECT, MANY = 1, 2, 4
#: Widths of searched rays, in points.
_GAPS = (1, 3, 5)
#: Points on each side that predict the value without a ray.
_BESIDE = 3
#: Number of spectra in the median for comparison.
_NEIGHBOURS = 7
#: Least height of a ray, as a fraction of the range nearby.
_SHARE = 0.25
_NEARBY = 7
#: Least rise and fall of a ray within one point, as a fraction of its height.
_STEEP = 0.42
#: Least share of a model's variance that tells its scale.
_TELLS = 0.25
#: Deepest fall beside a ray, as a fraction of its height, or in errors.
_FALL, _STILL = 0.5, 4.0
#: Fraction of points above which there are too many rays.
_MOST = 0.02
_PASSES = 4
_MAD = 1.4826
#: Fraction of the threshold above which a remaining point may be a faint ray.
_FAINT = 0.65
_BLOCK = 4_000_000


class Despiked(NamedTuple):
    """Hold spectra without rays.

    Attributes
    ----------
    values : (..., m) float64
        Spectra with rays replaced.
    spike : (..., m) bool
        Points that were replaced.
    flag : (...) int8
        Bits: replaced, suspect, many.
    """

    values: np.ndarray
    spike: np.ndarray
    flag: np.ndarray


def series(values: np.ndarray, *, threshold: float, window: int) -> Despiked:
    """Find rays in (..., scans, m), comparing each scan with its neighbours."""
    shape = values.shape
    rows = np.array(values, np.float64).reshape(-1, *shape[-2:])
    parts = [_robust(group, threshold, window) for group in rows]
    return _together(parts, shape)


def single(values: np.ndarray, *, threshold: float, window: int) -> Despiked:
    """Find rays in (..., m), in each spectrum alone."""
    rows = np.array(values, np.float64).reshape(-1, 1, values.shape[-1])
    size = max(1, _BLOCK // values.shape[-1])
    parts = []
    for k in range(0, len(rows), size):
        group = rows[k : k + size, 0]
        parts.append(_search(group, np.zeros_like(group), threshold, window))
    return _together(parts, values.shape)


def whitaker_hayes(values: np.ndarray, *, threshold: float, window: int) -> Despiked:
    """Find rays by the modified z score of first differences.

    Notes
    -----
    Whitaker & Hayes, Chemom. Intell. Lab. Syst. 179, 82 (2018).
    """
    y = np.array(values, np.float64).reshape(-1, values.shape[-1])
    step = np.diff(y, axis=-1)
    middle = np.median(step, axis=-1, keepdims=True)
    mad = np.median(np.abs(step - middle), axis=-1, keepdims=True)
    z = 0.6745 * np.abs(step - middle) / np.where(mad > 0, mad, np.inf)
    jump = z > threshold
    spike = np.zeros(y.shape, bool)
    suspect = np.zeros(len(y), bool)
    out = y.copy()
    for row in np.flatnonzero(jump.any(axis=-1)):
        for a, b in _runs(jump[row], join=1):
            # The points of a ray lie between the step before it and the one after.
            first, last = a + 1, b
            if last < first:
                first, last = (a + 1, a + 1) if step[row, a] > 0 else (a, a)
            if last - first + 1 > window:
                suspect[row] = True
                continue
            spike[row, first : last + 1] = True
        _bridge(out[row], spike[row])
    return Despiked(
        out.reshape(values.shape),
        spike.reshape(values.shape),
        _flags(spike, suspect).reshape(values.shape[:-1]),
    )


def _together(parts: list[Despiked], shape: tuple[int, ...]) -> Despiked:
    values, spike, flag = (np.concatenate(x) for x in zip(*parts, strict=True))
    return Despiked(
        values.reshape(shape), spike.reshape(shape), flag.reshape(shape[:-1])
    )


def _robust(y: np.ndarray, threshold: float, window: int) -> Despiked:
    """Search (n, m) against the median of neighbours."""
    if len(y) < 5:
        return _search(y, np.zeros_like(y), threshold, window)
    expected = _scaled(_median_of_neighbours(y), y)
    return _search(y, expected, threshold, window, across=True)


def _median_of_neighbours(y: np.ndarray) -> np.ndarray:
    n = len(y)
    width = min(_NEIGHBOURS, n)
    first = np.clip(np.arange(n) - width // 2, 0, n - width)
    index = first[:, None] + np.arange(width)
    out = np.empty_like(y)
    size = max(1, _BLOCK // (n * width))
    for k in range(0, y.shape[1], size):
        out[:, k : k + size] = np.median(y[:, k : k + size][index], axis=1)
    return out


def _scaled(model: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Scale and offset each row of a model to fit the data without outliers.

    Where a band moved, its points are outliers, and what is left tells no scale: that
    of before is kept.
    """
    weight = np.ones_like(y)
    scale, whole = np.ones(len(y)), np.zeros(len(y))
    for _ in range(3):
        w = weight.sum(axis=1)
        mx, my = (weight * model).sum(1) / w, (weight * y).sum(1) / w
        dx = model - mx[:, None]
        sxx = (weight * dx * dx).sum(1)
        sxy = (weight * dx * (y - my[:, None])).sum(1)
        whole = np.maximum(whole, sxx)
        tells = (sxx > 0) & (sxx > _TELLS * whole)
        scale = np.where(tells, sxy / np.where(sxx > 0, sxx, 1), scale)
        out = my[:, None] + scale[:, None] * dx
        left = np.abs(y - out)
        weight = (left <= 4 * _MAD * np.median(left, axis=1, keepdims=True)) * 1.0
    return out


def _search(
    y: np.ndarray,
    expected: np.ndarray,
    threshold: float,
    window: int,
    *,
    across: bool = False,
) -> Despiked:
    """Search residuals for rays, repeatedly where some were found."""
    left = y - expected
    out = left.copy()
    spike = np.zeros(y.shape, bool)
    suspect = np.zeros(len(y), bool)
    rows = np.arange(len(y))
    sd = _noise(left, y, across)
    for _ in range(_PASSES):
        found, doubtful = _candidates(out[rows], sd[rows], threshold, window, across)
        suspect[rows] |= doubtful
        new = found & ~spike[rows]
        rows = rows[new.any(axis=1)]
        if not rows.size:
            break
        spike[rows] |= found[new.any(axis=1)]
        for row in rows:
            out[row] = left[row]
            _bridge(out[row], spike[row])
    values = np.where(spike, out + expected, y)
    return Despiked(values, spike, _flags(spike, suspect))


def _flags(spike: np.ndarray, suspect: np.ndarray) -> np.ndarray:
    share = spike.mean(axis=-1)
    flag = np.where(share > 0, REPLACED, 0) | np.where(suspect, SUSPECT, 0)
    return np.asarray(flag | np.where(share > _MOST, MANY, 0)).astype(np.int8)


def _stands_out(e: np.ndarray, gap: int) -> np.ndarray:
    """Return the excess of points over a parabola through the points around a gap."""
    half = gap // 2
    offsets = np.arange(half + 1, half + 1 + _BESIDE, dtype=float)
    both = np.concatenate([-offsets[::-1], offsets])
    weights = np.linalg.pinv(np.vander(both, 3, increasing=True))[0]
    reach = half + _BESIDE
    padded = np.pad(e, ((0, 0), (reach, reach)), "reflect", reflect_type="odd")
    m = e.shape[1]
    predicted = sum(
        w * padded[:, reach + int(o) : reach + int(o) + m]
        for w, o in zip(weights, both, strict=True)
    )
    return np.asarray((e - predicted) / np.sqrt(1 + weights @ weights))


def _noise(e: np.ndarray, y: np.ndarray, across: bool) -> np.ndarray:
    """Return the noise of every point: over the series, else by the level."""
    rough = _stands_out(e, 1)
    floor = _MAD * np.median(np.abs(rough), axis=1, keepdims=True)
    if across:
        sd = _MAD * np.median(np.abs(rough), axis=0)
        near = np.lib.stride_tricks.sliding_window_view(np.pad(sd, 2, "edge"), 5)
        return np.maximum(np.median(near, axis=1)[None], 0.7 * floor) + _TINY
    level = _rolling_median(y, 9)
    order = np.argsort(level, axis=1)
    ranked = np.take_along_axis(np.abs(rough), order, 1)
    pieces = np.array_split(ranked, 6, axis=1)
    sds = np.maximum.accumulate([_MAD * np.median(p, axis=1) for p in pieces])
    steps = np.repeat(sds, [p.shape[1] for p in pieces], axis=0).T
    sd = np.empty_like(e)
    np.put_along_axis(sd, order, steps, 1)
    return np.maximum(sd, floor) + _TINY


_TINY = 1e-300


def _rolling_median(y: np.ndarray, width: int) -> np.ndarray:
    half = width // 2
    padded = np.pad(y, ((0, 0), (half, half)), "edge")
    view = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)
    return np.asarray(np.median(view, axis=2))


def _candidates(
    e: np.ndarray, sd: np.ndarray, threshold: float, window: int, across: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return which points belong to rays, and which rows hold a doubtful one.

    A band that moved leaves a rise beside a fall `across` the series: no ray.
    """
    scores = np.stack([_stands_out(e, gap) for gap in _GAPS]) / sd
    score = scores.max(axis=0)
    high = score > threshold
    found = np.zeros(e.shape, bool)
    doubtful = (score > _FAINT * threshold).any(axis=1) & ~high.any(axis=1)
    for row in np.flatnonzero(high.any(axis=1)):
        for a, b in _runs(high[row], join=1):
            top = a + int(np.argmax(e[row, a : b + 1]))
            first, last = _extent(e[row], sd[row], top, window)
            low, end = max(0, first - _NEARBY), min(e.shape[1], last + 1 + _NEARBY)
            around = np.concatenate([e[row, low:first], e[row, last + 1 : end]])
            ends = max(first - 1, 0), min(last + 1, e.shape[1] - 1)
            inside = np.arange(ends[0], ends[1] + 1)
            above = e[row, inside] - np.interp(inside, ends, e[row, list(ends)])
            at = top - ends[0]
            height = above[at]
            steep = min(
                np.diff(above[: at + 1]).max(initial=0.0),
                -np.diff(above[at:]).min(initial=0.0),
            )
            spread = np.ptp(around) if around.size else 0.0
            sharp = height >= _SHARE * (spread + height) and steep >= _STEEP * height
            if across and around.size:
                fall = float(np.median(around) - around.min())
                sharp &= fall < max(_FALL * height, _STILL * sd[row, top])
            if sharp and last - first + 1 <= window:
                found[row, first : last + 1] = True
            else:
                doubtful[row] = True
    return found, doubtful


def _extent(e: np.ndarray, sd: np.ndarray, top: int, window: int) -> tuple[int, int]:
    """Return the first and last point of a top that exceed the points around it."""
    first = last = top
    half = window // 2
    for _ in range(half):
        beside = max(0, first - 3)
        if first - 1 > 0 and e[first - 1] - np.median(
            e[beside : first - 1] if first - 1 > beside else e[:1]
        ) > max(3 * sd[first - 1], 0.02 * (e[top] - e[first - 1])):
            first -= 1
        else:
            break
    for _ in range(half):
        after = e[last + 2 : last + 4]
        if (
            last + 1 < e.size - 1
            and after.size
            and e[last + 1] - np.median(after)
            > max(3 * sd[last + 1], 0.02 * (e[top] - e[last + 1]))
        ):
            last += 1
        else:
            break
    return first, last


def _runs(marked: np.ndarray, *, join: int) -> list[tuple[int, int]]:
    """Return first and last index of each run; runs `join` apart are one."""
    at = np.flatnonzero(marked)
    if not at.size:
        return []
    cuts = np.flatnonzero(np.diff(at) > join + 1)
    first = at[np.concatenate([[0], cuts + 1])]
    last = at[np.concatenate([cuts, [at.size - 1]])]
    return list(zip(first.tolist(), last.tolist(), strict=True))


def _bridge(e: np.ndarray, spike: np.ndarray) -> None:
    """Replace each ray by a parabola through the good points around it."""
    good = np.flatnonzero(~spike)
    for a, b in _runs(spike, join=0):
        before = good[good < a][-_BESIDE:]
        after = good[good > b][:_BESIDE]
        x = np.concatenate([before, after])
        if not x.size:
            continue
        degree = min(2, x.size - 1) if before.size and after.size else 0
        centre = 0.5 * (a + b)
        powers = np.polynomial.polynomial.polyfit(x - centre, e[x], degree)
        e[a : b + 1] = np.polynomial.polynomial.polyval(
            np.arange(a, b + 1) - centre, powers
        )
