"""Where the direct beam meets a detector on an arm, and the detector that fits it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from batteryxr.cdi.bragg.kernels.voxels import carried, inclined, unit

#: Largest error (deg) of an inclination that counts as measured.
_LOOSE = 1.0
#: Smallest scatter of centres that is believed, in pixels.
_SHARPEST = 0.02


class Detector(NamedTuple):
    """Pixels of a detector, as the circles of its arm carry it.

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
    """Distance (mm), centre (row, column), tilt (deg about x, y, z) and their errors.

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
    scale = np.array([abs(first[0]), 1, 1, 1, 1, 1])
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
