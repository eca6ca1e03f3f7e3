"""Find where the current of a record is switched, and read the rows around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.blocks import compute
from batteryxr.core.errors import DataError, warn_quality
from batteryxr.core.model import attributes
from batteryxr.core.units import in_units
from batteryxr.echem.counting import largest_current
from batteryxr.echem.cycling.cycles import tell_nominal
from batteryxr.echem.lithium.content import content_after
from batteryxr.echem.record import columns, is_mean, net_charge

if TYPE_CHECKING:
    from batteryxr.echem.record import Columns

#: Least relative change of the current at a switch, and largest change next to it as a
#: fraction of the switch.
_CHANGE, _STEADY = 0.05, 0.2
#: Least relative distance from both levels of a row that holds a mean over the switch.
_BETWEEN = 0.02
#: Rows of one piece that are seen again with the next.
_HELD = 4
#: Rows read before a switch, and the largest number after it.
_BEFORE, _MOST = 6, 100_000
#: A gap longer than this many of the next intervals may hold the switch anywhere.
GAP = 1.5
#: Range of charge over the capacity that tells a full and an empty cell.
_WHOLE, _OVER = 0.85, 1.05
#: Least number of rows read after a switch.
_LEAST = 12


class CurrentSwitches(NamedTuple):
    """Hold the switches of the current of a record.

    Parameters
    ----------
    row
        (switches,) last row before each.
    before, after
        Current in mA on both sides.
    time
        Time of each switch (s of test time): that of the row before. If a row holds a
        mean over the switch, the mean gives the time.
    skipped
        (switches,) number of rows between both sides that hold a mean: 0 or 1.
    i_zero
        Current below which the cell rests (mA).
    """

    row: np.ndarray
    before: np.ndarray
    after: np.ndarray
    time: np.ndarray
    skipped: np.ndarray
    i_zero: float


class Around(NamedTuple):
    """Hold rows around one switch: time since it (s), voltage (V), current (mA)."""

    t: np.ndarray
    v: np.ndarray
    i: np.ndarray


def find(rows: Columns, i_zero: float | None) -> CurrentSwitches:
    """Return the switches of a record, reading it once and its current twice.

    A current that fades, as while the voltage is held, is no switch.
    """
    if i_zero is None:
        i_zero = max(1e-3 * largest_current(rows), float(np.finfo(np.float64).tiny))
    found: list[np.ndarray] = []
    held: np.ndarray | None = None
    offset = 0
    single: set[int] = set()
    for block in rows.blocks():
        table = np.stack([block.t, block.i, _file(block)])
        if held is not None:
            table = np.concatenate([held, table], axis=1)
        found.append(_switched(table, i_zero, offset, last=False))
        single.update((offset + _singles(table, i_zero)).tolist())
        size = min(_HELD, table.shape[1])
        held = table[:, -size:]
        offset += table.shape[1] - size
    if held is not None:
        found.append(_switched(held, i_zero, offset, last=True))
    if single:
        warn_quality(
            f"{len(single)} changes of the current last one row only, the first at row "
            f"{min(single) + 1}: they are no switches here, as a single row tells "
            "neither a pulse from a wild reading nor when it began"
        )
    whole = np.unique(np.concatenate([np.empty((5, 0)), *found], axis=1), axis=1)
    if (np.diff(whole[3]) < 0).any():
        raise DataError("record", "has a clock that runs backward", "Mend it first.")
    row, skipped = whole[0].astype(np.int64), whole[4].astype(np.int64)
    return CurrentSwitches(row, whole[1], whole[2], whole[3], skipped, i_zero)


def _file(block: Any) -> np.ndarray:
    file = np.asarray(block.file, np.float64)
    return file if file.size == block.t.size else np.zeros(block.t.size)


def _switched(
    table: np.ndarray, i_zero: float, offset: int, *, last: bool
) -> np.ndarray:
    """Return row, currents and time of switches between the rows of a piece.

    The first and the last change need rows of another piece, unless they are the
    first and the last of the record.
    """
    t, i, file = table
    if t.size < 2:
        return np.empty((5, 0))
    change = np.diff(i)
    told = (np.diff(file) == 0) & (np.diff(t) >= 0)
    switch = told & _steps(i[:-1], i[1:], i_zero)
    beside = np.abs(np.concatenate([[0.0], change, [0.0]]))
    steady = _STEADY * np.abs(change)
    switch &= (beside[:-2] <= steady) & (beside[2:] <= steady)
    switch[:1] &= offset == 0
    switch[-1:] &= last
    k = np.flatnonzero(switch)
    plain = np.stack([k + float(offset), i[k], i[k + 1], t[k], 0.0 * k])
    means = _means(table, i_zero, told & ~switch, beside)
    means[:1] &= offset == 0
    means[-1:] &= last
    k = np.flatnonzero(means)
    share = (i[k + 1] - i[k]) / (i[k + 2] - i[k])
    when = t[k + 1] - share * (t[k + 1] - t[k])
    held = np.stack([k + float(offset), i[k], i[k + 2], when, 0.0 * k + 1.0])
    return np.concatenate([plain, held], axis=1)


def _means(
    table: np.ndarray, i_zero: float, told: np.ndarray, beside: np.ndarray
) -> np.ndarray:
    """Tell which rows are followed by one that holds a mean over a switch.

    The mean lies between steady levels: a current that fades has none.
    """
    i = table[1]
    if i.size < 3:
        return np.zeros(0, bool)
    whole = i[2:] - i[:-2]
    part = i[1:-1] - i[:-2]
    with np.errstate(over="ignore"):
        share = np.divide(part, whole, out=np.zeros(whole.size), where=whole != 0)
    found: np.ndarray = told[:-1] & told[1:] & _steps(i[:-2], i[2:], i_zero)
    found &= (share > _BETWEEN) & (share < 1 - _BETWEEN)
    steady = _STEADY * np.minimum(share, 1 - share) * np.abs(whole)
    return found & (beside[:-3] <= steady) & (beside[3:] <= steady)


def _steps(before: np.ndarray, after: np.ndarray, i_zero: float) -> np.ndarray:
    """Tell where the current changes enough for a switch."""
    change = np.abs(after - before)
    larger = np.maximum(np.abs(before), np.abs(after))
    found: np.ndarray = (change > _CHANGE * larger) & (change > 3 * i_zero)
    return found


def _singles(table: np.ndarray, i_zero: float) -> np.ndarray:
    """Return rows whose current differs from equal currents on both sides."""
    i = table[1]
    if i.size < 3:
        return np.empty(0, np.int64)
    away = _steps(i[:-2], i[1:-1], i_zero) & _steps(i[1:-1], i[2:], i_zero)
    back = np.abs(i[2:] - i[:-2]) <= _CHANGE * np.abs(i[1:-1] - i[:-2])
    return np.flatnonzero(away & back) + 1


def piece(
    rows: Columns,
    found: CurrentSwitches,
    switch: int,
    seconds: float,
    *,
    earlier: int = _BEFORE,
) -> tuple[Around, Around]:
    """Return the rows before and after a switch, between the neighbouring switches.

    Parameters
    ----------
    rows
        Columns of the record.
    found
        Switches of the record.
    switch
        Number of the switch, from 0.
    seconds
        Time (s) after the switch; one row more is given, and always a few rows.
    earlier
        Number of rows before the switch.
    """
    row, begun = int(found.row[switch]), float(found.time[switch])
    last = rows.arrays["current"].size - 1
    end = int(found.row[switch + 1]) if switch + 1 < found.row.size else last
    begin = int(found.row[switch - 1] + found.skipped[switch - 1]) + 1 if switch else 0
    span = slice(max(row - earlier + 1, begin), min(end, row + _MOST) + 1)
    names = ("test_time", "voltage", "current")
    t, v, i = (
        a.values for a in compute(*(rows.arrays[n].isel(record=span) for n in names))
    )
    at, since = row - span.start + 1, t - begun
    first = at + int(found.skipped[switch])
    wanted = int(np.searchsorted(since[first:], seconds, "right")) + 1
    after = slice(first, first + max(wanted, _LEAST))
    # Leave out rows without a voltage.
    told = np.isfinite(v)
    before, behind = (
        Around(*(column[side][told[side]] for column in (since, v, i)))
        for side in (slice(at), after)
    )
    return before, behind


def direction_of(current: np.ndarray, i_zero: float) -> np.ndarray:
    """Return "charge", "discharge" or "rest" for each current."""
    words = np.where(current > 0, "charge", "discharge")
    return np.where(np.abs(current) <= i_zero, "rest", words).astype("U9")


def coordinates(
    record: xr.Dataset,
    found: CurrentSwitches,
    which: np.ndarray,
    dim: str,
    *,
    mass: float | None,
    formula: Any,
    nominal_capacity: float | None,
) -> dict[str, Any]:
    """Return coordinates before some switches: time, voltage, charge, temperature."""
    row = found.row[which]
    at = record.isel(record=row)
    coords: dict[str, Any] = {
        "test_time": (dim, in_units(at["test_time"], "s", caller="pulses").values,
                      attributes("test_time")),
        "voltage": (dim, in_units(at["voltage"], "V", caller="pulses").values,
                    attributes("voltage")),
    }  # fmt: skip
    if "time" in record.variables:
        coords["time"] = (dim, at["time"].values, {"long_name": "Time (UTC)"})
    if "temperature" in record.variables:
        values = in_units(at["temperature"], "degC", caller="pulses").values
        coords["temperature"] = (dim, values, attributes("temperature"))
    passed = net_charge(record, caller="pulses")
    charge, most, least = compute(passed.isel(record=row), passed.max(), passed.min())
    total = charge.values + _between_rows(record, found)[which]
    about = {"units": "mA h", "long_name": "Net charge, since the record began"}
    coords["capacity_total"] = (dim, total, about)
    if formula is not None:
        net = xr.DataArray(total, dims=dim, name="capacity_total", attrs=about)
        at_rest = xr.DataArray(coords["voltage"][1], dims=dim)
        content = content_after(
            net, formula, mass=mass, caller="pulses", voltage=at_rest
        )
        coords["li_content"] = (dim, content.values, content.attrs)
    if nominal_capacity is not None:
        span = float(most) - float(least)
        tell_nominal(span, nominal_capacity, mass)
        if not _WHOLE <= span / nominal_capacity <= _OVER:
            warn_quality(
                "soc counts from the fullest state of the record, taken as 1, and the "
                f"record passes {span / nominal_capacity:.3g} of nominal_capacity: "
                "whether it was ever full, or the capacity is right, is not known"
            )
        soc = 1.0 + (total - float(most)) / nominal_capacity
        about = {"units": "1", "long_name": "State of charge, 1 where it was fullest"}
        coords["soc"] = (dim, soc, about)
    return coords


def _between_rows(record: xr.Dataset, found: CurrentSwitches) -> np.ndarray:
    """Return what lines between rows leave out (mA h) at the switches before each.

    The current is switched at the row before. Where rows behind lie closer, the moment
    is not known: there nothing is added.
    """
    if is_mean(record["current"].attrs) or not found.row.size:
        return np.zeros(found.row.size)
    rows = np.minimum(found.row[:, None] + np.arange(3), record.sizes["record"] - 1)
    time = in_units(record["test_time"], "s", caller="pulses")
    (t,) = compute(time.isel(record=rows.ravel()))
    gap, behind = np.diff(t.values.reshape(rows.shape), axis=1).T
    dated = (found.skipped == 0) & (gap <= GAP * behind)
    line = np.where(
        found.before * found.after > 0, 0.5 * (found.before + found.after), 0.0
    )
    left = np.where(dated, (found.after - line) * gap / 3600.0, 0.0)
    return np.cumsum(left) - left


def record_columns(record: xr.Dataset, *, caller: str) -> Columns:
    """Return the columns of a record in which switches are searched."""
    rows = columns(record, caller=caller, clock=False)
    if rows.flags & {"backward_time", "time_scale", "overlap"}:
        raise DataError(
            "record",
            f"{caller} needs times that can be trusted; it is flagged "
            f"{', '.join(sorted(rows.flags))}",
            "Mend it when reading: read_cycler(..., repair=...).",
        )
    return rows
