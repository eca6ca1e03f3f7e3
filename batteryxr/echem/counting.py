"""Count the half cycles of a record: the rule, and the table of results."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from batteryxr.core import bounds
from batteryxr.core.blocks import stream
from batteryxr.core.checks import Bounds, check_fields
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.kernels.cores import allowed
from batteryxr.core.provenance import replayable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

    from batteryxr.core.bounds.kinds import Gap, RestCurrent
    from batteryxr.echem.kernels.parts import Halves
    from batteryxr.echem.kernels.record import Record, Rule
    from batteryxr.echem.kernels.switching import Intervals, Switches
    from batteryxr.echem.record import Columns, Fallen

#: Where a half cycle ends.
By = Literal["current", "step", "cycle"]
#: Fraction of a half cycle's charge below which a reversal is a pulse.
Short = Annotated[float, Bounds(low=0.0, below=0.5)]

#: Ratio of counter and current, and rows at which they do not fit, that only other
#: units explain.
_TWICE, _ROWS = 2.5, 20


@replayable
@dataclass(frozen=True)
class Counting:
    """Set how charge is counted and where a half cycle ends.

    `half_cycles`, `cycles`, `steps`, `dqdv`, `join` and others take it.

    Parameters
    ----------
    min_charge
        A reversal that passes less than this fraction of the half cycle around it is
        a pulse: it ends nothing, and its charge is counted net. 0: each ends one.
    by
        "current": a half cycle ends where the current reverses. "step": where it does
        from one of the cycler's steps to the next. "cycle": at the change of the
        cycler's cycle number, and once within each.
    i_zero
        Current in mA below which the cell rests. None: the larger of 1e-3 of the
        largest current and three standard deviations of the current at rest.
    max_gap
        Longest interval in s that is integrated over.

    Raises
    ------
    ArgumentError
        If a field is out of range.
    """

    min_charge: Short = 0.02
    by: By = "current"
    i_zero: RestCurrent | None = None
    max_gap: Gap = 3600.0

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.max_gap > 0:  # infinity is allowed: no gap is too long
            raise ArgumentError("max_gap", self.max_gap, "a time > 0 in s")

    @property
    def number(self) -> str | None:
        """Return the column of the record that is followed; None for the current."""
        return None if self.by == "current" else self.by


@dataclass(frozen=True)
class HalfCycleTable:
    """Hold the half cycles from the kernel, and how they were found."""

    floats: np.ndarray
    integers: np.ndarray
    pulses: np.ndarray  # see `parts.PULSES`
    switches: Switches
    lacking: np.ndarray  # mA h that each half cycle may lack: no data on it
    lost: np.ndarray  # s that the counter of each half cycle shows, but not the clock
    rule: Rule
    counting: Counting
    backward: int
    missing: int
    has_counter: bool
    flags: frozenset[str]

    def switched(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return half cycle (from 0), voltage and charge of the flow at switches."""
        s, (before, after, _) = self.switches, _owners(self.integers, self.switches)
        owner = np.concatenate([before, after])
        volts = np.concatenate([s.v_before, s.v])
        charge = np.concatenate([s.before, s.after])
        some = (owner >= 0) & (charge != 0)
        return owner[some], volts[some], charge[some]

    def to_attrs(self) -> dict[str, float | str]:
        """Return the counting rule as attributes of a result."""
        return {
            "i_zero": self.rule.i_zero,
            "max_gap": self.rule.max_gap,
            "min_charge": self.counting.min_charge,
            "by": self.counting.by,
        }


def half_cycle_table(
    rows: Columns, counting: Counting, *, counted: bool = True
) -> HalfCycleTable:
    """Find the half cycles of a record, reading it once and its current up to twice.

    Parameters
    ----------
    rows, counting
        The record, and how it is counted.
    counted
        Whether the charge of each half cycle by the counter is needed.
    """
    from batteryxr.echem.kernels import segments
    from batteryxr.echem.kernels.record import Rule

    whole = None if rows.lazy else next(rows.blocks())
    number = counting.number
    cuts = None if number is None else _cuts(rows.arrays[number])

    def halves(rule: Rule) -> tuple[Halves, Switches]:
        if whole is None or cuts is not None:
            floats, integers, switches = _stream(rows, rule, cuts)
        else:
            walked = whole if counted else whole._replace(counter=whole.counter[:0])
            floats, integers, turns = segments.walk_whole(walked, rule)
            switches = _switches(whole, turns, rule, rows.fallen)
        _add_switches(floats, integers, switches)
        return _half_cycles(floats, integers, counting, cuts), switches

    if counting.i_zero is not None:
        rule = Rule(float(counting.i_zero), float(counting.max_gap), rows.mean)
        found, switches = halves(rule)
        if not len(found.floats):
            warn_quality(
                f"i_zero={counting.i_zero:g} mA leaves the whole record at rest. "
                "Was it uA? Or the record in A?"
            )
    else:
        largest = largest_current(rows) if whole is None else segments.largest(whole.i)
        # A current that is all zeros must not count as current.
        least = max(1e-3 * largest, float(np.finfo(np.float64).tiny))
        rule = Rule(least, float(counting.max_gap), rows.mean)
        found, switches = halves(rule)
        if largest > 0 and not len(found.floats):
            warn_quality(
                f"no half cycle found, though currents reach {largest:.3g} mA: no two "
                f"rows under current are within max_gap={counting.max_gap:g} s. If "
                "rows are that far apart, pass a larger counting=Counting(max_gap=...)"
            )
        if 3 * found.noise["rest_sd"] > least:
            rule = rule._replace(i_zero=float(f"{3 * found.noise['rest_sd']:.6g}"))
            found, switches = halves(rule)
    return HalfCycleTable(
        found.floats,
        found.integers,
        found.pulses,
        switches,
        *_untold(found, switches),
        rule,
        counting,
        backward=int(found.noise["backward"]),
        missing=int(found.noise["missing"]),
        has_counter=bool({"counter", "charged"} & set(rows.arrays)),
        flags=rows.flags,
    )


def _half_cycles(
    floats: np.ndarray,
    integers: np.ndarray,
    counting: Counting,
    cuts: np.ndarray | None,
) -> Halves:
    from batteryxr.echem.kernels import parts, reversals

    least = counting.min_charge
    if cuts is None:
        return parts.half_cycle_tables(floats, integers, least)
    # Parts restart at each cut: those between two cuts are of one step or cycle.
    group = np.searchsorted(cuts, integers[:, parts.FIRST], side="right")
    charge, signs = floats[:, parts.CHARGE], integers[:, parts.DIRECTION]
    if counting.by == "cycle":
        signs = reversals.cycles_of(charge, signs, group, least)
        return parts.half_cycle_tables(floats, integers, 0.0, signs)
    signs = reversals.steps_of(charge, signs, group)
    return parts.half_cycle_tables(floats, integers, least, signs)


def _cuts(followed: xr.DataArray) -> np.ndarray:
    """Return the rows at which a number changes."""
    found, last, row = [np.zeros(0, np.int64)], np.nan, 0
    for (number,) in stream(followed, dim="record", block=1 << 22):
        known = np.nan_to_num(np.asarray(number, np.float64), nan=-1.0)
        found.append(row + np.flatnonzero(np.diff(known, prepend=last) != 0))
        last, row = known[-1] if known.size else last, row + known.size
    return np.concatenate(found)


def _switches(whole: Record, turns: np.ndarray, rule: Rule, fallen: Fallen) -> Switches:
    """Return the charge in intervals that two rows alone do not determine."""
    from batteryxr.echem.kernels import segments, switching

    size = whole.t.size
    if rule.mean or not size:  # each current is the mean of the interval before it
        return switching.none()
    if not whole.counter.size:
        rows = switching.with_pieces(whole, turns, 0, size)
        return switching.resolve(switching.gather(whole, rows, 0, rule), rule)
    groups = -(-size // switching.GROUP)
    share = -(-groups // allowed()) * switching.GROUP
    pieces = [
        (whole, a, min(a + share, size), rule, size, 0) for a in range(0, size, share)
    ]
    each = segments.in_threads(switching.find, pieces)
    odd = np.concatenate([rows for rows, _ in each])
    sums = switching.summed([sums for _, sums in each])
    _tell_counter(sums)
    odd = switching.with_pieces(whole, odd, 0, size)
    found = switching.fallen(switching.gather(whole, odd, 0, rule), *fallen)
    return switching.resolve(switching.believed(found, sums, size, rule), rule)


def _tell_counter(sums: np.ndarray) -> None:
    """Warn where counter and current are in other units: neither fits the other."""
    # A noisy current and its counter differ otherwise too.
    of_all, _, line, counted, jumped, _ = sums
    jumps = of_all == 0 and jumped > _ROWS
    steady = counted > 0 and line > 0.5 * of_all
    if jumps or (steady and not 1 / _TWICE < counted / line < _TWICE):
        how = "far faster than" if jumps else f"{counted / line:.3g} times as fast as"
        warn_quality(
            f"the capacity that the cycler counted grows {how} the current tells: is "
            "one of them, or the time, in other units than its attribute says?"
        )


class _Streamed:
    """Find the switches of a streamed record, whose last rows are held.

    Whole groups of rows are searched: those that are left wait for the next block.
    """

    def __init__(self, rule: Rule, size: int, fallen: Fallen) -> None:
        self._rule, self._size, self._fallen = rule, size, fallen
        self._found: list[Intervals] = []
        self._sums: list[np.ndarray] = []
        self._held: Record | None = None
        self._row = self._next = 0

    def add(self, block: Record, turns: np.ndarray) -> None:
        """Add the intervals of a block; `turns` holds those of all rows so far."""
        from batteryxr.echem.kernels.record import part
        from batteryxr.echem.kernels.switching import GROUP

        size = block.t.size
        if self._rule.mean or not size:
            return
        start, end = self._row, self._row + size
        # Judging an interval needs the two rows before it and the one after it.
        stop, hold = (end - 1) // GROUP * GROUP, GROUP + 3
        if self._held is not None:
            edge = _joined(self._held, part(block, 0, hold))
            near = (start + GROUP) // GROUP * GROUP
            self._look(edge, start - self._held.t.size, min(near, stop), turns)
        self._look(block, start, stop, turns)
        tail = part(block, max(size - hold, 0), size)
        if self._held is not None:
            tail = _joined(self._held, tail)
        self._held = part(tail, max(tail.t.size - hold, 0), tail.t.size)
        self._row = end

    def _look(self, rows: Record, first: int, stop: int, turns: np.ndarray) -> None:
        """Search the intervals left before row `stop`; `rows` begin at row `first`."""
        from batteryxr.echem.kernels import switching

        start, self._next = self._next, max(stop, self._next)
        if start >= stop:
            return
        place = start - first, stop - first
        if rows.counter.size:
            odd, sums = switching.find(rows, *place, self._rule, self._size, first)
            self._sums.append(sums)
        else:
            odd = turns[slice(*np.searchsorted(turns, [start, stop]))] - first
        odd = switching.with_pieces(rows, odd, *place)
        self._found.append(switching.gather(rows, odd, first, self._rule))

    def switches(self, turns: np.ndarray) -> Switches:
        """Return all switches, once all blocks are added."""
        from batteryxr.echem.kernels import switching

        if self._held is None:
            return switching.none()
        self._look(self._held, self._row - self._held.t.size, self._row, turns)
        columns = zip(*self._found, strict=True)
        found = switching.Intervals(*(np.concatenate(column) for column in columns))
        found = switching.fallen(found, *self._fallen)
        if self._sums:
            sums = switching.summed(self._sums)
            _tell_counter(sums)
            found = switching.believed(found, sums, self._row, self._rule)
        return switching.resolve(found, self._rule)


def _joined(one: Record, other: Record) -> Record:
    from batteryxr.echem.kernels.record import Record

    return Record(*(np.concatenate(pair) for pair in zip(one, other, strict=True)))


def _add_switches(floats: np.ndarray, integers: np.ndarray, s: Switches) -> None:
    """Add the charge at switches to the parts that they end or begin."""
    from batteryxr.echem.kernels import parts

    before, after, whole = _owners(integers, s)
    floats[:, parts.COUNTER] = (
        np.abs(floats[:, parts.COUNTER]) * integers[:, parts.DIRECTION]
    )
    for owner, charge, time, counted, volts in (
        (before, s.before, s.time_before, s.counted_before, s.v_before),
        (after, s.after, s.time_after, s.counted_after, s.v),
    ):
        for column, place, values in (
            (parts.CHARGE, owner, charge * parts.UNIT),
            (parts.ENERGY, owner, charge * volts * parts.UNIT),
            (parts.COUNTER, owner, counted),
            (parts.ACTIVE, owner, time),
            (parts.REST, np.where(owner >= 0, whole, -1), -time),
        ):
            floats[:, column] += _summed(place, values, len(floats))


def _untold(found: Halves, s: Switches) -> tuple[np.ndarray, np.ndarray]:
    """Return the charge (mA h) without data, and the time (s) that the clock lacks."""
    before, after, _ = _owners(found.integers, s)
    ended = _summed(before, s.missing_before, len(found.floats))
    lacking = ended + _summed(after, s.missing, len(found.floats))
    return lacking, _summed(after, s.lost, len(found.floats))


def _owners(
    integers: np.ndarray, s: Switches
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the half cycles that each switch ends, begins and lies in (-1: none)."""
    from batteryxr.echem.kernels import parts
    from batteryxr.echem.kernels.switching import owners

    first, last = integers[:, parts.FIRST], integers[:, parts.LAST_ACTIVE]
    return (
        owners(first, last, s.row - 1),
        owners(first, last, s.row),
        owners(first, integers[:, parts.LAST], s.row),
    )


def _summed(owner: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    mine = owner >= 0
    return np.bincount(owner[mine], values[mine], minlength=size)


def largest_current(rows: Columns) -> float:
    """Return the largest magnitude of current (mA), reading the current."""
    from batteryxr.echem.kernels import segments

    blocks = stream(rows.arrays["current"], dim="record", block=1 << 22)
    return max((segments.largest(i) for (i,) in blocks), default=0.0)


def _stream(
    rows: Columns, rule: Rule, cuts: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, Switches]:
    from batteryxr.echem.kernels import parts, segments

    carry, row, table = np.zeros(segments.CARRIED), 0, parts.table()
    switches = _Streamed(rule, rows.arrays["current"].size, rows.fallen)
    for block in rows.blocks():
        for piece, begins in _pieces(block, row, cuts):
            if begins:
                carry[segments.OPEN] = 0.0
            table = segments.walk(piece, row, rule, carry, table)
            row += piece.t.size
        switches.add(block, table.turns[: table.turned])
    floats, integers, turns = segments.trimmed(table)
    return floats, integers, switches.switches(turns)


def _pieces(
    block: Record, row: int, cuts: np.ndarray | None
) -> Iterator[tuple[Record, bool]]:
    """Split a block at the cuts; yield each piece and whether it begins at a cut."""
    from batteryxr.echem.kernels.record import part

    if cuts is None:
        yield block, False
        return
    end = row + block.t.size
    inner = cuts[slice(*np.searchsorted(cuts, [row, end]))]
    edges = np.unique(np.concatenate([[row], inner, [end]]))
    for a, b in itertools.pairwise(edges):
        yield part(block, a - row, b - row), bool(np.isin(a, inner))


def refuse_implausible(table: HalfCycleTable, *, caller: str) -> None:
    """Raise if the record's voltage, clock or flags make every charge wrong."""
    from batteryxr.echem.kernels import parts

    voltages = table.floats[:, [parts.V_MIN, parts.V_MAX]]
    bounds.check("voltage", voltages, argument="voltage", data=True)
    flags = set(table.flags)
    if table.backward:
        flags.add("backward_time")
    if not flags:
        return
    steps = f" ({table.backward} backward steps)" if table.backward else ""
    raise DataError(
        "record",
        f"{caller} needs data whose charge can be trusted; it is flagged "
        f"{', '.join(sorted(flags))}{steps}",
        "attrs['flag_notes'] tells what is wrong and whether read_cycler(..., "
        "repair=...) mends it; else correct the data and drop the flag.",
    )
