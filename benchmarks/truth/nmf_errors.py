"""How often the truth lies within what `metropolis` states, over many data sets.

    python benchmarks/truth/nmf_errors.py [--sets 20]

Series of two to four components of which some scans are pure, or none is, with little
and much noise; nothing, the ends, all pure scans or all patterns fixed; noise of each
point on its own, or shared by neighbours. Share of the ratios within one stated error,
in between the quantiles of 68 and 95 %, and in the range, which is to hold the truth:
once where a phase is absent or pure, once in between. Where one answer fits, 68 % are
within one error; where many fit, at least so many.
"""

from __future__ import annotations

import argparse
import itertools
import warnings

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import linear_sum_assignment

from batteryxr import nmf

POINTS, SCANS = 60, 25
BRIEF = nmf.Sampling(n_chains=2, sweeps=400, draws=100, rotations=20_000)
AXIS = np.linspace(0.0, 1.0, POINTS)


def problem(
    k: int, pure: bool, noise: float, memory: float, seed: int
) -> tuple[xr.DataArray, np.ndarray, xr.DataArray]:
    """Return data, ratios (scan, component) and patterns of phases in a sequence."""
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
    error = rng.normal(size=clean.shape)
    if memory:
        error = gaussian_filter1d(error, memory, axis=1)
    data = clean + noise * clean.std() * error / error.std()
    axis = {"energy": AXIS}
    return (
        xr.DataArray(data, dims=("scan", "energy"), coords=axis),
        ratios,
        xr.DataArray(patterns, dims=("phase", "energy"), coords=axis),
    )


def within(found: xr.Dataset, true: np.ndarray) -> np.ndarray:
    """Return whether ratios lie within error, quantiles and range, and are inner."""
    w = found["weights"].values
    cost = np.abs(w[:, :, None] - true[:, None, :]).mean(axis=0)
    true = true[:, linear_sum_assignment(cost)[1]]
    quantiles = found["weights_quantiles"].transpose("quantile", *found["weights"].dims)
    q = quantiles.values
    low, high = (found[f"weights_{end}"].values for end in ("low", "high"))
    held = [
        np.abs(w - true) <= found["weights_error"].values,
        (true >= q[1]) & (true <= q[3]),
        (true >= q[0]) & (true <= q[4]),
        (true >= low) & (true <= high),
    ]
    inner = (true > 1e-9) & (true < 1 - 1e-9)
    return np.array([*held, inner]).reshape(5, -1)


def known(
    kind: str, true: np.ndarray, patterns: xr.DataArray
) -> dict[str, int | xr.DataArray] | None:
    """Return what is fixed."""
    if kind == "ends":
        return {"first": 0, "last": -1}
    if kind == "pure scans":
        return {f"p{i}": int(scan) for i, scan in enumerate(true.argmax(axis=0))}
    if kind == "patterns":
        return {f"p{i}": patterns[i] for i in range(len(patterns))}
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=20)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{'fixed':12}{'k':>2} pure noise shared  truth   error  68 %  95 %  range")
    for kind, pure in (
        *(("patterns", True), ("pure scans", True), ("ends", True)),
        *(("nothing", True), ("nothing", False)),
    ):
        for k, noise, memory in itertools.product((2, 3, 4), (0.01, 0.1), (0.0, 2.0)):
            rows = []
            for seed in range(options.sets):
                data, true, patterns = problem(k, pure, noise, memory, seed)
                found = data.nmf.metropolis(
                    k,
                    fixed=known(kind, true, patterns),
                    constraints=nmf.Constraints(shift=float(data.min()) - 0.1),
                    sampling=BRIEF,
                    seed=seed,
                )
                rows.append(within(found, true))
            *held, inner = np.concatenate(rows, axis=1)
            for name, here in (("inner", inner > 0), ("bound", inner == 0)):
                if here.any():
                    shares = "  ".join(f"{h[here].mean():.2f}" for h in held)
                    print(
                        f"{kind:12}{k:2} {pure!s:5}{noise:5.2f}{memory:6.1f}  {name:7}"
                        f" {shares}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
