"""Does a table make sense? Says what does not, and mends it only when asked by name."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batteryxr.io.cycler.table import RawTable

_UNITS = (3600.0, 60.0, 86_400.0)  # s in what is taken for seconds
_SLOWEST = 1800.0  # s between rows while current flows: no cycler records so rarely
_DUPLICATES = 0.05  # fraction of rows: more than step changes can explain
_HIGHEST = 1000.0  # V

_Columns = dict[str, np.ndarray]


def known(repair: str | Sequence[str]) -> tuple[str, ...]:
    """Return the flags to mend, checked.

    Raises
    ------
    ArgumentError
        If one cannot be mended.
    """
    names = (repair,) if isinstance(repair, str) else tuple(repair)
    for name in names:
        if name not in _REPAIRS:
            raise ArgumentError("repair", name, f"some of {sorted(_REPAIRS)}")
    return names


def unused(wanted: Sequence[str], tables: Sequence[RawTable]) -> list[str]:
    """Return a message for each repair that found nothing to mend."""
    done = {name for table in tables for name in table.repaired}
    return [
        f"repair={name!r}: nothing to mend, the data are as read"
        for name in wanted
        if name not in done
    ]


def examine(table: RawTable, wanted: Sequence[str], name: str = "") -> RawTable:
    """Return the table with a note for each flag, those in `wanted` mended.

    Parameters
    ----------
    table
        As read.
    wanted
        Flags to mend.
    name
        File name, for the record of what was mended.
    """
    notes, repaired = dict(table.notes), dict(table.repaired)
    columns = dict(table.columns)
    for flag, find in _CHECKS.items():
        problem = find(columns, table.unix_time)
        if problem is None:
            continue
        if flag in wanted:
            columns = _REPAIRS[flag](columns, table.unix_time)
            repaired[flag] = f"{name}: {flag} mended ({problem})"
        else:
            mend = f" (repair={flag!r} mends it)" if flag in _REPAIRS else ""
            notes[flag] = problem + mend
    return dataclasses.replace(table, columns=columns, notes=notes, repaired=repaired)


def time_factor(columns: _Columns, unix: np.ndarray | None) -> tuple[float, str]:
    """Return how many times too long the test time is, and the evidence (1: sound).

    A second clock in the file decides; else the cycler's own capacity; else, for
    hours written as seconds, that no cycler waits so long between rows.
    """
    steps = np.diff(columns["test_time"])
    if not (steps > 0).any():
        return 1.0, ""
    median = float(np.median(steps[steps > 0]))
    if unix is not None and ((ticks := np.diff(unix)) > 0).any():
        ratio = median / float(np.median(ticks[ticks > 0]))
        factor = _nearest(ratio, (*_UNITS, 1000.0), 0.2)
        return (
            factor,
            f"the Unix times of the rows advance {1 / ratio:.4g} times as fast",
        )
    if (excess := _charge_ratio(columns)) is not None:
        factor = _nearest(excess, _UNITS, 0.1)
        return factor, (
            f"the integral of the current is {excess:.4g} times the capacity "
            "that the cycler counted"
        )
    flowing = np.abs(columns["current"][1:]) > 0
    if (chosen := steps[flowing & (steps > 0)]).size:
        usual = float(np.median(chosen))
        if usual > _SLOWEST:
            return 3600.0, f"the median step is {usual:,.0f} s"
    return 1.0, ""


def _nearest(ratio: float, factors: Sequence[float], tolerance: float) -> float:
    for factor in factors:
        for candidate in (factor, 1 / factor):
            if abs(ratio / candidate - 1) < tolerance:
                return candidate
    return 1.0


def _charge_ratio(columns: _Columns) -> float | None:
    """Return integral |I| dt over the cycler's own count, where it has one."""
    counted = [
        np.abs(columns[name])
        for name in ("charge_capacity", "discharge_capacity")
        if name in columns
    ]
    if not counted and "capacity" in columns:
        counted = [np.abs(columns["capacity"])]
    if not counted:
        return None
    growth = [np.diff(c) for c in counted]
    total = sum(float(g[g > 0].sum()) for g in growth)
    steps = np.diff(columns["test_time"])
    current = np.abs(columns["current"])
    passed = 0.5 * (current[1:] + current[:-1]) * steps / 3600
    integral = float(passed[(steps > 0) & np.isfinite(passed)].sum())
    if not (total > 0 and integral > 0 and np.isfinite(total)):
        return None
    return integral / total


def _time_scale(columns: _Columns, unix: np.ndarray | None) -> str | None:
    factor, evidence = time_factor(columns, unix)
    if factor == 1.0:
        return None
    wrong = f"x{factor:.4g}" if factor > 1 else f"/{1 / factor:.4g}"
    return f"test time looks {wrong} wrong: {evidence}"


def _backward_time(columns: _Columns, unix: np.ndarray | None) -> str | None:
    steps = np.diff(columns["test_time"])
    back = steps[steps < 0]
    if not back.size:
        return None
    return f"{back.size} backward time steps, the largest of {back.min():.6g} s"


def _duplicate_time(columns: _Columns, unix: np.ndarray | None) -> str | None:
    same = int((np.diff(columns["test_time"]) == 0).sum())
    if same <= max(1.0, _DUPLICATES * len(columns["test_time"])):
        return None
    return f"{same} rows repeat the time of the row before"


def _cycle_counts(columns: _Columns, unix: np.ndarray | None) -> str | None:
    counts = columns.get("cycle")
    if counts is None or not np.isfinite(counts).all():
        return None
    turns = counts / (2 * np.pi)
    if not counts.any() or np.abs(turns - np.round(turns)).max() > 1e-6:
        return None
    return "cycle numbers are multiples of 2 pi: a unit library read cycles as turns"


def _voltage(columns: _Columns, unix: np.ndarray | None) -> str | None:
    voltage = columns["voltage"]
    if np.isnan(voltage).all():
        return "no row has a voltage"
    if not np.nan_to_num(voltage).any():
        return "all voltages are zero"
    if (most := float(np.nanmax(np.abs(voltage)))) > _HIGHEST:
        return f"the voltage reaches {most:.3g} V"
    return None


def _missing(columns: _Columns, unix: np.ndarray | None) -> str | None:
    gone = [
        f"{int(np.isnan(columns[name]).sum())} rows without {name}"
        for name in ("voltage", "current")
        if np.isnan(columns[name]).any()
    ]
    return ", ".join(gone) or None


def _unsigned(columns: _Columns, unix: np.ndarray | None) -> str | None:
    counted = columns.get("discharge_capacity")
    current = columns["current"]
    if counted is None or not (current > 0).any() or (current < 0).any():
        return None
    growth = np.diff(counted)
    if not (growth[current[1:] > 0] > 0).any():
        return None
    return "the current is never negative although the cell was discharged"


def _mend_time_scale(columns: _Columns, unix: np.ndarray | None) -> _Columns:
    factor, _ = time_factor(columns, unix)
    return columns | {"test_time": columns["test_time"] / factor}


def _mend_cycle_counts(columns: _Columns, unix: np.ndarray | None) -> _Columns:
    return columns | {"cycle": np.round(columns["cycle"] / (2 * np.pi))}


def _mend_backward_time(columns: _Columns, unix: np.ndarray | None) -> _Columns:
    """Let the clock go on by a median step where it was set back."""
    steps = np.diff(columns["test_time"])
    forward = steps[steps > 0]
    steps[steps < 0] = np.median(forward) if forward.size else 0.0
    first = columns["test_time"][:1]
    return columns | {"test_time": np.concatenate([first, first + np.cumsum(steps)])}


_CHECKS: dict[str, Callable[[_Columns, np.ndarray | None], str | None]] = {
    "time_scale": _time_scale,
    "backward_time": _backward_time,
    "duplicate_time": _duplicate_time,
    "cycle_counts": _cycle_counts,
    "voltage": _voltage,
    "missing_values": _missing,
    "unsigned_current": _unsigned,
}
_REPAIRS: dict[str, Callable[[_Columns, np.ndarray | None], _Columns]] = {
    "time_scale": _mend_time_scale,
    "cycle_counts": _mend_cycle_counts,
    "backward_time": _mend_backward_time,
}
