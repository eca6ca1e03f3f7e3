"""From one pattern to one start, and from many starts to one answer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.bragg.kernels import metrics
from batteryxr.cdi.bragg.kernels.align import align
from batteryxr.cdi.bragg.kernels.coherence import REACH, Coherence
from batteryxr.cdi.bragg.kernels.free import free_voxels
from batteryxr.cdi.bragg.kernels.modes import modes
from batteryxr.cdi.bragg.kernels.retrieve import retrieve
from batteryxr.cdi.bragg.kernels.support import autocorrelation_support
from batteryxr.cdi.fourier import Fourier
from batteryxr.core.device import to_device, to_device_of, to_numpy

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.cdi.bragg.kernels.schedule import Block

#: Figures of merit of a start, all the better the smaller.
MERITS = ("amp_residual", "chi2", "llk", "llk_free")


@dataclass(frozen=True)
class Options:
    """How each start is run."""

    schedule: tuple[Block, ...]
    shrink_every: int = 20
    sigma: tuple[float, float] = (2.0, 0.5)
    threshold: tuple[float, float] = (0.25, 0.25)
    twin_break: int = 0
    coherence_every: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Problem:
    """A pattern ready to be phased; arrays have their origin in the corner.

    Parameters
    ----------
    intensity
        Counts, float32; 0 where nothing was measured.
    measured
        Where something was.
    free
        Measured voxels that are held back.
    support
        First support.
    initial
        Object to start from, complex64; None for random ones.
    """

    intensity: np.ndarray
    measured: np.ndarray
    free: np.ndarray
    support: np.ndarray
    initial: np.ndarray | None = None

    @property
    def used(self) -> np.ndarray:
        """Voxels that the retrieval sees."""
        return self.measured & ~self.free

    def amplitude(self) -> np.ndarray:
        """Return the square root of the intensity, -1 where the field floats."""
        return np.where(self.used, np.sqrt(self.intensity), np.float32(-1))


@dataclass
class Finished:
    """One start, as small as it is kept: the box around its support.

    Parameters
    ----------
    box
        The object, complex64, from `corner` on in an array of `shape` whose origin is
        at ``n // 2``; the centre of the support lies there.
    support
        Of the shape of `box`.
    merits
        By the names of `MERITS`.
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
        """Return a box in its place in the whole array."""
        out = np.zeros(self.shape, box.dtype)
        place = zip(self.corner, box.shape, strict=True)
        out[tuple(slice(c, c + n) for c, n in place)] = box
        return out


def prepare(
    intensity: np.ndarray,
    rng: np.random.Generator,
    *,
    free: float = 0.05,
    support: np.ndarray | None = None,
    initial: np.ndarray | None = None,
) -> Problem:
    """Return the problem that a centred pattern poses.

    Parameters
    ----------
    intensity
        Counts; NaN where nothing was measured; origin at ``n // 2``.
    rng
        Chooses the free voxels.
    free
        Their share.
    support, initial
        First support and object to start from, origin at ``n // 2``; without a
        support it comes from the object's modulus, else from the autocorrelation.
    """
    volume = np.fft.ifftshift(np.asarray(intensity, np.float32))
    measured = np.isfinite(volume)
    counts = np.where(measured, np.maximum(volume, 0), np.float32(0))
    held = free_voxels(volume.shape, rng, share=free) & measured
    if initial is not None:
        initial = np.fft.ifftshift(np.asarray(initial, np.complex64))
        if support is None:
            modulus = np.abs(initial)
            support = np.fft.fftshift(modulus > 0.1 * modulus.max())
    seen = np.where(held, np.float32(0), counts)
    if support is None:
        first = autocorrelation_support(seen) if seen.any() else seen > 0
    else:
        first = np.fft.ifftshift(np.asarray(support, bool))
        if initial is None:  # a random start lies where half supports can cut it
            first = _rolled(first, [-c for c in _centre(first)])
    return Problem(counts, measured, held, first, initial)


def run(
    problem: Problem,
    options: Options,
    rng: np.random.Generator,
    *,
    watch: Callable[[int, float], None] | None = None,
) -> Finished:
    """Run one start and judge it."""
    if not (problem.intensity * problem.used).any() or not problem.support.any():
        iterations = sum(block.iterations for block in options.schedule)
        why = "there are no counts, or the first support is empty"
        return _failed(problem, np.full(iterations, np.nan), why)
    moved = to_device(options.device, purpose="phase retrieval")
    amplitude = moved(problem.amplitude())
    low, high = options.threshold
    initial = problem.initial
    outcome = retrieve(
        amplitude,
        to_device_of(amplitude, problem.support),
        options.schedule,
        rng,
        shrink_every=options.shrink_every,
        sigma=options.sigma,
        threshold=low if low == high else float(rng.uniform(low, high)),
        twin_break=0 if initial is not None else options.twin_break,
        coherence_every=options.coherence_every,
        initial=None if initial is None else to_device_of(amplitude, initial),
        watch=watch,
    )
    rho, support = to_numpy(outcome.rho), to_numpy(outcome.support)
    blur = None if outcome.blur is None else to_numpy(outcome.blur)
    if not outcome.failed and not support.any():
        outcome = replace(outcome, failed="the support is empty")
    if outcome.failed:
        return _failed(problem, outcome.residual, outcome.failed)
    merits = judge(problem, rho, blur)
    move = [n // 2 - c for n, c in zip(rho.shape, _centre(support), strict=True)]
    rho, support = _rolled(rho, move), _rolled(support, move)
    edges = _box(support)
    return Finished(
        rho[edges].copy(),
        support[edges].copy(),
        tuple(e.start for e in edges),
        rho.shape,
        outcome.residual,
        merits,
        blur,
    )


def _failed(problem: Problem, residual: np.ndarray, why: str) -> Finished:
    shape = problem.intensity.shape
    box = np.zeros((1,) * len(shape), np.complex64)
    corner, nothing = (0,) * len(shape), dict.fromkeys(MERITS, math.nan)
    return Finished(box, box.real > 0, corner, shape, residual, nothing, failed=why)


def judge(
    problem: Problem, rho: np.ndarray, blur: np.ndarray | None = None
) -> dict[str, float]:
    """Return the figures of merit of an object, origin in the corner."""
    spectrum = Fourier(rho).forward(rho.astype(np.complex64))
    calculated = np.abs(spectrum) ** 2
    if blur is not None:
        coherence = Coherence(calculated)
        coherence.take(blur)
        calculated = coherence.blur(calculated)
    used, observed = problem.used, problem.intensity
    calculated *= np.float32(metrics.matched_scale(calculated, observed, used))
    return {
        "amp_residual": metrics.amplitude_residual(
            np.sqrt(calculated), np.sqrt(observed), used
        ),
        "chi2": metrics.chi2(observed, calculated, used),
        "llk": metrics.log_likelihood(calculated, observed, used),
        "llk_free": metrics.log_likelihood(calculated, observed, problem.free),
    }


def combine(
    problem: Problem, starts: list[Finished], n_best: int, select: str
) -> dict[str, np.ndarray]:
    """Choose the best starts, lay them over the best one, average and decompose.

    Parameters
    ----------
    select
        Figure of merit that ranks them.

    Returns
    -------
    dict
        ``object``, ``object_error``, ``support``, ``modes``, ``mode_weight``,
        ``prtf``, ``blur`` of the whole; the merits, ``overlap`` with the best,
        ``rank`` (from 1; 0 is failed), ``support_voxels`` and ``residual`` by start.
        NaN where all starts failed. Origins at ``n // 2``.
    """
    shape = problem.intensity.shape
    merit = np.array([s.merits[select] for s in starts])
    order = [int(k) for k in np.argsort(merit, kind="stable") if np.isfinite(merit[k])]
    chosen = order[:n_best]
    rank = np.zeros(len(starts), np.int16)
    rank[order] = np.arange(1, len(order) + 1)
    overlap = np.full(len(starts), math.nan)
    objects = np.full((n_best, *shape), np.nan, np.complex64)
    for number, k in enumerate(order):
        whole = starts[k].whole(starts[k].box)
        if number == 0:
            objects[0] = _own_phase(whole)
            overlap[k] = 1.0
            continue
        laid = align(objects[0], whole, ramp=False)
        overlap[k] = laid.overlap
        if number < n_best:
            objects[number] = laid.field
    objects = objects[: max(1, len(chosen))]
    best = starts[order[0]] if order else None
    mean = objects.mean(0)
    nan = np.full(shape, np.nan, np.float32)
    out: dict[str, Any] = {
        "object": mean,
        "object_error": _scatter(objects, mean) if len(chosen) > 1 else nan,
        "support": best.whole(best.support) if best else np.zeros(shape, bool),
        "prtf": _prtf(problem, mean),
        "overlap": overlap,
        "rank": rank,
        "support_voxels": np.array([s.support.sum() for s in starts], np.int64),
        "residual": np.stack([s.residual for s in starts]).astype(np.float32),
    }
    out["modes"], out["mode_weight"] = _modes(objects, n_best, bool(order))
    blur = best.blur if best else None
    out["blur"] = _middle(nan if blur is None else np.fft.fftshift(blur))
    for name in MERITS:
        out[name] = np.array([s.merits[name] for s in starts])
    return out


def _middle(blur: np.ndarray) -> np.ndarray:
    """Cut out what an estimate of the blur can reach."""
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


def _prtf(problem: Problem, mean: np.ndarray) -> np.ndarray:
    spectrum = Fourier(mean).forward(np.fft.ifftshift(mean))
    shells = metrics.Shells(mean.shape)
    used = problem.measured & (problem.intensity > 0)
    return metrics.prtf(spectrum, np.sqrt(problem.intensity), used, shells)


def _own_phase(rho: np.ndarray) -> np.ndarray:
    """Give the brightest part of an object the mean phase 0."""
    mean = np.sum(rho * np.abs(rho), dtype=np.complex128)
    return rho * np.complex64(np.exp(-1j * np.angle(mean)))


def _centre(support: np.ndarray) -> tuple[int, ...]:
    """Return the centre of a support on a periodic array, whole voxels."""
    centre = []
    for axis, n in enumerate(support.shape):
        others = tuple(a for a in range(support.ndim) if a != axis)
        profile = support.sum(axis=others)
        angle = np.angle(profile @ np.exp(2j * np.pi * np.arange(n) / n))
        centre.append(round(angle / (2 * np.pi) * n) % n)
    return tuple(centre)


def _rolled(array: np.ndarray, move: list[int]) -> np.ndarray:
    return np.roll(array, move, tuple(range(array.ndim)))


def _box(support: np.ndarray) -> tuple[slice, ...]:
    edges = []
    for axis in range(support.ndim):
        others = tuple(a for a in range(support.ndim) if a != axis)
        filled = np.flatnonzero(support.any(axis=others))
        edges.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(edges)
