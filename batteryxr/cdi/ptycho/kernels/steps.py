"""The steps of one frame that all ptychography engines share.

NumPy arrays use compiled loops that go row by row, so that the data of a row stay in
the nearest cache. Arrays of PyTorch or CuPy use the same formulas in array-API
operations. Frames have their origin in the corner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from batteryxr.core.kernels.arrays import Array
    from batteryxr.core.kernels.loops import Cube, FloatTable, Table

_TINY = np.float32(1e-12)
#: Smallest power, in counts, that a step of Poisson's likelihood assumes.
_DARK = np.float32(0.0005)
#: Amplitude deficit above which a pixel is a real mismatch (noise gives about 0.5).
_FAR = np.float32(2.0)


def exit_waves(probe: Array, obj: Array, corner: tuple[int, int], out: Array) -> Any:
    """Put probe (m, n, n) times the patch of the object into `out`; return max|O|²."""
    y, x = corner
    if is_numpy_array(out):
        return _exit(probe, obj, y, x, out)
    n = probe.shape[-1]
    patch = obj[y : y + n, x : x + n]
    out[...] = probe * patch
    return peak(patch)


class Recorded(NamedTuple):
    """Hold background and intensities of frames, and what is found about them.

    Frame j is expected to be ``intensity[j] * (pattern + background)``.

    Parameters
    ----------
    background : (n, n)
        Counts of a frame of usual intensity; origin in the corner.
    intensity : (j,)
        Intensity of each frame, 1 on average.
    ratio, times : (n, n)
        Receive measured over expected counts of each pixel, and how often it was lit.
    sums : (j, 2)
        Receive measured and expected counts of each frame.
    learn
        Whether these sums are received.
    apart : (6,) or None
        If the background is sought: receives sums over pixels that are kept out of the
        fit, every `APART`-th of a frame, where the background is brighter than the
        pattern; see `faint_scale`.
    """

    background: Any
    intensity: Any
    ratio: Any
    times: Any
    sums: np.ndarray
    learn: bool = True
    apart: np.ndarray | None = None


#: One of this many pixels of a frame is kept out of the fit to find a background.
APART = 31
#: Fewest pixels that determine a background.
_FEW = 30


def faint_scale(sums: np.ndarray) -> float | None:
    """Return the factor of the background; None where it cannot be determined.

    A pattern that is fitted to noise is nowhere below 0, and takes from the background
    what it adds. Pixels that it was not fitted to do not contain this addition: their
    counts are the background plus the real fraction of the pattern, a straight line in
    the pattern.

    Parameters
    ----------
    sums : (6,)
        Weighted products: background with itself, with the pattern, pattern with
        itself, counts with background and with pattern; and the number of pixels.
    """
    bb, bp, pp, cb, cp, number = (float(v) for v in sums)
    if number < _FEW or not bb > 0:
        return None
    free = bb * pp - bp * bp
    real = (bb * cp - bp * cb) / free if free > 1e-9 * bb * pp else 1.0
    return max((cb - min(max(real, 0.0), 1.0) * bp) / bb, 0.1)


def replace_modulus(
    waves: Array,
    frame: Array,
    weight: Array,
    *,
    poisson: bool = False,
    recorded: Recorded | None = None,
    numbers: Any = (),
) -> Any:
    """Replace the modulus of the summed modes by the measured or a likelier one.

    The root of few counts is on average less than the modulus (by 1 / 8|F|, and by
    nearly all of it below one count), so that a fit to it is biased. With `poisson`
    pixels take the step of Poisson's likelihood instead, with its expected
    curvature (Fisher scoring): ``|F| <- |F| + (I - |F|²) / 2|F|``. At the truth
    its mean is 0 whatever the counts. The likelihood is that of Thibault &
    Guizar-Sicairos, New J. Phys. 14, 063004 (2012). Pixels that are far too dark
    take the measured modulus.

    Parameters
    ----------
    waves : (..., m, n, n)
        Unscaled transforms of the modes; overwritten, and scaled so that the unscaled
        inverse gives exit waves.
    frame : (..., n, n)
        Counts; below 0 where the pixel does not count in this frame.
    weight : (n, n)
        1 where the pixel counts, 0 where it is dead: there the waves stay.
    poisson
        Take the step of Poisson's likelihood.
    recorded
        Background and intensities of frames; None: none.
    numbers : (...)
        Numbers of the frames, if `recorded` is given.

    Returns
    -------
    float
        Sum of ``weight (modulus - amplitude)**2`` before, for orthonormal transforms.
    """
    size = waves.shape[-2] * waves.shape[-1]
    if recorded is not None:
        if waves.ndim == 3:
            return _recorded(waves, frame, weight, poisson, recorded, int(numbers))
        parts = zip(waves, frame, numbers, strict=True)
        return sum(
            _recorded(w, f, weight, poisson, recorded, int(j)) for w, f, j in parts
        )
    if is_numpy_array(waves):
        scale = np.float32(1 / size)
        if waves.ndim == 3:
            return _modulus(waves, frame, weight, scale, poisson)
        pairs = zip(waves, frame, strict=True)
        return sum(_modulus(w, f, weight, scale, poisson) for w, f in pairs)
    xp = array_namespace(waves)
    counts = xp.astype(frame, xp.float32)
    power = xp.sum(xp.abs(waves) ** 2, axis=-3) / size + _TINY.item()
    modulus = xp.sqrt(power)
    seen = xp.astype(counts >= 0, xp.float32) * weight
    counts = xp.clip(counts, min=0.0)
    difference = seen * (modulus - xp.sqrt(counts))
    change = difference / modulus
    if poisson:
        curved = 2.0 * modulus * xp.sqrt(xp.clip(power, min=_DARK.item()))
        likelier = seen * (power - counts) / curved
        change = xp.where(difference > -_FAR.item(), likelier, change)
    waves *= ((1.0 - change) / size)[..., None, :, :]
    return xp.sum(difference**2)


def _recorded(
    waves: Array,
    frame: Array,
    weight: Array,
    poisson: bool,
    recorded: Recorded,
    number: int,
) -> Any:
    """Replace the modulus of one frame with background and intensity."""
    xp = array_namespace(waves)
    size = waves.shape[-2] * waves.shape[-1]
    share = float(recorded.intensity[number])
    counts = xp.astype(frame, xp.float32)
    seen = xp.astype(counts >= 0, xp.float32) * weight
    counts = xp.clip(counts, min=0.0) * (1.0 / share)
    pattern = xp.sum(xp.abs(waves) ** 2, axis=0) / size
    power = pattern + recorded.background + _TINY.item()
    modulus = xp.sqrt(power)
    difference = seen * (modulus - xp.sqrt(counts))
    change = difference / modulus
    if recorded.learn and recorded.apart is not None:
        parts = (share * seen, counts, pattern, recorded.background)
        recorded.apart[:] += _kept_apart(*parts, number)
    if recorded.learn:
        recorded.ratio[...] += share * seen * counts / power
        recorded.times[...] += share * seen
        recorded.sums[number] = (
            share * float(xp.sum(seen * counts)),
            float(xp.sum(seen * power)),
        )
    if poisson:
        curved = 2.0 * modulus * xp.sqrt(xp.clip(power, min=_DARK.item()))
        likelier = seen * (power - counts) / curved
        change = xp.where(difference > -_FAR.item(), likelier, change)
    if recorded.apart is not None:
        xp.reshape(change, (-1,))[number % APART :: APART] = 0.0
    waves *= ((1.0 - change) / size)[None, :, :]
    return share * xp.sum(difference**2)


def _kept_apart(
    share: Array, counts: Array, pattern: Array, background: Array, number: int
) -> np.ndarray:
    """Return the sums of `Recorded.apart` over a frame's pixels kept out of the fit."""
    xp, part = array_namespace(pattern), slice(number % APART, None, APART)
    flat = [xp.reshape(a, (-1,))[part] for a in (share, counts, pattern, background)]
    w, c, p, b = flat
    faint = xp.astype((p < b) & (w > 0), xp.float32)
    w = w * faint / (p + b + _TINY.item())
    terms = (w * b * b, w * b * p, w * p * p, w * c * b, w * c * p, faint)
    return np.array([float(xp.sum(term)) for term in terms])


class Reach(NamedTuple):
    """Step sizes of one frame for object and probe.

    Steps and regularisation (α) of both, max|P|² and max|O|².
    """

    object_step: float
    probe_step: float
    object_alpha: float
    probe_alpha: float
    probe_peak: Any
    object_peak: Any


def update_pair(
    waves: Array,
    probe: Array,
    obj: Array,
    corner: tuple[int, int],
    reach: Reach,
    change: Any,
) -> Any:
    """Update object and probe from one frame's exit waves with measured modulus.

    O += a P* d / ((1 - α)|P|² + α max|P|²), and P alike, with d the change of the exit
    wave: rPIE (Maiden, Johnson & Li, Optica 4, 736 (2017)); α = 1 is ePIE (Maiden &
    Rodenburg, Ultramicroscopy 109, 1256 (2009)). Modes share the denominator.

    Parameters
    ----------
    waves : (m, n, n)
        Exit waves with measured modulus.
    probe, obj
        Overwritten.
    corner
        Corner of the object's patch.
    reach
        Steps and regularisation.
    change : (m, n, n) or None
        Receives the change of the probe.

    Returns
    -------
    float
        max|P|² after the update.
    """
    y, x = corner
    if is_numpy_array(waves):
        keep = change is not None
        # Plain tuples: numba takes three times as long to recognise named ones.
        single = tuple(map(np.float32, reach))
        return _update(waves, probe, obj, y, x, single, change if keep else waves, keep)
    xp = array_namespace(waves)
    n = probe.shape[-1]
    patch = obj[y : y + n, x : x + n]
    difference = waves - probe * patch
    power = xp.sum(xp.abs(probe) ** 2, axis=0)
    a, b, alpha, beta, top_p, top_o = reach
    gain = a / ((1 - alpha) * power + alpha * top_p)
    gain = gain * xp.sum(xp.conj(probe) * difference, axis=0)
    weight = b / ((1 - beta) * xp.abs(patch) ** 2 + beta * top_o)
    step = weight * xp.conj(patch) * difference
    probe += step
    if change is not None:
        change[...] = step
    patch += gain
    return xp.max(xp.sum(xp.abs(probe) ** 2, axis=0))


def peak(array: Array) -> Array:
    """Return the largest squared modulus, summed over leading modes if there are."""
    xp = array_namespace(array)
    power = xp.abs(array) ** 2
    return xp.max(xp.sum(power, axis=0) if array.ndim == 3 else power)


def position_gradient(
    waves: Array, probe: Array, obj: Array, corner: tuple[int, int]
) -> Array:
    """Return the motion (pixels) that a frame asks for: a Gauss-Newton step.

    The patch at r + δ is O + δ·∇O to first order; δ is the least-squares answer to
    the change of the exit wave.

    Parameters
    ----------
    waves : (m, n, n)
        Exit waves with measured modulus.
    probe, obj, corner
        As used for the exit waves.

    Returns
    -------
    numpy.ndarray (2,)
    """
    y, x = corner
    if is_numpy_array(waves):
        sums = _gradient(waves, probe, obj, y, x)
    else:
        sums = _gradient_any(waves, probe, obj, y, x)
    yy, yx, xx, by, bx = (float(v) for v in sums)
    det = yy * xx - yx * yx
    if det <= 1e-9 * (yy * xx) or not np.isfinite(det):
        return np.zeros(2)
    return np.array([(xx * by - yx * bx) / det, (yy * bx - yx * by) / det])


def _gradient_any(
    waves: Array, probe: Array, obj: Array, y: int, x: int
) -> tuple[Any, ...]:
    xp = array_namespace(waves)
    n = probe.shape[-1]
    rows, columns = obj.shape
    up, down = max(y - 1, 0), min(y + 1, rows - n)
    left, right = max(x - 1, 0), min(x + 1, columns - n)
    d = waves - probe * obj[y : y + n, x : x + n]
    gy = probe * (obj[down : down + n, x : x + n] - obj[up : up + n, x : x + n])
    gx = probe * (obj[y : y + n, right : right + n] - obj[y : y + n, left : left + n])
    gy, gx = gy / max(down - up, 1), gx / max(right - left, 1)

    def inner(a: Array, b: Array) -> Array:
        return xp.sum(xp.real(xp.conj(a) * b))

    return inner(gy, gy), inner(gy, gx), inner(gx, gx), inner(gy, d), inner(gx, d)


# numpy's error model: the check for division by zero would keep the loops scalar.
_compiled = njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@_compiled
def _exit(
    probe: Cube[np.complex64],
    obj: Table[np.complex64],
    y: int,
    x: int,
    out: Cube[np.complex64],
) -> np.float32:
    modes, rows, columns = probe.shape
    highest = np.float32(0.0)
    for i in range(rows):
        patch = obj[y + i, x : x + columns]
        for m in range(modes):
            p, o = probe[m, i], out[m, i]
            for k in range(columns):
                o[k] = p[k] * patch[k]
        for k in range(columns):
            q = patch[k]
            highest = max(highest, q.real * q.real + q.imag * q.imag)
    return highest


@_compiled
def _modulus(
    waves: Cube[np.complex64],
    frame: FloatTable,
    weight: FloatTable,
    scale: np.float32,
    poisson: bool,
) -> float:
    modes, rows, columns = waves.shape
    total = 0.0  # short sums stay exact in single precision
    power = np.empty(columns, np.float32)
    one, nothing = np.float32(1.0), np.float32(0.0)
    for i in range(rows):
        power[:] = 0.0
        for m in range(modes):
            row = waves[m, i]
            for k in range(columns):
                v = row[k]
                power[k] += v.real * v.real + v.imag * v.imag
        measured, w = frame[i], weight[i]
        misfit = np.float32(0.0)
        for k in range(columns):
            squared = power[k] * scale + _TINY
            modulus, counts = np.sqrt(squared), np.float32(measured[k])
            seen = w[k] if counts >= nothing else nothing
            counts = max(counts, nothing)
            difference = seen * (modulus - np.sqrt(counts))
            misfit += difference * difference
            change = difference / modulus
            if poisson and difference > -_FAR:
                curved = np.float32(2.0) * modulus * np.sqrt(max(squared, _DARK))
                change = seen * (squared - counts) / curved
            power[k] = scale * (one - change)
        total += float(misfit)
        for m in range(modes):
            row = waves[m, i]
            for k in range(columns):
                row[k] = row[k] * power[k]
    return total


@_compiled
def _update(
    waves: Cube[np.complex64],
    probe: Cube[np.complex64],
    obj: Table[np.complex64],
    y: int,
    x: int,
    reach: tuple[np.float32, ...],
    change: Cube[np.complex64],
    keep: bool,
) -> np.float32:
    a, b, alpha, beta, top_p, top_o = reach
    modes, rows, columns = waves.shape
    one, highest = np.float32(1.0), np.float32(0.0)
    gain = np.empty(columns, np.complex64)
    power = np.empty(columns, np.float32)
    after = np.empty(columns, np.float32)
    step = np.empty(columns, np.complex64)
    rest, floor = one - alpha, alpha * top_p
    for i in range(rows):
        patch = obj[y + i, x : x + columns]
        gain[:] = 0.0
        power[:] = 0.0
        after[:] = 0.0
        for k in range(columns):
            o = patch[k]
            size = o.real * o.real + o.imag * o.imag
            step[k] = np.conj(o) * (b / ((one - beta) * size + beta * top_o))
        for m in range(modes):
            wave, p = waves[m, i], probe[m, i]
            for k in range(columns):
                v = p[k]
                d = wave[k] - v * patch[k]
                gain[k] += np.conj(v) * d
                power[k] += v.real * v.real + v.imag * v.imag
                d = step[k] * d
                v = v + d
                p[k] = v
                after[k] += v.real * v.real + v.imag * v.imag
                if keep:
                    change[m, i, k] = d
        for k in range(columns):
            patch[k] += gain[k] * (a / (rest * power[k] + floor))
            highest = max(highest, after[k])
    return highest


@_compiled
def _gradient(
    waves: Cube[np.complex64],
    probe: Cube[np.complex64],
    obj: Table[np.complex64],
    y: int,
    x: int,
) -> tuple[float | np.floating, ...]:
    modes, rows, columns = waves.shape
    height, width = obj.shape
    yy: float | np.floating = 0.0
    yx: float | np.floating = 0.0
    xx: float | np.floating = 0.0
    by: float | np.floating = 0.0
    bx: float | np.floating = 0.0
    for i in range(rows):
        up, down = max(y + i - 1, 0), min(y + i + 1, height - 1)
        sy = np.float32(1.0 / (down - up))
        left, right = max(x - 1, 0), min(x + columns, width - 1)
        for m in range(modes):
            for k in range(columns):
                lo, hi = max(x + k - 1, left), min(x + k + 1, right)
                p = probe[m, i, k]
                d = waves[m, i, k] - p * obj[y + i, x + k]
                gy = p * (obj[down, x + k] - obj[up, x + k]) * sy
                gx = p * (obj[y + i, hi] - obj[y + i, lo]) * np.float32(1.0 / (hi - lo))
                yy += gy.real * gy.real + gy.imag * gy.imag
                xx += gx.real * gx.real + gx.imag * gx.imag
                yx += gy.real * gx.real + gy.imag * gx.imag
                by += gy.real * d.real + gy.imag * d.imag
                bx += gx.real * d.real + gx.imag * d.imag
    return yy, yx, xx, by, bx
