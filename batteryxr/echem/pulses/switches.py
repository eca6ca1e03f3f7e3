"""Where the current of a record is switched, and the rows around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.blocks import compute
from batteryxr.core.errors import DataError
from batteryxr.core.model import attributes
from batteryxr.core.units import in_units
from batteryxr.echem.counting import largest_current
from batteryxr.echem.lithium.content import content_after
from batteryxr.echem.record import columns, net_charge

if TYPE_CHECKING:
    from batteryxr.echem.record import Columns

#: A switch changes the current by more than this share of the larger one, and beside
#: it the current changes by less than this share of the switch.
_CHANGE, _STEADY = 0.05, 0.2
#: Rows that are read before a switch, and at most after it.
_BEFORE, _MOST = 6, 100_000
#: Rows after it that are read in any case.
_LEAST = 12


class CurrentSwitches(NamedTuple):
    """Switches of the current of a record.

    Parameters
    ----------
    row
        (switches,) the last row before each.
    before, after
        Current in mA on both sides.
    time
        Test time (s) of the row before: when the switch was made.
    i_zero
        Below which the cell rests (mA).
    """

    row: np.ndarray
    before: np.ndarray
    after: np.ndarray
    time: np.ndarray
    i_zero: float


class Around(NamedTuple):
    """Rows around one switch: time since it (s), voltage (V), current (mA)."""

    t: np.ndarray
    v: np.ndarray
    i: np.ndarray


def find(rows: Columns, i_zero: float | None) -> CurrentSwitches:
    """Return the switches of a record; reads it once, the current twice.

    A current that fades, as while the voltage is held, is no switch.
    """
    if i_zero is None:
        i_zero = max(1e-3 * largest_current(rows), float(np.finfo(np.float64).tiny))
    found: list[np.ndarray] = []
    held: np.ndarray | None = None
    offset = 0
    for block in rows.blocks():
        table = np.stack([block.t, block.i, _file(block)])
        if held is not None:
            table = np.concatenate([held, table], axis=1)
        found.append(_switched(table, i_zero, offset, last=False))
        size = min(3, table.shape[1])
        held = table[:, -size:]
        offset += table.shape[1] - size
    if held is not None:
        found.append(_switched(held, i_zero, offset, last=True))
    whole = np.unique(np.concatenate([np.empty((4, 0)), *found], axis=1), axis=1)
    if (np.diff(whole[3]) < 0).any():
        raise DataError("record", "has a clock that runs backward", "Mend it first.")
    return CurrentSwitches(
        whole[0].astype(np.int64), whole[1], whole[2], whole[3], i_zero
    )


def _file(block: Any) -> np.ndarray:
    file = np.asarray(block.file, np.float64)
    return file if file.size == block.t.size else np.zeros(block.t.size)


def _switched(
    table: np.ndarray, i_zero: float, offset: int, *, last: bool
) -> np.ndarray:
    """Return row, currents and time of switches between the rows of a piece.

    What is beside the first and the last change is in another piece, unless they are
    the first and the last of the record.
    """
    t, i, file = table
    if t.size < 2:
        return np.empty((4, 0))
    change = np.diff(i)
    larger = np.maximum(np.abs(i[1:]), np.abs(i[:-1]))
    switch = (np.abs(change) > _CHANGE * larger) & (np.abs(change) > 3 * i_zero)
    switch &= (np.diff(file) == 0) & (np.diff(t) >= 0)
    beside = np.abs(np.concatenate([[0.0], change, [0.0]]))
    steady = _STEADY * np.abs(change)
    switch &= (beside[:-2] <= steady) & (beside[2:] <= steady)
    switch[:1] &= offset == 0
    switch[-1:] &= last
    k = np.flatnonzero(switch)
    return np.stack([k + float(offset), i[k], i[k + 1], t[k]])


def piece(
    rows: Columns, found: CurrentSwitches, switch: int, seconds: float
) -> tuple[Around, Around]:
    """Return the rows before and after a switch, between the ones beside it.

    Parameters
    ----------
    rows
        Of the record.
    found
        Its switches.
    switch
        Number of the one that is asked for, from 0.
    seconds
        How far behind it rows are wanted; one more is given, and some in any case.
    """
    row, begun = int(found.row[switch]), float(found.time[switch])
    last = rows.arrays["current"].size - 1
    end = int(found.row[switch + 1]) if switch + 1 < found.row.size else last
    begin = int(found.row[switch - 1]) + 1 if switch else 0
    span = slice(max(row - _BEFORE + 1, begin), min(end, row + _MOST) + 1)
    names = ("test_time", "voltage", "current")
    t, v, i = (
        a.values for a in compute(*(rows.arrays[n].isel(record=span) for n in names))
    )
    at, since = row - span.start + 1, t - begun
    wanted = int(np.searchsorted(since[at:], seconds, "right")) + 1
    after = slice(at, at + max(wanted, _LEAST))
    # A row without a voltage tells nothing.
    told = np.isfinite(v)
    before, behind = (
        Around(*(column[side][told[side]] for column in (since, v, i)))
        for side in (slice(at), after)
    )
    return before, behind


def direction_of(current: np.ndarray, i_zero: float) -> np.ndarray:
    """Return "charge", "discharge" or "rest"."""
    words = np.where(current > 0, "charge", "discharge")
    return np.where(np.abs(current) <= i_zero, "rest", words).astype("U9")


def coordinates(
    record: xr.Dataset, row: np.ndarray, dim: str, *, mass: float | None, formula: Any
) -> dict[str, Any]:
    """Return where the cell stood at some rows: time, voltage, charge, temperature."""
    at = record.isel(record=row)
    found: dict[str, Any] = {
        "test_time": (dim, in_units(at["test_time"], "s", caller="pulses").values,
                      attributes("test_time")),
        "voltage": (dim, in_units(at["voltage"], "V", caller="pulses").values,
                    attributes("voltage")),
    }  # fmt: skip
    if "time" in record.variables:
        found["time"] = (dim, at["time"].values, {"long_name": "Time (UTC)"})
    if "temperature" in record.variables:
        values = in_units(at["temperature"], "degC", caller="pulses").values
        found["temperature"] = (dim, values, attributes("temperature"))
    (charge,) = compute(net_charge(record, caller="pulses").isel(record=row))
    about = {"units": "mA h", "long_name": "Net charge, since the record began"}
    found["capacity_total"] = (dim, charge.values, about)
    if formula is not None:
        passed = xr.DataArray(
            charge.values, dims=dim, name="capacity_total", attrs=about
        )
        content = content_after(passed, formula, mass=mass, caller="pulses")
        found["li_content"] = (dim, content.values, content.attrs)
    return found


def record_columns(record: xr.Dataset, *, caller: str) -> Columns:
    """Return the columns of a record that switches are found in."""
    rows = columns(record, caller=caller, clock=False)
    if rows.flags & {"backward_time", "time_scale", "overlap"}:
        raise DataError(
            "record",
            f"{caller} needs times that can be trusted; it is flagged "
            f"{', '.join(sorted(rows.flags))}",
            "Mend it when reading: read_cycler(..., repair=...).",
        )
    return rows
