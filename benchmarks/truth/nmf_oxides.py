"""What unmixing finds in oxides whose phases are known, and how sure it can be.

    python benchmarks/truth/nmf_oxides.py [--sets 20] [--long] [--only PART]

Ratios against the truth for the stepwise protocol; coverage and width of the bands
over many data sets, and by how alike the ends of the solid solution are; and the time
of Monte Carlo. `--long` samples 200 scans of 3000 points with four chains.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from batteryxr import nmf, simulate
from batteryxr.core.crystals import PairDistribution, PdfInstrument
from batteryxr.simulate.structures import rock_salt

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

#: What `simulate.oxide_series` measures with.
INSTRUMENT = PdfInstrument(q_max=24.0, q_damp=0.03)


def covered(bands: xr.Dataset, true: np.ndarray) -> float:
    """Share of true ratios (component, scan) within, components matched."""
    low, high = (bands[f"weights_{e}"].values.T for e in ("low", "high"))
    inside = (true[:, None] >= low) & (true[:, None] <= high)
    table = inside.mean(axis=-1)
    return float(table[linear_sum_assignment(-table)].mean())


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt((difference**2).mean()))


def protocol() -> None:
    tree = simulate.oxide_series("Fe2O3")
    pdf, truth = tree["scans"]["pdf"], tree["truth"].to_dataset()
    w, c = truth["ratios"].values, truth["components"].values
    three = pdf.nmf.fit(3, constraints=nmf.Constraints(shift="envelope"))
    off = rms(three["weights"].values - groups(truth))
    print(f"n = 3: ratios of the three groups, rms {off:.4f}")
    four = pdf.nmf.raise_n(three, fixed={"pristine": 0, "reduced": -1})
    like = np.corrcoef(np.vstack([four["components"], c[3]]))[-1, :-1]
    print(f"n = 4, ends fixed: correlation with bcc-FeO {like[[1, 2]].max():.3f}")
    five = pdf.nmf.fit(
        5, fixed=knowns(truth)[-1], constraints=nmf.Constraints(shift="envelope")
    )
    free = [i for i, f in enumerate(five["fixed"].values) if not f]
    like = np.corrcoef(np.vstack([five["components"][free], c[1:3]]))[:2, 2:]
    print(f"n = 5: correlation with the two salts {like[0, 0]:.3f}, {like[1, 1]:.3f}")
    print(f"       ratios, rms {rms(five['weights'].values - w):.4f}")


def groups(truth: xr.Dataset) -> np.ndarray:
    """Return ratios of hematite, of the solid solution, and of metal with bcc-FeO."""
    w = truth["ratios"].values
    return np.stack([w[:, 0], w[:, 1] + w[:, 2], w[:, 3] + w[:, 4]], axis=1)


def knowns(truth: xr.Dataset) -> list[dict[str, int | xr.DataArray]]:
    """Return what is fixed in three steps: nothing, both ends, and bcc-FeO too."""
    iron = truth["components"].sel(component="bcc-FeO", drop=True)
    ends: dict[str, int | xr.DataArray] = {"pristine": 0, "reduced": -1}
    return [{}, ends, ends | {"bcc-FeO": iron}]


def judge(pdf: xr.DataArray, truth: xr.Dataset) -> np.ndarray:
    """Return (step, 3): mean width of the bands, share covered, and CPU seconds."""
    rows = []
    for fixed in knowns(truth):
        fit = pdf.nmf.fit(
            truth.sizes["component"],
            fixed=fixed,
            constraints=nmf.Constraints(shift="minimum"),
        )
        start = time.process_time()
        bands = fit.nmf.bands()
        spent = time.process_time() - start
        share = covered(bands, truth["ratios"].values.T)
        rows.append((float(bands["weights_width"].mean()), share, spent))
    return np.array(rows)


def ambiguity(sets: int) -> None:
    print(f"\nbands over {sets} data sets of Fe2O3 and Fe3O4, shift='minimum'")
    print(f"{'fixed':24}{'mean width':>12}{'covered':>10}{'worst':>8}{'CPU s':>8}")
    rows: dict[str, list[np.ndarray]] = {"Fe2O3": [], "Fe3O4": []}
    for seed in range(sets):
        oxide = ("Fe2O3", "Fe3O4")[seed % 2]
        tree = simulate.oxide_series(oxide, seed=seed)
        truth = tree["truth"].to_dataset()
        rows[oxide].append(judge(tree["scans"]["pdf"], truth))
    for oxide, found in rows.items():
        for i, name in enumerate(("nothing", "ends", "ends and bcc-FeO")):
            width, share, spent = np.array(found)[:, i].T
            print(
                f"{oxide + ': ' + name:24}{width.mean():12.3f}{share.mean():10.3f}"
                f"{share.min():8.3f}{np.median(spent):8.2f}"
            )
    whole = np.concatenate([np.array(v).reshape(-1, 3) for v in rows.values()])
    print(f"covered in all, on average: {whole[:, 1].mean():.3f}")


def likeness() -> None:
    """Bands narrow as the ends of the solid solution differ, and n = 3 gets worse."""
    print("\nFe2O3 by what tells its two salts apart: lattice (A), peak width (A2)")
    print(
        f"{'lattices':16}{'u_iso':>8}{'likeness':>10}{'n = 3, rms':>12}"
        f"{'widths: free, ends, and bcc-FeO':>34}{'covered':>20}"
    )
    for a, b, u_iso in (
        (4.14, 4.145, 0.006),
        (4.14, 4.155, 0.006),
        (4.13, 4.15, 0.0032),
        (4.157, 4.207, 0.006),
    ):
        tree = simulate.oxide_series("Fe2O3")
        pdf, truth = tree["scans"]["pdf"], tree["truth"].to_dataset()
        r = truth["r"].values
        salts = [
            PairDistribution(rock_salt(name, edge, cations), r, instrument=INSTRUMENT)
            for name, edge, cations in (
                ("LiFeO2", a, {"Li": 1 / 2, "Fe": 1 / 2}),
                ("LiFe2O3", b, {"Li": 1 / 3, "Fe": 2 / 3}),
            )
        ]
        patterns = truth["components"].values.copy()
        patterns[1:3] = [salt(u_iso=u_iso, diameter=40.0) for salt in salts]
        change = truth["ratios"].values @ (patterns - truth["components"].values)
        truth["components"] = truth["components"].copy(data=patterns)
        pdf = pdf.copy(data=pdf.values + change)
        three = pdf.nmf.fit(3, constraints=nmf.Constraints(shift="envelope"))
        off = rms(three["weights"].values - groups(truth))
        width, share, _ = judge(pdf, truth).T
        print(
            f"{a:.3f}, {b:.3f}    {u_iso:8.4f}{np.corrcoef(patterns[1:3])[0, 1]:10.3f}"
            f"{off:12.4f}{'':10}{width[0]:8.3f}{width[1]:8.3f}{width[2]:8.3f}"
            f"{'':4}{share[0]:8.3f}{share[1]:8.3f}{share[2]:8.3f}",
            flush=True,
        )


def monte_carlo(scans: int, step: float) -> None:
    tree = simulate.oxide_series("Fe2O3", n_scans=scans, step=step)
    pdf, truth = tree["scans"]["pdf"], tree["truth"].to_dataset()
    pdf[:6, :40].nmf.metropolis(
        2,
        constraints=nmf.Constraints(shift="minimum"),
        sampling=nmf.Sampling(sweeps=5, draws=4, rotations=50),
    )
    wall, cpu = time.perf_counter(), time.process_time()
    found = pdf.nmf.metropolis(5, constraints=nmf.Constraints(shift="minimum"))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    share = covered(found, truth["ratios"].values.T)
    fit = pdf.nmf.fit(5, constraints=nmf.Constraints(shift="minimum"))
    print(f"\nMonte Carlo, {pdf.shape[0]} x {pdf.shape[1]}, n = 5, four chains")
    print(f"wall {wall:.0f} s, CPU {cpu:.0f} s; ratios covered {share:.3f}")
    excess = found["chain_error"].values / float(fit["relative_error"]) - 1
    print(f"error of the chains over the exact solver's: {np.round(excess, 6)}")
    print(f"R-hat at most {float(found['rhat'].max()):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--long", action="store_true", help="200 scans x 2901 points")
    parts: dict[str, Callable[[], None]] = {
        "protocol": protocol,
        "bands": lambda: ambiguity(options.sets),
        "likeness": likeness,
        "chains": lambda: monte_carlo(*((200, 0.01) if options.long else (60, 0.03))),
    }
    parser.add_argument("--only", choices=parts)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name, part in parts.items():
        if options.only in (None, name):
            part()


if __name__ == "__main__":
    main()
