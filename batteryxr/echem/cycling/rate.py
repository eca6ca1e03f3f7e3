"""Tabulate rate capability: capacity and voltage at higher currents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import xarray as xr

from batteryxr.core.checks import Bounds
from batteryxr.core.errors import warn_quality
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from batteryxr.echem.cycling.cycles import Direction

_TAKEN = ("capacity", "energy", "mean_voltage", "mean_current")
_SPECIFIC = ("specific_capacity", "specific_energy", "specific_current")


@recorded
def rate(
    result: xr.Dataset,
    *,
    direction: Direction = "discharge",
    tolerance: Annotated[float, Bounds(above=0.0, below=1.0)] = 0.10,
) -> xr.Dataset:
    """Tabulate capacity, energy and mean voltage against current.

    Reads once; the result is small and in memory. Cycles with similar currents form a
    group. The first complete cycle of each group stands for it, before ageing.

    Parameters
    ----------
    result
        Result of `cycles`; with ``mass`` there, specific quantities are added.
    direction
        Half cycle whose current and capacity count.
    tolerance
        Relative difference from the lowest current of a group, at most.

    Returns
    -------
    xarray.Dataset
        On ``rate``, by rising current: ``capacity``, ``energy``, ``mean_voltage``,
        ``current`` (magnitude), ``retention`` relative to the lowest current, the
        ``cycle`` that stands for the group and ``n_cycles`` in it.

    Raises
    ------
    ArgumentError
        If an option is out of range.
    DimensionError, VariableError
        If the input is no result of `cycles`.

    Warns
    -----
    DataQualityWarning
        If no cycle is complete.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> cycles = record.echem.cycles(electrode="cathode", first="charge", mass=7.0)
    >>> cycles.echem.rate()["capacity"].dims
    ('rate',)
    """
    needed = [f"{direction}_{name}" for name in _TAKEN]
    require_variables(result, [*needed, "complete"], caller="rate")
    require_dims(result, ("cycle",), caller="rate")
    current = np.abs(result[f"{direction}_mean_current"].values)
    usable = result["complete"].values & (current > 0)
    if not usable.any():
        warn_quality("no cycle is complete: the table of rates is empty")
    groups = _groups(current, np.flatnonzero(usable), tolerance)
    first = np.array([int(g.min()) for g in groups], dtype=np.int64)
    variables: dict[str, Any] = {}
    for name in (*_TAKEN, *_SPECIFIC):
        if (source := f"{direction}_{name}") in result:
            column = result[source]
            values = np.abs(column.values[first])
            variables[_name(name)] = ("rate", values, dict(column.attrs))
    capacity = result[f"{direction}_capacity"].values[first]
    left = capacity / capacity[0] if capacity.size else capacity
    counts = {
        "retention": (left, "Capacity relative to that at the lowest current"),
        "n_cycles": ([g.size for g in groups], "Complete cycles at this current"),
    }
    for name, (values, words) in counts.items():
        attrs = {"units": "1", "long_name": words}
        variables[name] = ("rate", np.asarray(values), attrs)
    number = {"units": "1", "long_name": "Rate, by rising current"}
    coords: dict[str, Any] = {
        "rate": ("rate", np.arange(1, first.size + 1), number),
        "cycle": ("rate", result["cycle"].values[first], result["cycle"].attrs),
    }
    return xr.Dataset(variables, coords, {"direction": direction})


def _name(name: str) -> str:
    return "current" if name == "mean_current" else name


def _groups(
    current: np.ndarray, usable: np.ndarray, tolerance: float
) -> list[np.ndarray]:
    ordered = usable[np.argsort(current[usable], kind="stable")]
    groups: list[list[int]] = []
    for cycle in ordered:
        if groups and current[cycle] <= current[groups[-1][0]] * (1 + tolerance):
            groups[-1].append(int(cycle))
        else:
            groups.append([int(cycle)])
    return [np.array(g) for g in groups]
