"""Learned phase retrieval against random starts: how near to the truth, at what cost.

    python benchmarks/truth/learned.py [--crystals 5]

Simulated crystals of 64^3 voxels that the training never drew, 1e7 counts, half to four
fifths of the half array in extent. Weak: the phase reaches 1 to 1.5 rad in the crystal;
strong: 3 to 3.5 rad. Of several starts the one of the best free likelihood is judged.
Needs PyTorch; everything on one thread.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from batteryxr import cdi
from batteryxr.simulate import random_crystals

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

CASES = {"weak": (1.0, 1.5), "strong": (3.0, 3.5)}
SHORT, USUAL = "60 HIO + 40 ER", "200 HIO + 200 RAAR + 100 ER"


BEST = cdi.Selection(n_best=1)


def learned(n_starts: int, refine: int, schedule: str | None) -> Callable[..., Any]:
    return lambda volume: cdi.retrieve_learned(
        volume,
        n_starts=n_starts,
        select=BEST,
        network=cdi.Network(refine=refine),
        schedule=schedule,
    )


def random(n_starts: int, schedule: str) -> Callable[..., Any]:
    return lambda volume: cdi.retrieve(
        volume, n_starts=n_starts, select=BEST, schedule=schedule
    )


WAYS = {
    "network": learned(1, 0, None),
    "network, 4 orientations": learned(4, 0, None),
    "network + 50 steps on the pattern": learned(1, 50, None),
    "network, then 20 HIO + 10 ER, 4 starts": learned(4, 0, "20 HIO + 10 ER"),
    "random,       20 HIO + 10 ER, 4 starts": random(4, "20 HIO + 10 ER"),
    "network, then 60 HIO + 40 ER, 1 start": learned(1, 0, SHORT),
    "random,       60 HIO + 40 ER, 1 start": random(1, SHORT),
    "network, then 60 HIO + 40 ER, 4 starts": learned(4, 0, SHORT),
    "random,       60 HIO + 40 ER, 4 starts": random(4, SHORT),
    "network + 50 steps, then 60 HIO + 40 ER": learned(1, 50, SHORT),
    "random, 200 HIO + 200 RAAR + 100 ER, 1 start": random(1, USUAL),
    "random, 200 HIO + 200 RAAR + 100 ER, 4 starts": random(4, USUAL),
}


def judged(way: Callable[..., Any], one: xr.Dataset) -> tuple[float, float, float]:
    began = time.process_time()
    result = way(one["intensity"])
    spent = time.process_time() - began
    laid = cdi.align(result, reference=one["object"], ramp=True)
    best = int(np.argmax(result["rank"].values == 1))
    return float(laid["overlap"]), float(result["amp_residual"][best]), spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crystals", type=int, default=5, help="of each kind")
    parser.add_argument("--seed", type=int, default=1000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    dask.config.set(scheduler="synchronous")
    warm = random_crystals(n=1).isel(crystal=0, drop=True).load()
    WAYS["network, then 20 HIO + 10 ER, 4 starts"](warm["intensity"])  # compiles
    for case, phase in CASES.items():
        crystals = random_crystals(
            n=arguments.crystals,
            phase=phase,
            photons=(1e7, 1e7),
            seed=arguments.seed,
        ).load()
        print(f"\n{case} phase, {phase[0]} to {phase[1]} rad")
        print("overlap: median worst >=.99   amplitude residual   CPU s   way")
        for name, way in WAYS.items():
            each = [
                judged(way, crystals.isel(crystal=k, drop=True))
                for k in range(arguments.crystals)
            ]
            overlaps, residuals, spent = (np.array(v) for v in zip(*each, strict=True))
            print(
                f"{np.median(overlaps):15.4f}{overlaps.min():7.4f}"
                f"{(overlaps >= 0.99).sum():4d}/{len(overlaps)}"
                f"{np.median(residuals):18.4f}{np.median(spent):12.1f}   {name}",
                flush=True,
            )


if __name__ == "__main__":
    main()
