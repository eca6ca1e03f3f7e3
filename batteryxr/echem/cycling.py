"""Cycles: half cycles in pairs, their efficiencies, hysteresis and retention."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.echem._record import refuse_implausible, walk_record, warn
from batteryxr.echem.summary import dataset as half_cycle_dataset

Electrode = Literal["cathode", "anode", "full"]
Direction = Literal["charge", "discharge"]

_OTHER = {"charge": "discharge", "discharge": "charge"}
#: Of a half cycle, taken over for each direction.
_TAKEN = (
    "capacity",
    "energy",
    "mean_voltage",
    "mean_current",
    "voltage_min",
    "voltage_max",
    "duration",
    "test_time_start",
    "test_time_end",
    "time_start",
    "time_end",
)


@recorded
def cycles(
    record: xr.Dataset,
    *,
    electrode: Electrode,
    first: Direction,
    mass: float | None = None,
    nominal_capacity: float | None = None,
    reference: Literal["first", "max"] | int = "first",
    i_zero: float | None = None,
    max_gap: float = 3600.0,
) -> xr.Dataset:
    """Pair half cycles to cycles and compare charge with discharge.

    Reads once, and the current twice where `i_zero` is None; the result is small and
    in memory.

    Parameters
    ----------
    record
        Cycler data on ``record``; see `half_cycles`.
    electrode
        What the working electrode is. "cathode" or "full": the Coulombic efficiency
        is discharge / charge. "anode" (against lithium): delithiation / lithiation,
        that is charge / discharge. Values above 1 are physical and stay.
    first
        The half cycle with which a cycle begins. One of the other direction before
        the first is in no cycle: it is named in ``attrs["unpaired_half_cycles"]``.
    mass
        Active mass in mg. Specific quantities exist only if it is given.
    nominal_capacity
        Capacity in mA h that 1C empties in an hour, for C-rates.
    reference
        What the capacity is retained of: that of the first complete cycle, of the
        one with most, or of a cycle by number.
    i_zero, max_gap
        See `half_cycles`.

    Returns
    -------
    xarray.Dataset
        On ``cycle``: for each direction ``<direction>_capacity`` (mA h), ``_energy``
        (mW h), ``_mean_voltage`` (V, energy / charge), ``_mean_current`` and so on;
        ``coulombic_efficiency``, ``energy_efficiency`` (discharge / charge),
        ``voltage_hysteresis`` (difference of the mean voltages) and
        ``capacity_retention`` (of the discharge; of the charge for an anode), NaN
        where the cycle is not ``complete``.

    Raises
    ------
    ArgumentError
        If an option is out of range, or the record is flagged with what makes its
        charge wrong, such as time that runs backward.
    DimensionError, VariableError, UnitsError
        If the record lacks something.

    Warns
    -----
    DataQualityWarning
        Where the record begins with the other half cycle.
    """
    _check(electrode, first, mass, nominal_capacity, reference)
    _, walked = walk_record(record, i_zero=i_zero, max_gap=max_gap, caller="cycles")
    refuse_implausible(record, walked, caller="cycles")
    halves = half_cycle_dataset(walked)
    paired, unpaired = _paired(halves, first)
    for number in unpaired:
        early = halves.sel(half_cycle=number)
        warn(
            f"the record begins with a {early.direction.item()} of "
            f"{early.capacity.item():.4g} mA h before the first {first}: "
            f"half cycle {number} is in no cycle"
        )
    result = paired.merge(_compared(paired, electrode, reference))
    if mass is not None:
        result = result.merge(_specific(paired, mass))
    if nominal_capacity is not None:
        result = result.merge(_c_rates(paired, nominal_capacity))
    result.attrs = {
        "electrode": electrode,
        "first": first,
        "unpaired_half_cycles": unpaired,
        "i_zero": walked.i_zero,
        "max_gap": walked.max_gap,
    }
    return result


def _check(
    electrode: str,
    first: str,
    mass: float | None,
    nominal: float | None,
    reference: str | int,
) -> None:
    if electrode not in ("cathode", "anode", "full"):
        raise ArgumentError("electrode", electrode, "'cathode', 'anode' or 'full'")
    if first not in _OTHER:
        raise ArgumentError("first", first, "'charge' or 'discharge'")
    if mass is not None and not mass > 0:
        raise ArgumentError("mass", mass, "the active mass in mg, > 0, or None")
    if nominal is not None and not nominal > 0:
        raise ArgumentError("nominal_capacity", nominal, "mA h, > 0, or None")
    if reference not in ("first", "max") and not isinstance(reference, int):
        raise ArgumentError("reference", reference, "'first', 'max' or a cycle number")


def _paired(halves: xr.Dataset, first: str) -> tuple[xr.Dataset, list[int]]:
    # Directions alternate by construction, so all pairs hang on the first one.
    direction = halves["direction"].values
    skipped = int(direction.size > 0 and direction[0] != first)
    n = (direction.size - skipped + 1) // 2
    cycle = ("cycle", np.arange(1, n + 1), attributes("cycle"))
    columns: dict[str, Any] = {}
    flag, whole = np.zeros(n, np.int8), np.ones(n, bool)
    for place, side in enumerate((first, _OTHER[first])):
        rows = np.arange(skipped + place, direction.size, 2)
        chosen = halves.isel(half_cycle=rows)
        for name in _TAKEN:
            columns[f"{side}_{name}"] = _column(chosen[name], n, side)
        numbers = np.zeros(n, np.int64)
        numbers[: rows.size] = chosen["half_cycle"].values
        columns[f"{side}_half_cycle"] = (
            "cycle",
            numbers,
            {"units": "1", "long_name": f"Half cycle of the {side}, 0 where missing"},
        )
        flag[: rows.size] |= chosen["flag"].values
        whole[: rows.size] &= chosen["complete"].values
        whole[rows.size :] = False
    columns["flag"] = ("cycle", flag, halves["flag"].attrs)
    columns["complete"] = (
        "cycle",
        whole,
        {"units": "1", "long_name": "Whether both half cycles are whole"},
    )
    ordered = {k: columns[k] for k in sorted(columns, key=_order)}
    return xr.Dataset(ordered, coords={"cycle": cycle}), [1] if skipped else []


def _order(name: str) -> int:
    side, _, what = name.partition("_")
    return _TAKEN.index(what) * 2 + (side != "charge") if what in _TAKEN else 99


def _column(values: xr.DataArray, n: int, side: str) -> tuple[str, np.ndarray, Any]:
    blank = np.datetime64("NaT") if values.dtype.kind == "M" else np.nan
    padded = np.full(n, blank, values.dtype)
    padded[: values.size] = values.values
    words = str(values.attrs["long_name"])
    named = f"{words}, {side}"
    return "cycle", padded, values.attrs | {"long_name": named}


def _compared(
    paired: xr.Dataset, electrode: str, reference: str | int
) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    charge, discharge = (paired[f"{d}_capacity"].values for d in _OTHER)
    out, into = (charge, discharge) if electrode == "anode" else (discharge, charge)
    whole = paired["complete"].values
    with np.errstate(divide="ignore", invalid="ignore"):
        efficiency = np.where(whole, out / into, np.nan)
        energy = paired["discharge_energy"].values / paired["charge_energy"].values
    voltage = paired["charge_mean_voltage"] - paired["discharge_mean_voltage"]
    what = "charge / discharge" if electrode == "anode" else "discharge / charge"
    return {
        "coulombic_efficiency": _one(efficiency, f"Coulombic efficiency ({what})"),
        "energy_efficiency": _one(
            np.where(whole, energy, np.nan), "Energy efficiency (discharge / charge)"
        ),
        "voltage_hysteresis": (
            "cycle",
            np.where(whole, voltage.values, np.nan),
            {"units": "V", "long_name": "Mean voltage, charge minus discharge"},
        ),
        "capacity_retention": _one(
            *_retention(np.where(whole, out, np.nan), paired, reference)
        ),
    }


def _retention(
    capacity: np.ndarray, paired: xr.Dataset, reference: str | int
) -> tuple[np.ndarray, str]:
    numbers = paired["cycle"].values
    known = np.flatnonzero(np.isfinite(capacity))
    if isinstance(reference, int):
        if reference not in numbers[known]:
            raise ArgumentError(
                "reference",
                reference,
                "the number of a complete cycle",
                f"Complete are {numbers[known].tolist()[:20]}.",
            )
        base = int(np.flatnonzero(numbers == reference)[0])
    elif not known.size:
        return capacity, "Capacity retention"
    else:
        base = int(known[0] if reference == "first" else np.nanargmax(capacity))
    return capacity / capacity[base], f"Capacity relative to cycle {numbers[base]}"


def _one(values: np.ndarray, words: str) -> tuple[str, np.ndarray, dict[str, str]]:
    return "cycle", values, {"units": "1", "long_name": words}


def _specific(paired: xr.Dataset, mass: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    kinds = (
        ("specific_capacity", "capacity", "mA h g-1"),
        ("specific_energy", "energy", "W h kg-1"),
        ("specific_current", "mean_current", "mA g-1"),
    )
    for name, source, units in kinds:
        for side in _OTHER:
            # mA h / mg and mW h / mg differ from mA h / g and W h / kg by 1000.
            values = paired[f"{side}_{source}"].values * (1000.0 / mass)
            words = f"{name.replace('_', ' ').capitalize()}, {side}"
            found[f"{side}_{name}"] = (
                "cycle",
                values,
                {"units": units, "long_name": words},
            )
    return found


def _c_rates(paired: xr.Dataset, nominal: float) -> dict[str, Any]:
    return {
        f"{side}_c_rate": (
            "cycle",
            np.abs(paired[f"{side}_mean_current"].values) / nominal,
            {"units": "1/h", "long_name": f"C-rate, {side}"},
        )
        for side in _OTHER
    }
