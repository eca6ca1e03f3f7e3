"""Hold the table that a reader makes of one file, and check it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.core.kernels.times import NAT
from batteryxr.core.model import attributes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

#: Columns without which nothing can be analysed.
REQUIRED = ("test_time", "voltage", "current")
#: All columns that a reader may deliver, with units and plot label.
COLUMNS: dict[str, dict[str, Any]] = {
    "test_time": attributes("test_time"),
    "voltage": attributes("voltage"),
    "current": attributes("current", comment="positive current charges the cell"),
    "capacity": attributes("capacity"),
    "charge_capacity": {"units": "mA h", "long_name": "Charge capacity"},
    "discharge_capacity": {"units": "mA h", "long_name": "Discharge capacity"},
    "energy": {"units": "mW h", "long_name": "Energy"},
    "charge_energy": {"units": "mW h", "long_name": "Charge energy"},
    "discharge_energy": {"units": "mW h", "long_name": "Discharge energy"},
    "cycle": attributes("cycle"),
    "step": attributes("step"),
    "step_time": {"units": "s", "long_name": "Time since the step began"},
    "temperature": attributes("temperature"),
}
#: Counters of the cycler, which become integers if all their values are.
COUNTERS = frozenset({"cycle", "step"})
#: Flag of a sound file that has no rows of cycling, such as one of impedance.
NOTHING = "no_rows"
_LONGEST = 3e9  # s; no test runs for a century
_YEARS = (1970, 2100)  # years of a clock that was set
_LATEST = 4.1e9  # s since 1970: the year 2099


def filled(values: np.ndarray) -> np.ndarray:
    """Return values with 0 for what is missing; themselves if nothing is."""
    return values if np.isfinite(values).all() else np.nan_to_num(values)


@dataclass(frozen=True)
class Options:
    """Describe options of `read_cycler` about the files.

    Parameters
    ----------
    columns
        Label in the file -> name in the data model, with units if the label has none.
    dayfirst
        Whether 01/02 in a date is the first of February; None if the format shows
        the order.
    test
        Number of the test to read from a file that holds several.
    """

    columns: Mapping[str, str] | None = None
    dayfirst: bool | None = None
    test: int | None = None


@dataclass(frozen=True)
class RawTable:
    """Hold one file, as read: columns in units of the data model, without repairs.

    Parameters
    ----------
    columns
        Arrays of one length, by the names in `COLUMNS`; other names are kept too
        if `units` gives their units. ``test_time``, ``voltage`` and
        ``current`` (positive charges the cell) are required.
    instrument
        Maker and model, if the file gives them.
    start_local
        Local clock time (no zone) at ``test_time`` 0 of this file.
    unix_time
        Absolute UTC time of each row in seconds since 1970, if the file has it.
    local_time
        Clock reading of each row, if the file has them without a zone:
        nanoseconds since 1970 on the cycler's own clock, int64, `NAT` (the least
        int64) for rows without one.
    states
        Direction in the file's words for each row: 1 charge, -1 discharge, 0 neither.
    numbers
        The number that the cycler gives each row, if the file has them.
    timed_by_clock
        Whether test time was computed from clock readings, for lack of its own.
    header
        Further entries of the file, for ``attrs["header"]``: JSON values.
    labels
        Column name -> label in the file.
    units
        Units of columns that are not in `COLUMNS`.
    first_line
        Line of the first row, from 1, if the format has lines.
    notes
        Flag -> message: what looks implausible.
    repaired
        Flag -> message: what was repaired on request.
    left_out
        Test times (s) of rows that are no cycling; None if there are none.
    """

    columns: Mapping[str, np.ndarray]
    instrument: str
    start_local: datetime | None = None
    unix_time: np.ndarray | None = None
    local_time: np.ndarray | None = None
    states: np.ndarray | None = None
    numbers: np.ndarray | None = None
    timed_by_clock: bool = False
    header: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    first_line: int | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    repaired: Mapping[str, str] = field(default_factory=dict)
    left_out: np.ndarray | None = None

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return len(self.columns["test_time"])

    def chosen(self, rows: np.ndarray) -> RawTable:
        """Return some of the rows, in the given order."""
        apart = {
            name: values[rows]
            for name in ("unix_time", "local_time", "states", "numbers")
            if (values := getattr(self, name)) is not None
        }
        columns = {
            name: np.asarray(values)[rows] for name, values in self.columns.items()
        }
        return replace(self, columns=columns, **apart)

    @property
    def silence(self) -> str:
        """Return why a sound file has no rows of cycling; empty if it has some."""
        if self.rows:
            return ""
        return self.notes.get(NOTHING, "") or self.notes.get("impedance", "")

    @property
    def stamps(self) -> np.ndarray | None:
        """Return clock readings of the rows in ns, UTC or local, or None."""
        if self.unix_time is None:
            return self.local_time
        # A float64 holds today's Unix times to 0.24 us, no finer.
        sound = np.isfinite(self.unix_time)
        whole = np.rint(np.where(sound, self.unix_time, 0.0) * 1e6).astype(np.int64)
        return np.where(sound, whole * 1000, NAT)


def check(table: RawTable) -> None:
    """Raise if a table breaks the promises of its format.

    `io.door.files.named` says of which file it is.

    Raises
    ------
    FileFormatError
        If a required column or all rows are missing without a reason, columns differ
        in length, or a number is impossible.
    """
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        raise FileFormatError(
            None,
            f"no column for {' and '.join(missing)} among {sorted(table.columns)}. "
            "If the file has it under another label, pass columns={'label': 'name'}.",
        )
    lengths = {name: len(values) for name, values in table.columns.items()}
    if table.unix_time is not None:
        lengths["unix_time"] = len(table.unix_time)
    if table.local_time is not None:
        lengths["local_time"] = len(table.local_time)
    if table.numbers is not None:
        lengths["numbers"] = len(table.numbers)
    if len(set(lengths.values())) > 1:
        raise FileFormatError(None, f"columns differ in length: {lengths}.")
    if table.silence:
        return
    if table.rows == 0:
        raise FileFormatError(None, "no data rows. The test may not have started yet.")
    times = table.columns["test_time"]
    _refuse(~(np.abs(times) < _LONGEST), times, "test time", table)
    if (unix := table.unix_time) is not None:
        wrong = ~(((unix >= 0) & (unix < _LATEST)) | np.isnan(unix))
        _refuse(wrong, unix, "Unix time", table)
    for name in ("voltage", "current"):
        values = table.columns[name]
        _refuse(np.isinf(values), values, name, table)
    if (start := table.start_local) is not None:
        first, last = _YEARS
        if not first <= start.year <= last:
            raise FileFormatError(None, f"the test starts in the year {start.year}.")


def _refuse(bad: np.ndarray, values: np.ndarray, what: str, table: RawTable) -> None:
    if not bad.any():
        return
    row = int(np.argmax(bad))
    raise FileFormatError(
        None,
        f"row {row + 1} of {len(values)}: the {what} is {values[row]}, which cannot "
        "be. The file looks damaged: export it again.",
        None if table.first_line is None else table.first_line + row,
    )
