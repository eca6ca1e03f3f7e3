"""How often the truth lies within what `metropolis` states, over many data sets.

    python benchmarks/truth/nmf_errors.py [--sets 20]

Series of two to four components of which some scans are pure, or none is, with little
and much noise. Share of the ratios within one stated error (68 % of a normal one), in
between the quantiles of 68 and 95 %, and in the range, which is to hold the truth.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from batteryxr import nmf

POINTS, SCANS = 60, 24
BRIEF = nmf.Sampling(n_chains=2, sweeps=400, draws=100, rotations=20_000)
AXIS = np.linspace(0.0, 1.0, POINTS)


def problem(k: int, pure: bool, noise: float, seed: int) -> tuple[xr.DataArray, ...]:
    """Return data and ratios (scan, component) of phases that follow one another."""
    rng = np.random.default_rng([k, seed])
    place = rng.uniform(0, 1, (k, 4))
    patterns = np.exp(-0.5 * ((AXIS - place[..., None]) / 0.04) ** 2).sum(axis=1)
    t = np.linspace(0.0, 1.0, SCANS)[:, None]
    if not pure:
        t = 0.15 + 0.7 * t
    ratios = np.clip(1 - np.abs(t * (k - 1) - np.arange(k)), 0, None)
    if not pure:  # the middle ones are never alone
        ratios = 0.8 * ratios + 0.2 / k
    ratios /= ratios.sum(axis=1, keepdims=True)
    clean = ratios @ patterns
    sigma = noise * clean.std()
    data = clean + rng.normal(0, sigma, clean.shape)
    return xr.DataArray(data, dims=("scan", "energy"), coords={"energy": AXIS}), ratios


def within(found: xr.Dataset, true: np.ndarray) -> list[float]:
    """Return the shares of ratios within error, quantiles and range."""
    w = found["weights"].values
    cost = np.abs(w[:, :, None] - true[:, None, :]).mean(axis=0)
    order = linear_sum_assignment(cost)[1]
    true = true[:, order]
    quantiles = found["weights_quantiles"].transpose("quantile", *found["weights"].dims)
    q = quantiles.values
    low, high = (found[f"weights_{end}"].values for end in ("low", "high"))
    error = found["weights_error"].values
    return [
        float((np.abs(w - true) < error).mean()),
        float(((true >= q[1]) & (true <= q[3])).mean()),
        float(((true >= q[0]) & (true <= q[4])).mean()),
        float(((true >= low) & (true <= high)).mean()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=20)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print("k pure fixed noise   error  68 %  95 %  range")
    for k in (2, 3, 4):
        for pure, ends in ((True, False), (True, True), (False, False)):
            for noise in (0.01, 0.1):
                rows = []
                for seed in range(options.sets):
                    data, true = problem(k, pure, noise, seed)
                    fixed = {"first": 0, "last": -1} if ends else None
                    shift = nmf.Constraints(shift=float(data.min()) - 0.1)
                    found = data.nmf.metropolis(
                        k, fixed=fixed, constraints=shift, sampling=BRIEF, seed=seed
                    )
                    rows.append(within(found, true))
                shares = "  ".join(f"{v:.2f}" for v in np.mean(rows, axis=0))
                print(f"{k} {pure!s:5} {ends!s:5} {noise:5.2f}   {shares}", flush=True)


if __name__ == "__main__":
    main()
