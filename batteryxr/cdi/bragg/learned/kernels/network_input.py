"""Conversion between a measured pattern and a network of fixed size.

A pattern of any shape is brought to the network's grid, and the object is brought back
to the grid of the measurement. Both steps need transforms only, no network.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

#: Points of the network's pattern along each axis; its object has half as many.
SIZE = 32
#: Extent of the object on the network's grid, as a fraction of half the grid, if it was
#: estimated correctly. Extents in training vary around this by a factor of 1.4.
FILL = 0.65
#: Fraction of its maximum above which the autocorrelation marks the object's extent.
_EDGE = 0.04
#: Mean position of that edge for many crystals, in extents (scatter: 7 %).
_REACHES = 0.76


@dataclass(frozen=True)
class Scene:
    """Hold a pattern on the network's grid, and the way back.

    Parameters
    ----------
    modulus
        Square root of the intensity, ``(SIZE, SIZE, SIZE)``, rms 1, origin ``n // 2``.
    weight
        How well each of its voxels was measured, 0 to 1.
    view
        Length that the grid spans in real space along each axis, in voxels of the
        measurement's object.
    centre
        Centre of mass of the pattern from ``n // 2``, in cycles per voxel: the mean
        phase gradient, which is hidden from the network.
    shape
        Shape of the measurement.
    """

    modulus: np.ndarray
    weight: np.ndarray
    view: tuple[float, ...]
    centre: tuple[float, ...]
    shape: tuple[int, ...]

    def whole(self, rho: np.ndarray) -> np.ndarray:
        """Return the network's object on the grid of the measurement.

        The object is interpolated by its Fourier series. It is zero outside the half of
        the grid that the network fills, and gets the mean phase gradient of the
        measurement.

        Parameters
        ----------
        rho
            Complex, ``(SIZE, SIZE, SIZE)``, origin at ``n // 2``.
        """
        for axis, (n, view, centre) in enumerate(
            zip(self.shape, self.view, self.centre, strict=True)
        ):
            x = np.arange(n) - n // 2
            from_nodes = x[:, None] / view - _index(SIZE)[None] / SIZE
            matrix = _series(from_nodes, SIZE // 2) / SIZE
            matrix[np.abs(x) > view / 4] = 0
            wave = np.exp(2j * np.pi * centre * x)
            rho = _along(matrix * wave[:, None], rho, axis)
        return rho.astype(np.complex64)


def scene(intensity: np.ndarray) -> Scene:
    """Bring a pattern to the network's grid.

    Unmeasured voxels are filled from their neighbours. The pattern's centre of mass is
    moved to the middle. Each axis is resampled so that the object, whose extent follows
    from the autocorrelation, fills about the same fraction of every grid. The
    resampling is exact for a pattern whose autocorrelation ends within the view.

    Parameters
    ----------
    intensity
        Counts, origin at ``n // 2``, any shape; NaN where nothing was measured.
    """
    measured = np.isfinite(intensity)
    filled = _filled(intensity, measured)
    centre = _centre(filled)
    view = [max(SIZE, 2 * e / FILL) for e in _extents(filled)]
    power, weight = filled, measured.astype(np.float32)
    for axis, (n, length, middle) in enumerate(
        zip(intensity.shape, view, centre, strict=True)
    ):
        wanted = (_index(SIZE) / length + middle)[:, None] - (_index(n) / n)[None]
        reach = int(min(length / 2, (n - 1) / 2))
        power = _along(_series(wanted * 1.0, reach, closed=True) / n, power, axis)
        # How well a point was measured: the linear mean of its neighbours.
        away = np.abs((wanted + 0.5) % 1 - 0.5) * n
        near = np.maximum(0, 1 - away / max(1.0, n / length))
        weight = _along(near / near.sum(1, keepdims=True), weight, axis)
    modulus = np.sqrt(np.maximum(power, 0))
    modulus /= max(math.sqrt(float((modulus**2).mean())), 1e-12)
    return Scene(
        modulus.astype(np.float32),
        weight.astype(np.float32),
        tuple(float(v) for v in view),
        centre,
        intensity.shape,
    )


def standard(rho: np.ndarray) -> np.ndarray:
    """Return the object or its conjugate twin, whichever the network shall learn.

    Both have the same pattern, so a label must choose: the one whose phase, weighted
    with the density, is larger far from the centre than near it. The global phase is
    set to 0. Translation and phase ramp are fixed where crystals are made, by the
    centres of mass of object and pattern.

    Parameters
    ----------
    rho
        Complex, origin and centre of mass at ``n // 2``.
    """
    far = sum(
        np.square(_index(n)).reshape([-1 if k == axis else 1 for k in range(rho.ndim)])
        for axis, n in enumerate(rho.shape)
    )
    body = np.abs(rho)
    mean = (body * rho).sum()
    moved = rho * np.conj(mean) / abs(mean)
    distance = far - (body**2 * far).sum() / (body**2).sum()
    if (body * moved.imag * distance).sum() < 0:
        axes = tuple(range(rho.ndim))
        moved = np.conj(np.roll(np.flip(moved, axes), (1,) * rho.ndim, axes))
    return moved.astype(np.complex64)


def _index(n: int) -> np.ndarray:
    return np.arange(n) - n // 2


def _series(x: np.ndarray, reach: int, closed: bool = False) -> np.ndarray:
    """Return sum exp(2 pi i k x) over -reach <= k < reach (<= reach where closed)."""
    k = np.arange(-reach, reach + closed)
    wave = np.exp(2j * np.pi * x[..., None] * k).sum(-1)
    return wave.real if closed else wave


def _along(matrix: np.ndarray, array: np.ndarray, axis: int) -> np.ndarray:
    kind = np.complex64 if np.iscomplexobj(matrix) else np.float32
    out = np.tensordot(matrix.astype(kind), array, axes=(1, axis))
    return np.moveaxis(out, 0, axis)


def _filled(intensity: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Fill unmeasured voxels with the weighted mean of the amplitudes around."""
    from scipy import ndimage

    power = np.where(measured, np.maximum(intensity, 0), 0).astype(np.float32)
    missing = ~measured
    amplitude, known = np.sqrt(power), measured.astype(np.float32)
    width = 1.0
    while missing.any() and width < max(power.shape):
        above = ndimage.gaussian_filter(amplitude, width, truncate=3)
        below = ndimage.gaussian_filter(known, width, truncate=3)
        reached = missing & (below > 0.05)
        power[reached] = (above[reached] / below[reached]) ** 2
        missing &= ~reached
        width *= 2
    return power


def _centre(power: np.ndarray) -> tuple[float, ...]:
    """Return the centre of mass of a pattern with periodic edges."""
    found = []
    for axis, n in enumerate(power.shape):
        others = tuple(a for a in range(power.ndim) if a != axis)
        profile = power.sum(axis=others, dtype=np.float64)
        turn = np.angle((profile * np.exp(2j * np.pi * _index(n) / n)).sum())
        found.append(float(turn / (2 * np.pi)))
    return tuple(found)


def _extents(power: np.ndarray) -> list[float]:
    """Return the extent of the object along each axis, in voxels."""
    import scipy.fft
    from scipy import ndimage

    spread = np.abs(scipy.fft.fftshift(scipy.fft.ifftn(scipy.fft.ifftshift(power))))
    spread = ndimage.gaussian_filter(spread, 0.7, mode="wrap")
    parts, _ = ndimage.label(spread > _EDGE * spread.max())
    inside = parts == parts[tuple(n // 2 for n in power.shape)]
    found = []
    for axis in range(power.ndim):
        others = tuple(a for a in range(power.ndim) if a != axis)
        filled = np.flatnonzero(inside.any(axis=others))
        across = (filled[-1] - filled[0] + 1) / 2
        found.append(max(2.0, float(across) / _REACHES))
    return found


@dataclass(frozen=True)
class Orientation:
    """Hold axes exchanged and reversed; a pattern and its object turn alike.

    Parameters
    ----------
    axes
        The axis of the original that each new axis takes.
    reversed_axes
        New axes that run backwards.
    """

    axes: tuple[int, ...]
    reversed_axes: tuple[int, ...]

    def turn(self, array: np.ndarray) -> np.ndarray:
        """Return a turned array, origin in the corner."""
        return _reversed(array.transpose(self.axes), self.reversed_axes)

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Undo `turn`."""
        back = tuple(int(a) for a in np.argsort(self.axes))
        return _reversed(array, self.reversed_axes).transpose(back)


def orientations() -> list[Orientation]:
    """Return all 48: the original first, each of the next few unlike the last.

    Reversing all axes gives the pattern of the conjugate twin, which is equally good.
    """
    axes = list(itertools.permutations(range(3)))
    signs = [s for k in range(4) for s in itertools.combinations(range(3), k)]
    pairs = [(axes[k % 6], signs[(k + k // 6) % 8]) for k in range(48)]
    return [Orientation(a, s) for a, s in pairs]


def _reversed(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    # Reverse about index 0, which is the origin.
    return np.roll(np.flip(array, axes), (1,) * len(axes), axes)
