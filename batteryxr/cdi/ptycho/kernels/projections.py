"""Difference map and RAAR on all exit waves at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from batteryxr.cdi.fourier import empty
from batteryxr.cdi.ptycho.kernels.propagation import Propagation
from batteryxr.cdi.ptycho.kernels.steps import exit_waves, peak, replace_modulus
from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batteryxr.cdi.ptycho.kernels.state import Conditions, OwnProbes, State
    from batteryxr.core.kernels.arrays import Array
    from batteryxr.core.kernels.loops import Batch, Cube, FloatTable, IntTable, Table


class Relaxation(NamedTuple):
    """Hold weights with which exit waves follow their projections.

    `own`, `view` and `both` weigh the wave as it is, its view, and both together. `mix`
    is how much of the view enters the modulus projection; `inner` counts the rounds of
    the overlap step.
    """

    own: float
    view: float
    both: float
    mix: float
    inner: int
    poisson: bool


class Projections:
    """Iterate ψ <- (1 - a - b) ψ + a Oψ + b F(2 Oψ - ψ) on exit waves.

    O is the overlap and F the modulus projection. DM has a = -β, b = 1 and its own
    reflection (1 + β) Oψ - β ψ; RAAR has a = 1 - 2β, b = β. Corners are whole pixels.
    """

    def __init__(self, options: Relaxation, like: Array, near: float = 0.0) -> None:
        self.options = options
        self._way = Propagation(like, near)
        self._buffer = empty(tuple(like.shape), like)
        self._scratch = empty(tuple(like.shape), like)

    def sweep(
        self, state: State, index: np.ndarray, frames: Array, now: Conditions
    ) -> float:
        """Do one iteration on all frames; see `Sweep.sweep`.

        The exit waves are in ``state.memory["waves"]``; frames have no order, and
        positions do not move.
        """
        xp = array_namespace(state.obj)
        waves = state.memory.get("waves")
        corners = state.corners()[index]
        if waves is None:
            shape = (len(index), *state.probe.shape)
            waves = xp.zeros(shape, dtype=state.obj.dtype, device=state.obj.device)
            for b, (y, x) in enumerate(corners):
                exit_waves(state.probe, state.obj, (int(y), int(x)), waves[b])
            state.memory["waves"] = waves
        own = None if now.unsteady is None else _Own(now.unsteady, index)
        self._overlap(state, _Views(waves, corners, own), now.move_probe)
        keep, view, both, mix, _, poisson = self.options
        told = now.recorded
        blind = None if told is None else told._replace(learn=False)
        total = 0.0
        for b, (y, x) in enumerate(corners):
            seen = self._buffer
            probe = state.probe if own is None else state.probe + own(b)
            exit_waves(probe, state.obj, (int(y), int(x)), seen)
            total += self._misfit(seen, frames[b], now, int(index[b]))
            wave: Array = waves[b]
            rest = keep * wave + view * seen
            seen *= mix
            seen -= (mix - 1.0) * wave
            field = self._way.forward(seen)
            replace_modulus(
                field,
                frames[b],
                now.weight,
                poisson=poisson,
                recorded=blind,
                numbers=int(index[b]),
            )
            wave[...] = rest + both * self._way.backward(field)
        return float(total)

    def _misfit(self, seen: Array, frame: Array, now: Conditions, number: int) -> Any:
        # The misfit is that of object and probe: the reflected waves fit nothing.
        self._scratch[...] = seen
        return replace_modulus(
            self._way.forward(self._scratch),
            frame,
            now.weight,
            recorded=now.recorded,
            numbers=number,
        )

    def _overlap(self, state: State, views: _Views, move_probe: bool) -> None:
        for _ in range(self.options.inner if move_probe else 1):
            state.obj = _object(views, state.probe, state.obj)
            if move_probe:
                state.probe = _probe(views, state.probe, state.obj)
        if views.own is not None and move_probe:
            views.ask(state)


class _Own(NamedTuple):
    """Hold what the probe of each frame has besides the common one."""

    unsteady: OwnProbes
    numbers: np.ndarray

    def __call__(self, b: int) -> Array:
        return self.unsteady.part(int(self.numbers[b]))


class _Views(NamedTuple):
    """Hold exit waves (j, m, n, n), their corners, and their own parts of the probe."""

    waves: Array
    corners: np.ndarray
    own: _Own | None

    def probes(self, probe: Array) -> Iterator[_Sharing]:
        """Yield exit waves with the probe they share, and their corners."""
        if self.own is None:
            yield _Sharing(self.waves, probe, self.corners)
            return
        for b in range(len(self.corners)):
            part = slice(b, b + 1)
            yield _Sharing(self.waves[part], probe + self.own(b), self.corners[part])

    def common(self, probe: Array, obj: Array) -> Iterator[_Sharing]:
        """Yield exit waves as the common probe makes them, and their corners."""
        if self.own is None:
            yield _Sharing(self.waves, probe, self.corners)
            return
        n = probe.shape[-1]
        for b, (y, x) in enumerate(self.corners):
            patch = obj[int(y) : int(y) + n, int(x) : int(x) + n]
            wave = self.waves[b] - self.own(b) * patch
            yield _Sharing(wave[None], probe, self.corners[b : b + 1])

    def ask(self, state: State) -> None:
        """Let each frame ask for a change of its own probe."""
        assert self.own is not None
        xp, n = array_namespace(state.obj), state.probe.shape[-1]
        for b, group in enumerate(self.probes(state.probe)):
            y, x = (int(v) for v in group.corners[0])
            patch = state.obj[y : y + n, x : x + n]
            change = xp.conj(patch) * (group.waves[0] - group.probe * patch)[0]
            own = self.own
            own.unsteady.take(int(own.numbers[b]), change / peak(patch))


class _Sharing(NamedTuple):
    """Hold exit waves (b, m, n, n) that share a probe, and their corners."""

    waves: Array
    probe: Array
    corners: np.ndarray


def _object(views: _Views, probe: Array, obj: Array) -> Array:
    xp, n = array_namespace(obj), probe.shape[-1]
    total = xp.zeros_like(obj)
    light = xp.zeros(obj.shape, dtype=xp.float32, device=obj.device)
    for waves, mine, corners in views.probes(probe):
        if is_numpy_array(obj):
            _gather(waves, mine, corners, total, light)
            continue
        power = xp.sum(xp.abs(mine) ** 2, axis=0)
        for b, (y, x) in enumerate(corners):
            part = (slice(int(y), int(y) + n), slice(int(x), int(x) + n))
            total[part] += xp.sum(xp.conj(mine) * waves[b], axis=0)
            light[part] += power
    # Where hardly any light falls, the object stays unchanged.
    floor = 1e-3 * xp.max(light)
    return (total + floor * obj) / (light + floor)


def _probe(views: _Views, probe: Array, obj: Array) -> Array:
    xp, n = array_namespace(obj), probe.shape[-1]
    total = xp.zeros_like(probe)
    density = xp.zeros(probe.shape[1:], dtype=xp.float32, device=obj.device)
    for waves, _, corners in views.common(probe, obj):
        if is_numpy_array(obj):
            _collect(waves, obj, corners, total, density)
            continue
        for b, (y, x) in enumerate(corners):
            patch = obj[int(y) : int(y) + n, int(x) : int(x) + n]
            total += xp.conj(patch) * waves[b]
            density += xp.abs(patch) ** 2
    floor = 1e-6 * xp.max(density)
    return (total + floor * probe) / (density + floor)


_compiled = njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@_compiled
def _gather(
    waves: Batch[complex],
    probe: Cube[complex],
    corners: IntTable,
    total: Table[complex],
    light: FloatTable,
) -> None:
    frames, modes, rows, columns = waves.shape
    for b in range(frames):
        y, x = corners[b]
        for i in range(rows):
            gain = total[y + i, x : x + columns]
            power = light[y + i, x : x + columns]
            for m in range(modes):
                p, wave = probe[m, i], waves[b, m, i]
                for k in range(columns):
                    v = p[k]
                    gain[k] += np.conj(v) * wave[k]
                    power[k] += v.real * v.real + v.imag * v.imag


@_compiled
def _collect(
    waves: Batch[complex],
    obj: Table[complex],
    corners: IntTable,
    total: Cube[complex],
    density: FloatTable,
) -> None:
    frames, modes, rows, columns = waves.shape
    for b in range(frames):
        y, x = corners[b]
        for i in range(rows):
            patch = obj[y + i, x : x + columns]
            for m in range(modes):
                gain, wave = total[m, i], waves[b, m, i]
                for k in range(columns):
                    gain[k] += np.conj(patch[k]) * wave[k]
            for k in range(columns):
                o = patch[k]
                density[i, k] += o.real * o.real + o.imag * o.imag
