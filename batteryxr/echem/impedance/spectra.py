"""Check and prepare impedance: complex, in ohm, along ``frequency``."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import DataError, VariableError
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.units import in_units

#: Moduli (ohm) that an impedance can have: squares and quotients of them are numbers.
_SIZES = 1e-15, 1e18


def as_impedance(spectra: xr.DataArray | xr.Dataset, *, caller: str) -> xr.DataArray:
    """Return the impedance in ohm along ``frequency`` in Hz; NaN where it is 0.

    Files hold 0 where nothing was measured. Lazy data are also NaN where no impedance
    can be: below 1e-15 or above 1e18 ohm.

    Raises
    ------
    DataError
        If a frequency is not above 0, or a modulus is no impedance's.
    DimensionError, UnitsError, VariableError
        If the input is no impedance.
    """
    if isinstance(spectra, xr.Dataset):
        require_variables(spectra, ("impedance",), caller=caller)
        spectra = spectra["impedance"]
    require_dims(spectra, ("frequency",), caller=caller)
    if spectra.dtype.kind != "c":
        raise VariableError(
            f"{caller} needs a complex impedance; found {spectra.dtype}. "
            "Make it one: real - 1j * minus_imaginary."
        )
    require_variables(spectra.coords.to_dataset(), ("frequency",), caller=caller)
    frequency = in_units(spectra["frequency"], "Hz", caller=caller).values
    if not (np.isfinite(frequency) & (frequency > 0)).all():
        raise DataError("frequency", "is not above 0 everywhere", "Drop those points.")
    array = in_units(spectra, "ohm", caller=caller)
    array = array.where((array != 0) & array.notnull())
    size = np.maximum(abs(array.real), abs(array.imag))
    if blocks.is_lazy(array):
        array = array.where((size >= _SIZES[0]) & (size <= _SIZES[1]))
    elif ((size < _SIZES[0]) | (size > _SIZES[1]) & np.isfinite(size)).any():
        raise DataError(
            "impedance",
            f"has points of {float(size.min()):.3g} to {float(size.max()):.3g} ohm",
            "Check the units, or drop points that are no impedance: "
            f"below {_SIZES[0]:g} or above {_SIZES[1]:g} ohm.",
        )
    return array.assign_coords(frequency=("frequency", frequency, {"units": "Hz"}))


def omega_of(array: xr.DataArray) -> np.ndarray:
    """Return the angular frequencies (rad/s)."""
    omega: np.ndarray = 2 * np.pi * array["frequency"].values.astype(np.float64)
    return omega


def kept_coords(spectra: xr.DataArray | xr.Dataset) -> dict[str, Any]:
    """Return the coordinates that results keep: all that lack ``frequency``."""
    return {
        str(n): c.variable
        for n, c in spectra.coords.items()
        if "frequency" not in c.dims
    }


def measured_in(array: xr.DataArray) -> xr.DataArray:
    """Return the measured impedance, labelled for a result."""
    carried = array.rename("impedance")
    carried.attrs = {"units": "ohm", "long_name": "Impedance"}
    return carried


def named(array: xr.DataArray, units: str, words: str, **more: Any) -> xr.DataArray:
    """Return an array with units and a long name, and no attributes but `more`."""
    carried = array.copy(deep=False)
    carried.attrs = {"units": units, "long_name": words, **more}
    return carried
