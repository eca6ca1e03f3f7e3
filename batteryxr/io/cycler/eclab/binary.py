"""Read binary files of EC-Lab (``.mpr``)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.cycler.eclab import derived, layout
from batteryxr.io.cycler.eclab.cycling import About, cycling
from batteryxr.io.cycler.eclab.layout import LIST_TO, ROWS_FROM
from batteryxr.io.cycler.eclab.modules import modules, settings_of
from batteryxr.io.cycler.vendors import BIOLOGIC
from batteryxr.io.door import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batteryxr.io.cycler.eclab.modules import EclabSettings, Module
    from batteryxr.io.cycler.table import Options, RawTable

_EXPORT = "Export it as text (.mpt) in EC-Lab."


@dataclass(frozen=True)
class MprRows:
    """Hold rows of a file, read one column at a time.

    Parameters
    ----------
    raw
        (rows, bytes) of the rows as stored.
    layout
        Place and type of each column.
    settings
        Settings from the other modules of the file.
    notes
        Flag -> message about what is unknown.
    """

    raw: np.ndarray
    layout: layout.RowLayout
    settings: EclabSettings
    notes: Mapping[str, str]

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels as in exported text: stored columns, then derived ones."""
        stored = [f.label for f in self.layout.fields]
        return (*stored, *derived.available(stored, self.settings.x))

    def column(self, label: str) -> np.ndarray:
        """Return a column by its label, in its own type, or as bytes."""
        for field in self.layout.fields:
            if field.label == label:
                return layout.values(self.raw, field)
        stored = [f.label for f in self.layout.fields]
        return derived.available(stored, self.settings.x)[label](self.column)

    def read(self, wanted: Mapping[str, int]) -> dict[str, np.ndarray]:
        """Return columns as float64: name -> index among the labels."""
        labels = self.labels
        return {n: self.column(labels[k]).astype(np.float64) for n, k in wanted.items()}

    @property
    def unknown(self) -> dict[str, int]:
        """Return names and indices of columns that have a number but no name."""
        return {
            field.label.replace(" ", "_"): k
            for k, field in enumerate(self.layout.fields)
            if _is_kept(field)
        }


def read(path: Path, options: Options) -> RawTable:
    """Read a binary file.

    Columns have the labels of exported text, including those that EC-Lab computes
    only on export. An unknown column is named by its number.

    Parameters
    ----------
    path
        The file.
    options
        `Options.columns` names labels that are unknown.

    Raises
    ------
    FileFormatError
        If the file was cut or is damaged.
    """
    return cycling(*contents(path), options)


def contents(path: Path) -> tuple[MprRows, About]:
    """Return the columns of a binary file, with its settings.

    Raises
    ------
    FileFormatError
        If the file was cut or is damaged.
    """
    found = rows(path)
    about = About(
        path,
        technique=found.settings.technique,
        header=found.settings.header,
        start=found.settings.start,
        instrument=found.settings.device or BIOLOGIC.name,
        notes=found.notes,
        unknown=found.unknown,
    )
    return found, about


def rows(path: Path) -> MprRows:
    """Return the rows of a binary file, with its settings.

    Raises
    ------
    FileFormatError
        If lengths and counts in the file do not agree.
    """
    raw = files.whole(path)
    parts = modules(raw, path)
    data = [part for part in parts if part.name == "VMP data"]
    if len(data) != 1:
        raise FileFormatError(
            path, f"has {len(data)} data modules among {[p.name for p in parts]}."
        )
    (module,) = data
    count, numbers, begin = _counts(module, path)
    body = np.frombuffer(module.payload, np.uint8, offset=begin)
    if count == 0 and body.size == 0:
        table = np.empty((0, layout.least_width(numbers)), np.uint8)
    elif count == 0 or body.size % count:
        raise FileFormatError(
            path, f"{body.size:,} bytes of rows are no {count:,} rows. It is damaged."
        )
    else:
        table = body.reshape(count, -1)
    found = layout.find(numbers, table)
    if found is None:
        raise FileFormatError(
            path,
            f"rows of {table.shape[1]} bytes do not hold the columns {list(numbers)}: "
            f"the file is damaged, or of a kind that is not known. {_EXPORT}",
        )
    notes = _notes(module, found)
    return MprRows(table, found, settings_of(parts), notes)


def _is_kept(field: layout.Field) -> bool:
    """Tell whether a column has a number for a name, and readable values."""
    return field.label.startswith("column ") and not field.type.startswith("V")


def _counts(module: Module, path: Path) -> tuple[int, tuple[int, ...], int]:
    """Return the number of rows, the column numbers, and the byte of the first row."""
    payload = module.payload
    if len(payload) < 5:
        raise FileFormatError(path, "the data module is too short for its counts.")
    count, columns = struct.unpack_from("<IB", payload)
    end = 5 + 2 * columns
    if len(payload) < end or not columns:
        raise FileFormatError(path, f"the data module has no list of {columns} columns")
    numbers = struct.unpack_from(f"<{columns}H", payload, 5)
    if len(set(numbers)) < columns:
        raise FileFormatError(path, f"the columns {list(numbers)} repeat: damaged.")
    begin = ROWS_FROM.get(module.version or 0)
    if begin is None:
        begin = _begin(len(payload), count, numbers, path)
    if not end <= begin <= len(payload):
        raise FileFormatError(path, "the data module ends before its first row.")
    if any(payload[end : min(begin, LIST_TO)]):
        raise FileFormatError(
            path, f"more follows the list of {columns} columns: the count is damaged."
        )
    return count, numbers, begin


def _begin(size: int, count: int, numbers: tuple[int, ...], path: Path) -> int:
    """Return the byte of the first row in a module of unknown version."""
    if unknown := [n for n in numbers if not layout.is_known(n)]:
        raise FileFormatError(
            path,
            f"neither the version of its data nor the columns {unknown} are known, so "
            f"that nothing tells where the rows begin. {_EXPORT}",
        )
    return size - count * layout.known_width(numbers)


def _notes(module: Module, found: layout.RowLayout) -> dict[str, str]:
    notes = {}
    if module.version not in ROWS_FROM:
        notes["unknown_version"] = (
            "the data module is of a version that is not known: the rows were found "
            "by the widths of their columns"
        )
    if found.unknown:
        numbers = ", ".join(map(str, found.unknown))
        kept = [f.label.replace(" ", "_") for f in found.fields if _is_kept(f)]
        said = [f"columns {numbers} are not known"]
        said += [f"kept as {', '.join(kept)}"] * bool(kept)
        said += [found.problem] * bool(found.problem)
        notes["unknown_columns"] = "; ".join(said)
    return notes
