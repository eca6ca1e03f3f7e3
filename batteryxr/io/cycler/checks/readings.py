"""Find readings that no cell gave: marks, spikes, and what a counter contradicts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from batteryxr.core.kernels.ranks import quantile
from batteryxr.io.cycler.checks.completeness import switches
from batteryxr.io.cycler.checks.flows import charge_flow
from batteryxr.io.cycler.table import filled
from batteryxr.io.door.marks import marks_in

if TYPE_CHECKING:
    from batteryxr.io.cycler.table import RawTable

_WIDEST, _MOST = 3, 0.02  # rows of one spike, and part of all rows that are spikes
_JUDGED = 5000  # most isolated readings that are judged
_FAR, _NEAR = 0.3, 0.1  # of the others' size beyond them; of a spike, between its sides
_BEYOND = 0.5  # V of an isolated voltage beyond its neighbours, at least
#: Or else V, part of its range, and usual changes under a steady current.
_LEAST, _PART, _TIMES = 0.05, 0.05, 12.0
_UNCOUNTED = 0.2  # part of a spike's charge that a counter may count
_USUAL = 0.95  # part of changes of voltage that are usual
_STEADY = 0.01  # relative change of a current that is none
_FLOWS = 0.05  # of the largest current; the voltage of a cell moves under more
_SHORT, _BEFORE = 50, 20  # fewest rows that stand still, and rows beside that show more
_MOVING, _FELL = 0.8, 3.0  # part of them that move; noise of the current that is none
_SWITCH, _DIGITS = 0.1, 5.0  # of the largest current; digits that a voltage then moves
_BLOCK = 20  # rows over which current and counter are compared
#: Blocks that pass this part of what the larger ones pass tell; those agree to a
#: fraction, and most of them agree; blocks of a smaller sum so small are apart.
_TELLING, _AGREE, _MOSTLY, _APART = 0.3, 0.1, 0.8, 0.5
_AFTER = 3  # rows before and after a switch, of one current each
_MINUTES, _BESIDE = (60.0, 1e3, 3600.0), 10  # between the units of a time; rows
_THOUSANDS = 1e3, 1e6  # between the units of a current
_PLAIN = 3.0  # times the largest other current: no cell that answers nothing gave it
#: How columns take negative numbers; others hold no readings.
_NEGATIVE: dict[str, Literal["usual", "odd", "never"]] = {
    "voltage": "never",
    "current": "usual",
    "temperature": "odd",
    "capacity": "usual",
    "charge_capacity": "never",
    "discharge_capacity": "never",
    "energy": "usual",
    "charge_energy": "never",
    "discharge_energy": "never",
}


#: Columns that count or change slowly, and how far they stray at least, beside the
#: usual change and a part of their size.
_COURSES = {"cycle": 1.5, "step": 1.5, "temperature": 5.0} | dict.fromkeys(
    [n for n in _NEGATIVE if n.endswith(("capacity", "energy"))], 0.0
)
_VISIBLE = 1e-3
#: Difference, relative to the largest current, of a current that only lost its sign.
_MIRROR = 1e-3


def spikes(table: RawTable, name: str) -> np.ndarray:
    """Return which rows of current or voltage are isolated, and no cell's.

    A current that no counter counted and no voltage answered; a voltage that jumps and
    returns under a steady current.
    """
    values = table.columns[name]
    found = np.zeros(table.rows, bool)
    if table.rows < _BEFORE:
        return found
    if name == "voltage":
        steady = is_steady(table.columns["current"], _SWITCH)
        moved = np.abs(np.diff(values))[steady]
        usual = _usual(moved) if moved.size else np.inf
        far = max(_BEYOND, _FAR * float(np.ptp(_known(values))))
        near = max(_LEAST, _PART * float(np.ptp(_known(values))), _TIMES * usual)
        least = min(far, near)
        for first, last in _isolated(values, least):
            found[first:last] |= steady[first - 1 : last].all()
    else:
        least = _FAR * _size(values)
        places = _isolated(values, least)
        silent = _uncounted(table, places) if places else []
        for (first, last), no in zip(places, silent, strict=True):
            found[first:last] |= no
    few = found.sum() <= max(_WIDEST, _MOST * table.rows)
    return found if few else np.zeros(table.rows, bool)


def _known(values: np.ndarray) -> np.ndarray:
    finite = np.isfinite(values)
    known = values if finite.all() else values[finite]
    return known if known.size else np.zeros(1)


def _size(values: np.ndarray) -> float:
    """Return the size of the largest values, without those that may be spikes."""
    return float(quantile(np.abs(_known(values)), 1 - _MOST))


def _usual(moved: np.ndarray) -> float:
    """Return the change that most changes of a reading do not exceed."""
    known = moved[~np.isnan(moved)]
    return float(quantile(known, _USUAL)) if known.size else np.nan


def _isolated(values: np.ndarray, least: float) -> list[tuple[int, int]]:
    """Return rows that are far from both neighbours, on one side, which are alike."""
    found: list[tuple[int, int]] = []
    begin = np.flatnonzero(np.abs(np.diff(values)) > max(least, 0))
    for wide in range(1, _WIDEST + 1):
        begin = begin[begin < values.size - wide - 1]
        inside = values[begin[:, None] + np.arange(1, wide + 1)]
        low, high = inside.min(axis=1), inside.max(axis=1)
        before, after = values[begin], values[begin + wide + 1]
        above = low - np.maximum(before, after)
        below = np.minimum(before, after) - high
        far = np.maximum(above, below)
        alike = np.abs(before - after) < _NEAR * far
        places = begin[(far > max(least, 0)) & alike]
        found += [(k + 1, k + 1 + wide) for k in places.tolist()]
    return found[:_JUDGED]


def _uncounted(table: RawTable, places: list[tuple[int, int]]) -> list[bool]:
    """Tell by the counters, or else by the voltage, which currents did not flow."""
    columns = table.columns
    current = filled(columns["current"])
    flow, time = charge_flow(columns), columns["test_time"]
    digit = (
        np.inf if flow is None else float(np.min(flow[1][flow[1] > 0], initial=np.inf))
    )
    moved, steady = np.abs(np.diff(columns["voltage"])), is_steady(current)
    tells = steady.sum() >= _BEFORE
    usual = _usual(moved[steady]) if tells else 0.0
    answers = tells and bool(_answered(columns["voltage"], current).any())
    most = _size(current)
    judged = []
    for first, last in places:
        rows = slice(first - 1, last)
        if flow is not None:
            beside = np.abs(current[[first - 1, last]]).mean()
            without = float(beside * (time[last] - time[first - 1])) / 3600
            more = float(flow[0][rows].sum()) - without
            counted = float(np.clip(flow[1][rows], 0, None).sum()) - without
            if (flow[1][rows] >= 0).all() and abs(more) > _DIGITS * digit:
                judged.append(abs(counted) < _UNCOUNTED * abs(more))
                continue
        unseen = tells and max(moved[first - 1], moved[last - 1]) <= usual
        far = abs(current[first]) > _PLAIN * most
        turned = abs(current[first] + current[first - 1]) <= _MIRROR * most
        alone = turned and last - first == 1
        judged.append(bool(unseen and (answers or far or alone)))
    return judged


def is_steady(current: np.ndarray, most_change: float = _STEADY) -> np.ndarray:
    """Return between which rows the current is the same."""
    most = _size(current)
    return np.asarray(np.abs(np.diff(current)) <= most_change * most)


def spiked(table: RawTable) -> str | None:
    """Return a note if single readings of current or voltage are no cell's."""
    said = []
    for name, why in (
        ("current", "that no counter or voltage answered"),
        ("voltage", "under a steady current"),
    ):
        rows = spikes(table, name)
        if rows.any():
            row = int(np.argmax(rows))
            most = float(table.columns[name][row])
            said.append(
                f"{int(rows.sum())} rows hold a {name} far from their neighbours', "
                f"{why} (first row {row}: {most:.5g})"
            )
    return "; ".join(said) or None


def astray(table: RawTable) -> str | None:
    """Return a note if a counter or a temperature leaves its course, and comes back."""
    said = []
    for name, least in _COURSES.items():
        values = table.columns.get(name)
        if values is None or table.rows < _BEFORE:
            continue
        moved = np.abs(np.diff(_known(values)))
        usual = _usual(moved) if moved.size else 0.0
        least = max(least, _TIMES * usual, _VISIBLE * _size(values))
        places = _isolated(values, least)
        if 0 < len(places) <= max(_WIDEST, _MOST * table.rows):
            row = places[0][0]
            said.append(
                f"{name} goes from {values[row - 1]:.5g} to {values[row]:.5g} in row "
                f"{row} and comes back"
            )
    return f"{'; '.join(said)}: no cell does so. Copy the file again" if said else None


def without_spikes(table: RawTable) -> RawTable:
    """Return a table with NaN for single readings that are no cell's."""
    columns = dict(table.columns)
    for name in ("current", "voltage"):
        columns[name] = np.where(spikes(table, name), np.nan, columns[name])
    return replace(table, columns=columns)


def still(table: RawTable) -> np.ndarray:
    """Return which rows repeat the voltage of the row before while charge flows.

    Not where a cycler holds it: there the current falls.
    """
    voltage, current = (table.columns[name] for name in ("voltage", "current"))
    found = np.zeros(table.rows, bool)
    if table.rows < _SHORT:
        return found
    current = filled(current)
    changed, steady = np.diff(voltage) != 0, is_steady(current)
    edges = np.flatnonzero(np.concatenate([[True], changed, [True]]))
    long = np.flatnonzero(np.diff(edges) >= _SHORT)
    flows = np.abs(current) > _FLOWS * np.max(np.abs(current), initial=0.0)
    answered = _answered(voltage, current)
    for first, last in zip(edges[long].tolist(), edges[long + 1].tolist(), strict=True):
        if flows[first:last].sum() < _BEFORE:
            continue
        ignored = answered[first + _AFTER : last - 1 - _AFTER].any()
        if ignored or _held_by_none(changed, steady, current, first, last):
            found[first + 1 : last] = True
    return found


def _answered(voltage: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Return where the current is switched, if the voltage mostly answers that.

    It is the same for some rows before and after: no cycler holds a voltage so.
    """
    most = _size(current)
    changes, moved = np.abs(np.diff(current)), np.abs(np.diff(voltage))
    near = np.convolve(changes > _STEADY * most, np.ones(2 * _AFTER + 1), "same")
    switched = (changes > _SWITCH * most) & (near < 1.5)
    if not switched.any() or not (moved > 0).any():
        return np.zeros(switched.size, bool)
    digit = float(np.min(moved[moved > 0]))
    mostly = float(np.nanmedian(moved[switched])) > _DIGITS * digit
    return switched if mostly else np.zeros(switched.size, bool)


def _held_by_none(
    changed: np.ndarray, steady: np.ndarray, current: np.ndarray, first: int, last: int
) -> bool:
    """Tell whether a voltage begins or ends to stand still while nothing else changes.

    Beside it nearly every row has another voltage, under the same current.
    """
    inside = current[first:last]
    few = inside.size // 4
    fell = abs(float(inside[-few:].mean() - inside[:few].mean()))
    if not steady[first : last - 1].all():
        return False
    for beside in (slice(first - 1 - _BEFORE, first), slice(last - 1, last + _BEFORE)):
        if beside.start < 0 or beside.stop > changed.size:
            continue
        noise = max(float(current[beside].std()), 1e-4 * abs(float(inside.mean())))
        moving = changed[beside].mean() > _MOVING and steady[beside].all()
        if moving and fell < _FELL * noise:
            return True
    return False


def stuck(table: RawTable) -> str | None:
    """Return a note if the voltage stands still while charge flows."""
    rows = still(table)
    if not rows.any():
        return None
    row = int(np.argmax(rows))
    return (
        f"the voltage stands still in {int(rows.sum())} rows while current flows, from "
        f"row {row} on ({float(table.columns['voltage'][row]):.5g} V): it was not read "
        "there"
    )


def without_still(table: RawTable) -> RawTable:
    """Return a table with NaN where the voltage stands still while charge flows."""
    voltage = np.where(still(table), np.nan, table.columns["voltage"])
    return replace(table, columns={**table.columns, "voltage": voltage})


def charge_course(table: RawTable) -> str | None:
    """Return a note if the counted charge follows the current, but not everywhere.

    Rows that are gone, a current that stood still or came in other units for a while,
    and a test that waited while its time ran on are known by it.
    """
    flow = charge_flow(table.columns)
    if flow is None or table.rows < _BEFORE:
        return None
    passed, grown = flow
    # What flowed at a switch is unclear.
    near = np.convolve(switches(table), np.ones(3), "same") > 0
    known = np.isfinite(passed) & (grown >= 0) & (passed >= 0) & ~near
    passed, grown = np.where(known, passed, 0.0), np.where(known, grown, 0.0)
    starts = np.arange(0, passed.size, _BLOCK)
    sums = [np.add.reduceat(part, starts) for part in (passed, grown)]
    larger, smaller = np.maximum(*sums), np.minimum(*sums)
    order = np.argsort(larger)
    half = np.searchsorted(np.cumsum(larger[order]), 0.5 * larger.sum())
    telling = larger > _TELLING * larger[order][min(int(half), order.size - 1)]
    agree = telling & (smaller > (1 - _AGREE) * larger)
    if agree.sum() < _MOSTLY * telling.sum():
        return None
    apart = np.flatnonzero(telling & (smaller < _APART * larger))
    if not apart.size:
        return None
    worst = int(apart[np.argmax(larger[apart] - smaller[apart])])
    first, last = _BLOCK * worst, min(_BLOCK * (worst + 1), table.rows - 1)
    return (
        f"the current gives the charge that the cycler counted, but not in "
        f"{apart.size} places: from row {first} to {last} it gives "
        f"{sums[0][worst]:.3g} mA h and {sums[1][worst]:.3g} were counted. Are rows "
        "missing there, or is the current no reading?"
    )


def part_scale(table: RawTable) -> str | None:
    """Return a note where a part of the rows came in other units.

    The current changes a thousandfold, which any cell would answer, and the voltage
    does not; or the pace of the rows changes sixtyfold, and that of the voltage not.
    """
    if (note := _time_part(table)) is not None:
        return note
    current, voltage = table.columns["current"], table.columns["voltage"]
    size, some = np.abs(current), _by_factors(current, _THOUSANDS)
    some = some[np.sign(current[some + 1]) == np.sign(current[some])]
    large = np.maximum(size[some + 1], size[some])
    places = some[large > _FLOWS * _size(current)] if some.size else some
    if not places.size or table.rows < _BEFORE or places.size > _MOST * table.rows:
        return None
    moved = np.abs(np.diff(voltage))
    beside = np.ones(moved.size, bool)
    beside[places] = False
    usual = _usual(moved[beside])
    calm = places[moved[places] <= usual]
    if not calm.size:
        return None
    row = int(calm[0]) + 1
    return (
        f"the current goes from {current[row - 1]:.4g} to {current[row]:.4g} mA before "
        f"row {row}, and the voltage does not answer: is a part of the file in other "
        "units?"
    )


def _by_factors(values: np.ndarray, factors: tuple[float, ...]) -> np.ndarray:
    """Return after which numbers the next is one of some times larger or smaller."""
    size = np.abs(values)
    least = 0.5 * min(factors)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        far = (size[1:] > least * size[:-1]) | (size[:-1] > least * size[1:])
        some = np.flatnonzero(far)  # dividing all takes longer
        one, other = size[some + 1], size[some]
        ratio = np.maximum(one / other, other / one)
        near = [np.abs(ratio / factor - 1) < _STEADY for factor in factors]
    return some[np.any(near, axis=0)]


def _time_part(table: RawTable) -> str | None:
    """Return a note where intervals change sixtyfold but steps of the voltage do not.

    A cycler that records more often within a step sees the voltage move less in each
    interval.
    """
    time, voltage = table.columns["test_time"], table.columns["voltage"]
    steps, current = np.diff(time), table.columns["current"]
    if table.rows < _BEFORE or not (steps > 0).all():
        return None
    odd = _by_factors(steps, _MINUTES)
    steady = is_steady(current) if odd.size else np.zeros(0, bool)
    for k in odd[steady[odd + 1] & steady[odd]].tolist():
        before, after = slice(k + 1 - _BESIDE, k + 1), slice(k + 1, k + 1 + _BESIDE)
        if k + 1 < _BESIDE or k + 1 + _BESIDE > steps.size:
            continue
        even = all(np.ptp(steps[s]) < _STEADY * steps[s].max() for s in (before, after))
        if not (even and steady[before].all() and steady[after].all()):
            continue
        moved = np.diff(voltage[[before.start, before.stop, after.stop]])
        noise = float(np.std(np.diff(voltage[before.start : after.stop + 1])))
        if np.abs(moved).min() > _FELL * noise and 0.5 < moved[0] / moved[1] < 2.0:
            return (
                f"the time between rows goes from {steps[k]:.4g} to {steps[k + 1]:.4g} "
                f"s before row {k + 2}, and the voltage moves from row to row as "
                "before: is a part of the times in other units?"
            )
    return None


def without_marks(table: RawTable) -> RawTable:
    """Return a table with NaN for numbers such as 65.535 V or 9999, and a note."""
    columns, said = dict(table.columns), []
    for name, negative in _NEGATIVE.items():
        values = columns.get(name)
        if values is None or not (found := marks_in(values, negative=negative)).any():
            continue
        columns[name] = np.where(found, np.nan, values)
        row = int(np.argmax(found))
        said.append(
            f"{int(found.sum())} rows hold {values[row]:.9g} or such as {name} (first "
            f"row {row})"
        )
    if not said:
        return table
    words = f"{'; '.join(said)}: no reading, but the mark of a missing one. NaN"
    return replace(table, columns=columns, notes={**table.notes, "marks": words})
