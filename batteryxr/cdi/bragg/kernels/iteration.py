"""Iterations of one start: the modulus step in Fourier space and the support step.

Each step touches every voxel once. NumPy arrays use a compiled loop that does the step
in one pass over memory; in plain array operations the temporaries cost as much as a
Fourier transform. Arrays of other libraries use the same formula in array-API
operations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from batteryxr.cdi.bragg.kernels.coherence import Coherence
from batteryxr.cdi.bragg.kernels.support import LostSupport, Shrinking, half
from batteryxr.cdi.fourier import Fourier, empty
from batteryxr.core.device import to_device_of
from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.cdi.bragg.kernels.schedule import Stage
    from batteryxr.cdi.bragg.settings import RetrievalSettings
    from batteryxr.core.kernels.arrays import Array
    from batteryxr.core.kernels.loops import Floats, Line

#: Weights (a, b) of the outside of the support: rho <- a rho + b p, where p is the
#: object with the measured modulus; inside, rho <- p. Marchesini, Rev. Sci. Instrum.
#: 78, 011301 (2007); RAAR is Luke's operator form, Inverse Problems 21, 37 (2005).
OUTSIDE: dict[str, Callable[[float], tuple[float, float]]] = {
    "ER": lambda beta: (0.0, 0.0),
    "ML": lambda beta: (0.0, 0.0),
    "SF": lambda beta: (0.0, -1.0),
    "HIO": lambda beta: (1.0, -beta),
    "RAAR": lambda beta: (beta, 1.0 - 2.0 * beta),
}
_TINY = np.float32(1e-24)


@dataclass
class Outcome:
    """Hold the result of the iterations; arrays have their origin in the corner.

    Parameters
    ----------
    rho
        Object inside its support, complex64; the squared modulus of its unscaled
        transform is the intensity.
    support
        Final support, bool.
    residual
        Amplitude residual sum(|F rho| - A)^2 / sum A^2 of every iteration.
    blur
        Blur of the coherent intensity, origin in the corner; None unless asked for.
    failed
        Why the start failed; empty if it did not.
    """

    rho: Array
    support: Array
    residual: np.ndarray
    blur: Any = None
    failed: str = ""


def iterate(
    amplitude: Array,
    support: Array,
    settings: RetrievalSettings,
    rng: np.random.Generator,
    *,
    initial: Array | None = None,
    watch: Callable[[int, float], None] | None = None,
) -> Outcome:
    """Run a schedule of projections from a random or a given object.

    Parameters
    ----------
    amplitude
        Square root of the intensity, float32; negative where nothing was measured or
        the voxel is held out: the field floats there.
    support
        First support, bool.
    settings
        Schedule, support, coherence. The smoothing width reaches its last value after
        four fifths of the iterations.
    rng
        Random generator for the threshold and the initial object.
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
    every = settings.every
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
        # Not after the last iteration: the object would be cut and could not recover.
        if wrap.every and done % wrap.every == 0 and done < n:
            try:
                support = shrink(p, support, done / (0.8 * n))
            except LostSupport as lost:
                failed = f"iteration {done}: {lost}"
                break
    xp = array_namespace(rho)
    # The answer is the object with measured modulus, within its support. The iterate
    # may be something else, as in the difference map.
    rho = xp.where(support, p, xp.zeros_like(p))
    return Outcome(rho, support, residual, coherence and coherence.kernel, failed)


class _Step:
    """Run one iteration; return iterate, object with measured modulus, misfit.

    The second result shares the buffer of the transform.
    """

    def __init__(
        self, fourier: Fourier, amplitude: Array, coherence: Coherence | None
    ) -> None:
        self._fourier, self._amplitude = fourier, amplitude
        self._coherence = coherence
        self._buffer = empty(tuple(amplitude.shape), amplitude)
        #: Whether the next iteration first improves the estimate of the blur.
        self.learn = False

    def __call__(
        self, stage: Stage, rho: Array, support: Array
    ) -> tuple[Array, Array, float]:
        if stage.algorithm == "DM":
            return self._difference_map(stage.beta, rho, support)
        weight = stage.beta if stage.algorithm == "ML" else 0.0
        p, misfit = self._modulus(rho, weight)
        outside = OUTSIDE[stage.algorithm](stage.beta)
        return combine(rho, p, support, outside), p, misfit

    def _modulus(self, rho: Array, weight: float = 0.0) -> tuple[Array, float]:
        self._buffer[...] = rho
        field = self._fourier.forward(self._buffer)
        scale = 1.0 / self._fourier.size
        if self._coherence is None:
            field, misfit = replace_modulus(field, self._amplitude, scale, weight)
        else:
            blurred = self._blurred(field, self._coherence)
            options = (self._amplitude, scale, weight)
            field, misfit = replace_blurred(field, blurred, *options)
        return self._fourier.backward(field), misfit

    def _blurred(self, field: Array, coherence: Coherence) -> Array:
        xp = array_namespace(field)
        intensity = xp.abs(field) ** 2
        if self.learn:
            coherence.update(intensity)
            self.learn = False
        return coherence.blur(intensity)

    def _difference_map(
        self, beta: float, rho: Array, support: Array
    ) -> tuple[Array, Array, float]:
        # Elser, JOSA A 20, 40 (2003), with his optimal gammas: 1/beta for the modulus
        # and -1/beta for the support. The estimate of the object is the second
        # projection, not the iterate.
        xp = array_namespace(rho)
        zero = xp.zeros_like(rho)
        p, _ = self._modulus(rho)
        inside = xp.where(support, (1 + 1 / beta) * p - rho / beta, zero)
        guess = xp.where(support, (1 - 1 / beta) * rho, zero) + rho / beta
        estimate, misfit = self._modulus(guess)
        return rho + beta * (inside - estimate), estimate, misfit


def _random(amplitude: Array, rng: np.random.Generator) -> Array:
    shape = tuple(amplitude.shape)
    modulus = rng.random(shape, dtype=np.float32)
    phase = (rng.random(shape, dtype=np.float32) - np.float32(0.5)) * np.float32(
        math.pi
    )
    return to_device_of(amplitude, (modulus * np.exp(1j * phase)).astype(np.complex64))


def _scaled(rho: Array, amplitude: Array, support: Array, size: int) -> Array:
    """Restrict an object to the support and give it the measured power."""
    xp = array_namespace(rho)
    rho = xp.where(support, rho, xp.zeros_like(rho))
    power = float(xp.sum(xp.astype(xp.abs(rho), xp.float64) ** 2)) * size
    return rho * math.sqrt(_power(amplitude) / power)


def _power(amplitude: Array) -> float:
    xp = array_namespace(amplitude)
    measured = xp.where(amplitude >= 0, amplitude, xp.zeros_like(amplitude))
    return float(xp.sum(xp.astype(measured, xp.float64) ** 2))


def replace_modulus(
    field: Array, amplitude: Array, scale: float, weight: float = 0.0
) -> tuple[Array, float]:
    """Replace the modulus of a transform by the measured one, or by a compromise.

    Parameters
    ----------
    field
        Transform of the object, complex64; overwritten.
    amplitude
        Measured modulus, float32, same shape; negative where nothing was measured: the
        field stays unchanged there.
    scale
        Factor on the result, for the transform that follows.
    weight
        Weight of the present modulus m of the field. The new modulus a is the
        likeliest: it minimises ``a**2 - n log(a**2) + weight * (a - m)**2``, with n the
        counts. 0 takes the measured modulus, so that a voxel without a photon has no
        amplitude.

    Returns
    -------
    field
        The field with measured modulus, times `scale`.
    misfit
        Sum of ``(|field| - amplitude)**2`` over the measured voxels, before.
    """
    if is_numpy_array(field):
        flat = field.reshape(-1), amplitude.reshape(-1)
        if weight:
            misfit = _likeliest(*flat, np.float32(scale), np.float32(weight))
        else:
            misfit = _replace_modulus(*flat, np.float32(scale))
        return field, float(misfit)
    modulus = array_namespace(field).abs(field)
    return _with_modulus(field, modulus, amplitude, scale, weight)


def replace_blurred(
    field: Array, blurred: Array, amplitude: Array, scale: float, weight: float = 0.0
) -> tuple[Array, float]:
    """Replace the modulus of a transform that partial coherence blurs.

    The factor is amplitude / sqrt(blurred) (Clark et al., Nat. Commun. 3, 993 (2012)).

    Parameters
    ----------
    field, amplitude, scale, weight
        See `replace_modulus`.
    blurred
        Intensity of `field` after the blur, float32.

    Returns
    -------
    field
        The field, times `scale`.
    misfit
        Sum of ``(sqrt(blurred) - amplitude)**2`` over the measured voxels, before.
    """
    modulus = array_namespace(field).sqrt(blurred)
    return _with_modulus(field, modulus, amplitude, scale, weight)


def _with_modulus(
    field: Array, modulus: Array, amplitude: Array, scale: float, weight: float
) -> tuple[Array, float]:
    """Scale a field from its apparent modulus to the measured one."""
    xp = array_namespace(field)
    measured = amplitude >= 0
    one, zero = xp.ones_like(modulus), xp.zeros_like(modulus)
    new = amplitude
    if weight:
        own = weight * modulus
        new = own + xp.sqrt(own**2 + 4 * (1 + weight) * amplitude**2)
        new = new / (2 * (1 + weight))
    factor = xp.where(measured, new / xp.maximum(modulus, 1e-12), one)
    misfit = xp.sum(xp.where(measured, modulus - amplitude, zero) ** 2)
    return field * (factor * scale), float(misfit)


def combine(
    rho: Array, p: Array, support: Array, outside: tuple[float, float]
) -> Array:
    """Return p inside the support and ``a rho + b p`` outside; overwrites `rho`.

    Parameters
    ----------
    rho, p
        The iterate, and the object with measured modulus; complex64.
    support
        Bool.
    outside
        The weights a and b; see `OUTSIDE`.
    """
    a, b = outside
    if is_numpy_array(rho):
        _combine(
            rho.reshape(-1),
            p.reshape(-1),
            support.reshape(-1),
            (np.float32(a), np.float32(b)),
        )
        return rho
    xp = array_namespace(rho)
    return xp.where(support, p, a * rho + b * p)


# numpy's error model: the check for division by zero would keep the loops scalar.
_compiled = njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@_compiled
def _replace_modulus(
    field: np.ndarray, amplitude: np.ndarray, scale: np.float32
) -> float | np.float32:
    misfit: float | np.float32 = 0.0  # short sums stay exact in single precision
    for start in range(0, field.size, 4096):
        stop = min(start + 4096, field.size)
        misfit += _replace_part(field[start:stop], amplitude[start:stop], scale)
    return misfit


@_compiled
def _replace_part(
    field: Line[complex], amplitude: Floats, scale: np.float32
) -> np.float32:
    misfit, one, zero = np.float32(0.0), np.float32(1.0), np.float32(0.0)
    for i in range(field.size):
        g, measured = field[i], amplitude[i]
        modulus = np.sqrt(g.real * g.real + g.imag * g.imag + _TINY)
        difference = np.float32(measured >= zero) * (modulus - measured)
        misfit += difference * difference
        field[i] = g * (scale * (one - difference / modulus))
    return misfit


@_compiled
def _likeliest(
    field: np.ndarray, amplitude: np.ndarray, scale: np.float32, weight: np.float32
) -> float | np.float32:
    misfit: float | np.float32 = 0.0
    for start in range(0, field.size, 4096):
        stop = min(start + 4096, field.size)
        misfit += _likely_part(field[start:stop], amplitude[start:stop], scale, weight)
    return misfit


@_compiled
def _likely_part(
    field: Line[complex], amplitude: Floats, scale: np.float32, weight: np.float32
) -> np.float32:
    misfit, one, zero = np.float32(0.0), np.float32(1.0), np.float32(0.0)
    four, part = np.float32(4.0) * (one + weight), np.float32(0.5) / (one + weight)
    for i in range(field.size):
        g, measured = field[i], amplitude[i]
        modulus = np.sqrt(g.real * g.real + g.imag * g.imag + _TINY)
        counted = np.float32(measured >= zero)
        difference = counted * (modulus - measured)
        misfit += difference * difference
        own = weight * modulus
        new = part * (own + np.sqrt(own * own + four * measured * measured))
        field[i] = g * (scale * (one - counted * (one - new / modulus)))
    return misfit


@_compiled
def _combine(
    rho: Line[complex],
    p: Line[complex],
    support: Line[bool],
    outside: tuple[np.float32, np.float32],
) -> None:
    one, (a, b) = np.float32(1.0), outside
    for i in range(rho.size):
        inside = np.float32(support[i])
        rho[i] = (one - inside) * a * rho[i] + (b + inside * (one - b)) * p[i]
