"""Combine the cycles of many cells on one axis, with lives and means of groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.model import DIMENSIONS, attributes, in_words
from batteryxr.echem.cycling.cycles import reference_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.echem.cycling.cycles import Reference

#: Bits of the ``flag`` of a cell.
UNREADABLE, WARNED, NO_CYCLE, NO_REFERENCE, LIVES = 1, 2, 4, 8, 16
UNCONFIRMED, RECOVERS, OTHER_CURRENT = 32, 64, 128
_FLAGS = {
    "units": "1",
    "long_name": "What is odd about the cell",
    "flag_masks": [1 << k for k in range(8)],
    "flag_meanings": "unreadable warned no_complete_cycle no_reference lives_on "
    "unconfirmed_life recovers other_current",
}
#: Number of later complete cycles, if any, that must stay below the threshold too.
_CONFIRM = 2
#: Relative difference of currents above which capacities are not comparable.
_SAME_CURRENT = 0.1
#: Quantities with means over groups, besides the capacity.
_COMPARED = ("coulombic_efficiency", "capacity_retention")


@dataclass(frozen=True)
class Life:
    """Define the end of a cell's life: reference, threshold and electrode."""

    reference: Reference
    threshold: float
    electrode: str

    @property
    def side(self) -> str:
        """Return the half cycle whose capacity is compared."""
        return "charge" if self.electrode == "anode" else "discharge"


class Padded:
    """Collect the cycles of many cells, each variable on (cell, cycle)."""

    def __init__(self, n: int) -> None:
        self.most = 0
        self._n = n
        self._arrays: dict[str, np.ndarray] = {}
        self._attrs: dict[str, dict[str, Any]] = {}

    def add(self, row: int, cycles: xr.Dataset) -> None:
        """Put the result of `cycles` for one cell in its row."""
        self.most = max(self.most, cycles.sizes["cycle"])
        for label, values in cycles.data_vars.items():
            name = "cycle_flag" if label == "flag" else str(label)
            if name not in self._arrays:
                self._arrays[name] = np.empty((self._n, 0), values.dtype)
                self._attrs[name] = dict(values.attrs)
            self._widen(name)
            self._arrays[name][row, : values.size] = values.values

    def _widen(self, name: str) -> None:
        known = self._arrays[name]
        if known.shape[1] < self.most:
            wider = np.full((self._n, self.most), _blank(known.dtype), known.dtype)
            wider[:, : known.shape[1]] = known
            self._arrays[name] = wider

    def variables(self) -> dict[str, Any]:
        """Return all variables, with blanks where a cell has no such cycle."""
        for name in self._arrays:
            self._widen(name)
        return {
            name: (("cell", "cycle"), values, self._attrs[name])
            for name, values in self._arrays.items()
        }


def beside(rows: Padded, about: Mapping[str, list[Any]], life: Life) -> xr.Dataset:
    """Return the cycles of many cells as one Dataset.

    Parameters
    ----------
    rows
        Results of `cycles`, one for each cell that has one.
    about
        Properties of each cell, including ``cell`` and ``cell_group``.
    life
        Definition of the end of life.
    """
    names = about["cell"]
    most = rows.most
    variables = rows.variables()
    variables |= _lives(variables, len(names), life)
    coords: dict[str, Any] = {
        "cell": ("cell", names, _words("Cell")),
        "cycle": ("cycle", np.arange(1, most + 1), attributes("cycle")),
    }
    for name, values in about.items():
        if name != "cell":
            units = "mg" if name == "mass" else "1"
            words = _words(in_words(name), units)
            coords[name] = ("cell", values, words)
    clash = [n for n in coords if n in variables or n == "group"]
    result = xr.Dataset(variables, {n: c for n, c in coords.items() if n not in clash})
    result = result.assign(_groups(result, life))
    result.attrs = {
        "reference": life.reference,
        "threshold": life.threshold,
        "life": f"first complete cycle below {life.threshold:g} of the reference "
        f"{life.side} capacity; none of the next {_CONFIRM} regains it",
    }
    return result


def _words(long_name: str, units: str = "1") -> dict[str, str]:
    return {"units": units, "long_name": long_name}


def _blank(kind: np.dtype) -> Any:
    return {"M": np.datetime64("NaT", "ns"), "f": np.nan}.get(kind.kind, 0)


def _lives(variables: dict[str, Any], n: int, life: Life) -> dict[str, Any]:
    """Return the retention, and the life of each cell with its flags."""
    whole = variables["complete"][1]
    capacity = np.where(whole, variables[f"{life.side}_capacity"][1], np.nan)
    current = np.abs(variables[f"{life.side}_mean_current"][1])
    retention = np.full_like(capacity, np.nan)
    flag = np.zeros(n, np.int16)
    number, base, of = np.full((3, n), np.nan)
    for row in range(n):
        at = reference_of(capacity[row], life.reference)
        if at is None:
            flag[row] |= NO_REFERENCE if whole[row].any() else NO_CYCLE
            continue
        base[row], of[row] = at + 1, capacity[row, at]
        retention[row] = capacity[row] / of[row]
        end, odd = end_of_life(retention[row], life.threshold, at)
        flag[row] |= odd
        if end is not None:
            number[row] = end + 1
            change = current[row, end] / current[row, at] - 1
            flag[row] |= OTHER_CURRENT if abs(change) > _SAME_CURRENT else 0
    counts = np.isfinite(variables["charge_capacity"][1]) | np.isfinite(
        variables["discharge_capacity"][1]
    )
    charge = variables["discharge_capacity"][2]["units"]
    words = f"{life.side.capitalize()} capacity relative to that of the reference"
    return {
        "capacity_retention": (("cell", "cycle"), retention, _words(words)),
        "life": ("cell", number, _words("Cycle that ends the life")),
        "n_cycles": ("cell", counts.sum(1), _words("Cycles of the cell")),
        "reference_cycle": ("cell", base, _words("Cycle that others relate to")),
        "reference_capacity": ("cell", of, _words("Its capacity", charge)),
        "flag": ("cell", flag, _FLAGS),
    }


def end_of_life(
    retention: np.ndarray, threshold: float, reference: int
) -> tuple[int | None, int]:
    """Return the cycle (from 0) that ends a life (None if none does), and its flags.

    A dip from which the next complete cycles recover, such as a rate test, does not
    end a life. Cycles before the reference do not count.
    """
    known = np.flatnonzero(np.isfinite(retention))
    known = known[known >= reference]
    below = retention[known] < threshold
    for k in np.flatnonzero(below):
        after = below[k + 1 : k + 1 + _CONFIRM]
        if not after.all():
            continue
        flag = UNCONFIRMED if after.size < _CONFIRM else 0
        return int(known[k]), flag | (0 if below[k:].all() else RECOVERS)
    return None, LIVES


def _groups(result: xr.Dataset, life: Life) -> dict[str, Any]:
    """Return mean, standard deviation and number over the cells of each group."""
    of = result["cell_group"].values
    names = list(dict.fromkeys(of.tolist()))
    capacity = f"{life.side}_specific_capacity"
    capacity = capacity if capacity in result else f"{life.side}_capacity"
    whole = result["complete"].values
    found: dict[str, Any] = {"group": ("group", names, _words("Group of cells"))}
    for name in (capacity, *_COMPARED):
        values = np.where(whole, result[name].values, np.nan)
        rows = [_spread(values[of == group]) for group in names]
        found |= _labelled(name, result[name].attrs, rows, ("group", "cycle"))
    lives = result["life"].values
    # A mean over the ended lives alone would be too short.
    ended = [np.isfinite(lives[of == group]).all() for group in names]
    rows = [_spread(lives[of == group]) for group in names]
    found |= _labelled("life", result["life"].attrs, rows, ("group",))
    for name in ("life_mean", "life_sd"):
        dims, values, attrs = found[name]
        found[name] = (dims, np.where(ended, values, np.nan), attrs)
    endless = np.where(np.isfinite(lives), lives, np.inf)
    middle = np.array([np.median(endless[of == group]) for group in names])
    words = _words("Median cycle that ends the life; cells that live count as longer")
    middle[~np.isfinite(middle)] = np.nan
    found["life_median"] = ("group", middle, words)
    return found


def capacity_of_groups(result: xr.Dataset) -> str:
    """Return the name of the capacity with means over groups."""
    (name,) = (
        str(v).removesuffix("_mean")
        for v in result.data_vars
        if str(v).endswith("capacity_mean")
    )
    return name


def _spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, standard deviation (of a sample) and number over the cells."""
    there = np.isfinite(values)
    n = there.sum(0)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        mean = np.where(there, values, 0.0).sum(0) / n
        squares = (np.where(there, values - mean, 0.0) ** 2).sum(0)
        sd = np.sqrt(squares / (n - 1))
    return mean, np.where(n > 1, sd, np.nan), n


def _labelled(
    name: str, attrs: Mapping[str, Any], rows: list[Any], dims: tuple[str, ...]
) -> dict[str, Any]:
    words = str(attrs["long_name"])
    mean, sd, n = (np.array(column) for column in zip(*rows, strict=True))
    meaning = DIMENSIONS["group"]
    return {
        f"{name}_mean": (dims, mean, {**attrs, "long_name": f"{words}, mean"}),
        f"{name}_sd": (dims, sd, {**attrs, "long_name": f"{words}, one sd of cells"}),
        f"{name}_n": (dims, n, _words(f"Cells that count ({meaning})")),
    }
