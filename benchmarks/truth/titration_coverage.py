"""Do the errors of a titration cover on a disturbed cell? Many seeds of each kind.

    python benchmarks/truth/titration_coverage.py [--seeds 20] [--pulses 6]

Adds to simulated titrations a drift, a resistance beside a capacitor, or takes away the
last row before each switch, and prints how often the true time constant lies within
1.96 standard deviations (at least .85 is held to), and how large those are. Exits with
1 where a kind falls short.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr import simulate
from batteryxr.echem import gitt
from batteryxr.simulate import Titration

if TYPE_CHECKING:
    import xarray as xr

LEAST = 0.85


class Disturbance(NamedTuple):
    """What happens to a cell besides diffusion."""

    drift: float = 0.0  # mV/h
    ohm: float = 0.0
    tau: float = 1.0  # s, of the slow resistance
    lost: bool = False  # the last row before each switch


def kinds() -> dict[str, Disturbance]:
    found = {"nothing": Disturbance(), "last rows lost": Disturbance(lost=True)}
    for drift in (-1.0, -0.3, 0.3, 1.0):
        found[f"drift {drift:+g} mV/h"] = Disturbance(drift=drift)
    for ohm in (10.0, 50.0):
        for tau in (2.0, 10.0, 30.0, 100.0, 300.0, 1200.0):
            found[f"{ohm:g} ohm, {tau:g} s"] = Disturbance(ohm=ohm, tau=tau)
    found["both"] = Disturbance(drift=0.6, ohm=30.0, tau=30.0)
    found["rows lost, 30 ohm"] = Disturbance(ohm=30.0, tau=30.0, lost=True)
    return found


def disturbed(record: xr.Dataset, how: Disturbance) -> xr.Dataset:
    t, i = record["test_time"].values, record["current"].values
    slow = np.zeros(t.size)
    for k in range(1, t.size):
        left = np.exp(-(t[k] - t[k - 1]) / how.tau)
        # A current that is switched on flows from the row on that shows it first.
        flows = i[k] if i[k - 1] != 0 else 0.0
        slow[k] = slow[k - 1] * left + how.ohm * 1e-3 * flows * (1 - left)
    volts = record["voltage"].values + slow + how.drift * 1e-3 * t / 3600
    record = record.assign(voltage=record["voltage"].copy(data=volts))
    if how.lost:
        flows = i != 0
        kept = np.append(flows[1:] == flows[:-1], True)
        record = record.isel(record=kept)
    return record


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--pulses", type=int, default=6)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    short = 0
    for name, how in kinds().items():
        within, errors, lost = [], [], 0
        for seed in range(chosen.seeds):
            protocol = Titration(n_pulses=chosen.pulses)
            record, truth = simulate.gitt(protocol=protocol, seed=seed)
            found = gitt(disturbed(record, how))
            there = np.isfinite(found["tau"].values)
            off = np.abs(found["tau"].values - truth["tau"].values)
            within.append((off < 1.96 * found["tau_error"].values)[there])
            errors.append((found["tau_error"] / found["tau"]).values[there])
            lost += int((~there).sum())
        cover = float(np.concatenate(within).mean())
        error = float(np.median(np.concatenate(errors)))
        short += cover < LEAST
        print(
            f"{name:20s} covers {cover:.3f}, error {error:.4f} of tau, "
            f"{lost} without one",
            flush=True,
        )
    return int(short > 0)


if __name__ == "__main__":
    sys.exit(main())
