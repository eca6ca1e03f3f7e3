"""Find half cycles and all their integrals in one pass over a record.

A record is walked in blocks at fixed absolute row numbers. Each block leaves one or
more *parts*, rows of two small tables, which are then merged in order. Where a chunk
ends inside a block, the open part stays open. Sums therefore associate in the same
way however the record is cut into chunks or shared between threads. So results are
equal bit by bit.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.kernels.compiling import njit, usual
from batteryxr.core.kernels.cores import allowed
from batteryxr.echem.kernels import parts
from batteryxr.echem.kernels.parts import (
    ACTIVE,
    BEND,
    CHARGE,
    CLOCK_END,
    CLOCK_START,
    COUNTER,
    DIRECTION,
    ENERGY,
    LAST,
    LAST_ACTIVE,
    MISSING,
    REST,
    REST_SQUARES,
    REST_SUM,
    RESTS,
    T_END,
    T_START,
    V_END,
    V_MAX,
    V_MIN,
    V_START,
    Walked,
    note,
    open_part,
)
from batteryxr.echem.kernels.record import (
    AT_REST,
    CURRENT,
    FILE,
    GAP,
    TIME,
    UNDER_CURRENT,
    VALID,
    VOLTAGE,
    Record,
    Rule,
    all_equal,
    fell,
    goes_on,
    interval,
    is_missing,
    last_before,
    part,
    sign_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.kernels.loops import Floats, Ints

#: Rows between two writes of the sums, and rows that take longer than a thread's start.
BLOCK, _MANY = 1 << 16, 1 << 21

# State carried from row to row besides time, voltage, current, file and VALID.
# NEXT is the row after the last valid one.
SIGN, COUNT, OPEN, NEXT = 5, 6, 7, 8
# Length of the interval before the last valid row, and by how much current rose in it.
LENGTH, RISE = 9, 10
# 1 if the counter fell by a flow in it.
FELL = 11
CARRIED = 12
#: Relative change of current between two rows from which on a line is no sure guess.
_STEEP = 0.1


@njit(cache=True, nogil=True)
def _counted(
    counter: float, before: float, i: float, i_before: float, d: float, falls: bool
) -> float:
    # A counter restarts per step, per half cycle or never. A jump that the current
    # cannot explain is a restart, and the reading is the charge counted since then.
    moved = counter - before
    line = abs(i + i_before) * d / 7200.0
    limit = 10.0 * max(abs(i), abs(i_before)) * d / 3600.0 + 1e-12
    if abs(moved) <= limit:
        if abs(counter) >= abs(before) or 9.0 * abs(counter) > limit:
            return moved
        if falls and fell(counter, before, i, i_before, d):
            return moved  # as in a pause
        return counter if abs(abs(counter) - line) < abs(abs(moved) - line) else moved
    if abs(counter) <= limit:
        return counter
    return counter - before if goes_on(counter, before, i, i_before) else 0.0


@njit(cache=True, nogil=True)
def _corner(d: float, one: float, other: float, carry: Floats) -> float:
    """Return by how much (mA s) lines may be off that meet before an interval.

    It is twice what a smooth current would have between them and its lines (Euler and
    Maclaurin): where the current falls by more than e from row to row, it is needed.
    """
    rise, before = other - one, carry[RISE]
    most = _STEEP * max(abs(one), abs(other))
    off = 0.0
    if (abs(rise) > most) | (abs(before) > most):
        length = carry[LENGTH] if carry[LENGTH] > 0.0 else d
        if d > 0.0 and carry[LENGTH] == 0.0 and abs(other) > abs(one):
            off = 0.5 * abs(rise) * d  # switched on, at any time in it
        elif d > 0.0:
            bend = abs(rise / d - before / length)
            off = bend * (d * d + length * length) / 12.0
    # Two rows of one moment are a switch that is logged: a line begins anew.
    carry[LENGTH], carry[RISE] = d, rise if d > 0.0 else 0.0
    return off


@njit(cache=True, nogil=True)
def _bent(t: Floats, i: Floats, carry: Floats, f: Floats) -> None:
    """Add the corners of lines over several rows to a part."""
    steep, n = 0, t.size
    for k in range(1, n):
        steep += abs(i[k] - i[k - 1]) > _STEEP * abs(i[k])
    if n > 1:
        f[BEND] += _corner(t[1] - t[0], i[0], i[1], carry)
    if steep:
        for k in range(2, n):
            f[BEND] += _corner(t[k] - t[k - 1], i[k - 1], i[k], carry)
    elif n > 2:
        _corner(t[n - 1] - t[n - 2], i[n - 2], i[n - 1], carry)


@njit(cache=True, nogil=True)
def _step(
    record: Record, k: int, sign: float, rule: Rule, carry: Floats, f: Floats, m: Ints
) -> None:
    """Add row `k` and the interval before it to a part, whose rows are `f` and `m`."""
    t: float
    v: float
    i: float
    t, v, i = record.t[k], record.v[k], record.i[k]
    if sign == 0.0:
        m[RESTS] += 1
        f[REST_SUM] += i
        f[REST_SQUARES] += i * i
        i = 0.0
    if carry[VALID] == 1.0:
        d = t - carry[TIME]
        same_file = record.file.size == 0 or record.file[k] == carry[FILE]
        kind = interval(d, same_file, sign, carry[SIGN], rule)
        if kind == UNDER_CURRENT:
            other = i if rule.mean else carry[CURRENT]
            f[CHARGE] += (i + other) * d
            f[ENERGY] += (v * i + carry[VOLTAGE] * other) * d
            f[ACTIVE] += d
            f[BEND] += _corner(d, carry[CURRENT], i, carry)
            if record.counter.size > 0:
                counter = record.counter[k]
                count, current = carry[COUNT], carry[CURRENT]
                falls = carry[FELL] == 1.0
                f[COUNTER] += _counted(counter, count, i, current, d, falls)
                carry[FELL] = fell(counter, count, i, current, d)
        elif kind == AT_REST:
            f[REST] += d
            if sign == 0.0 and carry[SIGN] != 0.0 and carry[LENGTH] > 0.0:
                # A decay ends in a current of rest.
                f[BEND] += _corner(carry[LENGTH], 0.0, 0.0, carry)
        elif kind == GAP:
            m[parts.GAPS] += 1
            f[parts.GAP] += max(d, 0.0)
        else:
            m[parts.BACKWARD] += 1
        if kind != UNDER_CURRENT:
            carry[LENGTH] = carry[RISE] = carry[FELL] = 0.0
    if sign != 0.0:
        if m[LAST_ACTIVE] < 0:
            f[T_START], f[V_START] = t, v
            if record.clock.size > 0:
                m[CLOCK_START] = record.clock[k]
        f[V_MIN], f[V_MAX] = min(f[V_MIN], v), max(f[V_MAX], v)
    carry[TIME], carry[CURRENT], carry[VOLTAGE] = t, i, v
    carry[SIGN], carry[VALID] = sign, 1.0
    if record.file.size > 0:
        carry[FILE] = record.file[k]
    if record.counter.size > 0:
        carry[COUNT] = record.counter[k]


@njit(cache=True, nogil=True)
def _count(counter: Floats, t: Floats, i: Floats, carry: Floats, f: Floats) -> None:
    """Add what the counter counted while current flows in one direction."""
    counted = f[COUNTER]
    falls = carry[FELL] == 1.0
    for k in range(1, counter.size):
        d, moved = t[k] - t[k - 1], counter[k] - counter[k - 1]
        seen, line = 7200.0 * abs(moved), abs(i[k] + i[k - 1]) * d
        if (seen >= 0.9 * line) & (seen <= 1.1 * line):  # the common case, kept fast
            counted += moved
            continue
        if k > 1:
            falls = fell(
                counter[k - 1], counter[k - 2], i[k - 1], i[k - 2], t[k - 1] - t[k - 2]
            )
        counted += _counted(counter[k], counter[k - 1], i[k], i[k - 1], d, falls)
    k = counter.size - 1
    if k > 0:
        d = t[k] - t[k - 1]
        carry[FELL] = fell(counter[k], counter[k - 1], i[k], i[k - 1], d)
    f[COUNTER] = counted


@njit(cache=True, nogil=True)
def _flow(record: Record, a: int, b: int, sign: float, rule: Rule, f: Floats) -> int:
    """Add rows after `a` while current flows in one direction; return their end.

    This is the common case, kept fast: nothing else happens between `a` and the end.
    """
    t: Floats
    v: Floats
    i: Floats
    t, v, i = record.t[a:b], record.v[a:b], record.i[a:b]
    i_zero, max_gap, mean = rule.i_zero, rule.max_gap, rule.mean
    q, e, active, low, high = f[CHARGE], f[ENERGY], f[ACTIVE], f[V_MIN], f[V_MAX]
    before_t, before_v, before_i = t[0], v[0], i[0]
    end = t.size
    for k in range(1, t.size):
        tk, vk, ik = t[k], v[k], i[k]
        d = tk - before_t
        if not ((sign * ik >= i_zero) & (d >= 0.0) & (d <= max_gap) & (vk == vk)):
            end = k
            break
        other = ik if mean else before_i
        q += (ik + other) * d
        e += (vk * ik + before_v * other) * d
        active += d
        low = vk if vk < low else low
        high = vk if vk > high else high
        before_t, before_v, before_i = tk, vk, ik
    f[CHARGE], f[ENERGY], f[ACTIVE], f[V_MIN], f[V_MAX] = q, e, active, low, high
    return a + end


@njit(cache=True, nogil=True)
def _rest(record: Record, a: int, b: int, i_zero: float, f: Floats) -> int:
    """Add rows after `a` while the cell rests; return their end."""
    t: Floats
    v: Floats
    i: Floats
    t, v, i = record.t[a:b], record.v[a:b], record.i[a:b]
    rest, total, squares = f[REST], f[REST_SUM], f[REST_SQUARES]
    before, end = t[0], t.size
    for k in range(1, t.size):
        d, ik = t[k] - before, i[k]
        if not ((abs(ik) < i_zero) & (d >= 0.0) & (v[k] == v[k])):
            end = k
            break
        rest += d
        total += ik
        squares += ik * ik
        before = t[k]
    f[REST], f[REST_SUM], f[REST_SQUARES] = rest, total, squares
    return a + end


@njit(cache=True, nogil=True)
def _run(
    record: Record,
    a: int,
    b: int,
    sign: float,
    rule: Rule,
    carry: Floats,
    f: Floats,
    m: Ints,
) -> int:
    """Add rows after `a` while rest or current goes on; return their end."""
    if sign == 0.0:
        end = _rest(record, a, b, rule.i_zero, f)
        m[RESTS] += end - a - 1
    else:
        end = _flow(record, a, b, sign, rule, f)
        t, i = record.t[a:end], record.i[a:end]
        _bent(t, i, carry, f)
        if record.counter.size > 0:
            _count(record.counter[a:end], t, i, carry, f)
        carry[CURRENT] = record.i[end - 1]
    carry[TIME], carry[VOLTAGE] = record.t[end - 1], record.v[end - 1]
    if record.counter.size > 0:
        carry[COUNT] = record.counter[end - 1]
    return end


@njit(cache=True, nogil=True)
def _alike(file: Ints, a: int, b: int) -> int:
    """Return the first row after `a` that is of another file, or `b`."""
    k = a + 1
    while k < b and file[k] == file[a]:
        k += 1
    return k


@njit(cache=True, nogil=True)
def _walk_block(
    record: Record,
    a: int,
    b: int,
    offset: int,
    rule: Rule,
    carry: Floats,
    table: Walked,
) -> Walked:
    """Walk through the rows from `a` to `b`, which lie in one block."""
    file = record.file
    if file.size > 0 and carry[VALID] == 0.0:
        carry[FILE] = np.float64(file[a])
    uniform = file.size == 0 or all_equal(file, a, b, np.int16(carry[FILE]))
    floats, integers, n, turns, turned = table
    alike = b if uniform else a  # rows of one file end there
    fresh = (offset + a) % BLOCK == 0 or carry[OPEN] == 0.0
    k = a
    while k < b:
        missing = is_missing(record.t[k], record.v[k], record.i[k])
        sign = 0.0 if missing else sign_of(record.i[k], rule.i_zero)
        # What is at work again after a rest may be another half cycle's.
        again = carry[SIGN] == 0.0 and integers[n - 1, LAST_ACTIVE] >= 0
        other = sign != 0.0 and (again or sign != integers[n - 1, DIRECTION])
        if fresh or other:
            floats, integers, n = open_part(floats, integers, n, int(sign), offset + k)
            fresh = False
        f, m = floats[n - 1], integers[n - 1]
        if missing:
            m[MISSING] += 1
            m[LAST] = offset + k
            k += 1
            continue
        if sign != carry[SIGN] and carry[NEXT] == offset + k and carry[VALID] == 1.0:
            turns = note(turns, turned, offset + k)
            turned += 1
        _step(record, k, sign, rule, carry, f, m)
        if k >= alike:
            alike = _alike(file, k, b)
        k = _run(record, k, alike, sign, rule, carry, f, m)
        carry[NEXT] = offset + k
        m[LAST] = offset + k - 1
        if sign != 0.0:
            f[T_END], f[V_END] = record.t[k - 1], record.v[k - 1]
            m[LAST_ACTIVE] = offset + k - 1
            if record.clock.size > 0:
                m[CLOCK_END] = record.clock[k - 1]
    carry[OPEN] = 1.0
    return Walked(floats, integers, n, turns, turned)


@njit(cache=True, nogil=True)
def walk(
    record: Record,
    offset: int,
    rule: Rule,
    carry: Floats,
    table: Walked,
) -> Walked:
    """Walk through one chunk of a record and extend the table of parts.

    Parameters
    ----------
    record : Record
        The rows of the chunk.
    offset : int
        Number of the chunk's first row in the whole record.
    rule : Rule
        Rule for the integrals: rectangles for mean currents, else trapezoids.
    carry : (CARRIED,) array
        State of the last valid row; changed in place.
    table : Walked
        Parts so far.

    Returns
    -------
    Walked
        The table, enlarged if needed.
    """
    a = int(np.int64(0))  # a literal would compile a separate version
    while a < record.t.size:
        b = min(record.t.size, a + BLOCK - (offset + a) % BLOCK)
        table = _walk_block(record, a, b, offset, rule, carry, table)
        a = b
    return table


@njit(cache=True, nogil=True)
def _carry_into(record: Record, row: int, rule: Rule, carry: Floats) -> None:
    """Put the last valid row before `row` into `carry`."""
    k = last_before(record, row)
    if k < 0:
        return
    sign = sign_of(record.i[k], rule.i_zero)
    carry[TIME], carry[VOLTAGE], carry[SIGN] = record.t[k], record.v[k], sign
    carry[CURRENT] = record.i[k] if sign != 0.0 else 0.0
    carry[FILE] = np.float64(record.file[k]) if record.file.size > 0 else 0.0
    carry[COUNT] = record.counter[k] if record.counter.size > 0 else 0.0
    carry[VALID], carry[NEXT] = 1.0, k + 1
    j = last_before(record, k)
    if j < 0 or sign == 0.0 or sign_of(record.i[j], rule.i_zero) != sign:
        return
    same = record.file.size == 0 or record.file[j] == record.file[k]
    d = record.t[k] - record.t[j]
    if same and 0.0 <= d <= rule.max_gap:
        carry[LENGTH], carry[RISE] = d, record.i[k] - record.i[j]
        if record.counter.size > 0:
            c, i = record.counter, record.i
            carry[FELL] = fell(c[k], c[j], i[k], i[j], d)


def walk_whole(
    record: Record, rule: Rule, *, workers: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Walk through a record in memory, shared between threads by whole blocks.

    The result is the same to the last bit for any number of threads.

    Returns
    -------
    floats, integers : (parts, columns) arrays
    turns : array
        Rows whose current has another sign than the row before.
    """
    rows = record.t.size
    blocks = -(-rows // BLOCK)
    share = max(-(-blocks // (workers or allowed())), 1) * BLOCK

    def walk_share(start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        carry = np.zeros(CARRIED)
        _carry_into(record, start, rule, carry)
        piece = part(record, start, min(rows, start + share))
        return trimmed(walk(piece, start, rule, carry, parts.table()))

    found = in_threads(walk_share, [(start,) for start in range(0, rows, share)])
    if not found:
        return trimmed(parts.table(0))
    floats, integers, turns = (np.concatenate(x) for x in zip(*found, strict=True))
    return floats, integers, turns


def trimmed(table: Walked) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the parts and turns of a table without its spare room."""
    n, turned = table.n, table.turned
    return table.floats[:n], table.integers[:n], table.turns[:turned]


@njit(cache=True, nogil=True)
def _largest_bits(bits: Ints, mask: int) -> int:
    # For floats without their sign, integer order is float order; this vectorises.
    most = bits[0] & mask
    for k in range(bits.size):
        x = bits[k] & mask
        most = x if x > most else most
    return most


def largest(values: np.ndarray) -> float:
    """Return the largest magnitude in an array, ignoring NaN; 0 if there is none."""
    pieces = np.array_split(values, allowed()) if values.size > _MANY else [values]
    return max(in_threads(_largest, [(piece,) for piece in pieces]))


def _largest(values: np.ndarray) -> float:
    if not values.size:
        return 0.0
    if values.dtype.kind == "f" and values.dtype.itemsize in (4, 8):
        kind = np.int64 if values.dtype.itemsize == 8 else np.int32
        plain = usual(values, values.dtype.newbyteorder("="))
        most = np.asarray(_largest_bits(plain.view(kind), np.iinfo(kind).max), kind)
        found = float(most.view(plain.dtype))
        if found == found:
            return found
    finite = values[np.isfinite(values)]
    return float(np.abs(finite).max()) if finite.size else 0.0


def in_threads(function: Any, pieces: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Call `function` for each piece, in threads if there are several."""
    if len(pieces) < 2:
        return [function(*piece) for piece in pieces]
    with ThreadPoolExecutor(len(pieces)) as pool:
        return list(pool.map(lambda piece: function(*piece), pieces))
