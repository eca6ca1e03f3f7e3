"""State of a ptychographic reconstruction, and its placement on a grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from batteryxr.cdi.fourier import Fourier
from batteryxr.core.device import to_device_of
from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.kernels.steps import Recorded
    from batteryxr.core.kernels.arrays import Array
    from batteryxr.core.kernels.loops import Cube, Line

#: Shifts smaller than this (pixels) count as zero: they would cost two transforms.
NO_SHIFT = 1e-3


@dataclass
class State:
    """Hold changing parts of a reconstruction: object, probe and positions.

    Parameters
    ----------
    obj : (Y, X)
        Transmission, complex64.
    probe : (m, n, n)
        Modes, complex64; the squared modulus of their orthonormal transform is counts.
    positions : (j, 2)
        Upper left corner of each frame's patch in pixels of the object, float64.
    iteration
        Number of iterations done.
    misfits
        Squared differences of amplitudes, summed, for each iteration.
    power
        Counts of all frames where pixels count; NaN until they are summed.
    memory
        Arrays that an engine keeps between iterations, by name.
    """

    obj: Array
    probe: Array
    positions: np.ndarray
    iteration: int = 0
    misfits: list[float] = field(default_factory=list)
    power: float = float("nan")
    memory: dict[str, Array] = field(default_factory=dict)

    def residuals(self) -> np.ndarray:
        """Return the amplitude residual of each iteration: Σ(|F| - √I)² / ΣI."""
        return np.array(self.misfits, float) / self.power

    def corners(self) -> np.ndarray:
        """Return whole-pixel corners (j, 2), kept inside the object."""
        n = self.probe.shape[-1]
        limits = np.array(self.obj.shape) - n
        return np.clip(np.rint(self.positions), 0, limits).astype(np.int64)

    def shifts(self) -> np.ndarray:
        """Return the part of the positions (j, 2) below whole pixels."""
        left = self.positions - self.corners()
        return np.where(np.abs(left) < NO_SHIFT, 0.0, left)

    def light(self) -> Any:
        """Return the counts (Y, X) that fall on each pixel in an empty beam."""
        xp = array_namespace(self.probe)
        power = xp.sum(xp.abs(self.probe) ** 2, axis=0)
        total = xp.zeros(self.obj.shape, dtype=power.dtype, device=self.probe.device)
        n = self.probe.shape[-1]
        for y, x in self.corners():
            total[int(y) : int(y) + n, int(x) : int(x) + n] += power
        return total


class OwnProbes(Protocol):
    """Define what engines need of probes that differ from frame to frame."""

    def part(self, j: int) -> Array:
        """Return what the probe (m, n, n) of frame `j` has besides the common one."""

    def take(self, j: int, change: Array) -> None:
        """Take the change (n, n) of the first mode that frame `j` asks for."""


@dataclass(frozen=True)
class Conditions:
    """Hold conditions of one iteration over the frames, for any engine.

    Parameters
    ----------
    weight : (n, n)
        1 where a pixel counts, origin in the corner.
    rng
        Random generator for the order of frames.
    move_probe
        Whether to update the probe.
    moves : (j, 2) or None
        Receives the motion that each position asks for, in pixels.
    step
        Fraction of the usual steps of object and probe.
    recorded
        Background and intensities of frames; None: none.
    unsteady
        How the probe differs from frame to frame; None: it does not.
    """

    weight: Array
    rng: np.random.Generator
    move_probe: bool = True
    moves: np.ndarray | None = None
    step: float = 1.0
    recorded: Recorded | None = None
    unsteady: OwnProbes | None = None


class Sweep(Protocol):
    """Define the kernel of an engine."""

    def sweep(
        self, state: State, index: np.ndarray, frames: Array, now: Conditions
    ) -> float:
        """Visit frames once; return their misfit before updates.

        Parameters
        ----------
        state
            Object and probe are overwritten.
        index : (b,)
            Number of each frame.
        frames : (b, n, n)
            Counts, origin in the corner.
        now
            Conditions of this iteration.
        """


def frame_of(
    positions: np.ndarray, n: int, margin: int
) -> tuple[tuple[int, int], np.ndarray]:
    """Return the shape of an object that holds all patches, and its origin.

    Parameters
    ----------
    positions : (j, 2)
        Corners in pixels, any origin.
    n
        Size of a patch.
    margin
        Pixels on each side, for positions that will move.

    Returns
    -------
    shape
    origin : (2,)
        To be subtracted from the positions.
    """
    origin = np.floor(positions.min(axis=0)) - margin
    span = np.ceil(positions.max(axis=0) - origin).astype(int) + n + margin + 1
    return (int(span[0]), int(span[1])), origin


class Shifter:
    """Shift probes by fractions of a pixel, through their Fourier transforms.

    A patch taken at whole pixels is δ too early. Moving the probe by δ corrects this,
    since a frame does not change under a common shift.
    """

    def __init__(self, probe: Array) -> None:
        self._n = probe.shape[-1]
        self._xp, self._like = array_namespace(probe), probe
        self._f = np.fft.fftfreq(self._n)
        self._fourier = Fourier(probe, axes=(-2, -1), repeatable=True)

    def forward(self, probe: Array) -> Array:
        """Return the transform of a copy of `probe` (m, n, n)."""
        return self._fourier.forward(self._xp.asarray(probe, copy=True))

    def backward(self, spectrum: Array) -> Array:
        """Return the scaled inverse of a copy of `spectrum`."""
        copy = self._xp.asarray(spectrum, copy=True)
        return self._fourier.backward(copy) * np.float32(1.0 / self._fourier.size)

    def shifted(self, spectrum: Array, shift: np.ndarray, out: Array) -> Array:
        """Return the probe of `spectrum` moved by `shift` (2,); may use `out`."""
        ramp = self._ramp(shift, 1.0 / self._fourier.size)
        if is_numpy_array(out):
            _times(spectrum, *ramp, out)
            return self._fourier.backward(out)
        y, x = (to_device_of(self._like, r) for r in ramp)
        return self._fourier.backward(spectrum * (y[:, None] * x[None, :]))

    def add_unshifted(self, change: Any, shift: np.ndarray, spectrum: Array) -> None:
        """Add a change of the moved probe to `spectrum`; overwrites `change`."""
        ramp = self._ramp(-shift, 1.0)
        moved = self._fourier.forward(change)
        if is_numpy_array(moved):
            _add_times(moved, *ramp, spectrum)
            return
        y, x = (to_device_of(self._like, r) for r in ramp)
        spectrum += moved * (y[:, None] * x[None, :])

    def unshifted(self, change: Array, shift: np.ndarray) -> Array:
        """Return a change of the moved probe as one of the probe itself."""
        spectrum = self._xp.zeros_like(self._like)
        copy = self._xp.asarray(change, copy=True)
        self.add_unshifted(copy, shift, spectrum)
        return self.backward(spectrum)

    def _ramp(self, shift: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
        y = scale * np.exp(-2j * np.pi * shift[0] * self._f)
        x = np.exp(-2j * np.pi * shift[1] * self._f)
        return y.astype(np.complex64), x.astype(np.complex64)


_compiled = njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@_compiled
def _times(
    spectrum: Cube[complex], y: Line[complex], x: Line[complex], out: Cube[complex]
) -> None:
    for m in range(spectrum.shape[0]):
        for i in range(y.size):
            row, to = spectrum[m, i], out[m, i]
            for k in range(x.size):
                to[k] = row[k] * (y[i] * x[k])


@_compiled
def _add_times(
    moved: Cube[complex], y: Line[complex], x: Line[complex], spectrum: Cube[complex]
) -> None:
    for m in range(moved.shape[0]):
        for i in range(y.size):
            row, to = moved[m, i], spectrum[m, i]
            for k in range(x.size):
                to[k] += row[k] * (y[i] * x[k])


def orthogonalise(probe: Array) -> tuple[Array, np.ndarray]:
    """Return orthogonal modes, strongest first, and their fractions of the power.

    The sum of their intensities, and so every frame, stays the same.

    Parameters
    ----------
    probe : (m, n, n)

    Returns
    -------
    probe : (m, n, n)
    shares : (m,)
    """
    xp = array_namespace(probe)
    m = probe.shape[0]
    rows = xp.reshape(probe, (m, -1))
    gram = np.array(
        [
            [complex(xp.sum(xp.conj(rows[i]) * rows[j])) for j in range(m)]
            for i in range(m)
        ]
    )
    values, vectors = np.linalg.eigh(gram)
    order = np.argsort(values)[::-1]
    values = np.maximum(values[order], 0.0)
    mix = vectors[:, order].T
    if m > 1:
        parts = []
        for row in mix:
            part = sum(complex(c) * probe[i] for i, c in enumerate(row))
            parts.append(xp.astype(part, probe.dtype))
        probe = xp.stack(parts)
    return probe, values / values.sum()


def add_modes(probe: Array, modes: int, rng: np.random.Generator) -> Any:
    """Add weak random modes until a probe has at least `modes` modes.

    Each new mode is the main mode times a random smooth polynomial, with a thousandth
    of the power.
    """
    have = probe.shape[0]
    if have >= modes:
        return probe
    n = probe.shape[-1]
    main = np.asarray(probe[0])
    y = np.linspace(-1, 1, n)
    new = []
    for _ in range(modes - have):
        a = rng.standard_normal((3, 3))
        bend = np.polynomial.legendre.leggrid2d(y, y, a)
        mode = main * bend
        power = np.sum(np.abs(main) ** 2) / np.sum(np.abs(mode) ** 2)
        new.append(mode * np.sqrt(power * 1e-3))
    whole = np.concatenate([np.asarray(probe), np.array(new)]).astype(np.complex64)
    return whole if is_numpy_array(probe) else to_device_of(probe, whole)
