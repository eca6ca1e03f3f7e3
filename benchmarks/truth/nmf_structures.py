"""How true structures times ratios are, and how far their errors can be trusted.

    python benchmarks/truth/nmf_structures.py [--sets 20]

The five oxides of `simulate.oxide_series`, with candidates whose lattices are off by
half a per cent; and a rock salt in which lithium takes the place of iron while its
lattice shrinks. Mean absolute error of each ratio, of the share of iron, and the share
of values within two stated errors.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import replace

import numpy as np
import xarray as xr

from batteryxr import nmf, simulate
from batteryxr.core.crystals import Crystal, PairDistribution, PdfInstrument
from batteryxr.simulate import oxides
from batteryxr.simulate.structures import body_centred, rock_salt

INSTRUMENT = PdfInstrument(q_max=24.0, q_damp=0.03)
SERIES = {"n_scans": 40, "r_range": (1.5, 20.0), "step": 0.04}
CONTENT = np.linspace(0.0, 1.0, 30)


def off(crystal: Crystal, seed: int, index: int) -> Crystal:
    """Return a candidate as of a table: with another lattice."""
    change = np.random.default_rng([seed, index]).uniform(-0.005, 0.005)
    return replace(crystal, cell=crystal.cell * (1 + change))


def report(name: str, far: np.ndarray, error: np.ndarray) -> None:
    within = [float((np.abs(far) < k * error).mean()) for k in (1.0, 2.0)]
    print(
        f"  {name:12} mean absolute {np.abs(far).mean():.4f}, stated "
        f"{np.median(error):.4f}; within 1, 2 errors: {within[0]:.2f}, {within[1]:.2f}",
        flush=True,
    )


def oxide(name: str, sets: int) -> None:
    """Print what comes back of an oxide's ratios."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for seed in range(sets):
        tree = simulate.oxide_series(name, seed=seed, **SERIES)
        truth = tree["truth"].to_dataset()["ratios"]
        phases = oxides._OXIDES[name]().phases
        candidates = {
            called: off(phase.crystal, seed, i)
            for i, (called, phase, _) in enumerate(phases)
        }
        fit = nmf.fit_structures(tree["scans"]["pdf"], candidates=candidates, degree=0)
        for called in truth["component"].values:
            one, true = fit.sel(component=called), truth.sel(component=called)
            far = one["weights"].values - true.values
            found.setdefault(str(called), []).append((far, one["weights_error"].values))
    print(f"{name}, {sets} data sets")
    for called, rows in found.items():
        report(called, *np.array(rows).transpose(1, 0, 2))


def solution(sets: int) -> None:
    """Print what comes back of a rock salt of changing composition, beside iron."""
    r = 1.5 + 0.04 * np.arange(464)
    lithium, edge = 0.1 + 0.4 * CONTENT, 4.26 - 0.08 * CONTENT
    share = np.clip(1.1 - CONTENT, 0.0, 1.0)
    iron = PairDistribution(body_centred("iron", "Fe", 2.866), r, instrument=INSTRUMENT)
    rest = iron(u_iso=0.005, diameter=22.0)
    rows = [
        s
        * PairDistribution(
            rock_salt("salt", a, {"Li": x, "Fe": 1 - x}), r, instrument=INSTRUMENT
        )(u_iso=0.007, diameter=40.0)
        + (1 - s) * rest
        for s, a, x in zip(share, edge, lithium, strict=True)
    ]
    clean = np.array(rows)
    there = share > 0.2
    kinds: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for seed in range(sets):
        rng = np.random.default_rng(seed)
        data = xr.DataArray(
            clean + rng.normal(0, 0.02 * clean.std(), clean.shape),
            dims=("scan", "r"),
            coords={
                "r": ("r", r, {"units": "Angstrom"}),
                "li_content": ("scan", CONTENT),
            },
            attrs={"units": "1/Angstrom2", "q_max": 24.0, "q_damp": 0.03},
        )
        fit = nmf.fit_structures(
            data,
            candidates={
                "salt": off(rock_salt("salt", 4.22, {"Li": 0.5, "Fe": 0.5}), seed, 0),
                "iron": off(body_centred("iron", "Fe", 2.866), seed, 1),
            },
            occupancy={"salt": "Fe"},
        ).sel(component="salt")
        for name, true in (
            ("weights", share),
            ("occupancy", 1 - lithium),
            ("lattice", edge),
        ):
            far = (fit[name].values - true)[there]
            kinds.setdefault(name, []).append((far, fit[f"{name}_error"].values[there]))
    print(f"solid solution, {sets} data sets")
    for name, pairs in kinds.items():
        report(name, *np.array(pairs).transpose(1, 0, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=20)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    solution(options.sets)
    for name in ("Fe2O3", "Fe3O4", "FeO", "MnO", "Mn3O4"):
        oxide(name, options.sets)


if __name__ == "__main__":
    main()
