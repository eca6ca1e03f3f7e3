"""Reports in which rows of a cycle, of its steps and of their records take turns."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.io.cycler.labels import STATE, choose
from batteryxr.io.cycler.vendors import NEWARE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: What a record row takes from the row of its cycle or step.
_TAKEN = ("cycle", "step", STATE)
_OUTER = tuple(column for column in NEWARE.columns if column.name in _TAKEN)
_HEAD = 50  # labels stand within these rows
_CELLS = 3  # of a line of labels for records, at least


@dataclass(frozen=True)
class Nested:
    """Where the lines of labels of a nested report stand.

    Parameters
    ----------
    row
        Index of the first of them; the line for records is the last.
    labels
        Of each level: cycles, steps, records; or steps, records.
    """

    row: int
    labels: tuple[tuple[str, ...], ...]

    @property
    def depth(self) -> int:
        """Empty cells before a record."""
        return len(self.labels) - 1

    @property
    def taken(self) -> tuple[tuple[int, ...], ...]:
        """Index of the cells that records take from each level above them."""
        own = choose(self.labels[-1], _OUTER)
        found: list[tuple[int, ...]] = []
        for level in self.labels[:-1]:
            here = choose(level, _OUTER)
            found.append(tuple(s.index for n, s in here.items() if n not in own))
            own = own | here
        return tuple(found)

    @property
    def flat(self) -> tuple[str, ...]:
        """Labels of the table of records with what they take."""
        outer = [
            level[index]
            for level, chosen in zip(self.labels, self.taken, strict=False)
            for index in chosen
        ]
        return (*outer, *self.labels[-1][self.depth :])


class RowParts(NamedTuple):
    """The functions that tell cells from a row, whatever kind of row it is."""

    depth: Callable[[Any], int]  # empty cells at its begin
    cells: Callable[[Any], Sequence[Any]]
    joined: Callable[[Sequence[Any]], Any]  # cells -> begin of a row


def find(rows: Sequence[Sequence[str]]) -> Nested | None:
    """Return the lines of labels, each one cell further to the right; None if none.

    Parameters
    ----------
    rows
        The first rows, split into cells.
    """
    depths = [_depth(row) for row in rows[:_HEAD]]
    for number, (first, second) in enumerate(itertools.pairwise(depths)):
        if (first, second) != (0, 1):
            continue
        last = number + 1 + (depths[number + 2 : number + 3] == [2])
        chosen = rows[number : last + 1]
        if _worded(chosen) and len(chosen[-1]) - depths[last] >= _CELLS:
            nested = Nested(number, tuple(tuple(row) for row in chosen))
            if any(nested.taken):
                return nested
    return None


def _depth(row: Sequence[str]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda cell: not cell.strip(), row))


def _worded(rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether no row holds a number."""
    return not any(cell.strip()[:1].isdigit() for row in rows for cell in row)


def flattened(
    nested: Nested, body: Sequence[Any], rows: RowParts
) -> tuple[list[Any], np.ndarray]:
    """Return the records, with what they take before them, and their place in `body`.

    Parameters
    ----------
    nested
        Of the report.
    body
        Rows below the labels, any object that can be cut and added to.
    rows
        How to tell the cells of one.
    """
    depth, levels = nested.depth, nested.taken
    held: list[list[Any]] = [[""] * len(chosen) for chosen in levels]
    before = rows.joined([cell for level in held for cell in level])
    records, places = [], []
    for place, row in enumerate(body):
        here = rows.depth(row)
        if here >= depth:
            if len(row) > depth:
                records.append(before + row[depth:])
                places.append(place)
        elif row:
            cells = rows.cells(row)
            held[here] = [cells[i] if i < len(cells) else "" for i in levels[here]]
            for lower in range(here + 1, len(held)):
                held[lower] = [""] * len(levels[lower])
            before = rows.joined([cell for level in held for cell in level])
    return records, np.asarray(places, dtype=np.int64)
