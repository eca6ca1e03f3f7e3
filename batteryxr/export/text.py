"""Write results as csv, which all programs read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError
from batteryxr.core.files import whole_file
from batteryxr.export.tables import about, harmless, require_ending, tables_of, text_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    import xarray as xr

#: Characters that require a cell to be quoted.
_QUOTED = re.compile(r'[,"#\r\n]')


@checked
def write_csv(
    data: xr.DataArray | xr.Dataset,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> Path:
    """Write a result as csv: one column per quantity, with units in the heading.

    Reads once, in blocks. Lines that begin with ``#`` state how the numbers were made
    and what flags mean; ``pandas.read_csv(path, comment="#")`` skips them.

    Parameters
    ----------
    data
        Quantities along one dimension, or two, such as spectra of a series. The first
        dimension then runs across, the last one down.
    path
        Path of the file, ending in ``.csv``.
    overwrite
        Replace an existing file.

    Returns
    -------
    pathlib.Path
        The file, in UTF-8. It is written completely or not at all.

    Raises
    ------
    ArgumentError
        If the variables make several tables; `write_xlsx` gives each of them a sheet.
    DataError
        If there is nothing to write, or a variable has more than two dimensions.
    StoreError
        If the file exists and `overwrite` is False, or it cannot be written.

    Notes
    -----
    Times are UTC in ISO 8601; complex numbers take two columns; missing values are
    empty. A text that a spreadsheet would execute as a formula begins with an
    apostrophe.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> halves = record.echem.half_cycles()
    >>> batteryxr.write_csv(halves, "half_cycles.csv").name
    'half_cycles.csv'
    """
    path = Path(path)
    require_ending(str(path), ".csv")
    tables = tables_of(data, "write_csv")
    if len(tables) > 1:
        names = "; ".join(f"{t.name}" for t in tables)
        raise ArgumentError(
            "data",
            data,
            f"quantities that make one table (these make {len(tables)}: {names})",
            "Choose variables, as in data[['voltage']], or use batteryxr.write_xlsx.",
        )
    table = tables[0]
    with (
        whole_file(path, overwrite=overwrite) as new,
        new.open("w", encoding="utf-8", newline="") as target,
    ):
        for line in (*about(data), *table.labels):
            target.write(f"# {line}\n")
        target.write(_line(harmless(column.heading) for column in table.columns))
        for block in table.blocks():
            target.writelines(_line(map(text_of, row)) for row in block)
    return path


def _line(cells: Iterable[str]) -> str:
    """Return a row, with ``#`` quoted so that readers do not end the row there."""
    texts = [
        '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text
        for text in cells
    ]
    # A row of one empty cell would be skipped as an empty line.
    line = '""' if texts == [""] else ",".join(texts)
    return f"{line}\n"
