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

    A last line without its end is a sign where its last number has fewer letters than
    any in the rows before. Many programs write no end of the last line at all.

    Parameters
    ----------
    table
        Rows of numbers.
    """
    if not table or table.endswith((b"\n", b"\r")):
        return False
    lines = table[-_TAIL:].splitlines()[-_ROWS - 1 :]
    *before, last = (len(_CELLS.split(line.strip())[-1]) for line in lines)
    return len(before) > 1 and last < min(before)
