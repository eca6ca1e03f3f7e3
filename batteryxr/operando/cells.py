"""Read many cells from a table of files into one Dataset on cell and cycle."""

from __future__ import annotations

import difflib
import functools
import hashlib
import inspect
import math
import os
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    StoreError,
    pass_on,
    warn_quality,
)
from batteryxr.core.files import read_table
from batteryxr.core.ledger import Ledger, mark_digest
from batteryxr.core.progress import track
from batteryxr.core.provenance import recorded
from batteryxr.core.store import StoreLike, location_of, require_store
from batteryxr.core.version import __version__
from batteryxr.echem.counting import Counting
from batteryxr.echem.cycling.cells import UNREADABLE, WARNED, Life, Padded, beside
from batteryxr.echem.cycling.cycles import Direction, Electrode, Reference, cycles
from batteryxr.io.cycler.reader import find, read_cycler
from batteryxr.io.door.files import regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from batteryxr.core.checks import Part

#: Group of the store that keeps finished cells.
_GROUP = "cells"
#: Age (ns) from which a file's times tell of any later change: file systems count
#: in steps of up to two seconds.
_STEP_NS = 4_000_000_000
#: Most messages that a warning shows in full.
_TOLD = 3
#: Columns with a meaning of their own; numbers have units.
_NAMES = ("cell", "path", "group", "mass", "nominal_capacity")
_UNITS = {"mass": "mg", "nominal_capacity": "mA h"}
#: Columns that are arguments of `read_cycler`.
_OPTIONS = tuple(n for n in inspect.signature(read_cycler).parameters if n != "path")
#: Similarity to a known column name above which a column may be misspelt.
_ALIKE = 0.8


@dataclass(frozen=True)
class _Way:
    """Describe settings for reading each cell and finding its cycles."""

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

    Reads each file once, one cell after another: memory is that of the largest cell
    and of the results. A cell that cannot be read is named and flagged, and the
    others are still read.

    Parameters
    ----------
    data
        Table with a row for each cell: a DataFrame, a CSV file, a list of rows
        (dicts), a dict of name to row or to path, or a list of paths. Columns:
        ``path`` (as for `read_cycler`, relative to a CSV file; or a record),
        ``cell`` (its name; by default that of the file), ``mass`` (mg),
        ``nominal_capacity`` (mA h), ``group``, and the arguments of `read_cycler`,
        such as ``timezone``. All others become coordinates on ``cell``.
    electrode, first
        See `cycles`.
    reference
        Cycle to whose capacity the retention refers: the first complete cycle, the
        one with most capacity, or a cycle by number.
    threshold
        A life ends with the first complete cycle that retains less than this fraction
        of the reference, unless one of the next two complete cycles retains more.
    counting
        Criteria that end a half cycle. Default: as in `half_cycles`.
    timezone
        Zone of the cyclers' clocks, if the table has none.
    store
        Store that keeps finished cells. After an interruption a second call continues
        there: it compares the bytes of the files, and reads only cells whose files or
        arguments are new.
    progress
        Show a bar. None shows it in terminals and notebooks only.

    Returns
    -------
    xarray.Dataset
        On (``cell``, ``cycle``): the result of `cycles`, NaN after a cell's last cycle.
        On ``cell``: ``life`` (number of the cycle that ends it; NaN if it continues
        beyond the record), ``n_cycles``, ``reference_cycle``, ``reference_capacity``,
        ``flag`` and ``note``, ``mass`` and the name of its group. On (``group``,
        ``cycle``): mean, standard deviation over the cells, and number of cells, for
        capacity, Coulombic efficiency and retention of complete cycles. On ``group``:
        the same for ``life``, NaN while a cell of the group lives, and its median.

    Raises
    ------
    ArgumentError
        If the table has no cell, repeats a name, or holds an invalid number.
    DataError
        If no cell can be read.
    StoreError
        If the store cannot be written.

    Warns
    -----
    DataQualityWarning
        Naming the cells that cannot be read, and once for warnings about others.

    Examples
    --------
    >>> from batteryxr.operando import cells
    >>> first = batteryxr.simulate.cell_experiment(seed=0)["echem"].to_dataset()
    >>> second = batteryxr.simulate.cell_experiment(seed=1)["echem"].to_dataset()
    >>> table = {
    ...     "A1": {"path": first, "mass": 7.0},
    ...     "A2": {"path": second, "mass": 7.1},
    ... }
    >>> study = cells(table, electrode="cathode", first="charge")
    >>> study["n_cycles"].values.tolist()
    [2, 2]
    """
    rows = _cell_rows(data)
    way = _Way(electrode, first, counting or Counting(), timezone, store)
    if store is not None:
        require_store(location_of(store, "store"))
        Ledger(store, _GROUP).claim({"what": "cycles of cells"})
    found, files = Padded(len(rows)), {}
    notes: dict[str, str] = {}
    for k, row in enumerate(track(rows, "Reading cells", progress=progress)):
        try:
            one, notes[row.name] = _cell(row, way)
        except StoreError:  # full, or not writable: no fault of the file
            raise
        except Exception as error:  # one bad file must not stop the others
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


def _cell(row: _CellRow, way: _Way) -> tuple[xr.Dataset, str]:
    """Return the cycles of a cell and its warnings, from the store if possible."""
    key = _key(row, way)
    if key is None or way.store is None:
        return _read(row, way)
    ledger = Ledger(way.store, _GROUP)
    if (piece := ledger.get(key)) is not None:
        return _unpacked(piece.arrays, piece.attrs), piece.attrs["note"]
    result, note = _read(row, way)
    arrays, attrs = _packed(result)
    with ledger.held():  # the same cells may be read at the same time
        ledger.put(key, arrays, note=note, **attrs)
    return result, note


def _read(row: _CellRow, way: _Way) -> tuple[xr.Dataset, str]:
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
    ours = pass_on(said)
    # Keep only the file names; flags and warnings are in the note.
    result.attrs["source_files"] = list(record.attrs.get("source_files", []))
    return result, "; ".join(dict.fromkeys(str(w.message) for w in ours))


def _key(row: _CellRow, way: _Way) -> str | None:
    """Return a key that identifies the cycles of a cell, or None for a record."""
    if isinstance(row.source, xr.Dataset):
        return None
    paths = find(row.source, format=row.options.get("format"))
    files = [(str(p.resolve()), _digest(p)) for p in paths]
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


def _digest(path: Path) -> str:
    """Return a digest of a file: one may replace another of its size and time."""
    regular(path)
    seen = path.stat()
    at = seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns
    # One that is being written may change again within the clock's step. Windows does
    # not tell when a file was changed whose time was set back.
    fresh = abs(time.time_ns() - seen.st_ctime_ns) < _STEP_NS or os.name == "nt"
    return _digest_of.__wrapped__(path, at) if fresh else _digest_of(path, at)


@functools.lru_cache(maxsize=4096)
def _digest_of(path: Path, at: tuple[int, ...]) -> str:
    """Return a digest of a file, read once while it stays `at` its place and time."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _about(rows: Sequence[_CellRow], files: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return the table's values for the cells, column by column."""
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


@dataclass(frozen=True)
class _CellRow:
    """Hold one cell of the table."""

    name: str
    source: Any  # path for `read_cycler`, or a record
    group: str
    mass: float | None  # mg
    nominal_capacity: float | None  # mA h
    options: dict[str, Any]  # arguments of `read_cycler`
    about: dict[str, Any]  # other columns, passed on


def _cell_rows(data: Any) -> list[_CellRow]:
    """Return the cells of a table in any of its forms; see `cells`.

    Raises
    ------
    ArgumentError
        If there is no cell, a name is repeated, or a number is invalid.
    """
    rows = [_row(entry, number) for number, entry in enumerate(_entries(data), 1)]
    if not rows:
        raise ArgumentError("data", data, "a table of at least one cell")
    counts = Counter(row.name for row in rows)
    if twice := [name for name, n in counts.items() if n > 1]:
        raise ArgumentError(
            "data",
            twice,
            "names of cells that differ",
            "Several files of one cell go into one row, as a list.",
        )
    _warn_of_slips(rows)
    return rows


def _entries(data: Any) -> Iterator[Mapping[str, Any]]:
    """Yield one mapping of column to value for each cell."""
    if isinstance(data, str | os.PathLike):
        yield from _from_csv(Path(data).expanduser())
    elif hasattr(data, "to_dict") and hasattr(data, "columns"):
        yield from _from_frame(data)
    elif isinstance(data, Mapping):
        for name, entry in data.items():
            more = entry if _is_row(entry) else {"path": entry}
            yield {"cell": name, **more}
    else:
        for entry in data:
            yield entry if _is_row(entry) else {"path": entry}


def _is_row(entry: Any) -> bool:
    return isinstance(entry, Mapping) and not isinstance(entry, xr.Dataset)


def _from_frame(frame: pd.DataFrame) -> Iterator[Mapping[str, Any]]:
    if frame.index.name == "cell":
        frame = frame.reset_index()
    yield from frame.to_dict("records")


def _from_csv(path: Path) -> Iterator[Mapping[str, Any]]:
    if not path.is_file():
        raise ArgumentError("data", str(path), "an existing CSV file, or a table")
    for row in _from_frame(read_table(path)):
        where = row.get("path")
        beside = path.parent / where if isinstance(where, str) else where
        yield {**row, "path": beside}


def _row(entry: Mapping[str, Any], number: int) -> _CellRow:
    known = {str(k): v for k, v in entry.items() if not _is_nothing(v)}
    source = known.pop("path", None)
    if source is None:
        raise ArgumentError(
            "data",
            dict(entry),
            "a 'path' in each row",
            f"Row {number} has the columns {sorted(map(str, entry))}.",
        )
    name = _text(known.pop("cell")) if "cell" in known else _stem(source, number)
    return _CellRow(
        name,
        source,
        _text(known.pop("group", "all")),
        _number(known.pop("mass", None), "mass", name),
        _number(known.pop("nominal_capacity", None), "nominal_capacity", name),
        {option: known.pop(option) for option in _OPTIONS if option in known},
        known,
    )


def _is_nothing(value: Any) -> bool:
    """Tell whether a table has no value here: None, NaN or NaT."""
    return value is None or (np.isscalar(value) and value != value)


def _text(value: Any) -> str:
    # pandas turns a column of integers with a gap into floats.
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value).strip()


def _stem(source: Any, number: int) -> str:
    first = source[0] if isinstance(source, list | tuple) and source else source
    if isinstance(first, str | os.PathLike):
        return Path(first).name.partition(".")[0]
    return f"cell {number}"


def _number(value: Any, column: str, cell: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (0 < number < math.inf):
        units = _UNITS[column]
        expected = f"a number > 0 in {units} for cell {cell!r}"
        raise ArgumentError(column, value, expected)
    return number


def _warn_of_slips(rows: Sequence[_CellRow]) -> None:
    """Warn of columns whose names look like misspelt known ones."""
    for column in sorted({c for row in rows for c in row.about}):
        near = difflib.get_close_matches(
            column.lower(), [*_NAMES, *_OPTIONS], n=1, cutoff=_ALIKE
        )
        if near:
            warn_quality(
                f"the column {column!r} is passed on as it is; was {near[0]!r} meant?"
            )
