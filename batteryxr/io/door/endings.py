"""Signs in the last line of a text table that the file was cut there."""

from __future__ import annotations

import re

_CELLS = re.compile(rb"[\s,;]+")
_ROWS = 8  # before the last, whose numbers are compared
_TAIL = 65_536  # bytes
#: What is said of such a file.
CUT = (
    "the last line has no end, and its last number is shorter than those before it: "
    "the file may be cut within that number"
)


def ends_within_number(table: bytes) -> bool:
    """Tell whether a table seems to end within its last number.

    A last line without its end is a sign where it has fewer cells than any of the rows
    before, or its last number fewer letters or decimals. Many programs write no end of
    the last line at all.

    Parameters
    ----------
    table
        Rows of numbers.
    """
    if not table or table.endswith((b"\n", b"\r")):
        return False
    lines = table[-_TAIL:].splitlines()[-_ROWS - 1 :]
    rows = [_CELLS.split(line.strip()) for line in lines]
    *before, last = ((len(r), len(r[-1]), _decimals(r[-1])) for r in rows)
    return len(before) > 1 and any(
        found < min(others)
        for found, others in zip(last, zip(*before, strict=True), strict=True)
    )


def _decimals(cell: bytes) -> int:
    """Return how many digits follow the point of a number."""
    return len(cell.partition(b".")[2])
