"""Turn impedance into real patterns for unmixing: Re and -Im side by side."""

from __future__ import annotations

import numpy as np
import xarray as xr

from batteryxr.core.provenance import recorded
from batteryxr.echem.impedance.spectra import as_impedance


@recorded
def as_patterns(spectra: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return Re and -Im of every spectrum side by side, as one real pattern.

    *Lazy*. Use it for `nmf.fit` and other methods that take real patterns.

    Parameters
    ----------
    spectra
        Complex impedance along ``frequency``.

    Returns
    -------
    xarray.DataArray
        In ohm, along ``channel``: Re at all frequencies, then -Im. The coordinates
        ``frequency`` and ``part`` ("Re", "-Im") tell them apart.

    Raises
    ------
    DimensionError, VariableError, UnitsError, DataError
        If the input is no impedance.

    Examples
    --------
    >>> cell = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> spectra = cell["impedance"].to_dataset()
    >>> spectra.echem.as_patterns().dims
    ('spectrum', 'channel')
    """
    array = as_impedance(spectra, caller="as_patterns")
    n = array.sizes["frequency"]
    halves = [
        half.drop_vars("frequency").rename(frequency="channel")
        for half in (array.real, -array.imag)
    ]
    joined = xr.concat(
        halves, dim="channel", join="exact", coords="minimal", compat="override"
    )
    frequency = np.tile(array["frequency"].values, 2)
    part = np.repeat(["Re", "-Im"], n)
    joined = joined.assign_coords(
        channel=("channel", np.arange(2 * n), {"units": "1", "long_name": "Channel"}),
        frequency=("channel", frequency, {"units": "Hz", "long_name": "Frequency"}),
        part=("channel", part, {"units": "1", "long_name": "Part of the impedance"}),
    )
    joined.attrs = {"units": "ohm", "long_name": "Re and -Im of the impedance"}
    return joined.transpose(..., "channel").rename("impedance")
