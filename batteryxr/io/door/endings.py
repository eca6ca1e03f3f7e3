"""Recognise text tables that were cut within their last line."""

from __future__ import annotations

import re

_CELLS = re.compile(rb"[\s,;]+")
_ROWS = 8  # rows before the last one to compare with
_TAIL = 65_536  # bytes
#: Message about a file that was cut there.
CUT = (
    "the last line has no end, and its last number is shorter than those before it, or "
    "what the format writes at the end is missing: the file may be cut within that "
    "number or before"
)


def ends_within_number(table: bytes) -> bool:
    """Tell whether a table seems to end within its last number.

    A last line without a line end is a sign if it has fewer cells than every row
    before. It is one too if its last number has fewer letters or decimals. Many
    programs never end the last line, so a missing line end alone is no sign.

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
    """Return the number of digits after the decimal point."""
    return len(cell.partition(b".")[2])
