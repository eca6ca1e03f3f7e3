"""Label spectra taken between the rows of a record with the state of the cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

from batteryxr.core.blocks import stream
from batteryxr.core.errors import DataError, VariableError, warn_quality
from batteryxr.core.kernels.times import NAT
from batteryxr.core.units import in_units
from batteryxr.echem.operando.scans import ROWS, refuse_taken
from batteryxr.echem.record import nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.echem.operando.clock import Clock

Spectra = TypeVar("Spectra", xr.DataArray, xr.Dataset)

#: Bit of ``join_flag``: a current flowed in the spectrum that the record lacks.
CURRENT_IN_SPECTRUM = 32
#: Largest unseen charge and largest rest current, as fractions of the largest ones;
#: number of rows from which the largest ones are estimated.
_UNSEEN, _REST, _SOME = 1e-3, 1e-3, 100
#: Charge (mA h) from an ammeter's zero offset, if a record counts none at all.
_NOTHING = 1e-4
#: Rows whose clock is in memory at once.
_ROWS = 1_000_000
_KEPT = (
    "voltage", "current", "capacity", "capacity_total", "specific_capacity",
    "li_content", "cycle", "half_cycle", "direction", "branch", "join_flag",
)  # fmt: skip


def beside(
    record: xr.Dataset,
    spectra: Spectra,
    clock: Clock,
    max_gap: float,
    *,
    lasting: np.ndarray,
    before: float,
    joined: Callable[[xr.DataArray], xr.DataArray],
) -> Spectra:
    """Label each spectrum with the record's values at the row before it.

    The cycler records nothing while a spectrum is taken, and hardly any charge flows.
    So the capacity is that of the last row before it.

    Parameters
    ----------
    record
        Cycler data.
    spectra
        Any data on ``spectrum`` with ``time`` (UTC).
    clock
        Conversion from the clock of the spectra to the cycler's.
    max_gap
        Largest distance (s) of a row that may label a spectrum.
    lasting
        (spectra,) duration of each spectrum (s); NaN if unknown.
    before
        Fraction of the duration at which ``time`` lies.
    joined
        Function that joins instants on ``scan`` with the record.
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
    times = nanoseconds(clock.to_cycler(spectra["time"].values))
    known = np.nan_to_num(lasting) * 1e9
    begun = np.where(times == NAT, NAT, times - np.rint(before * known).astype(int))
    moments = _moments(record, begun, known, max_gap)
    labels, largest = _at(record, spectra, moments, joined)
    found = {n: labels[n].variable for n in _KEPT if n in labels.coords}
    for name, units in (("voltage", "V"), ("current", "mA")):
        if name in spectra.coords:  # values of the spectrum itself
            mine = in_units(spectra[name], units, caller="join").values
            values = np.where(np.isfinite(mine), mine, found[name].values)
            found[name] = xr.Variable("scan", values, found[name].attrs)
    found["direction"] = _direction(found, largest["current"])
    attrs: dict[str, Any] = dict(found["join_flag"].attrs)
    attrs["flag_masks"] = [*attrs["flag_masks"], CURRENT_IN_SPECTRUM]
    attrs["flag_meanings"] += " current_in_spectrum"
    unseen = _unseen(spectra, lasting, largest["capacity_total"])
    flags = found["join_flag"].values | unseen
    found["join_flag"] = xr.Variable("scan", flags, attrs)
    named = {n: ("spectrum", v.values, v.attrs) for n, v in found.items()}
    result = spectra.drop_vars(_KEPT, errors="ignore").assign_coords(named)
    result.attrs = spectra.attrs | clock.to_attrs()
    return result


def _at(
    record: xr.Dataset,
    spectra: xr.DataArray | xr.Dataset,
    moments: np.ndarray,
    joined: Callable[[xr.DataArray], xr.DataArray],
) -> tuple[xr.DataArray, dict[str, float]]:
    """Return labels at given moments, and the record's largest current and charge.

    The largest values are those of some rows spread over the record. These rows also
    keep spectra that follow one row from being refused as a copied clock.
    """
    n, rows = moments.size, record.sizes["record"]
    some = np.unique(np.linspace(0, rows - 1, min(rows, _SOME)).astype(int))
    others = record["time"].isel(record=some).values.astype("M8[ns]")
    coords: dict[str, Any] = {"time": ("scan", np.concatenate([moments, others]))}
    if "cell" in spectra.coords:
        cells = np.broadcast_to(spectra["cell"].values, moments.shape)
        more = np.repeat(cells[:1], others.size)
        coords["cell"] = ("scan", np.concatenate([cells, more]))
    instants = np.zeros(n + others.size)
    attrs = {ROWS: others.size}
    labels = joined(xr.DataArray(instants, coords, dims="scan", attrs=attrs))
    largest = {
        name: float(np.nanmax(np.abs(labels[name].values), initial=0.0))
        for name in ("current", "capacity_total")
    }
    return labels.isel(scan=slice(n)), largest


def _moments(
    record: xr.Dataset, begun: np.ndarray, lasting: np.ndarray, max_gap: float
) -> np.ndarray:
    """Return the time of the row that each spectrum follows; else its own (ns)."""
    before, after = _beside(record, begun)
    limit = max_gap * 1e9 if np.isfinite(max_gap) else float(2**62)
    since, until = begun - before, after - (begun + lasting)
    row = np.where(since <= limit, before, after)
    near = (np.abs(since) <= limit) | (np.abs(until) <= limit)
    found = np.where(near & (begun != NAT), row, begun)
    return found.view("datetime64[ns]")


def _beside(record: xr.Dataset, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the last row before each time, and the next one (ns), reading blocks.

    A time outside of the record has its first or last row on both sides.
    """
    first, last = nanoseconds(record["time"].isel(record=[0, -1]).values)
    before, after = np.full(times.size, first), np.full(times.size, last)
    open_ = np.ones(times.size, bool)
    for (block,) in stream(record["time"], dim="record", block=_ROWS):
        clock = nanoseconds(block)
        k = np.searchsorted(clock, times, side="right") - 1
        passed = k >= 0
        before[passed] = clock[k[passed]]
        here = open_ & (k + 1 < clock.size)
        after[here] = clock[k[here] + 1]
        open_ &= ~here
    return before, after


def _direction(found: dict[str, xr.Variable], largest: float) -> xr.Variable:
    """Return "rest" for spectra taken at rest, else the direction of the row before."""
    words = found["direction"].values
    current = found["current"].values
    rest = (words != "") & (np.abs(current) < _REST * largest)
    return xr.Variable("scan", np.where(rest, "rest", words), found["direction"].attrs)


def _unseen(
    spectra: xr.DataArray | xr.Dataset, lasting: np.ndarray, largest: float
) -> np.ndarray:
    """Return the flag of spectra taken under a current, and warn of them."""
    nothing = np.zeros(spectra.sizes["spectrum"], np.int8)
    if "current" not in spectra.coords:
        return nothing
    current = in_units(spectra["current"], "mA", caller="join").values
    charge = np.abs(current * lasting) / 3600.0
    odd = np.nan_to_num(charge) > (_UNSEEN * largest or _NOTHING)
    if odd.any():
        warn_quality(
            f"{int(odd.sum())} of {odd.size} spectra were taken under a current: up to "
            f"{np.nanmax(charge):.3g} mA h flowed in each, and the record does not "
            "count them. See join_flag."
        )
    return np.where(odd, CURRENT_IN_SPECTRUM, 0).astype(np.int8)
