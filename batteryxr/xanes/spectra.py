"""Check the input of all functions: spectra on an energy axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

import numpy as np
import xarray as xr

from batteryxr.core import blocks, bounds
from batteryxr.core.errors import (
    ArgumentError,
    DimensionError,
    UnitsError,
    VariableError,
)
from batteryxr.core.model import attributes, require_dims
from batteryxr.core.units import in_units

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class LowFirst:
    """Hold two numbers in order; equal ones are allowed."""

    def holds(self, value: Sequence[float]) -> bool:
        """Tell whether the first number is not above the second."""
        low, high = value
        return bool(low <= high)

    def __str__(self) -> str:
        return "(low, high), low first"


#: What a function takes and gives back as the same type.
Spectra = TypeVar("Spectra", xr.DataArray, xr.Dataset)
#: Part of an axis, both ends included.
Range = Annotated[tuple[float, float], LowFirst()]
#: Names searched in a Dataset, in this order.
ABSORPTION = ("absorption", "optical_density", "normalised")
_UNITS = {
    "energy": "eV",
    "shift": "1/cm",
    "two_theta": "deg",
    "q": "1/Angstrom",
    "d": "Angstrom",
    "r": "Angstrom",
}
#: Axes that spectra and patterns lie on.
AXES = tuple(_UNITS)


def as_spectra(
    data: xr.DataArray | xr.Dataset,
    *,
    caller: str,
    dim: str = "energy",
    names: Sequence[str] = ABSORPTION,
    whole: bool = True,
) -> xr.DataArray:
    """Return the spectra in `data`, with a rising axis in the units of the data model.

    Lazy spectra get chunks that hold all energies, unless `whole` is False.

    Raises
    ------
    DimensionError
        If the dimension or its coordinate is missing, or does not rise.
    VariableError
        If a Dataset holds none of `names`, nor a single variable on `dim`.
    UnitsError
        If the axis is in units of another kind, or clearly in keV.
    """
    array = (
        data if isinstance(data, xr.DataArray) else _variable(data, dim, names, caller)
    )
    require_dims(array, [dim], caller=caller)
    if np.iscomplexobj(array):
        raise VariableError(
            f"{caller} needs real spectra; {array.name!r} is complex. "
            "Take the absorption -2 ln|T|, or the phase, first."
        )
    axis = axis_of(array, dim, caller=caller)
    values = axis.values.astype(float)
    if not (np.isfinite(values).all() and (np.diff(values) > 0).all()):
        raise DimensionError(
            f"{caller} needs {dim!r} to rise strictly; "
            f"it does not at index {_break(values)}. Call `.sortby({dim!r})`, and "
            f"`.drop_duplicates({dim!r})` or average what was measured twice."
        )
    if dim in bounds.RESULTS:
        bounds.check(bounds.RESULTS[dim], values[[0, -1]], argument=dim, data=True)
    own = array[dim]
    attrs = attributes(dim) | own.attrs | {"units": _UNITS[dim]}
    if own.dtype == values.dtype and own.attrs == axis.attrs:  # not converted
        array = array.copy(deep=False)
        array.coords.variables[dim].attrs = attrs
    else:
        array = array.assign_coords({dim: (dim, values, attrs)})
    return blocks.whole(array, dim) if whole else array


def axis_of(data: xr.DataArray | xr.Dataset, dim: str, *, caller: str) -> xr.DataArray:
    """Return the labels along a dimension, in the units of the data model.

    Raises
    ------
    DimensionError
        If labels are missing, or are not numbers.
    UnitsError
        If they are in units of another kind, or clearly in keV.
    """
    if dim not in data.coords:
        raise DimensionError(
            f"{caller} needs the coordinate {dim!r}: "
            f"`.assign_coords({dim}=('{dim}', values, {{'units': '{_UNITS[dim]}'}}))`."
        )
    axis: xr.DataArray = data[dim]
    if axis.dtype.kind not in "iuf":
        raise DimensionError(
            f"{caller} needs numbers along {dim!r}; its labels are {axis.dtype}, "
            f"such as {axis.values[0]!r}."
        )
    if "units" in axis.attrs:
        return in_units(axis, _UNITS[dim], caller=caller)
    if dim == "energy" and float(axis[-1]) < 100:
        raise UnitsError(
            f"{caller}: energies up to {float(axis[-1]):g} without units look like "
            "keV. Set `.energy.attrs['units'] = 'keV'`."
        )
    return axis


def window(axis: np.ndarray, limits: Range, *, name: str, least: int = 1) -> np.ndarray:
    """Return which energies lie in `limits`, both ends included.

    Raises
    ------
    ArgumentError
        If there are fewer than `least`.
    """
    low, high = (float(v) for v in limits)
    inside = (axis >= low) & (axis <= high)
    if inside.sum() < least:
        meant = 1e3 * low <= axis[-1] and 1e3 * high >= axis[0]
        slip = f" Was it keV? Pass {1e3 * low:g}, {1e3 * high:g}." if meant else ""
        raise ArgumentError(
            name,
            limits,
            f"a range with at least {least} of the {axis.size} energies from "
            f"{axis[0]:g} to {axis[-1]:g}",
            f"It holds {int(inside.sum())}.{slip}",
        )
    return np.asarray(inside)


def _variable(
    data: xr.Dataset, dim: str, names: Sequence[str], caller: str
) -> xr.DataArray:
    if not isinstance(data, xr.Dataset):
        raise VariableError(
            f"{caller} needs a DataArray or Dataset; found a {type(data).__name__}."
        )
    for name in names:
        if name in data:
            return data[name]
    on_axis = [str(n) for n, v in data.data_vars.items() if dim in v.dims]
    if len(on_axis) == 1:
        return data[on_axis[0]]
    raise VariableError(
        f"{caller} needs one of {list(names)}; found {on_axis or list(data)}. "
        "Call it on the variable you mean, as in `ds['name'].xanes`."
    )


def _break(values: np.ndarray) -> int:
    if not np.isfinite(values).all():
        return int(np.flatnonzero(~np.isfinite(values))[0])
    return int(np.flatnonzero(np.diff(values) <= 0)[0]) + 1
