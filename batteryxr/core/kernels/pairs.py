"""Sums over pairs of atoms in a crystal, as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats, FloatTable, Ints


@njit(cache=True, nogil=True, error_model="numpy")
def count(
    cell: np.ndarray, sites: np.ndarray, kinds: np.ndarray, reach: float, bin: float
) -> np.ndarray:
    """Return the number of pairs of two kinds at each distance.

    Parameters
    ----------
    cell
        (3, 3) lattice vectors as rows.
    sites
        (atoms, 3) fractional coordinates, in [0, 1).
    kinds
        (atoms,) number of the kind of each atom.
    reach
        Largest distance.
    bin
        Width of a bin; a pair is shared between the two nearest.

    Returns
    -------
    numpy.ndarray
        (kinds, kinds, bins), pairs of all atoms in a cell with all atoms within reach.
        Bin i is for the distance ``i * bin``.
    """
    n = 0
    for kind in kinds:
        n = max(n, kind + 1)
    bins = int(np.ceil(reach / bin)) + 2
    out = np.zeros((n, n, bins))
    # Cells between lattice planes that the sphere may touch, and one for offsets.
    span: Ints = np.empty(3, dtype=np.int64)
    for i in range(3):
        a, b = cell[(i + 1) % 3], cell[(i + 2) % 3]
        area, volume = 0.0, 0.0
        for c in range(3):
            e, f = (c + 1) % 3, (c + 2) % 3
            normal = a[e] * b[f] - a[f] * b[e]
            area += normal * normal
            volume += cell[i, c] * normal
        span[i] = int(np.ceil(reach * np.sqrt(area) / abs(volume))) + 1
    place: FloatTable = np.zeros((len(sites), 3))
    for i in range(len(sites)):
        for c in range(3):
            for k in range(3):
                place[i, c] += sites[i, k] * cell[k, c]
    x: Floats = np.empty(3)
    for u in range(-span[0], span[0] + 1):
        for v in range(-span[1], span[1] + 1):
            for w in range(-span[2], span[2] + 1):
                for c in range(3):
                    x[c] = u * cell[0, c] + v * cell[1, c] + w * cell[2, c]
                for i in range(len(sites)):
                    for j in range(len(sites)):
                        square = 0.0
                        for c in range(3):
                            d = x[c] + place[j, c] - place[i, c]
                            square += d * d
                        if square > reach * reach or square < 1e-6:
                            continue
                        at = np.sqrt(square) / bin
                        low = int(at)
                        share = at - low
                        out[kinds[i], kinds[j], low] += 1.0 - share
                        out[kinds[i], kinds[j], low + 1] += share
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def spread(
    r: Floats,
    distance: Floats,
    weight: Floats,
    variance: Floats,
) -> np.ndarray:
    """Return the sum of Gaussians of unit area times `weight`.

    Parameters
    ----------
    r
        (points,) evenly spaced.
    distance, weight, variance
        (pairs,) position, weight and variance of each Gaussian.
    """
    out = np.zeros(r.size)
    step = r[1] - r[0]
    for p in range(distance.size):
        sigma = np.sqrt(variance[p])
        first = max(int(np.ceil((distance[p] - 5 * sigma - r[0]) / step)), 0)
        last = min(int((distance[p] + 5 * sigma - r[0]) / step), r.size - 1)
        if last < first:
            continue
        height = weight[p] / (sigma * np.sqrt(2 * np.pi))
        # A Gaussian on a grid follows from two factors: exp only twice.
        x = (r[first] - distance[p]) / sigma
        h = step / sigma
        value = height * np.exp(-0.5 * x * x)
        ratio = np.exp(-x * h - 0.5 * h * h)
        fall = np.exp(-h * h)
        for i in range(first, last + 1):
            out[i] += value
            value *= ratio
            ratio *= fall
    return out
