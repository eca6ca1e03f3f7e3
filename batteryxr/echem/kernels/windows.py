"""Integrate a cycler record exactly over exposure windows, in one streamed pass.

Voltage and current are straight lines between rows; the current is a staircase where
the cycler logs means. So means, variances, extremes and charge over a window have
closed forms, without resampling or a step size. Times are integer nanoseconds, so
differences are exact however far the epoch is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.kernels.compiling import njit
from batteryxr.echem.kernels.record import Record, Rule, part
from batteryxr.echem.kernels.segments import in_threads

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Floats, FloatTable, Ints

#: Gap limit (ns) that joins all rows.
ANY_GAP = np.iinfo(np.int64).max
#: Rule without rests or gaps.
_ANYTHING = Rule(0.0, ANY_GAP, False)
#: Test time stands still if the clock advances more by this (s) plus this fraction.
_STOOD, _RATE = 1.0, 1e-3
#: Rows checked at once for anything but plain charge.
_TILE = 1024
#: Number of rows from which two threads pay: one sums charge, one the windows.
_WORTH_THREADS = 100_000
_THIRD = 1 / 3

#: Columns of the sums for each window. Deviations from the first covered value are
#: summed, so that a small spread on a large mean does not cancel.
(_BEGUN, _COVERED, _V0, _V1, _V_SUM, _V_SQUARE, _V_MIN, _V_MAX) = range(8)
(_I0, _I_SUM, _I_SQUARE, _I_MIN, _I_MAX) = range(8, 13)
_COLUMNS = 13
#: Integer state between blocks: the next instant, rows, and backward steps.
_NEXT, _ROWS, _BACKWARD, _FIRST_BACKWARD = range(4)


class WindowSums(NamedTuple):
    """Hold the integrals of a record over each window; NaN where it has no data."""

    covered: np.ndarray  # s
    voltage: np.ndarray  # V, time-weighted mean
    voltage_min: np.ndarray
    voltage_max: np.ndarray
    voltage_sd: np.ndarray
    voltage_rise: np.ndarray  # V, last covered instant minus first
    current: np.ndarray  # mA, time-weighted mean
    current_min: np.ndarray
    current_max: np.ndarray
    current_sd: np.ndarray
    charge: np.ndarray  # mA h passed within the window


class _Windows(NamedTuple):
    """Hold windows (ns), and an index to find those that a block of rows touches."""

    starts: np.ndarray
    ends: np.ndarray
    order: np.ndarray  # by their starts
    longest: int


class _Tally(NamedTuple):
    """Hold the charge passed so far, and the charge at each instant reached."""

    instants: np.ndarray  # ns, rising
    counts: np.ndarray  # see _NEXT
    charge: np.ndarray  # (1,) mA s
    at_instants: np.ndarray


class WindowWalk:
    """Integrate a record, given block by block, over windows in any order.

    The cuts between blocks change the result by rounding of the charge only. Memory
    is one block and a few numbers per window.

    Parameters
    ----------
    starts, ends
        Windows (ns), shape (n,), which may overlap and come in any order. A window
        of no length is an instant.
    instants
        Times (ns) at which the net charge is wanted, in any order.
    rule
        Currents at rest count as zero for the net charge. Rows further apart than a
        gap (ns) are not joined, except at rest. A mean current is a staircase, not a
        line. Default: no rests and no gaps.
    """

    def __init__(
        self,
        starts: np.ndarray,
        ends: np.ndarray,
        instants: np.ndarray,
        rule: Rule = _ANYTHING,
    ) -> None:
        order = np.argsort(starts, kind="stable")
        longest = int((ends - starts).max(initial=0))
        self._windows = _Windows(starts, ends, order, longest)
        self._by_time = np.argsort(instants, kind="stable")
        self._tally = _Tally(
            instants[self._by_time],
            np.zeros(4, np.int64),
            np.zeros(1),
            np.full(instants.size, np.nan),
        )
        self._rule = Rule(float(rule.i_zero), int(rule.max_gap), bool(rule.mean))
        self._sums = np.zeros((starts.size, _COLUMNS))
        self._before: Record | None = None

    def add(self, rows: Record) -> None:
        """Integrate the next rows, whose times are those of the clock (ns).

        Test time, if given, may stand still under current while the clock goes on.
        The current then flows for as long as test time goes on; the remaining time
        counts as unknown.
        """
        size = rows.clock.size
        if size == 0:
            return
        if rows.file.size == 0:
            rows = rows._replace(file=np.zeros(size, np.int16))
        if self._before is None:
            first = np.searchsorted(self._tally.instants, rows.clock[0])
            self._tally.counts[_NEXT] = first
        else:
            # The interval between two blocks is a block of two rows.
            pairs = zip(self._before, rows, strict=True)
            self._split(Record(*(np.concatenate((a, b[:1])) for a, b in pairs)))
        self._split(rows)
        self._before = Record(*(column[-1:].copy() for column in rows))

    def _split(self, rows: Record) -> None:
        """Integrate rows, with each pause between them split off."""
        begin = 0
        for k in _standstills(rows, self._rule):
            self._walk(part(rows, begin, k + 1))
            self._walk(_with_pause(rows, k))
            self._tally.counts[_ROWS] -= 1  # the moment between is no row
            begin = k + 1
        self._walk(part(rows, begin, rows.clock.size))

    def _walk(self, rows: Record) -> None:
        def charge() -> None:
            _sum_charge(rows, self._rule, self._tally)

        def integrate() -> None:
            _integrate(rows, self._rule, self._windows, self._sums)

        if rows.clock.size < _WORTH_THREADS:
            charge()
            integrate()
        else:
            in_threads(lambda work: work(), [(charge,), (integrate,)])

    @property
    def backward(self) -> tuple[int, int]:
        """Return how many rows step back in time, and the first of them (from 0)."""
        counts = self._tally.counts
        return int(counts[_BACKWARD]), int(counts[_FIRST_BACKWARD])

    def net_charge(self) -> np.ndarray:
        """Return the charge (mA h) from the first row to each instant; NaN outside."""
        charge = np.empty_like(self._tally.at_instants)
        charge[self._by_time] = self._tally.at_instants
        return charge / 3600

    def sums(self) -> WindowSums:
        """Return the integrals so far."""
        s = self._sums
        covered = s[:, _COVERED]
        # An instant has no length to divide by, and its deviations are zero.
        weight = np.where(covered > 0, covered, 1.0)

        def clean(values: np.ndarray) -> np.ndarray:
            return np.where(s[:, _BEGUN] > 0, values, np.nan)

        v, i = s[:, _V_SUM] / weight, s[:, _I_SUM] / weight
        v_variance = np.maximum(s[:, _V_SQUARE] / weight - v**2, 0.0)
        i_variance = np.maximum(s[:, _I_SQUARE] / weight - i**2, 0.0)
        return WindowSums(
            covered=covered.copy(),
            voltage=clean(s[:, _V0] + v),
            voltage_min=clean(s[:, _V_MIN]),
            voltage_max=clean(s[:, _V_MAX]),
            voltage_sd=clean(np.sqrt(v_variance)),
            voltage_rise=clean(s[:, _V1] - s[:, _V0]),
            current=clean(s[:, _I0] + i),
            current_min=clean(s[:, _I_MIN]),
            current_max=clean(s[:, _I_MAX]),
            current_sd=clean(np.sqrt(i_variance)),
            charge=clean((s[:, _I_SUM] + s[:, _I0] * covered) / 3600),
        )


def _standstills(rows: Record, rule: Rule) -> list[int]:
    """Return the rows after which test time stood still under current."""
    if rows.t.size < 2:
        return []
    passed, went = np.diff(rows.t), np.diff(rows.clock) * 1e-9
    flows = np.abs(rows.i) >= rule.i_zero
    stood = (went - passed > _STOOD + _RATE * np.abs(passed)) & (passed >= 0)
    stood &= (flows[1:] | flows[:-1]) & (rows.file[1:] == rows.file[:-1])
    return np.flatnonzero(stood).tolist()


def _with_pause(rows: Record, k: int) -> Record:
    """Return rows `k` and `k + 1` with the moment between them when time stopped."""
    two = part(rows, k, k + 2)
    passed = np.int64(round((rows.t[k + 1] - rows.t[k]) * 1e9))
    moment = Record(*(column[-1:] for column in two))._replace(
        clock=two.clock[:1] + passed
    )
    three = Record(
        *(
            np.concatenate([a[:1], b, a[1:]]) if a.size else a
            for a, b in zip(two, moment, strict=True)
        )
    )
    # The unknown interval is made a change of file.
    three.file[2] += 1
    return three


@njit(cache=True, nogil=True)
def _sum_charge(rows: Record, rule: Rule, tally: _Tally) -> None:
    """Sum the charge of all rows; store it at each instant on the way."""
    time: Ints
    current: Floats
    file: Ints
    time, current, file = rows.clock, rows.i, rows.file
    instants, counts, charge = tally.instants, tally.counts, tally.charge
    a, last = 0, time.size - 1
    while a < last:
        b = min(a + _TILE, last)
        mark = counts[_NEXT]
        if mark < instants.size and instants[mark] <= time[b]:
            b = _locate(time, instants[mark], a)
        if b > a:
            plain, moved = _plain(
                time[a:b],
                time[a + 1 : b + 1],
                current[a:b],
                current[a + 1 : b + 1],
                file[a:b],
                file[a + 1 : b + 1],
                rule,
            )
            if plain:
                charge[0] += moved
                a = b
                continue
        # Something else happens here: go interval by interval.
        for k in range(a, min(max(b, a + 1), last)):
            _cross(rows, k, rule, tally)
        a = max(b, a + 1)
    mark = counts[_NEXT]
    while mark < instants.size and instants[mark] == time[last]:
        tally.at_instants[mark] = charge[0]
        mark += 1
    counts[_NEXT] = mark
    counts[_ROWS] += last


# A free order of summation lets the compiler vectorise: memory is then the limit.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _plain(
    t0: Ints, t1: Ints, i0: Floats, i1: Floats, file0: Ints, file1: Ints, rule: Rule
) -> tuple[bool, float]:
    """Return whether all intervals are joined, and the charge in them."""
    i_zero, max_gap, mean = rule
    apart, moved = np.int64(0), 0.0
    for k in range(t0.size):
        step = t1[k] - t0[k]
        ib = i1[k] if not abs(i1[k]) < i_zero else 0.0
        ia = ib if mean else (i0[k] if not abs(i0[k]) < i_zero else 0.0)
        moved += (ia + ib if ia * ib > 0.0 else 0.0) * float(step)
        apart += np.int64(step < 0) + np.int64(step > max_gap)
    other_file = file0[0] ^ file0[0]
    for k in range(t0.size):
        other_file |= file0[k] ^ file1[k]
    moved *= 0.5e-9
    return apart == 0 and other_file == 0 and moved == moved, moved


@njit(cache=True, nogil=True)
def _cross(rows: Record, k: int, rule: Rule, tally: _Tally) -> None:
    """Integrate the charge over one interval of any kind."""
    time: Ints
    current: Floats
    file: Ints
    time, current, file = rows.clock, rows.i, rows.file
    instants, counts, charge = tally.instants, tally.counts, tally.charge
    i_zero, max_gap, mean = rule
    step = time[k + 1] - time[k]
    if step < 0:
        if counts[_BACKWARD] == 0:
            counts[_FIRST_BACKWARD] = counts[_ROWS] + k + 1
        counts[_BACKWARD] += 1
    ib = current[k + 1] if not abs(current[k + 1]) < i_zero else 0.0
    ia = ib if mean else (current[k] if not abs(current[k]) < i_zero else 0.0)
    joined = file[k] == file[k + 1] and 0 < step <= max_gap and ia + ib == ia + ib
    # Between rows of different direction the moment of change, and so the charge, is
    # unknown: half cycles count no charge there either.
    if not joined or ia * ib <= 0:
        ia = ib = 0.0
    seconds = step * 1e-9
    mark = counts[_NEXT]
    while mark < instants.size and instants[mark] < time[k + 1]:
        f = (instants[mark] - time[k]) / step
        tally.at_instants[mark] = charge[0] + (ia + 0.5 * f * (ib - ia)) * f * seconds
        mark += 1
    counts[_NEXT] = mark
    charge[0] += 0.5 * (ia + ib) * seconds


@njit(cache=True, nogil=True)
def _locate(time: Ints, at: int, low: int) -> int:
    """Return the last row not after `at`, searching from row `low`."""
    reach = 1
    while low + reach < time.size and time[low + reach] <= at:
        low += reach
        reach *= 2
    high = min(low + reach, time.size)
    while high - low > 1:
        middle = (low + high) // 2
        if time[middle] <= at:
            low = middle
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _integrate(rows: Record, rule: Rule, windows: _Windows, sums: FloatTable) -> None:
    time: Ints = rows.clock
    starts, ends, order, longest = windows
    first, last = time[0], time[-1]
    low, high = 0, order.size
    while low < high:  # earlier windows ended before the first row
        middle = (low + high) // 2
        if starts[order[middle]] < first - longest:
            low = middle + 1
        else:
            high = middle
    k = 0
    for n in range(low, order.size):
        w = order[n]
        start, end = starts[w], ends[w]
        if start > last:
            break
        if end < first:
            continue
        k = _locate(time, start, k)
        if start == end:
            _instant(rows, start, k, rule, sums[w])
        else:
            _window(rows, start, end, k, rule, sums[w])


@njit(cache=True, nogil=True, inline="always")
def _joined(rows: Record, k: int, step: int, rule: Rule) -> bool:
    # Tell whether row `k` and the next, `step` apart, are joined.
    rest = abs(rows.i[k]) < rule.i_zero and abs(rows.i[k + 1]) < rule.i_zero
    if step > rule.max_gap and not rest:
        return False
    return rows.file[k] == rows.file[k + 1] and step > 0


@njit(cache=True, nogil=True)
def _window(rows: Record, start: int, end: int, k: int, rule: Rule, s: Floats) -> None:
    """Add the straight pieces: the integral of u^2 is (a^2 + ab + b^2) dt / 3."""
    time: Ints
    voltage: Floats
    current: Floats
    time, voltage, current, mean = rows.clock, rows.v, rows.i, rule.mean
    begun, covered = s[_BEGUN] > 0, s[_COVERED]
    v_first, v_last, i_first = s[_V0], s[_V1], s[_I0]
    v_sum, v_square, v_min, v_max = s[_V_SUM], s[_V_SQUARE], s[_V_MIN], s[_V_MAX]
    i_sum, i_square, i_min, i_max = s[_I_SUM], s[_I_SQUARE], s[_I_MIN], s[_I_MAX]
    while k + 1 < time.size and time[k] < end:
        t0, t1 = time[k], time[k + 1]
        va, vb, ia, ib = voltage[k], voltage[k + 1], current[k], current[k + 1]
        joined = _joined(rows, k, t1 - t0, rule)
        if mean:
            ia = ib
        k += 1
        low, high = start if start > t0 else t0, end if end < t1 else t1
        total = va + vb + ia + ib
        if not joined or high <= low or total != total:
            continue
        if low != t0 or high != t1:
            f, g = (low - t0) / (t1 - t0), (high - t0) / (t1 - t0)
            va, vb = va + f * (vb - va), va + g * (vb - va)
            ia, ib = ia + f * (ib - ia), ia + g * (ib - ia)
        if not begun:
            begun = True
            v_first = v_min = v_max = va
            i_first = i_min = i_max = ia
        seconds = (high - low) * 1e-9
        covered += seconds
        v_last = vb
        a, b = va - v_first, vb - v_first
        v_sum += 0.5 * (a + b) * seconds
        v_square += (a * a + a * b + b * b) * seconds * _THIRD
        a, b = ia - i_first, ib - i_first
        i_sum += 0.5 * (a + b) * seconds
        i_square += (a * a + a * b + b * b) * seconds * _THIRD
        # Written out, since min and max of floats handle NaN and are slow.
        v_low, v_high = (va, vb) if va < vb else (vb, va)
        i_low, i_high = (ia, ib) if ia < ib else (ib, ia)
        v_min = v_low if v_low < v_min else v_min
        v_max = v_high if v_high > v_max else v_max
        i_min = i_low if i_low < i_min else i_min
        i_max = i_high if i_high > i_max else i_max
    s[_BEGUN], s[_COVERED] = 1.0 if begun else 0.0, covered
    s[_V0], s[_V1], s[_I0] = v_first, v_last, i_first
    s[_V_SUM], s[_V_SQUARE], s[_V_MIN], s[_V_MAX] = v_sum, v_square, v_min, v_max
    s[_I_SUM], s[_I_SQUARE], s[_I_MIN], s[_I_MAX] = i_sum, i_square, i_min, i_max


@njit(cache=True, nogil=True)
def _instant(rows: Record, at: int, k: int, rule: Rule, s: Floats) -> None:
    """Interpolate linearly between the rows on both sides of an instant."""
    time: Ints
    voltage: Floats
    current: Floats
    time, voltage, current = rows.clock, rows.v, rows.i
    if s[_BEGUN] > 0:
        return
    v, i = voltage[k], current[k]
    if time[k] != at:
        if time[k] > at or k + 1 == time.size:
            return
        step = time[k + 1] - time[k]
        if not _joined(rows, k, step, rule):
            return
        f = (at - time[k]) / step
        v += f * (voltage[k + 1] - v)
        i = current[k + 1] if rule.mean else i + f * (current[k + 1] - i)
    if v + i == v + i:
        s[_BEGUN] = 1.0
        s[_V0] = s[_V1] = s[_V_MIN] = s[_V_MAX] = v
        s[_I0] = s[_I_MIN] = s[_I_MAX] = i
