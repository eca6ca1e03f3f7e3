"""Check and prepare impedance: complex, in ohm, along ``frequency``."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import DataError, VariableError
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.units import in_units


def as_impedance(spectra: xr.DataArray | xr.Dataset, *, caller: str) -> xr.DataArray:
    """Return the impedance in ohm along ``frequency`` in Hz; NaN where it is 0.

    Files hold 0 where nothing was measured.

    Raises
    ------
    DataError
        If a frequency is not above 0.
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
    array = array.where(array != 0)
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
