"""Least-squares maximum likelihood in mini-batches (LSQ-ML)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from batteryxr.cdi.fourier import empty
from batteryxr.cdi.ptycho.kernels.propagation import Propagation
from batteryxr.cdi.ptycho.kernels.state import Conditions, Shifter, State
from batteryxr.cdi.ptycho.kernels.steps import position_gradient, replace_modulus
from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from batteryxr.core.kernels.arrays import Array
    from batteryxr.core.kernels.loops import Batch, FloatTable, IntTable, Table


class BatchSteps(NamedTuple):
    """Step sizes of batches of frames; fields as in `LSQML`."""

    batch: int
    object_step: float
    probe_step: float
    damping: float
    poisson: bool


class _Batch(NamedTuple):
    """Hold frames visited together: numbers, whole corners, subpixel shifts, counts."""

    numbers: np.ndarray
    corners: np.ndarray
    shifts: np.ndarray
    frames: Array


class LeastSquares:
    """Run one iteration of mini-batch LSQ-ML (Odstrčil et al., 2018).

    Opt. Express 26, 3108. Object and probe move along preconditioned gradients, by the
    two step sizes that best fit the changes of all exit waves of the batch. The
    preconditioner of the object is the illumination by the whole scan. With that of the
    batch, a pixel in the tails of the probe would take a full step towards noise.
    """

    def __init__(self, options: BatchSteps, like: Array, near: float = 0.0) -> None:
        self.options = options
        self._like, self._near = like, near
        self._buffers: dict[int, tuple[Array, Propagation]] = {}
        self._shifter = Shifter(like)
        self._scale: tuple[int, Array | None] = (
            -1,
            None,
        )  # of which pass, and the values

    def sweep(
        self, state: State, index: np.ndarray, frames: Array, now: Conditions
    ) -> float:
        """Visit the frames once in random batches; see `Sweep.sweep`."""
        if self._scale[0] != state.iteration:
            self._scale = state.iteration, _scale(state.light(), self.options.damping)
        corners, shifts = state.corners(), state.shifts()
        order = now.rng.permutation(len(index))
        parts = -(-len(index) // self.options.batch)
        total = 0.0
        for rows in np.array_split(order, parts):
            chosen = index[rows]
            counts = frames[rows] if is_numpy_array(frames) else _take(frames, rows)
            batch = _Batch(chosen, corners[chosen], shifts[chosen], counts)
            total += self._visit(state, batch, now)
        return total

    def _visit(self, state: State, batch: _Batch, now: Conditions) -> float:
        o = self.options
        obj, (numbers, corners, shifts, frames) = state.obj, batch
        waves, way = self._buffer(len(numbers))
        own = now.unsteady
        moved = bool(shifts.any()) or own is not None
        probes = state.probe[None]
        if moved:
            spectrum = self._shifter.forward(state.probe)
            parts = None if own is None else [own.part(int(j)) for j in numbers]
            probes = self._shifted(spectrum, shifts, obj, parts)
        _exits(probes, obj, corners, waves)
        waves = way.forward(waves)
        misfit = replace_modulus(
            waves,
            frames,
            now.weight,
            poisson=o.poisson,
            recorded=now.recorded,
            numbers=numbers,
        )
        waves = way.backward(waves)
        if now.moves is not None:
            for row, j in enumerate(numbers):
                corner = (int(corners[row, 0]), int(corners[row, 1]))
                probe = probes[row if moved else 0]
                now.moves[j] = position_gradient(waves[row], probe, obj, corner)
        sums = _Sums(waves, probes, obj, corners)
        change_o = sums.to_object * self._scale[1]
        change_p = None
        if now.move_probe:
            if own is not None:
                pace = now.step * o.probe_step * len(numbers) / sums.brightest()
                for change, shift, j in zip(
                    sums.to_probe, shifts, numbers, strict=True
                ):
                    part = self._shifter.unshifted(change, shift)[0]
                    own.take(int(j), pace * part)
            common = sums.change_of_probe(o.damping, shifts, self._shifter)
            change_p = common[None]
            if moved:
                change_p = self._shifted(self._shifter.forward(common), shifts, obj)
        steps = _steps(waves, probes, obj, corners, change_o, change_p)
        obj += now.step * o.object_step * steps[0] * change_o
        if now.move_probe:
            state.probe += now.step * o.probe_step * steps[1] * common
        return float(misfit)

    def _shifted(
        self, spectrum: Array, shifts: np.ndarray, like: Array, own: Any = None
    ) -> Array:
        """Return the probe as shifted for each frame of the batch (b, m, n, n).

        `own` is what each frame's probe has besides.
        """
        parts = empty((len(shifts), *spectrum.shape), like)
        for b, shift in enumerate(shifts):
            there = spectrum
            if own is not None:
                there = spectrum + self._shifter.forward(own[b])
            parts[b, ...] = self._shifter.shifted(there, shift, parts[b])
        return parts

    def _buffer(self, b: int) -> tuple[Array, Propagation]:
        if b not in self._buffers:
            waves = empty((b, *self._like.shape), self._like)
            self._buffers[b] = waves, Propagation(waves, self._near)
        return self._buffers[b]


def _take(frames: Array, rows: np.ndarray) -> Array:
    xp = array_namespace(frames)
    return xp.stack([frames[int(r)] for r in rows])


def _scale(light: Array, damping: float) -> Array:
    """Return the preconditioner of the object's gradient, from the light on it."""
    xp = array_namespace(light)
    floor = damping * xp.max(light)
    return 1.0 / xp.sqrt(light**2 + floor**2)


class _Sums:
    """Hold sums over the changes of exit waves, for updates of object and probe.

    `waves` holds exit waves with measured modulus, and afterwards their change.
    """

    def __init__(
        self, waves: Array, probes: Array, obj: Array, corners: np.ndarray
    ) -> None:
        xp = array_namespace(obj)
        self._xp = xp
        shape = probes.shape[1:]
        self.to_object = xp.zeros_like(obj)
        self.to_probe = xp.zeros(
            (probes.shape[0], *shape), dtype=obj.dtype, device=obj.device
        )
        self.density = xp.zeros(shape[1:], dtype=xp.float32, device=obj.device)
        if is_numpy_array(obj):
            found = self.to_object, self.to_probe, self.density
            _sums(waves, probes, obj, corners, found)
        else:
            self._add_up(waves, probes, obj, corners)

    def _add_up(
        self, waves: Array, probes: Array, obj: Array, corners: np.ndarray
    ) -> None:
        xp, n = self._xp, waves.shape[-1]
        for b, (y, x) in enumerate(corners):
            part = (slice(int(y), int(y) + n), slice(int(x), int(x) + n))
            p: Array = probes[b % probes.shape[0]]
            patch = obj[part]
            d: Array = waves[b]
            d -= p * patch
            self.to_object[part] += xp.sum(xp.conj(p) * d, axis=0)
            self.to_probe[b % self.to_probe.shape[0]] += xp.conj(patch) * d
            self.density += xp.abs(patch) ** 2

    def brightest(self) -> float:
        """Return the largest density of the object, of all frames together."""
        return float(self._xp.max(self.density))

    def change_of_probe(
        self, damping: float, shifts: np.ndarray, shifter: Shifter
    ) -> Array:
        """Return the change of the probe (m, n, n)."""
        xp = self._xp
        scale = 1.0 / (self.density + damping * xp.max(self.density))
        if not shifts.any():
            return xp.sum(self.to_probe, axis=0) * scale
        spectrum = xp.zeros_like(self.to_probe[0])
        for change, shift in zip(self.to_probe, shifts, strict=True):
            shifter.add_unshifted(change, shift, spectrum)
        return shifter.backward(spectrum) * scale


def _steps(
    change: Array,
    probes: Array,
    obj: Array,
    corners: np.ndarray,
    to_o: Array,
    to_p: Any,
) -> tuple[float, float]:
    """Return the two step sizes that best fit the changes of the exit waves."""
    move_probe = to_p is not None
    used_p = to_p if move_probe else probes * 0
    if is_numpy_array(obj):
        sums = _normal(change, probes, obj, corners, to_o, used_p)
    else:
        sums = _normal_any(change, probes, obj, corners, to_o, used_p)
    aa, ab, bb, ca, cb = (float(v) for v in sums)
    if aa == 0:
        return 0.0, 0.0
    if not move_probe or bb == 0:
        return ca / aa, 0.0
    # A tenth more on the diagonal keeps both positive where they are nearly parallel.
    matrix = np.array([[1.1 * aa, ab], [ab, 1.1 * bb]])
    a, b = np.linalg.solve(matrix, [ca, cb])
    return max(float(a), 0.0), max(float(b), 0.0)


def _normal_any(
    change: Array,
    probes: Array,
    obj: Array,
    corners: np.ndarray,
    to_o: Array,
    to_p: Array,
) -> Any:
    xp, n = array_namespace(obj), change.shape[-1]
    totals: list[Any] = [0.0] * 5
    for b, (y, x) in enumerate(corners):
        part = (slice(int(y), int(y) + n), slice(int(x), int(x) + n))
        u = probes[b % probes.shape[0]] * to_o[part]
        v = to_p[b % to_p.shape[0]] * obj[part]
        pairs = [(u, u), (u, v), (v, v), (u, change[b]), (v, change[b])]
        for k, (p, q) in enumerate(pairs):
            totals[k] += xp.sum(xp.real(xp.conj(p) * q))
    return totals


def _exits(probes: Array, obj: Array, corners: np.ndarray, out: Array) -> None:
    n = out.shape[-1]
    for b, (y, x) in enumerate(corners):
        p = probes[b % probes.shape[0]]
        out[b, ...] = p * obj[int(y) : int(y) + n, int(x) : int(x) + n]


_compiled = njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@_compiled
def _sums(
    waves: Batch[complex],
    probes: Batch[complex],
    obj: Table[complex],
    corners: IntTable,
    out: tuple[Table[complex], Batch[complex], FloatTable],
) -> None:
    to_object, to_probe, density = out
    frames, modes, rows, columns = waves.shape
    for b in range(frames):
        y, x = corners[b]
        q, r = b % probes.shape[0], b % to_probe.shape[0]
        for i in range(rows):
            patch = obj[y + i, x : x + columns]
            gain = to_object[y + i, x : x + columns]
            for m in range(modes):
                p, d, g = probes[q, m, i], waves[b, m, i], to_probe[r, m, i]
                for k in range(columns):
                    v = p[k]
                    c = d[k] - v * patch[k]
                    d[k] = c
                    gain[k] += np.conj(v) * c
                    g[k] += np.conj(patch[k]) * c
            for k in range(columns):
                o = patch[k]
                density[i, k] += o.real * o.real + o.imag * o.imag


@_compiled
def _normal(
    change: Batch[complex],
    probes: Batch[complex],
    obj: Table[complex],
    corners: IntTable,
    to_o: Table[complex],
    to_p: Batch[complex],
) -> tuple[float, float, float, float, float]:
    frames, modes, rows, columns = change.shape
    aa, ab, bb, ca, cb = 0.0, 0.0, 0.0, 0.0, 0.0
    for b in range(frames):
        y, x = corners[b]
        q, r = b % probes.shape[0], b % to_p.shape[0]
        for i in range(rows):
            patch = obj[y + i, x : x + columns]
            motion = to_o[y + i, x : x + columns]
            s0 = s1 = s2 = s3 = s4 = np.float32(0.0)
            for m in range(modes):
                p, g, d = probes[q, m, i], to_p[r, m, i], change[b, m, i]
                for k in range(columns):
                    u, v, c = p[k] * motion[k], g[k] * patch[k], d[k]
                    s0 += u.real * u.real + u.imag * u.imag
                    s1 += u.real * v.real + u.imag * v.imag
                    s2 += v.real * v.real + v.imag * v.imag
                    s3 += u.real * c.real + u.imag * c.imag
                    s4 += v.real * c.real + v.imag * c.imag
            aa += float(s0)
            ab += float(s1)
            bb += float(s2)
            ca += float(s3)
            cb += float(s4)
    return aa, ab, bb, ca, cb
