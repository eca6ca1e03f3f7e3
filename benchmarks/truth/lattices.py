"""Whether lattices along a long series of dirty patterns are right, and say how well.

    python benchmarks/truth/lattices.py [--scans 1000] [--seeds 2]

Patterns of a layered oxide over one cycle, with K-alpha doublets, a displaced sample,
aluminium and graphite that its lines cross, and rays; weak and strong ones, of a sample
that stays, drifts or jumps. Printed for each: the worst scan (ppm), scans beyond 100
ppm, pulls (right: 1), by how much the change over the cycle is wrong, and CPU seconds.
The patterns are written by the tests' own simulator.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from batteryxr import xanes

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.xanes.diffraction import powders

CELL = xanes.Cell("hexagonal", a=2.87, c=14.25, centring="R")
TUBE = xanes.Diffractometer(tube="Cu", radius=powders.RADIUS)


def moved(kind: str, n: int) -> np.ndarray:
    """Return how far the sample lies off (mm)."""
    if kind == "stays":
        return np.full(n, 0.1)
    if kind == "drifts":
        return np.linspace(0.0, 0.2, n)
    return np.where(np.arange(n) < n // 2, 0.0, 0.15)


def main() -> None:
    """Print one line for each kind of series and lattice parameter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    print("counts sample   seed  worst  >100  pull  change    CPU s")
    for scale in (1.0, 3.0):
        for kind in ("stays", "drifts", "jumps"):
            for seed in range(asked.seeds):
                offset = moved(kind, asked.scans)
                scans, a, c = powders.cycle(
                    asked.scans, scale=scale, moved=offset, seed=seed
                )
                begin = time.process_time()
                found = xanes.fit_lattice(scans, candidate=CELL, instrument=TUBE)
                spent = time.process_time() - begin
                for name, truth in (("a", a), ("c", c)):
                    value, error = found[name].values, found[f"{name}_error"].values
                    off = 1e6 * np.abs(value / truth - 1)
                    change = (np.ptp(value) - np.ptp(truth)) / truth.mean()
                    print(
                        f"{scale:6} {kind:8} {seed:4} {name} {np.nanmax(off):5.0f} "
                        f"{int((off > 100).sum()):5} "
                        f"{powders.pull(value, error, truth):5.2f} "
                        f"{change:9.1e} {spent:5.1f}"
                    )


if __name__ == "__main__":
    main()
