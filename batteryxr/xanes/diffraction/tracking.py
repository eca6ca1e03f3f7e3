"""Follow a lattice along a series: reflections are located roughly, all together."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.xanes.diffraction.geometry import place
from batteryxr.xanes.diffraction.instrument import from_q, to_q
from batteryxr.xanes.diffraction.profiles import fit_positions, second_line
from batteryxr.xanes.diffraction.solved import COEXISTING

if TYPE_CHECKING:
    from batteryxr.xanes.diffraction.cells import Reflections
    from batteryxr.xanes.diffraction.geometry import Asked
    from batteryxr.xanes.diffraction.profiles import Positions

#: Trial widths, in steps of the axis.
_WIDTHS = (3.0, 5.0, 8.0, 13.0, 20.0, 32.0)
#: Largest moves of a lattice between scans, in steps of the grid, and their cost in
#: the score; the cost of any larger move.
_REACHES = ((3, 0.0), (15, 1.0))
_FAR = 2.5
#: Number of reflections used to find the lattice.
_MOST, _MANY = 12, 40
#: Largest relative move of single coefficients of a metric.
_ANISOTROPIC = 0.012
_BLOCK = 3_000_000
#: Number of reflections that give the width of all.
_STRONG = 12
#: Another lattice is seen if so many of its reflections exceed the noise so far, and
#: this share of them; only those this many widths from any of the scan's own count.
_TELLING, _CLEAR, _SEEN, _APART = 3, 5.0, 0.8, 1.5


class Track(NamedTuple):
    """Hold a lattice along a series.

    Attributes
    ----------
    metric : (N, free) float64
        Coefficients of the reciprocal metric.
    width : float
        Width of the reflections, in points of the axis.
    score : (N,) float64
        Summed signal to noise of the reflections.
    doubt : (N,) int8
        ``COEXISTING`` where a lattice found in other scans is seen too.
    """

    metric: np.ndarray
    width: float
    score: np.ndarray
    doubt: np.ndarray


def tracked(
    x: np.ndarray, y: np.ndarray, lines: Reflections, asked: Asked, strain: float
) -> tuple[Track, np.ndarray]:
    """Find the approximate lattice, and the width of reflections, in each pattern."""
    step = float(np.diff(x).mean())
    some = np.unique(np.linspace(0, len(y) - 1, min(len(y), 60)).astype(int))
    find = partial(follow, axis=asked.axis, wavelength=asked.wavelength, strain=strain)
    track = find(x, y[some], lines)
    strong = lines.keep(np.argsort(-lines.strength, kind="stable")[:_STRONG])
    widths = np.full(some.size, track.width * step)
    for _ in range(2):  # repeat, in windows that are wide enough
        start = place(track.metric, strong.form, asked)
        found = fit_positions(x, y[some], start, widths, asked.doublet)
        widths = _typical(found, widths, step)
    points = float(np.median(widths)) / step
    every = np.interp(np.arange(len(y)), some, widths)
    track = find(x, y, lines, width=points)
    return track._replace(doubt=_coexisting(x, y, lines, track, asked)), every


def _coexisting(
    x: np.ndarray, y: np.ndarray, lines: Reflections, track: Track, asked: Asked
) -> np.ndarray:
    """Flag scans that also show the reflections of a lattice found in other scans."""
    grid = np.linspace(x[0], x[-1], x.size)
    step = grid[1] - grid[0]
    response = _matched(np.stack([_even(grid, x, row) for row in y]), track.width)
    seen = response > np.log1p(_CLEAR)
    own = place(track.metric, lines.form, asked)
    taken = own
    if asked.doublet is not None:
        taken = np.concatenate([own, second_line(own, asked.doublet)[0]], axis=1)
    few = lines.keep(np.argsort(-lines.strength, kind="stable")[:_MOST])
    rows = np.arange(len(y))[:, None]

    def shown(at: np.ndarray) -> np.ndarray:
        index = np.clip(np.rint((np.nan_to_num(at) - x[0]) / step), 0, x.size - 1)
        there = (at > x[0]) & (at < x[-1])
        return np.asarray(seen[rows, index.astype(int)] & there)

    clear = shown(place(track.metric, few.form, asked))
    out = np.zeros(len(y), np.int8)
    for k in range(0, len(y), max(1, len(y) // 40)):
        at = place(track.metric[k : k + 1], few.form, asked)
        away = np.abs(at[:, :, None] - taken[:, None]) > _APART * track.width * step
        apart = away.all(axis=2) & clear[k]  # those that this lattice shows
        found = (shown(at) & apart).sum(axis=1)
        enough = found >= np.maximum(_TELLING, _SEEN * apart.sum(axis=1))
        out[enough] = COEXISTING
    return out


def _typical(found: Positions, widths: np.ndarray, step: float) -> np.ndarray:
    """Return the width of clear reflections in each pattern, smoothed over scans."""
    signal = np.where(np.isfinite(found.fwhm), found.height / found.height_error, 0.0)
    clear = signal > max(10.0, 0.2 * float(np.nanmax(signal, initial=0.0)))
    if not clear.any():
        return widths
    known = np.flatnonzero(clear.any(axis=1))
    each = np.array([np.median(found.fwhm[k, clear[k]]) for k in known])
    near = np.lib.stride_tricks.sliding_window_view(np.pad(each, 2, "edge"), 5)
    smooth = np.median(near, axis=1)
    return np.maximum(np.interp(np.arange(len(widths)), known, smooth), 2 * step)


def follow(
    x: np.ndarray,
    y: np.ndarray,
    lines: Reflections,
    *,
    axis: str,
    wavelength: float | None,
    strain: float,
    width: float | None = None,
) -> Track:
    """Find the lattice in every pattern (N, m), near an initial guess."""
    strongest = np.sort(np.argsort(-lines.strength, kind="stable")[:_MOST])
    few = lines.keep(strongest)
    grid = np.linspace(x[0], x[-1], x.size)
    even = np.stack([_even(grid, x, row) for row in y])
    step = grid[1] - grid[0]
    best: tuple[float, float] | None = None
    some = even[:: max(1, len(even) // 24)]
    for tried in _WIDTHS if width is None else ():
        response = _matched(some, tried)
        score, _ = _scores(response, grid, few, axis, wavelength, strain, tried * step)
        top = float(np.median(score.max(axis=1)))
        if best is None or top > best[0]:
            best = top, tried
    width = best[1] if width is None and best is not None else width
    assert width is not None
    response = _matched(even, width)
    score, table = _scores(response, grid, few, axis, wavelength, strain, width * step)
    path = _path(score.reshape(len(y), *_shape(table)))
    factor = table[path]
    metric = lines.metric * _spread(factor, lines.metric.size)
    if factor.shape[1] < lines.metric.size:
        many = lines.keep(np.sort(np.argsort(-lines.strength, kind="stable")[:_MANY]))
        for wide in (2.0, 1.0):
            broad = _matched(even, wide * width)
            metric = _one_by_one(broad, grid, many, metric, axis, wavelength, strain)
    chosen = score[np.arange(len(y)), path]
    return Track(metric, width, chosen, np.zeros(len(y), np.int8))


def _even(grid: np.ndarray, x: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return a pattern on an even grid, with gaps filled linearly."""
    there = np.isfinite(row)
    if there.sum() < 2:
        return np.zeros(grid.size)
    return np.interp(grid, x[there], row[there])


def _matched(y: np.ndarray, width: float) -> np.ndarray:
    """Return the log signal to noise of a reflection at each point."""
    half = int(np.ceil(2.5 * width))
    t = np.arange(-half, half + 1)
    kernel = np.exp(-4 * np.log(2) * (t / width) ** 2)
    # Remove the level and slope of a background.
    basis = np.stack([np.ones_like(t, float), t * 1.0], 1)
    kernel -= basis @ np.linalg.lstsq(basis, kernel, rcond=None)[0]
    kernel /= np.sqrt((kernel**2).sum())
    noise = 1.4826 * np.median(np.abs(np.diff(y, 2, axis=1)), axis=1) / np.sqrt(6)
    noise = np.where(noise > 0, noise, np.maximum(np.abs(y).max(axis=1), 1e-12) * 1e-6)
    padded = np.pad(y, ((0, 0), (half, half)), "reflect")
    from scipy.ndimage import correlate1d

    found = correlate1d(padded, kernel, axis=1)[:, half:-half]
    return np.asarray(np.log1p(np.maximum(found / noise[:, None], 0.0)))


def _shape(table: np.ndarray) -> tuple[int, ...]:
    return tuple(len(np.unique(table[:, k])) for k in range(table.shape[1]))


def _spread(factor: np.ndarray, free: int) -> np.ndarray:
    """Return a factor for each coefficient of the metric."""
    if factor.shape[1] == free:
        return factor
    return np.repeat(factor[:, :1], free, axis=1)


def _scores(
    response: np.ndarray,
    grid: np.ndarray,
    lines: Reflections,
    axis: str,
    wavelength: float | None,
    strain: float,
    width: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, states) scores, and the factors of the metric of each state."""
    free = lines.metric.size
    axes = free if free <= 2 else 1
    middle = 0.5 * (grid[0] + grid[-1])
    # Use a third of a width, in the middle of the axis.
    q = to_q(np.array([middle, middle + width]), axis, wavelength)
    fine = max(0.3 * abs(q[1] - q[0]) / q[0], 2 * strain / (120 if axes == 2 else 600))
    n = 2 * int(np.ceil(strain / fine)) + 1
    strains = np.linspace(-strain, strain, n)
    table = np.array(list(itertools.product(1 / (1 + strains) ** 2, repeat=axes)))
    metric = lines.metric * _spread(table, free)
    place = from_q(2 * np.pi * np.sqrt(metric @ lines.form.T), axis, wavelength)
    at = (place - grid[0]) / (grid[1] - grid[0])
    inside = np.isfinite(at) & (at >= 0) & (at <= grid.size - 1)
    index = np.where(inside, np.rint(np.nan_to_num(at)), 0).astype(int)
    index = np.clip(index, 0, grid.size - 1)
    score = np.zeros((len(response), len(table)))
    for k in range(lines.form.shape[0]):
        score += np.where(inside[:, k], response[:, index[:, k]], 0.0)
    return score / np.sqrt(lines.form.shape[0]), table


def _one_by_one(
    response: np.ndarray,
    grid: np.ndarray,
    lines: Reflections,
    metric: np.ndarray,
    axis: str,
    wavelength: float | None,
    strain: float,
) -> np.ndarray:
    """Move the coefficients of the metric in turn to where lines stand out most."""
    free = metric.shape[1]
    scale = metric[0].copy()
    for k, (i, j) in enumerate(((1, 2), (0, 2), (0, 1)) if free == 6 else ((0, 2),)):
        if 3 + k < free:
            scale[3 + k] = np.sqrt(scale[i] * scale[j])
    moves = np.linspace(-1, 1, 61) * min(strain, _ANISOTROPIC)
    rows = np.arange(len(metric))
    for turn in range(6 * free):
        k = turn % free
        tried = np.repeat(metric[:, None], moves.size, axis=1)
        tried[:, :, k] += scale[k] * moves * 0.7 ** (turn // free)
        power = np.maximum(tried @ lines.form.T, 1e-12)
        place = from_q(2 * np.pi * np.sqrt(power), axis, wavelength)
        at = np.nan_to_num((place - grid[0]) / (grid[1] - grid[0]), nan=-1)
        inside = (at >= 0) & (at <= grid.size - 1)
        index = np.clip(np.rint(at), 0, grid.size - 1).astype(int)
        found = response[rows[:, None, None], index]
        score = np.where(inside, found, 0).sum(axis=2) - 1e-6 * np.abs(moves)
        metric[:, k] = tried[rows, score.argmax(axis=1), k]
    return metric


def _path(score: np.ndarray) -> np.ndarray:
    """Return the path of highest scores, with a cost for large moves between scans."""
    from scipy.ndimage import maximum_filter

    n, *shape = score.shape
    total = np.empty_like(score)
    total[0] = score[0]
    for k in range(1, n):
        before = total[k - 1]
        reached = np.full(shape, before.max() - _FAR)
        for reach, price in _REACHES:
            near = maximum_filter(before, 2 * reach + 1, mode="nearest")
            reached = np.maximum(reached, near - price)
        total[k] = score[k] + reached
    places = np.indices(shape).reshape(len(shape), -1)
    path = np.empty(n, int)
    path[-1] = int(np.argmax(total[-1]))
    for k in range(n - 2, -1, -1):
        apart = np.abs(places - places[:, [path[k + 1]]]).max(axis=0)
        far = np.full(apart.shape, _FAR)
        for reach, cost in _REACHES[::-1]:
            far[apart <= reach] = cost
        path[k] = int(np.argmax(total[k].ravel() - far))
    return path
