"""Finding the clock of a beamline from the cell voltage that it recorded."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import DataError, VariableError, warn_quality
from batteryxr.core.labels import OwnLabels
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.units import in_units
from batteryxr.echem.operando.clock import Clock
from batteryxr.echem.operando.scans import hours, require_clock

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import ClockDrift, ClockOffset
    from batteryxr.echem.kernels.alignment import Signal

#: Mean deviation, relative to that of the signal, above which nothing is common.
_UNLIKE = 0.3
#: A zone error explains the signal if it fits so much better than no zone error.
_BETTER = 0.5
_HALF_HOUR = 1800.0


@checked
def fit_clock(
    record: xr.Dataset,
    channel: Annotated[xr.DataArray | xr.Dataset, OwnLabels()],
    *,
    clock: Clock | None = None,
    max_offset: ClockOffset = 900.0,
    max_drift: ClockDrift = 400.0,
) -> Clock:
    """Find offset and drift of a clock from a signal that both sides recorded.

    Reads once: time and voltage of `record` are held in memory, 16 bytes a row.

    The voltage that the beamline recorded is laid over the cycler's: first over a
    coarse grid of offsets, then by least squares with a soft-L1 loss, with offset,
    drift and a constant error of the beamline's voltmeter as unknowns.

    Parameters
    ----------
    record
        Cycler data on ``record`` with ``time`` (UTC) and ``voltage``.
    channel
        Cell voltage with its units, on one dimension with the coordinate ``time`` on
        the beamline's clock; or a Dataset with it as ``voltage``.
    clock
        What is declared: the search starts there. Default: no offset, UTC.
    max_offset
        How far (s) the truth may lie from `clock`.
    max_drift
        Largest drift (ppm).

    Returns
    -------
    Clock
        With ``method="fitted"`` and errors (one standard deviation). Without a common
        signal, the declared clock as it was.

    Raises
    ------
    ArgumentError
        If an option is out of range.
    DataError
        If the signals agree only after a shift by whole or half hours, which looks
        like a time-zone error, or one of them has too few samples.
    VariableError, UnitsError
        If time, voltage or units are missing.

    Warns
    -----
    DataQualityWarning
        If there is no common signal.

    Notes
    -----
    The errors are the scatter of eight fits to interleaved samples, and hold for noise
    that is independent from sample to sample.
    """
    from batteryxr.echem.kernels import alignment

    clock = clock or Clock()
    stamps, voltage = _channel(channel)
    utc = Clock(timezone=clock.timezone).to_cycler(stamps)
    declared = dataclasses.replace(clock, timezone="UTC")
    reference = utc[0] + (utc[-1] - utc[0]) // 2
    (middle,) = declared.to_cycler(np.array([reference]))
    # Both sides count seconds from the middle: there offset and drift are independent.
    t = (declared.to_cycler(utc) - middle) / np.timedelta64(1, "s")
    rows = _rows(record, middle)

    coarse = float(np.clip(np.median(np.diff(t)) / 2, 1.0, 30.0))
    near = np.arange(-max_offset, max_offset + coarse, coarse)
    tried = alignment.misfits(rows, t, voltage, near)
    offset, misfit = float(near[np.argmin(tried)]), float(tried.min())
    _refuse_zone_error(rows, t, voltage, misfit=misfit, max_offset=max_offset)
    if not np.isfinite(misfit):
        return _declared(clock, "the two do not overlap in time")
    found = alignment.refine(
        rows, t, voltage, offset=offset, reach=coarse, max_drift=max_drift * 1e-6
    )
    if not found.unlike < _UNLIKE:
        return _declared(clock, f"they differ by {found.unlike:.0%} of their spread")
    if not found.offset_error < max_offset or abs(found.offset) > max_offset:
        return _declared(clock, "it does not fix the offset")
    drift = (1 + clock.drift_ppm * 1e-6) * (1 + found.drift) - 1
    return Clock(
        offset_s=float((middle - reference) / np.timedelta64(1, "s")) + found.offset,
        drift_ppm=drift * 1e6,
        reference=str(reference),
        timezone=clock.timezone,
        method="fitted",
        offset_error=found.offset_error,
        drift_error=found.drift_error * 1e6,
    )


def _refuse_zone_error(
    rows: Signal,
    t: np.ndarray,
    voltage: np.ndarray,
    *,
    misfit: float,
    max_offset: float,
) -> None:
    """Raise where half hours explain the signal and nothing smaller does."""
    from batteryxr.echem.kernels import alignment

    around = np.arange(-300.0, 301.0, 60.0)
    far = np.add.outer(np.arange(-28, 29) * _HALF_HOUR, around).ravel()
    far = far[np.abs(far) > max_offset]
    if not far.size:
        return
    tried = alignment.misfits(rows, t, voltage, far)
    far_misfit = float(tried.min())
    spread = float(np.abs(voltage - np.median(voltage)).mean())
    if far_misfit < _BETTER * misfit and far_misfit < _UNLIKE * spread:
        # Cycles repeat, so that a large shift may do as well: the smallest counts.
        alike = far[tried <= 2 * far_misfit]
        best = float(alike[np.argmin(np.abs(alike))])
        shift = round(best / _HALF_HOUR)
        raise DataError(
            "time",
            f"the clocks agree after {best:+g} s and not within "
            f"max_offset={max_offset:g} s",
            f"This looks like a time-zone error of {hours(-shift)}: check `timezone=` "
            "of both readers, or declare it: "
            f"clock=Clock(offset_s={shift * _HALF_HOUR:g}).",
        )


def _declared(clock: Clock, why: str) -> Clock:
    warn_quality(
        f"fit_clock: no common signal ({why}). The clock stays as declared: offset "
        f"{clock.offset_s:g} s."
    )
    return clock


def _channel(channel: xr.DataArray | xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(channel, xr.Dataset):
        require_variables(channel, ["voltage"], caller="fit_clock")
        channel = channel["voltage"]
    if channel.ndim != 1 or "time" not in channel.coords:
        raise VariableError(
            "fit_clock needs the channel on one dimension with the coordinate 'time'; "
            f"found dimensions {channel.dims}, coordinates "
            f"{sorted(map(str, channel.coords))}."
        )
    volts = in_units(channel, "V", caller="fit_clock").values.astype(np.float64)
    stamps = channel["time"].values.astype("M8[ns]")
    good = np.isfinite(volts) & ~np.isnat(stamps)
    if good.sum() < 20:
        raise DataError(
            "channel",
            f"has {good.sum()} samples with time and voltage; at least 20 are needed",
        )
    if np.unique(stamps[good]).size < 20:
        raise DataError("channel", "has fewer than 20 times that differ")
    order = np.argsort(stamps[good], kind="stable")
    return stamps[good][order], volts[good][order]


def _rows(record: xr.Dataset, origin: np.datetime64) -> Signal:
    from batteryxr.echem.kernels.alignment import Signal

    require_dims(record, ["record"], caller="fit_clock")
    require_variables(record, ["voltage"], caller="fit_clock")
    require_clock(record, caller="fit_clock")
    volts = in_units(record["voltage"], "V", caller="fit_clock")
    seconds = (record["time"].values.astype("M8[ns]") - origin) / np.timedelta64(1, "s")
    if not (np.diff(seconds) >= 0).all():
        raise DataError("time", "is missing or steps back in the record")
    gap = np.zeros(max(seconds.size - 1, 0), dtype=bool)
    if "file" in record.variables:
        gap = np.diff(record["file"].values) != 0
    return Signal(seconds, volts.values.astype(np.float64), gap)
