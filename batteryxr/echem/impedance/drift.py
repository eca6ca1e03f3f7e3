"""Correct and measure the drift of a cell while its spectra are taken."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import DataError, warn_quality
from batteryxr.core.kernels.times import NAT
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units
from batteryxr.echem.impedance.spectra import as_impedance
from batteryxr.echem.record import nanoseconds

#: Impedances measured point by point, of each electrode and of the cell.
_ELECTRODES = ("impedance", "impedance_counter", "impedance_cell")


@recorded
def correct_drift(
    spectra: xr.Dataset,
    *,
    time_reference: Literal["start", "middle", "end"] = "middle",
) -> xr.Dataset:
    """Return spectra in which all points of a spectrum belong to one time.

    *Lazy*. The points of a spectrum are taken one after the other while the cell goes
    on changing. Each frequency is interpolated linearly in time between neighbouring
    spectra, to the time of the spectrum. This is right for a cell that changes evenly,
    as under a small current. It is wrong for a cell that rests during the spectra and
    changes between them.

    Parameters
    ----------
    spectra
        ``impedance`` on (``spectrum``, ``frequency``) with ``point_time`` (s since
        the spectrum began) and ``time`` (UTC).
    time_reference
        Moment of a spectrum to which its points are moved.

    Returns
    -------
    xarray.Dataset
        The same spectra with corrected ``impedance`` (also of the counter electrode
        and the cell) and ``time``. It is NaN where a frequency has no neighbour: a
        first or last spectrum is not extrapolated.

    Raises
    ------
    DataError
        If times are missing or do not rise, or there is a further dimension.
    DimensionError, VariableError, UnitsError
        If the input is no impedance with times.

    Warns
    -----
    DataQualityWarning
        If points are lost at the ends of the series.

    Examples
    --------
    >>> cell = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> spectra = cell["impedance"].to_dataset()
    >>> corrected = (
    ...     spectra.echem.correct_drift()
    ... )  # the ends of a series have no neighbour
    """
    require_variables(spectra, ("impedance", "point_time"), caller="correct_drift")
    require_dims(spectra, ("spectrum", "frequency"), caller="correct_drift")
    array = as_impedance(spectra, caller="correct_drift")
    if others := [str(d) for d in array.dims if d not in ("spectrum", "frequency")]:
        raise DataError("impedance", f"also lies along {others}", "Select one of them.")
    begun, at = _times(spectra, caller="correct_drift")
    share = {"start": 0.0, "middle": 0.5, "end": 1.0}[time_reference]
    lasting = np.fmax.reduce(at, axis=1) - begun
    lasting = np.where(np.isfinite(lasting), lasting, 0.0)
    target = begun + share * lasting
    moved = {
        name: blocks.apply(
            _interpolated,
            as_impedance(spectra[name], caller="correct_drift").transpose(
                "spectrum", "frequency"
            ),
            core_dims=[["spectrum", "frequency"]],
            output_dims=[["spectrum", "frequency"]],
            dtypes=[complex],
            caller="correct_drift",
            at=at,
            target=target,
        ).assign_attrs(spectra[name].attrs)
        for name in _ELECTRODES
        if name in spectra
    }
    first = spectra["time"].values[0]
    times = first + (target * 1e9).round().astype("m8[ns]")
    result = spectra.assign(moved)
    result = result.assign_coords(time=("spectrum", times, spectra["time"].attrs))
    result = result.drop_vars("point_time")
    if not blocks.is_lazy(result):
        before = int(array.notnull().sum())
        lost = before - int(result["impedance"].notnull().sum())
        if lost:
            warn_quality(
                f"correct_drift: {lost} of {before} points have no neighbour in time "
                "and are NaN"
            )
    return result


def changes(spectra: xr.DataArray | xr.Dataset) -> xr.DataArray | None:
    """Return the largest relative change of each spectrum while it was taken.

    Changes are relative to the modulus. Give None if times
    or neighbours are unknown.
    """
    wanted = {"impedance", "point_time", "time"}
    if not isinstance(spectra, xr.Dataset) or not wanted <= set(spectra.variables):
        return None
    others = {str(d) for d in spectra["impedance"].dims} - {"spectrum", "frequency"}
    if others:
        warn_quality(
            "kramers_kronig: what changed while the spectra were taken is not told of "
            f"spectra along {sorted(others)}; select one of them for it"
        )
        return None
    if "spectrum" not in spectra["impedance"].dims:
        return None
    if spectra.sizes["spectrum"] < 2 or spectra["time"].isnull().any():
        return None
    begun, at = _times(spectra, caller="kramers_kronig")
    changed: xr.DataArray = blocks.apply(
        _changed,
        spectra["impedance"],
        core_dims=[["spectrum", "frequency"]],
        output_dims=[["spectrum"]],
        dtypes=[float],
        caller="kramers_kronig",
        begun=begun,
        at=at,
    )
    return changed


def _times(spectra: xr.Dataset, *, caller: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the start of each spectrum, and the time of each point (s)."""
    require_variables(spectra, ("time",), caller=caller)
    began = nanoseconds(spectra["time"].values)
    if (began == NAT).any():
        raise DataError(
            "time",
            "is missing (NaT): the timezone of the instrument was not declared",
            "Read the spectra with read_impedance(..., timezone='Europe/Paris').",
        )
    if (np.diff(began) <= 0).any():
        raise DataError("time", "does not rise along 'spectrum'", "Sort by time first.")
    begun = (began - began[0]) * 1e-9
    since = in_units(spectra["point_time"], "s", caller=caller)
    return begun, begun[:, None] + since.transpose("spectrum", "frequency").values


def _interpolated(
    impedance: np.ndarray, *, at: np.ndarray, target: np.ndarray
) -> np.ndarray:
    moved = np.full(impedance.shape, np.nan, complex)
    there = np.isfinite(impedance) & np.isfinite(at)
    for k in range(impedance.shape[1]):
        mine = there[:, k]
        if mine.sum() < 2:
            continue
        t, z = at[mine, k], impedance[mine, k]
        value = np.interp(target, t, z.real) + 1j * np.interp(target, t, z.imag)
        inside = (target >= t[0]) & (target <= t[-1]) & mine
        moved[inside, k] = value[inside]
    return moved


def _changed(impedance: np.ndarray, *, begun: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the largest relative change since the beginning of each spectrum."""
    largest = np.full(len(impedance), np.nan)
    there = np.isfinite(impedance) & (impedance != 0) & np.isfinite(at)
    change = np.full(impedance.shape, np.nan)
    for k in range(impedance.shape[1]):
        mine = there[:, k]
        if mine.sum() < 2:
            continue
        t, z = at[mine, k], impedance[mine, k]
        slope = np.gradient(z, t)
        change[mine, k] = np.abs(slope * (t - begun[mine])) / np.abs(z)
    some = np.isfinite(change).any(axis=1)
    # One bad point is no drift: take the 90th percentile.
    largest[some] = np.nanpercentile(change[some], 90, axis=1)
    return largest
