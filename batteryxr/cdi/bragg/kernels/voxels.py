"""Circles, detector, and the skewed voxels of a rocking curve: vectors, steps, rays.

Vectors are (x, y, z) in the laboratory: z along the beam, y up, right-handed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

#: Points on a ray from one plane of voxels to the next.
_FINE = 2
#: Largest error (deg) of an inclination that counts as measured.
_LOOSE = 1.0
#: Smallest scatter of centres that is believed, in pixels.
_SHARPEST = 0.02
_UNIT = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


@dataclass(frozen=True)
class Setup:
    """Hold a diffractometer at the centre of a rocking curve.

    Parameters
    ----------
    sample, detector
        (axis, angle in deg) of each circle, the outermost first; axes such as "y+".
    rocking
        Index of the sample circle that rocks.
    rows, columns
        Directions of the detector's axes at zero, such as "y-".
    wavevector
        2 pi / wavelength (1/Angstrom).
    pitch
        Angular size of a pixel along rows and columns: size over distance.
    tilt
        Angles (deg) about x, y and z by which the detector is inclined on its arm.
    """

    sample: tuple[tuple[str, float], ...]
    detector: tuple[tuple[str, float], ...]
    rocking: int
    rows: str
    columns: str
    wavevector: float
    pitch: tuple[float, float]
    tilt: tuple[float, float, float] = (0.0, 0.0, 0.0)


def unit(axis: str) -> np.ndarray:
    """Return the unit vector of an axis such as ``"y-"``."""
    return np.array(_UNIT[axis[0]]) * (-1.0 if axis[1] == "-" else 1.0)


def rotation(axis: str, angle: float) -> np.ndarray:
    """Return the (3, 3) matrix that rotates by `angle` (deg), right-handed."""
    x, y, z = unit(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    a = np.deg2rad(angle)
    return np.eye(3) + np.sin(a) * cross + (1 - np.cos(a)) * (cross @ cross)


def carried(circles: tuple[tuple[str, float], ...]) -> np.ndarray:
    """Return the rotation of an object on the innermost circle."""
    total = np.eye(3)
    for axis, angle in circles:
        total = total @ rotation(axis, angle)
    return total


def inclined(tilt: tuple[float, ...]) -> np.ndarray:
    """Return the rotation of a detector on its arm: about x, then y, then z (deg)."""
    return carried((("z+", tilt[2]), ("y+", tilt[1]), ("x+", tilt[0])))


def scattering_vector(
    setup: Setup, rocking: np.ndarray, row: np.ndarray, column: np.ndarray
) -> np.ndarray:
    """Return Q in the crystal, as seen in the laboratory at the curve's centre.

    A pixel sees one Q in the laboratory. Rocking turns the crystal, so that in the
    crystal Q turns the other way.

    Parameters
    ----------
    setup
        The diffractometer.
    rocking, row, column
        Angle from the centre (deg), and pixels from the pixel at the detector's angles;
        shapes that broadcast.

    Returns
    -------
    numpy.ndarray
        (..., 3) in 1/Angstrom.
    """
    arm = carried(setup.detector)
    row, column, rocking = np.broadcast_arrays(row, column, rocking)
    turn = inclined(setup.tilt)
    flat = (
        unit("z+")
        + row[..., None] * setup.pitch[0] * (turn @ unit(setup.rows))
        + column[..., None] * setup.pitch[1] * (turn @ unit(setup.columns))
    )
    scattered = flat / np.linalg.norm(flat, axis=-1, keepdims=True)
    q = setup.wavevector * (scattered @ arm.T - unit("z+"))
    # Rotate about the rocking axis, as oriented by the circles that carry it.
    outer = carried(setup.sample[: setup.rocking])
    n = outer @ unit(setup.sample[setup.rocking][0])
    a = -np.deg2rad(rocking)[..., None]
    along = (q @ n)[..., None] * n
    return np.asarray(along + np.cos(a) * (q - along) + np.sin(a) * np.cross(n, q))


def steps(
    setup: Setup, centre: tuple[float, float, float], spacing: tuple[float, ...]
) -> np.ndarray:
    """Return the change of Q by one index of each axis, at the centre.

    Parameters
    ----------
    setup
        The diffractometer.
    centre
        Rocking angle (deg), row and column of the centre.
    spacing
        Degrees and pixels from one index to the next; negative where they decrease.

    Returns
    -------
    numpy.ndarray
        (3, 3): axis (rocking, row, column), then (x, y, z); 1/Angstrom.
    """
    offsets = np.diag(np.asarray(spacing) / 2)
    points = np.asarray(centre) + np.concatenate([offsets, -offsets])
    q = scattering_vector(setup, points[:, 0], points[:, 1], points[:, 2])
    return q[:3] - q[3:]


def voxels(reciprocal: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the step vectors of the object's grid.

    Parameters
    ----------
    reciprocal
        (3, 3) from `steps`.
    shape
        Number of points along each axis of the pattern.

    Returns
    -------
    numpy.ndarray
        (3, 3): axis, then (x, y, z); Angstrom. A discrete transform of the pattern
        samples the object at their integer multiples.
    """
    spanned = reciprocal * np.asarray(shape)[:, None]
    return 2 * np.pi * np.linalg.inv(spanned).T


class SpaceGrid(NamedTuple):
    """Hold a right-angled grid around the origin of a volume.

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
    """Interpolate values onto a right-angled grid.

    Parameters
    ----------
    values
        (i, j, k): complex, real, or bool. NaN means outside.
    voxel
        (3, 3) step of each index, (axis, (x, y, z)).
    grid
        Grid of the result.
    order
        Order of the spline.

    Returns
    -------
    numpy.ndarray
        Zero or False outside the volume. Real values that have NaN get NaN outside the
        volume and outside the support.
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
    # Linear, weighted by the support: nothing from outside enters, and the values
    # extend up to the surface.
    inside = np.isfinite(values)
    weight = move(inside.astype(values.dtype), 1)
    moved = move(np.where(inside, values, 0), 1)
    enough = weight > 0.5
    return np.where(enough, moved / np.where(enough, weight, 1), np.nan).astype(
        values.dtype, copy=False
    )


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
            moved = _along(moved, number * length * rate[axis], axis)
        if not moved.any():
            break
        total += moved
    out[box] = np.where(inner > 0, total * np.float32(length), 0)
    return out


def _others(axis: int) -> tuple[int, ...]:
    return tuple(a for a in range(3) if a != axis)


def _along(values: np.ndarray, away: float, axis: int) -> np.ndarray:
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


class Detector(NamedTuple):
    """Hold pixels of a detector, as the circles of its arm carry it.

    Parameters
    ----------
    circles
        For each frame (axis, angle in deg) of each circle of the arm.
    rows, columns
        Directions of the axes at zero, such as "y-".
    pixel
        Height and width of a pixel, in mm.
    """

    circles: tuple[tuple[tuple[str, float], ...], ...]
    rows: str
    columns: str
    pixel: tuple[float, float]


class Placed(NamedTuple):
    """Hold distance (mm), centre (row, column), tilt (deg about x, y, z) and errors.

    The error of a tilt that the frames do not tell is NaN, and the tilt zero.
    """

    values: np.ndarray
    errors: np.ndarray
    residual: np.ndarray


def hits(detector: Detector, values: np.ndarray) -> np.ndarray:
    """Return the pixels (row, column) where the direct beam meets the detector.

    Parameters
    ----------
    values : (6,)
        Distance, row and column of the centre, tilt about x, y and z.
    """
    turn = inclined(tuple(values[3:]))
    down = turn @ unit(detector.rows) * detector.pixel[0]
    across = turn @ unit(detector.columns) * detector.pixel[1]
    found = []
    for circles in detector.circles:
        beam = carried(circles).T @ unit("z+")
        # beam * t = distance * z + row * down + column * across
        matrix = np.stack([beam, -down, -across], axis=1)
        found.append(np.linalg.solve(matrix, values[0] * unit("z+"))[1:])
    return np.array(found) + values[1:3]


def place(detector: Detector, centres: np.ndarray) -> Placed:
    """Fit a detector to the pixels (row, column) where the direct beam was seen."""
    from scipy.optimize import least_squares

    # Without a tilt the pixels follow linearly from the distance and the centre.
    base = hits(detector, np.array([1.0, 0, 0, 0, 0, 0]))
    columns = [base.ravel(), *(np.tile(e, len(base)) for e in np.eye(2))]
    first = np.linalg.lstsq(np.stack(columns, 1), centres.ravel(), rcond=None)[0]
    values = np.concatenate([first, np.zeros(3)])
    scale = np.array([abs(first[0]) or 1.0, 1, 1, 1, 1, 1])
    told = np.ones(6, bool)

    def misfit(some: np.ndarray) -> np.ndarray:
        full = values.copy()
        full[told] = some
        return (hits(detector, full) - centres).ravel()

    while True:
        fit = least_squares(misfit, values[told], x_scale=scale[told])
        spare = max(1, centres.size - int(told.sum()))
        scatter = max(_SHARPEST, np.sqrt(2 * fit.cost / spare))
        errors = np.full(6, np.nan)
        errors[told] = scatter * np.linalg.norm(np.linalg.pinv(fit.jac), axis=1)
        lost = np.linalg.matrix_rank(fit.jac * scale[told]) < told.sum()
        worst = 3 + int(np.nanargmax(errors[3:])) if told[3:].any() else 0
        if not worst or not (lost or errors[worst] > _LOOSE):
            break
        told[worst] = False
    values[told] = fit.x
    return Placed(values, errors, misfit(fit.x).reshape(-1, 2))
