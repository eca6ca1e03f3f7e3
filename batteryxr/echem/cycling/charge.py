"""Charge in mA h g-1, whatever labelled data it comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.blocks import apply
from batteryxr.core.errors import ArgumentError, DataError, UnitsError
from batteryxr.core.model import attributes, label, require_variables
from batteryxr.core.units import affine, in_units
from batteryxr.echem.record import fatal_flags, is_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Variables that hold a net charge, and that hold the capacity of a half cycle.
NET = ("capacity_total",)
MOVED = ("specific_capacity", "capacity")
#: Rows of a record further apart are not joined (s), as in `half_cycles`.
_MAX_GAP = 3600.0


def specific(
    data: xr.Dataset | xr.DataArray | float,
    mass: float | None,
    variable: str | None,
    usual: Sequence[str],
    *,
    caller: str,
) -> xr.DataArray:
    """Return charge in mA h g-1, whatever it came as."""
    if isinstance(data, xr.Dataset):
        data = _charge(data, variable, usual, caller=caller)
    elif not isinstance(data, xr.DataArray):
        about = attributes("specific_capacity")
        data = xr.DataArray(float(data), name="specific_capacity", attrs=about)
    if not _is_charge(data.attrs.get("units")):
        return in_units(data, "mA h g-1", caller=caller)
    if mass is None:
        raise ArgumentError(
            "mass",
            mass,
            "the mass of active material in mg",
            f"{data.name!r} is a charge, not a specific one.",
        )
    return in_units(data, "mA h", caller=caller) / (mass * 1e-3)


def _is_charge(units: str | None) -> bool:
    if units is None:
        return False
    try:
        affine(str(units), "mA h")
    except UnitsError:
        return False
    return True


def _charge(
    ds: xr.Dataset, variable: str | None, usual: Sequence[str], *, caller: str
) -> xr.DataArray:
    if variable is None:
        # A record's own `capacity` begins anew with every half cycle.
        if "record" in ds.dims and "current" in ds.variables:
            return _integrated(ds, caller=caller)
        variable = next((name for name in usual if name in ds.variables), usual[-1])
    require_variables(ds, [variable], caller=caller)
    return ds[variable]


def _integrated(ds: xr.Dataset, *, caller: str) -> xr.DataArray:
    """Integrate the current over time by the rules of `half_cycles`."""
    from batteryxr.echem.kernels.charge import increments

    require_variables(ds, ["test_time"], caller=caller)
    if flags := fatal_flags(ds.attrs):
        raise DataError(
            "record",
            f"{caller} needs data whose charge can be trusted; it is flagged "
            f"{', '.join(sorted(flags))}",
            "Mend it when reading: read_cycler(..., repair=...).",
        )
    current = in_units(ds["current"], "mA", caller=caller)
    time = in_units(ds["test_time"], "s", caller=caller)
    apart = xr.DataArray(np.arange(ds.sizes["record"]) == 0, dims="record")
    if "file" in ds:
        apart = apart | (ds["file"] != _before(ds["file"]))
    charge = apply(
        increments,
        *(time, _before(time), current, _before(current), apart),
        core_dims=[()] * 5,
        dtypes=[np.float64],
        caller=caller,
        mean=is_mean(current.attrs),
        max_gap=_MAX_GAP,
    )
    passed = charge.cumsum("record", skipna=False)
    return label(passed, "capacity", long_name="Net charge passed")


def _before(array: xr.DataArray) -> xr.DataArray:
    return array.shift(record=1)
