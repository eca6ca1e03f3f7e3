"""Analyse intermittent current interruption: resistance and diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.errors import ArgumentError
from batteryxr.core.provenance import recorded
from batteryxr.echem.pulses import switches as switching

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import Interruption, Mass, RestCurrent
    from batteryxr.echem.lithium.composition import Composition
    from batteryxr.echem.lithium.content import Lithiation
    from batteryxr.echem.pulses.switches import Around, CurrentSwitches

#: Largest relative difference of the currents before and after an interruption.
_BACK = 0.1
#: Longest interruption, in s.
_LONGEST = 600.0
_LEAST = 4
_OF_EACH = (
    ("resistance", "ohm", "Internal resistance"),
    ("resistance_error", "ohm", "Internal resistance, one sd"),
    ("k", "ohm s^-0.5", "Diffusion resistance coefficient"),
    ("k_error", "ohm s^-0.5", "Diffusion resistance coefficient, one sd"),
    ("residual", "V", "What is left, rms"),
)


@recorded
def interruptions(
    record: xr.Dataset,
    *,
    window: Interruption = (1.0, 5.0),
    i_zero: RestCurrent | None = None,
    mass: Mass | None = None,
    formula: str | Composition | Lithiation | None = None,
) -> xr.Dataset:
    """Return resistance and diffusion from short interruptions of the current.

    Reads once, the current twice, then the rows around the interruptions.

    While the current is off for some seconds, the voltage moves with the square root
    of time (Chien et al., Nat. Commun. 14, 2289 (2023)). The slope over the current is
    ``k``, which is proportional to 1/√D. The line extrapolated to the switch gives the
    internal resistance.

    Parameters
    ----------
    record
        Cycler data on ``record``.
    window
        Time range of the fitted line, in s after the switch.
    i_zero, mass, formula
        As in `resistance`.

    Returns
    -------
    xarray.Dataset
        On ``interruption``: ``resistance`` (ohm), ``k`` (ohm s^-0.5), each with
        ``_error``, ``residual`` (V), ``current`` (mA, before), ``duration`` (s), and
        the coordinates of `resistance`. An error is one standard deviation, from the
        scatter about the line and the earlier slope of the voltage, which goes on.
        NaN if fewer than 4 rows lie in `window`.

    Raises
    ------
    ArgumentError
        If `window` begins below 0.
    DimensionError, VariableError, UnitsError, DataError
        If the record lacks something, or its times are unreliable.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> time = np.arange(0.0, 120.0, 0.5)
    >>> off = np.where(
    ...     (time > 60) & (time < 70), time - 60, np.nan
    ... )  # 10 s without current
    >>> voltage = np.where(np.isnan(off), 3.7, 3.68 - 0.002 * np.sqrt(off))
    >>> current = np.where(np.isnan(off), 2.0, 0.0)
    >>> record = xr.Dataset(
    ...     {
    ...         "voltage": ("record", voltage, {"units": "V"}),
    ...         "current": ("record", current, {"units": "mA"}),
    ...     },
    ...     {"test_time": ("record", time, {"units": "s"})},
    ... )
    >>> found = record.echem.interruptions(window=(1, 8))
    >>> float(found["resistance"].round(1)[0])
    10.0
    """
    if not 0 <= window[0] < window[1]:
        raise ArgumentError("window", window, "times >= 0 in s, the first one smaller")
    rows = switching.record_columns(record, caller="interruptions")
    found = switching.find(rows, i_zero)
    first = _interrupted(found)
    table = np.full((first.size, len(_OF_EACH)), np.nan)
    for k, switch in enumerate(first.tolist()):
        before, after = switching.piece(rows, found, switch, window[1])
        step = (found.after[switch] - found.before[switch]) * 1e-3
        table[k] = _line(before, after, window, step)
    lasting = found.time[first + 1] - found.time[first] if first.size else np.empty(0)
    variables: dict[str, Any] = {
        name: ("interruption", table[:, k], {"units": units, "long_name": words})
        for k, (name, units, words) in enumerate(_OF_EACH)
    }
    for name, values, units, words in (
        ("current", found.before[first], "mA", "Current before"),
        ("duration", lasting, "s", "Duration"),
    ):
        about = {"units": units, "long_name": words}
        variables[name] = ("interruption", values, about)
    coords = switching.coordinates(
        record, found.row[first], "interruption", mass=mass, formula=formula
    )
    coords["interruption"] = np.arange(1, first.size + 1)
    direction = switching.direction_of(found.before[first], found.i_zero)
    about = {"units": "1", "long_name": "What is interrupted"}
    coords["direction"] = ("interruption", direction, about)
    result = xr.Dataset(variables, coords).assign_attrs(i_zero=found.i_zero)
    return bounds.told(result)


def _interrupted(found: CurrentSwitches) -> np.ndarray:
    """Return the switches to rest after which the same current resumes."""
    size = np.abs(found.before[:-1])
    off = (np.abs(found.after[:-1]) <= found.i_zero) & (size > found.i_zero)
    back = np.abs(found.after[1:] - found.before[:-1]) <= _BACK * size
    return np.flatnonzero(off & back & (np.diff(found.time) <= _LONGEST))


def _line(
    before: Around, after: Around, window: tuple[float, float], step: float
) -> tuple[float, ...]:
    """Return resistance, k, their errors, and the residual."""
    inside = (after.t >= window[0]) & (after.t <= window[1])
    t, v = after.t[inside], after.v[inside]
    if t.size < _LEAST or not before.t.size:
        return (np.nan,) * len(_OF_EACH)
    root = np.sqrt(t)
    middle = root.mean()
    # Centred, so that intercept and slope have independent errors.
    a = np.column_stack([np.ones(t.size), root - middle])
    (level, slope), *_ = np.linalg.lstsq(a, v, rcond=None)
    left = v - a @ [level, slope]
    variance = float(left @ left) / (t.size - 2)
    slope_variance = variance / float(((root - middle) ** 2).sum())
    intercept = level - slope * middle
    sd = np.sqrt(variance / t.size + middle**2 * slope_variance)
    # The slope under current partly goes on in the relaxation, depending on the shape
    # of the particles. It is not part of a line along the square root of time.
    course = _course(before)
    bent = float(((root - middle) * t).sum() / ((root - middle) ** 2).sum())
    lifted = float(t.mean()) - bent * middle
    return (
        (intercept - float(before.v[-1])) / step,
        float(np.linalg.norm([sd, np.sqrt(variance), course * lifted])) / abs(step),
        slope / step,
        float(np.hypot(np.sqrt(slope_variance), course * bent)) / abs(step),
        float(np.sqrt(np.mean(left**2))),
    )


def _course(before: Around) -> float:
    """Return the slope of the voltage (V/s) before a switch; 0 if rows are too few."""
    if before.t.size < _LEAST or np.ptp(before.t) <= 0:
        return 0.0
    return float(np.polyfit(before.t, before.v, 1)[0])
