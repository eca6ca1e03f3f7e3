"""What unmixing finds in oxides whose phases are known, and how sure it can be.

    python benchmarks/truth/nmf_oxides.py [--sets 20] [--long] [--only PART]

Ratios against the truth for the stepwise protocol, to which nothing true is handed;
coverage and width of the bands of five oxides over many data sets, beside the width
that the true factors without noise allow, and by how alike the ends of the solid
solution are; and the time of Monte Carlo. `--long` samples 200 scans of 3000 points
with four chains.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from batteryxr import nmf, simulate
from batteryxr.core.crystals import PdfInstrument
from batteryxr.core.kernels.pair_distribution import PairDistribution
from batteryxr.simulate.structures import rock_salt

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

ENDS = {"first": 0, "last": -1}
SERIES = {"n_scans": 40, "step": 0.05}
#: What `simulate.oxide_series` measures with.
INSTRUMENT = PdfInstrument(q_max=24.0, q_damp=0.03)


def covered(bands: xr.Dataset, true: np.ndarray) -> float:
    """Share of scans within in the worst phase, components matched."""
    low, high = (bands[f"weights_{e}"].values.T for e in ("low", "high"))
    inside = (true[:, None] >= low) & (true[:, None] <= high)
    table = inside.mean(axis=-1)
    return float(table[linear_sum_assignment(-table)].min())


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
    late = [str(c) for c in four["component"].values if str(c).startswith("CP")][-1]
    five = pdf.nmf.raise_n(four, keep={"found": late})
    free = [i for i, f in enumerate(five["fixed"].values) if not f]
    like = np.corrcoef(np.vstack([five["components"][free], c[1:3]]))[:2, 2:]
    print(f"n = 5: correlation with the two salts {like[0, 0]:.3f}, {like[1, 1]:.3f}")
    print(f"       ratios, rms {rms(five['weights'].values - w):.4f}")


def groups(truth: xr.Dataset) -> np.ndarray:
    """Return ratios of hematite, of the solid solution, and of metal with bcc-FeO."""
    w = truth["ratios"].values
    return np.stack([w[:, 0], w[:, 1] + w[:, 2], w[:, 3] + w[:, 4]], axis=1)


def steps(pdf: xr.DataArray, n: int) -> list[xr.Dataset]:
    """Return fits with nothing fixed, both ends, and what was found last too."""
    how = {"constraints": nmf.Constraints(shift="envelope")}
    ends = pdf.nmf.fit(n, fixed=ENDS, **how)
    late = [str(c) for c in ends["component"].values if str(c).startswith("CP")][-1]
    kept = pdf.nmf.raise_n(ends, by=0, keep={"found": late})
    return [pdf.nmf.fit(n, **how), ends, kept]


def possible(tree: xr.DataTree) -> list[tuple[float, float]]:
    """Return mean widths for the true factors without noise, in three steps.

    The second number is the half width of the rarest phase's ratios (rms): no answer
    that only knows these constraints can promise to be nearer the truth. All
    factorisations that the walk visits have the product of the true one: nothing in
    the data can make the range narrower.
    """
    truth = tree["truth"].to_dataset()
    clean = tree["scans"]["pdf"].copy(
        data=truth["ratios"].values @ truth["components"].values
    )
    fixed = {
        str(c): truth["components"].sel(component=c, drop=True)
        for c in truth["component"].values
    }
    fit = clean.nmf.fit(fixed=fixed, constraints=nmf.Constraints(shift="envelope"))
    widths = []
    for scans in ([], [0, -1]):
        kinds = np.zeros(len(fixed), dtype=np.int8)
        kinds[scans] = 1
        free = fit.assign(
            origin=fit["origin"].copy(data=kinds),
            fixed=fit["fixed"].copy(data=kinds > 0),
        )
        bands = free.nmf.bands(noise=1e-6 * float(abs(clean).max()))
        rare = int(truth["ratios"].mean("scan").argmin())
        half = bands["weights_width"].isel(component=rare).values / 2
        widths.append((float(bands["weights_width"].mean()), rms(half)))
    return [*widths, widths[-1]]


def judge(pdf: xr.DataArray, truth: xr.Dataset) -> np.ndarray:
    """Return (step, 5) of what bands say.

    Mean width, scans covered in the worst phase, CPU seconds, and how far the ratios of
    the rarest phase are off (rms): those of the fit, and the middle of their range.
    """
    rows = []
    n = truth.sizes["component"]
    rare = int(truth["ratios"].mean("scan").argmin())
    for fit in steps(pdf, n):
        start = time.process_time()
        bands = fit.nmf.bands()
        spent = time.process_time() - start
        share = covered(bands, truth["ratios"].values.T)
        like = np.corrcoef(np.vstack([truth["components"], fit["components"]]))
        mine = linear_sum_assignment(-like[:n, n:])[1][rare]
        true = truth["ratios"].values[:, rare]
        off = [
            rms(w.isel(component=mine).values - true)
            for w in (fit["weights"], bands["weights_middle"])
        ]
        rows.append((float(bands["weights_width"].mean()), share, spent, *off))
    return np.array(rows)


def ambiguity(sets: int) -> None:
    print(f"\nbands over {sets} data sets of each oxide, nothing true handed over")
    print(
        f"{'oxide: fixed':22}{'width':>8}{'possible':>10}{'covered':>9}{'CPU s':>7}"
        f"{'rarest phase, rms':>19}{'middle':>8}{'possible':>10}"
    )
    for oxide in ("Fe2O3", "Fe3O4", "FeO", "MnO", "Mn3O4"):
        found, least = [], []
        for seed in range(sets):
            tree = simulate.oxide_series(oxide, seed=seed, **SERIES)
            found.append(judge(tree["scans"]["pdf"], tree["truth"].to_dataset()))
            least = least or possible(tree)
        for i, name in enumerate(("nothing", "ends", "ends and found")):
            width, share, spent, off, middle = np.array(found)[:, i].T
            print(
                f"{oxide + ': ' + name:22}{width.mean():8.3f}{least[i][0]:10.3f}"
                f"{share.min():9.3f}{np.median(spent):7.2f}"
                f"{off.mean():19.3f}{middle.mean():8.3f}{least[i][1]:10.3f}",
                flush=True,
            )


def likeness() -> None:
    """Bands narrow as the ends of the solid solution differ, and n = 3 gets worse."""
    print("\nFe2O3 by what tells its two salts apart: lattice (A), peak width (A2)")
    print(
        f"{'lattices':16}{'u_iso':>8}{'likeness':>10}{'n = 3, rms':>12}"
        f"{'widths: free, ends, and found':>34}{'covered':>20}"
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
        width, share, *_ = judge(pdf, truth).T
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
