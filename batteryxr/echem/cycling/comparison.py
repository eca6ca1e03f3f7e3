"""Compare many materials: check and complete the user's own table."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    VariableError,
    warn_quality,
)
from batteryxr.core.files import read_table
from batteryxr.core.model import QUANTITIES, in_words
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units
from batteryxr.echem.lithium.composition import parse
from batteryxr.echem.lithium.content import theoretical_capacity

if TYPE_CHECKING:
    import pandas as pd

    from batteryxr.core.bounds.kinds import RelativeTolerance


@dataclass(frozen=True)
class _Column:
    """Describe a column of the table; without units it holds text."""

    about: str
    units: str = ""
    required: bool = False


#: Columns that `compare` reads; others are left out.
COLUMNS = {
    "material": _Column("name, free text", required=True),
    "formula": _Column("composition as weighed, such as LiFeO2", required=True),
    "class": _Column("group to be told apart, such as stable or metastable"),
    "capacity": _Column("discharge capacity", "mA h g-1", required=True),
    "energy": _Column("discharge energy", "W h kg-1"),
    "voltage": _Column("mean discharge voltage", "V"),
    "voltage_min": _Column("lower end of the voltage window", "V"),
    "voltage_max": _Column("upper end of the voltage window", "V"),
    "current": _Column("current", "mA g-1"),
    "electrons": _Column("electrons per formula unit, where Li does not tell", "1"),
    "reference": _Column("where the numbers are from, such as a DOI"),
}
#: Names of columns in `cycles` and `rate`, and here.
_CYCLES = {
    "sample": "material",
    "discharge_specific_capacity": "capacity",
    "specific_capacity": "capacity",
    "discharge_specific_energy": "energy",
    "specific_energy": "energy",
    "discharge_mean_voltage": "voltage",
    "mean_voltage": "voltage",
    "discharge_voltage_min": "voltage_min",
    "discharge_voltage_max": "voltage_max",
    "discharge_specific_current": "current",
    "specific_current": "current",
}
_CHECKS = {
    "formula": "the formula cannot be read, or gives no theoretical capacity",
    "capacity": "the capacity is missing or not positive",
    "utilisation": "more charge than the formula allows",
    "mean_voltage": "energy / capacity differs from the mean voltage given",
    "voltage_window": "energy / capacity lies outside the voltage window",
}


@checked
def comparison_template() -> str:
    """Return an empty table for `compare`: a CSV header that explains its columns.

    Examples
    --------
    >>> header = batteryxr.echem.comparison_template().splitlines()[-1]
    >>> header.split(",")[:4]
    ['material', 'formula', 'class', 'capacity']
    """
    lines = [
        f"# {name}: {column.about}"
        + (f" ({column.units})" if column.units else "")
        + (", required" if column.required else "")
        for name, column in COLUMNS.items()
    ]
    return "\n".join([*lines, ",".join(COLUMNS)]) + "\n"


@recorded
def compare(
    data: str | os.PathLike[str] | pd.DataFrame | xr.Dataset,
    *,
    ion: str = "Li",
    tolerance: RelativeTolerance = 0.02,
) -> xr.Dataset:
    """Complete and check a table of materials.

    Reads once.

    Parameters
    ----------
    data
        CSV file (comma, semicolon or tab; lines with # are comments), DataFrame or
        Dataset on ``material``. `comparison_template` lists columns and units. A
        Dataset's units are converted, and the names that `cycles` and `rate` use
        along ``sample`` are accepted.
    ion
        Working ion.
    tolerance
        Relative disagreement that counts as rounding.

    Returns
    -------
    xarray.Dataset
        On ``material``: ``specific_capacity`` (mA h g-1), ``specific_energy``
        (W h kg-1), ``mean_voltage`` (V; energy / capacity, or as given),
        ``molar_mass`` (g mol-1), ``theoretical_capacity`` (mA h g-1; all of the ion,
        or `electrons`), ``utilisation`` and ``flag`` on (``material``, ``check``),
        true if that check fails. Missing numbers are NaN.

    Raises
    ------
    ArgumentError
        If the file is missing.
    DataError
        If the table is empty.
    VariableError
        If a required column is missing or holds text for numbers.

    Warns
    -----
    DataQualityWarning
        If materials fail a check; the message names them.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame(
    ...     {
    ...         "material": ["LCO", "LFP"],
    ...         "formula": ["LiCoO2", "LiFePO4"],
    ...         "capacity": [140.0, 160.0],  # mA h/g
    ...         "voltage": [3.9, 3.4],  # V
    ...     }
    ... )
    >>> compared = batteryxr.echem.compare(table)
    >>> compared["utilisation"].round(2).values.tolist()
    [0.51, 0.94]
    """
    frame = _frame(data)
    columns = _columns(frame, data)
    q, energy = columns["capacity"], columns["energy"]
    given = columns["voltage"]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        ratio = np.where(q > 0, energy / q, np.nan)
    mass, theory = _theory(columns, ion)
    used = q / theory
    failed = np.stack(
        [
            np.isnan(theory),
            ~(q > 0),
            used > 1 + tolerance,
            abs(ratio - given) > tolerance * abs(given),
            (ratio < columns["voltage_min"]) | (ratio > columns["voltage_max"]),
        ],
        axis=-1,
    )
    result = xr.Dataset(
        {
            "specific_capacity": _values(q, "mA h g-1", "Specific capacity"),
            "specific_energy": _values(
                np.where(np.isnan(energy), q * given, energy),
                "W h kg-1",
                "Specific energy",
            ),
            "mean_voltage": _values(
                np.where(np.isnan(ratio), given, ratio), "V", "Mean voltage"
            ),
            "molar_mass": _values(mass, "g mol-1", "Molar mass"),
            "theoretical_capacity": _values(
                theory, "mA h g-1", "Theoretical specific capacity"
            ),
            "utilisation": _values(used, "1", f"{ion} moved of nominal {ion}"),
            "flag": (
                ("material", "check"),
                failed,
                {"units": "1", "long_name": "Failed checks"},
            ),
        },
        coords={
            **_further(frame, data),
            "check": ("check", list(_CHECKS), {"units": "1", "long_name": "Check"}),
            **{
                name: _values(columns[name], "1", name.capitalize())
                for name in ("material", "formula", "class", "reference")
            },
            "specific_current": _values(
                columns["current"], "mA g-1", QUANTITIES["specific_current"].long_name
            ),
        },
    )
    _warn(result)
    return result


def _values(values: np.ndarray, units: str, long_name: str) -> Any:
    return "material", values, {"units": units, "long_name": long_name}


def _further(frame: pd.DataFrame, data: Any) -> dict[str, Any]:
    """Return what tells rows of one material apart: its cycle and other dimensions."""
    dims = data.dims if isinstance(data, xr.Dataset) else ()
    names = [str(d) for d in dims if d not in ("material", "sample", *COLUMNS)]
    return {
        name: _values(frame[name].to_numpy(), "1", in_words(name))
        for name in dict.fromkeys([*names, "cycle"])
        if name in frame
    }


def _columns(frame: pd.DataFrame, data: Any) -> dict[str, np.ndarray]:
    """Return every column of the schema, with missing ones empty."""
    missing = [n for n, c in COLUMNS.items() if c.required and n not in frame]
    if missing:
        mend = "`comparison_template()` writes an empty table."
        if isinstance(data, xr.Dataset):
            along = "sample" if "sample" in data.dims else "material"
            mend = f"Add them: data.assign({missing[0]}=({along!r}, [...]))."
        raise VariableError(
            f"compare needs the columns {missing}; found {list(frame.columns)}. {mend}"
        )
    if not len(frame):
        raise DataError("data", "have no rows", "Fill in at least one material.")
    return {
        name: _numbers(frame, name) if column.units else _text(frame, name)
        for name, column in COLUMNS.items()
    }


def _frame(data: Any) -> pd.DataFrame:
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, xr.Dataset):
        # Rename columns from `cycles` and `rate`, of samples or cells.
        names = {own: name for own, name in _CYCLES.items() if own in data.variables}
        known = {own: n for own, n in names.items() if n not in data.variables}
        data = data.rename(known) if known else data
        converted = {
            name: in_units(data[name], COLUMNS[name].units, caller="compare")
            for name in data.variables
            if name in COLUMNS and COLUMNS[str(name)].units
        }
        # Names may repeat: one material at several currents.
        return data.assign(converted).to_dataframe().reset_index()
    if not os.path.isfile(data):
        raise ArgumentError(
            "data",
            str(data),
            "an existing CSV file, a DataFrame or a Dataset",
            "`comparison_template()` writes an empty table.",
        )
    return read_table(data, comment="#")


def _numbers(frame: pd.DataFrame, name: str) -> np.ndarray:
    if name not in frame:
        return np.full(len(frame), np.nan)
    try:
        return frame[name].to_numpy(dtype=float)
    except (TypeError, ValueError) as error:
        raise VariableError(
            f"compare needs numbers in the column {name!r} ({COLUMNS[name].units}): "
            f"{error}. Leave unknown numbers empty."
        ) from error


def _text(frame: pd.DataFrame, name: str) -> np.ndarray:
    if name not in frame:
        return np.full(len(frame), "")
    known = frame[name].notna()
    cells = zip(frame[name], known, strict=True)
    return np.array([str(cell).strip() if here else "" for cell, here in cells])


def _theory(columns: dict[str, np.ndarray], ion: str) -> tuple[np.ndarray, np.ndarray]:
    """Return molar masses and theoretical capacities; NaN if a formula fails."""
    mass, theory = np.full((2, columns["formula"].size), np.nan)
    for row, text in enumerate(columns["formula"]):
        electrons = float(columns["electrons"][row])
        try:
            composition = parse(str(text))
            mass[row] = composition.molar_mass
            theory[row] = theoretical_capacity(
                composition,
                ion=ion,
                electrons=None if np.isnan(electrons) else electrons,
            )
        except ArgumentError:
            continue  # flagged by name
    return mass, theory


def _warn(result: xr.Dataset) -> None:
    notes = []
    for name, about in _CHECKS.items():
        failed = result["flag"].sel(check=name).values
        if failed.any():
            materials = ", ".join(map(repr, result["material"].values[failed].tolist()))
            notes.append(f"{name} ({about}): {materials}")
    if notes:
        warn_quality("the table fails checks: " + "; ".join(notes))
