"""Objects of several energies on one grid: vacuum, shifts, and the KK constraint.

One energy is in memory at a time, or a few rows of all: the rest waits on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from batteryxr.core.errors import ConvergenceError

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.kernels.kramers_kronig import Constraint
    from batteryxr.cdi.ptycho.scratch import Scratch

#: Illumination, as a share of the median in the scan, below which an object is unknown.
DARK = 0.05
#: And above which its phase is good enough to be the reference.
BRIGHT = 0.4
#: Rounds of registration: one by correlation, the others blind to changes of contrast.
_TURNS = 3


@dataclass(frozen=True)
class Grid:
    """The grid that all energies share, in nm."""

    y: np.ndarray
    x: np.ndarray
    inside: np.ndarray  # (y, x) where every energy has light
    bright: np.ndarray  # (y, x) where every energy has light enough to trust

    @property
    def pixel(self) -> float:
        """Size of a pixel."""
        return float(self.y[1] - self.y[0])


class Pieces(Protocol):
    """Objects of all energies, each on its own grid, read when they are asked for."""

    def __len__(self) -> int:
        """Return the number of energies."""

    def axes(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return y and x of energy `k` in nm."""

    def obj(self, k: int) -> np.ndarray:
        """Return the object of energy `k` (y, x)."""

    def light(self, k: int) -> np.ndarray:
        """Return the illumination of energy `k` (y, x)."""


@dataclass(frozen=True)
class Registered:
    """Objects of all energies on the common grid."""

    fields: Scratch  # (energy, y, x), complex, 1 in vacuum
    mean: np.ndarray  # (y, x), of the fields
    shifts: np.ndarray  # (energy, 2) in nm
    vacuum: np.ndarray  # (y, x)
    grid: Grid


def common_grid(pieces: Pieces) -> Grid:
    """Return the coarsest of the grids, cut to what all cover.

    A finer one would promise a resolution that not every energy has.
    """
    from batteryxr.cdi.ptycho.kernels.registration import resampled

    axes = [pieces.axes(k) for k in range(len(pieces))]
    coarsest = max(range(len(axes)), key=lambda k: float(axes[k][0][1] - axes[k][0][0]))
    lit = _relative(pieces.light(coarsest)) > DARK
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
        here = resampled(_relative(pieces.light(k)), *own, y, x, order=1)
        light = np.minimum(light, here)
    return Grid(y, x, light > DARK, light > BRIGHT)


def _relative(light: np.ndarray) -> np.ndarray:
    """Return the illumination as a share of what is usual in the scan."""
    relative: np.ndarray = light / np.median(light[light > 0.1 * light.max()])
    return relative


def register(
    pieces: Pieces,
    vacuum: np.ndarray | None,
    grid: Grid,
    fields: Scratch,
    shifts: bool = True,
) -> Registered:
    """Put objects on one grid: 1 and flat in vacuum, and on top of one another.

    Parameters
    ----------
    pieces
        The objects.
    vacuum : (y, x) or None
        On the grid; found where the objects are most transparent if None.
    grid
        See `common_grid`.
    fields
        Receives the objects.
    shifts
        Whether objects may be shifted onto one another.
    """
    from batteryxr.cdi.ptycho.kernels.registration import (
        Drift,
        flattened,
        resampled,
        subpixel_shift,
        unwrapped,
    )

    every = range(len(pieces))
    moves = np.zeros((len(pieces), 2))

    def placed(k: int) -> np.ndarray:
        place = (*pieces.axes(k), grid.y - moves[k, 0], grid.x - moves[k, 1])
        return resampled(pieces.obj(k), *place)

    for k in every:
        fields.write(k, placed(k))
    empty = find_vacuum(fields, grid.bright) if vacuum is None else vacuum
    weight = (empty & grid.inside).astype(float)
    for k in every:
        fields.write(k, flattened(fields.read(k), weight))
    mean = mean_of(fields)
    fade = np.outer(np.hanning(grid.y.size), np.hanning(grid.x.size)) * grid.inside
    for turn in range(_TURNS if shifts else 0):
        if turn == 0:  # drift may be any number of pixels
            reference = np.angle(mean) * fade
            steps = [
                subpixel_shift(np.angle(fields.read(k)) * fade, reference)
                for k in every
            ]
        else:
            phase = unwrapped(np.angle(mean), empty)
            drift = Drift(mean, phase, grid.inside)
            steps = [drift(fields.read(k)) for k in every]
        moves += np.array(steps) * grid.pixel
        moves -= moves.mean(axis=0)
        for k in every:
            fields.write(k, flattened(placed(k), weight))
        mean = mean_of(fields)
    return Registered(fields, mean, moves, empty, grid)


def mean_of(fields: Scratch) -> np.ndarray:
    """Return the mean image."""
    total = np.zeros(fields.shape[1:], complex)
    for k in range(len(fields)):
        total += fields.read(k)
    return (total / len(fields)).astype(np.complex64)


def find_vacuum(fields: Scratch, inside: np.ndarray) -> np.ndarray:
    """Return where the objects are most transparent, well away from the rest.

    Raises
    ------
    ConvergenceError
        If hardly any such place is there.
    """
    from scipy import ndimage

    mean = np.zeros(inside.shape)
    for k in range(len(fields)):
        modulus = np.abs(fields.read(k))
        mean += modulus / np.percentile(modulus[inside], 90) / len(fields)
    smooth = ndimage.gaussian_filter(np.where(inside, mean, mean[inside].max()), 1.5)
    split = _otsu(smooth[inside])
    bright = (smooth > split) & inside
    empty = ndimage.binary_erosion(bright, iterations=3)
    empty = _without_skirt(mean_of(fields), bright, empty)
    if empty.sum() < 0.02 * inside.sum():
        raise ConvergenceError(
            "hardly any vacuum was found in the field. Pass `vacuum`: an image that is "
            "True where the beam meets no sample."
        )
    return empty


def _without_skirt(
    field: np.ndarray, bright: np.ndarray, empty: np.ndarray
) -> np.ndarray:
    """Return the part of `bright` where also the phase is that of vacuum.

    The phase sees the thin rim of a particle that the modulus does not.
    """
    from scipy import ndimage

    from batteryxr.cdi.ptycho.kernels.registration import flattened

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


class Spectra:
    """-ln|T| and -φ of registered objects, the phase unwrapped, free of wavelength.

    Both are divided by the wavelength over its mean, so that they go like f'' and f'.
    """

    def __init__(self, registered: Registered, energy: np.ndarray) -> None:
        from batteryxr.cdi.ptycho.kernels.registration import unwrapped

        self._turn = np.exp(-1j * np.angle(registered.mean))
        self._base = unwrapped(np.angle(registered.mean), registered.vacuum)
        self.relative = energy.mean() / energy

    def of(
        self, field: np.ndarray, relative: Any, rows: slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return both for `field` (..., r, x), these rows of the grid.

        Parameters
        ----------
        field
            Objects as they are registered.
        relative
            What the wavelength is over its mean, for each.
        rows
            Which rows.
        """
        modulus = np.maximum(np.abs(field), 1e-6)
        phase = self._base[rows] + np.angle(field * self._turn[rows])
        return -np.log(modulus) / relative, -phase / relative


def constrain(
    registered: Registered,
    energy: np.ndarray,
    constraint: Constraint,
    relaxation: float,
    factor: Scratch,
) -> np.ndarray:
    """Find by what each object is to be multiplied; return the misfit.

    1 in vacuum and where not every energy has light. The misfit (y, x) is in rad of
    the phase at the mean energy.

    Parameters
    ----------
    registered
        The objects.
    energy : (energy,)
        In eV.
    constraint
        The relation.
    relaxation
        Share of the change that is made.
    factor
        Receives the factors.
    """
    spectra = Spectra(registered, energy)
    relative = spectra.relative[:, None]
    where = registered.grid.inside & ~registered.vacuum
    where[[0, -1]] = where[:, [0, -1]] = False  # the edge goes on beyond the grid
    misfit = np.empty(where.shape)
    for rows in registered.fields.tiles():
        fields = registered.fields.rows(rows)
        a, p = spectra.of(fields, relative[:, None], rows)
        flat = a.reshape(len(a), -1), p.reshape(len(p), -1)
        new_a, new_p, found = constraint(*flat)
        misfit[rows] = found.reshape(-1, where.shape[1])
        change = -(new_a - flat[0]) - 1j * (new_p - flat[1])
        part = np.exp(relaxation * relative * change).reshape(fields.shape)
        part = np.where(where[rows], part, 1.0)
        for k in range(len(energy)):
            factor.write(k, part[k], rows.start)
    return misfit
