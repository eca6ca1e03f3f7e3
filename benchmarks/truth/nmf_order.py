"""How often the held-out error picks the known number of components.

    python benchmarks/truth/nmf_order.py [--levels 10]

Series of two to six phases, each at ten levels of noise, from 0.5 to 20 % of the
signal. Two readings of the same held-out errors: the fewest components within one
standard error of the lowest (``held_out_pick``), and the lowest itself.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import xarray as xr

from batteryxr import nmf


def series(n: int, noise: float, seed: int) -> xr.DataArray:
    """Return 60 patterns of n phases that follow one another."""
    rng = np.random.default_rng(seed)
    r = np.linspace(1.0, 13.0, 400)
    place, height = rng.uniform(1, 13, (n, 25, 1)), rng.gamma(2.0, 1.0, (n, 25, 1))
    phases = (height * np.exp(-0.5 * ((r - place) / 0.12) ** 2)).sum(axis=1)
    t = np.linspace(0.0, 1.0, 60)[:, None]
    ratios = np.exp(-0.5 * ((t - np.linspace(0, 1, n)) / (0.45 / n)) ** 2)
    clean = ratios / ratios.sum(axis=1, keepdims=True) @ phases
    noisy = clean + noise * clean.std() * rng.normal(size=clean.shape)
    return xr.DataArray(noisy, dims=("scan", "r"), coords={"r": r})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--levels", type=int, default=10)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    levels = np.geomspace(0.005, 0.2, options.levels)
    right = {"one standard error": 0, "lowest": 0}
    start = time.process_time()
    print("picked by one standard error, at each level of noise")
    print(f"{'phases':>8}" + "".join(f"{100 * level:7.1f} %" for level in levels))
    for n in range(2, 7):
        picks = []
        for i, level in enumerate(levels):
            order = nmf.model_order(
                series(n, level, 100 * n + i),
                constraints=nmf.Constraints(shift="minimum"),
            )
            picks.append(int(order["n_components"].values[order["held_out_pick"]][0]))
            lowest = int(order["n_components"][int(order["held_out_error"].argmin())])
            right["one standard error"] += picks[-1] == n
            right["lowest"] += lowest == n
        print(f"{n:8}" + "".join(f"{k:9}" for k in picks), flush=True)
    spent = (time.process_time() - start) / (5 * len(levels))
    for rule, count in right.items():
        print(f"{rule}: right in {count / (5 * len(levels)):.0%}")
    print(f"{spent:.1f} CPU s for each series, n = 1 to 8")


if __name__ == "__main__":
    main()
