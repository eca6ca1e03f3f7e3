"""Tell whether the labels of two columns of a file are exchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.io.cycler.checks.scales import charge_flow

if TYPE_CHECKING:
    from batteryxr.io.cycler.table import RawTable

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
        usual = float(np.median(ratios))
        spread = float(np.median(np.abs(ratios / usual - 1)))
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
    jumps, moves = np.abs(np.diff(voltage)), np.abs(np.diff(current))
    ranges = np.ptp(voltage), np.ptp(current)
    if (
        not (rests > _RESTS or both_ways)
        or jumps.max() < _JUMP * ranges[0]
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
    level, numbers = float(np.median(voltage)), current / _ampere(current)
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
    return 1e3 if np.median(current) > 1e3 * _CELL[0] else 1.0


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
