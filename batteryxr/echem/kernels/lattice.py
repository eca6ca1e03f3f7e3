"""Fill a rock-salt lattice with lithium, one site at a time.

Cations sit on a face-centred cubic lattice. On a grid of half cell edges its sites
are the points of even parity. Every cube of the grid holds one tetrahedral site,
whose four octahedral neighbours are the cube's even corners. Lithium hops between
octahedra through a tetrahedron, easily where all four neighbours are lithium (a 0-TM
channel). Clusters are kept in a disjoint-set forest that stores the displacement
from each site to its root. A bond that closes a loop with a nonzero displacement
wraps around the periodic cell (Newman and Ziff, Phys. Rev. E 64, 016706 (2001)).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats, Ints, IntTable, Line

#: Columns of the report of `fill`.
COLUMNS = (
    "li_li_pairs",
    "zero_tm_paths",
    "tetrahedral_contacts",
    "largest_cluster",
    "percolating_share",
    "percolates",
    "joined_cluster",
)


def octahedral_sites(n: int) -> np.ndarray:
    """Return the flat indices of sites of even parity on an n x n x n grid."""
    i, j, k = np.indices((n, n, n), sparse=True)
    return np.flatnonzero(((i + j + k) % 2 == 0).ravel())


@njit(cache=True, nogil=True)
def fill(
    order: Ints,
    tetrahedra: Ints,
    counts: Ints,
    tetrahedral_counts: Ints,
    n: int,
) -> tuple[np.ndarray, int]:
    """Fill octahedral sites in `order` and report at each of `counts`.

    Parameters
    ----------
    order
        (sites,) flat indices of octahedral sites, shuffled.
    tetrahedra
        (n**3,) flat indices of tetrahedral sites, shuffled.
    counts
        (steps,) numbers of octahedral lithium at which to report, ascending.
    tetrahedral_counts
        (steps,) numbers of tetrahedral lithium at each step.
    n
        Edge of the grid: twice the number of cells.

    Returns
    -------
    report : (steps, 7) float64
        The quantities of `COLUMNS`, per cell or as shares of the lithium.
    onset : int
        Number of octahedral lithium at which a cluster first spans the cell; -1
        if none does.
    """
    cells = (n // 2) ** 3
    report = np.zeros((counts.size, 7))
    parent: Ints = np.full(n**3, -1, np.int64)
    size: Ints = np.ones(n**3, np.int64)
    away: IntTable = np.zeros((n**3, 3), np.int32)
    spans: Line[bool] = np.zeros(n**3, np.bool_)
    corners: Ints = np.zeros(n**3, np.int8)
    four: IntTable = np.empty((4, 4), np.int64)
    pairs = 0
    channels = 0
    largest = 0
    spanning = 0
    onset = -1
    step = 0
    for placed in range(order.size + 1):
        while step < counts.size and counts[step] == placed:
            row: Floats = report[step]
            row[0] = pairs / cells
            row[1] = 6 * channels / cells
            row[5] = 1.0 if spanning > 0 else 0.0
            if placed > 0:
                row[3] = largest / placed
                row[4] = spanning / placed
            n_tetrahedral = tetrahedral_counts[step]
            row[6] = row[3]
            if n_tetrahedral > 0:
                inserted = tetrahedra[:n_tetrahedral]
                contacts, joined = _bridge(parent, size, inserted, largest, n)
                row[2] = contacts / cells
                row[6] = joined / (placed + n_tetrahedral)
            step += 1
        if placed == order.size or (step == counts.size and onset >= 0):
            break
        site = order[placed]
        parent[site] = site
        largest = max(largest, 1)
        k = site % n
        j = (site // n) % n
        i = site // (n * n)
        shared = 0
        for cube in range(8):
            a = (i - (cube & 1)) % n
            b = (j - (cube >> 1 & 1)) % n
            c = (k - (cube >> 2 & 1)) % n
            tetrahedron = (a * n + b) * n + c
            shared += corners[tetrahedron]
            corners[tetrahedron] += 1
            if corners[tetrahedron] < 4:
                continue
            channels += 1
            _corner_sites(tetrahedron, n, four)
            for other in range(1, 4):
                spanning += _join(parent, size, away, spans, four[0], four[other])
            root = _root(parent, away, four[0, 0])
            largest = max(largest, size[root])
        # Two neighbours share two tetrahedra.
        pairs += shared // 2
        if spanning > 0 and onset < 0:
            onset = placed + 1
    return report, onset


@njit(cache=True, nogil=True)
def _corner_sites(tetrahedron: int, n: int, out: IntTable) -> None:
    """Write flat index and grid offset of a tetrahedron's four octahedral sites."""
    k = tetrahedron % n
    j = (tetrahedron // n) % n
    i = tetrahedron // (n * n)
    found = 0
    for corner in range(8):
        a = corner & 1
        b = corner >> 1 & 1
        c = corner >> 2 & 1
        if (i + j + k + a + b + c) % 2 == 0:
            out[found, 0] = (((i + a) % n) * n + (j + b) % n) * n + (k + c) % n
            out[found, 1] = a
            out[found, 2] = b
            out[found, 3] = c
            found += 1


@njit(cache=True, nogil=True)
def _root(parent: Ints, away: IntTable, site: int) -> int:
    """Return the root of a site, and attach the site directly to it."""
    root = site
    x = y = z = 0
    while parent[root] != root:
        x += away[root, 0]
        y += away[root, 1]
        z += away[root, 2]
        root = parent[root]
    while parent[site] != root and site != root:
        after = parent[site]
        dx, dy, dz = away[site, 0], away[site, 1], away[site, 2]
        away[site, 0], away[site, 1], away[site, 2] = x, y, z
        parent[site] = root
        x, y, z = x - dx, y - dy, z - dz
        site = after
    return root


@njit(cache=True, nogil=True)
def _join(
    parent: Ints,
    size: Ints,
    away: IntTable,
    spans: Line[bool],
    first: Ints,
    second: Ints,
) -> int:
    """Bond two sites; return the growth of the lithium in spanning clusters."""
    i, j = first[0], second[0]
    a = _root(parent, away, i)
    b = _root(parent, away, j)
    # Displacement from the first root to the second, along the bond.
    x = second[1] - first[1] + away[j, 0] - away[i, 0]
    y = second[2] - first[2] + away[j, 1] - away[i, 1]
    z = second[3] - first[3] + away[j, 2] - away[i, 2]
    if a == b:
        if not spans[a] and (x != 0 or y != 0 or z != 0):
            spans[a] = True
            return size[a]
        return 0
    if size[a] < size[b]:
        a, b = b, a
        x, y, z = -x, -y, -z
    grown = 0
    if spans[a] != spans[b]:
        grown = size[b] if spans[a] else size[a]
    away[b, 0], away[b, 1], away[b, 2] = -x, -y, -z
    parent[b] = a
    size[a] += size[b]
    spans[a] = spans[a] or spans[b]
    return grown


@njit(cache=True, nogil=True)
def _bridge(
    parent: Ints,
    size: Ints,
    inserted: Ints,
    largest: int,
    n: int,
) -> tuple[int, int]:
    """Join tetrahedral lithium to its octahedral neighbours, on a copy.

    Returns the contacts between tetrahedral and octahedral lithium, and the size of
    the largest cluster including tetrahedral lithium.
    """
    parent = parent.copy()
    size = size.copy()
    away: IntTable = np.zeros((n**3, 3), np.int32)
    spans: Line[bool] = np.zeros(n**3, np.bool_)
    four: IntTable = np.empty((4, 4), np.int64)
    contacts = 0
    largest = max(largest, 1)
    for tetrahedron in inserted:
        _corner_sites(tetrahedron, n, four)
        first = -1
        for corner in range(4):
            if parent[four[corner, 0]] < 0:
                continue
            contacts += 1
            if first >= 0:
                _join(parent, size, away, spans, four[first], four[corner])
            else:
                first = corner
        if first >= 0:
            root = _root(parent, away, four[first, 0])
            size[root] += 1
            largest = max(largest, size[root])
    return contacts, largest
