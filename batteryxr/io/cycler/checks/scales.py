"""Hold the units of a file's columns against one another.

A cycler writes one thing several times: test time beside a clock and the time of each
step, the charge beside the current, the energy beside charge and voltage.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.kernels.times import NAT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batteryxr.io.cycler.table import RawTable

_UNITS = (3600.0, 60.0, 86_400.0)  # s in units that are mistaken for seconds
_SLOWEST = 1800.0  # s between rows while current flows; longer is implausible
_FAR_OFF = 10.0  # ratio of integral and counter; logging is never so poor
_OFF, _ALIKE = 1.5, 0.05  # the same if most rows say so, to this fraction
_MANY = 20  # rows in which a counter grows
_CHARGES = ("charge_capacity", "discharge_capacity"), "capacity"
_ENERGIES = ("charge_energy", "discharge_energy"), "energy"


def clock_of(table: RawTable) -> np.ndarray | None:
    """Return the clock of the rows in s, NaN if missing; None if there is no clock."""
    stamps = table.stamps
    if stamps is None or table.timed_by_clock:
        return None
    known = stamps != NAT
    first = stamps[int(np.argmax(known))]
    return np.where(known, (stamps - first) * 1e-9, np.nan)


def confirms_time(table: RawTable) -> bool:
    """Tell whether a table holds anything that shows the units of its test time."""
    told = {*_CHARGES[0], _CHARGES[1], *_ENERGIES[0], _ENERGIES[1]}
    return table.stamps is not None or not told.isdisjoint(table.columns)


def time_factor(
    columns: Mapping[str, np.ndarray], unix: np.ndarray | None
) -> tuple[float, str]:
    """Return the factor by which test time is too long, and the evidence (1: sound).

    A second clock in the file decides, or else the cycler's own counters, or else the
    time of its steps. Without them, hours written as seconds are recognised: no cycler
    waits so long between rows.
    """
    steps = np.diff(columns["test_time"])
    if not (steps > 0).any():
        return 1.0, ""
    if unix is not None and (ratio := _rates(columns["test_time"], unix)) is not None:
        factor = _nearest(ratio, (*_UNITS, 1000.0), 0.2)
        return (
            factor,
            f"the clock of the rows advances {1 / ratio:.4g} times as fast",
        )
    for found, names in (
        (_charge_ratio(columns), "the current is {:.4g} times the capacity"),
        (_energy_ratio(columns), "current and voltage is {:.4g} times the energy"),
    ):
        if found is not None:
            said = names.format(found[0])
            factor = _nearest(found[0], _UNITS, 0.1)
            return factor, f"the integral of the {said} that the cycler counted"
    if (ratio := _step_ratio(columns)) is not None:
        factor = _nearest(ratio, (*_UNITS, 1000.0), 0.1)
        if factor != 1.0:
            return factor, f"the step time advances {1 / ratio:.4g} times as fast"
    flowing = np.abs(columns["current"][1:]) > 0
    if (chosen := steps[flowing & (steps > 0)]).size:
        usual = float(np.median(chosen))
        if usual > _SLOWEST:
            return 3600.0, f"the median step is {usual:,.0f} s"
    return 1.0, ""


def _rates(times: np.ndarray, readings: np.ndarray) -> float | None:
    """Return the ratio of test time to the clock, from tick to tick."""
    rows = np.flatnonzero(np.isfinite(readings))
    ticked = rows[1:][np.diff(readings[rows]) > 0]
    ticks, steps = np.diff(readings[ticked]), np.diff(times[ticked])
    usual = (ticks > 0) & (steps > 0)
    if not usual.any():
        return None
    return float(np.median(steps[usual]) / np.median(ticks[usual]))


def _step_ratio(columns: Mapping[str, np.ndarray]) -> float | None:
    """Return the ratio of test time to step time within steps, or None without one."""
    if "step_time" not in columns:
        return None
    within, steps = np.diff(columns["step_time"]), np.diff(columns["test_time"])
    same = (within > 0) & (steps > 0)
    if not same.any():
        return None
    return float(steps[same].sum() / within[same].sum())


def _nearest(ratio: float, factors: Sequence[float], tolerance: float) -> float:
    for factor in factors:
        for candidate in (factor, 1 / factor):
            if abs(ratio / candidate - 1) < tolerance:
                return candidate
    return 1.0


def _charge_ratio(columns: Mapping[str, np.ndarray]) -> tuple[float, float] | None:
    """Return integral |I| dt over the cycler's own count, in all and usually."""
    return _ratio(columns, np.abs(columns["current"]), *_CHARGES)


def _energy_ratio(columns: Mapping[str, np.ndarray]) -> tuple[float, float] | None:
    """Return integral |V I| dt over the cycler's own count, in all and usually."""
    power = np.abs(columns["current"] * columns["voltage"])
    return _ratio(columns, power, *_ENERGIES)


def charge_flow(
    columns: Mapping[str, np.ndarray], current: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the charge (mA h) that passed and that was counted between rows.

    The counted charge is at most 0 where a counter was reset.

    Parameters
    ----------
    columns
        Columns of a table.
    current
        Magnitude of the current (mA); None: of the table's.
    """
    flow = np.abs(columns["current"]) if current is None else current
    return _flow(columns, flow, *_CHARGES)


def _flow(
    columns: Mapping[str, np.ndarray],
    flow: np.ndarray,
    separate: Sequence[str],
    common: str,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the integral of a flow between rows, and the growth of its counters."""
    counted = [np.abs(columns[name]) for name in separate if name in columns]
    if not counted and common in columns:
        counted = [np.abs(columns[common])]
    if not counted:
        return None
    steps = np.diff(columns["test_time"])
    passed = 0.5 * (flow[1:] + flow[:-1]) * steps / 3600
    return passed, np.max([np.diff(c) for c in counted], axis=0)


def _ratio(
    columns: Mapping[str, np.ndarray],
    flow: np.ndarray,
    separate: Sequence[str],
    common: str,
) -> tuple[float, float] | None:
    """Return the integral of a flow over its counters, in all and in most rows."""
    found = _flow(columns, flow, separate, common)
    if found is None:
        return None
    passed, grown = found
    total = float(grown[grown > 0].sum())
    steps = np.diff(columns["test_time"])
    integral = float(passed[(steps > 0) & np.isfinite(passed)].sum())
    if not (total > 0 and integral > 0 and np.isfinite(total)):
        return None
    alike = (grown > 0) & (steps > 0) & (passed > 0)
    usual = np.median(passed[alike] / grown[alike]) if alike.sum() >= _MANY else np.nan
    return integral / total, float(usual)


def _is_off(found: tuple[float, float] | None) -> bool:
    """Tell whether integral and counter differ by more than poor logging explains.

    Peaks of current between rows bring them far apart, but not in most rows.
    """
    if found is None:
        return False
    far = np.array([not 1 / most < found[0] < most for most in (_OFF, _FAR_OFF)])
    most_rows = abs(found[1] / found[0] - 1) < _ALIKE
    return bool(far[1] or (far[0] and most_rows))


def time_scale(table: RawTable) -> str | None:
    """Return a note if test time is in other units than its label says."""
    factor, evidence = time_factor(table.columns, clock_of(table))
    if factor == 1.0:
        return None
    wrong = f"x{factor:.4g}" if factor > 1 else f"/{1 / factor:.4g}"
    return f"test time looks {wrong} wrong: {evidence}"


def mend_time_scale(table: RawTable) -> RawTable:
    """Return a table with its test time in seconds."""
    factor, _ = time_factor(table.columns, clock_of(table))
    times = table.columns["test_time"] / factor
    return replace(table, columns={**table.columns, "test_time": times})


def step_time_scale(table: RawTable) -> str | None:
    """Return a note if the time of the steps contradicts a sound test time."""
    ratio = _step_ratio(table.columns)
    if ratio is None or _nearest(ratio, (*_UNITS, 1000.0), 0.1) == 1.0:
        return None
    if _time_is_off(table):
        return None
    return (
        f"test time advances {ratio:.4g} times as fast as the time of the steps, which "
        "is in other units than its label says"
    )


def _time_is_off(table: RawTable) -> bool:
    """Tell whether test time is in other units than told, which explains the rest."""
    return time_factor(table.columns, clock_of(table))[0] != 1.0


def charge_scale(table: RawTable) -> str | None:
    """Return a note if current and counter contradict the units in their labels."""
    found = _charge_ratio(table.columns)
    if found is None or not _is_off(found):
        return None
    if _time_is_off(table):
        return None
    return (
        f"the integral of the current is {found[0]:.3g} times the capacity that the "
        "cycler counted: is one of them, or the time, in other units than its label "
        "says, or are most rows missing? columns={'label': 'current (A)'} says what it "
        "is in"
    )


def energy_scale(table: RawTable) -> str | None:
    """Return a note if energy contradicts voltage and current, which agree otherwise.

    Where the charge contradicts the current as well, only that is told.
    """
    found = _energy_ratio(table.columns)
    if found is None or not _is_off(found) or _is_off(_charge_ratio(table.columns)):
        return None
    if _time_is_off(table):
        return None
    return (
        f"the integral of current and voltage is {found[0]:.3g} times the energy that "
        "the cycler counted: is one of them in other units than its label says? "
        "columns={'label': 'voltage (mV)'} says what it is in"
    )
