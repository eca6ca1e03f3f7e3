"""Strained crystals of random shape and phase, and their Bragg patterns."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generators
from batteryxr.simulate.diffraction import pattern

_VOLUME = ("rocking", "detector_y", "detector_x")
_OBJECT = ("along_rocking", "along_y", "along_x")


@recorded
def random_crystals(
    *,
    n: int = 10,
    size: int = 64,
    fill: tuple[float, float] = (0.5, 0.8),
    phase: tuple[float, float] = (0.0, 4.0),
    photons: tuple[float, float] = (1e6, 1e8),
    seed: int = 0,
) -> xr.Dataset:
    """Simulate Bragg coherent diffraction of crystals that differ in all respects.

    Lazy: every crystal is made when it is read, from its own random numbers.

    Convex bodies with flat facets (cut blocks, hexagonal prisms, irregular ones) in
    any orientation; a density that varies by some percent; a phase of random
    correlation length, in a third of them with a domain that is displaced as a whole.
    The mean phase gradient is taken out: the pattern's centre of mass lies at
    ``n // 2``, where the measured ones are put.

    Parameters
    ----------
    n
        Number of crystals. The k-th depends on `seed` and k alone.
    size
        Points along each of the three axes.
    fill
        Smallest and largest extent along each axis, in halves of `size`.
    phase
        Smallest and largest of the largest phases within a crystal (rad).
    photons
        Smallest and largest number of counts in a pattern, drawn evenly in its
        logarithm.
    seed
        Of the crystals and of the photon noise.

    Returns
    -------
    xarray.Dataset
        On ``crystal``: ``intensity`` (counts) on the axes of a rocking curve, the
        complex ``object`` on ``along_rocking``, ``along_y``, ``along_x``, which is
        its truth, and the coordinate ``photons``.

    Raises
    ------
    ArgumentError
        If a number is out of range.
    """
    _check(n, size, fill, phase, photons)
    expected = [_photons(rng, photons) for rng in generators(seed, n)]
    draws = zip(generators(seed, n), generators(seed + 1, n), strict=True)

    def both(k: int, drawn: tuple[np.random.Generator, ...]) -> list[np.ndarray]:
        shape, noise = copy.deepcopy(drawn)  # read twice, made twice: the same
        _photons(shape, photons)
        obj = crystal(shape, size, fill=fill, phase=phase)
        return [pattern(obj, expected[k], noise), obj]

    made = [blocks.delayed(both, nout=2)(k, drawn) for k, drawn in enumerate(draws)]

    def stacked(which: int, dtype: Any) -> Any:
        parts = [blocks.from_delayed(one[which], (size,) * 3, dtype) for one in made]
        return blocks.stack(parts)

    axes: dict[str, Any] = {
        dim: (dim, np.arange(size) - size // 2, _named(f"{dim} from the centre"))
        for dim in (*_VOLUME, *_OBJECT)
    }
    axes["crystal"] = ("crystal", np.arange(n), _named("Crystal"))
    axes["photons"] = ("crystal", expected, _named("Expected counts"))
    return xr.Dataset(
        {
            "intensity": (
                ("crystal", *_VOLUME),
                stacked(0, np.float32),
                _named("Intensity"),
            ),
            "object": (
                ("crystal", *_OBJECT),
                stacked(1, np.complex64),
                _named("Complex density") | {"fourier_sign": -1},
            ),
        },
        coords=axes,
        attrs={"title": "Simulated crystals of random shape", "fourier_sign": -1},
    )


def crystal(
    rng: np.random.Generator,
    size: int,
    *,
    fill: tuple[float, float] = (0.5, 0.8),
    phase: tuple[float, float] = (0.0, 4.0),
) -> np.ndarray:
    """Return one complex object, ``(size, size, size)``, complex64.

    Its centre of mass lies at index ``size // 2``, its mean phase gradient is zero.
    """
    extent = rng.uniform(*fill, 3) * size / 2
    normals, reach = _facets(rng)
    # Half the array, and a little more: bodies are not centred in their extents.
    half = min(size // 4 + 4, size // 2)
    r = np.stack(np.meshgrid(*[np.arange(-half, half)] * 3, indexing="ij"))
    r = r.astype(np.float32)
    density = _density(r, normals, reach, extent)
    weight = density / density.sum()
    centre = np.einsum("aijk,ijk->a", r, weight)
    density = _density(r + centre[:, None, None, None], normals, reach, extent)
    inside = density > 0.5
    texture = _smooth_field(rng, r.shape[1:], rng.uniform(0.1, 0.4) * extent.mean())
    density *= 1 + rng.uniform(0, 0.1) * texture
    angle = _smooth_field(rng, r.shape[1:], rng.uniform(0.12, 0.45) * extent.mean())
    if rng.random() < 1 / 3:
        angle = angle + rng.uniform(-3, 3) * _domain(rng, r, extent)
    angle = angle - angle[inside].mean()
    angle *= rng.uniform(*phase) / np.abs(angle[inside]).max()
    body = _level(density * np.exp(1j * angle))
    out = np.zeros((size,) * 3, np.complex64)
    out[(slice(size // 2 - half, size // 2 + half),) * 3] = body
    return out


def _photons(rng: np.random.Generator, photons: tuple[float, float]) -> float:
    low, high = photons
    return float(low * (high / low) ** rng.random())


def _facets(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return normals and distances of a convex body of about unit size."""
    kind = rng.integers(3)
    if kind == 0:  # block
        normals = np.concatenate([np.eye(3), -np.eye(3)])
        reach = rng.uniform(0.7, 1.0, 6)
    elif kind == 1:  # hexagonal prism
        a = np.deg2rad(60) * np.arange(6)
        ring = np.stack([np.cos(a), np.sin(a), np.zeros(6)], 1)
        normals = np.concatenate([ring, [[0, 0, 1], [0, 0, -1]]])
        reach = np.concatenate([rng.uniform(0.8, 1.0, 6), rng.uniform(0.6, 1.3, 2)])
    else:  # irregular
        normals = _directions(rng, 14)
        reach = rng.uniform(0.75, 1.0, 14)
    cuts = rng.integers(0, 5)
    normals = np.concatenate([normals, _directions(rng, int(cuts))])
    reach = np.concatenate([reach, rng.uniform(0.85, 1.1, int(cuts))])
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return normals @ turn.T, reach


def _directions(rng: np.random.Generator, n: int) -> np.ndarray:
    v = rng.standard_normal((n, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def _density(
    r: np.ndarray, normals: np.ndarray, reach: np.ndarray, extent: np.ndarray
) -> np.ndarray:
    """Return 1 inside, 0 outside, with an edge of about a voxel.

    The body is stretched to `extent` voxels along each axis.
    """
    grid = np.linspace(-1.6, 1.6, 25)
    unit = np.stack(np.meshgrid(grid, grid, grid, indexing="ij")).reshape(3, -1)
    within = unit[:, (normals @ unit <= reach[:, None]).all(0)]
    low, high = within.min(1), within.max(1)
    scale, middle = extent / (high - low + grid[1] - grid[0]), (low + high) / 2
    own = normals / scale
    length = np.linalg.norm(own, axis=1)
    away = (reach - normals @ middle) / length
    own = (own / length[:, None]).astype(np.float32)
    depth = (away[:, None].astype(np.float32) - own @ r.reshape(3, -1)).min(0)
    edge = np.tanh(np.clip(2.5 * depth, -20, 20))
    return np.asarray(0.5 * (1 + edge)).reshape(r.shape[1:])


def _smooth_field(
    rng: np.random.Generator, shape: tuple[int, ...], width: float
) -> np.ndarray:
    """Return Gaussian noise smoothed to a correlation length, unit variance."""
    import scipy.fft

    spectrum = scipy.fft.rfftn(rng.standard_normal(shape).astype(np.float32))
    for axis, n in enumerate(shape):
        f = np.fft.rfftfreq(n) if axis == 2 else np.fft.fftfreq(n)
        window = np.exp(-2 * (np.pi * width * f) ** 2).astype(np.float32)
        spectrum *= window.reshape([-1 if k == axis else 1 for k in range(3)])
    field = scipy.fft.irfftn(spectrum, shape)
    return np.asarray(field / max(float(field.std()), 1e-12))


def _domain(rng: np.random.Generator, r: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Return 1 inside an ellipsoid somewhere in the crystal, 0 outside."""
    centre = rng.uniform(-0.3, 0.3, 3) * extent
    axes = rng.uniform(0.15, 0.4, 3) * extent
    moved = (r - centre[:, None, None, None]) / axes[:, None, None, None]
    distance = np.sqrt((moved**2).sum(0))
    return np.asarray(0.5 * (1 + np.tanh((1 - distance) / 0.3)))


def _level(body: np.ndarray) -> np.ndarray:
    """Take out the mean phase gradient: the pattern's centre of mass."""
    for axis in range(3):
        n = body.shape[axis]
        a, b = body.take(range(1, n), axis), body.take(range(n - 1), axis)
        step = np.angle(np.sum(np.conj(b) * a))
        line = np.exp(-1j * step * (np.arange(n) - n // 2))
        body = body * line.reshape([-1 if k == axis else 1 for k in range(3)])
    return body


def _check(
    n: int,
    size: int,
    fill: tuple[float, float],
    phase: tuple[float, float],
    photons: tuple[float, float],
) -> None:
    if not isinstance(n, int | np.integer) or n < 1:
        raise ArgumentError("n", n, "a whole number > 0")
    if not isinstance(size, int | np.integer) or size < 16:
        raise ArgumentError("size", size, "a whole number >= 16")
    limits = {
        "fill": (fill, 0.2, 1.0),
        "phase": (phase, 0.0, math.inf),
        "photons": (photons, 1.0, math.inf),
    }
    for name, (given, low, high) in limits.items():
        if len(given) != 2 or not low <= given[0] <= given[1] <= high:
            raise ArgumentError(
                name, given, f"two numbers in order, from {low:g} to {high:g}"
            )


def _named(long_name: str) -> dict[str, str]:
    return {"units": "1", "long_name": long_name}
