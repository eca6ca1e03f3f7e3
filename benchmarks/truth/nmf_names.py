"""How often structures of patterns are named rightly, and nothing is named for none.

    python benchmarks/truth/nmf_names.py [--draws 100] [--noise 0.05]

Patterns of one, two and three oxides with lattices, widths and sizes drawn at random,
noise alone, and oxides that are not among the candidates. The patterns are calculated
by the library: what is judged is the choice, not the calculation.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import xarray as xr

from batteryxr import nmf
from batteryxr.core.crystals import PdfInstrument
from batteryxr.core.kernels.pair_distribution import PairDistribution
from batteryxr.simulate import structures as s

INSTRUMENT = PdfInstrument(q_max=24.0, q_damp=0.03)
R = 1.0 + 0.02 * np.arange(951)
CRYSTALS = {
    "FeO": s.rock_salt("FeO", 4.30, {"Fe": 1.0}),
    "NiO": s.rock_salt("NiO", 4.177, {"Ni": 1.0}),
    "MnO": s.rock_salt("MnO", 4.445, {"Mn": 1.0}),
    "Fe3O4": s.spinel("Fe3O4", 8.396, {"Fe": 1.0}, "Fe", 0.2549),
    "Mn3O4": s.hausmannite(),
    "Fe": s.body_centred("Fe", "Fe", 2.866),
}


def draw(rng: np.random.Generator, names: list[str], noise: float) -> np.ndarray:
    """Return a pattern of some oxides, none with less than a fifth."""
    share = 0.2 + rng.dirichlet(np.ones(len(names))) * (1 - 0.2 * len(names))
    y = np.zeros(R.size)
    for name, part in zip(names, share, strict=True):
        calculate = PairDistribution(CRYSTALS[name], R, instrument=INSTRUMENT)
        diameter = rng.choice([np.inf, rng.uniform(20, 80)])
        strain, width = rng.uniform(-0.008, 0.008), rng.uniform(0.004, 0.009)
        shape = calculate(strain=strain, u_iso=width, diameter=diameter)
        y += part * shape / shape.std()
    return y + rng.normal(0, noise * y.std(), R.size)


def ask(y: np.ndarray, names: list[str]) -> set[str]:
    data = xr.DataArray(
        y[None],
        dims=("component", "r"),
        coords={"r": ("r", R, {"units": "Angstrom"})},
        attrs={"units": "1/Angstrom2"},
    )
    candidates = {name: CRYSTALS[name] for name in names}
    found = nmf.identify(data, candidates=candidates, instrument=INSTRUMENT)
    return set(str(found["named"].values[0]).split(" + ")) - {""}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--noise", type=float, default=0.05)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    every = list(CRYSTALS)
    for count in (1, 2, 3):
        right = 0
        for _ in range(options.draws):
            true = list(rng.choice(every, count, replace=False))
            found = ask(draw(rng, true, options.noise), every)
            right += found == set(true)
            if found != set(true):
                print("   true", sorted(true), "named", sorted(found))
        print(f"{count} structures: right in {right} of {options.draws}", flush=True)
    named = sum(bool(ask(rng.normal(size=R.size), every)) for _ in range(options.draws))
    print(f"noise: named in {named} of {options.draws}", flush=True)
    named = 0
    for _ in range(options.draws):
        absent = str(rng.choice(every))
        found = ask(
            draw(rng, [absent], options.noise), [n for n in every if n != absent]
        )
        named += bool(found)
        if found:
            print("   absent", absent, "named", sorted(found))
    print(f"absent: named in {named} of {options.draws}")


if __name__ == "__main__":
    main()
