"""Fit the clock of a beamline to the cell voltage that it recorded."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, NamedTuple

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

#: Mean deviation, relative to the signal's, above which there is no common signal.
_UNLIKE = 0.3
#: A zone error is assumed if its misfit is below this fraction of the other.
_BETTER = 0.5
_HALF_HOUR = 1800.0
#: Number of samples in the coarse search.
_COARSE = 400
#: Interleaved parts of the samples whose separate fits give the errors.
_PARTS = 8
#: Least fraction of the samples that must fall on the record.
_OVERLAP = 0.5


@checked
def fit_clock(
    record: xr.Dataset,
    channel: Annotated[xr.DataArray | xr.Dataset, OwnLabels()],
    *,
    clock: Clock | None = None,
    max_offset: ClockOffset = 900.0,
    max_drift: ClockDrift = 400.0,
) -> Clock:
    """Fit offset and drift of a clock to a signal recorded on both sides.

    Reads once: time and voltage of `record` are held in memory, 16 bytes a row.

    The beamline's voltage is aligned with the cycler's. A coarse grid of offsets comes
    first, then least squares with a soft-L1 loss. The unknowns are offset, drift and
    a constant error of the beamline's voltmeter.

    Parameters
    ----------
    record
        Cycler data on ``record`` with ``time`` (UTC) and ``voltage``.
    channel
        Cell voltage with its units, on one dimension with the coordinate ``time`` on
        the beamline's clock; or a Dataset that holds it as ``voltage``.
    clock
        Declared clock, where the search starts. Default: no offset, UTC.
    max_offset
        Largest distance (s) of the true offset from `clock`.
    max_drift
        Largest drift (ppm).

    Returns
    -------
    Clock
        With ``method="fitted"`` and errors (one standard deviation). The declared
        clock is returned if there is no common signal.

    Raises
    ------
    ArgumentError
        If an option is out of range.
    DataError
        If the signals agree only after a shift by whole or half hours, which looks
        like a time-zone error, or if one of them has too few samples.
    VariableError, UnitsError
        If time, voltage or units are missing.

    Warns
    -----
    DataQualityWarning
        If there is no common signal.

    Notes
    -----
    The errors are the scatter of eight fits to interleaved samples. They hold for
    noise that is independent from sample to sample.

    Examples
    --------
    >>> import numpy as np
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> channel = record["voltage"].swap_dims(record="time")[::5]
    >>> channel["time"] = channel["time"] + np.timedelta64(25, "s")  # 25 s ahead
    >>> clock = record.echem.fit_clock(channel)
    >>> round(clock.offset_s)
    -25
    """
    clock = clock or Clock()
    stamps, voltage = _channel(channel)
    utc = Clock(timezone=clock.timezone).to_cycler(stamps)
    declared = dataclasses.replace(clock, timezone="UTC")
    reference = utc[0] + (utc[-1] - utc[0]) // 2
    (middle,) = declared.to_cycler(np.array([reference]))
    # Both sides count seconds from the middle, where offset and drift are independent.
    t = (declared.to_cycler(utc) - middle) / np.timedelta64(1, "s")
    rows = _rows(record, middle)

    coarse = float(np.clip(np.median(np.diff(t)) / 2, 1.0, 30.0))
    near = np.arange(-max_offset, max_offset + coarse, coarse)
    tried = _misfits(rows, t, voltage, near)
    offset, misfit = float(near[np.argmin(tried)]), float(tried.min())
    _refuse_zone_error(rows, t, voltage, misfit=misfit, max_offset=max_offset)
    if not np.isfinite(misfit):
        return _declared(clock, "the two do not overlap in time")
    found = _refine(
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
    rows: _Signal,
    t: np.ndarray,
    voltage: np.ndarray,
    *,
    misfit: float,
    max_offset: float,
) -> None:
    """Raise if only a shift by half hours explains the signal."""
    around = np.arange(-300.0, 301.0, 60.0)
    far = np.add.outer(np.arange(-28, 29) * _HALF_HOUR, around).ravel()
    far = far[np.abs(far) > max_offset]
    if not far.size:
        return
    tried = _misfits(rows, t, voltage, far)
    far_misfit = float(tried.min())
    spread = float(np.abs(voltage - np.median(voltage)).mean())
    if far_misfit < _BETTER * misfit and far_misfit < _UNLIKE * spread:
        # Cycles repeat, so a large shift may fit as well: the smallest counts.
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
        raise DataError(
            "channel",
            "has fewer than 20 times that differ",
            "Pass a channel with more samples.",
        )
    order = np.argsort(stamps[good], kind="stable")
    return stamps[good][order], volts[good][order]


def _rows(record: xr.Dataset, origin: np.datetime64) -> _Signal:
    """Return time (s from an origin) and voltage of the record, with gaps marked."""
    require_dims(record, ["record"], caller="fit_clock")
    require_variables(record, ["voltage"], caller="fit_clock")
    require_clock(record, caller="fit_clock")
    volts = in_units(record["voltage"], "V", caller="fit_clock")
    seconds = (record["time"].values.astype("M8[ns]") - origin) / np.timedelta64(1, "s")
    if not (np.diff(seconds) >= 0).all():
        raise DataError(
            "time",
            "is missing or steps back in the record",
            "Sort the record: `.sortby('time')`, after rows without time are left out.",
        )
    gap = np.zeros(max(seconds.size - 1, 0), dtype=bool)
    if "file" in record.variables:
        gap = np.diff(record["file"].values) != 0
    return _Signal(seconds, volts.values.astype(np.float64), gap)


class _Signal(NamedTuple):
    """Hold a signal as straight lines between rows, with NaN across a gap."""

    t: np.ndarray  # s, increasing
    v: np.ndarray
    gap: np.ndarray  # bool, for each interval between rows

    def at(self, t: np.ndarray) -> np.ndarray:
        """Return the signal at times `t`; NaN outside and in gaps."""
        value = np.interp(t, self.t, self.v, left=np.nan, right=np.nan)
        if self.gap.any():
            row = np.clip(np.searchsorted(self.t, t) - 1, 0, self.gap.size - 1)
            value[self.gap[row]] = np.nan
        return value


class _ClockFit(NamedTuple):
    """Hold the best offset and drift, their errors, and the remaining misfit."""

    offset: float  # s
    drift: float  # s/s
    offset_error: float
    drift_error: float
    unlike: float  # mean deviation relative to that of the signal itself


def _mean_deviation(signal: _Signal, t: np.ndarray, v: np.ndarray) -> float:
    """Return the mean deviation without its constant part; inf without overlap."""
    difference = v - signal.at(t)
    seen = np.isfinite(difference)
    if seen.sum() < max(_OVERLAP * t.size, 5):
        return np.inf
    difference = difference[seen]
    return float(np.abs(difference - np.median(difference)).mean())


def _thinned(t: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return evenly chosen samples for a coarse search."""
    step = max(1, t.size // _COARSE)
    return t[::step], v[::step]


def _misfits(
    signal: _Signal, t: np.ndarray, v: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """Return the misfit at each offset, from thinned samples."""
    t, v = _thinned(t, v)
    return np.array([_mean_deviation(signal, t + offset, v) for offset in offsets])


def _refine(
    signal: _Signal,
    t: np.ndarray,
    v: np.ndarray,
    *,
    offset: float,
    reach: float,
    max_drift: float,
) -> _ClockFit:
    """Refine a coarse offset, together with drift and the voltmeter's constant error.

    Parameters
    ----------
    signal
        Reference signal.
    t, v
        Samples on the other clock; `t` is zero where the offset is wanted.
    offset
        Coarse offset (s), good to `reach`.
    reach
        Range around `offset` that is searched for an initial guess.
    max_drift
        Largest drift (s/s).
    """
    start, drift = _start(signal, t, v, offset, reach, max_drift)
    # Unknowns of order one: seconds in the middle, seconds at the ends, millivolts.
    scale = np.array([1.0, 2.0 / max(float(np.ptp(t)), 1.0), 1e-3])
    first = v - signal.at(t + start + drift * t)
    bias = float(np.nanmedian(first)) if np.isfinite(first).any() else 0.0
    p = np.array([start, drift, bias]) / scale
    for size in (reach, 2.0, 2.0):
        p = _fit(signal, t, v, p, scale, size)
    parts = int(np.clip(t.size // 10, 2, _PARTS))
    each = [_fit(signal, t[k::parts], v[k::parts], p, scale, 4.0) for k in range(parts)]
    errors = np.std(each, axis=0, ddof=1) / np.sqrt(parts) * scale
    r = np.abs(_deviation(signal, t, v, p * scale))
    r = r[np.isfinite(r)]
    spread = float(np.abs(v - np.median(v)).mean())
    unlike = float(r.mean()) / spread if r.size and spread > 0 else np.inf
    o, d, _ = p * scale
    return _ClockFit(float(o), float(d), float(errors[0]), float(errors[1]), unlike)


def _deviation(
    signal: _Signal, t: np.ndarray, v: np.ndarray, p: np.ndarray
) -> np.ndarray:
    return v - p[2] - signal.at(t + p[0] + p[1] * t)


def _fit(
    signal: _Signal,
    t: np.ndarray,
    v: np.ndarray,
    p: np.ndarray,
    scale: np.ndarray,
    size: float,
) -> np.ndarray:
    """Return the unknowns of least soft-L1 cost, from a simplex of `size` seconds.

    A reversal is a jump of the signal, which misleads gradients: none are used.
    """
    from scipy.optimize import minimize

    typical = np.nanmedian(np.abs(_deviation(signal, t, v, p * scale)))
    noise = max(1.4826 * float(typical), 1e-6) if np.isfinite(typical) else 1.0

    def cost(p: np.ndarray) -> float:
        r = _deviation(signal, t, v, p * scale) / noise
        # Samples off the signal cost as much as bad ones, so leaving it gains nothing.
        return float(np.sqrt(1 + np.where(np.isfinite(r), r, 3.0) ** 2).sum())

    corners = p + np.vstack([np.zeros(3), np.diag([size, size, 2.0])])
    options = {"initial_simplex": corners, "xatol": 1e-2, "fatol": 1e-2}
    return minimize(cost, p, method="Nelder-Mead", options=options).x


def _start(
    signal: _Signal,
    t: np.ndarray,
    v: np.ndarray,
    offset: float,
    reach: float,
    max_drift: float,
) -> tuple[float, float]:
    """Return the best offset and drift of a small grid."""
    few, values = _thinned(t, v)
    best = (np.inf, offset, 0.0)
    for drift in np.linspace(-max_drift, max_drift, 9):
        for o in np.linspace(offset - reach, offset + reach, 13):
            best = min(
                best, (_mean_deviation(signal, few * (1 + drift) + o, values), o, drift)
            )
    return best[1], best[2]
