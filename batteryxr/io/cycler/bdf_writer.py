"""Write cycler records as Battery Data Format, for other tools that read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.blocks import stream
from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.files import whole_file
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.optional import require
from batteryxr.core.units import in_units
from batteryxr.io.cycler.bdf_labels import ORDER, Term, power_of_ten, term_of
from batteryxr.io.cycler.decimals import unshift
from batteryxr.io.cycler.table import COLUMNS

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    import xarray as xr

_NEEDED = ("test_time", "voltage", "current")
_ROWS = 500_000  # per block


@checked
def write_bdf(
    record: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    labels: str = "preferred",
    overwrite: bool = False,
) -> Path:
    """Write cycler records as Battery Data Format, csv or parquet.

    Reads once, in blocks: memory does not grow with the record.

    If the record came from such a file, `read_cycler` gives the same numbers to the
    last bit. Numbers of more than 15 digits from elsewhere may differ in that last
    bit, because of the change of units. ``time`` is kept to the microsecond. The
    format does not store the boundaries between source files.

    Parameters
    ----------
    record
        Variables on ``record``: ``test_time``, ``voltage`` and ``current``, and any
        other in units that the format has. Positive current charges the cell.
    path
        File to write; its name ends in ``.csv`` (by custom ``.bdf.csv``) or
        ``.parquet``.
    labels
        ``"preferred"`` ("Voltage / V") or ``"machine"`` ("voltage_volt").
    overwrite
        Replace an existing file.

    Returns
    -------
    pathlib.Path
        The written file; it appears whole or not at all.

    Raises
    ------
    ArgumentError
        If the labels or the file name ending are unknown.
    DimensionError, VariableError
        If `record` is not a cycler record.
    UnitsError
        If a variable has units of another kind.
    StoreError
        If the file exists and `overwrite` is False, or it cannot be written.
    MissingDependencyError
        For parquet, if pyarrow is not installed.

    Warns
    -----
    DataQualityWarning
        If variables are left out, or several source files become one run.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> batteryxr.write_bdf(record, "cell.csv").name
    'cell.csv'
    """
    path = Path(path)
    if labels not in ("preferred", "machine"):
        raise ArgumentError("labels", labels, "'preferred' or 'machine'")
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise ArgumentError("path", str(path), "a name that ends in .csv or .parquet")
    require_variables(record, _NEEDED, caller="write_bdf")
    require_dims(record, ["record"], caller="write_bdf")
    terms, left_out = _terms(record)
    names = [
        t.preferred if labels == "preferred" else t.machine for t in terms.values()
    ]
    blocks = _blocks(record, terms)
    write = _write_csv if suffix == ".csv" else _parquet_writer()
    with whole_file(path, overwrite=overwrite) as new:
        write(new, names, blocks)
    if left_out:
        _warn(f"{', '.join(left_out)}: not numbers in units of the format, left out")
    if "file" in record.variables and len(np.unique(record["file"])) > 1:
        _warn("several source files become one run: their boundaries are not kept")
    return path


def _warn(message: str) -> None:
    warn_quality(f"write_bdf: {message}")


def _terms(record: xr.Dataset) -> tuple[dict[str, Term], list[str]]:
    """Return the variables that are written, by name, and those that cannot be."""
    every = [str(n) for n, v in record.variables.items() if v.dims == ("record",)]
    # A store gives its variables in alphabetical order.
    ordered = [n for n in ORDER if n in every]
    ordered += sorted(n for n in every if n not in ordered and n != "file")
    terms: dict[str, Term] = {}
    left_out = []
    for name in ordered:
        array = record[name]
        if name == "time":
            if array.dtype.kind == "M" and not bool(np.isnat(array).all()):
                terms[name] = Term("unix_time", "s")
            continue
        units = str(array.attrs.get("units", ""))
        if name in COLUMNS:
            units = COLUMNS[name]["units"]
        term = term_of(name, units, str(array.attrs.get("source_label", "")))
        if term is None or array.dtype.kind not in "iuf" or term in terms.values():
            left_out.append(name)
        else:
            terms[name] = term
    return terms, left_out


def _blocks(record: xr.Dataset, terms: dict[str, Term]) -> Iterator[list[np.ndarray]]:
    places = []
    arrays = []
    for name, term in terms.items():
        array = record[name]
        if name == "time":
            places.append(0)
        else:
            if name in COLUMNS:
                array = in_units(array, COLUMNS[name]["units"], caller="write_bdf")
            places.append(power_of_ten(term.units, str(array.attrs["units"])))
        arrays.append(array)
    for block in stream(*arrays, dim="record", block=_ROWS):
        yield [_column(v, p) for v, p in zip(block, places, strict=True)]


def _column(values: np.ndarray, places: int) -> np.ndarray:
    if values.dtype.kind == "M":
        # Whole microseconds need one correctly rounded division, as in a reader.
        nanoseconds = values.astype("datetime64[ns]").astype(np.int64)
        seconds = (nanoseconds + 500) // 1000 / 1e6
        return np.where(np.isnat(values), np.nan, seconds)
    if values.dtype.kind in "iu" and places == 0:
        return values
    return unshift(values.astype(np.float64, copy=False), places)


def _write_csv(
    path: Path, names: list[str], blocks: Iterator[list[np.ndarray]]
) -> None:
    with path.open("w", encoding="utf-8", newline="") as target:
        target.write(",".join(names) + "\n")
        for block in blocks:
            rows = zip(*map(_text, block), strict=True)
            target.writelines(f"{','.join(row)}\n" for row in rows)


def _text(values: np.ndarray) -> list[str]:
    """Return the shortest text that reads as the same number; empty for NaN."""
    text = list(map(repr, values.tolist()))
    for row in np.flatnonzero(np.isnan(values)).tolist():
        text[row] = ""
    return text


def _parquet_writer() -> Callable[[Path, list[str], Iterator[list[np.ndarray]]], None]:
    pa: Any = require("pyarrow", extra="io", purpose="writing parquet")
    pq: Any = require(
        "pyarrow.parquet", extra="io", package="pyarrow", purpose="writing parquet"
    )

    def write(path: Path, names: list[str], blocks: Iterator[list[np.ndarray]]) -> None:
        writer = None
        try:
            for block in blocks:
                table = pa.table([pa.array(column) for column in block], names=names)
                writer = writer or pq.ParquetWriter(path, table.schema)
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()

    return write
