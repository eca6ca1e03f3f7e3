"""Pair half cycles to cycles, with efficiencies, hysteresis and retention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.checks import Count
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.echem.counting import Counting, half_cycle_table, refuse_implausible
from batteryxr.echem.cycling.half_cycles import (
    Variables,
    tell_merged,
    tell_missing,
    tell_short,
)
from batteryxr.echem.cycling.half_cycles import variables as half_cycle_variables
from batteryxr.echem.record import columns

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import Charge, Mass

Electrode = Literal["cathode", "anode", "full"]
Direction = Literal["charge", "discharge"]
#: Reference cycle for capacities: by a property, or by its number.
Reference = Literal["first", "max"] | Count
_Column = tuple[str, np.ndarray, dict[str, Any]]

_OTHER = {"charge": "discharge", "discharge": "charge"}
#: Largest charge of a discharge, of the capacity that is named: A h were passed.
_MOST, _LEAST = 50.0, 300.0
#: Coulombs in 1 mA h, and how near to such a capacity it is no other.
_COULOMB, _CLOSE = 3.6, 0.1
#: The same where it would be a usual capacity per mass.
_PER_MASS, _USUAL = 20.0, (0.25, 4.0)
#: Quantities of a half cycle that are copied for each direction.
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
    mass: Mass | None = None,
    nominal_capacity: Charge | None = None,
    reference: Reference = "first",
    counting: Counting | None = None,
) -> xr.Dataset:
    """Pair half cycles to cycles and compare charge with discharge.

    Reads once, and the current twice unless an `i_zero` is given; the result is small
    and in memory.

    Parameters
    ----------
    record
        Cycler data on ``record``; see `half_cycles`.
    electrode
        Kind of the working electrode. "cathode" or "full": the Coulombic efficiency
        is discharge / charge. "anode" (against lithium): delithiation / lithiation,
        that is charge / discharge. Values above 1 are physical and are kept.
    first
        Half cycle with which a cycle begins. An earlier one of the other direction is
        in no cycle; it is listed in ``attrs["unpaired_half_cycles"]``.
    mass
        Active mass in mg. Specific quantities exist only if it is given.
    nominal_capacity
        Capacity in mA h that 1C empties in an hour, for C-rates.
    reference
        Reference for the retention: the first complete cycle, the one of largest
        capacity, or a cycle by its number.
    counting
        Rule for half cycles. Default: as in `half_cycles`.

    Returns
    -------
    xarray.Dataset
        On ``cycle``: for each direction ``<direction>_capacity`` (mA h), ``_energy``
        (mW h), ``_mean_voltage`` (V, energy / charge), ``_mean_current`` and so on;
        ``coulombic_efficiency``, ``energy_efficiency`` (discharge / charge),
        ``voltage_hysteresis`` (difference of the mean voltages) and
        ``capacity_retention`` (of the discharge; of the charge for an anode). These
        are NaN unless the cycle is ``complete``.

    Raises
    ------
    ArgumentError
        If an option is out of range.
    DataError
        If the record has a flag that makes its charge wrong, such as time that runs
        backward.
    DimensionError, VariableError, UnitsError
        If the record lacks something.

    Warns
    -----
    DataQualityWarning
        If the record begins with the other half cycle, or if half cycles are flagged
        as short, lack charge, or pulses may be small cycles (see `half_cycles`).

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> cycles = record.echem.cycles(electrode="cathode", first="charge", mass=7.0)
    >>> cycles["coulombic_efficiency"].round(3).values.tolist()
    [0.899, 0.988]
    """
    counting = counting or Counting()
    rows = columns(record, caller="cycles", number=counting.number)
    table = half_cycle_table(rows, counting)
    refuse_implausible(table, caller="cycles")
    halves = half_cycle_variables(table)
    tell_short(halves["flag"][1])
    tell_missing(halves, counting.max_gap)
    tell_merged(table, record.get("cycle"))
    paired, unpaired = _paired(halves, first)
    if unpaired:
        warn_quality(
            f"the record begins with a {_OTHER[first]} of "
            f"{halves['capacity'][1][0]:.4g} mA h before the first {first}: "
            "half cycle 1 is in no cycle"
        )
    variables = paired | _compared(paired, electrode, reference)
    if mass is not None:
        variables |= _specific(paired, mass)
        known = variables["discharge_specific_capacity"][1]
        known = known[variables["complete"][1]]
        usual = float(np.median(known)) if known.size else None
        bounds.check("usual specific capacity", usual, argument="specific capacity")
    if nominal_capacity is not None:
        variables |= _c_rates(paired, nominal_capacity, mass)
    number = np.arange(1, len(variables["complete"][1]) + 1)
    coords = {"cycle": ("cycle", number, attributes("cycle"))}
    result = xr.Dataset(variables, coords)
    result.attrs = {
        "electrode": electrode,
        "first": first,
        "unpaired_half_cycles": unpaired,
        **table.to_attrs(),
    }
    return bounds.told(result)


def _paired(halves: Variables, first: str) -> tuple[Variables, list[int]]:
    # Directions alternate by construction, so the first half cycle sets all pairs.
    direction = halves["direction"][1]
    skipped = int(direction.size > 0 and direction[0] != first)
    n = (direction.size - skipped + 1) // 2
    found: Variables = {}
    flag, whole = np.zeros(n, np.int16), np.ones(n, bool)
    for place, side in enumerate((first, _OTHER[first])):
        rows = np.arange(skipped + place, direction.size, 2)
        for name in _TAKEN:
            found[f"{side}_{name}"] = _column(*halves[name][1:], rows, n, side)
        numbers = np.zeros(n, np.int64)
        numbers[: rows.size] = rows + 1
        found[f"{side}_half_cycle"] = (
            "cycle",
            numbers,
            {"units": "1", "long_name": f"Half cycle of the {side}, 0 where missing"},
        )
        flag[: rows.size] |= halves["flag"][1][rows]
        whole[: rows.size] &= halves["complete"][1][rows]
        whole[rows.size :] = False
    found["flag"] = ("cycle", flag, halves["flag"][2])
    found["complete"] = (
        "cycle",
        whole,
        {"units": "1", "long_name": "Whether both half cycles are whole"},
    )
    ordered = {k: found[k] for k in sorted(found, key=_order)}
    return ordered, [1] if skipped else []


def _order(name: str) -> int:
    side, _, what = name.partition("_")
    return _TAKEN.index(what) * 2 + (side != "charge") if what in _TAKEN else 99


def _column(
    values: np.ndarray, attrs: dict[str, Any], rows: np.ndarray, n: int, side: str
) -> _Column:
    blank = np.datetime64("NaT", "ns") if values.dtype.kind == "M" else np.nan
    padded = np.full(n, blank, values.dtype)
    padded[: rows.size] = values[rows]
    words = f"{attrs['long_name']}, {side}"
    return "cycle", padded, attrs | {"long_name": words}


def _compared(
    paired: Variables, electrode: str, reference: Reference
) -> dict[str, _Column]:
    of = {f"{d}_{q}": paired[f"{d}_{q}"][1] for d in _OTHER for q in _TAKEN}
    charge, discharge = of["charge_capacity"], of["discharge_capacity"]
    out, into = (charge, discharge) if electrode == "anode" else (discharge, charge)
    what = "charge / discharge" if electrode == "anode" else "discharge / charge"
    whole = paired["complete"][1]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        efficiency = np.where(whole, out / into, np.nan)
        energy = np.where(whole, of["discharge_energy"] / of["charge_energy"], np.nan)
    voltage = of["charge_mean_voltage"] - of["discharge_mean_voltage"]
    retention, relative = _retention(np.where(whole, out, np.nan), reference)
    return {
        "coulombic_efficiency": _one(efficiency, f"Coulombic efficiency ({what})"),
        "energy_efficiency": _one(energy, "Energy efficiency (discharge / charge)"),
        "voltage_hysteresis": (
            "cycle",
            np.where(whole, voltage, np.nan),
            {"units": "V", "long_name": "Mean voltage, charge minus discharge"},
        ),
        "capacity_retention": _one(retention, relative),
    }


def _retention(capacity: np.ndarray, reference: Reference) -> tuple[np.ndarray, str]:
    base = reference_of(capacity, reference)
    if base is not None:
        return capacity / capacity[base], f"Capacity relative to cycle {base + 1}"
    if isinstance(reference, int):
        known = np.flatnonzero(np.isfinite(capacity))
        raise ArgumentError(
            "reference",
            reference,
            "the number of a complete cycle",
            f"Complete are {(known[:20] + 1).tolist()}.",
        )
    return capacity, "Capacity retention"


def reference_of(capacity: np.ndarray, reference: Reference) -> int | None:
    """Return the reference cycle for capacities, from 0; None if it is missing.

    Parameters
    ----------
    capacity
        (cycles,) NaN where a cycle is not complete.
    reference
        As in `cycles`.
    """
    known = np.flatnonzero(np.isfinite(capacity))
    if isinstance(reference, int):
        return reference - 1 if reference - 1 in known else None
    if not known.size:
        return None
    return int(known[0] if reference == "first" else np.nanargmax(capacity))


def _one(values: np.ndarray, words: str) -> _Column:
    return "cycle", values, {"units": "1", "long_name": words}


def _specific(paired: Variables, mass: float) -> Variables:
    found: Variables = {}
    kinds = (
        ("specific_capacity", "capacity", "mA h g-1"),
        ("specific_energy", "energy", "W h kg-1"),
        ("specific_current", "mean_current", "mA g-1"),
    )
    for name, source, units in kinds:
        for side in _OTHER:
            # mA h / mg and mW h / mg differ from mA h / g and W h / kg by 1000.
            values = paired[f"{side}_{source}"][1] * (1000.0 / mass)
            words = f"{name.replace('_', ' ').capitalize()}, {side}"
            found[f"{side}_{name}"] = (
                "cycle",
                values,
                {"units": units, "long_name": words},
            )
    return found


def _c_rates(paired: Variables, nominal: float, mass: float | None) -> Variables:
    tell_nominal(
        float(np.nanmax(paired["discharge_capacity"][1], initial=0.0)), nominal, mass
    )
    return {
        f"{side}_c_rate": (
            "cycle",
            np.abs(paired[f"{side}_mean_current"][1]) / nominal,
            {"units": "1/h", "long_name": f"C-rate, {side}"},
        )
        for side in _OTHER
    }


def tell_nominal(passed: float, nominal: float, mass: float | None) -> None:
    """Warn of a capacity in another unit, by the largest charge that passes (mA h)."""
    if passed > _MOST * nominal:
        warn_quality(
            f"nominal_capacity={nominal!r} is in mA h, and a discharge passes "
            f"{passed:.4g} mA h. Was it A h? Pass {1e3 * nominal:g}."
        )
    elif (
        mass is not None
        and 0 < _PER_MASS * passed < nominal
        and _USUAL[0] < nominal * 1e-3 * mass / passed < _USUAL[1]
    ):
        warn_quality(
            f"nominal_capacity={nominal!r} is in mA h, and no discharge passes more "
            f"than {passed:.4g} mA h. Was it mA h g-1? Pass {1e-3 * mass * nominal:g}."
        )
    elif passed > 0 and abs(nominal / (_COULOMB * passed) - 1) < _CLOSE:
        warn_quality(
            f"nominal_capacity={nominal!r} is in mA h, and no discharge passes more "
            f"than {passed:.4g} mA h. Was it C? Pass {nominal / _COULOMB:.4g}."
        )
    elif 0 < _LEAST * passed < nominal:
        warn_quality(
            f"nominal_capacity={nominal!r} is in mA h, and no discharge passes more "
            f"than {passed:.4g} mA h. Was it uA h? Pass {1e-3 * nominal:g}."
        )
