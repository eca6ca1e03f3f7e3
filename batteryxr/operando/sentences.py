"""Describe results in sentences made from their numbers."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.units import written

if TYPE_CHECKING:
    import xarray as xr

NO_EFFICIENCIES = (
    "No efficiencies: they need to know what is cycled (electrode) and what a cycle "
    "begins with (first)."
)
#: Distance in V from the end of a curve within which its largest value is no peak.
AT_END = 0.01
#: Most components that are matched with a truth, since all their orders are tried.
MATCHED = 6


def say_record(record: xr.Dataset) -> str:
    """Describe how long a cell was cycled, and between which voltages."""
    time, volts = record["test_time"], record["voltage"]
    hours = float(time.max() - time.min()) / 3600
    low, high = float(volts.min()), float(volts.max())
    if low != low:
        return f"The record spans {hours:.3g} h; no voltage in it is known."
    text = f"In {hours:.3g} h the voltage went between {low:.3f} and {high:.3f} V"
    unknown = int(volts.isnull().sum())
    return f"{text}; that of {unknown} rows is not known." if unknown else f"{text}."


def say_scans(scans: xr.DataArray) -> str:
    """Describe the voltages of the scans, and reversals of current within scans."""
    volts = scans["voltage"].values
    known = volts[np.isfinite(volts)]
    if not known.size:
        return "No scan lies within the cycler's record."
    odd = int(scans["crosses_reversal"].sum())
    ends = f"{known.min():.3f} and {known.max():.3f} V"
    inside = {0: "none spans", 1: "one spans"}.get(odd, f"{odd} span")
    return (
        f"{known.size} of {volts.size} scans were taken between {ends}; {inside} a "
        "reversal of the current."
    )


def say_half_cycles(table: xr.Dataset) -> str:
    """Describe the first half cycle, and give the number of half cycles."""
    number = table.sizes["half_cycle"]
    if not number:
        return "No half cycle was found in the record."
    name = "specific_capacity" if "specific_capacity" in table else "capacity"
    units = written(str(table[name].attrs.get("units", "")))
    first = table.isel(half_cycle=0)
    passed = f"a {first['direction'].item()}, passed {float(first[name]):.4g} {units}."
    if number == 1:
        return f"One half cycle, {passed}"
    return f"{number} half cycles; the first, {passed}"


def say_cycles(table: xr.Dataset) -> str:
    """Describe the first whole cycle, and the capacity that the last one retains."""
    whole = table.isel(cycle=table["complete"].values.astype(bool))
    if not whole.sizes["cycle"]:
        return "No cycle is whole, so there is no efficiency."
    specific = "discharge_specific_capacity" in whole
    name = f"{'specific_' if specific else ''}capacity"
    units = written(str(whole[f"discharge_{name}"].attrs.get("units", "")))
    first, last = whole.isel(cycle=0), whole.isel(cycle=-1)
    number = int(first["cycle"])
    text = (
        f"Cycle {number} charges {float(first[f'charge_{name}']):.4g} and discharges "
        f"{float(first[f'discharge_{name}']):.4g} {units}, a Coulombic efficiency of "
        f"{100 * float(first['coulombic_efficiency']):.1f} %"
    )
    if whole.sizes["cycle"] == 1:
        return f"{text}."
    left = 100 * float(last["capacity_retention"])
    return (
        f"{text}; cycle {int(last['cycle'])}, the last whole one, retains {left:.1f} % "
        "of the capacity."
    )


def say_dqdv(result: xr.Dataset) -> str:
    """Describe the largest dQ/dV peaks of the first charge and discharge."""
    places: dict[str, tuple[float, bool]] = {}
    for row in range(result.sizes["half_cycle"]):
        one = result.isel(half_cycle=row)
        side = str(one["direction"].item())
        values, volts = one["dqdv"].values, one["voltage"].values
        known = np.isfinite(values)
        if side not in places and known.any():
            top, ends = float(volts[np.nanargmax(values)]), volts[known][[0, -1]]
            places[side] = top, bool((np.abs(ends - top) > AT_END).all())
    if not places:
        return "No half cycle is long enough for a dQ/dV."
    told = " and ".join(
        f"{v:.3f} V on {side}{'' if peak else ', the end of its range'}"
        for side, (v, peak) in places.items()
    )
    if len(places) == 1 or not all(peak for _, peak in places.values()):
        return f"dQ/dV is largest at {told}."
    apart = abs(places["charge"][0] - places["discharge"][0]) * 1e3
    return f"dQ/dV is largest at {told}, {apart:.0f} mV apart."


def say_phases(result: xr.Dataset) -> str:
    """Describe how the ratios change from the first scan that has some to the last."""
    weights = result["weights"].transpose("scan", "component").dropna("scan")
    if not weights.sizes["scan"]:
        return "The ratios of no scan are known."
    told = [
        f"{name} from {weights.values[0, i]:.2f} to {weights.values[-1, i]:.2f}"
        for i, name in enumerate(map(str, result["component"].values))
    ]
    return f"From the first scan to the last the ratios go: {'; '.join(told)}."


def say_truth(result: xr.Dataset, truth: xr.Dataset) -> str:
    """Describe the error of the ratios against the truth, in the best-fitting order."""
    if "ratios" not in truth:
        return "The truth of this simulation lies in the group /truth."
    true = truth["ratios"].transpose("scan", ...).values
    found = result["weights"].transpose("scan", "component").values
    if true.shape[1] > MATCHED or found.shape != true.shape:
        return (
            f"In truth there are {true.shape[1]} phases, so these "
            f"{found.shape[1]} components cannot all be right."
        )
    orders = permutations(range(true.shape[1]))
    error = min(float(np.sqrt(np.nanmean((found[:, o] - true) ** 2))) for o in orders)
    return (
        f"This experiment is simulated: the ratios differ from its truth by "
        f"{error:.3f} on average (root mean square)."
    )
