"""Run and judge starts; align, average and decompose the best ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.bragg.axes import SLOPES
from batteryxr.cdi.bragg.kernels import metrics
from batteryxr.cdi.bragg.kernels.align import align
from batteryxr.cdi.bragg.kernels.coherence import REACH
from batteryxr.cdi.bragg.kernels.free import GAINED
from batteryxr.cdi.bragg.kernels.iteration import iterate
from batteryxr.cdi.bragg.kernels.metrics import MERITS
from batteryxr.cdi.bragg.kernels.pattern import blurred, centre, judge, rolled
from batteryxr.cdi.bragg.kernels.phases import slopes
from batteryxr.cdi.fourier import Fourier
from batteryxr.core.device import to_device, to_device_of, to_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batteryxr.cdi.bragg.kernels.pattern import Pattern
    from batteryxr.cdi.bragg.settings import RetrievalSettings


#: Noise power that a voxel of the support takes up, in photons: of fifteen crystals of
#: two simulators at 1e4 photons (0.24 to 0.6).
_PER_VOXEL = 0.45


#: Counts of a bright pixel, and misfit over photon noise that photons explain.
_BRIGHT, _EXPLAINED = 9.0, 1.35
#: Overlap with the best start from which another one is of the same minimum.
_ALIKE = 0.9
#: Figure of merit over that of the best start up to which another one fits alike.
_RIVAL = 1.25
#: Error over what starts that fit alike show by ending apart: of 20 crystals of 40^3.
_SHARED = 1.25
#: Counts of a pixel that tells of wrong minima, at least and by photons; power that a
#: sharp support leaves there; error of an object over what it leaves besides, at most.
_LEAST, _PER_PHOTON, _LEFT, _WRONG, _MOST = 3.0, 3e-5, 5e-4, 65.0, 0.5


@dataclass
class Start:
    """Hold the result of one start, stored as the box around its support.

    Parameters
    ----------
    box
        The object, complex64. It begins at `corner` in an array of `shape` with its
        origin at ``n // 2``; the centre of the support lies there.
    support
        Support, of the shape of `box`.
    merits
        Figures of merit by the names of `MERITS`.
    """

    box: np.ndarray
    support: np.ndarray
    corner: tuple[int, ...]
    shape: tuple[int, ...]
    residual: np.ndarray
    merits: dict[str, float] = field(default_factory=dict)
    blur: np.ndarray | None = None
    failed: str = ""

    def whole(self, box: np.ndarray) -> np.ndarray:
        """Place a box in the whole array."""
        out = np.zeros(self.shape, box.dtype)
        place = zip(self.corner, box.shape, strict=True)
        out[tuple(slice(c, c + n) for c, n in place)] = box
        return out


def run(
    pattern: Pattern,
    settings: RetrievalSettings,
    rng: np.random.Generator,
    *,
    watch: Callable[[int, float], None] | None = None,
) -> Start:
    """Run one start from the initial object of the pattern, and judge it."""
    if not (pattern.intensity * pattern.used).any() or not pattern.support.any():
        why = "there are no counts, or the first support is empty"
        return _failed(pattern, np.full(settings.iterations, np.nan), why)
    moved = to_device(settings.device, purpose="phase retrieval")
    # A negative amplitude lets the field float.
    known = np.where(pattern.used, np.sqrt(pattern.intensity), np.float32(-1))
    amplitude, initial = moved(known), pattern.initial
    outcome = iterate(
        amplitude,
        to_device_of(amplitude, pattern.support),
        settings,
        rng,
        initial=None if initial is None else to_device_of(amplitude, initial),
        watch=watch,
    )
    rho, support = to_numpy(outcome.rho), to_numpy(outcome.support)
    blur = None if outcome.blur is None else to_numpy(outcome.blur)
    if not outcome.failed and not support.any():
        outcome = replace(outcome, failed="the support is empty")
    if outcome.failed:
        return _failed(pattern, outcome.residual, outcome.failed)
    merits = judge(pattern, rho, blur)
    move = [n // 2 - c for n, c in zip(rho.shape, centre(support), strict=True)]
    rho, support = rolled(rho, move), rolled(support, move)
    edges = _box(support)
    return Start(
        rho[edges].copy(),
        support[edges].copy(),
        tuple(e.start for e in edges),
        rho.shape,
        outcome.residual,
        merits,
        blur,
    )


def _failed(pattern: Pattern, residual: np.ndarray, why: str) -> Start:
    shape = pattern.intensity.shape
    box = np.zeros((1,) * len(shape), np.complex64)
    corner: tuple[int, ...] = (0,) * len(shape)
    nothing = {str(name): math.nan for name in MERITS}
    return Start(box, box.real > 0, corner, shape, residual, nothing, failed=why)


def _box(support: np.ndarray) -> tuple[slice, ...]:
    edges = []
    for axis in range(support.ndim):
        others = tuple(a for a in range(support.ndim) if a != axis)
        filled = np.flatnonzero(support.any(axis=others))
        edges.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(edges)


def combine(
    pattern: Pattern,
    starts: list[Start],
    n_best: int,
    select: str,
    seen: tuple[float, float] = (math.nan, 1.0),
    anew: Sequence[Start | None] = (),
) -> dict[str, np.ndarray]:
    """Choose the best starts, align them to the best one, average and decompose.

    Starts that ended in another minimum than the best one are left out.

    Parameters
    ----------
    select
        Figure of merit that ranks the starts.
    seen
        What `look_for_blur` returned.
    anew
        The starts with a blur, which are taken where they gain.

    Returns
    -------
    dict
        For the pattern: ``object``, ``object_error``, ``support``, ``modes``,
        ``mode_weight``, ``oversampling``, ``expected_overlap``, ``blur_gain``,
        ``fitted`` (whether a blur was), ``prtf``, ``blur``, ``left_out``, ``photons``,
        `SLOPES`. For each start: the merits, ``overlap`` with the best, ``rank`` (from
        1; 0 is failed), ``support_voxels`` and ``residual``.
        NaN where all starts failed. Origins at ``n // 2``.
    """
    shape = pattern.intensity.shape
    (gain, beside), again = seen, [s for s in anew if s is not None]
    fitted = _least(again, "llk_free") < GAINED * _least(starts, "llk_free")
    if fitted:
        starts, beside = again, 1.0
    merit = np.array([s.merits[select] for s in starts])
    order = [int(k) for k in np.argsort(merit, kind="stable") if np.isfinite(merit[k])]
    rank = np.zeros(len(starts), np.int16)
    rank[order] = np.arange(1, len(order) + 1)
    overlap = np.full(len(starts), math.nan)
    first = np.full(shape, np.nan, np.complex64)
    alike: list[np.ndarray] = []
    for number, k in enumerate(order):
        whole = starts[k].whole(starts[k].box)
        if number == 0:
            first = _own_phase(whole)
            overlap[k] = 1.0
            continue
        found = align(first, whole, ramp=False)
        overlap[k] = found.overlap
        # The mean with a start that ended in another minimum would be neither.
        if number < n_best and found.overlap >= _ALIKE:
            alike.append(found.field)
    objects = np.stack([first, *alike])
    best = starts[order[0]] if order else None
    mean = objects.mean(0)
    nan = np.full(shape, np.nan, np.float32)
    expected = _expected(pattern, best, overlap, merit)
    out: dict[str, Any] = {
        "object": mean,
        "object_error": _scatter(objects, mean) if alike else nan,
        "support": best.whole(best.support) if best else np.zeros(shape, bool),
        "oversampling": _oversampling(best, len(shape)),
        "prtf": _prtf(mean, pattern.intensity, pattern.used | pattern.free),
        "overlap": overlap,
        "rank": rank,
        "expected_overlap": np.asarray(min(expected, beside)),
        "blur_gain": np.asarray(gain),
        "fitted": np.asarray(fitted),
        "left_out": np.asarray(pattern.left_out),
        "photons": np.asarray(pattern.photons),
        **dict(zip(SLOPES, slopes(mean), strict=True)),
        "support_voxels": np.array([s.support.sum() for s in starts], np.int64),
        "residual": np.stack([s.residual for s in starts]).astype(np.float32),
    }
    out["modes"], out["mode_weight"] = _modes(objects, n_best, bool(order))
    blur = best.blur if best else None
    if blur is None:  # a coherent beam, if there is an answer
        blur = np.zeros(shape, np.float32) if best else nan.copy()
        blur[(0,) * len(shape)] += 1
    out["blur"] = _middle(np.fft.fftshift(blur))
    for name in metrics.MERITS:
        out[name] = np.array([s.merits[name] for s in starts])
    return out


def _least(starts: list[Start], merit: str) -> float:
    return min((s.merits[merit] for s in starts if not s.failed), default=math.nan)


def _expected(
    pattern: Pattern, best: Start | None, overlap: np.ndarray, merit: np.ndarray
) -> float:
    """Return the overlap with the crystal that photons and starts let expect.

    Each voxel of the support takes up a part of the noise of photons, which is 1/4 in
    every amplitude. Starts that fit alike and end apart have errors of their own
    besides: two that are each off by a part e of their power, each in its own way,
    overlap by 1 - e. They also share errors, about a quarter of these. Where no other
    start fits as well, all of them count, by half. All starts may end in one wrong
    minimum: it misses bright amplitudes by more than photons explain.
    """
    if best is None:
        return math.nan
    counts = pattern.intensity
    photons = float(counts.sum(dtype=float))
    away = float(np.abs(counts - np.rint(counts)).sum(dtype=float))
    counted = photons > 0 and away <= 0.25 * photons
    noise = _PER_VOXEL * best.support.sum() / photons if counted else 0.0
    others = np.isfinite(overlap)
    others[np.nanargmax(np.where(others, overlap, -1.0))] = False
    rivals = others & (merit <= _RIVAL * np.nanmin(merit))
    chosen, part = (rivals, _SHARED) if rivals.any() else (others, 0.5)
    apart = part * float(1 - overlap[chosen].mean()) if chosen.any() else 0.0
    missed = _missed(pattern, best, photons) if counted else 0.0
    wrong = min(_MOST, _WRONG * max(0.0, missed - _LEFT))
    return math.sqrt(max(0.0, 1 - noise - apart - wrong))


def _missed(pattern: Pattern, best: Start, photons: float) -> float:
    """Return the part of the power of bright pixels missed beyond photon noise."""
    there, found = _bright(pattern, best, max(_LEAST, _PER_PHOTON * photons))
    if not there.size:
        return 0.0
    # The square root of a count scatters by 1/2, a little more where there are few.
    off = 4 * float(((found - there) ** 2).mean())
    noise = 1.1 + 2 * math.sqrt(2 / there.size)
    return max(0.0, off - noise) / 4 / float((there**2).mean())


def _bright(
    pattern: Pattern, best: Start, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return amplitudes of pixels above a count, and those of the object, scaled.

    The mean of both must be above: of few counts, those that are bright by chance alone
    would look missed.
    """
    rho = np.fft.ifftshift(best.whole(best.box))
    spectrum: Any = Fourier(rho).forward(rho.copy())
    calculated = np.abs(spectrum) ** 2
    if best.blur is not None:
        calculated = blurred(calculated, best.blur)
    sums = [
        float(a[pattern.used].sum(dtype=float)) for a in (pattern.intensity, calculated)
    ]
    scale = np.float32(sums[0] / max(sums[1], 1e-30))
    bright = pattern.used & (pattern.intensity + scale * calculated > 2 * least)
    there, found = np.sqrt(pattern.intensity[bright]), np.sqrt(calculated[bright])
    return there, found * (float(found @ there) / max(float(found @ found), 1e-30))


def look_for_blur(
    pattern: Pattern, starts: list[Start], select: str, probe: RetrievalSettings
) -> tuple[float, float]:
    """Return the free likelihood with a blur over that without, and an overlap.

    The likelihood is NaN where it was not looked for, since photons explain the bright
    pixels. The overlap is that of the best start with what the blur leads to, where it
    gains: the best start has at least that much less of the crystal. Else it is 1.
    """
    nothing = math.nan, 1.0
    known = [s for s in starts if np.isfinite(s.merits[select])]
    if not known or not pattern.free.any():
        return nothing
    best = min(known, key=lambda s: s.merits[select])
    there, found = _bright(pattern, best, _BRIGHT)
    if not there.size:
        return nothing
    if 4 * float(((found - there) ** 2).mean()) < _EXPLAINED:
        return nothing
    # From a random start: what went wrong without a blur does not come right with it.
    modulus = np.where(pattern.used, np.sqrt(pattern.intensity), np.float32(-1))
    amplitude = to_device(probe.device, purpose="phase retrieval")(modulus)
    first, rng = to_device_of(amplitude, pattern.support), np.random.default_rng(0)
    outcome = iterate(amplitude, first, probe, rng)
    if outcome.failed or outcome.blur is None:
        return nothing
    rho = to_numpy(outcome.rho)
    merits = judge(pattern, rho, to_numpy(outcome.blur))
    gain = merits["llk_free"] / best.merits["llk_free"]
    if not gain < GAINED:
        return gain, 1.0
    whole = best.whole(best.box)
    return gain, align(whole, np.fft.fftshift(rho), ramp=False).overlap


def _oversampling(best: Start | None, n: int) -> np.ndarray:
    """Return the points along each axis over the extent of the support."""
    if best is None:
        return np.full(n, np.nan)
    return np.array(best.shape) / np.array(best.support.shape)


def _middle(blur: np.ndarray) -> np.ndarray:
    """Cut out the region that an estimate of the blur can reach."""
    cut = tuple(
        slice(max(n // 2 - REACH, 1 - n % 2), n // 2 + REACH + 1) for n in blur.shape
    )
    return blur[cut].astype(np.float32)


def _modes(objects: np.ndarray, n: int, found: bool) -> tuple[np.ndarray, np.ndarray]:
    shape = objects.shape[1:]
    parts = np.full((n, *shape), np.nan, np.complex64)
    weights = np.full(n, np.nan)
    if found:
        parts[: len(objects)], weights[: len(objects)] = modes(objects)
    return parts, weights


def _scatter(objects: np.ndarray, mean: np.ndarray) -> np.ndarray:
    squares = sum(np.abs(o - mean) ** 2 for o in objects)
    return np.sqrt(squares / (len(objects) - 1)).astype(np.float32)


def _prtf(mean: np.ndarray, intensity: np.ndarray, measured: np.ndarray) -> np.ndarray:
    spectrum: Any = Fourier(mean).forward(np.fft.ifftshift(mean))
    shells = metrics.Shells(mean.shape)
    used = measured & (intensity > 0)
    return metrics.prtf(spectrum, np.sqrt(intensity), used, shells)


def _own_phase(rho: np.ndarray) -> np.ndarray:
    """Rotate the phase so that the brightest part of an object has mean phase 0."""
    mean = np.sum(rho * np.abs(rho), dtype=np.complex128)
    return rho * np.complex64(np.exp(-1j * np.angle(mean)))


def modes(objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decompose aligned objects into orthogonal modes.

    The eigenvectors of the small Gram matrix combine the objects; the large matrix over
    voxels is never formed.

    Parameters
    ----------
    objects : (n, ...) complex
        Aligned objects.

    Returns
    -------
    modes : (n, ...) complex64
        Orthogonal, largest first; their squared norms have the same sum as the
        objects'. Each has the phase that fits the first object best.
    weights : (n,) float64
        Fractions of the squared norm, summing to 1. One object seen n times: 1, 0, ...
    """
    n = len(objects)
    flat = objects.reshape(n, -1)
    gram = np.empty((n, n), np.complex128)
    for i in range(n):
        for j in range(i, n):
            gram[i, j] = np.vdot(flat[i], flat[j])
            gram[j, i] = gram[i, j].conj()
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    phases = np.exp(-1j * np.angle(vectors[0]))
    mixed = (vectors * phases).T.astype(np.complex64) @ flat
    values = np.maximum(values, 0.0)
    return mixed.reshape(objects.shape), values / values.sum()
