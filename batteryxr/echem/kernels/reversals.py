"""Decide which reversals of the current end a half cycle, and which are pulses.

The net charge of a record is a path that turns at every reversal. The smallest turn
between two larger ones is taken out first, and so on. Each stretch of the path then
holds the largest reversal within it. From the largest stretches down, a stretch is
one half cycle if that reversal is small compared with its net charge.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.core.kernels.compiling import njit

if TYPE_CHECKING:
    from batteryxr.core.kernels.loops import Ints

#: Largest gross charge of a half cycle relative to its net charge. Cycles that pass
#: slightly more charge in one direction drift far, but must stay cycles.
_WANDERING = 3.0


class _Tree(NamedTuple):
    """Hold stretches of the path: single runs, then those made of three others."""

    net: np.ndarray
    gross: np.ndarray
    reversal: np.ndarray  # the largest one within
    child: np.ndarray  # (n, 3): -1 for a single run
    before: np.ndarray  # remaining neighbours; -1 at the ends
    after: np.ndarray


def _leaves(charge: np.ndarray) -> _Tree:
    n = charge.size
    size = max(2 * n, 1)
    tree = _Tree(
        np.zeros(size),
        np.zeros(size),
        np.zeros(size),
        np.full((size, 3), -1),
        np.full(size, -1),
        np.full(size, -1),
    )
    tree.net[:n], tree.gross[:n] = charge, np.abs(charge)
    tree.before[1:n] = np.arange(n - 1)
    tree.after[: n - 1] = np.arange(1, n)
    return tree


@njit(cache=True, nogil=True)
def _grow(tree: _Tree, n: int, ends_open: bool) -> int:
    """Join three stretches at the smallest turn until none lies between larger ones.

    The last stretch of an open end may still grow, so it counts as large.
    """
    net, gross, before, after = tree.net, tree.gross, tree.before, tree.after
    gone = np.zeros(net.size, np.bool_)
    heap = [(abs(net[k]), k) for k in range(n)]
    heapq.heapify(heap)
    made = n
    while len(heap) > 0:
        size, k = heapq.heappop(heap)
        a, b = before[k], after[k]
        if gone[k] or a < 0 or b < 0 or abs(net[a]) < size:
            continue
        if abs(net[b]) < size and not (ends_open and after[b] < 0):
            continue
        gone[a] = gone[k] = gone[b] = True
        net[made] = net[a] + net[k] + net[b]
        gross[made] = gross[a] + gross[k] + gross[b]
        tree.reversal[made] = size
        tree.child[made, 0], tree.child[made, 1], tree.child[made, 2] = a, k, b
        before[made], after[made] = before[a], after[b]
        if before[made] >= 0:
            after[before[made]] = made
        if after[made] >= 0:
            before[after[made]] = made
        heapq.heappush(heap, (abs(net[made]), made))
        made += 1
    return made


@njit(cache=True, nogil=True)
def _cut(tree: _Tree, roots: Ints, least: float, number: Ints) -> None:
    """Assign numbers to half cycles: a root is one, or is split where it turns."""
    half, run = -1, 0
    for root in roots:
        stack = [(root, True)]
        while len(stack) > 0:
            k, new = stack.pop()
            net = abs(tree.net[k])
            whole = tree.reversal[k] < least * net
            whole = whole and tree.gross[k] <= _WANDERING * net
            if new and (whole or tree.child[k, 0] < 0):
                half, new = half + 1, False
            if tree.child[k, 0] < 0:
                number[run] = half
                run += 1
                continue
            first, middle, last = tree.child[k]
            stack.append((last, new))
            stack.append((middle, new))
            stack.append((first, new))


def half_cycles_of(charge: np.ndarray, least: float, ends_open: bool) -> np.ndarray:
    """Return the number (from 0) of the half cycle of each run.

    Parameters
    ----------
    charge
        (runs,) charge of each run of one direction; the signs alternate.
    least
        Reversals below this fraction of the net charge around them are pulses.
    ends_open
        Whether the record ends within the last run, which may have just begun.
    """
    number = np.arange(charge.size)
    if charge.size < 2 or least <= 0:
        return number  # each reversal ends a half cycle
    tree = _leaves(np.ascontiguousarray(charge, np.float64))
    _grow(tree, charge.size, ends_open)
    roots = _roots(tree)
    _cut(tree, roots, least, number)
    return _without_ends(charge, number, least, ends_open)


def _roots(tree: _Tree) -> np.ndarray:
    inner = np.zeros(tree.net.size, bool)
    inner[tree.child[tree.child >= 0]] = True
    made = (tree.gross > 0) & ~inner
    k = int(np.flatnonzero(made & (tree.before < 0))[0])
    roots = []
    while k >= 0:
        roots.append(k)
        k = int(tree.after[k])
    return np.array(roots, np.int64)


def _without_ends(
    charge: np.ndarray, number: np.ndarray, least: float, ends_open: bool
) -> np.ndarray:
    """Merge short half cycles at both ends of a record into their neighbours.

    At an open end the last half cycle may have just begun. It stays, and short ones
    before it are merged.
    """
    net = np.bincount(number, charge)
    size = np.abs(net)
    before = np.cumsum(size) - size
    first = int(np.flatnonzero(before < least * size)[-1])
    begun = size.size - 1 if ends_open and first < size.size - 1 else size.size
    size = size[:begun]
    after = np.cumsum(size[::-1])[::-1] - size
    last = max(first, int(np.flatnonzero(after < least * size)[0]))
    kept = np.clip(number, first, last)
    if begun < net.size and np.sign(net[begun]) * np.sign(net[last]) < 0:
        kept[number == begun] = last + 1
    return kept - first


def cycles_of(
    charge: np.ndarray, direction: np.ndarray, cycle: np.ndarray, least: float
) -> np.ndarray:
    """Return the direction in which each run is counted, with one turn per cycle.

    Parameters
    ----------
    charge, direction
        (runs,) charge of each run, and its sign: 0 at rest.
    cycle
        (runs,) rising number of the cycle.
    least
        A second half cycle below this fraction of the first is ignored.
    """
    signs = np.zeros(charge.size, np.int64)
    edges = np.flatnonzero(np.diff(cycle, prepend=np.nan, append=np.nan) != 0)
    for a, b in itertools.pairwise(edges):
        path = np.cumsum(charge[a:b])
        turn = int(np.argmax(np.abs(path) + np.abs(path[-1] - path)))
        first, second = path[turn], path[-1] - path[turn]
        if abs(second) < least * abs(first):
            first, second = path[-1], path[-1]
        if abs(first) < least * abs(second):
            first = second
        signs[a : a + turn + 1] = np.sign(first)
        signs[a + turn + 1 : b] = np.sign(second)
    return np.where(direction == 0, 0, signs)


def steps_of(charge: np.ndarray, direction: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return the direction in which each run is counted: the net sign of its step."""
    edges = np.flatnonzero(np.diff(step, prepend=np.nan) != 0)
    if not edges.size:
        return np.zeros(0, np.int64)
    net = np.add.reduceat(charge, edges)
    # A single row has a direction but no charge.
    net = np.where(net == 0, np.add.reduceat(direction, edges), net)
    return np.repeat(np.sign(net), np.diff(edges, append=charge.size)).astype(np.int64)
