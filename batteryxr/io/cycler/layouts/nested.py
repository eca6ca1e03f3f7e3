"""Read reports in which rows of cycles, of their steps and of records alternate."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.io.cycler.labels import STATE, choose
from batteryxr.io.cycler.vendors import NEWARE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Quantities that a record row takes from the row of its cycle or step.
_TAKEN = ("cycle", "step", STATE)
_OUTER = tuple(column for column in NEWARE.columns if column.name in _TAKEN)
_HEAD = 50  # rows that are searched for labels
_CELLS = 3  # fewest cells in a line of labels for records


@dataclass(frozen=True)
class Nested:
    """Describe places of the lines of labels in a nested report.

    Parameters
    ----------
    row
        Index of the first of these lines; the line for records is the last.
    labels
        Labels of each level: cycles, steps, records; or steps, records.
    """

    row: int
    labels: tuple[tuple[str, ...], ...]

    @property
    def depth(self) -> int:
        """Return the number of empty cells before a record."""
        return len(self.labels) - 1

    @property
    def taken(self) -> tuple[tuple[int, ...], ...]:
        """Return the indices of cells that records take from cycle and step rows."""
        own = choose(self.labels[-1], _OUTER)
        found: list[tuple[int, ...]] = []
        for level in self.labels[:-1]:
            here = choose(level, _OUTER)
            found.append(tuple(s.index for n, s in here.items() if n not in own))
            own = own | here
        return tuple(found)

    @property
    def flat(self) -> tuple[str, ...]:
        """Return labels of cells taken from cycles and steps, then of the records."""
        outer = [
            level[index]
            for level, chosen in zip(self.labels, self.taken, strict=False)
            for index in chosen
        ]
        return (*outer, *self.labels[-1][self.depth :])


class RowParts(NamedTuple):
    """Hold functions that work on the cells of a row, whatever its type."""

    depth: Callable[[Any], int]  # empty cells at its beginning
    cells: Callable[[Any], Sequence[Any]]
    joined: Callable[[Sequence[Any]], Any]  # cells -> beginning of a row


def find(rows: Sequence[Sequence[str]]) -> Nested | None:
    """Return the lines of labels, each one cell further to the right, or None.

    Parameters
    ----------
    rows
        First rows, split into cells.
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
    """Tell whether no row begins a cell with a digit."""
    return not any(cell.strip()[:1].isdigit() for row in rows for cell in row)


def flattened(
    nested: Nested, body: Sequence[Any], rows: RowParts
) -> tuple[list[Any], np.ndarray]:
    """Return the records with cells of their cycle and step, and their places.

    Parameters
    ----------
    nested
        Places of the labels in the report.
    body
        Rows below the labels; any type that can be sliced and added.
    rows
        Functions for the cells of a row.
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
