"""Find the drift between frames, and undo it by interpolation without ringing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from batteryxr.core.kernels.compiling import njit
from batteryxr.xanes.kernels.overlap import (
    FrameFeatures,
    PartFeatures,
    frame_of,
    peak,
    target_of,
)

#: Fraction of a pixel below which a shift needs no interpolation.
_WHOLE = 1e-9
#: Deviation (in noise) above which a pixel stands out from all its neighbours.
_LONE = 6.0
#: Correlation below which an image may differ from the reference.
UNLIKE = 0.6
#: Least correlation that an error is divided by.
_FAINT = 0.2
#: Least correlation of a match, in units of the largest at shifts that are too large.
_CHANCE = 1.3
#: Least side, in bins, of large images whose halves are compared.
_COARSE = 256
#: Rows whose surroundings are looked at together, to bound memory.
_BAND = 128
LINEAR, CUBIC = 0, 1


def find_shifts(
    images: np.ndarray,
    reference: np.ndarray,
    *,
    gradient: bool,
    sigma: float,
    most: tuple[int, int],
    threads: int = 1,
) -> np.ndarray:
    """Return the shift of each image from the reference, and their correlation.

    The images, or the magnitudes of their gradients, are cross-correlated without
    whitening. At an absorption edge contrast changes, but outlines do not.

    Parameters
    ----------
    images : (..., y, x)
        Frames; missing values and isolated pixels that stand out are bridged.
    reference : (..., y, x)
        Reference images.
    gradient
        Whether to compare gradients, else values.
    sigma
        Width in pixels of the Gaussian that smooths both.
    most
        Largest shift along y and x, in pixels.
    threads
        Number of threads.

    Returns
    -------
    (..., 6)
        Shift along y and x in pixels, and the correlation coefficient there. Then the
        largest difference, in pixels, between the shifts by two halves (infinite if
        the correlation is below `UNLIKE`, and shifts of more than a quarter fit as
        well, which is chance), the fraction of values that are not finite, and the
        error of the shift, in pixels, by all halves, or half the way to another shift
        that fits as well (objects that repeat themselves). NaN if an image has no
        contrast.
    """
    lead = np.broadcast_shapes(images.shape[:-2], reference.shape[:-2])
    frames = np.broadcast_to(images, (*lead, *images.shape[-2:]))
    targets = np.broadcast_to(reference, (*lead, *reference.shape[-2:]))
    if threads > 1 and max(lead, default=1) > 1:
        axis = int(np.argmax(lead))
        alone = partial(find_shifts, gradient=gradient, sigma=sigma, most=most)
        with ThreadPoolExecutor(threads) as pool:
            shares = (np.array_split(a, threads, axis) for a in (frames, targets))
            return np.concatenate([*pool.map(alone, *shares)], axis)
    out = np.full((*lead, 6), np.nan)
    kept: tuple[np.ndarray, _ReferenceFeatures] | None = None
    for place in np.ndindex(*lead):
        target, frame = targets[place], frames[place]
        if kept is None or not np.shares_memory(kept[0], target):
            kept = target, _ReferenceFeatures(_features(target, gradient, sigma), most)
        outlines = _features(frame, gradient, sigma)
        out[place][[0, 1, 2, 3, 5]] = kept[1].compare(outlines)
        out[place][4] = 1.0 - np.isfinite(frame).mean()
    return out


class _ReferenceFeatures:
    """Hold the features of a reference, prepared to be compared with frames."""

    def __init__(self, features: np.ndarray, most: tuple[int, int]) -> None:
        self.features, self.most = features, most
        coarse, self.bins = _coarse(features)
        self.reach = max(most[0] // self.bins, 1), max(most[1] // self.bins, 1)
        self.whole = target_of(coarse, self.reach)
        self.halves = _halves(coarse, self.reach)

    def compare(self, features: np.ndarray) -> tuple[float, ...]:
        """Return shift and correlation, difference of halves, and error of the shift.

        Large images are found in bins first, and then compared pixel by pixel near.
        """
        part = frame_of(_coarse(features)[0], self.reach)
        y, x, alike, rival = peak(part, self.whole, self.reach)
        if not np.isfinite(alike):
            return np.nan, np.nan, np.nan, np.nan, np.nan
        apart, error = _disagreement(part, self.bins, self.halves, self.reach)
        if self.bins > 1:
            rival *= self.bins
            if alike < UNLIKE:
                frame, target = frame_of(features, self.most), self.features
                y, x, alike, rival = peak(
                    frame, target_of(target, self.most), self.most
                )
            else:
                y, x, alike = self._near(features, y * self.bins, x * self.bins)
        if alike < UNLIKE and not _stands_out(features, self.features, (y, x)):
            apart = np.inf
        # Halves share what a fixed pattern does, and the less alike the more.
        error /= min(max(alike, _FAINT), 1.0)
        return y, x, alike, apart, max(error, rival / 2)

    def _near(
        self, features: np.ndarray, y: float, x: float
    ) -> tuple[float, float, float]:
        """Return shift and correlation near those that are known to a bin."""
        mine, theirs = [], []
        shifts = round(y), round(x)
        for shift, n in zip(shifts, features.shape, strict=True):
            mine.append(slice(max(shift, 0), n + min(shift, 0)))
            theirs.append(slice(max(-shift, 0), n - max(shift, 0)))
        reach = 2 * self.bins, 2 * self.bins
        target = target_of(self.features[tuple(theirs)], reach)
        frame = frame_of(features[tuple(mine)], reach)
        fine_y, fine_x, alike, _ = peak(frame, target, reach)
        return shifts[0] + fine_y, shifts[1] + fine_x, alike


def _features(image: np.ndarray, gradient: bool, sigma: float) -> np.ndarray:
    """Return the smoothed image, or its gradient magnitude, for the comparison."""
    from scipy import ndimage

    picture = _bridged(np.asarray(image, dtype=np.float32))
    if gradient:
        return np.asarray(
            ndimage.gaussian_gradient_magnitude(picture, sigma, mode="nearest")
        )
    return np.asarray(ndimage.gaussian_filter(picture, sigma, mode="nearest"))


def _bridged(picture: np.ndarray) -> np.ndarray:
    """Return an image without isolated pixels: fixed ones would suppress all shifts.

    A pixel is bridged if it is missing, or if it exceeds all but one of the eight
    pixels at a distance of two by more than noise, upwards or downwards.
    """
    missing = ~np.isfinite(picture)
    if missing.any():
        middle = np.median(picture[~missing]) if not missing.all() else 0.0
        picture = np.where(missing, np.float32(middle), picture)
    padded = np.pad(picture, 2, mode="reflect")
    height, width = picture.shape
    mean, lower, higher = (np.empty_like(picture) for _ in range(3))
    for start in range(0, height, _BAND):
        rows = slice(start, min(start + _BAND, height))
        band = padded[start : rows.stop + 4]
        mean[rows], lower[rows], higher[rows] = _around(band)
    some = slice(None, None, 1 + height // 256), slice(None, None, 1 + width // 256)
    limit = _LONE * 1.4826 * np.median(np.abs(picture[some] - mean[some]))
    higher += limit
    lower -= limit
    lone = missing | (picture > higher) | (picture < lower)
    return np.where(lone, mean, picture)


def _around(band: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, second smallest and second largest of the pixels two away.

    The band has two rows and columns more on each side; the extremes are not in the
    mean.
    """
    height, width = band.shape[0] - 4, band.shape[1] - 4
    low = np.full((height, width), np.inf, band.dtype)
    high, total = -low, np.zeros_like(low)
    lower, higher = low.copy(), high.copy()
    for dy in (0, 2, 4):
        for dx in (0, 2, 4):
            if dy == 2 and dx == 2:
                continue
            beside = band[dy : dy + height, dx : dx + width]
            np.minimum(lower, np.maximum(low, beside), out=lower)
            np.maximum(higher, np.minimum(high, beside), out=higher)
            np.minimum(low, beside, out=low)
            np.maximum(high, beside, out=high)
            total += beside
    return (total - low - high) / 6, lower, higher


def _stands_out(
    frame: np.ndarray, target: np.ndarray, shift: tuple[float, float]
) -> bool:
    """Tell whether a match is better than all at more than a quarter of a side."""
    from scipy import fft

    product = fft.rfft2(frame - frame.mean()) * np.conj(
        fft.rfft2(target - target.mean())
    )
    correlation = fft.irfft2(product, s=frame.shape)
    rows, columns = (slice(n // 4 + 1, n - n // 4) for n in frame.shape)
    far = max(correlation[rows].max(), correlation[:, columns].max())
    return bool(correlation[round(shift[0]), round(shift[1])] > _CHANCE * far)


def _halves(known: np.ndarray, most: tuple[int, int]) -> list[PartFeatures]:
    """Return the upper, lower, left and right half of the features.

    Halves hold equal shares of the contrast.
    """
    power = (known - known.mean()) ** 2
    halves = []
    for axis in (0, 1):
        course = np.cumsum(power.sum(axis=1 - axis))
        middle = int(np.searchsorted(course, 0.5 * course[-1]))
        middle = min(max(middle, 1), known.shape[axis] - 1)
        for part in ((0, middle), (middle, known.shape[axis])):
            rows, columns = (part, None) if axis == 0 else (None, part)
            halves.append(target_of(known, most, rows, columns))
    return halves


def _coarse(features: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the features of a large image in bins, and the pixels across a bin."""
    n = max(min(features.shape) // _COARSE, 1)
    rows, columns = (size // n for size in features.shape)
    whole = features[: rows * n, : columns * n].reshape(rows, n, columns, n)
    return (whole.mean(axis=(1, 3)) if n > 1 else features), n


def _disagreement(
    frame: FrameFeatures, bins: int, halves: list[PartFeatures], reach: tuple[int, int]
) -> tuple[float, float]:
    """Return the largest difference between shifts by halves, and the error by it.

    The shift by all is as sure as the mean of two halves.
    """
    shifts = bins * np.array([peak(frame, half, reach)[:2] for half in halves])
    apart = shifts[::2] - shifts[1::2]
    return float(np.abs(apart).max()), float(0.5 * np.sqrt(np.mean(apart**2)))


def moved(
    images: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    *,
    method: int,
    threads: int = 1,
) -> np.ndarray:
    """Return images at (y + dy, x + dx); NaN where that is outside or missing.

    Cubic convolution (R. Keys, IEEE Trans. ASSP 29, 1153 (1981)) is limited to the
    range of the four nearest pixels, so it does not overshoot.

    Parameters
    ----------
    images : (..., y, x)
        Real or complex frames.
    dy, dx : (...)
        Shift of each, in pixels.
    method
        `LINEAR` or `CUBIC`.
    threads
        Number of threads.
    """
    lead = np.broadcast_shapes(images.shape[:-2], dy.shape)
    frames = np.broadcast_to(images, (*lead, *images.shape[-2:]))
    if np.iscomplexobj(images):
        both = images.real, images.imag
        parts = [moved(p, dy, dx, method=method, threads=threads) for p in both]
        return np.asarray(parts[0] + 1j * parts[1]).astype(images.dtype)
    kind = images.dtype if images.dtype.kind == "f" else np.dtype(np.float64)
    out = np.empty(frames.shape, dtype=kind)
    flat = out.reshape(-1, *frames.shape[-2:])
    shifts = [np.broadcast_to(s, lead).ravel() for s in (dy, dx)]

    def one(k: int, place: tuple[int, ...]) -> None:
        frame = np.ascontiguousarray(frames[place], dtype=kind).view()
        frame.flags.writeable = False  # some are: compile one version for all
        _move(frame, shifts[0][k], shifts[1][k], method, flat[k])

    places = enumerate(np.ndindex(*lead))
    if threads == 1:
        for k, place in places:
            one(k, place)
        return out
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda at: one(*at), places))
    return out


@njit(cache=True, nogil=True)
def _move(
    image: np.ndarray, dy: float, dx: float, method: int, out: np.ndarray
) -> None:
    height, width = image.shape
    if not (abs(dy) < height and abs(dx) < width):
        out[:] = np.nan
        return
    down, right = int(np.floor(dy + _WHOLE)), int(np.floor(dx + _WHOLE))
    fy, fx = dy - down, dx - right
    fy = 0.0 if fy < _WHOLE else fy
    fx = 0.0 if fx < _WHOLE else fx
    wy, wx = _keys(fy), _keys(fx)
    next_row, next_column = 1 if fy > 0 else 0, 1 if fx > 0 else 0
    for i in range(height):
        y = i + down
        for j in range(width):
            x = j + right
            if y < 0 or x < 0 or y + next_row >= height or x + next_column >= width:
                out[i, j] = np.nan
                continue
            a, b = image[y, x], image[y, x + next_column]
            c, d = image[y + next_row, x], image[y + next_row, x + next_column]
            value = (1 - fy) * ((1 - fx) * a + fx * b) + fy * ((1 - fx) * c + fx * d)
            inside = y > 0 and x > 0 and y + 2 < height and x + 2 < width
            if method == CUBIC and inside:
                smooth = 0.0
                for p in range(4):
                    for q in range(4):
                        smooth += wy[p] * wx[q] * image[y - 1 + p, x - 1 + q]
                if np.isfinite(smooth):
                    low, high = min(a, b, c, d), max(a, b, c, d)
                    value = min(max(smooth, low), high)
            out[i, j] = value


@njit(cache=True, nogil=True)
def _keys(f: float) -> np.ndarray:
    weights = np.empty(4)
    weights[0] = ((-0.5 * f + 1.0) * f - 0.5) * f
    weights[1] = (1.5 * f - 2.5) * f * f + 1.0
    weights[2] = ((-1.5 * f + 2.0) * f + 0.5) * f
    weights[3] = (0.5 * f - 0.5) * f * f
    return weights
