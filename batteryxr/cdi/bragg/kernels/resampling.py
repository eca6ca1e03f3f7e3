"""Interpolation from skewed voxels onto a cubic grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class SpaceGrid(NamedTuple):
    """A right-angled grid around the origin of a volume.

    Parameters
    ----------
    step
        From point to point, in the units of the voxels.
    shape
        Points along z, y and x; index ``n // 2`` falls on the origin.
    origin
        Index of the volume's origin, inside or outside of it.
    """

    step: float
    shape: tuple[int, ...]
    origin: tuple[float, ...]


def resample(
    values: np.ndarray, voxel: np.ndarray, *, grid: SpaceGrid, order: int
) -> np.ndarray:
    """Return values on a right-angled grid.

    Parameters
    ----------
    values
        (i, j, k): complex, real, or bool. NaN means outside.
    voxel
        (3, 3) step of each index, (axis, (x, y, z)).
    grid
        Where to interpolate.
    order
        Of the spline.

    Returns
    -------
    numpy.ndarray
        Zero or False outside the volume; NaN there, and outside the support, for
        real values that have NaN.
    """
    # (z, y, x) in steps of the grid -> (x, y, z) in space -> indices of the volume.
    matrix = np.linalg.inv(np.asarray(voxel, float).T)[:, ::-1] * grid.step
    offset = np.asarray(grid.origin, float) - matrix @ np.array(
        [n // 2 for n in grid.shape], float
    )

    def move(a: np.ndarray, spline: int) -> np.ndarray:
        from scipy import ndimage

        return np.asarray(
            ndimage.affine_transform(
                a,
                matrix,
                offset,
                grid.shape,
                order=spline,
                mode="constant",
                cval=0.0,
            )
        )

    if values.dtype.kind == "b":
        return move(values.astype(np.float32), 1) > 0.5
    if values.dtype.kind in "iu":
        return move(values, 0)
    if values.dtype.kind == "c" or not np.isnan(values).any():
        return move(values, order).astype(values.dtype, copy=False)
    # Weighted by the support, linear: nothing of the outside enters, and the values
    # go on to the surface.
    inside = np.isfinite(values)
    weight = move(inside.astype(values.dtype), 1)
    moved = move(np.where(inside, values, 0), 1)
    enough = weight > 0.5
    return np.where(enough, moved / np.where(enough, weight, 1), np.nan).astype(
        values.dtype, copy=False
    )
