"""Distributions of relaxation times against known ones, at several levels of noise.

    python benchmarks/truth/relaxation_times.py [--spectra 20] [--noise 0.001 0.005]

Spectra of one to three arcs, depressed or of a Gerischer element (b = 1/2), whose
distributions are known in closed form, and of an arc beside a Warburg element of finite
length, 71 frequencies. Tells the root mean square of
relative errors of positions and areas, how often their own errors cover them, and the
share of the truth that lies in the credible band: all over, and at the tops (above half
of the largest).
"""

from __future__ import annotations

import argparse

import numpy as np
import xarray as xr

from batteryxr.echem import drt, drt_peaks

F = np.logspace(-2, 5, 71)
CELLS = {
    "one arc": [(10.0, 1e-2, 0.85, 1.0)],
    "two arcs": [(10.0, 1e-3, 0.9, 1.0), (5.0, 0.3, 0.9, 1.0)],
    "two arcs that overlap": [(10.0, 1e-3, 0.9, 1.0), (8.0, 0.03, 0.9, 1.0)],
    "three arcs": [
        (4.0, 1e-4, 0.85, 1.0),
        (10.0, 1e-2, 0.9, 1.0),
        (6.0, 1.0, 0.8, 1.0),
    ],
    "Gerischer": [(10.0, 0.1, 1.0, 0.5)],
    "fast Gerischer": [(10.0, 1e-3, 1.0, 0.5)],
    "Gerischer and arc": [(10.0, 0.1, 1.0, 0.5), (6.0, 1e-4, 0.9, 1.0)],
}


def spectra(parts: list[tuple[float, ...]], noise: float, n: int):
    s = 2j * np.pi * F
    z = 2.0 + sum(r / (1 + (s * tau) ** n) ** b for r, tau, n, b in parts)
    return labelled(z, noise, n)


def labelled(z: np.ndarray, noise: float, n: int) -> xr.DataArray:
    scatter = np.random.default_rng(1).standard_normal((2, n, F.size))
    z = z * (1 + noise * (scatter[0] + 1j * scatter[1]))
    coords = {"frequency": ("frequency", F, {"units": "Hz"})}
    return xr.DataArray(z, coords, ("spectrum", "frequency"), attrs={"units": "ohm"})


def with_warburg(noise: float, n: int) -> None:
    """Tell what is found of an arc beside a Warburg element of finite length."""
    s = 2j * np.pi * F
    x = np.sqrt(s)
    arc = 2.0 + 10.0 / (1 + (s * 1e-3) ** 0.9)
    for name, z, tau, area in (
        ("arc and short Warburg", 6 * np.tanh(x) / x, 4 / np.pi**2, 6.0),
        ("arc and open Warburg", 6 / np.tanh(x) / x, 1 / np.pi**2, 2.0),
    ):
        peaks = drt_peaks(drt(labelled(arc + z, noise, n)))
        two = peaks.where(peaks["n_peaks"] == 2, drop=True)
        places = two["position"].values / [1e-3, tau] - 1
        areas = two["area"].values / [10.0, area] - 1
        off = [
            np.abs(two[what].values - true) < 1.96 * two[f"{what}_error"].values
            for what, true in (("position", [1e-3, tau]), ("area", [10.0, area]))
        ]
        print(
            f"{noise:6.3f} {name:22} positions {rms(places):.4f} areas "
            f"{rms(areas):.4f} errors cover {np.mean(off):.2f} two peaks "
            f"in {len(places)} of {n}"
        )


def distribution(
    tau: np.ndarray, r: float, tau0: float, n: float, b: float
) -> np.ndarray:
    beside = 1.0 + (-tau0 / tau - 1e-9j) ** n  # the cut of the impedance
    return r / np.pi * (beside**-b).imag


def rms(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spectra", type=int, default=20)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.001, 0.005])
    asked = parser.parse_args()
    for noise in asked.noise:
        for name, parts in CELLS.items():
            found = drt(spectra(parts, noise, asked.spectra))
            peaks = drt_peaks(found)
            true = sum(distribution(found["tau"].values, *part) for part in parts)
            low, high = found["gamma_low"].values, found["gamma_high"].values
            inside = (low <= true) & (true <= high)
            places, areas, covered = [], [], []
            fine = np.geomspace(1e-6, 1e3, 200_001)
            for r, tau0, n, b in parts:
                tau = (
                    tau0 if n == 1 else fine[distribution(fine, r, tau0, n, b).argmax()]
                )
                away = np.abs(np.log(peaks["position"].values / tau))
                nearest = np.nanargmin(away, axis=1)
                rows = np.arange(asked.spectra)
                places += (peaks["position"].values[rows, nearest] / tau - 1).tolist()
                areas += (peaks["area"].values[rows, nearest] / r - 1).tolist()
                for what, known in (("position", tau), ("area", r)):
                    off = np.abs(peaks[what].values - known)[rows, nearest]
                    error = peaks[f"{what}_error"].values[rows, nearest]
                    covered += (off < 1.96 * error).tolist()
            top = inside[:, true > 0.5 * true.max()]
            print(
                f"{noise:6.3f} {name:22} positions {rms(places):.4f} areas "
                f"{rms(areas):.4f} errors cover {np.mean(covered):.2f} band "
                f"{inside.mean():.3f} at tops {top.mean():.2f}"
            )
        with_warburg(noise, asked.spectra)


if __name__ == "__main__":
    main()
