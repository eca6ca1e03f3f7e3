"""Every channel of a file by a name: what ``columns="all"`` reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import ArgumentError
from batteryxr.io.series.choice import FORMULAS, choose, made
from batteryxr.io.series.headers import slug
from batteryxr.io.series.scans import described

if TYPE_CHECKING:
    from pathlib import Path

    from batteryxr.io.series.scans import Wanted


#: Names of coordinates of every series.
_RESERVED = ("time", "exposure", "file", "label", "scan", "start_local")


def channels(path: Path, wanted: Wanted, columns: Any) -> dict[str, int | str | None]:
    """Return variable -> what it is read from.

    Parameters
    ----------
    path
        The first file of a series; all are read alike.
    wanted
        What the user said of the files.
    columns
        ``"all"``, or a list of columns and formulas.

    Raises
    ------
    ArgumentError
        If nothing is listed, or the axis cannot be told.
    """
    if columns != "all":
        if not columns:
            raise ArgumentError("columns", columns, "at least one column")
        return {_called(column): column for column in columns}
    file = described(path, wanted.skip_rows)
    last = file.n - 1
    position = choose(file, wanted.axis, last).position if last else 0
    found: dict[str, int | str | None] = {
        name: name for name in made(file, wanted.axis or "") if name in FORMULAS
    }
    for column in range(file.n):
        if column == position:
            continue
        name = slug(file.names[column]) if file.names else ""
        free = name if name and name not in found else f"column_{column}"
        free = f"{free}_column" if free in _RESERVED else free
        found[free] = column
    return found


def _called(column: Any) -> str:
    return f"column_{column}" if isinstance(column, int) else slug(str(column))
