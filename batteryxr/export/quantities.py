"""Results whose values carry their units: pint, through pint-xarray."""

from __future__ import annotations

import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import UnitsError
from batteryxr.core.optional import require
from batteryxr.core.units import pint_unit


@checked
def quantify(data: xr.DataArray | xr.Dataset) -> xr.DataArray | xr.Dataset:
    """Turn the ``units`` of a result into pint units, which arithmetic then follows.

    Lazy. ``data.pint.dequantify()`` is the way back.

    Parameters
    ----------
    data
        Data with ``units`` in their attributes.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        The same values as pint quantities; what has no units, times and texts stay as
        they are.

    Raises
    ------
    UnitsError
        If units are not known to pint.
    MissingDependencyError
        If pint-xarray is not installed.

    Examples
    --------
    >>> record = batteryxr.quantify(record)  # doctest: +SKIP
    >>> (record["voltage"] * record["current"]).pint.to("mW")  # doctest: +SKIP
    """
    require("pint_xarray", extra="pint", purpose="units", package="pint-xarray")
    if isinstance(data, xr.DataArray):
        return data.pint.quantify(_unit(data))
    units = {name: _unit(array) for name, array in data.data_vars.items()}
    return data.pint.quantify({name: u for name, u in units.items() if u is not None})


def _unit(array: xr.DataArray) -> object:
    """Return the unit of an array, None where it has none."""
    text = array.attrs.get("units")
    if text is None or array.dtype.kind not in "iufc":
        return None
    try:
        return pint_unit(str(text))
    except UnitsError as error:
        raise UnitsError(f"quantify: {array.name!r}: {error}") from error
