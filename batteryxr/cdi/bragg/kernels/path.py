"""Lengths of rays inside a body of voxels."""

from __future__ import annotations

import numpy as np

#: Points on a ray from one plane of voxels to the next.
_FINE = 2


def path_inside(
    body: np.ndarray, steps: np.ndarray, direction: np.ndarray
) -> np.ndarray:
    """Return how long a ray from each voxel stays inside a body.

    Rays are sampled twice between planes of voxels, linearly between voxels, and their
    pieces summed. Cavities do not count.

    Parameters
    ----------
    body : (i, j, k) bool
        Voxels of the body.
    steps : (3, 3)
        Step of each index in space.
    direction : (3,)
        Direction of the rays in space, of any length.

    Returns
    -------
    numpy.ndarray
        (i, j, k) float32, in the units of `steps`; zero outside the body.
    """
    out = np.zeros(body.shape, np.float32)
    if not body.any():
        return out
    unit = np.asarray(direction, float) / np.linalg.norm(direction)
    # Voxels per length, and from one sample to the next.
    rate = unit @ np.linalg.inv(np.asarray(steps, float))
    length = 1 / (_FINE * np.abs(rate).max())
    places = [np.flatnonzero(body.any(axis=_others(a))) for a in range(3)]
    box = tuple(slice(int(p[0]), int(p[-1]) + 1) for p in places)
    inner = body[box].astype(np.float32)
    total = 0.5 * inner
    number = 0
    while True:
        number += 1
        moved = inner
        for axis in range(3):
            moved = _sampled(moved, number * length * rate[axis], axis)
        if not moved.any():
            break
        total += moved
    out[box] = np.where(inner > 0, total * np.float32(length), 0)
    return out


def _others(axis: int) -> tuple[int, ...]:
    return tuple(a for a in range(3) if a != axis)


def _sampled(values: np.ndarray, away: float, axis: int) -> np.ndarray:
    """Return values at each index plus `away`, linear between voxels, 0 outside."""
    whole = int(np.floor(away))
    part = np.float32(away - whole)
    near = _moved(values, whole, axis) * (1 - part)
    return near + _moved(values, whole + 1, axis) * part if part else near


def _moved(values: np.ndarray, away: int, axis: int) -> np.ndarray:
    """Return values at each index plus a whole number, 0 outside."""
    out = np.zeros_like(values)
    n = values.shape[axis]
    first, stop = max(0, -away), min(n, n - away)
    if first < stop:
        to = (slice(None),) * axis + (slice(first, stop),)
        out[to] = values[(slice(None),) * axis + (slice(first + away, stop + away),)]
    return out
