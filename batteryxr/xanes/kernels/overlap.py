"""Correlate two images where both overlap, at many shifts, and find the best."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Half width, in pixels, of the part of the correlation searched for its maximum.
_PATCH = 5
#: Steps per pixel of that search, before a parabola.
_FINE = 50
#: Least contrast of an overlap, as a fraction of the whole contrast.
_LEAST = 0.2
#: Correlation of another shift, in units of the highest, that is as likely if it also
#: leaves at most so many times the variance unexplained.
_RIVAL, _UNEXPLAINED = 0.95, 2.0


class FrameFeatures(NamedTuple):
    """Hold features of a frame, ready to be compared at many shifts.

    Attributes
    ----------
    spectrum
        Transform of the features less their mean, with room for shifts.
    features, squares
        The features less their mean, and their squares.
    """

    spectrum: np.ndarray
    features: np.ndarray
    squares: np.ndarray


class PartFeatures(NamedTuple):
    """Hold features of the reference, or of a part of it, at each of `_steps`.

    Attributes
    ----------
    spectrum
        Transform of the features less their mean, zero outside of the part.
    room
        Shape that was transformed.
    rows, columns
        Ones for the rows and columns that a frame has of the part, at each step.
    mean, power
        Mean of the part's features there, and their sum of squares less the mean.
    pixels
        Number of pixels there.
    """

    spectrum: np.ndarray
    room: tuple[int, ...]
    rows: np.ndarray
    columns: np.ndarray
    mean: np.ndarray
    power: np.ndarray
    pixels: np.ndarray


def frame_of(features: np.ndarray, most: tuple[int, int]) -> FrameFeatures:
    """Return the features of a frame, prepared."""
    from scipy import fft

    centred = features - features.mean()
    spectrum = fft.rfft2(centred, s=_room(features.shape, most))
    return FrameFeatures(spectrum, centred, centred**2)


def target_of(
    features: np.ndarray,
    most: tuple[int, int],
    rows: tuple[int, int] | None = None,
    columns: tuple[int, int] | None = None,
) -> PartFeatures:
    """Return the features in `rows` and `columns`, all by default, prepared."""
    from scipy import fft

    height, width = features.shape
    (top, bottom), (left, right) = rows or (0, height), columns or (0, width)
    inside = features[top:bottom, left:right]
    centred = np.zeros_like(features)
    centred[top:bottom, left:right] = inside - inside.mean()
    room = _room(features.shape, most)
    own, seen = [], []
    for first, last, n, step in zip(
        (top, left),
        (bottom, right),
        features.shape,
        _steps(features.shape, most),
        strict=True,
    ):
        end = np.minimum(last, n - step)
        begin = np.minimum(np.maximum(first, -step), end)
        own.append(_ones(begin, end, n))
        seen.append(_ones(begin + step, end + step, n))
    pixels = np.maximum(np.outer(*(ones.sum(axis=1) for ones in own)), 1)
    mean = _sums(centred, *own) / pixels
    squares = centred**2
    power = _sums(squares, *own) - mean**2 * pixels
    power = np.maximum(power, _LEAST * squares.sum(dtype=np.float64))
    spectrum = np.conj(fft.rfft2(centred, s=room))
    rows_seen, columns_seen = seen
    return PartFeatures(spectrum, room, rows_seen, columns_seen, mean, power, pixels)


def _ones(begin: np.ndarray, end: np.ndarray, n: int) -> np.ndarray:
    """Return ones at the places from `begin` to before `end`, one row for each."""
    places = np.arange(n)
    inside = (places >= begin[:, None]) & (places < end[:, None])
    return inside.astype(np.float32)


def _sums(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the sums over rectangles, for each of their rows and of their columns."""
    return np.asarray((rows @ values).astype(np.float64) @ columns.T)


def _room(shape: tuple[int, ...], most: tuple[int, int]) -> tuple[int, ...]:
    """Return a shape with room for all shifts, that is transformed fast."""
    from scipy import fft

    reach = [step[-1] for step in _steps(shape, most)]
    return tuple(
        fft.next_fast_len(int(n + far), real=True)
        for n, far in zip(shape, reach, strict=True)
    )


def _steps(shape: tuple[int, ...], most: tuple[int, int]) -> list[np.ndarray]:
    """Return the shifts along each axis at which images are compared, ascending.

    They reach a little beyond `most`, to find maxima at its edge.
    """
    reach = [min(far + _PATCH, n // 2) for far, n in zip(most, shape, strict=True)]
    return [np.arange(-far, far + 1) for far in reach]


def _correlation(
    frame: FrameFeatures, target: PartFeatures, most: tuple[int, int]
) -> np.ndarray:
    """Return the correlation coefficients where both overlap, at each of `_steps`.

    An object that the edge of the frame cuts has other parts in both: only what both
    hold is compared (D. Padfield, IEEE Trans. Image Process. 21, 2706 (2012)).
    """
    from scipy import fft

    steps, room = _steps(frame.features.shape, most), target.room
    product = fft.irfft2(frame.spectrum * target.spectrum, s=room)
    together = product[np.ix_(steps[0] % room[0], steps[1] % room[1])]
    sums = _sums(frame.features, target.rows, target.columns)
    power = _sums(frame.squares, target.rows, target.columns)
    power -= sums**2 / target.pixels
    power = np.maximum(power, _LEAST * frame.squares.sum(dtype=np.float64))
    common = together - sums * target.mean
    return np.asarray(common / np.sqrt(power * target.power))


def peak(
    frame: FrameFeatures, target: PartFeatures, most: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return shift and correlation, and how far off another shift is as likely."""
    if not frame.squares.any() or not target.power.max() > 0:
        return np.nan, np.nan, np.nan, 0.0
    correlation = _correlation(frame, target, most)
    middle = [n // 2 for n in correlation.shape]
    inner = [min(far, half) for far, half in zip(most, middle, strict=True)]
    window = correlation[
        middle[0] - inner[0] : middle[0] + inner[0] + 1,
        middle[1] - inner[1] : middle[1] + inner[1] + 1,
    ]
    top = np.unravel_index(int(np.argmax(window)), window.shape)
    at = [int(k) + m - i for k, m, i in zip(top, middle, inner, strict=True)]
    near = [
        np.arange(max(k - _PATCH, 0), min(k + _PATCH + 1, n))
        for k, n in zip(at, correlation.shape, strict=True)
    ]
    patch = correlation[np.ix_(*near)]
    fine_y, fine_x, height = _top(patch, near[0] - at[0], near[1] - at[1])
    return (
        at[0] - middle[0] + fine_y,
        at[1] - middle[1] + fine_x,
        height,
        _rival(window),
    )


def _rival(window: np.ndarray) -> float:
    """Return the distance of the highest other maximum if it is as high, else 0."""
    from scipy import ndimage

    most = float(window.max())
    limit = np.sqrt(max(1 - _UNEXPLAINED * (1 - min(most, 1.0) ** 2), 0.0))
    high = window > min(max(_RIVAL * most, limit), most * (1 - 1e-12))
    places = np.argwhere(high & (window == ndimage.maximum_filter(window, 3)))
    highest = np.unravel_index(int(np.argmax(window)), window.shape)
    away = ((places - np.array(highest)) ** 2).sum(axis=1)
    return float(np.sqrt(away.max(initial=0.0)))


def _top(
    patch: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> tuple[float, float, float]:
    """Return place and height of the maximum between the pixels of a smooth patch."""
    from scipy.interpolate import RectBivariateSpline

    degree = min(5, min(patch.shape) - 1)
    spline = RectBivariateSpline(rows, columns, patch, kx=degree, ky=degree)
    fine = np.arange(-_FINE, _FINE + 1) / _FINE
    values = spline(fine, fine)
    i, j = np.unravel_index(int(np.argmax(values)), values.shape)
    y = fine[i] + _vertex(values[max(i - 1, 0) : i + 2, j]) / _FINE
    x = fine[j] + _vertex(values[i, max(j - 1, 0) : j + 2]) / _FINE
    return float(y), float(x), float(values[i, j])


def _vertex(three: np.ndarray) -> float:
    """Return the top of a parabola through three values, from the middle one."""
    if three.size < 3:
        return 0.0
    curvature = three[0] - 2 * three[1] + three[2]
    return float(0.5 * (three[0] - three[2]) / curvature) if curvature < 0 else 0.0
