"""Label ex situ states with the history of the cell up to their voltage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.errors import (
    DimensionError,
    warn_quality,
)
from batteryxr.core.labels import OwnLabels
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units
from batteryxr.echem.cycling.half_cycles import half_cycles
from batteryxr.echem.operando.joining import _MADE, join
from batteryxr.echem.operando.scans import refuse_taken
from batteryxr.echem.operando.state_names import hold_against_names, told_states

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from batteryxr.core.bounds.kinds import Mass, VoltageWidth
    from batteryxr.echem.counting import Counting
    from batteryxr.echem.lithium.composition import Composition
    from batteryxr.echem.lithium.content import Lithiation

Scans = TypeVar("Scans", xr.DataArray, xr.Dataset)

#: Bits of ``attach_flag``: why a state has no labels.
NOT_REACHED, NOT_TOLD = 1, 2
_FLAGS = {
    "flag_masks": [NOT_REACHED, NOT_TOLD],
    "flag_meanings": "voltage_not_reached state_not_told",
}
#: Distance (V) from the end of a half cycle below which a state is after its hold.
_AT_END = 5e-3


@recorded
def attach(
    record: xr.Dataset,
    scans: Annotated[Scans, OwnLabels()],
    *,
    voltage: float | str | Sequence[float] | np.ndarray | xr.DataArray | None = None,
    direction: str | Sequence[str] | np.ndarray | xr.DataArray | None = None,
    table: str | os.PathLike[str] | Mapping[str, Any] | pd.DataFrame | None = None,
    pattern: str | None = None,
    tolerance: VoltageWidth = 0.02,
    first: Literal["charge", "discharge"] | None = None,
    mass: Mass | None = None,
    formula: str | Composition | Lithiation | None = None,
    counting: Counting | None = None,
) -> Scans:
    """Label ex situ states with the record's values at their voltage and branch.

    *Lazy* in `scans`, whose data are not read; reads `record` four times. No clock is
    needed. A state gets the capacity, Li content and cycle of the moment when a half
    cycle reaches its voltage.

    Parameters
    ----------
    record
        Cycler data on ``record`` of a cell cycled like the states.
    scans
        Any data along ``scan``, ``state`` or ``sample``: patterns, spectra, results.
    voltage
        Voltage (V) at which each state was stopped: a number for each, one for all,
        or the name of a coordinate.
    direction
        Branch of each state in the same form: "charge", "discharge", or "pristine"
        for a state that was not cycled.
    table
        Table in place of both: a CSV file, a DataFrame or a mapping of columns
        ``voltage``, ``branch`` and perhaps ``cycle``. A column ``file``, ``label``,
        ``sample`` or ``scan`` assigns the rows; else they are in the order of `scans`.
    pattern
        In place of all: a regular expression with the groups ``branch`` and
        ``voltage`` (and perhaps ``cycle``) for file names. The default matches names
        such as ``ch_4.3V``, ``discharged 2p0V``, ``3.6V_charge``, ``pristine``.
    tolerance
        Largest distance (V) of the record from the voltage of a state.
    first, mass, formula, counting
        As in `join`.

    Returns
    -------
    same type as `scans`
        With ``voltage`` (as given), ``branch``, ``measured_voltage``, ``capacity``,
        ``capacity_total``, ``half_cycle``, ``cycle``, and ``specific_capacity`` and
        ``li_content`` with `mass` and `formula`. A pristine state has a capacity of 0
        and no cycle. States belong to the first cycle unless table or name
        give one. At the voltage where a half cycle ends, a state is after its hold.
        ``attach_flag`` gives the reason for missing labels.

    Raises
    ------
    ArgumentError
        If the states are not given, or given twice.
    DimensionError, VariableError
        If `scans` are no series, or lack the coordinate named.
    DataError
        If `scans` have data with the name of a label.

    Warns
    -----
    DataQualityWarning
        If the record does not reach a voltage on its branch; the state gets NaN.

    See Also
    --------
    join : label scans that were taken while the cell ran.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> patterns = xr.DataArray(
    ...     np.zeros((3, 50)),
    ...     dims=("state", "two_theta"),
    ...     name="counts",
    ...     coords={"state": ["pristine", "ch_3.9V", "dis_3.6V"]},
    ... )
    >>> states = record.echem.attach(
    ...     patterns,
    ...     voltage=[3.0, 3.9, 3.6],
    ...     direction=["pristine", "charge", "discharge"],
    ...     formula="LiNiO2",
    ...     mass=7.0,
    ... )
    >>> states["li_content"].round(2).values.tolist()
    [1.0, 0.58, 0.82]
    """
    dim = _series(scans)
    volts, branches, cycles = told_states(
        scans, dim, voltage, direction, table, pattern
    )
    hold_against_names(scans, dim, volts, branches)
    bounds.check("voltage", volts, argument="voltage")
    rows = _with_clock(record)
    half = half_cycles(rows, counting=counting)
    at = [
        _moment(rows, half, first, *state, tolerance=tolerance)
        for state in zip(volts, branches, cycles, strict=True)
    ]
    flag = np.where([m is None for m in at], NOT_REACHED, 0)
    flag = np.where(branches == "", NOT_TOLD, flag)
    times = np.array([np.datetime64("NaT") if m is None else m for m in at], "M8[ns]")
    labels = _labels(rows, times, first, mass, formula, counting)
    labels = labels | {
        "measured_voltage": labels["voltage"],
        "voltage": xr.Variable(
            "scan", volts, {"units": "V", "long_name": "Voltage of the state"}
        ),
        "branch": xr.Variable(
            "scan", branches.astype("U9"), {"units": "1", "long_name": "Branch"}
        ),
        "attach_flag": xr.Variable(
            "scan",
            flag.astype(np.int8),
            {"units": "1", "long_name": "What is odd about the state", **_FLAGS},
        ),
    }
    pristine = branches == "pristine"
    for name in ("half_cycle", "cycle"):
        label = labels[name].copy(deep=True)
        label.values[pristine] = np.nan
        labels[name] = label
    if (flag > 0).any():
        which = ", ".join(
            f"{b or 'not told'} {v:g} V" if np.isfinite(v) else (b or "not told")
            for b, v in zip(branches[flag > 0], volts[flag > 0], strict=True)
        )
        warn_quality(
            f"{(flag > 0).sum()} of {flag.size} states have no labels: {which}. The "
            f"record does not come within {tolerance:g} V of them on that branch."
        )
    coords = {
        name: xr.Variable(dim, variable.values, variable.attrs)
        for name, variable in labels.items()
    }
    refuse_taken(scans, labels, dim=dim)
    kept = [n for n in _MADE if n in scans.coords and n != dim]
    return scans.drop_vars(kept).assign_coords(coords)


def _series(scans: xr.DataArray | xr.Dataset) -> str:
    found = [d for d in ("scan", "state", "sample") if d in scans.dims]
    if len(found) != 1:
        raise DimensionError(
            "attach needs states along 'scan', 'state' or 'sample'; found "
            f"{tuple(map(str, scans.dims))}. Rename yours: `.rename(...='state')`."
        )
    return found[0]


def _with_clock(record: xr.Dataset) -> xr.Dataset:
    """Return a record with a clock, made from its test time if it has none."""
    if "time" in record.coords and not record["time"].isnull().any():
        return record
    seconds = in_units(record["test_time"], "s", caller="attach").values
    start = np.datetime64("2000-01-01", "ns")
    moments = start + np.rint(np.asarray(seconds, float) * 1e9).astype("m8[ns]")
    return record.assign_coords(time=("record", moments))


def _moment(
    record: xr.Dataset,
    half: xr.Dataset,
    first: str | None,
    voltage: float,
    branch: str,
    cycle: float,
    *,
    tolerance: float,
) -> Any:
    """Return the time at which the record reaches a state; None if it does not."""
    if branch == "pristine":
        return record["time"].values[0]
    if not branch or not np.isfinite(voltage):
        return None
    begin = _begin(half, first)
    number = np.arange(half.sizes["half_cycle"])
    cycles = np.where(number >= begin, (number - begin) // 2 + 1, 0)
    mine = half["direction"].values == branch
    wanted = cycles == (1 if np.isnan(cycle) else cycle)
    if np.isnan(cycle):
        wanted |= cycles == 0
    for k in np.flatnonzero(mine & wanted):
        low, high = int(half["first_record"][k]), int(half["last_record"][k])
        moment = _within(record.isel(record=slice(low, high + 1)), voltage, branch)
        away, at_end = _near(half.isel(half_cycle=k), voltage, branch)
        if away <= tolerance:
            if at_end or moment is None:
                return _last_active(record, half.isel(half_cycle=k))
            return moment
    return None


def _begin(half: xr.Dataset, first: str | None) -> int:
    """Return the index of the half cycle with which the first cycle begins."""
    direction = half["direction"].values
    if first is None:
        return int((half["flag"].values[:1] & 1 > 0).any())
    return 0 if direction[:1] == first else 1


def _near(one: xr.Dataset, voltage: float, branch: str) -> tuple[float, bool]:
    """Return how far a half cycle stays from a voltage, and whether it ends there."""
    low, high = float(one["voltage_min"]), float(one["voltage_max"])
    end = high if branch == "charge" else low
    away = max(voltage - high, low - voltage, 0.0)
    return away, abs(voltage - end) <= _AT_END


def _last_active(record: xr.Dataset, one: xr.Dataset) -> Any:
    """Return the time at which the current of a half cycle ends."""
    low, high = int(one["first_record"]), int(one["last_record"])
    time = in_units(record["test_time"], "s", caller="attach")
    inside = time.isel(record=slice(low, high + 1)).values
    end = float(one["test_time_end"])
    at = low + int(np.argmin(np.abs(inside - end)))
    return record["time"].values[at]


def _within(rows: xr.Dataset, voltage: float, branch: str) -> Any:
    """Return the interpolated time at which rows first reach a voltage."""
    volts = in_units(rows["voltage"], "V", caller="attach").values.astype(float)
    sign = 1.0 if branch == "charge" else -1.0
    reached = np.flatnonzero(sign * (volts - voltage) >= 0)
    if not reached.size:
        return None
    k = int(reached[0])
    times = rows["time"].values.astype("M8[ns]")
    if k == 0 or volts[k] == volts[k - 1]:
        return times[k]
    share = (voltage - volts[k - 1]) / (volts[k] - volts[k - 1])
    step = (times[k] - times[k - 1]) / np.timedelta64(1, "ns")
    return times[k - 1] + np.timedelta64(round(share * step), "ns")


def _labels(
    record: xr.Dataset,
    times: np.ndarray,
    first: str | None,
    mass: float | None,
    formula: Any,
    counting: Counting | None,
) -> dict[str, xr.Variable]:
    """Return the labels that `join` gives at these times."""
    known = ~np.isnat(times)
    moments = times.copy()
    moments[~known] = record["time"].values[0]
    n = times.size
    # Add two instants, so that states at one time are not refused as a copied clock.
    ends = record["time"].values[[0, -1]].astype("M8[ns]")
    series = xr.DataArray(
        np.zeros(n + 2),
        dims="scan",
        coords={"time": ("scan", np.concatenate([moments, ends]))},
    )
    joined = join(
        record,
        series,
        exposure=0.0,
        first=first,  # type: ignore[arg-type]
        mass=mass,
        formula=formula,
        counting=counting,
    ).isel(scan=slice(n))
    out = {}
    names = ("voltage", "capacity", "capacity_total", "half_cycle", "cycle")
    for name in (*names, "specific_capacity", "li_content"):
        if name in joined.coords:
            variable = joined[name].variable.copy(deep=True)
            values = np.where(known, variable.values, np.nan)
            out[name] = xr.Variable("scan", values, variable.attrs)
    return out
