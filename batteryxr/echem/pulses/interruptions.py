"""Analyse intermittent current interruption: resistance and diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.errors import ArgumentError
from batteryxr.core.provenance import recorded
from batteryxr.echem.pulses import root_line
from batteryxr.echem.pulses import switches as switching
from batteryxr.echem.pulses.resistance import tell_undated
from batteryxr.echem.record import current_taken

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import Charge, Interruption, Mass, RestCurrent
    from batteryxr.echem.lithium.composition import Composition
    from batteryxr.echem.lithium.content import Lithiation
    from batteryxr.echem.pulses.switches import CurrentSwitches
    from batteryxr.echem.record import Columns

#: Largest relative difference of the currents before and after an interruption.
_BACK = 0.1
#: Longest interruption, in s.
_LONGEST = 600.0
#: Rows before an interruption that may be read for the course of the voltage.
_EARLIER = 400
#: In spheres more than 2/3 of the course goes on at first, in cylinders 3/4.
_GEOMETRIES = {
    "any": root_line.Particles(0.58, 0.36, 0.047, 0.06),
    "planar": root_line.Particles(1.0, 0.03, 0.0, 0.02),
    "sphere": root_line.Particles(2 / 3, 0.1, 0.094, 0.03),
}
_WHOLE = 4.0  # ends of the window, up to which a rest counts as whole
_FLAG = {
    "units": "1",
    "long_name": "What is odd about the interruption",
    "flag_masks": [root_line.RELAXING, root_line.UNDATED],
    "flag_meanings": "relaxing undated",
}
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
    geometry: Literal["any", "planar", "sphere"] = "any",
    i_zero: RestCurrent | None = None,
    mass: Mass | None = None,
    formula: str | Composition | Lithiation | None = None,
    nominal_capacity: Charge | None = None,
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
    geometry
        Shape of the particles. The course of the voltage under current goes on in the
        rest, whole for plates and by two thirds in spheres. "any" lets errors hold
        any share from none to all, as far as the rows do not tell it.
    i_zero, mass, formula, nominal_capacity
        As in `resistance`.

    Returns
    -------
    xarray.Dataset
        On ``interruption``: ``resistance`` (ohm), ``k`` (ohm s^-0.5), each with
        ``_error``, ``residual`` (V), ``current`` (mA, before), ``duration`` (s), and
        the coordinates of `resistance`. An error is one standard deviation, from the
        scatter about the line, the earlier course of the voltage, which goes on, and
        every charge transfer beside the line that the rows do not rule out.
        NaN if fewer than 4 rows lie in `window`. ``interruption_flag``: relaxing (a
        charge transfer is not over when `window` begins, or a slower relaxation bends
        the line of the whole rest; it is fitted too, and counts as resistance if its
        time is below the geometric middle of `window`), undated (a gap holds the
        switch; moments in it are averaged, and `window` begins behind it).

    Raises
    ------
    ArgumentError
        If `window` begins below 0.
    DimensionError, VariableError, UnitsError, DataError
        If the record lacks something, or its times are unreliable.

    Warns
    -----
    DataQualityWarning
        If switches lie in gaps of the record.

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
    lines = [
        _line(rows, found, k, window, _GEOMETRIES[geometry]) for k in first.tolist()
    ]
    table = np.reshape(lines, (first.size, len(_OF_EACH) + 1))
    tell_undated(table[:, -1] >= root_line.UNDATED, caller="interruptions")
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
    flag = np.nan_to_num(table[:, -1]).astype(np.int8)
    variables["interruption_flag"] = "interruption", flag, _FLAG
    coords = switching.coordinates(
        record,
        found,
        first,
        "interruption",
        mass=mass,
        formula=formula,
        nominal_capacity=nominal_capacity,
    )
    coords["interruption"] = np.arange(1, first.size + 1)
    direction = switching.direction_of(found.before[first], found.i_zero)
    about = {"units": "1", "long_name": "What is interrupted"}
    coords["direction"] = ("interruption", direction, about)
    result = xr.Dataset(variables, coords).assign_attrs(i_zero=found.i_zero)
    result.attrs["current_units"] = current_taken(rows, caller="interruptions")
    return bounds.told(result)


def _interrupted(found: CurrentSwitches) -> np.ndarray:
    """Return the switches to rest after which the same current resumes."""
    size = np.abs(found.before[:-1])
    off = (np.abs(found.after[:-1]) <= found.i_zero) & (size > found.i_zero)
    back = np.abs(found.after[1:] - found.before[:-1]) <= _BACK * size
    return np.flatnonzero(off & back & (np.diff(found.time) <= _LONGEST))


def _line(
    rows: Columns,
    found: CurrentSwitches,
    switch: int,
    window: tuple[float, float],
    geometry: root_line.Particles,
) -> tuple[float, ...]:
    """Return resistance, k, their errors, the residual, and the flag."""
    whole, none = _WHOLE * window[1], (np.nan,) * len(_OF_EACH)
    before, after = switching.piece(rows, found, switch, whole, earlier=_EARLIER)
    if after.t.size and after.t[0] > window[0]:  # a gap
        whole += float(after.t[0])
        before, after = switching.piece(rows, found, switch, whole, earlier=_EARLIER)
    step = (found.after[switch] - found.before[switch]) * 1e-3
    rest = np.abs(after.i) <= found.i_zero
    after = type(after)(*(column[rest] for column in after))
    line = root_line.fit(before, after, window, float(np.sign(step)), geometry)
    if line is None:
        return (*none, 0.0)
    return (
        line.drop / step,
        line.drop_sd / abs(step),
        line.slope / step,
        line.slope_sd / abs(step),
        line.noise,
        float(line.flag),
    )
