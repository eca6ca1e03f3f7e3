"""Circuits, Kramers-Kronig and relaxation times of a long series of spectra.

    python benchmarks/impedance.py [--spectra 10000]

Two arcs and a Warburg element (8 parameters), 60 frequencies, 0.5 % noise. 90 spectra
in memory; the long series lazily, in chunks of 250. CPU time of all threads, and wall
time; the share of fits whose resistances are within three errors of the truth.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.echem import drt, fit_circuit, kramers_kronig

if TYPE_CHECKING:
    from collections.abc import Callable

CIRCUIT = "R0-p(R1,CPE1)-p(R2,CPE2)-W1"
F = np.logspace(-2, 5, 60)


def spectra(n: int) -> tuple[xr.DataArray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    truth = {"R0": rng.uniform(1, 3, n), "R1": rng.uniform(5, 20, n)}
    truth["R2"] = rng.uniform(5, 20, n)
    s = 2j * np.pi * F
    z = truth["R0"][:, None] + rng.uniform(1, 5, (n, 1)) * np.sqrt(2 / s)
    for name, low in (("R1", -5.0), ("R2", -2.6)):
        q = 10 ** rng.uniform(low, low + 0.6, (n, 1))
        z = z + 1 / (1 / truth[name][:, None] + q * s ** rng.uniform(0.8, 0.95, (n, 1)))
    noise = rng.standard_normal((2, *z.shape))
    z = z + 0.005 * np.abs(z) * (noise[0] + 1j * noise[1])
    coords = {"frequency": ("frequency", F, {"units": "Hz"})}
    return xr.DataArray(
        z, coords, ("spectrum", "frequency"), attrs={"units": "ohm"}
    ), truth


def timed(name: str, work: Callable[[], xr.Dataset]) -> xr.Dataset:
    wall, cpu = time.perf_counter(), time.process_time()
    found = work().compute()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:32} {wall:8.2f} s wall {cpu:8.2f} s CPU")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spectra", type=int, default=10_000)
    count = parser.parse_args().spectra
    few, _ = spectra(90)
    fit_circuit(few[:2], CIRCUIT)  # imports
    timed("fit_circuit, 90", lambda: fit_circuit(few, CIRCUIT))
    timed("kramers_kronig, 90", lambda: kramers_kronig(few))
    timed("drt, 90", lambda: drt(few))
    many, truth = spectra(count)
    lazy = many.chunk(spectrum=250)
    found = timed(f"fit_circuit, {count}, lazy", lambda: fit_circuit(lazy, CIRCUIT))
    for name, true in truth.items():
        near = np.abs(found[name] - true) < 3 * found[f"{name}_error"]
        print(f"{name}: {float(near.mean()):.4f} within three errors")


if __name__ == "__main__":
    main()
