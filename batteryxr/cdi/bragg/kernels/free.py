"""Free voxels: measured voxels held out of the retrieval to judge it."""

from __future__ import annotations

import math

import numpy as np

#: Free likelihood with a blur over that without, below which there is a blur.
GAINED = 0.85


def free_voxels(
    shape: tuple[int, ...],
    rng: np.random.Generator,
    *,
    fraction: float = 0.05,
    radius: float = 3.0,
    centre: float = 0.05,
) -> np.ndarray:
    """Choose islands of voxels to hold out.

    Neighbouring voxels of an oversampled pattern are correlated: a single held-out
    voxel could be guessed from its neighbours, an island cannot. The centre is never
    held out, since it carries the scale and the outline (Favre-Nicolin, Leake &
    Chushkin, Sci. Rep. 10, 2664 (2020)).

    Parameters
    ----------
    shape
        Shape of the pattern.
    rng
        Random generator that chooses the islands.
    fraction
        Approximate fraction of the voxels.
    radius
        Radius of an island, in voxels.
    centre
        Radius of the region without islands, in cycles per voxel (0.5 is the edge).

    Returns
    -------
    numpy.ndarray of bool
        True where a voxel is held out; origin in the corner.
    """
    chosen = np.zeros(shape, bool)
    if fraction == 0:
        return chosen
    ball = _ball(radius, len(shape))
    # Islands overlap: n of them leave exp(-n volume / size) uncovered.
    count = round(-math.log1p(-fraction) * chosen.size / len(ball))
    seeds = np.stack([rng.integers(0, n, count) for n in shape], axis=1)
    voxels = (seeds[:, None, :] + ball[None]).reshape(-1, len(shape)) % shape
    chosen[tuple(voxels.T)] = True
    return chosen & (radial_frequency(shape) > centre)


def radial_frequency(
    shape: tuple[int, ...], spacing: tuple[float, ...] | None = None
) -> np.ndarray:
    """Return the distance from zero frequency, float32, origin in the corner.

    The unit is cycles per voxel, or cycles per unit of `spacing`.
    """
    steps = spacing or (1.0,) * len(shape)
    squared = np.zeros((1,) * len(shape), np.float32)
    for axis, (n, step) in enumerate(zip(shape, steps, strict=True)):
        line = np.fft.fftfreq(n, step).astype(np.float32) ** 2
        squared = squared + line.reshape(
            [-1 if a == axis else 1 for a in range(len(shape))]
        )
    return np.sqrt(squared)


def _ball(radius: float, ndim: int) -> np.ndarray:
    reach = math.ceil(radius)
    axis = np.arange(-reach, reach + 1)
    points = np.stack(np.meshgrid(*[axis] * ndim, indexing="ij"), -1).reshape(-1, ndim)
    return points[(points**2).sum(1) <= radius**2]
