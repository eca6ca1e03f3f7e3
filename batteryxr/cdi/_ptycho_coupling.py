"""Objects of several energies on one grid: vacuum, shifts, and the KK constraint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import ConvergenceError

if TYPE_CHECKING:
    from batteryxr.cdi.kernels.ptycho_kk import Constraint

#: Illumination, as a share of the median in the scan, below which an object is unknown.
DARK = 0.05
#: And above which its phase is good enough to be the reference.
BRIGHT = 0.4


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


@dataclass(frozen=True)
class Piece:
    """The object of one energy on its own grid."""

    obj: np.ndarray
    light: np.ndarray
    y: np.ndarray
    x: np.ndarray


@dataclass(frozen=True)
class Registered:
    """Objects of all energies on the common grid."""

    fields: np.ndarray  # (energy, y, x), complex, 1 in vacuum
    shifts: np.ndarray  # (energy, 2) in nm
    vacuum: np.ndarray  # (y, x)
    grid: Grid


def common_grid(pieces: list[Piece]) -> Grid:
    """Return the coarsest of the grids, cut to what all cover.

    A finer one would promise a resolution that not every energy has.
    """
    coarsest = max(pieces, key=lambda p: float(p.y[1] - p.y[0]))
    lit = _relative(coarsest.light) > DARK
    rows, columns = np.flatnonzero(lit.any(1)), np.flatnonzero(lit.any(0))
    y = coarsest.y[rows[0] : rows[-1] + 1]
    x = coarsest.x[columns[0] : columns[-1] + 1]
    for piece in pieces:
        y = y[(y >= piece.y[0]) & (y <= piece.y[-1])]
        x = x[(x >= piece.x[0]) & (x <= piece.x[-1])]
    if min(y.size, x.size) < 8:
        raise ConvergenceError("the energies share too small an area: check positions")
    light = np.full((y.size, x.size), np.inf)
    for piece in pieces:
        light = np.minimum(light, place(_relative(piece.light), piece, y, x, order=1))
    return Grid(y, x, light > DARK, light > BRIGHT)


def _relative(light: np.ndarray) -> np.ndarray:
    """Return the illumination as a share of what is usual in the scan."""
    relative: np.ndarray = light / np.median(light[light > 0.1 * light.max()])
    return relative


def place(
    image: np.ndarray,
    piece: Piece,
    y: np.ndarray,
    x: np.ndarray,
    *,
    shift: Any = (0.0, 0.0),
    order: int = 3,
) -> np.ndarray:
    """Return `image`, on the grid of `piece`, at places y, x after a shift in nm."""
    return resampled(image, piece.y, piece.x, y - shift[0], x - shift[1], order=order)


def resampled(
    image: np.ndarray,
    from_y: np.ndarray,
    from_x: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    *,
    order: int = 3,
) -> np.ndarray:
    """Return `image` at places y, x by splines; untouched where the grids agree."""
    from scipy import ndimage

    rows = (y - from_y[0]) / (from_y[1] - from_y[0])
    columns = (x - from_x[0]) / (from_x[1] - from_x[0])
    near_y, near_x = np.rint(rows), np.rint(columns)
    same = max(abs(rows - near_y).max(), abs(columns - near_x).max()) < 1e-6
    if same and near_y[0] >= 0 and near_x[0] >= 0:
        inside = near_y[-1] < image.shape[0] and near_x[-1] < image.shape[1]
        if inside:
            return image[np.ix_(near_y.astype(int), near_x.astype(int))]
    at = np.meshgrid(rows, columns, indexing="ij")

    def spline(part: np.ndarray) -> np.ndarray:
        return ndimage.map_coordinates(part, at, order=order, mode="nearest")

    if np.iscomplexobj(image):
        return spline(image.real) + 1j * spline(image.imag)
    return spline(image)


def register(
    pieces: list[Piece], vacuum: np.ndarray | None, grid: Grid, shifts: bool = True
) -> Registered:
    """Put objects on one grid: 1 and flat in vacuum, and on top of one another.

    Parameters
    ----------
    pieces
        One per energy.
    vacuum : (y, x) or None
        On the grid; found where the objects are most transparent if None.
    grid
        See `common_grid`.
    shifts
        Whether objects may be shifted onto one another.
    """
    from batteryxr.cdi.kernels.ptycho_align import flattened, subpixel_shift

    fields = np.stack([place(p.obj, p, grid.y, grid.x) for p in pieces])
    empty = find_vacuum(fields, grid.bright) if vacuum is None else vacuum
    weight = (empty & grid.inside).astype(float)
    fields = np.stack([flattened(f, weight) for f in fields])
    moves = np.zeros((len(pieces), 2))
    if shifts:
        fade = np.outer(np.hanning(grid.y.size), np.hanning(grid.x.size))
        fade = fade * grid.inside
        reference = np.angle(fields.mean(axis=0)) * fade
        for k in range(len(pieces)):
            step = subpixel_shift(np.angle(fields[k]) * fade, reference, upsample=50)
            moves[k] = step * grid.pixel
        moves -= moves.mean(axis=0)
        for k, piece in enumerate(pieces):
            moved = place(piece.obj, piece, grid.y, grid.x, shift=moves[k])
            fields[k] = flattened(moved, weight)
    return Registered(fields, moves, empty, grid)


def find_vacuum(fields: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return where the objects are most transparent, well away from the rest.

    Raises
    ------
    ConvergenceError
        If hardly any such place is there.
    """
    from scipy import ndimage

    modulus = np.abs(fields)
    level = np.percentile(modulus[:, inside], 90, axis=1)
    mean = (modulus / level[:, None, None]).mean(axis=0)
    smooth = ndimage.gaussian_filter(np.where(inside, mean, mean[inside].max()), 1.5)
    split = _otsu(smooth[inside])
    bright = (smooth > split) & inside
    empty = ndimage.binary_erosion(bright, iterations=3)
    empty = _without_skirt(fields.mean(axis=0), bright, empty)
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

    from batteryxr.cdi.kernels.ptycho_align import flattened

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


def spectra(
    registered: Registered, energy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return -ln|T| and -φ (energy, y, x), the phase unwrapped, free of wavelength.

    Both are divided by the wavelength over its mean, so that they go like f'' and f'.
    """
    from batteryxr.cdi.kernels.ptycho_align import unwrapped

    fields = registered.fields
    modulus = np.maximum(np.abs(fields), 1e-6)
    mean = fields.mean(axis=0)
    base = unwrapped(np.angle(mean), registered.vacuum)
    phase = base + np.angle(fields * np.exp(-1j * np.angle(mean)))
    relative = (energy.mean() / energy)[:, None, None]
    return -np.log(modulus) / relative, -phase / relative


def constrain(
    registered: Registered,
    energy: np.ndarray,
    constraint: Constraint,
    relaxation: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return by what each object is to be multiplied (energy, y, x), and the misfit.

    1 in vacuum and where not every energy has light. The misfit (y, x) is in rad of
    the phase at the mean energy.
    """
    a, p = spectra(registered, energy)
    shape = a.shape
    flat = a.reshape(len(a), -1), p.reshape(len(p), -1)
    new_a, new_p, misfit = constraint(*flat)
    relative = (energy.mean() / energy)[:, None]
    change = -(new_a - flat[0]) - 1j * (new_p - flat[1])
    factor = np.exp(relaxation * relative * change).reshape(shape)
    where = registered.grid.inside & ~registered.vacuum
    where[[0, -1]] = where[:, [0, -1]] = False  # the edge goes on beyond the grid
    factor = np.where(where, factor, 1.0)
    return factor.astype(np.complex64), misfit.reshape(shape[1:])
