"""Write reports on request: on a cycler's record alone, or on an existing store."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batteryxr.core.checks import checked
from batteryxr.core.errors import BatteryxrWarning, DataError
from batteryxr.core.store import StoreLike, groups, location_of, open_dataset
from batteryxr.operando.findings import Conventions, cycling_results
from batteryxr.operando.page import require_page
from batteryxr.operando.report import write_page
from batteryxr.operando.sentences import NO_EFFICIENCIES

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import xarray as xr

#: Groups of scans that a report can describe.
_KINDS = ("xanes", "pdf", "series")
#: Results that a report on scans needs.
_NEEDED = ("scans", "pca", "nmf")


@dataclass
class Groups:
    """Hold results in memory, by group."""

    held: dict[str, xr.Dataset]
    kind: str = ""
    notes: list[str] = field(default_factory=list)

    def read(self, group: str) -> xr.Dataset:
        """Return a group."""
        return self.held[group]

    def has(self, group: str) -> bool:
        """Tell whether a group is there."""
        return group in self.held


@checked
def report_cycling(
    record: xr.Dataset,
    report: str | os.PathLike[str],
    *,
    conventions: Conventions | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a report of a cell's cycling: one HTML file that opens offline.

    Reads the record a few times, in blocks.

    Parameters
    ----------
    record
        Cycler data on ``record``.
    report
        HTML file to write, in an existing folder.
    conventions
        Facts that only the user knows: ``mass`` gives specific capacities;
        ``electrode`` and ``first`` give efficiencies.
    overwrite
        Replace an existing report of batteryxr.

    Returns
    -------
    pathlib.Path
        The page on the cell's cycling.

    Raises
    ------
    ArgumentError
        If the folder does not exist.
    StoreError
        If the file exists and `overwrite` is False, or it is no report.

    Examples
    --------
    >>> from batteryxr.operando import Conventions, report_cycling
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> conventions = Conventions(electrode="cathode", first="charge", mass=7.0)
    >>> path = report_cycling(record, "cell.html", conventions=conventions)
    """
    require_page(str(report), overwrite)
    known = conventions or Conventions()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BatteryxrWarning)
        held = {"echem/record": record, **dict(cycling_results(record, known))}
    notes = []
    if "echem/cycles" not in held:
        notes.append(NO_EFFICIENCIES)
    told = [str(w.message) for w in caught]
    run = Groups(held, notes=list(dict.fromkeys([*notes, *told])))
    return write_page(run, str(report), store="")


@checked
def report_store(
    path: StoreLike, report: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write the report of an operando experiment from its store.

    Parameters
    ----------
    path
        Store that `operando` wrote.
    report
        HTML file to write, in an existing folder outside the store.
    overwrite
        Replace an existing report of batteryxr.

    Returns
    -------
    pathlib.Path
        The page on the experiment.

    Raises
    ------
    DataError
        If the store lacks groups that the report needs; the message names them.
    StoreError
        If there is no store, or the file exists and `overwrite` is False.

    Examples
    --------
    >>> from batteryxr.operando import operando, report_store
    >>> tree = operando(cycler=None, scans=None, store="cell.zarr")  # a simulated cell
    >>> report = report_store("cell.zarr", "cell.html")
    """
    location = location_of(path)
    require_page(str(report), overwrite, beside=location.folder)
    there = {name.strip("/") for name in groups(path)}
    kind = next((k for k in _KINDS if f"{k}/scans" in there), "")
    needed = ["echem/record", "echem/half_cycles", "echem/dqdv"]
    needed += [f"{kind}/{name}" for name in _NEEDED] if kind else []
    if missing := [name for name in needed if name not in there]:
        raise DataError(
            str(location),
            f"holds no {', '.join(missing)}, which a report is made from",
            "Write it with batteryxr operando.",
        )
    held = {name: open_dataset(path, name) for name in needed}
    for name in ("echem/cycles", "truth", "notes"):
        if name in there:
            held[name] = open_dataset(path, name)
    notes = list(map(str, held["notes"]["text"].values)) if "notes" in held else []
    return write_page(Groups(held, kind, notes), str(report), store=str(location))
