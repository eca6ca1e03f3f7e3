"""Percolation of a rock salt: incremental filling against sparse graphs.

    python benchmarks/percolation.py [--size 20] [--repeats 5]

The other way to do it, with NumPy and SciPy, labels the clusters of one composition
by ``scipy.sparse.csgraph``, and those of a sweep one by one; it does not tell
whether a cluster spans the cell. Its rows use the same random lattices, and both
must find the same clusters.
"""

from __future__ import annotations

import argparse
import itertools
import time
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from batteryxr.echem.kernels import lattice

if TYPE_CHECKING:
    from collections.abc import Callable


def tetrahedra(n: int) -> np.ndarray:
    i, j, k = np.indices((n, n, n)).reshape(3, -1)
    even = ((i + j + k) % 2 == 0)[:, None]
    a, b = (
        np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1]]),
        np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]),
    )
    corner = np.where(even[..., None], a, b)
    x, y, z = (np.stack([i, j, k], 1)[:, None] + corner).transpose(2, 0, 1) % n
    return (x * n + y) * n + z


def with_graphs(
    order: np.ndarray, counts: np.ndarray, four: np.ndarray
) -> list[tuple[float, float]]:
    found = []
    for count in counts:
        lithium = np.zeros(four.shape[0], bool)
        lithium[order[:count]] = True
        channels = four[lithium[four].all(axis=1)]
        ends = np.concatenate(
            [channels[:, pair] for pair in itertools.combinations(range(4), 2)]
        )
        ones = np.ones(len(ends), bool)
        shape = (lithium.size, lithium.size)
        graph = coo_array((ones, (ends[:, 0], ends[:, 1])), shape=shape)
        _, labels = connected_components(graph, directed=False)
        largest = np.bincount(labels[lithium]).max()
        found.append((len(ends), largest / count))
    return found


def best(function: Callable[[], object], repeats: int) -> float:
    took = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        took.append(time.process_time() - start)
    return min(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    n = 2 * options.size
    sites = lattice.octahedral_sites(n)
    rng = np.random.default_rng(0)
    order, inserted = rng.permutation(sites), rng.permutation(n**3)
    four = tetrahedra(n)
    print(f"{sites.size} cations; CPU time, best of {options.repeats}")
    print(f"{'':24}{'fill / ms':>12}{'csgraph / ms':>14}{'ratio':>8}")
    for name, contents in (
        ("one composition", np.array([1.2])),
        ("sweep of 36", np.linspace(0.8, 1.5, 36)),
    ):
        counts = np.round(contents / 2 * sites.size).astype(int)
        none = np.zeros_like(counts)

        def ours(counts: np.ndarray = counts, none: np.ndarray = none) -> np.ndarray:
            return lattice.fill(order, inserted, counts, none, n)[0]

        def theirs(counts: np.ndarray = counts) -> list[tuple[float, float]]:
            return with_graphs(order, counts, four)

        report = ours()
        for row, (edges, share) in zip(report, theirs(), strict=True):
            assert round(row[1] * options.size**3) == edges
            assert np.isclose(row[3], share)
        mine, other = best(ours, options.repeats), best(theirs, options.repeats)
        print(f"{name:24}{1e3 * mine:12.2f}{1e3 * other:14.2f}{other / mine:8.1f}")


if __name__ == "__main__":
    main()
