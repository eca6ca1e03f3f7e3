"""Many cells at once: a table of files in, one Dataset on cell and cycle out."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core.errors import (
    BatteryxrWarning,
    DataError,
    warn_quality,
)
from batteryxr.core.ledger import Ledger, mark_digest
from batteryxr.core.progress import track
from batteryxr.core.provenance import recorded
from batteryxr.core.store import StoreLike, location_of, require_store
from batteryxr.core.version import __version__
from batteryxr.echem.counting import Counting
from batteryxr.echem.cycling.cells import UNREADABLE, WARNED, Life, Padded, beside
from batteryxr.echem.cycling.cycles import Direction, Electrode, Reference, cycles
from batteryxr.io.cycler.reader import find, read_cycler
from batteryxr.operando.cell_table import CellRow, cell_rows

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from batteryxr.core.checks import Part

#: Group of the store in which finished cells are kept.
_GROUP = "cells"
#: Messages that a warning tells in full.
_TOLD = 3


@dataclass(frozen=True)
class _Way:
    """How each cell is read and summed up."""

    electrode: Literal["cathode", "anode", "full"]
    first: Literal["charge", "discharge"]
    counting: Counting
    timezone: str | None
    store: StoreLike | None


@recorded
def cells(
    data: str | os.PathLike[str] | pd.DataFrame | Mapping[str, Any] | Sequence[Any],
    *,
    electrode: Electrode,
    first: Direction,
    reference: Reference = "first",
    threshold: Part = 0.8,
    counting: Counting | None = None,
    timezone: str | None = None,
    store: StoreLike | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Read the files of many cells and compare their cycles, lives and groups.

    Reads each file once, one cell after another: the memory is that of the largest
    cell and of the results. A cell that cannot be read is named and flagged, and the
    others are done.

    Parameters
    ----------
    data
        A table with a row for each cell: a DataFrame, a CSV file, a list of rows
        (dicts), a dict of name to row or to path, or a list of paths. Columns:
        ``path`` (what `read_cycler` takes, relative to a CSV file; or a record),
        ``cell`` (its name; the file's where missing), ``mass`` (mg),
        ``nominal_capacity`` (mA h), ``group``, and the arguments of `read_cycler`,
        such as ``timezone``. All others become coordinates on ``cell``.
    electrode, first
        See `cycles`.
    reference
        What the capacity is retained of: that of the first complete cycle, of the
        one with most, or of a cycle by number.
    threshold
        A life ends with the first complete cycle that retains less than this fraction
        of the reference, unless one of the next two complete cycles retains more.
    counting
        What ends a half cycle. Default: as in `half_cycles`.
    timezone
        Zone of the cyclers' clocks, where the table has none.
    store
        Where finished cells are kept: interrupted, a second call goes on there, and
        reads only cells whose files or arguments are new.
    progress
        Show a bar: True, False, or None for only where somebody watches.

    Returns
    -------
    xarray.Dataset
        On (``cell``, ``cycle``): what `cycles` gives, NaN behind a cell's last cycle.
        On ``cell``: ``life`` (number of the cycle that ends it; NaN where it goes on
        beyond the record), ``n_cycles``, ``reference_cycle``, ``reference_capacity``,
        ``flag`` and ``note``, ``mass`` and the name of its group. On (``group``,
        ``cycle``): mean, standard deviation over the cells and their number of
        capacity, Coulombic efficiency and retention of complete cycles. On ``group``:
        the same of ``life``, NaN while a cell of the group lives, and its median.

    Raises
    ------
    ArgumentError
        If the table has no cell, names one twice, or holds a number that is none.
    DataError
        If no cell can be read.
    StoreError
        If the store cannot be written to.

    Warns
    -----
    DataQualityWarning
        Naming the cells that cannot be read, and once for what is warned of others.

    Examples
    --------
    >>> table = {"A1": {"path": "A1.mpt", "mass": 7.1, "group": "coated"},
    ...          "A2": {"path": ["A2_1.mpt", "A2_2.mpt"], "mass": 6.8, "group": "bare"}}
    >>> study = cells(table, electrode="cathode", first="charge")
    >>> study.echem.plot.cells()
    """
    rows = cell_rows(data)
    way = _Way(electrode, first, counting or Counting(), timezone, store)
    if store is not None:
        require_store(location_of(store))
        Ledger(store, _GROUP).claim({"what": "cycles of cells"})
    found, files = Padded(len(rows)), {}
    notes: dict[str, str] = {}
    for k, row in enumerate(track(rows, "Reading cells", progress=progress)):
        try:
            one, notes[row.name] = _cell(row, way)
        except Exception as error:  # one file must not cost the others
            notes[row.name] = f"{type(error).__name__}: {error}"
            continue
        found.add(k, one)
        files[row.name] = ", ".join(one.attrs["source_files"])
    lost = [row.name for row in rows if row.name not in files]
    if not files:
        raise DataError("data", f"no cell can be read; {_told(lost, notes)}")
    result = beside(found, _about(rows, files), Life(reference, threshold, electrode))
    _flag(result, lost, notes)
    result.attrs |= {"electrode": electrode, "first": first, **asdict(way.counting)}
    result.attrs = {k: v for k, v in result.attrs.items() if v is not None}
    return result


def _cell(row: CellRow, way: _Way) -> tuple[xr.Dataset, str]:
    """Return the cycles of a cell and what was said of it; from the store if there."""
    key = _key(row, way)
    if key is None or way.store is None:
        return _read(row, way)
    ledger = Ledger(way.store, _GROUP)
    if (piece := ledger.get(key)) is not None:
        return _unpacked(piece.arrays, piece.attrs), piece.attrs["note"]
    result, note = _read(row, way)
    arrays, attrs = _packed(result)
    ledger.put(key, arrays, note=note, **attrs)
    return result, note


def _read(row: CellRow, way: _Way) -> tuple[xr.Dataset, str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        record = row.source
        if not isinstance(record, xr.Dataset):
            options = {"timezone": way.timezone} | row.options
            record = read_cycler(row.source, **options)
        result = cycles(
            record,
            electrode=way.electrode,
            first=way.first,
            mass=row.mass,
            nominal_capacity=row.nominal_capacity,
            counting=way.counting,
        )
    for other in said:
        if not issubclass(other.category, BatteryxrWarning):
            warnings.warn_explicit(
                other.message, other.category, other.filename, other.lineno
            )
    ours = [w for w in said if issubclass(w.category, BatteryxrWarning)]
    # Of the files their names; what they are flagged for is in the note.
    result.attrs["source_files"] = list(record.attrs.get("source_files", []))
    return result, "; ".join(dict.fromkeys(str(w.message) for w in ours))


def _key(row: CellRow, way: _Way) -> str | None:
    """Return what tells the cycles of a cell from any others; None for a record."""
    if isinstance(row.source, xr.Dataset):
        return None
    paths = find(row.source, format=row.options.get("format"))
    files = [(str(p.resolve()), *_stamp(p)) for p in paths]
    mark = {
        "files": files,
        "options": repr(sorted(row.options.items())),
        "mass": row.mass,
        "nominal_capacity": row.nominal_capacity,
        "electrode": way.electrode,
        "first": way.first,
        "counting": repr(way.counting),
        "timezone": way.timezone,
        "version": __version__,
    }
    return mark_digest(mark)


def _stamp(path: os.PathLike[str]) -> tuple[int, int]:
    import os

    known = os.stat(path)
    return known.st_size, known.st_mtime_ns


def _packed(result: xr.Dataset) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return a table of cycles as arrays and JSON values; times as integers (ns)."""
    arrays, times = {}, []
    for name, variable in result.data_vars.items():
        values = variable.values
        if values.dtype.kind == "M":
            times.append(str(name))
            values = values.astype("M8[ns]").astype(np.int64)
        arrays[str(name)] = values
    about = {str(name): variable.attrs for name, variable in result.data_vars.items()}
    files = result.attrs["source_files"]
    return arrays, {"times": times, "about": about, "source_files": files}


def _unpacked(arrays: dict[str, np.ndarray], attrs: Mapping[str, Any]) -> xr.Dataset:
    variables = {}
    for name, about in attrs["about"].items():
        values = arrays[name]
        if name in attrs["times"]:
            values = values.astype("M8[ns]")
        variables[name] = ("cycle", values, about)
    return xr.Dataset(variables, attrs={"source_files": attrs["source_files"]})


def _about(rows: Sequence[CellRow], files: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return what the table says of each cell, column by column."""
    columns: dict[str, list[Any]] = {
        "cell": [row.name for row in rows],
        "cell_group": [row.group for row in rows],
        "mass": [np.nan if row.mass is None else row.mass for row in rows],
        "source_files": [files.get(row.name, "") for row in rows],
    }
    for name in dict.fromkeys(name for row in rows for name in row.about):
        values = [row.about.get(name) for row in rows]
        number = all(v is None or isinstance(v, int | float) for v in values)
        blank: Any = np.nan if number else ""
        filled = [blank if v is None else v for v in values]
        columns[name] = filled if number else [str(v) for v in filled]
    return columns


def _flag(result: xr.Dataset, lost: list[str], notes: dict[str, str]) -> None:
    """Flag the cells that were lost or warned of, note why, and warn once of each."""
    names = [str(n) for n in result["cell"].values]
    said = [name for name in names if notes[name] and name not in lost]
    flag = result["flag"].values
    flag[np.isin(names, lost)] |= UNREADABLE
    flag[np.isin(names, said)] |= WARNED
    words = {"units": "1", "long_name": "What was said when the cell was read"}
    result["note"] = ("cell", [notes[name] for name in names], words)
    if lost:
        warn_quality(
            f"{len(lost)} of {len(names)} cells cannot be read and are empty: "
            f"{_told(lost, notes)}"
        )
    if said:
        most, n = Counter(notes[name] for name in said).most_common(1)[0]
        warn_quality(
            f"{len(said)} of {len(names)} cells were read with warnings, which stand "
            f"in `note`; of {n} of them: {most}"
        )


def _told(lost: list[str], notes: dict[str, str]) -> str:
    told = "; ".join(f"{name} ({notes[name]})" for name in lost[:_TOLD])
    more = f"; and {', '.join(lost[_TOLD:])}" if len(lost) > _TOLD else ""
    return told + more
