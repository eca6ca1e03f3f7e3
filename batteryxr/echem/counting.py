"""Half cycles of a record: by which rule they are counted, and the table of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from batteryxr.core.blocks import stream
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batteryxr.echem.kernels.parts import Halves
    from batteryxr.echem.kernels.record import Record, Rule
    from batteryxr.echem.kernels.switching import Intervals, Switches
    from batteryxr.echem.record import Columns

#: What ends a half cycle.
By = Literal["current", "step", "cycle"]
#: A fraction of a charge below which a reversal is a pulse.
Short = Annotated[float, Bounds(low=0.0, below=0.5)]


@dataclass(frozen=True)
class Counting:
    """How charge is counted, and what ends a half cycle; see `half_cycles`.

    Parameters
    ----------
    min_charge
        A reversal that passes less than this fraction of the half cycle around it is
        a pulse: it ends nothing, and its charge is counted net.
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
    i_zero: float | None = None
    max_gap: float = 3600.0

    def __post_init__(self) -> None:
        if self.i_zero is not None and not 0 < self.i_zero < np.inf:
            raise ArgumentError("i_zero", self.i_zero, "a number > 0 in mA, or None")
        if not self.max_gap > 0:  # infinity is allowed: no gap is too long
            raise ArgumentError("max_gap", self.max_gap, "a time > 0 in s")
        if not 0 <= self.min_charge < 0.5:
            raise ArgumentError("min_charge", self.min_charge, "a fraction below 0.5")
        if self.by not in ("current", "step", "cycle"):
            raise ArgumentError("by", self.by, "'current', 'step' or 'cycle'")

    @property
    def number(self) -> str | None:
        """The column of a record that is followed, where one is."""
        return None if self.by == "current" else self.by


@dataclass(frozen=True)
class HalfCycleTable:
    """Half cycles as the kernel left them, and how they were found."""

    floats: np.ndarray
    integers: np.ndarray
    pulses: np.ndarray  # see `parts.PULSES`
    switches: Switches
    assumed: np.ndarray  # mA h of each half cycle that nothing tells
    rule: Rule
    counting: Counting
    backward: int
    missing: int
    has_counter: bool
    flags: frozenset[str]

    def to_attrs(self) -> dict[str, float | str]:
        """Return the rule as attributes of a result."""
        return {
            "i_zero": self.rule.i_zero,
            "max_gap": self.rule.max_gap,
            "min_charge": self.counting.min_charge,
            "by": self.counting.by,
        }


def half_cycle_table(rows: Columns, counting: Counting) -> HalfCycleTable:
    """Find the half cycles of a record; reads it once, the current perhaps twice."""
    from batteryxr.echem.kernels import segments
    from batteryxr.echem.kernels.record import Rule

    whole = None if rows.lazy else next(rows.blocks())
    cuts = _cuts(rows, counting)

    def halves(rule: Rule) -> Halves:
        if whole is None or cuts is not None:
            found = _stream(rows, rule, cuts)
        else:
            found = segments.walk_whole(whole, rule)
        return _half_cycles(*found, counting, cuts)

    if counting.i_zero is not None:
        rule = Rule(float(counting.i_zero), float(counting.max_gap), rows.mean)
        found = halves(rule)
    else:
        largest = largest_current(rows) if whole is None else segments.largest(whole.i)
        # A current of nothing but zeros must not count as current.
        least = max(1e-3 * largest, float(np.finfo(np.float64).tiny))
        rule = Rule(least, float(counting.max_gap), rows.mean)
        found = halves(rule)
        if 3 * found.noise["rest_sd"] > least:
            rule = rule._replace(i_zero=float(f"{3 * found.noise['rest_sd']:.6g}"))
            found = halves(rule)
    switches = _switches(rows, rule, whole)
    return HalfCycleTable(
        found.floats,
        found.integers,
        found.pulses,
        switches,
        _add_switches(found, switches),
        rule,
        counting,
        backward=int(found.noise["backward"]),
        missing=int(found.noise["missing"]),
        has_counter="counter" in rows.arrays,
        flags=rows.flags,
    )


def _half_cycles(
    floats: np.ndarray, integers: np.ndarray, counting: Counting, cuts: np.ndarray | None
) -> Halves:
    from batteryxr.echem.kernels import parts, reversals

    least = counting.min_charge
    if cuts is None:
        return parts.half_cycle_tables(floats, integers, least)
    # Parts begin anew at each cut: those between two cuts are of one step or cycle.
    group = np.searchsorted(cuts, integers[:, parts.FIRST], side="right")
    charge, signs = floats[:, parts.CHARGE], integers[:, parts.DIRECTION]
    if counting.by == "cycle":
        signs = reversals.cycles_of(charge, signs, group, least)
        return parts.half_cycle_tables(floats, integers, 0.0, signs)
    signs = reversals.steps_of(charge, signs, group)
    return parts.half_cycle_tables(floats, integers, least, signs)


def _cuts(rows: Columns, counting: Counting) -> np.ndarray | None:
    """Return the rows at which the number that is followed changes."""
    if counting.number is None:
        return None
    found, last, row = [np.zeros(0, np.int64)], np.nan, 0
    for (number,) in stream(rows.arrays[counting.number], dim="record", block=1 << 22):
        known = np.nan_to_num(np.asarray(number, np.float64), nan=-1.0)
        found.append(row + np.flatnonzero(np.diff(known, prepend=last) != 0))
        last, row = known[-1] if known.size else last, row + known.size
    return np.concatenate(found)


def _switches(rows: Columns, rule: Rule, whole: Record | None) -> Switches:
    """Return what flowed in the intervals that two rows do not tell."""
    from batteryxr.echem.kernels import segments, switching

    if rule.mean:  # each current is that of the interval before it
        return switching.none()
    size = rows.arrays["test_time"].size
    if not size:
        return switching.none()
    if whole is None:
        found, sums = _streamed(rows, rule)
    else:
        share = -(-size // segments.threads())
        pieces = [(whole, a, min(a + share, size), rule) for a in range(0, size, share)]
        each = segments.in_threads(switching.find, pieces)
        odd = np.concatenate([rows for rows, _ in each])
        found = switching.gather(whole, odd, 0, rule)
        sums = np.sum([sums for _, sums in each], axis=0)
    return switching.resolve(switching.believed(found, sums, size), rule)


def _streamed(rows: Columns, rule: Rule) -> tuple[Intervals, np.ndarray]:
    """Find the intervals of a record that streams by, two rows held back."""
    from batteryxr.echem.kernels import switching
    from batteryxr.echem.kernels.record import Record, part

    found, held, offset, sums = [], None, 0, np.zeros(2)
    for block in rows.blocks():
        if held is not None:
            pairs = zip(held, block, strict=True)
            block = Record(*(np.concatenate(pair) for pair in pairs))
        size = block.t.size
        # The last row waits: the interval after it is not known yet.
        odd, some = switching.find(block, 0 if held is None else 1, size - 1, rule)
        sums += some
        found.append(switching.gather(block, odd, offset, rule))
        held = part(block, max(size - 2, 0), size)
        offset += max(size - 2, 0)
    if held is not None:
        size = held.t.size
        odd, some = switching.find(held, size - 1, size, rule)
        sums += some
        found.append(switching.gather(held, odd, offset, rule))
    columns = zip(*found, strict=True)
    return switching.Intervals(*(np.concatenate(column) for column in columns)), sums


def _add_switches(found: Halves, s: Switches) -> np.ndarray:
    """Add what flowed at switches to the half cycles; return what is assumed of it."""
    from batteryxr.echem.kernels import parts
    from batteryxr.echem.kernels.switching import owners

    f, n = found.floats, found.integers
    first, last = n[:, parts.FIRST], n[:, parts.LAST_ACTIVE]
    after = owners(first, last, s.row)
    before = owners(first, last, s.row - 1)
    whole = owners(first, n[:, parts.LAST], s.row)

    def add(column: int, owner: np.ndarray, values: np.ndarray) -> None:
        f[:, column] += _summed(owner, values, len(f))

    for owner, charge, time, counted, volts in (
        (before, s.before, s.time_before, s.counted_before, s.v_before),
        (after, s.after, s.time_after, s.counted_after, s.v),
    ):
        add(parts.CHARGE, owner, charge)
        add(parts.ENERGY, owner, charge * volts)
        add(parts.COUNTER, owner, counted)
        add(parts.ACTIVE, owner, time)
        add(parts.REST, np.where(owner >= 0, whole, -1), -time)
    return _summed(after, np.where(s.assumed, np.abs(s.after), 0.0), len(f))


def _summed(owner: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    mine = owner >= 0
    return np.bincount(owner[mine], values[mine], minlength=size)


def largest_current(rows: Columns) -> float:
    """Return the largest magnitude of current (mA); reads the current."""
    from batteryxr.echem.kernels import segments

    blocks = stream(rows.arrays["current"], dim="record", block=1 << 22)
    return max((segments.largest(i) for (i,) in blocks), default=0.0)


def _stream(
    rows: Columns, rule: Rule, cuts: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    from batteryxr.echem.kernels import parts, segments

    carry, row, table = np.zeros(segments.CARRIED), 0, parts.table()
    for block, begins in _pieces(rows, cuts):
        if begins:
            carry[segments.OPEN] = 0.0
        table = segments.walk(block, row, rule, carry, table)
        row += block.t.size
    floats, integers, n = table
    return floats[:n], integers[:n]


def _pieces(rows: Columns, cuts: np.ndarray | None) -> Iterator[tuple[Record, bool]]:
    """Yield the rows from cut to cut, and whether each piece begins at a cut."""
    from batteryxr.echem.kernels.record import part

    row = 0
    for block in rows.blocks():
        end = row + block.t.size
        if cuts is None:
            yield block, False
        else:
            inner = cuts[slice(*np.searchsorted(cuts, [row, end]))]
            edges = np.unique(np.concatenate([[row], inner, [end]]))
            for a, b in itertools.pairwise(edges):
                yield part(block, a - row, b - row), bool(np.isin(a, inner))
        row = end


def refuse_implausible(table: HalfCycleTable, *, caller: str) -> None:
    """Raise where the record's clock or signs make every charge wrong."""
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
