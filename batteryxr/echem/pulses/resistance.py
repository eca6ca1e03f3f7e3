"""Compute the resistance after each switch of the current."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.provenance import recorded
from batteryxr.echem.pulses import switches as switching
from batteryxr.echem.pulses.root_line import least_squares, undated_by
from batteryxr.echem.pulses.switches import GAP
from batteryxr.echem.record import current_taken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.bounds.kinds import Charge, Mass, RestCurrent
    from batteryxr.echem.lithium.composition import Composition
    from batteryxr.echem.lithium.content import Lithiation
    from batteryxr.echem.pulses.switches import Around, CurrentSwitches

#: Rows used for the voltage right after a switch, and rows before it.
_FIRST, _BEFORE = 12, 4
#: Scatter of rows about a line, relative to their noise, above which they are bent.
_BEND = 2.0
#: Delay (s) after a switch from which `at` is checked.
_LATE = 100.0
_OHM = {"units": "ohm", "long_name": "Resistance"}
#: Exponentials of a relaxation; largest reach of a polynomial relative to them, unless
#: its error is below this share of its reach.
_TIMES, _TOO_FAR, _CLEAR = 10, 1.5, 0.2
#: Largest relative error of a resistance that is extrapolated and not flagged.
_NEAR = 0.005
UNDATED, _MEAN_ROW, _EXTRAPOLATED, _COARSE = 1, 2, 4, 8
FLAG = {
    "units": "1",
    "long_name": "What is odd about the switch",
    "flag_masks": [1, 2, 4, 8],
    "flag_meanings": "undated mean_row extrapolated coarse_clock",
}


@recorded
def resistance(
    record: xr.Dataset,
    *,
    at: Sequence[float] = (0.0, 1.0, 10.0),
    i_zero: RestCurrent | None = None,
    mass: Mass | None = None,
    formula: str | Composition | Lithiation | None = None,
    nominal_capacity: Charge | None = None,
) -> xr.Dataset:
    """Return the resistance at given times after each switch of the current.

    Reads once, the current twice, then the rows around the switches.

    Resistance is the change of voltage since the last row before a switch, over the
    change of current. At 0 the voltage is extrapolated from the first rows by
    polynomials in time and its square root, weighted by how well they fit. A current
    that fades, as while the voltage is held, is no switch.

    Parameters
    ----------
    record
        Cycler data on ``record``.
    at
        Times after the switch in s.
    i_zero
        Current in mA below which the cell rests. Default: 1e-3 of the largest.
    mass
        Mass of active material (mg), for the Li content.
    formula
        Active material as weighed, for the Li content. The record begins with it as
        weighed; a `Lithiation` sets another content.
    nominal_capacity
        Capacity in mA h, for the state of charge: 1 where the record is fullest.

    Returns
    -------
    xarray.Dataset
        ``resistance`` (ohm) on (``switch``, ``delay``) with ``resistance_error``, one
        standard deviation; NaN if the next switch comes first. On ``switch``:
        ``current_before``, ``current_after``, ``interval`` and ``switch_flag``.
        ``interval`` is the time (s) to the first row after the switch; at shorter
        times the resistance is extrapolated. ``switch_flag``: undated (the time of the
        switch in a gap is unknown, so times count from the gap's end and the error
        includes the gap), mean row (a row holds a mean over the switch, which dates
        it), extrapolated (a time of `at` lies before the first row, and the error there
        is above 0.5 %, or too few rows tell it; a process that is over before that row
        counts as resistance at 0, and no error holds it) or coarse clock (rows share a
        time, and errors hold one step of the clock). Coordinates, as far as known:
        ``direction`` (after the switch), ``test_time``, ``time``, ``voltage``
        (before), ``capacity_total``, ``temperature``, ``li_content``, ``soc``.

    Raises
    ------
    ArgumentError
        If a time is below 0 or not a number.
    DimensionError, VariableError, UnitsError, DataError
        If the record lacks something, or its times are unreliable.

    Warns
    -----
    DataQualityWarning
        If switches lie in gaps of the record, or last one row only; if the record
        reaches less than 0.85 of `nominal_capacity`, or more than it.

    Examples
    --------
    >>> cell = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> record = cell["echem"].to_dataset()
    >>> found = record.echem.resistance(at=(0, 60))
    >>> found["resistance"].dims
    ('switch', 'delay')
    """
    times = check_delays(at)
    rows = switching.record_columns(record, caller="resistance")
    found = switching.find(rows, i_zero)
    values = np.full((found.row.size, times.size), np.nan)
    errors, interval = values.copy(), np.full(found.row.size, np.nan)
    flag, longest = np.zeros(found.row.size, np.int8), 0.0
    for k in range(found.row.size):
        before, after = switching.piece(rows, found, k, float(times.max()))
        step = (found.after[k] - found.before[k]) * 1e-3
        values[k], errors[k], flag[k] = dated(before, after, times, step)
        interval[k] = after.t[0] if after.t.size else np.nan
        longest = max(longest, after.t[-1] if after.t.size else 0.0)
    _tell_late(float(times.max()), longest)
    soonest = float(np.nanmin(interval, initial=np.inf))
    tell_early(float(times.max()), soonest, argument="at", what=FIRST)
    tell_undated(flag, caller="resistance")
    flag |= further(values, errors, times < interval[:, None], found.skipped)
    table = _labelled(found, (values, errors, interval), times)
    coords = switching.coordinates(
        record,
        found,
        np.arange(found.row.size),
        "switch",
        mass=mass,
        formula=formula,
        nominal_capacity=nominal_capacity,
    )
    table["switch_flag"] = "switch", flag, FLAG
    table.attrs["current_units"] = current_taken(rows, caller="resistance")
    return bounds.told(table.assign_coords(coords))


#: What must come before a delay.
FIRST = "the time to the first row after every switch"


def further(
    values: np.ndarray, errors: np.ndarray, early: np.ndarray, skipped: np.ndarray
) -> np.ndarray:
    """Return the flags of mean rows, and of resistances that are extrapolated far.

    `early` tells which of them (switches, delays) lie before the first row.
    """
    unknown = np.isfinite(values) & ~(errors <= _NEAR * np.abs(values))
    far = (early & unknown).any(axis=1)
    flag = _MEAN_ROW * (skipped > 0) + _EXTRAPOLATED * far
    return flag.astype(np.int8)


def _tell_late(delay: float, longest: float) -> None:
    """Warn if a long delay exceeds the rows after every switch."""
    if delay >= _LATE:
        bounds.within_span(
            delay, longest, argument="at", units="s", slips={"ms": 1e-3, "us": 1e-6}
        )


def tell_early(length: float, first: float, *, argument: str, what: str) -> None:
    """Warn if a length of time (s) is over before anything can be seen in it."""
    if 0 < length < first < np.inf:
        warn_quality(
            f"{argument}={length:g} s is shorter than {what}, {first:.3g} s. Was it "
            f"min? Pass {60 * length:.6g}. Or h? Pass {3600 * length:.6g}."
        )


def check_delays(at: Sequence[float]) -> np.ndarray:
    """Return the delays after a switch; raise if they are invalid."""
    times = np.array([float(t) for t in at])
    if not times.size or not (np.isfinite(times) & (times >= 0)).all():
        raise ArgumentError("at", tuple(at), "times >= 0 in s")
    if np.unique(times).size < times.size:
        raise ArgumentError("at", tuple(at), "times that differ")
    return times


def tell_undated(flag: np.ndarray, *, caller: str) -> None:
    """Warn of switches whose time is unknown."""
    if undated := int((flag == UNDATED).sum()):
        warn_quality(
            f"{caller}: {undated} of {flag.size} switches lie in a gap that is longer "
            "than the rows behind it are apart: when they were made is not known, and "
            "errors hold the gap. See the flags."
        )


def dated(
    before: Around, after: Around, times: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return resistances and errors, and a flag if the switch time is unknown.

    If a cycler writes no row at the end of a step, the switch lies anywhere between
    two rows.
    """
    values, errors = after_switch(before, after, times, step)
    apart = np.diff(after.t[:_FIRST])
    if (apart == 0).any():  # rows share a time: it may be off by a step of the clock
        tick = float(np.min(np.diff(after.t), where=np.diff(after.t) > 0, initial=1e9))
        later = np.minimum(times + tick, after.t[-1])
        grown = after_switch(before, after, later, step)[0] - values
        return values, np.hypot(errors, grown), _COARSE
    clocked, undated = undated_by(before, after)
    if not undated and not clocked:
        return values, errors, 0
    gap = after.t[0]
    # Take the switch at the first row after it. The earlier growth of the resistance
    # is at most its growth over an equal time afterwards.
    shifted = after._replace(t=after.t - gap)
    end = float(shifted.t[-1])
    if clocked:  # taken at the row before; the error covers a later switch
        # A later switch leaves less time: the last delay is compared where both reach.
        both = np.minimum(times, end)
        now, late = (after_switch(before, x, both, step)[0] for x in (after, shifted))
        return values, np.hypot(errors, np.abs(late - now) / np.sqrt(3.0)), 0
    wanted = np.concatenate([times, np.minimum(times + gap, end)])
    both, both_errors = after_switch(before, shifted, wanted, step)
    late, later = np.split(both, 2)
    return late, np.hypot(both_errors[: times.size], np.abs(later - late)), UNDATED


def after_switch(
    before: Around, after: Around, times: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return resistances (ohm) and errors at times after a switch by `step` (A)."""
    values, errors = np.full(times.size, np.nan), np.full(times.size, np.nan)
    if not after.t.size or not before.t.size:
        return values, errors
    first, first_error, noise = _beginning(after, float(np.sign(step)))
    rest, rest_error = _last(before, noise)
    # Few rows before a switch are no better than those after it.
    rest_error = rest_error if np.isfinite(rest_error) else noise
    within = after.t >= 0
    t = np.concatenate([[0.0], after.t[within]])
    v = np.concatenate([[first], after.v[within]])
    known = times <= after.t[-1] * (1 + 1e-9)
    volts = np.interp(times[known], t, v)
    sd = np.where(times[known] < after.t[0], first_error, noise)
    values[known] = (volts - rest) / step
    errors[known] = np.hypot(sd, rest_error) / abs(step)
    return values, errors


def _last(before: Around, noise: float) -> tuple[float, float]:
    """Return the voltage right before a switch, and its error (NaN if few rows).

    `noise` is that of a row, as far as the rows behind tell it.
    """
    t, v = before.t[-_BEFORE:], before.v[-_BEFORE:]
    if t.size < 3 or np.ptp(t) <= 0:
        return float(v[-1]), np.nan
    line = np.column_stack([np.ones(t.size), t / np.ptp(t)])
    coefficients, left = least_squares(line, v)
    sd = np.sqrt(left @ left / (t.size - 2))
    spread = np.linalg.inv(line.T @ line)
    # Take the row itself if the rows before it are bent, as late in a short pulse.
    if sd > _BEND * noise:
        return float(v[-1]), noise
    if abs(v[-1] - coefficients[0]) > 3 * sd + 1e-12:
        return float(v[-1]), float(sd)
    return float(coefficients[0]), float(sd * np.sqrt(spread[0, 0]))


def _beginning(after: Around, sign: float) -> tuple[float, float, float]:
    """Return the voltage right after a switch, its error, and the noise of a row.

    `sign` is the sign of the current step.
    """
    t, v = after.t[:_FIRST], after.v[:_FIRST]
    if t.size < 4:
        return float(v[0]), np.nan, np.nan
    root = np.sqrt(np.maximum(t, 0.0) / max(t[-1], 1e-300))
    tried = []
    for order in range(1, min(4, t.size - 2) + 1):
        for base in (root, root**2):
            powers = np.column_stack([base**k for k in range(order + 1)])
            coefficients, left = least_squares(powers, v)
            free = t.size - order - 1
            squares = max(float(left @ left), 1e-18 * t.size)
            cost = (2.0 * (order + 2) * t.size) / max(t.size - order - 3, 0.5)
            spread = np.linalg.pinv(powers.T @ powers)
            variance = squares / free
            error = variance * max(float(spread[0, 0]), 0.0)
            score = t.size * np.log(squares / t.size) + cost
            tried.append((score, float(coefficients[0]), error, variance))
    score, value, variance, noise = np.array(tried).T
    # The polynomials are averaged by their likelihood (Akaike), and their scatter is
    # added to the error.
    weight = np.exp(-0.5 * (score - score.min()))
    weight /= weight.sum()
    mean = float(weight @ value)
    error = float(np.sqrt(weight @ (variance + (value - mean) ** 2)))
    relaxed = _relaxed(t, v, sign)
    far = np.abs(mean - v[0]) > _TOO_FAR * np.abs(relaxed - v[0]) + noise.min()
    # The root of time alone, the first that was tried, is diffusion and may go further.
    if t[0] > 0 and far and not (weight[0] > 0.5 and error < _CLEAR * abs(mean - v[0])):
        error, mean = float(np.abs(mean - relaxed)), relaxed
    # An extrapolation is good to a tenth, less if the next rows are sparse.
    share = 0.1 if t[1] - t[0] <= GAP * t[0] or t[0] <= 0 else 0.3
    error = float(np.linalg.norm([error, share * (mean - v[0]), (mean - relaxed) / 2]))
    return mean, error, float(np.sqrt(weight @ noise))


def _relaxed(t: np.ndarray, v: np.ndarray, sign: float) -> float:
    """Return the voltage at 0 if all relaxation has the sign of the step.

    The model is a sum of exponentials and the square root of time, none of the
    opposite sign. Unlike polynomials it never goes far beyond the rows.
    """
    from scipy.optimize import nnls

    if t[0] <= 0:
        return float(v[0])
    tau = np.geomspace(t[0], 2 * t[-1], _TIMES)
    one = np.ones(t.size)
    ways = np.column_stack(
        [one, -one, np.sqrt(t), t, -t, *(1 - np.exp(-t / x) for x in tau)]
    )
    size = np.sqrt((ways**2).sum(axis=0))
    try:
        x, _ = nnls(ways / size, sign * (v - v[0]), maxiter=50 * size.size)
    except RuntimeError:  # not converged: use the first row
        return float(v[0])
    return float(v[0] + sign * (x[0] - x[1]) / size[0])


def _labelled(
    found: CurrentSwitches,
    numbers: tuple[np.ndarray, np.ndarray, np.ndarray],
    times: np.ndarray,
) -> xr.Dataset:
    values, errors, interval = numbers
    on = ("switch", "delay")
    coords: dict[str, Any] = {}
    coords["switch"] = np.arange(1, found.row.size + 1)
    about = {"units": "1", "long_name": "What begins"}
    coords["direction"] = (
        "switch",
        switching.direction_of(found.after, found.i_zero),
        about,
    )
    coords["delay"] = (
        "delay",
        times,
        {"units": "s", "long_name": "Time since the switch"},
    )
    variables: dict[str, Any] = {
        "resistance": (on, values, _OHM),
        "resistance_error": (
            on,
            errors,
            {"units": "ohm", "long_name": "Resistance, one sd"},
        ),
        "current_before": (
            "switch",
            found.before,
            {"units": "mA", "long_name": "Current before"},
        ),
        "current_after": (
            "switch",
            found.after,
            {"units": "mA", "long_name": "Current after"},
        ),
        "interval": (
            "switch",
            interval,
            {"units": "s", "long_name": "Time to the first row"},
        ),
    }
    return xr.Dataset(variables, coords).assign_attrs(i_zero=found.i_zero)
