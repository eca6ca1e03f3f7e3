"""Checks of numbers against the table: impossible ones raise, unlikely ones warn."""

from __future__ import annotations

import math
import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

from batteryxr.core.bounds.table import BOUNDS, Bound
from batteryxr.core.errors import ArgumentError, DataError, warn_quality

if TYPE_CHECKING:
    from batteryxr.core.bounds.table import Correction

A = TypeVar("A", xr.DataArray, xr.Dataset)

#: Fewest values that are judged by their neighbours.
_FEW = 3
#: Relative difference of a well known number that is rounding.
_SAME = 1e-4
#: Attribute that says what is unlikely; what has it was told.
_FLAG = "implausible"
#: Quantity of each variable or coordinate of a result.
RESULTS: dict[str, str] = {
    "specific_capacity": "specific capacity",
    "charge_specific_capacity": "specific capacity",
    "discharge_specific_capacity": "specific capacity",
    "li_content": "Li content",
    "coulombic_efficiency": "coulombic efficiency",
    "voltage": "voltage",
    "mean_voltage": "voltage",
    "equilibrium_voltage": "voltage",
    "temperature": "temperature",
    "current": "current",
    "frequency": "frequency",
    "energy": "photon energy",
    "distance": "detector distance",
    "pixel_pitch": "detector pixel",
    "pixel_size": "detector pixel",
    "r": "distance r",
    "q": "momentum transfer",
    "two_theta": "scattering angle",
    "shift": "wavenumber",
    "tau": "time constant",
    "diffusion_coefficient": "diffusivity",
    "diameter": "crystal size",
}


@dataclass(frozen=True)
class Physical:
    """Mark a number in a signature as a quantity of the table.

    Parameters
    ----------
    quantity
        A key of `BOUNDS`.
    """

    quantity: str

    def holds(self, value: Any) -> bool:
        """Accept any value of the right kind; `check` judges the number."""
        return True

    def __str__(self) -> str:
        units = BOUNDS[self.quantity].units
        return "" if units == "1" else f"in {units}"


def check(quantity: str, value: Any, *, argument: str, data: bool = False) -> None:
    """Judge a number, or the smallest and largest of several.

    Parameters
    ----------
    quantity
        A key of `BOUNDS`.
    value
        Value in the units of the table. Missing or infinite values, files and labelled
        arrays are not judged.
    argument
        Name of the argument, for the message.
    data
        Whether the value was found in data, not passed.

    Raises
    ------
    ArgumentError, DataError
        If it is impossible; the message names the likely units.

    Warns
    -----
    DataQualityWarning
        If it is unlikely.
    """
    bound = BOUNDS[quantity]
    odd = _odd(value, bound.likely)
    if odd is None:
        _tell_known(value, bound, argument)
        return
    low, high = bound.likely
    expected = f"{_units(bound)}{low:g} to {high:g}"
    mend = _mend(odd, bound)
    shown = value if np.ndim(value) == 0 else odd
    if _odd(value, bound.possible) is not None:
        if data:
            raise DataError(argument, f"reaches {odd:g}; expected {expected}", mend)
        raise ArgumentError(argument, shown, expected, mend)
    warn_quality(
        f"{argument}={shown!r} is unlikely for a {quantity}: mostly {expected}. {mend}"
    )


def _tell_known(value: Any, bound: Bound, argument: str) -> None:
    """Warn of a number that is well known in another unit."""
    for units, (correction, numbers) in bound.known.items():
        if isinstance(value, float) and np.isclose(value, numbers, _SAME, 0).any():
            warn_quality(
                f"{argument}={value!r} is a well known number in {units}; expected "
                f"{bound.units}. Was it {units}? Pass "
                f"{_apply(correction, value):.6g}."
            )


def within_span(
    width: float, span: float, *, argument: str, units: str, slips: Mapping[str, float]
) -> None:
    """Warn of a width that exceeds the range of its data.

    Warns
    -----
    DataQualityWarning
        If it does; the message names the likely units.
    """
    if not np.isfinite(span) or span <= 0 or width <= span:
        return
    likely = Bound(units, (0.0, span), (0.0, 0.5 * span), slips)
    warn_quality(
        f"{argument}={width!r} is wider than the data, which span {span:.4g} {units}. "
        f"{_mend(width, likely)}".strip()
    )


def told(result: A, *, names: Mapping[str, str] | None = None) -> A:
    """Flag unlikely values of a result, and warn once of each.

    Lazy values are not judged.

    Parameters
    ----------
    result
        Result of any method, in the units of the data model.
    names
        Quantities of variables, besides those that are known by name.

    Returns
    -------
    same type as `result`
        The attribute ``implausible`` of a variable says what is wrong.

    Warns
    -----
    DataQualityWarning
        For each unlikely variable.
    """
    known = RESULTS | dict(names or {})
    within = result if isinstance(result, xr.Dataset) else result.coords.to_dataset()
    odd = {
        n: words
        for n, a in within.variables.items()
        if (words := _implausible(a, known.get(str(n)))) not in ("", a.attrs.get(_FLAG))
    }
    for name, words in odd.items():
        warn_quality(f"{name} reaches {words}")
    # Results are copied only if something is said about them.
    flagged = {n: within[n].assign_attrs({_FLAG: words}) for n, words in odd.items()}
    if coords := {n: array for n, array in flagged.items() if n in result.coords}:
        result = result.assign_coords(coords)
    if isinstance(result, xr.Dataset):
        others = {n: array for n, array in flagged.items() if n not in coords}
        return result.assign(others) if others else result
    if words := _implausible(result, known.get(str(result.name))):
        warn_quality(f"{result.name} reaches {words}")
        return result.assign_attrs({_FLAG: words})
    return result


def _implausible(array: xr.DataArray | xr.Variable, quantity: str | None) -> str:
    """Return what is unlikely about an array; "" for a lazy one."""
    if quantity is None or array.chunks or array.dtype.kind not in "iuf":
        return ""
    bound = BOUNDS[quantity]
    if array.attrs.get("units", bound.units) != bound.units:
        return ""
    odd = _odd(_steady(array.values, bound.neighbours), bound.likely)
    if odd is None:
        return ""
    low, high = bound.likely
    words = f"{odd:.6g}; a {quantity} is mostly {_units(bound)}{low:g} to {high:g}."
    return f"{words} {_mend(odd, bound)}".strip()


def _steady(values: np.ndarray, neighbours: int) -> np.ndarray:
    """Return the medians over a number of neighbouring known values."""
    if neighbours == 1:
        return values
    known = np.ravel(values)
    known = known[np.isfinite(known)]
    if known.size < _FEW:
        return known[:0]
    window = min(neighbours, known.size)
    windows = np.lib.stride_tricks.sliding_window_view(known, window)
    return np.asarray(np.median(windows, axis=-1))


def quantity_of(kind: Any) -> str | None:
    """Return the quantity that an annotation names, if any."""
    if isinstance(kind, Physical):
        return kind.quantity
    found = map(quantity_of, typing.get_args(kind))
    return next((name for name in found if name is not None), None)


def _odd(value: Any, limits: tuple[float, float]) -> float | None:
    """Return the number that lies farthest outside the limits, if any."""
    if isinstance(value, str | os.PathLike | xr.DataArray):
        return None
    if isinstance(value, Mapping):
        value = list(value.values())
    numbers = np.asarray(value, dtype=float)
    if not numbers.size:
        return None
    low, high = float(numbers.min()), float(numbers.max())
    if not np.isfinite(high - low):  # a copy without them costs more than the test
        numbers = numbers[np.isfinite(numbers)]
        if not numbers.size:
            return None
        low, high = float(numbers.min()), float(numbers.max())
    if high > limits[1]:
        return high
    return low if low < limits[0] else None


def _mend(odd: float, bound: Bound) -> str:
    """Return what the number was likely meant to be, nearest to the middle first."""
    low, high = bound.likely
    mended = {u: _apply(slip, odd) for u, slip in bound.slips.items()}
    meant = {u: value for u, value in mended.items() if low <= value <= high}
    if not meant:
        return ""
    middle = math.sqrt(low * high) if low > 0 else None
    units = (
        next(iter(meant))
        if middle is None
        else min(meant, key=lambda u: abs(math.log(meant[u] / middle)))
    )
    others = [f"Or {u}? Pass {v:.6g}." for u, v in meant.items() if u != units]
    return " ".join([f"Was it {units}? Pass {meant[units]:.6g}.", *others])


def _apply(slip: Correction, value: float) -> float:
    if callable(slip):
        return slip(value)
    factor, offset = slip if isinstance(slip, tuple) else (slip, 0.0)
    return value * factor + offset


def _units(bound: Bound) -> str:
    return "" if bound.units == "1" else f"{bound.units}, "
