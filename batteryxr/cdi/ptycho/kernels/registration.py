"""Registration of objects of several energies: one grid, aligned, flat in vacuum.

One energy is in memory at a time; `Images` keeps the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.ptycho.kernels.alignment import (
    Drift,
    aligned,
    flattened,
    resampled,
    subpixel_shift,
    unwrapped,
)
from batteryxr.cdi.ptycho.kernels.images import mean_of
from batteryxr.core.errors import ConvergenceError

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.kernels.images import Images, Objects

#: Illumination, as a fraction of the median in the scan, below which an object is
#: unknown.
DARK = 0.05
#: Fraction above which the phase is good enough for the reference.
BRIGHT = 0.4
#: Rounds of registration: one by correlation, the others insensitive to contrast.
_TURNS = 3


@dataclass(frozen=True)
class CommonGrid:
    """Hold the grid that all energies share, in nm."""

    y: np.ndarray
    x: np.ndarray
    inside: np.ndarray  # (y, x) where every energy has light
    bright: np.ndarray  # (y, x) where every energy has light enough to trust

    @property
    def pixel(self) -> float:
        """Return the size of a pixel."""
        return float(self.y[1] - self.y[0])


@dataclass(frozen=True)
class Registered:
    """Hold objects of all energies on the common grid."""

    fields: Images  # (energy, y, x), 1 in vacuum
    mean: np.ndarray  # (y, x), of the fields
    shifts: np.ndarray  # (energy, 2) in nm
    vacuum: np.ndarray  # (y, x)
    grid: CommonGrid


def common_grid(objects: Objects) -> CommonGrid:
    """Return the coarsest of the grids, cut to the area that all cover.

    A finer grid would suggest a resolution that not every energy has.
    """
    axes = [objects.axes(k) for k in range(len(objects))]
    coarsest = max(range(len(axes)), key=lambda k: float(axes[k][0][1] - axes[k][0][0]))
    lit = _relative(objects.light(coarsest)) > DARK
    rows, columns = np.flatnonzero(lit.any(1)), np.flatnonzero(lit.any(0))
    y = axes[coarsest][0][rows[0] : rows[-1] + 1]
    x = axes[coarsest][1][columns[0] : columns[-1] + 1]
    for own_y, own_x in axes:
        y = y[(y >= own_y[0]) & (y <= own_y[-1])]
        x = x[(x >= own_x[0]) & (x <= own_x[-1])]
    if min(y.size, x.size) < 8:
        raise ConvergenceError("the energies share too small an area: check positions")
    light = np.full((y.size, x.size), np.inf)
    for k, own in enumerate(axes):
        here = resampled(_relative(objects.light(k)), *own, y, x, order=1)
        light = np.minimum(light, here)
    return CommonGrid(y, x, light > DARK, light > BRIGHT)


def _relative(light: np.ndarray) -> np.ndarray:
    """Return the illumination as a fraction of its usual value in the scan."""
    relative: np.ndarray = light / np.median(light[light > 0.1 * light.max()])
    return relative


def register(
    objects: Objects,
    grid: CommonGrid,
    fields: Images,
    *,
    vacuum: np.ndarray | None = None,
    shifts: bool = True,
) -> Registered:
    """Put objects on one grid, aligned to one another, flat and 1 in vacuum.

    Parameters
    ----------
    objects
        Objects of all energies.
    grid
        See `common_grid`.
    fields
        Receives the registered objects.
    vacuum : (y, x) or None
        Vacuum on the grid; None finds where the objects are most transparent.
    shifts
        Whether objects may be shifted onto one another.
    """
    every = range(len(objects))
    moves = np.zeros((len(objects), 2))

    def placed(k: int) -> np.ndarray:
        own_y, own_x = objects.axes(k)
        y, x = grid.y - moves[k, 0], grid.x - moves[k, 1]
        return resampled(objects.obj(k), own_y, own_x, y, x)

    for k in every:
        fields.write(k, placed(k))
    empty = vacuum
    if empty is None:
        empty = find_vacuum(fields, grid.bright, mean_of(fields))
    weight = (empty & grid.inside).astype(float)
    for k in every:
        fields.write(k, flattened(fields.read(k), weight))
    mean = mean_of(fields)
    for turn in range(_TURNS if shifts else 0):
        steps = _steps(fields, mean, grid, empty if turn else None)
        moves += steps * grid.pixel
        moves -= moves.mean(axis=0)
        for k in every:
            fields.write(k, flattened(placed(k), weight))
        mean = mean_of(fields)
    return Registered(fields, mean, moves, empty, grid)


def register_on(objects: Objects, whole: Registered, fields: Images) -> Registered:
    """Align other objects of the same energies to the registered ones.

    Parameters
    ----------
    objects
        Objects, for example of half a scan.
    whole
        Registered objects to align to.
    fields
        Receives the aligned objects.
    """
    grid = whole.grid
    inside = grid.inside.astype(float)
    weight = (whole.vacuum & grid.inside).astype(float)
    moves = whole.shifts.copy()
    for k in range(len(objects)):
        own, obj = objects.axes(k), objects.obj(k)

        def placed(k: int = k, own: Any = own, obj: np.ndarray = obj) -> np.ndarray:
            y, x = grid.y - moves[k, 0], grid.x - moves[k, 1]
            return resampled(obj, own[0], own[1], y, x)

        first = flattened(placed(), weight)
        _, step = aligned(first, whole.fields.read(k), inside)
        moves[k] += step * grid.pixel
        fields.write(k, flattened(placed(), weight))
    return Registered(fields, mean_of(fields), moves, whole.vacuum, grid)


def _steps(
    fields: Images, mean: np.ndarray, grid: CommonGrid, vacuum: np.ndarray | None
) -> np.ndarray:
    """Return the shift of each image onto the mean, in pixels.

    Without `vacuum`, shifts may be large. With it they are small, and insensitive to
    changes of contrast.
    """
    every = range(len(fields))
    if vacuum is None:
        fade = np.outer(np.hanning(grid.y.size), np.hanning(grid.x.size)) * grid.inside
        reference = np.angle(mean) * fade
        return np.array(
            [subpixel_shift(np.angle(fields.read(k)) * fade, reference) for k in every]
        )
    drift = Drift(mean, unwrapped(np.angle(mean), vacuum), grid.inside)
    return np.array([drift(fields.read(k)) for k in every])


def find_vacuum(fields: Images, inside: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Find where the objects are most transparent, well away from the rest.

    Parameters
    ----------
    fields
        The objects.
    inside : (y, x)
        Pixels where the phases can be trusted.
    field : (y, x)
        Mean of the objects.

    Raises
    ------
    ConvergenceError
        If there is hardly any vacuum.
    """
    from scipy import ndimage

    mean = np.zeros(inside.shape)
    for k in range(len(fields)):
        modulus = np.abs(fields.read(k))
        mean += modulus / np.percentile(modulus[inside], 90) / len(fields)
    smooth = ndimage.gaussian_filter(np.where(inside, mean, mean[inside].max()), 1.5)
    bright = (smooth > _otsu(smooth[inside])) & inside
    empty = ndimage.binary_erosion(bright, iterations=3)
    empty = _without_skirt(field, bright, empty)
    if empty.sum() < 0.02 * inside.sum():
        raise ConvergenceError(
            "hardly any vacuum was found in the field. Pass registration="
            "Registration(vacuum=image): True where the beam meets no sample."
        )
    return empty


def _without_skirt(
    field: np.ndarray, bright: np.ndarray, empty: np.ndarray
) -> np.ndarray:
    """Return the part of `bright` where the phase is also that of vacuum.

    The phase shows the thin rim of a particle that the modulus does not show.
    """
    from scipy import ndimage

    for _ in range(5):
        if empty.sum() < 3:
            return empty
        phase = np.angle(flattened(field, empty.astype(float)))
        phase = ndimage.gaussian_filter(phase, 1.0)
        middle = np.median(phase[empty])
        spread = 1.4826 * np.median(np.abs(phase[empty] - middle))
        calm = bright & (np.abs(phase - middle) < 2.0 * spread)
        empty = ndimage.binary_opening(calm, iterations=2)
    return empty


def _otsu(values: np.ndarray) -> float:
    """Return the value that parts `values` into the two tightest groups (Otsu 1979)."""
    counts, edges = np.histogram(values, 256)
    centres = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts)
    above = below[-1] - below
    first = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = (first / below - (first[-1] - first) / above) ** 2
    return float(centres[np.nanargmax(below * above * apart)])
