"""Hold the units of a file's columns against one another.

A cycler writes one thing several times: test time beside a clock and the time of each
step, the charge beside the current, the energy beside charge and voltage.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.kernels.ranks import median
from batteryxr.core.kernels.times import NAT
from batteryxr.io.cycler.checks.flows import CHARGES, charge_flow, flow_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batteryxr.io.cycler.table import RawTable

_UNITS = (3600.0, 60.0, 86_400.0)  # s in units that are mistaken for seconds
_SLOWEST = 1800.0  # s between rows while current flows; longer is implausible
_FAR_OFF = 10.0  # ratio of integral and counter; logging is never so poor
_OFF, _ALIKE = 1.5, 0.05  # the same if most rows say so, to this fraction
_ENERGIES = ("charge_energy", "discharge_energy"), "energy"
_MANY = 20  # rows in which a counter grows, or that show a role
_RIGHT, _WRONG = 0.02, 0.1  # relative: a current fits its counter, or does not
_RESTING = 1e-3  # of the largest value; smaller ones are none
_RESTS = 0.01  # of the rows, at least, in which a current rests
#: Of its range: what a current jumps at a switch, and what a voltage never does.
_JUMP, _SMOOTH = 0.3, 0.5
_SWITCH = 0.1  # of its range: a current is switched there
#: Sum of drifts, in ranges, where the sign turns, and least range of a plateau.
_TURNED, _SLOPES, _MOSTLY = 0.3, 5e-3, 0.9  # and part of drifts of one way
_VARIES = 0.02  # of its size; a voltage varies more, and a steady current less
_CELL, _ROOM = (0.5, 5.5), (8.0, 80.0)  # V of one cell, and degC of a room or chamber
_FAR, _LIKE = 3.0, 2.0  # times the usual change: a response, and none


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
    told = {*CHARGES[0], CHARGES[1], *_ENERGIES[0], _ENERGIES[1]}
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
        usual = float(median(chosen))
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
    return float(median(steps[usual]) / median(ticks[usual]))


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
    return _ratio(columns, np.abs(columns["current"]), *CHARGES)


def _energy_ratio(columns: Mapping[str, np.ndarray]) -> tuple[float, float] | None:
    """Return integral |V I| dt over the cycler's own count, in all and usually."""
    power = np.abs(columns["current"] * columns["voltage"])
    return _ratio(columns, power, *_ENERGIES)


def _ratio(
    columns: Mapping[str, np.ndarray],
    flow: np.ndarray,
    separate: Sequence[str],
    common: str,
) -> tuple[float, float] | None:
    """Return the integral of a flow over its counters, in all and in most rows."""
    found = flow_of(columns, flow, separate, common)
    if found is None:
        return None
    passed, grown = found
    steps = np.diff(columns["test_time"])
    # Where a flow falls steeply from row to row, all between the two is possible.
    ends = np.sort([flow[1:] * steps, flow[:-1] * steps], axis=0) / 3600
    passed = np.where(grown > 0, np.clip(grown, *ends), passed)
    counts, flows = grown > 0, (steps > 0) & np.isfinite(passed)
    most = int(np.argmax(np.where(counts, grown, 0.0)))
    if grown[most] > 0.5 * grown[counts].sum():
        counts[most] = flows[most] = False  # a count that begins elsewhere is no flow
    total, integral = float(grown[counts].sum()), float(passed[flows].sum())
    if not (total > 0 and integral > 0 and np.isfinite(total)):
        return None
    alike = (grown > 0) & (steps > 0) & (passed > 0)
    usual = median(passed[alike] / grown[alike]) if alike.sum() >= _MANY else np.nan
    return integral / total, float(usual)


def _is_off(found: tuple[float, float] | None) -> bool:
    """Tell whether integral and counter differ by more than poor logging explains.

    Peaks of current between rows bring them far apart, but not in most rows.
    """
    if found is None:
        return False
    if abs(found[1] - 1) < _WRONG:  # one jump of a counter outweighs all other rows
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


def exchanged(table: RawTable) -> str | None:
    """Return a note if voltage and another column seem to be exchanged."""
    evidence = _counted(table)
    if evidence is None:
        evidence = _behaves(table) or _regulated(table)
    if evidence:
        return _said(table, "current", evidence)
    if (evidence := _warm(table)) is not None:
        return _said(table, "temperature", evidence)
    return None


def _said(table: RawTable, other: str, evidence: str) -> str:
    labels = [table.labels.get(name, name) for name in ("voltage", other)]
    return (
        f"the labels of voltage and {other}, {labels[0]!r} and {labels[1]!r}, seem to "
        f"be exchanged: {evidence}. If so, read it again with columns={{"
        f"{labels[0]!r}: '{other} (its unit)', {labels[1]!r}: 'voltage (V)'}}"
    )


def _counted(table: RawTable) -> str | None:
    """Tell whether the charge that was counted follows the voltage instead.

    Empty where it follows the current, None where it follows neither.
    """
    columns = table.columns
    fits = {}
    for name in ("current", "voltage"):
        flow = charge_flow(columns, np.abs(columns[name]))
        if flow is None:
            return None
        passed, grown = flow
        told = (grown > 0) & (passed > 0)
        if told.sum() < _MANY:
            return None
        ratios = passed[told] / grown[told]
        usual = float(median(ratios))
        spread = float(median(np.abs(ratios / usual - 1)))
        fits[name] = usual, spread
    usual, spread = fits["current"]
    if abs(usual - 1) < _WRONG and spread < _WRONG:
        return ""
    usual, spread = fits["voltage"]
    decades = 10.0 ** round(np.log10(usual))  # V that are A, mA or uA
    if spread > _RIGHT or abs(usual / decades - 1) > _RIGHT:
        return None
    return "the charge that the cycler counted follows the first, and not the second"


def _behaves(table: RawTable) -> str | None:
    """Tell whether the voltage rests at 0 and is switched, and the current is not."""
    voltage, current = table.columns["voltage"], np.abs(table.columns["current"])
    known = np.isfinite(voltage) & np.isfinite(current)
    voltage, current = voltage[known], current[known]
    if voltage.size < _MANY or not voltage.any() or not current.all():
        return None
    size = float(np.max(np.abs(voltage)))
    rests = float(np.mean(np.abs(voltage) < _RESTING * size))
    both_ways = min(voltage.max(), -voltage.min()) > _SWITCH * size
    if not (rests > _RESTS or both_ways):
        return None
    jumps, moves = np.abs(np.diff(voltage)), np.abs(np.diff(current))
    ranges = np.ptp(voltage), np.ptp(current)
    if (
        jumps.max() < _JUMP * ranges[0]
        or ranges[1] < (_SLOPES if both_ways else _VARIES) * current.max()
    ):
        return None
    switches = np.flatnonzero(jumps > _SWITCH * ranges[0])
    first, last = np.append(0, switches + 1), np.append(switches, voltage.size - 1)
    drifts = [
        float(np.abs(values[last] - values[first]).sum()) / span
        for values, span in zip((voltage, current), ranges, strict=True)
    ]
    # A cell's voltage rises while it charges and falls while it discharges.
    goes = (current[last] - current[first]) * np.sign(voltage[last])
    follows = both_ways and abs(goes.sum()) > _MOSTLY * np.abs(goes).sum()
    if drifts[1] < (_TURNED if follows else 1.0) or drifts[1] < _FAR * drifts[0]:
        return None
    if moves.max() > (1.0 if follows else _SMOOTH) * ranges[1]:
        return None
    return (
        "the first rests at 0 or turns its sign and is switched between constants, the "
        "second never is 0 and moves smoothly between the switches"
    )


def _regulated(table: RawTable) -> str | None:
    """Tell whether the voltage is held and the current is a cell's voltage in a charge.

    A current at a held voltage has its sign, and falls.
    """
    voltage, current = table.columns["voltage"], table.columns["current"]
    known = np.isfinite(voltage) & np.isfinite(current)
    voltage, current = voltage[known], current[known]
    if voltage.size < _MANY or not voltage.any():
        return None
    if np.ptp(voltage) > 3 * _RESTING * np.abs(voltage[0]):
        return None  # no median of it is held
    level, numbers = float(median(voltage)), current / _ampere(current)
    held = np.abs(voltage - level).max() < _RESTING * abs(level)
    if not (held and _CELL[0] < numbers.min() and numbers.max() < _CELL[1]):
        return None
    few = voltage.size // 4
    rise = float(current[-few:].mean() - current[:few].mean())
    varies = np.ptp(current) > _SLOPES * current.max()
    smooth = np.abs(np.diff(current)).max() < _SMOOTH * np.ptp(current)
    if not (varies and smooth and (level < 0 or rise > 0.2 * np.ptp(current))):
        return None
    return (
        f"the first is held at {level:.4g}, and the second goes its way from "
        f"{numbers[0]:.4g} to {numbers[-1]:.4g}, as no current at a held voltage does"
    )


def _ampere(current: np.ndarray) -> float:
    """Return by what numbers of a file, in mA or A, became mA."""
    return 1e3 if median(current) > 1e3 * _CELL[0] else 1.0


def _warm(table: RawTable) -> str | None:
    """Tell whether the temperature answers the current, and the voltage does not."""
    columns = table.columns
    if "temperature" not in columns:
        return None
    voltage, other = columns["voltage"], columns["temperature"]
    current = columns["current"]
    if min(np.isfinite(c).sum() for c in (voltage, other, current)) < _MANY:
        return None
    room, cell = float(np.nanmedian(voltage)), float(np.nanmedian(other))
    if not (_ROOM[0] < room < _ROOM[1] and _CELL[0] < cell < _CELL[1]):
        return None
    changes = np.abs(np.diff(current))
    switched = changes > _JUMP * float(np.nanmax(np.abs(current)))
    if switched.sum() < 2 or (~switched).sum() < _MANY:
        return None
    answers = []
    for values in (voltage, other):
        moved = np.abs(np.diff(values))
        usual = float(np.nanquantile(moved[~switched], 0.9))
        answers.append(float(np.nanmedian(moved[switched])) / max(usual, 1e-12))
    if answers[1] < _FAR or answers[0] > _LIKE:
        return None
    return f"the second, of {cell:.3g}, answers the current, and the first does not"
