"""Whether fitted peaks of dQ/dV hold the charge that they were made of.

    python benchmarks/truth/peak_areas.py [--seeds 10]

Charges whose dQ/dV is a sum of peaks of known shape on a constant, then a hold of the
voltage with a falling current, with noise and steps of the voltage. Printed for each
kind: the bias of the areas and of the hold, and how often the truth lies within one
standard deviation (right: 0.68) of those that are not flagged.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import xarray as xr

from batteryxr.echem import dqdv, fit_peaks

LOW, HIGH = 3.0, 4.4
FAR = ((3.55, 0.05, 1.0), (3.95, 0.08, 2.0))  # place, width at half height, area
NEAR = ((3.70, 0.09, 1.0), (3.85, 0.10, 2.0))
CLOSE = ((3.70, 0.09, 1.0), (3.765, 0.08, 1.0))
STEP = {
    "gaussian": lambda x: np.vectorize(_erf)(1.6651092 * x),
    "lorentzian": lambda x: 2 / np.pi * np.arctan(2 * x),
    "logistic": lambda x: np.tanh(1.7627472 * x),
}


def _erf(x: float) -> float:
    from math import erf

    return erf(x)


def charge(
    shape: str,
    peaks: tuple[tuple[float, float, float], ...],
    *,
    hold: float = 0.0,
    noise: float = 3e-4,
    digit: float = 1e-4,
    seed: int = 0,
) -> xr.Dataset:
    """Return the record of one charge (mA h, V) at 1 mA, and of a hold after it."""
    fine = np.linspace(LOW, HIGH, 5001)
    q = 0.5 * (fine - LOW)
    for place, width, area in peaks:
        q = q + 0.5 * area * STEP[shape]((fine - place) / width)
    q = q - q[0]
    t = np.arange(0, q[-1], 6e-4)  # h
    v, i = np.interp(t, q, fine), np.ones(t.size)
    if hold:
        after = np.arange(6e-4, 3 * hold, 6e-4)
        t = np.concatenate([t, t[-1] + after])
        i = np.concatenate([i, np.exp(-after / hold)])
        v = np.concatenate([v, np.full(after.size, v[-1])])
    v = v + np.random.default_rng(seed).normal(0, noise, v.size)
    if digit:
        v = np.round(v / digit) * digit
    return xr.Dataset(
        {
            "voltage": ("record", v, {"units": "V"}),
            "current": ("record", i, {"units": "mA"}),
        },
        {"test_time": ("record", t * 3600, {"units": "s"})},
    )


KINDS = {
    f"{shape}, {name}{', hold' if hold else ''}": (shape, peaks, hold)
    for shape in STEP
    for name, peaks in (("far", FAR), ("near", NEAR), ("close", CLOSE))
    for hold in (0.0, 0.4)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    words = ("area bias", "rel. error", "cover", "hold bias", "error", "cover", "flag")
    print(f"{'':28s}" + "".join(f"{w:>11s}" for w in words))
    for kind, (shape, peaks, hold) in KINDS.items():
        if options.only not in kind:
            continue
        rows, flagged = [], 0
        for seed in range(options.seeds):
            noise, digit = ((3e-4, 1e-4), (1e-3, 0.0), (3e-4, 1e-3))[seed % 3]
            record = charge(
                shape, peaks, hold=hold, noise=noise, digit=digit, seed=seed
            )
            found = fit_peaks(dqdv(record)).isel(half_cycle=0)
            flagged += int(found.flag != 0)
            if found.sizes["peak"] != len(peaks):
                continue
            wanted = np.array([a for _, _, a in peaks])
            rows.append(
                (
                    np.mean(found.area.values / wanted - 1),
                    np.mean(found.area_error.values / wanted),
                    np.mean(np.abs(found.area.values - wanted) < found.area_error),
                    float(found.hold) - 0.95 * hold,
                    float(found.hold_error),
                    abs(float(found.hold) - 0.95021 * hold) < found.hold_error,
                )
            )
        mean = np.mean(rows, axis=0) if rows else np.full(6, np.nan)
        print(f"{kind:28s}" + "".join(f"{x:11.4f}" for x in mean) + f"{flagged:11d}")


if __name__ == "__main__":
    main()
