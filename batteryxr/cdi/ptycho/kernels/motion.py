"""Motion of positions: steps, common motions, and a search far from the start.

The search anneals: each frame in turn is taken out of the object, tried at random
places around its nominal one, and put back where the other frames explain its counts,
nearly always at first and then ever more strictly. It finds errors of about half a
probe, as Maiden et al., Ultramicroscopy 120, 64 (2012), with objects that leave out the
frame on trial; and leaves about a pixel of its coarse frames to gradients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.cdi.fourier import Fourier, empty
from batteryxr.core.device import to_device_of, to_numpy

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.kernels.state import State

#: Name in a state's memory for the common motion of all positions.
DRIFT = "drift"
#: Fraction of that motion that continues.
_MOMENTUM = 0.8
#: Rounds of the search, places tried for each frame, and steps between two rounds.
_ROUNDS, _PLACES, _STEPS = 40, 24, 3
#: Spread of misfits that is tolerated in the first and the last round.
_HOT, _COLD = 0.6, 0.01
#: Round from which the probe follows.
_PROBE_FROM = 4
#: Light on a pixel, as a fraction of the most, below which it fades to vacuum.
_FADE = 0.02


def move(state: State, steps: np.ndarray, limit: float) -> None:
    """Move positions by at most `limit`, keeping their mean.

    A common shift belongs to object and probe, which would follow it forever. Motions
    that all frames share (a stretch, a turn or a drift with their number) are better
    determined than single ones, but would take many iterations: they have momentum.
    """
    length = np.linalg.norm(steps, axis=1, keepdims=True)
    steps = steps * np.minimum(1.0, limit / np.maximum(length, 1e-12))
    steps -= steps.mean(axis=0)
    at = state.positions - state.positions.mean(axis=0)
    spread = max(float(np.abs(at).max()), 1e-12)
    common = np.column_stack([at / spread, np.linspace(-1, 1, len(at))])
    found = np.linalg.lstsq(common, steps, rcond=None)[0]
    before = state.memory.get(DRIFT)
    so_far = 0.0 if before is None else _MOMENTUM * to_numpy(before)
    drift = (so_far + found).astype(np.float32)
    state.memory[DRIFT] = to_device_of(state.obj, drift)
    steps = steps + common @ (drift - found)
    n = state.probe.shape[-1]
    top = np.array(state.obj.shape) - n
    state.positions = np.clip(state.positions + steps, 0, top)


class Stretch(NamedTuple):
    """Hold a linear fit to the motions of positions.

    `matrix` (2, 2) gives the motion of a place relative to the middle, and `chance` the
    standard deviation of its least certain part. `rest` is the standard deviation of
    the motion that the fit leaves in each coordinate.
    """

    matrix: np.ndarray
    chance: float
    rest: float

    @property
    def scale(self) -> float:
        """Return the mean stretch of both axes."""
        return float(np.trace(self.matrix)) / 2

    @property
    def clear(self) -> bool:
        """Tell whether it is more than chance."""
        return float(np.abs(self.matrix).max()) > 5 * self.chance


def stretch_of(places: np.ndarray, moves: np.ndarray) -> Stretch | None:
    """Fit a stretch and turn to the motions (j, 2) of places; None: too few."""
    at, moves = (p - p.mean(axis=0) for p in (places, moves))
    if len(at) < 8 or np.linalg.matrix_rank(at) < 2:
        return None
    matrix = np.linalg.lstsq(at, moves, rcond=None)[0]
    rest = float(np.sqrt(np.sum((moves - at @ matrix) ** 2) / (2 * len(at) - 6)))
    chance = rest / float(np.linalg.svd(at, compute_uv=False)[-1])
    return Stretch(matrix, chance, rest)


def searched(
    frames: np.ndarray,
    weight: np.ndarray,
    told: np.ndarray,
    probe: np.ndarray,
    *,
    reach: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, float]:
    """Return whole-pixel positions (j, 2), searched for around nominal ones.

    The second number is the misfit that is left.

    Parameters
    ----------
    frames : (j, n, n)
        Counts, origin in the corner; below 0 where a pixel does not count.
    weight : (n, n)
        1 where a pixel counts.
    told : (j, 2)
        Nominal corners, in pixels.
    probe : (n, n)
        Probe with the power of a frame.
    reach
        Largest error of a coordinate.
    rng
        Random generator.
    """
    found = _Search(frames, weight, np.rint(told).astype(int), probe, reach)
    for k in range(_ROUNDS):
        share = k / (_ROUNDS - 1)
        found.anneal(_HOT * (_COLD / _HOT) ** share, rng)
        for _ in range(_STEPS):
            found.improve(probe=k >= _PROBE_FROM)
    return found.places + found.origin, found.misfit


class _Search:
    """Hold places of all frames, their exit waves, and sums that make the object."""

    def __init__(
        self,
        frames: np.ndarray,
        weight: np.ndarray,
        told: np.ndarray,
        probe: np.ndarray,
        reach: int,
    ) -> None:
        n = probe.shape[-1]
        self.origin = told.min(axis=0) - 2 * reach
        self._told = told - self.origin
        self.places = self._told.copy()
        self._reach, self._n, self._probe = reach, n, probe.astype(np.complex64)
        seen = (frames >= 0) & (weight > 0)
        self._seen = seen.astype(np.float32)
        self._amplitude = np.sqrt(np.where(seen, frames, 0)).astype(np.float32)
        self.misfit = np.inf
        self._waves = np.empty(frames.shape, np.complex64)
        self._one = np.asarray(empty((1, n, n), probe))
        self._many = np.asarray(empty((_PLACES, n, n), probe))
        self._ways = {len(a): Fourier(a, axes=(-2, -1), repeatable=True)
                      for a in (self._one, self._many)}  # fmt: skip
        shape = self._told.max(axis=0) + n + 2 * reach + 1
        self._sum = np.empty(shape, np.complex64)
        self._light = np.empty(shape, np.float32)
        for j in range(len(frames)):
            self._waves[j] = self._probe
        self._add_up()

    def improve(self, *, probe: bool) -> None:
        """Replace the moduli of all exit waves, then fit object and probe to them."""
        obj = self._object(slice(None), slice(None))
        n, self.misfit = self._n, 0.0
        change = np.zeros_like(self._probe)
        density = np.zeros(self._probe.shape, np.float32)
        for j, (y, x) in enumerate(self.places):
            patch = obj[y : y + n, x : x + n]
            self._one[0] = self._probe * patch
            far, modulus, misfit = self._compared(self._one, j)
            self.misfit += float(misfit[0])
            self._waves[j] = self._back(far[0], modulus[0], j)
            change += np.conj(patch) * self._waves[j]
            density += patch.real**2 + patch.imag**2
        if probe:
            floor = 0.05 * density.max()
            self._probe = (change + floor * self._probe) / (density + floor)
        self._add_up()

    def anneal(self, tolerance: float, rng: np.random.Generator) -> None:
        """Try random places for each frame, and choose one by its misfit."""
        n, reach = self._n, self._reach
        middle = np.rint((self.places - self._told).mean(axis=0)).astype(int)
        room = np.array(self._sum.shape) - n
        for j in rng.permutation(len(self.places)):
            self._put(j, -1)
            tried = rng.integers(-reach, reach + 1, (_PLACES, 2))
            tried = np.clip(tried + self._told[j] + middle, 0, room)
            tried[0] = self.places[j]
            low, high = tried.min(axis=0), tried.max(axis=0) + n
            around = self._object(slice(low[0], high[0]), slice(low[1], high[1]))
            for k, (y, x) in enumerate(tried - low):
                self._many[k] = self._probe * around[y : y + n, x : x + n]
            far, modulus, misfit = self._compared(self._many, j)
            spread = max(float(np.median(misfit) - misfit.min()), 1e-9)
            odds = np.exp((misfit.min() - misfit) / (tolerance * spread))
            k = int(rng.choice(_PLACES, p=odds / odds.sum()))
            self.places[j] = tried[k]
            self._waves[j] = self._back(far[k], modulus[k], j)
            self._put(j, 1)

    def _compared(
        self, waves: np.ndarray, j: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return transforms of waves, their moduli, and misfits to frame j."""
        far = np.asarray(self._ways[len(waves)].forward(waves))
        modulus = np.abs(far) * np.float32(1 / self._n)
        apart = modulus - self._amplitude[j]
        apart *= self._seen[j]
        return far, modulus, np.einsum("kyx,kyx->k", apart, apart, dtype=float)

    def _back(self, far: np.ndarray, modulus: np.ndarray, j: int) -> np.ndarray:
        """Return the exit wave of a transform that takes the modulus of frame j."""
        ratio = self._amplitude[j] / np.maximum(modulus, np.float32(1e-6))
        ratio = np.where(self._seen[j] > 0, ratio, np.float32(1))
        wave = empty((1, *far.shape), far)
        wave[0] = far * (ratio * np.float32(1 / self._n**2))
        return np.asarray(self._ways[1].backward(wave)[0])

    def _object(self, rows: slice, columns: slice) -> np.ndarray:
        """Return a part of the object; where no light falls it is vacuum."""
        floor = np.float32(_FADE * self._most)
        light = np.maximum(self._light[rows, columns], 0)
        return np.asarray((self._sum[rows, columns] + floor) / (light + floor))

    def _add_up(self) -> None:
        self._sum[...], self._light[...] = 0, 0
        self._back_probe = np.conj(self._probe)
        self._power = np.abs(self._probe) ** 2
        for j in range(len(self.places)):
            self._put(j, 1)
        self._most = float(self._light.max())

    def _put(self, j: int, sign: int) -> None:
        """Add frame j to the object's sums, or take it out."""
        (y, x), n = self.places[j], self._n
        self._sum[y : y + n, x : x + n] += sign * (self._back_probe * self._waves[j])
        self._light[y : y + n, x : x + n] += sign * self._power
