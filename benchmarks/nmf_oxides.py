"""What unmixing finds in oxides whose phases are known, and how sure it can be.

    python benchmarks/nmf_oxides.py [--sets 20] [--long]

Ratios against the truth for the stepwise protocol, coverage and width of the bands
over many data sets, and the time of Monte Carlo. `--long` samples 200 scans of 3000
points with four chains.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from batteryxr import simulate

if TYPE_CHECKING:
    import xarray as xr


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
    groups = np.stack([w[:, 0], w[:, 1] + w[:, 2], w[:, 3] + w[:, 4]], axis=1)
    three = pdf.nmf.fit(3, shift="envelope")
    print(
        f"n = 3: ratios of the three groups, rms {rms(three['weights'] - groups):.4f}"
    )
    four = pdf.nmf.raise_n(three, fixed={"pristine": 0, "reduced": -1})
    like = np.corrcoef(np.vstack([four["components"], c[3]]))[-1, :-1]
    print(f"n = 4, ends fixed: correlation with bcc-FeO {like[[1, 2]].max():.3f}")
    known = {"pristine": 0, "reduced": -1, "bcc-FeO": truth["components"][3]}
    known["bcc-FeO"] = known["bcc-FeO"].drop_vars("component")
    five = pdf.nmf.fit(5, shift="envelope", fixed=known)
    free = [i for i, f in enumerate(five["fixed"].values) if not f]
    like = np.corrcoef(np.vstack([five["components"][free], c[1:3]]))[:2, 2:]
    print(f"n = 5: correlation with the two salts {like[0, 0]:.3f}, {like[1, 1]:.3f}")
    print(f"       ratios, rms {rms(five['weights'].values - w):.4f}")


def ambiguity(sets: int) -> None:
    print(f"\nbands over {sets} data sets of Fe2O3 and Fe3O4, shift='minimum'")
    print(f"{'fixed':22}{'mean width':>12}{'covered':>10}{'worst':>8}{'CPU s':>8}")
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(sets):
        oxide = ("Fe2O3", "Fe3O4")[seed % 2]
        tree = simulate.oxide_series(oxide, seed=seed)
        pdf, truth = tree["scans"]["pdf"], tree["truth"].to_dataset()
        k = truth.sizes["component"]
        iron = truth["components"].sel(component="bcc-FeO", drop=True)
        ends: dict[str, int | xr.DataArray] = {"pristine": 0, "reduced": -1}
        for name, fixed in (
            ("nothing", {}),
            ("ends", ends),
            ("ends and bcc-FeO", ends | {"bcc-FeO": iron}),
        ):
            fit = pdf.nmf.fit(k, shift="minimum", fixed=fixed)
            start = time.process_time()
            bands = fit.nmf.bands()
            spent = time.process_time() - start
            share = covered(bands, truth["ratios"].values.T)
            width = float(bands["weights_width"].mean())
            rows.setdefault(f"{oxide}: {name}", []).append((width, share, spent))
    for name, values in sorted(rows.items()):
        width, share, spent = np.array(values).T
        print(
            f"{name:22}{width.mean():12.3f}{share.mean():10.3f}{share.min():8.3f}"
            f"{np.median(spent):8.2f}"
        )


def monte_carlo(scans: int, step: float) -> None:
    tree = simulate.oxide_series("Fe2O3", n_scans=scans, step=step)
    pdf, truth = tree["scans"]["pdf"], tree["truth"].to_dataset()
    pdf[:6, :40].nmf.metropolis(2, shift="minimum", sweeps=5, draws=4, rotations=50)
    wall, cpu = time.perf_counter(), time.process_time()
    found = pdf.nmf.metropolis(5, shift="minimum")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    share = covered(found, truth["ratios"].values.T)
    fit = pdf.nmf.fit(5, shift="minimum")
    print(f"\nMonte Carlo, {pdf.shape[0]} x {pdf.shape[1]}, n = 5, four chains")
    print(f"wall {wall:.0f} s, CPU {cpu:.0f} s; ratios covered {share:.3f}")
    excess = found["chain_error"].values / float(fit["relative_error"]) - 1
    print(f"error of the chains over the exact solver's: {np.round(excess, 6)}")
    print(f"R-hat at most {float(found['rhat'].max()):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--long", action="store_true", help="200 scans x 2901 points")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    protocol()
    ambiguity(options.sets)
    monte_carlo(*((200, 0.01) if options.long else (60, 0.03)))


if __name__ == "__main__":
    main()
