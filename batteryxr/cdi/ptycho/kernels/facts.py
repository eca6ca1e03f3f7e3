"""Find what frames tell before anything is fitted to them."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from batteryxr.cdi.ptycho.kernels.metrics import noise_left

#: Counts of a hot pixel over those of its brightest neighbour.
_HOT = 5.0
#: Frames that are compared with others, to see whether a shadow moves, and neighbours
#: of each, of which one is drawn.
_FRAMES, _AROUND = 24, 9
#: Pixels along a side of the pictures that are compared.
_SMALL = 128
#: Widths of beams over that of the far field: such that its frames hold, and too wide.
_HELD, _TOO_WIDE = 1.0, 1.2
#: Part of the mean frame that a beam in the middle leaves unexplained, and that one
#: beside it may leave at most.
_OFF = 0.5
#: Factor between widths that are two explanations.
_APART = 2.0


class FrameFacts(NamedTuple):
    """Hold findings in the frames of one energy.

    Parameters
    ----------
    counts, usable, negative, missing, largest : (j,)
        For each frame: counts and pixels that count, and numbers of pixels below 0,
        without a number, or at the largest number of the type.
    flat : (j,)
        Whether all pixels of a frame hold one number.
    lit : (j,)
        Pixels with counts, those below one count by their part of it.
    marks : (j,)
        Hashes that are equal for equal frames.
    mean, top : (n, n)
        Mean and largest count of each pixel, the beam in the middle; 0 and -1 where a
        pixel counts in no frame.
    piled : (3,)
        The largest count, and how many pixels have it, or nearly so.
    shadow : (4,)
        How wide the beam is where shadows move most clearly with the positions, of
        beams that far-field frames cannot hold (over their width); how clearly; how
        clearly as of a beam that they can hold; and as of any other width or sign.
    """

    counts: np.ndarray
    usable: np.ndarray
    negative: np.ndarray
    missing: np.ndarray
    largest: np.ndarray
    flat: np.ndarray
    lit: np.ndarray
    marks: np.ndarray
    mean: np.ndarray
    top: np.ndarray
    piled: np.ndarray
    shadow: np.ndarray

    @property
    def left_out(self) -> np.ndarray:
        """Return the frames (j,) without information on the sample."""
        return (self.counts <= 0) | (self.usable == 0) | self.flat

    @property
    def noise_residual(self) -> float:
        """Return the residual that counting noise leaves, at most."""
        left = noise_left(self.mean[self.top >= 0])
        photons = float(self.counts.sum())
        return left * len(self.counts) / max(photons, 1e-30)

    @property
    def repeated(self) -> np.ndarray:
        """Return the frames (j,) that are equal to one before."""
        _, first = np.unique(self.marks, return_index=True)
        again = np.ones(len(self.marks), bool)
        again[first] = False
        return again & ~self.left_out

    @property
    def digest(self) -> str:
        """Return the digest of all frames."""
        return hashlib.sha256(self.marks.tobytes()).hexdigest()[:16]


class Shadows:
    """Hold pairs of frames, to see whether a shadow moves with the positions.

    In the near field, and behind a beam far out of focus, frames show a shadow of the
    sample that moves by a number of pixels per nm. This scale and the lit pixels give
    the width of the beam on the sample.

    A periodic sample repeats its shadow, and beams of several widths explain how it
    moves; orders of diffraction that lie still agree with themselves at any position.
    So each motion is judged against the same backwards and across, and the best width
    against those that far-field frames can hold, and against all others.

    Parameters
    ----------
    positions : (j, 2)
        Positions, nm.
    n
        Detector pixels along a side.
    field
        Width that far-field frames can hold, nm.
    """

    def __init__(self, positions: np.ndarray, n: int, field: float) -> None:
        from scipy.spatial import KDTree

        j = len(positions)
        self._bin, self._field = -(-n // _SMALL), field
        self._pictures: dict[int, np.ndarray] = {}
        self._pairs = np.empty((0, 2), int)
        if j < 4:
            return
        chosen = np.unique(np.linspace(0, j - 1, min(j, _FRAMES)).round().astype(int))
        near = KDTree(positions).query(positions[chosen], k=min(_AROUND, j))[1]
        rng, pairs = np.random.default_rng(0), []
        for frame, beside in zip(chosen, near, strict=True):
            others = beside[beside != frame]
            pairs += [(frame, others[0]), (frame, rng.choice(others[1:]))]
        self._pairs, self._positions = np.array(pairs), positions

    def take(self, start: int, frames: np.ndarray) -> None:
        """Keep the frames that will be compared, of a block that begins at `start`."""
        wanted = np.unique(self._pairs)
        for k in wanted[(wanted >= start) & (wanted < start + len(frames))]:
            self._pictures[int(k)] = self._small(frames[k - start])

    def _small(self, picture: np.ndarray) -> np.ndarray:
        b, n = self._bin, picture.shape[0] // self._bin
        parts = picture[: n * b, : n * b].reshape(n, b, n, b)
        return np.asarray(parts.sum((1, 3), dtype=float))

    def moved(self, mean: np.ndarray) -> np.ndarray:
        """Return what `FrameFacts.shadow` holds, from the mean frame (n, n)."""
        small, nothing = self._small(mean), np.zeros(4)
        lit = small > 0.05 * np.percentile(small, 99)
        if lit.sum() < 50 or not len(self._pairs):
            return nothing
        steps = np.diff(self._positions[self._pairs], axis=1)[:, 0]
        step = float(np.median(np.hypot(*steps.T)[::2]))
        if not step > 0:
            return nothing
        wide = 2 * np.sqrt(lit.sum() / np.pi)
        maps = self._maps(small, lit)
        ratios = np.geomspace(1.0, max(0.6 * wide, 2.0), 160) / step
        across = steps[:, ::-1] * [1, -1]
        ahead, back, left, right = np.array([
            [_mean_at(maps, r * way, 0.6 * wide)
             for way in (steps, -steps, across, -across)]
            for r in ratios
        ]).T  # fmt: skip
        beside = np.maximum(abs(left), abs(right))
        clear = np.maximum([
            ahead - np.maximum(abs(back), beside),
            back - np.maximum(abs(ahead), beside),
        ], 0)  # fmt: skip
        widths = np.broadcast_to(wide / ratios / self._field, clear.shape)
        near = np.where(widths > _TOO_WIDE, clear, 0)
        way, k = np.unravel_index(np.argmax(near), near.shape)
        other = np.abs(np.log(widths / widths[way, k])) > np.log(_APART)
        other[1 - way] = True
        far = clear[widths <= _HELD].max(initial=0)
        return np.array(
            [widths[way, k], near[way, k], far, clear[other].max(initial=0)]
        )

    def _maps(self, mean: np.ndarray, lit: np.ndarray) -> list[np.ndarray]:
        """Return how the pictures of each pair correlate at each shift."""
        from scipy import ndimage

        smooth = np.sqrt(np.maximum(ndimage.gaussian_filter(mean, 1.0), 1e-9))
        spectra, power = {}, {}
        for k, picture in self._pictures.items():
            shadow = np.where(lit, np.sqrt(picture) / smooth - 1, 0.0)
            shadow -= shadow.sum() / lit.sum() * lit
            spectra[k] = np.fft.rfft2(shadow, s=[2 * n for n in mean.shape])
            power[k] = np.sum(shadow**2)
        return [
            np.fft.irfft2(spectra[b] * np.conj(spectra[a]))
            / max(np.sqrt(power[a] * power[b]), 1e-30)
            for a, b in self._pairs.tolist()
        ]


def _mean_at(maps: list[np.ndarray], places: np.ndarray, far: float) -> float:
    """Return the mean of maps, each at its own place in pixels, none too far."""
    near = np.hypot(*places.T) < far
    if np.count_nonzero(near) < 4:
        return 0.0
    rows, columns = np.rint(places[near]).astype(int).T
    chosen = np.flatnonzero(near)
    picked = [maps[i][r, c] for i, r, c in zip(chosen, rows, columns, strict=True)]
    return float(np.mean(picked))


def beam_off(seen: FrameFacts, probe: np.ndarray) -> np.ndarray:
    """Return how far (y, x) the beam lies from the middle of frames, in pixels.

    The mean frame is looked for in the far field of a probe, of whose phase nothing
    depends here. 0 where this explains frames little better than a beam in the middle.

    Parameters
    ----------
    seen
        Findings in frames of the far field.
    probe : (mode, n, n)
        Probe before it was fitted.
    """
    n, good = len(seen.mean), seen.top >= 0
    far = np.sum(np.abs(np.fft.fft2(probe.astype(complex))) ** 2, axis=0)
    if not (np.isfinite(far).all() and far.any() and seen.mean.any()):
        return np.zeros(2)
    amplitude = np.sqrt(np.where(good, np.maximum(seen.mean, 0.0), 0.0))
    spectra = [np.fft.fft2(a) for a in (amplitude, good.astype(float))]
    known = [np.conj(np.fft.fft2(np.fft.fftshift(a))) for a in (np.sqrt(far), far)]
    alike, light = (
        np.fft.fftshift(np.fft.ifft2(a * b).real)
        for a, b in zip(spectra, known, strict=True)
    )
    light = np.maximum(light, 1e-2 * far.sum()) * np.sum(amplitude**2)
    score = alike / np.sqrt(light)
    middle, reach = n // 2, n // 4
    near = score[middle - reach :, middle - reach :][: 2 * reach + 1, : 2 * reach + 1]
    place = np.array(np.unravel_index(near.argmax(), near.shape)) - reach + middle
    y, x = place
    left = (1 - score[y, x] ** 2) / max(1 - score[middle, middle] ** 2, 1e-12)
    if left > _OFF or (abs(place - middle) == reach).any():
        return np.zeros(2)
    lines = score[y - 1 : y + 2, x], score[y, x - 1 : x + 2]
    parts = [0.5 * (a - c) / (a - 2 * b + c) for a, b, c in lines]
    return np.asarray(place - middle + parts)


def seen_by(corners: np.ndarray, n: int) -> int:
    """Return how many pixels of the object lie in frames, at most.

    Parameters
    ----------
    corners : (j, 2)
        Upper left corner of each frame's patch, in pixels of the object.
    n
        Size of a patch.
    """
    rows, columns = (np.rint(corners) - np.rint(corners).min(0)).astype(np.int64).T
    line = int(columns.max()) + 2 * n
    places = ((rows[:, None] + np.arange(n)) * line + columns[:, None]).ravel()
    places.sort()
    return int(np.minimum(np.diff(places), n).sum()) + n


def hot_pixels(seen: FrameFacts) -> np.ndarray:
    """Return pixels (n, n) that count far more than their brightest neighbours."""
    from scipy import ndimage

    good = seen.top >= 0
    mean = np.where(good, seen.mean, 0.0)
    ring = np.ones((5, 5), bool)
    ring[1:4, 1:4] = False
    ring[2, 1] = ring[2, 3] = ring[1, 2] = ring[3, 2] = True
    beside = ndimage.maximum_filter(mean, footprint=ring, mode="nearest")
    noise = 5.0 * np.sqrt((beside + 1.0) / max(len(seen.counts), 1))
    return np.asarray(good & (mean > _HOT * beside + noise))


def gap_lines(seen: FrameFacts) -> tuple[np.ndarray, np.ndarray]:
    """Return rows, and columns, without counts between others that have counts."""
    j = max(len(seen.counts), 1)
    good = seen.top >= 0
    found = []
    for axis in (0, 1):
        other = 1 - axis
        most = np.where(good, seen.top, 0).max(other)
        total = np.where(good, seen.mean, 0).sum(other) * j
        used = good.any(other)
        lines = np.flatnonzero((most == 0) & used)
        lit = np.flatnonzero(total > 0)
        inner = [
            k for k in lines
            if lit.size and lit[0] < k < lit[-1]
            and min(total[lit[lit < k][-1]], total[lit[lit > k][0]]) > 25
        ]  # fmt: skip
        found.append(np.array(inner, int))
    return found[0], found[1]
