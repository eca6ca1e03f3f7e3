"""Check whether a table is plausible, and repair it only if the user asks by name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import ArgumentError
from batteryxr.core.kernels.ranks import median
from batteryxr.core.kernels.times import NAT
from batteryxr.io.cycler.checks.completeness import (
    copied,
    doubled,
    doubled_rows,
    missing_rows,
    repeated_rows,
    turns,
    without,
)
from batteryxr.io.cycler.checks.direction import (
    doubt,
    reversed_current,
    signed_by_counters,
    undirected,
)
from batteryxr.io.cycler.checks.readings import (
    astray,
    charge_course,
    is_steady,
    part_scale,
    spiked,
    stuck,
    without_spikes,
    without_still,
)
from batteryxr.io.cycler.checks.scales import (
    charge_scale,
    clock_of,
    energy_scale,
    exchanged,
    mend_time_scale,
    step_time_scale,
    time_scale,
)
from batteryxr.io.cycler.table import filled
from batteryxr.io.timing.course import resolution

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batteryxr.io.cycler.table import RawTable

_DUPLICATES = 0.05  # fraction of rows; step changes explain no more
_HIGHEST, _LOWEST = 1000.0, 5e-3  # V
_MOSTLY = 0.9  # of the rows under current
_FEW_ROWS = 3  # fewest rows before the last that show what is usual
_JUMP = 0.3  # V beyond all others that a last row may hold
_KNEE = 2.0  # V that a cell's voltage may move up to the cut-off, in one interval
_SAME_CURRENT = 0.01  # relative change that is none
#: A rest on no clock: V, and usual changes of a step, that the voltage falls back, rows
#: that it takes to return, and most of them in one test. More are how this cell always
#: is. Where the rows beside fall back too, by this share, the cell's own course did it.
_FELL, _FAR, _AFTER, _MOST_PAUSES, _REST = 5e-3, 20.0, 3, 20, 1e-3
_BESIDE, _SOON, _AT_ONCE = 0.1, 50, 0.7  # rows, and part that no rest gives back
#: A clock was set back if it falls behind test time by more than these: seconds, and
#: fraction of an interval.
_JITTER, _SAME_RATE = 2.0, 1e-3


def known(repair: str | Sequence[str]) -> tuple[str, ...]:
    """Return the flags to repair after checking their names.

    Raises
    ------
    ArgumentError
        If a flag cannot be repaired.
    """
    names = (repair,) if isinstance(repair, str) else tuple(repair)
    for name in names:
        if name not in _REPAIRS:
            raise ArgumentError("repair", name, f"some of {sorted(_REPAIRS)}")
    return names


def unused(wanted: Sequence[str], tables: Sequence[RawTable]) -> list[str]:
    """Return a message for each repair that found nothing to repair."""
    done = {name for table in tables for name in table.repaired}
    return [
        f"repair={name!r}: nothing to mend, the data are as read"
        for name in wanted
        if name not in done
    ]


def examine(table: RawTable, wanted: Sequence[str], name: str = "") -> RawTable:
    """Return the table with a note for each flag; flags in `wanted` are repaired.

    Parameters
    ----------
    table
        Table as read.
    wanted
        Flags to repair.
    name
        File name, for the record of repairs.
    """
    for flag, find in _CHECKS.items():
        problem = find(table)
        if problem is None:
            continue
        if flag in wanted:
            said = f"{name}: {flag} mended ({problem})"
            table = _REPAIRS[flag](table)
            table = replace(table, repaired={**table.repaired, flag: said})
        else:
            mend = f" (repair={flag!r} mends it)" if flag in _REPAIRS else ""
            table = replace(table, notes={**table.notes, flag: problem + mend})
    return table


def in_pieces(table: RawTable, pieces: Sequence[np.ndarray]) -> RawTable:
    """Return the table without notes that are true of none of its pieces.

    Parameters
    ----------
    table
        Table with notes.
    pieces
        Rows of each piece. What happened between two pieces lies in another file.
    """
    doubts = [flag for flag in _BETWEEN if flag in table.notes]
    notes = {f: said for f, said in table.notes.items() if f not in doubts}
    apart = [replace(table.chosen(rows), notes={}) for rows in pieces if doubts]
    for flag in doubts:
        said = [one for piece in apart if (one := _CHECKS[flag](piece)) is not None]
        if said:
            notes[flag] = said[0]
    return replace(table, notes=notes)


def _backward_time(table: RawTable) -> str | None:
    steps = np.diff(table.columns["test_time"])
    back = steps[steps < 0]
    if not back.size:
        return None
    return f"{back.size} backward time steps, the largest of {back.min():.6g} s"


def _duplicate_time(table: RawTable) -> str | None:
    # A cycler may end a step and begin the next one with a row each, at one time.
    alike = np.diff(table.columns["test_time"]) == 0
    if not alike.any():
        return None
    before, after = np.pad(alike, (1, 0))[:-1], np.pad(alike, (0, 1))[1:]
    changed = ~is_steady(table.columns["current"])
    switched = turns(table) | (changed & ~before & ~after)
    same = int((alike & ~switched).sum())
    if same <= max(1.0, _DUPLICATES * table.rows):
        return None
    return f"{same} rows repeat the time of the row before"


def _cycle_counts(table: RawTable) -> str | None:
    counts = table.columns.get("cycle")
    if counts is None or not np.isfinite(counts).all():
        return None
    turns = counts / (2 * np.pi)
    if not counts.any() or np.abs(turns - np.round(turns)).max() > 1e-6:
        return None
    return "cycle numbers are multiples of 2 pi: a unit library read cycles as turns"


def _voltage(table: RawTable) -> str | None:
    voltage = table.columns["voltage"]
    if np.isnan(voltage).all():
        return "no row has a voltage"
    if not filled(voltage).any():
        return "all voltages are zero"
    if (most := float(np.nanmax(np.abs(voltage)))) > _HIGHEST:
        return f"the voltage reaches {most:.3g} V"
    return None


def _low_voltage(table: RawTable) -> str | None:
    most = float(np.nanmax(np.abs(table.columns["voltage"]), initial=0.0))
    if not 0 < most < _LOWEST or _is_symmetric(table):
        return None
    return f"the voltage stays within {most:.3g} V: is it in V, as its label says?"


def _is_symmetric(table: RawTable) -> bool:
    """Tell whether the voltage has the sign of the current, as of two like electrodes.

    It is then a few millivolts; the voltage of any other cell keeps its sign.
    """
    voltage, current = table.columns["voltage"], table.columns["current"]
    flows = np.abs(current) > 0.1 * np.nanmax(np.abs(current), initial=0.0)
    if not ((current[flows] > 0).any() and (current[flows] < 0).any()):
        return False
    return bool(np.mean(np.sign(voltage[flows]) == np.sign(current[flows])) > _MOSTLY)


def _last_row(table: RawTable) -> str | None:
    """Return a note if the last voltage is far beyond all others, as a sum may be."""
    voltage = table.columns["voltage"]
    before, last = voltage[:-1], float(voltage[-1])
    if before.size < _FEW_ROWS or not np.isfinite(before).any():
        return None
    low, high = float(np.nanmin(before)), float(np.nanmax(before))
    far = max(0.5 * (high - low), _JUMP)
    if not (last < low - far or last > high + far) or _cut_off(table):
        return None
    return (
        f"the last row holds {last:.4g} V, all others {low:.4g} to {high:.4g} V: is it "
        "a sum or another footer? Then leave it out: "
        "record.isel(record=slice(None, -1))"
    )


def _cut_off(table: RawTable) -> bool:
    """Tell whether the last row may be where a cut-off ended a step.

    It follows in time, under the current of the row before, and the voltage went the
    way of the current.
    """
    time, voltage, current = (
        table.columns[n] for n in ("test_time", "voltage", "current")
    )
    steps, rise = np.diff(time), voltage[-1] - voltage[-2]
    changed = abs(current[-1] - current[-2])
    return bool(
        0 < steps[-1] <= steps[:-1].max()
        and changed <= _SAME_CURRENT * abs(current[-2])
        and rise * current[-1] > 0
        and abs(rise) < _KNEE
    )


def _missing(table: RawTable) -> str | None:
    gone = [
        f"{int(np.isnan(table.columns[name]).sum())} rows without {name}"
        for name in ("voltage", "current")
        if np.isnan(table.columns[name]).any()
    ]
    return ", ".join(gone) or None


def _set_back(table: RawTable) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows before which the clock was set back, and by how many s."""
    nothing = np.zeros(0, np.int64), np.zeros(0)
    readings, times = clock_of(table), table.columns["test_time"]
    if readings is None:
        return nothing
    rows = np.flatnonzero(np.isfinite(readings))
    steps = np.diff(times[rows])
    late = np.diff(readings[rows]) - steps
    coarse = resolution(table.stamps, times) if table.stamps is not None else 0.0
    allowed = max(coarse, _JITTER) + _SAME_RATE * np.abs(steps)
    back = np.flatnonzero((late < -allowed) & (steps >= 0))
    if back.size > max(10.0, 0.1 * rows.size):
        return nothing  # two clocks of different rates get another flag
    return rows[back + 1], -late[back]


def _backward_clock(table: RawTable) -> str | None:
    rows, seconds = _set_back(table)
    if not rows.size:
        return None
    most = int(np.argmax(seconds))
    return (
        f"the clock was set back {rows.size} times during the test, the most by "
        f"{seconds[most]:,.0f} s before row {rows[most]}; test time was not, and "
        "`time` follows the clock"
    )


def _row_order(table: RawTable) -> str | None:
    readings = clock_of(table)
    if readings is None:
        return None
    rows = np.flatnonzero(np.isfinite(readings))
    times, readings = table.columns["test_time"][rows], readings[rows]
    both = (np.diff(times) < 0) & (np.diff(readings) < 0)
    order = np.argsort(times, kind="stable")
    if not both.any() or (np.diff(readings[order]) < -_JITTER).any():
        return None
    return (
        f"rows are out of order: at {int(both.sum())} of them test time and clock both "
        "run back"
    )


def _possible_pause(table: RawTable) -> str | None:
    """Return a note where a cell seems to have rested within a step, on no clock.

    Its voltage falls back against the steady current, and takes rows to return.
    """
    if table.stamps is not None or table.start_local is None or table.rows < 2 * _AFTER:
        return None
    voltage, current = table.columns["voltage"], table.columns["current"]
    way = np.sign(
        np.where(np.abs(current) > _REST * np.nanmax(np.abs(current)), current, 0)
    )
    steady = np.abs(np.diff(current)) <= _SAME_CURRENT * np.abs(current[1:])
    steady &= (way[1:] != 0) & (np.diff(table.columns["test_time"]) > 0)
    if "step" in table.columns:
        steady &= np.diff(table.columns["step"]) == 0
    back = -way[1:] * np.diff(voltage)
    # Steps of voltage may be long and yet alike: it counts by how much they differ.
    change = np.abs(np.diff(back))[steady[1:] & steady[:-1]]
    usual = float(median(change)) if change.size else np.inf
    found = []
    for k in np.flatnonzero(steady & (back > max(_FELL, _FAR * usual))).tolist():
        near = slice(max(k - _AFTER, 0), k + _AFTER)
        later = way[k] * (voltage[k + 1 : k + 1 + _AFTER] - voltage[k])
        beside = max(back[max(k - 1, 0)], back[min(k + 1, back.size - 1)])
        # After a rest it returns bit by bit; after a short circuit at one go.
        returned = -back[k + 1 : k + 1 + _SOON].min(initial=0.0)
        if (
            steady[near].all()
            and later.size == _AFTER
            and (later < -0.1 * back[k]).all()
            and beside < _BESIDE * back[k]
            and returned < _AT_ONCE * back[k]
        ):
            found.append(k)
    if not found or len(found) > _MOST_PAUSES:
        return None
    k = max(found, key=lambda row: float(back[row]))
    return (
        f"the voltage falls back by {back[k] * 1e3:.0f} mV before row {k + 1} under a "
        f"steady current, as after a rest ({len(found)} such rows): if the test was "
        "paused there, `time` is too early from there on, and so are joined scans. The "
        "file has no clock in its rows that would tell"
    )


def _with(table: RawTable, name: str, values: np.ndarray) -> RawTable:
    return replace(table, columns={**table.columns, name: values})


def _mend_cycle_counts(table: RawTable) -> RawTable:
    return _with(table, "cycle", np.round(table.columns["cycle"] / (2 * np.pi)))


def _mend_backward_time(table: RawTable) -> RawTable:
    """Replace backward steps of test time by a median step."""
    steps = np.diff(table.columns["test_time"])
    forward = steps[steps > 0]
    steps[steps < 0] = np.median(forward) if forward.size else 0.0
    first = table.columns["test_time"][:1]
    mended = np.concatenate([first, first + np.cumsum(steps)])
    return _with(table, "test_time", mended)


def _mend_backward_clock(table: RawTable) -> RawTable:
    """Let the clock advance with test time where it was set back."""
    rows, seconds = _set_back(table)
    shift = np.zeros(table.rows)
    shift[rows] = seconds
    shift = np.cumsum(shift)
    unix, local = table.unix_time, table.local_time
    if local is not None:
        known = local != NAT
        local = np.where(known, local + np.rint(shift * 1e9).astype(np.int64), local)
    return replace(
        table, unix_time=None if unix is None else unix + shift, local_time=local
    )


def _mend_row_order(table: RawTable) -> RawTable:
    """Sort the rows by test time."""
    return table.chosen(np.argsort(table.columns["test_time"], kind="stable"))


#: Checks in order: later checks see what earlier ones repaired.
_CHECKS: dict[str, Callable[[RawTable], str | None]] = {
    "repeated_rows": repeated_rows,
    "doubled_rows": doubled_rows,
    "row_order": _row_order,
    "time_scale": time_scale,
    "step_time_scale": step_time_scale,
    "exchanged_labels": exchanged,
    "charge_scale": charge_scale,
    "energy_scale": energy_scale,
    "backward_time": _backward_time,
    "backward_clock": _backward_clock,
    "duplicate_time": _duplicate_time,
    "missing_rows": missing_rows,
    "spikes": spiked,
    "astray": astray,
    "stuck_voltage": stuck,
    "charge_course": charge_course,
    "part_scale": part_scale,
    "cycle_counts": _cycle_counts,
    "possible_pause": _possible_pause,
    "voltage": _voltage,
    "voltage_scale": _low_voltage,
    "last_row": _last_row,
    "missing_values": _missing,
    "unsigned_current": undirected,
    "current_sign": doubt,
}
#: Checks that what lies between two rows may mislead.
_BETWEEN = (
    "charge_scale",
    "energy_scale",
    "missing_rows",
    "charge_course",
    "possible_pause",
)
_REPAIRS: dict[str, Callable[[RawTable], RawTable]] = {
    "repeated_rows": lambda table: without(table, copied(table)),
    "doubled_rows": lambda table: without(table, doubled(table)),
    "row_order": _mend_row_order,
    "time_scale": mend_time_scale,
    "spikes": without_spikes,
    "stuck_voltage": without_still,
    "cycle_counts": _mend_cycle_counts,
    "backward_time": _mend_backward_time,
    "backward_clock": _mend_backward_clock,
    "unsigned_current": signed_by_counters,
    "current_sign": reversed_current,
}
