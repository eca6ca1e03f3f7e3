"""Fit pseudo-Voigt reflections, with or without a doublet, in many patterns at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LN2 = np.log(2.0)
_LIMIT = 40
_TOLERANCE = 1e-7
#: Residual, in standard deviations, above which points are rays or foreign lines.
_FAR = 5.0
#: Half width of a window, in widths of the reflection.
_WINDOW = 3.0
#: Ratio of widths below which patterns are fitted in equal windows.
_AS_WIDE = 1.4


class ReflectionFits(NamedTuple):
    """Hold the fits of one reflection in N patterns.

    Attributes
    ----------
    values, errors : (N, 6) float64
        Height, position, full width at half maximum, Lorentzian share, level and slope
        of the background.
    area, area_error : (N,) float64
        Area of both lines of a doublet, and its error.
    chi2 : (N,) float64
        chi2 per degree of freedom.
    converged : (N,) bool
        Whether the search converged inside its bounds.
    lean, lean_error : (N,) float64
        How far the position moves if both sides may differ in width, and its error.
    """

    values: np.ndarray
    errors: np.ndarray
    area: np.ndarray
    area_error: np.ndarray
    chi2: np.ndarray
    converged: np.ndarray
    lean: np.ndarray
    lean_error: np.ndarray


def second_line(
    position: np.ndarray, doublet: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the position of K-alpha 2 (deg), and its slope against K-alpha 1."""
    assert doublet is not None
    half = np.radians(position) / 2
    sine = np.minimum(doublet[0] * np.sin(half), 1.0)
    other = np.arcsin(sine)
    slope = doublet[0] * np.cos(half) / np.maximum(np.cos(other), 1e-9)
    return np.degrees(2 * other), slope


def shape(
    x: np.ndarray, position: np.ndarray, width: np.ndarray, share: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return a pseudo-Voigt of height 1, and d/dposition, d/dwidth, d/dshare."""
    u = 2 * (x - position) / width
    squared = u * u
    lorentz = 1 / (1 + squared)
    gauss = np.exp(-LN2 * squared)
    value = share * lorentz + (1 - share) * gauss
    slope = 2 * u * (share * lorentz * lorentz + (1 - share) * LN2 * gauss)
    return value, 2 * slope / width, u * slope / width, lorentz - gauss


def curve(
    x: np.ndarray, p: np.ndarray, doublet: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, m) models and (N, 6, m) slopes at points x (N, m)."""
    height, place, width, share = (p[:, k, None] for k in range(4))
    value, d_place, d_width, d_share = shape(x, place, width, share)
    if doublet is not None:
        where, slope = second_line(place, doublet)
        other = shape(x, where, width, share)
        value = value + doublet[1] * other[0]
        d_place = d_place + doublet[1] * slope * other[1]
        d_width = d_width + doublet[1] * other[2]
        d_share = d_share + doublet[1] * other[3]
    middle = x.mean(axis=1, keepdims=True)
    away = x - middle
    model = height * value + p[:, 4, None] + p[:, 5, None] * away
    slopes = np.stack(
        [
            value,
            height * d_place,
            height * d_width,
            height * d_share,
            np.ones_like(x),
            away,
        ],
        axis=1,
    )
    return model, slopes


class _PeakWindows(NamedTuple):
    """Hold windows x, y and weights (N, m), bounds (N, 4), and the second line."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    low: np.ndarray
    high: np.ndarray
    doublet: tuple[float, float] | None

    def of(self, rows: np.ndarray, weight: np.ndarray) -> _PeakWindows:
        """Return some of the windows, with new weights."""
        x, y, low, high = self.x[rows], self.y[rows], self.low[rows], self.high[rows]
        return _PeakWindows(x, y, weight, low, high, self.doublet)


def fit(
    x: np.ndarray,
    y: np.ndarray,
    start: np.ndarray,
    *,
    width: float,
    doublet: tuple[float, float] | None,
) -> ReflectionFits:
    """Fit one reflection near `start` (N,) in windows x, y of (N, m) points.

    Levenberg-Marquardt runs on all patterns together. Weights are those of counting,
    smoothed. Outliers after the first fit are left out of a second one.
    """
    good = np.isfinite(y)
    y = np.where(good, y, 0.0)
    level = _smooth(y) / np.maximum(_smooth(1.0 * good), 0.2)  # also next to a gap
    floor = np.maximum(0.05 * np.median(level, axis=1, keepdims=True), 1e-9)
    weight = good / np.maximum(level, np.where(floor > 1e-9, floor, 1.0))
    p = _first(x, y, start, width)
    span = np.ptp(x, axis=1)
    step = np.abs(np.diff(x, axis=1)).mean(axis=1)
    low = np.stack([np.full(len(x), -np.inf), x[:, 0], step, np.zeros(len(x))], 1)
    high = np.stack([np.full(len(x), np.inf), x[:, -1], span, np.ones(len(x))], 1)
    windows = _PeakWindows(x, y, weight, low, high, doublet)
    p, ended = _search(windows, p)
    model, _ = curve(x, p, doublet)
    left = (y - model) * np.sqrt(weight)
    spread = 1.4826 * np.median(np.abs(left), axis=1, keepdims=True)
    far = np.abs(left) > _FAR * np.maximum(spread, 1e-12)
    odd = np.flatnonzero(far.any(axis=1) & (far.mean(axis=1) < 0.2))
    if odd.size:
        weight[odd] = np.where(far[odd], 0.0, weight[odd])
        p[odd], ended[odd] = _search(windows.of(odd, weight[odd]), p[odd])
    return _told(windows, p, ended)


def _first(x: np.ndarray, y: np.ndarray, start: np.ndarray, width: float) -> np.ndarray:
    ends = np.sort(y, axis=1)
    base = ends[:, : max(2, y.shape[1] // 4)].mean(axis=1)
    near = np.abs(x - start[:, None]) <= 0.75 * width
    top = np.where(near, y, -np.inf).max(axis=1)
    top = np.where(np.isfinite(top), top, base)
    ones = np.ones(len(x))
    parts = (np.maximum(top - base, 1e-6), start, width * ones, 0.5 * ones, base)
    return np.stack([*parts, 0 * ones], axis=1)


def _smooth(y: np.ndarray) -> np.ndarray:
    padded = np.pad(y, ((0, 0), (2, 2)), "edge")
    return np.asarray(
        np.lib.stride_tricks.sliding_window_view(padded, 5, axis=1).mean(axis=2)
    )


def _search(windows: _PeakWindows, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return parameters (N, 6) found from `p` on, and whether the search ended (N,)."""
    x, y, weight, low, high, doublet = windows
    p = p.copy()
    n = len(p)
    damping = np.full(n, 1e-2)
    ended = np.zeros(n, bool)
    active = np.arange(n)
    model, slopes = curve(x, p, doublet)
    chi2 = (weight * (y - model) ** 2).sum(axis=1)
    for _ in range(_LIMIT):
        w = weight[active]
        weighted = slopes * w[:, None]
        matrix = weighted @ slopes.transpose(0, 2, 1)
        force = (weighted @ (y[active] - model)[:, :, None])[:, :, 0]
        held = np.zeros_like(force, bool)
        held[:, :4] = (p[active, :4] <= low[active]) & (force[:, :4] < 0)
        held[:, :4] |= (p[active, :4] >= high[active]) & (force[:, :4] > 0)
        matrix[held[:, :, None] | held[:, None, :]] = 0.0
        force[held] = 0.0
        diagonal = np.einsum("nii->ni", matrix)
        diagonal[held] = 1.0
        diagonal += damping[active, None] * diagonal + 1e-12 * (
            diagonal.max(axis=1, keepdims=True) + 1e-30
        )
        move = np.linalg.solve(matrix, force[:, :, None])[:, :, 0]
        tried = p[active] + move
        tried[:, :4] = np.clip(tried[:, :4], low[active], high[active])
        new_model, new_slopes = curve(x[active], tried, doublet)
        new = (w * (y[active] - new_model) ** 2).sum(axis=1)
        better = new < chi2[active]
        gain = (chi2[active] - new) / np.maximum(chi2[active], 1e-300)
        damping[active] *= np.where(better, 0.2, 8.0)
        p[active[better]] = tried[better]
        model[better], slopes[better] = new_model[better], new_slopes[better]
        done = (better & (gain < _TOLERANCE)) | (damping[active] > 1e8)
        chi2[active[better]] = new[better]
        ended[active[done]] = True
        if done.all():
            break
        left = ~done
        active, model, slopes = active[left], model[left], slopes[left]
    return p, ended


def _told(windows: _PeakWindows, p: np.ndarray, ended: np.ndarray) -> ReflectionFits:
    """Return the fits with errors, areas and misfits."""
    x, y, weight, low, high, doublet = windows
    model, slopes = curve(x, p, doublet)
    matrix = (slopes * weight[:, None]) @ slopes.transpose(0, 2, 1)
    # A share at its bound is taken as known.
    at_end = (p[:, 3] <= low[:, 3]) | (p[:, 3] >= high[:, 3])
    slopes[at_end, 3] = 0.0
    matrix[at_end, 3, :] = matrix[at_end, :, 3] = 0.0
    matrix[at_end, 3, 3] = 1.0
    scale = np.sqrt(np.maximum(np.einsum("nii->ni", matrix), 1e-200))
    scaled = matrix / scale[:, :, None] / scale[:, None, :]
    scaled += 1e-12 * np.eye(6)
    covariance = np.linalg.inv(scaled) / scale[:, :, None] / scale[:, None, :]
    free = np.maximum((weight > 0).sum(axis=1) - 6, 1)
    chi2 = (weight * (y - model) ** 2).sum(axis=1) / free
    lean, lean_error = _lean(windows, p, slopes, covariance, weight * (y - model))
    lean_error = lean_error * np.sqrt(chi2)
    covariance *= chi2[:, None, None]
    errors = np.sqrt(np.maximum(np.einsum("nii->ni", covariance), 0.0))
    errors[at_end, 3] = np.nan
    height, width, share = p[:, 0], p[:, 2], p[:, 3]
    gaussian = np.sqrt(np.pi / LN2) / 2
    unit = share * np.pi / 2 + (1 - share) * gaussian
    lines = 1.0 if doublet is None else 1 + doublet[1]
    area = lines * height * width * unit
    slope = lines * np.stack(
        [
            width * unit,
            height * unit,
            np.where(at_end, 0.0, height * width * (np.pi / 2 - gaussian)),
        ],
        axis=1,
    )
    part = covariance[:, [0, 2, 3]][:, :, [0, 2, 3]]
    variance = np.einsum("ni,nij,nj->n", slope, part, slope)
    inside = (p[:, 1] > low[:, 1]) & (p[:, 1] < high[:, 1])
    inside &= (p[:, 2] > low[:, 2]) & (p[:, 2] < high[:, 2])
    return ReflectionFits(
        *(p, errors, area, np.sqrt(np.maximum(variance, 0)), chi2, ended & inside),
        *(lean, lean_error),
    )


def _lean(
    windows: _PeakWindows,
    p: np.ndarray,
    slopes: np.ndarray,
    inverse: np.ndarray,
    force: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return by how much positions move (N,) with unequal widths, for noise of 1.

    One step of Gauss and Newton from the symmetric fit, whose residuals are small.
    """
    x, doublet = windows.x, windows.doublet
    height, place, width, share = (p[:, k, None] for k in range(4))
    sides = np.sign(x - place) * shape(x, place, width, share)[2]
    if doublet is not None:
        where, _ = second_line(place, doublet)
        other = shape(x, where, width, share)[2]
        sides = sides + doublet[1] * np.sign(x - where) * other
    sides = height * width * sides
    both = ((slopes * windows.weight[:, None]) @ sides[:, :, None])[:, :, 0]
    with_it = (inverse @ both[:, :, None])[:, :, 0]
    own = (windows.weight * sides**2).sum(axis=1) - (both * with_it).sum(axis=1)
    own = np.maximum(own, 1e-200)
    apart = (sides * force).sum(axis=1) / own
    return -with_it[:, 1] * apart, np.abs(with_it[:, 1]) / np.sqrt(own)


class Positions(NamedTuple):
    """Hold the parameters of fitted reflections, (N, reflections) each."""

    position: np.ndarray
    position_error: np.ndarray
    fwhm: np.ndarray
    fwhm_error: np.ndarray
    area: np.ndarray
    area_error: np.ndarray
    height: np.ndarray
    height_error: np.ndarray
    share: np.ndarray
    share_error: np.ndarray
    lean: np.ndarray
    lean_error: np.ndarray


def fit_positions(
    x: np.ndarray,
    y: np.ndarray,
    start: np.ndarray,
    widths: np.ndarray,
    doublet: tuple[float, float] | None,
) -> Positions:
    """Fit every reflection in every pattern, patterns of similar widths together.

    Parameters
    ----------
    x, y : (m,), (N, m)
        Axis and patterns.
    start : (N, reflections)
        Approximate positions; NaN if there are none.
    widths : (N,)
        Width of the reflections in each pattern.
    doublet
        Doublet of the radiation, if it is visible on the axis.
    """
    kinds = np.rint(np.log(widths / np.median(widths)) / np.log(_AS_WIDE))
    out = Positions(*(np.full(start.shape, np.nan) for _ in Positions._fields))
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        width = float(np.median(widths[rows]))
        for k in range(start.shape[1]):
            fitted = _window(x, y[rows], start[rows, k], width, doublet)
            for whole, part in zip(out, fitted, strict=True):
                whole[rows, k] = part
    return out


def _window(
    x: np.ndarray,
    y: np.ndarray,
    start: np.ndarray,
    width: float,
    doublet: tuple[float, float] | None,
) -> Positions:
    """Fit one reflection in patterns of one width."""
    known = start[np.isfinite(start)]
    step = float(np.interp(np.median(known) if known.size else x[0], x, np.gradient(x)))
    right = half = max(int(np.ceil(_WINDOW * width / step)), 8)
    if doublet is not None:
        second, _ = second_line(start, doublet)
        right += int(np.ceil(np.nanmax(np.nan_to_num(second - start)) / step))
    first = np.searchsorted(x, np.nan_to_num(start, nan=x[0])) - half
    size = min(half + right, x.size)
    first = np.clip(first, 0, x.size - size)
    index = first[:, None] + np.arange(size)
    window = np.take_along_axis(y, index, axis=1)
    fitted = fit(x[index], window, start, width=width, doublet=doublet)
    return _reliable(fitted, start, width)


def _reliable(fitted: ReflectionFits, start: np.ndarray, width: float) -> Positions:
    """Return the results of a fit, NaN where no reflection was found."""
    v, e = fitted.values, fitted.errors
    with np.errstate(invalid="ignore"):
        good = fitted.converged & (v[:, 0] > 4 * e[:, 0]) & (e[:, 1] < 0.3 * v[:, 2])
        good &= e[:, 1] > 0  # an error of zero means no data
        good &= (np.abs(v[:, 1] - start) < 1.5 * width) & (v[:, 2] < 4 * width)
    columns = [v[:, 1], e[:, 1], v[:, 2], e[:, 2], fitted.area, fitted.area_error]
    columns += [v[:, 0], e[:, 0], v[:, 3], e[:, 3], fitted.lean, fitted.lean_error]
    return Positions(*(np.where(good, c, np.nan) for c in columns))
