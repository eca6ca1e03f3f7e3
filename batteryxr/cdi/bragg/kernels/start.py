"""One start of phase retrieval: run, judged, and kept as small as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace

from batteryxr.cdi.bragg.kernels.coherence import Coherence
from batteryxr.cdi.bragg.kernels.metrics import MERITS
from batteryxr.cdi.bragg.kernels.pattern import centre, judge, rolled
from batteryxr.cdi.bragg.kernels.support import LostSupport, Shrinking, half
from batteryxr.cdi.bragg.kernels.updates import (
    OUTSIDE,
    combine,
    replace_blurred,
    replace_modulus,
)
from batteryxr.cdi.fourier import Fourier, empty
from batteryxr.core.device import to_device, to_device_of, to_numpy

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.cdi.bragg.kernels.pattern import Pattern
    from batteryxr.cdi.bragg.kernels.schedule import Stage
    from batteryxr.cdi.bragg.settings import RetrievalSettings


@dataclass
class Start:
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


def run(
    pattern: Pattern,
    settings: RetrievalSettings,
    rng: np.random.Generator,
    *,
    watch: Callable[[int, float], None] | None = None,
) -> Start:
    """Run one start from the pattern's first object, and judge it."""
    if not (pattern.intensity * pattern.used).any() or not pattern.support.any():
        why = "there are no counts, or the first support is empty"
        return _failed(pattern, np.full(settings.iterations, np.nan), why)
    moved = to_device(settings.device, purpose="phase retrieval")
    # Where it is negative the field floats.
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


@dataclass
class Outcome:
    """What iterations arrived at; arrays have their origin in the corner.

    Parameters
    ----------
    rho
        Object inside its support, complex64, in units in which the squared modulus of
        its unscaled transform is the intensity.
    support
        Final support, bool.
    residual
        Amplitude residual sum(|F rho| - A)^2 / sum A^2 of every iteration.
    blur
        Blur of the coherent intensity, origin in the corner; None where it was not
        asked for.
    failed
        Why the start was given up; empty where it was not.
    """

    rho: Any
    support: Any
    residual: np.ndarray
    blur: Any = None
    failed: str = ""


def iterate(
    amplitude: Any,
    support: Any,
    settings: RetrievalSettings,
    rng: np.random.Generator,
    *,
    initial: Any = None,
    watch: Callable[[int, float], None] | None = None,
) -> Outcome:
    """Run a schedule of projections from a random or a given object.

    Parameters
    ----------
    amplitude
        Square root of the intensity, float32; negative where nothing was measured or
        the voxel is held back as free: it floats there.
    support
        First support, bool.
    settings
        Schedule, support, coherence. The width of the smoothing reaches its last
        value after four fifths.
    rng
        Randomness of the threshold and the first object.
    initial
        Object to start from, complex64, on its own scale; None takes a random one.
    watch
        Called with iteration and residual; may raise to interrupt.

    Returns
    -------
    Outcome
    """
    fourier = Fourier(amplitude)
    wrap = settings.support
    low, high = wrap.thresholds
    threshold = low if low == high else float(rng.uniform(low, high))
    shrink = Shrinking(amplitude, sigma=wrap.sigma, threshold=threshold)
    first = _random(amplitude, rng) if initial is None else initial
    rho = empty(tuple(amplitude.shape), amplitude)
    rho[...] = _scaled(first, amplitude, support, fourier.size)
    stages = [stage for stage in settings.schedule for _ in range(stage.iterations)]
    n, power = len(stages), _power(amplitude)
    residual = np.full(n, np.nan)
    every = settings.coherence_every
    coherence = Coherence(amplitude) if every else None
    step = _Step(fourier, amplitude, coherence)
    twin_break = wrap.twin_break if initial is None else 0
    failed, p = "", rho
    for number, stage in enumerate(stages):
        used = half(support) if number < twin_break else support
        step.learn = every > 0 and 3 * number >= n and number % every == 0
        rho, p, misfit = step(stage, rho, used)
        residual[number] = misfit / power
        if watch is not None:
            watch(number, residual[number])
        done = number + 1
        # Not after the last one: the object would be cut and could not answer.
        if wrap.every and done % wrap.every == 0 and done < n:
            try:
                support = shrink(p, support, done / (0.8 * n))
            except LostSupport as lost:
                failed = f"iteration {done}: {lost}"
                break
    xp = array_namespace(rho)
    # The answer is the object with measured modulus, within its support. The iterate
    # itself may be something else: the difference map's is.
    rho = xp.where(support, p, xp.zeros_like(p))
    return Outcome(rho, support, residual, coherence and coherence.kernel, failed)


class _Step:
    """One iteration; returns the new iterate, the object with measured modulus, misfit.

    The transform works in one buffer, which therefore holds the second result.
    """

    def __init__(
        self, fourier: Fourier, amplitude: Any, coherence: Coherence | None
    ) -> None:
        self._fourier, self._amplitude = fourier, amplitude
        self._coherence = coherence
        self._buffer = empty(tuple(amplitude.shape), amplitude)
        #: Whether the next iteration improves the estimate of the blur first.
        self.learn = False

    def __call__(self, stage: Stage, rho: Any, support: Any) -> tuple[Any, Any, float]:
        if stage.algorithm == "DM":
            return self._difference_map(stage.beta, rho, support)
        p, misfit = self._modulus(rho)
        outside = OUTSIDE[stage.algorithm](stage.beta)
        return combine(rho, p, support, outside), p, misfit

    def _modulus(self, rho: Any) -> tuple[Any, float]:
        self._buffer[...] = rho
        field = self._fourier.forward(self._buffer)
        scale = 1.0 / self._fourier.size
        if self._coherence is None:
            field, misfit = replace_modulus(field, self._amplitude, scale)
        else:
            blurred = self._blurred(field, self._coherence)
            field, misfit = replace_blurred(field, blurred, self._amplitude, scale)
        return self._fourier.backward(field), misfit

    def _blurred(self, field: Any, coherence: Coherence) -> Any:
        xp = array_namespace(field)
        intensity = xp.abs(field) ** 2
        if self.learn:
            coherence.update(intensity)
            self.learn = False
        return coherence.blur(intensity)

    def _difference_map(
        self, beta: float, rho: Any, support: Any
    ) -> tuple[Any, Any, float]:
        # Elser, JOSA A 20, 40 (2003), with his optimal gammas: 1/beta for the modulus
        # and -1/beta for the support. The estimate of the object is the second
        # projection: the iterate is none.
        xp = array_namespace(rho)
        zero = xp.zeros_like(rho)
        p, _ = self._modulus(rho)
        inside = xp.where(support, (1 + 1 / beta) * p - rho / beta, zero)
        guess = xp.where(support, (1 - 1 / beta) * rho, zero) + rho / beta
        estimate, misfit = self._modulus(guess)
        return rho + beta * (inside - estimate), estimate, misfit


def _random(amplitude: Any, rng: np.random.Generator) -> Any:
    shape = tuple(amplitude.shape)
    modulus = rng.random(shape, dtype=np.float32)
    phase = (rng.random(shape, dtype=np.float32) - np.float32(0.5)) * np.float32(
        math.pi
    )
    return to_device_of(amplitude, (modulus * np.exp(1j * phase)).astype(np.complex64))


def _scaled(rho: Any, amplitude: Any, support: Any, size: int) -> Any:
    """Restrict an object to the support and give it the measured power."""
    xp = array_namespace(rho)
    rho = xp.where(support, rho, xp.zeros_like(rho))
    power = float(xp.sum(xp.astype(xp.abs(rho), xp.float64) ** 2)) * size
    return rho * math.sqrt(_power(amplitude) / power)


def _power(amplitude: Any) -> float:
    xp = array_namespace(amplitude)
    measured = xp.where(amplitude >= 0, amplitude, xp.zeros_like(amplitude))
    return float(xp.sum(xp.astype(measured, xp.float64) ** 2))
