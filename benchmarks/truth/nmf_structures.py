"""How true structures times ratios are, and how far their errors can be trusted.

    python benchmarks/truth/nmf_structures.py [--sets 20]

The five oxides of `simulate.oxide_series`, with candidates whose lattices are off by
half a per cent; and a rock salt in which lithium takes the place of iron while its
lattice shrinks. Mean absolute error of each ratio, of the share of iron, and the share
of values within two stated errors. Where diffpy.pdffit2 is installed, also single
crystals of each system, calculated by it: how often all parameters of a fit are within
three stated errors.
"""

from __future__ import annotations

import argparse
import importlib.util
import warnings
from dataclasses import replace

import numpy as np
import xarray as xr

from batteryxr import nmf, simulate
from batteryxr.core.crystals import Crystal, PdfInstrument, cell_of, lattice
from batteryxr.core.kernels.pair_distribution import PairDistribution
from batteryxr.simulate import oxides
from batteryxr.simulate.structures import (
    body_centred,
    hausmannite,
    hematite,
    rock_salt,
    tetragonal_iron_oxide,
)

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


def solutions(sets: int) -> None:
    """Print what comes back of two solid solutions whose change is no polynomial."""
    rows: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for seed in range(sets):
        tree = simulate.oxide_series(
            "Fe2O3, solid solutions",
            n_scans=30,
            r_range=(1.5, 15.0),
            step=0.04,
            seed=seed,
        )
        truth = tree["truth"].to_dataset()
        given = {
            "α-Fe2O3": hematite(),
            "Li2-xFexO2": rock_salt("salt", 4.164, {"Li": 0.425, "Fe": 0.575}),
            "bcc-FeOx": tetragonal_iron_oxide(),
            "α-Fe": body_centred("iron", "Fe", 2.866),
        }
        fit = nmf.fit_structures(
            tree["scans"]["pdf"],
            candidates={n: off(c, seed, i) for i, (n, c) in enumerate(given.items())},
            occupancy={"Li2-xFexO2": "Fe", "bcc-FeOx": "O"},
            degree=4,
        )
        for name in given:
            one, true = fit.sel(component=name), truth.sel(component=name)
            far = one["weights"].values - true["ratios"].values
            rows.setdefault(name, []).append((far, one["weights_error"].values))
            if name in {"Li2-xFexO2", "bcc-FeOx"}:
                times = 2 if name.startswith("Li") else 1
                far = times * one["occupancy"].values - true["composition"].values
                error = times * one["occupancy_error"].values
                far[true["ratios"].values < 0.05] = np.nan
                rows.setdefault(f"x, {name}", []).append((far, error))
    print(f"Fe2O3 with solid solutions, degree 4, {sets} data sets")
    for name, pairs in rows.items():
        far, error = np.array(pairs).transpose(1, 0, 2)
        there = np.isfinite(far)
        report(name, far[there], error[there])


def of_pdffit(crystal: Crystal, r: np.ndarray, u: float, diameter: float) -> np.ndarray:
    """Return G(r) of a crystal by PDFfit2."""
    from diffpy.pdffit2 import PdfFit
    from diffpy.structure import Atom, Lattice, Structure

    atoms = zip(crystal.elements, crystal.sites, crystal.occupancy, strict=True)
    places = [Atom(e, list(x), occupancy=float(o)) for e, x, o in atoms]
    structure = Structure(places, Lattice(*cell_of(crystal.cell)))
    for atom in structure:
        atom.Uisoequiv = u
    fit = PdfFit()
    fit.add_structure(structure)
    fit.alloc("X", 24.0, 0.03, float(r[0]), float(r[-1]), r.size)
    if np.isfinite(diameter):
        fit.setvar(fit.spdiameter(), diameter)
    fit.calc()
    return np.array(fit.getpdf_fit())


def systems(sets: int) -> None:
    """Print how often the cell, width, size and scale of a crystal come back."""
    r = 1.5 + 0.02 * np.arange(1001)
    places = np.array([[0, 0, 0], [0.45, 0.52, 0.48], [-0.2, 0.3, 0.7]])
    even = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]])
    three, full = ("Fe", "O", "Mn"), np.ones(3)
    for crystal in (
        rock_salt("cubic", 4.3, {"Fe": 1.0}),
        replace(hematite(), name="trigonal"),
        replace(hausmannite(), name="tetragonal"),
        Crystal("orthorhombic", lattice(3.9, 4.4, 5.1), three, even, full),
        Crystal("monoclinic", lattice(3.9, 4.4, 5.1, beta=101.0), three, even, full),
        Crystal("triclinic", lattice(3.9, 4.4, 5.1, 82, 97, 108), three, places, full),
    ):
        modes = PairDistribution(crystal, r[:50], directed=True).modes
        held = 0
        for seed in range(sets):
            rng = np.random.default_rng(seed)
            factor = np.eye(3) * (1 + rng.uniform(-0.008, 0.008))
            factor = factor + sum(rng.uniform(-0.008, 0.008) * mode for mode in modes)
            true = replace(crystal, cell=crystal.cell @ factor)
            u = rng.uniform(0.004, 0.008)
            diameter = rng.choice([np.inf, rng.uniform(25, 80)])
            clean = 2 * of_pdffit(true, r, u, diameter)
            data = xr.DataArray(
                clean[None] + rng.normal(0, 0.03 * clean.std(), (1, r.size)),
                dims=("scan", "r"),
                coords={"r": ("r", r, {"units": "Angstrom"})},
            )
            found = nmf.refine_along(data, candidate=crystal, instrument=INSTRUMENT)
            one = found.isel(scan=0)
            cell = cell_of(true.cell)
            far = [
                (one["cell_length"] - cell[:3], one["cell_length_error"]),
                (one["cell_angle"] - cell[3:], one["cell_angle_error"]),
                (one["u_iso"] - u, one["u_iso_error"]),
                (one["scale"] - 2.0, one["scale_error"]),
            ]
            if np.isfinite(one["diameter"]):
                size = float(one["diameter"])
                error = one["diameter_error"] / size**2
                far.append((one["diameter"] * 0 + 1 / size - 1 / diameter, error))
            held += all((np.abs(d) <= 3 * e + 1e-6).all() for d, e in far)
        print(f"{crystal.name}: all within 3 errors in {held} of {sets}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=20)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if importlib.util.find_spec("diffpy.pdffit2"):
        systems(options.sets)
    solution(options.sets)
    solutions(options.sets)
    for name in ("Fe2O3", "Fe3O4", "FeO", "MnO", "Mn3O4"):
        oxide(name, options.sets)


if __name__ == "__main__":
    main()
