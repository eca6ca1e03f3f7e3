"""Replace what marks a missing reading in a table of a cycler."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from batteryxr.io.door.marks import marks_in

if TYPE_CHECKING:
    from batteryxr.io.cycler.table import RawTable

FLAG = "marks"
#: How columns take negative numbers; others hold no readings.
_NEGATIVE: dict[str, Literal["usual", "odd", "never"]] = {
    "voltage": "never",
    "current": "usual",
    "temperature": "odd",
    "capacity": "usual",
    "charge_capacity": "never",
    "discharge_capacity": "never",
    "energy": "usual",
    "charge_energy": "never",
    "discharge_energy": "never",
}


def without_marks(table: RawTable) -> RawTable:
    """Return a table with NaN for numbers such as 65.535 V or 9999, and a note."""
    columns, said = dict(table.columns), []
    for name, negative in _NEGATIVE.items():
        values = columns.get(name)
        if values is None or not (found := marks_in(values, negative=negative)).any():
            continue
        columns[name] = np.where(found, np.nan, values)
        row = int(np.argmax(found))
        said.append(
            f"{int(found.sum())} rows hold {values[row]:.9g} or such as {name} (first "
            f"row {row})"
        )
    if not said:
        return table
    words = f"{'; '.join(said)}: no reading, but the mark of a missing one. NaN"
    return replace(table, columns=columns, notes={**table.notes, FLAG: words})
