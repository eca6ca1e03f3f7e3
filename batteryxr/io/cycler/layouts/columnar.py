"""Tables of columns (parquet) under the labels that a maker, or a person, uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io import clock
from batteryxr.io.cycler.recognise import assemble, recognise

if TYPE_CHECKING:
    from pathlib import Path

    from batteryxr.io.cycler.table import Options, RawTable


def read(path: Path, table: Any, options: Options) -> RawTable | None:
    """Return the columns of an Arrow table; None if its labels are not known.

    Parameters
    ----------
    path
        The file.
    table
        As Arrow read it.
    options
        `Options.columns` names labels that no map knows.

    Raises
    ------
    FileFormatError
        If a column does not hold numbers.
    """
    labels = list(map(str, table.column_names))
    layout = recognise([labels], ["\t".join(labels)], options)
    if layout is None:
        return None
    numbers = {
        name: _numbers(path, labels[index], table.column(index))
        for name, index in layout.numbers.items()
    }
    words = {n: table.column(i).to_pylist() for n, i in layout.words.items()}
    return assemble(layout, numbers, words, options)


def _numbers(path: Path, label: str, column: Any) -> np.ndarray:
    """Return float64; durations, as types or as text, in seconds."""
    try:
        values = column.to_numpy()
        if values.dtype.kind == "m":
            return np.asarray(values / np.timedelta64(1, "s"), dtype=np.float64)
        if values.dtype.kind == "O" and isinstance(values[0], str):
            return np.array([_number(value) for value in values])
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise FileFormatError(
            path, f"column {label!r} does not hold numbers: {error}."
        ) from error


def _number(text: str) -> float:
    return clock.duration(text) if text.count(":") >= 2 else float(text)
