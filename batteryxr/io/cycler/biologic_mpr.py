"""BioLogic binary files (``.mpr``), through galvani where the user installed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import FileFormatError, MissingDependencyError
from batteryxr.core.optional import require
from batteryxr.io.cycler.biologic_mpt import charge_label, current_from_charge
from batteryxr.io.cycler.labels import choose, refuse_incomplete
from batteryxr.io.cycler.table import Options, RawTable
from batteryxr.io.cycler.vendors import BIOLOGIC

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path, options: Options) -> RawTable:
    """Read one file.

    galvani is under the GPL, so batteryxr neither contains nor requires it.

    Parameters
    ----------
    path
        The file.
    options
        `Options.columns` names labels that are not known.

    Raises
    ------
    MissingDependencyError
        If galvani is not installed.
    FileFormatError
        If galvani cannot read the file.
    """
    try:
        galvani = require(
            "galvani.BioLogic",
            extra=None,
            package="galvani",
            purpose="reading BioLogic .mpr files",
        )
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"{error} Or export the file as text (.mpt) in EC-Lab: that needs nothing."
        ) from error
    try:
        with path.open("rb") as stream:
            file = galvani.MPRfile(stream)
        data = file.data
        labels = list(data.dtype.names)
    except Exception as error:  # galvani asserts, and meets unknown columns
        raise FileFormatError(
            path,
            f"galvani cannot read it ({type(error).__name__}: {error}). "
            "Export it as text (.mpt) in EC-Lab.",
        ) from error
    found = choose(labels, BIOLOGIC.columns, options.columns)
    charge = charge_label(labels)
    by_itself = ["current"] if charge is not None else []
    refuse_incomplete([*found, *by_itself], labels, path)
    columns = {
        name: data[labels[s.index]].astype(np.float64) * s.factor + s.offset
        for name, s in found.items()
    }
    used = {name: source.label for name, source in found.items()}
    if "current" not in columns and charge is not None:
        passed = data[charge].astype(np.float64)
        columns["current"] = current_from_charge(columns["test_time"], passed)
        used["current"] = charge
    return RawTable(
        columns,
        instrument=BIOLOGIC.name,
        start_local=getattr(file, "timestamp", None),
        labels=used,
        units={name: source.units for name, source in found.items()},
    )
