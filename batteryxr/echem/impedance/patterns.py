"""Turn impedance into real patterns for unmixing: Re and -Im side by side."""

from __future__ import annotations

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import warn_quality
from batteryxr.core.provenance import recorded
from batteryxr.echem.impedance.spectra import as_impedance, omega_of

#: Least share of the frequencies of a spectrum that all others have too; fewest points
#: of a curve through them.
_SHARED, _LEAST = 0.5, 4


@recorded
def as_patterns(
    spectra: xr.DataArray | xr.Dataset,
    *,
    interpolate: bool = False,
) -> xr.DataArray:
    """Return Re and -Im of every spectrum side by side, as one real pattern.

    *Lazy*. Use it for `nmf.fit` and other methods that take real patterns.

    Parameters
    ----------
    spectra
        Complex impedance along ``frequency``.
    interpolate
        Whether cubic curves over the logarithm of the frequency fill the gaps of each
        spectrum, within its range. Spectra of different lists of frequencies need it:
        without common frequencies nothing tells how large one is relative to another.
        Default: NaN where a spectrum lacks a frequency.

    Returns
    -------
    xarray.DataArray
        In ohm, along ``channel``: Re at all frequencies, then -Im. The coordinates
        ``frequency`` and ``part`` ("Re", "-Im") tell them apart.

    Raises
    ------
    DimensionError, VariableError, UnitsError, DataError
        If there is no impedance.

    Warns
    -----
    DataQualityWarning
        If few frequencies are common to all spectra, unless the data are lazy.

    Examples
    --------
    >>> cell = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> spectra = cell["impedance"].to_dataset()
    >>> spectra.echem.as_patterns().dims
    ('spectrum', 'channel')
    """
    array = as_impedance(spectra, caller="as_patterns")
    if interpolate:
        array = blocks.apply(
            _filled,
            array,
            core_dims=[["frequency"]],
            output_dims=[["frequency"]],
            dtypes=[complex],
            caller="as_patterns",
            omega=omega_of(array),
        )
    if not blocks.is_lazy(array):
        _tell(array)
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


def _tell(array: xr.DataArray) -> None:
    """Warn if few frequencies are common to all spectra."""
    there = np.isfinite(array.transpose(..., "frequency").values)
    there = there.reshape(-1, there.shape[-1])
    there = there[there.any(axis=1)]
    if not len(there):
        return
    shared, least = int(there.all(axis=0).sum()), int(there.sum(axis=1).min())
    if shared < _SHARED * least:
        warn_quality(
            f"as_patterns: only {shared} of {least} frequencies are common to all "
            "spectra. What is unmixed from them may be wrong: pass "
            "interpolate=True."
        )


def _filled(measured: np.ndarray, *, omega: np.ndarray) -> np.ndarray:
    """Return spectra (..., frequencies) with gaps inside their range filled."""
    from scipy.interpolate import CubicSpline

    order = np.argsort(omega)
    log = np.log(omega[order])
    filled = measured[..., order].reshape(-1, omega.size).copy()
    for row in filled:
        there = np.flatnonzero(np.isfinite(row))
        if there.size < _LEAST:
            continue
        inside = np.arange(there[0], there[-1] + 1)
        gaps = inside[~np.isfinite(row[inside])]
        row[gaps] = CubicSpline(log[there], row[there])(log[gaps])
    back = np.argsort(order)
    return filled[:, back].reshape(measured.shape)
