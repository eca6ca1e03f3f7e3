"""Read point scans in HDF5 (BLISS, NeXus): each entry's columns are one table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.io.door.datasets import read_all
from batteryxr.io.door.files import refuse_other
from batteryxr.io.door.hdf5 import opened, text, walk
from batteryxr.io.series.decoded import Decoded, decoded
from batteryxr.io.series.roles import LAYOUTS, axis_of, role_of

if TYPE_CHECKING:
    from pathlib import Path

#: Axes that a column may be by its name in a file that has many other numbers.
_AXES = ("energy", "two_theta", "q", "shift")
#: Names that say nothing: that of the group counts.
_PLAIN = ("data", "value", "values")
#: Entries of one number or text that describe a scan.
_TOLD = re.compile(
    r"title|start_time|end_time|count_time|d_spacing|crystal|creator|scan_axis"
)
_FEWEST = 2
#: Least dimensions of a stack of images.
_IMAGES = 3
_DEEPEST = 6


def read(path: Path) -> list[Decoded]:
    """Return one table for each entry that has an axis and values of its length.

    Raises
    ------
    FileFormatError
        If no entry has, as in a file of images.
    """
    entries: dict[str, list[tuple[str, Any]]] = {}
    with opened(path) as file:
        for name, node in walk(file, _DEEPEST):
            entries.setdefault(name.partition("/")[0], []).append((name, node))
        top = [f"creator = {text(file.attrs.get('creator', 'unknown'))}"]
        flat = [pair for pairs in entries.values() for pair in pairs]
        if all(name == entry for entry, pairs in entries.items() for name, _ in pairs):
            entries = {"": flat}  # columns without an entry around them
        found = [_table(path, name, nodes, top) for name, nodes in entries.items()]
        if not any(found) and all(node.ndim < _IMAGES for _, node in flat):
            # the caller lists the columns and asks which is the axis
            found = [
                _table(path, name, nodes, top, ask=True)
                for name, nodes in entries.items()
            ]
    tables = [table for table in found if table is not None]
    if not tables:
        refuse_other(path, b"\x89HDF\r\n\x1a\n")
    return tables


def _table(
    path: Path,
    entry: str,
    nodes: list[tuple[str, Any]],
    top: list[str],
    *,
    ask: bool = False,
) -> Decoded | None:
    """Return the columns of an entry, or None if it has no axis with values.

    If `ask`, the columns are those of the most frequent length, without an axis.
    """
    lists = [
        (name, node)
        for name, node in nodes
        if node.ndim == 1 and node.dtype.kind in "iuf" and node.size >= _FEWEST
    ]
    axes = [(name, node) for name, node in lists if _is_axis(_called(name))]
    axes = axes or [pair for pair in lists if role_of(_called(pair[0])).name == "angle"]
    if ask and lists:
        lengths = [node.size for _, node in lists]
        axes = [lists[lengths.index(max(lengths, key=lengths.count))]]
    if not axes:
        return None
    length = axes[0][1].size
    columns: dict[str, np.ndarray] = {}
    for name, node in lists:
        if node.size == length:
            _add(columns, name, node)
    if len(columns) < _FEWEST:
        return None
    told = {
        name.rpartition("/")[2]: text(read_all(node))
        for name, node in nodes
        if node.shape == () and _TOLD.fullmatch(name.rpartition("/")[2])
    }
    header = [*top, *(f"{key} = {words}" for key, words in told.items())]
    label = " ".join(filter(None, (entry, told.get("title", ""))))
    return decoded(path, columns, header, label)


def _is_axis(name: str) -> bool:
    if any(row.roles.get(name.lower()) == "energy" for row in LAYOUTS):
        return True
    axis = axis_of(name)
    plain = axis is not None and (axis.name, axis.rank) != ("two_theta", 1)
    return plain and axis is not None and axis.name in _AXES


def _called(name: str) -> str:
    parts = name.split("/")
    plain = parts[-1] in _PLAIN and len(parts) > 1
    return re.sub(r"\s+", "_", parts[-2] if plain else parts[-1])


def _add(columns: dict[str, np.ndarray], name: str, node: Any) -> None:
    """Add a column, unless it is there: links give one dataset several names.

    One that has the name of another, but other numbers, gets its group's name too.
    """
    values = np.asarray(read_all(node), dtype=np.float64)
    units = re.sub(r"\s+", "", text(node.attrs.get("units", "")))
    short = _called(name)
    longer = re.sub(r"\s+", "_", name).replace("/", "_")
    for called in (short, longer):
        key = f"{called} {units}".strip()
        alike = [held for held in columns if held.partition(" ")[0] == called]
        if not alike:
            columns[key] = values
            return
        if any(np.array_equal(columns[held], values, equal_nan=True) for held in alike):
            return
