"""Spectra that were taken between the rows of a record: where the cell stood then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

from batteryxr.core.errors import DataError, VariableError, warn_quality
from batteryxr.core.kernels.times import NAT
from batteryxr.core.units import in_units
from batteryxr.echem.operando.scans import refuse_taken
from batteryxr.echem.record import nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.echem.operando.clock import Clock

Spectra = TypeVar("Spectra", xr.DataArray, xr.Dataset)

#: Bit of ``join_flag``: a current flowed in the spectrum which the record lacks.
CURRENT_IN_SPECTRUM = 32
#: Share of the largest capacity that may flow unseen.
_UNSEEN = 1e-3
_KEPT = (
    "voltage", "current", "capacity", "capacity_total", "specific_capacity",
    "li_content", "cycle", "half_cycle", "direction", "branch", "join_flag",
)  # fmt: skip


def beside(
    record: xr.Dataset,
    spectra: Spectra,
    clock: Clock,
    max_gap: float,
    joined: Callable[[xr.DataArray], xr.DataArray],
) -> Spectra:
    """Label spectra with what the record says at the row that they follow.

    The cycler records nothing while a spectrum is taken, and hardly any charge flows:
    the capacity is that of the last row before it.

    Parameters
    ----------
    record
        Cycler data.
    spectra
        Anything on ``spectrum`` with ``time`` (UTC).
    clock
        From the clock of the spectra to the cycler's.
    max_gap
        A row further away (s) tells nothing of a spectrum.
    joined
        Joins instants on ``scan`` with the record.
    """
    if "time" not in spectra.coords or spectra["time"].dims != ("spectrum",):
        raise VariableError(
            "join needs the coordinate 'time' (UTC) on 'spectrum'; found "
            f"{sorted(map(str, spectra.coords))}. Read the spectra with read_impedance."
        )
    if spectra["time"].size and spectra["time"].isnull().all():
        raise DataError(
            "time",
            "is missing (NaT) for all spectra: their timezone was not declared",
            "Read them again with read_impedance(..., timezone='Europe/Paris').",
        )
    refuse_taken(spectra, _KEPT, dim="spectrum")
    moments = _moments(record, spectra, clock, max_gap)
    n = moments.size
    # Two instants more, so that spectra that follow one row are no copied clock.
    ends = record["time"].isel(record=[0, -1]).values.astype("M8[ns]")[: 2 * n]
    coords: dict[str, Any] = {"time": ("scan", np.concatenate([moments, ends]))}
    if "cell" in spectra.coords:
        cells = np.broadcast_to(spectra["cell"].values, moments.shape)
        coords["cell"] = ("scan", np.concatenate([cells, np.repeat(cells[:1], 2)]))
    size = n + ends.size
    labels = joined(xr.DataArray(np.zeros(size), dims="scan", coords=coords))
    labels = labels.isel(scan=slice(n))
    found = {n: labels[n].variable for n in _KEPT if n in labels.coords}
    for name, units in (("voltage", "V"), ("current", "mA")):
        if name in spectra.coords:  # of the spectrum itself
            mine = in_units(spectra[name], units, caller="join").values
            values = np.where(np.isfinite(mine), mine, found[name].values)
            found[name] = xr.Variable("scan", values, found[name].attrs)
    attrs: dict[str, Any] = dict(found["join_flag"].attrs)
    attrs["flag_masks"] = [*attrs["flag_masks"], CURRENT_IN_SPECTRUM]
    attrs["flag_meanings"] += " current_in_spectrum"
    flags = found["join_flag"].values | _unseen(spectra, found)
    found["join_flag"] = xr.Variable("scan", flags, attrs)
    named = {n: ("spectrum", v.values, v.attrs) for n, v in found.items()}
    result = spectra.drop_vars(_KEPT, errors="ignore").assign_coords(named)
    result.attrs = spectra.attrs | clock.to_attrs()
    return result


def _moments(
    record: xr.Dataset,
    spectra: xr.DataArray | xr.Dataset,
    clock: Clock,
    max_gap: float,
) -> np.ndarray:
    """Return the time of the row that each spectrum follows; else its own."""
    rows = nanoseconds(record["time"].values)
    times = nanoseconds(clock.to_cycler(spectra["time"].values))
    before = np.searchsorted(rows, times, side="right") - 1
    after = np.minimum(before + 1, rows.size - 1)
    before = np.maximum(before, 0)
    limit = max_gap * 1e9 if np.isfinite(max_gap) else float(2**62)
    lasting = np.zeros(times.size)
    if "exposure" in spectra.coords:
        lasting = in_units(spectra["exposure"], "s", caller="join").values * 1e9
    since, until = times - rows[before], rows[after] - (times + np.nan_to_num(lasting))
    row = np.where(since <= limit, before, after)
    near = (np.abs(since) <= limit) | (np.abs(until) <= limit)
    found = np.where(near & (times != NAT), rows[row], times)
    return found.view("datetime64[ns]")


def _unseen(
    spectra: xr.DataArray | xr.Dataset, found: dict[str, xr.Variable]
) -> np.ndarray:
    """Return the flag of spectra under a current, and warn of them."""
    nothing = np.zeros(spectra.sizes["spectrum"], np.int8)
    if not {"current", "exposure"} <= set(spectra.coords):
        return nothing
    lasting = in_units(spectra["exposure"], "s", caller="join").values
    current = in_units(spectra["current"], "mA", caller="join").values
    charge = np.abs(current * lasting) / 3600.0
    largest = np.nanmax(np.abs(found["capacity_total"].values), initial=0.0)
    odd = np.nan_to_num(charge) > _UNSEEN * largest
    if odd.any():
        warn_quality(
            f"{int(odd.sum())} of {odd.size} spectra were taken under a current: up to "
            f"{np.nanmax(charge):.3g} mA h flowed in each, and the record does not "
            "count them. See join_flag."
        )
    return np.where(odd, CURRENT_IN_SPECTRUM, 0).astype(np.int8)
