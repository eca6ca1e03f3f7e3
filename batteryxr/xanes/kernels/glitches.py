"""Find points that stand out from a spectrum, and replace them."""

from __future__ import annotations

import numpy as np

#: Points on each side that predict a point, and largest number of search rounds.
BESIDE, _ROUNDS = 2, 6
#: Points that predict the `BESIDE` at an end by a line, and points near an end that
#: tell how well lines do.
_ON_LINE, _END = 4, 18
#: Points on each side used to distinguish structure from glitches, and the least ratio
#: to the deviations there.
_NEAR, _STRUCTURE = 6, 4.0
#: Least opposite deviation of a glitch's neighbour, as a fraction of its own.
_MISLED = 0.4


def find_glitches(data: np.ndarray, *, x: np.ndarray, threshold: float) -> np.ndarray:
    """Tell which points no smooth curve through their neighbours explains.

    The largest deviation of a neighbourhood is taken out, then its neighbours are
    checked again without it.

    Parameters
    ----------
    data : (..., m)
        Spectra; missing values stay missing and are no glitches.
    x : (m,)
        Energies.
    threshold
        Threshold in standard deviations of the noise.

    Returns
    -------
    (..., m) bool
    """
    rows = data.reshape(-1, data.shape[-1]).astype(float)
    out = np.zeros(rows.shape, bool)
    for row, found in zip(rows, out, strict=True):
        _find(row, x, threshold, found)
    return out.reshape(data.shape)


def _find(y: np.ndarray, x: np.ndarray, threshold: float, found: np.ndarray) -> None:
    there = np.isfinite(y)
    for _ in range(_ROUNDS):
        use = np.flatnonzero(there & ~found)
        if use.size < 2 * _NEAR:
            return
        left = _missed(x[use], y[use])
        size = np.abs(left)
        inner = size[BESIDE:-BESIDE]
        noise = np.median(inner) / 0.6745
        floor = 1e-9 * np.ptp(y[use])  # rounding of an exact curve
        loud = size > max(threshold * noise, floor)
        loud &= size > _STRUCTURE * _local(size)
        loud &= (size >= _highest(size)) & _is_lone(left)
        limit = max(threshold * noise, floor)
        if not loud.any():
            break
        for k in np.flatnonzero(loud).tolist():
            found[use[_guilty(x[use], y[use], k, limit)]] = True
    _acquit(y, x, found, limit)
    for order in (slice(None), slice(None, None, -1)):
        use = np.flatnonzero(there & ~found)[order][:_END]
        if use.size < 2 * _NEAR:
            return
        left = np.abs(_off_lines(x[use], y[use]))
        usual = np.median(left[1:], axis=0)
        found[use[:BESIDE][left[0] > np.maximum(limit, _STRUCTURE * usual)]] = True


def _off_lines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return how far each `BESIDE` points are off a line through the `_ON_LINE` after.

    Units are the same for equal noise.
    """
    size = BESIDE + _ON_LINE
    runs, values = (np.lib.stride_tricks.sliding_window_view(a, size) for a in (x, y))
    middle = runs[:, BESIDE:].mean(axis=1, keepdims=True)
    far, near = runs[:, :BESIDE] - middle, runs[:, BESIDE:] - middle
    square = (near**2).sum(axis=1, keepdims=True)
    level = values[:, BESIDE:].mean(axis=1, keepdims=True)
    slope = (near * values[:, BESIDE:]).sum(axis=1, keepdims=True) / square
    missed = values[:, :BESIDE] - level - slope * far
    return np.asarray(missed / np.sqrt(1 + 1 / _ON_LINE + far**2 / square))


def _acquit(y: np.ndarray, x: np.ndarray, found: np.ndarray, limit: float) -> None:
    """Take back points that only the glitches beside them made stand out."""
    sound = np.flatnonzero(np.isfinite(y) & ~found)
    for k in np.flatnonzero(found).tolist():
        at = int(np.searchsorted(sound, k))
        near = sound[max(at - BESIDE, 0) : at + BESIDE]
        if near.size == 2 * BESIDE:
            five = np.insert(near, BESIDE, k)
            found[k] = abs(_missed(x[five], y[five])[BESIDE]) > limit


def _guilty(x: np.ndarray, y: np.ndarray, k: int, limit: float) -> list[int]:
    """Return the points around the largest deviation that explain it best.

    It is the point alone, or two points near it if it alone leaves too much. A sound
    point between two glitches seems wrong.
    """
    start, stop = max(k - 2 * _NEAR, 0), min(k + 2 * _NEAR + 1, y.size)

    def worst(out: list[int]) -> float:
        kept = np.delete(np.arange(start, stop), [i - start for i in out])
        return float(np.abs(_missed(x[kept], y[kept]))[2 + BESIDE : -2 - BESIDE].max())

    alone = worst([k])
    pairs = [(k - 1, k + 1), (k - 1, k), (k, k + 1), (k - 2, k), (k, k + 2)]
    pairs += [(k + 1, k + 2), (k - 2, k - 1)]
    inside = [list(p) for p in pairs if start <= p[0] and p[1] < stop]
    if alone <= limit or not inside:
        return [k]
    left = [worst(pair) for pair in inside]
    best = int(np.argmin(left))
    return inside[best] if left[best] < 0.5 * alone else [k]


def _missed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the deviation of each point from a cubic through four neighbours.

    Units are the same for equal noise; two points at each end are not checked.
    """
    m = y.size
    left = np.zeros(m)
    inner = slice(BESIDE, m - BESIDE)
    near = [x[k : m - 4 + k] for k in range(5)]
    predicted, square = np.zeros(m - 4), np.ones(m - 4)
    for k in (0, 1, 3, 4):
        weight = np.ones(m - 4)
        for other in {0, 1, 3, 4} - {k}:
            weight *= (near[2] - near[other]) / (near[k] - near[other])
        predicted += weight * y[k : m - 4 + k]
        square += weight**2
    left[inner] = (y[inner] - predicted) / np.sqrt(square)
    return left


def _local(size: np.ndarray) -> np.ndarray:
    """Return the median around each point, without it and its nearest neighbours."""
    padded = np.pad(size, _NEAR, mode="reflect")
    around = [
        padded[_NEAR + k : padded.size - _NEAR + k]
        for k in range(-_NEAR, _NEAR + 1)
        if abs(k) > BESIDE
    ]
    return np.asarray(np.median(around, axis=0))


def _is_lone(left: np.ndarray) -> np.ndarray:
    """Tell which points distort the prediction of their neighbours.

    A glitch enters the curve of its neighbours, which then deviate to the other side.
    In a sharp feature of several points all deviate to one side.
    """
    before, after = np.roll(left, 1), np.roll(left, -1)
    against = np.maximum(-np.sign(left) * before, -np.sign(left) * after)
    same = np.minimum(-np.sign(left) * before, -np.sign(left) * after)
    size = np.abs(left)
    return np.asarray((against > _MISLED * size) & (same > -0.5 * size))


def _highest(size: np.ndarray) -> np.ndarray:
    """Return the largest value within two points of each."""
    padded = np.pad(size, BESIDE)
    around = [padded[k : k + size.size] for k in range(2 * BESIDE + 1)]
    return np.asarray(np.max(around, axis=0))


def bridge(data: np.ndarray, bad: np.ndarray, *, x: np.ndarray) -> np.ndarray:
    """Return spectra in which bad points lie on a curve through their neighbours."""
    from scipy.interpolate import PchipInterpolator

    rows = np.array(data.reshape(-1, data.shape[-1]), dtype=float)
    marks = np.broadcast_to(bad, data.shape).reshape(rows.shape)
    for row, mark in zip(rows, marks, strict=True):
        good = np.isfinite(row) & ~mark
        if mark.any() and good.sum() >= 2:
            row[mark] = PchipInterpolator(x[good], row[good])(x[mark])
    return rows.reshape(data.shape).astype(
        data.dtype if data.dtype.kind == "f" else float
    )


def without_glitches(
    data: np.ndarray, *, x: np.ndarray, threshold: float = 6.0
) -> np.ndarray:
    """Return spectra with bridged glitches."""
    return bridge(data, find_glitches(data, x=x, threshold=threshold), x=x)
