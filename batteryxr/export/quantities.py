"""Give the values of results their units, by pint and pint-xarray."""

from __future__ import annotations

import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import UnitsError
from batteryxr.core.optional import require
from batteryxr.core.units import pint_unit

#: Name of a single array among its coordinates.
_ONE = "the array"


@checked
def quantify(data: xr.DataArray | xr.Dataset) -> xr.DataArray | xr.Dataset:
    """Turn the ``units`` of a result into pint units, which arithmetic then tracks.

    Lazy. ``data.pint.dequantify()`` reverses it.

    Parameters
    ----------
    data
        Data with ``units`` in their attributes.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        The same values as pint quantities. Times, texts and values without units do
        not change.

    Raises
    ------
    UnitsError
        If pint does not know a unit.
    MissingDependencyError
        If pint-xarray is not installed.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> quantities = batteryxr.quantify(record)
    >>> power = quantities["voltage"] * quantities["current"]
    >>> str(power.pint.units)
    'milliampere * volt'
    """
    require("pint_xarray", extra="pint", purpose="units", package="pint-xarray")
    if isinstance(data, xr.DataArray):
        whole = data.rename(None).to_dataset(name=_ONE)
        return quantify(whole)[_ONE].rename(data.name)
    found = {name: _unit(data[name]) for name in data.variables}
    units = {name: unit for name, unit in found.items() if unit is not None}
    bare = data.copy(deep=False)
    for name in units:  # pint would parse the texts itself, with another meaning
        bare[name].attrs = {k: v for k, v in data[name].attrs.items() if k != "units"}
    return bare.pint.quantify(units)


def _unit(array: xr.DataArray) -> object:
    """Return the unit of an array, or None."""
    text = array.attrs.get("units")
    if text is None or array.dtype.kind not in "iufc":
        return None
    try:
        return pint_unit(str(text))
    except UnitsError as error:
        raise UnitsError(f"quantify: {array.name!r}: {error}") from error
