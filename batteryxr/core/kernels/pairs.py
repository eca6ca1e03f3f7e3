"""Sums over pairs of atoms in a crystal, and the strains that it may have, as arrays.

A strain that every rotation of the point group leaves as it is changes the free
parameters of the cell and nothing else: a and c of a tetragonal crystal, all six of a
triclinic one (Nye, Physical Properties of Crystals, 1957, chapter VIII).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats, FloatTable, Ints

#: Largest difference of two places that are one (fractions of the cell), and of two
#: lengths of a cell (relative).
_SAME, _EQUAL = 5e-3, 1e-4
#: Number of classes of directions, for each strain by which directions differ.
_CLASSES = (1, 24, 12, 8, 6, 6)


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


def strains(cell: np.ndarray, sites: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Return the traceless strains that a crystal may have, (strains, 3, 3).

    Each changes its longest axis against its shortest by one, relative to both.

    Parameters
    ----------
    cell
        (3, 3) lattice vectors as rows.
    sites
        (atoms, 3) fractional coordinates.
    kinds
        (atoms,) number of the kind of each atom.
    """
    upper = np.triu_indices(3)
    basis = np.zeros((6, 3, 3))
    for i, (a, b) in enumerate(zip(*upper, strict=True)):
        basis[i, a, b] = basis[i, b, a] = 1.0 if a == b else np.sqrt(0.5)
    mean = np.zeros((6, 6))
    turns = rotations(cell, sites, kinds)
    for turn in turns:
        moved = turn.T @ basis @ turn
        mean += np.einsum("iab,jab->ij", basis, moved) / len(turns)
    equal = np.einsum("iab,ab->i", basis, np.eye(3)) / np.sqrt(3)
    values, vectors = np.linalg.eigh(0.5 * (mean + mean.T) - np.outer(equal, equal))
    found = np.einsum("ik,iab->kab", vectors[:, values > 0.5], basis)
    for one in found:
        ends = np.linalg.eigvalsh(one)
        one /= ends[-1] - ends[0]
        one *= np.sign(one.flat[np.abs(one).argmax()])
    return found


def rotations(cell: np.ndarray, sites: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Return the rotations and reflections of a crystal, (rotations, 3, 3).

    Those are tried whose matrices on the axes of the cell hold 0, 1 and -1.
    """
    metric = cell @ cell.T
    steps = np.array(list(itertools.product((-1, 0, 1), repeat=3)), dtype=float)
    near = _EQUAL * np.trace(metric)
    length = np.einsum("vi,ij,vj->v", steps, metric, steps)
    axes = [steps[np.abs(length - metric[i, i]) < near] for i in range(3)]
    out = []
    for rows in itertools.product(*axes):
        turn = np.array(rows)
        if np.abs(turn @ metric @ turn.T - metric).max() > near:
            continue
        if _keeps(turn, sites % 1.0, kinds):
            out.append(np.linalg.inv(cell) @ turn @ cell)
    return np.array(out)


def _keeps(turn: np.ndarray, sites: np.ndarray, kinds: np.ndarray) -> bool:
    """Tell whether a turned crystal, moved by some vector, is the same crystal."""
    moved = sites @ turn
    rarest = np.bincount(kinds).astype(float)
    rarest[rarest == 0] = np.inf
    few = np.flatnonzero(kinds == rarest.argmin())
    alike = kinds[:, None] == kinds

    def meets(shift: np.ndarray, atoms: np.ndarray) -> bool:
        apart = moved[atoms, None] + shift - sites
        apart -= np.round(apart)
        same = (np.abs(apart) < _SAME).all(axis=-1) & alike[atoms]
        return bool(same.any(axis=1).all())

    some, every = np.arange(min(len(sites), 4)), np.arange(len(sites))
    shifts = sites[few] - moved[few[0]]
    return any(meets(s, some) and meets(s, every) for s in shifts)


def directed(
    cell: np.ndarray,
    sites: np.ndarray,
    kinds: np.ndarray,
    modes: np.ndarray,
    reach: float,
    bin: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs within reach, those of like length and direction as one.

    Parameters
    ----------
    cell, sites, kinds
        As in `strains`.
    modes
        (strains, 3, 3): what a direction is judged by.
    reach, bin
        Largest distance, and by how much distances of one group may differ.

    Returns
    -------
    numpy.ndarray, numpy.ndarray, numpy.ndarray
        (kinds, kinds, groups) numbers of pairs; (groups,) distances; and (groups, 3, 3)
        mean products of the components of the unit vectors.
    """
    high = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    spans = [np.arange(-n, n + 1) for n in np.ceil(reach / high).astype(int) + 1]
    cells = np.stack(np.meshgrid(*spans, indexing="ij"), -1).reshape(-1, 3) @ cell
    place = sites @ cell
    every, n = [], int(kinds.max()) + 1
    for i, j in itertools.product(range(len(sites)), repeat=2):
        x = cells + (place[j] - place[i])
        far = np.linalg.norm(x, axis=1)
        x = x[(far > 1e-3) & (far < reach)]
        every.append(np.column_stack([x, np.full(len(x), kinds[i] * n + kinds[j])]))
    rows = np.concatenate(every)
    far = np.linalg.norm(rows[:, :3], axis=1)
    unit = rows[:, :3] / far[:, None]
    many = _CLASSES[len(modes)]
    key = np.round(far / bin).astype(np.int64)
    for mode in modes:
        along = np.einsum("pa,ab,pb->p", unit, mode, unit)
        key = key * (2 * many) + np.clip(np.round((along + 1) * many), 0, 2 * many - 1)
    _, group = np.unique(key.astype(np.int64), return_inverse=True)
    size = int(group.max()) + 1
    count = np.bincount(group, minlength=size)
    counts = np.bincount(rows[:, 3].astype(int) * size + group, minlength=n * n * size)
    distance = np.bincount(group, far, size) / count
    products = np.empty((size, 3, 3))
    for a, b in itertools.product(range(3), repeat=2):
        products[:, a, b] = np.bincount(group, unit[:, a] * unit[:, b], size) / count
    return counts.reshape(n, n, size).astype(np.float64), distance, products
