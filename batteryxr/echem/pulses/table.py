"""Tabulate the current pulses of a record, such as those of an HPPC test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.blocks import compute
from batteryxr.core.errors import warn_quality
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.echem.pulses import switches as switching
from batteryxr.echem.pulses.resistance import (
    FIRST,
    FLAG,
    check_delays,
    dated,
    further,
    tell_early,
    tell_undated,
)
from batteryxr.echem.record import current_taken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.bounds.kinds import Charge, Mass, PulseLength, RestCurrent
    from batteryxr.echem.lithium.composition import Composition
    from batteryxr.echem.lithium.content import Lithiation
    from batteryxr.echem.pulses.switches import CurrentSwitches
    from batteryxr.echem.record import Columns

#: Largest relative difference of the currents before and after a pulse.
_BACK = 0.1


@recorded
def pulses(
    record: xr.Dataset,
    *,
    at: Sequence[float] = (0.0, 1.0, 10.0),
    window: PulseLength = 120.0,
    i_zero: RestCurrent | None = None,
    mass: Mass | None = None,
    formula: str | Composition | Lithiation | None = None,
    nominal_capacity: Charge | None = None,
) -> xr.Dataset:
    """Return a table of the current pulses of a record, such as of an HPPC test.

    Reads once, the current twice, then the rows around the pulses.

    A pulse is a current that lasts no longer than `window` and then returns to the
    value before it: to rest, or to a base current.

    Parameters
    ----------
    record
        Cycler data on ``record``.
    at
        Times after the beginning of a pulse in s; see `resistance`.
    window
        Longest pulse in s.
    i_zero, mass, formula, nominal_capacity
        As in `resistance`.

    Returns
    -------
    xarray.Dataset
        On ``pulse``: ``resistance`` (ohm, also on ``delay``) with
        ``resistance_error``, ``resistance_end`` (at the end of the pulse),
        ``resistance_back`` (at the switch back, at 0), ``current`` (mA, without the
        base current), ``duration`` (s), ``charge`` (mA h, with the base current),
        ``voltage_end`` and ``switch_flag`` as in `resistance`. Coordinates, as far as
        known: ``direction``, ``test_time``, ``time``, ``voltage`` (before),
        ``capacity_total``, ``temperature``, ``li_content``, ``soc``.

    Raises
    ------
    ArgumentError
        If an option is out of range.
    DimensionError, VariableError, UnitsError, DataError
        If the record lacks something, or its times are unreliable.

    Warns
    -----
    DataQualityWarning
        If the record may end within a pulse, which is then not listed.

    Examples
    --------
    >>> from batteryxr.simulate import Titration
    >>> record, truth = batteryxr.simulate.gitt(protocol=Titration(n_pulses=5))
    >>> table = record.echem.pulses(at=(0, 60), window=4000.0)
    >>> table["resistance"].dims
    ('pulse', 'delay')
    """
    times = check_delays(at)
    rows = switching.record_columns(record, caller="pulses")
    found = switching.find(rows, i_zero)
    first = pairs(found, window)
    _tell_cut(rows, found, first, window)
    if not first.size:
        shortest = float(np.min(np.diff(found.time), initial=np.inf))
        tell_early(window, shortest, argument="window", what="every current")
    names = ("resistance_end", "resistance_back", "voltage_end")
    values = np.full((first.size, times.size), np.nan)
    flag = np.zeros(first.size, np.int8)
    soonest = np.inf
    early = np.zeros(values.shape, bool)
    errors, more = values.copy(), {n: np.full(first.size, np.nan) for n in names}
    for k, switch in enumerate(first.tolist()):
        step = (found.after[switch] - found.before[switch]) * 1e-3
        before, after = switching.piece(rows, found, switch, window)
        soonest = min(soonest, after.t[0] if after.t.size else np.inf)
        last, back = switching.piece(rows, found, switch + 1, 10.0)
        lasting = found.time[switch + 1] - found.time[switch]
        wanted = np.append(
            times, min(lasting, after.t[-1] if after.t.size else lasting)
        )
        r, sd, flag[k] = dated(before, after, wanted, step)
        values[k], errors[k] = np.where(times <= lasting, r[:-1], np.nan), sd[:-1]
        early[k] = times < (after.t[0] if after.t.size else np.nan)
        more["resistance_end"][k] = r[-1]
        step = (found.after[switch + 1] - found.before[switch + 1]) * 1e-3
        more["resistance_back"][k] = dated(last, back, np.zeros(1), step)[0][0]
        more["voltage_end"][k] = last.v[-1] if last.v.size else np.nan
    tell_early(float(times.max()), soonest, argument="at", what=FIRST)
    tell_undated(flag, caller="pulses")
    flag |= further(values, errors, early, found.skipped[first])
    table = _labelled(record, found, first, (values, errors, more), times)
    table["switch_flag"] = "pulse", flag, FLAG
    coords = switching.coordinates(
        record,
        found,
        first,
        "pulse",
        mass=mass,
        formula=formula,
        nominal_capacity=nominal_capacity,
    )
    taken = current_taken(rows, caller="pulses")
    about = {"i_zero": found.i_zero, "current_units": taken}
    return bounds.told(table.assign_coords(coords).assign_attrs(about))


def _tell_cut(
    rows: Columns, found: CurrentSwitches, first: np.ndarray, window: float
) -> None:
    """Warn of a pulse that the end of the record cuts off."""
    if not found.row.size or (first.size and first[-1] + 2 == found.row.size):
        return
    (end,) = compute(rows.arrays["test_time"][-1])
    lasting = float(end) - float(found.time[-1])
    if abs(found.after[-1]) > found.i_zero and lasting <= window:
        warn_quality(
            f"pulses: the record ends {lasting:.3g} s after its last switch: whether a "
            "pulse began there is not known, and none is listed"
        )


def pairs(found: CurrentSwitches, window: float) -> np.ndarray:
    """Return the switches at which a pulse begins; it ends at the next switch."""
    lasting = np.diff(found.time)
    size = np.abs(found.after - found.before)
    back = np.abs(found.after[1:] - found.before[:-1])
    pulse = (lasting <= window) & (back <= _BACK * size[:-1])
    first = np.flatnonzero(pulse)
    # The pause between two pulses looks like a pulse, but is none.
    rests = np.abs(found.after[first]) <= found.i_zero
    kept, last = [], -2
    for k, rest in zip(first.tolist(), rests.tolist(), strict=True):
        if not rest and k > last + 1:
            kept.append(k)
            last = k
    return np.array(kept, np.int64)


def _labelled(
    record: xr.Dataset,
    found: CurrentSwitches,
    first: np.ndarray,
    numbers: tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]],
    times: np.ndarray,
) -> xr.Dataset:
    values, errors, more = numbers
    lasting = found.time[first + 1] - found.time[first] if first.size else np.empty(0)
    current = found.after[first] - found.before[first]
    on = ("pulse", "delay")
    ohm = {"units": "ohm", "long_name": "Resistance"}
    variables: dict[str, Any] = {
        "resistance": (on, values, ohm),
        "resistance_error": (on, errors, {**ohm, "long_name": "Resistance, one sd"}),
        "current": ("pulse", current, attributes("current")),
        "duration": ("pulse", lasting, {"units": "s", "long_name": "Duration"}),
        "charge": (
            "pulse",
            found.after[first] * lasting / 3600.0,
            {"units": "mA h", "long_name": "Charge of the pulse"},
        ),
    }
    words = {
        "resistance_end": ("ohm", "Resistance at the end"),
        "resistance_back": ("ohm", "Resistance of the switch back"),
        "voltage_end": ("V", "Voltage at the end"),
    }
    for name, (units, long_name) in words.items():
        about = {"units": units, "long_name": long_name}
        variables[name] = ("pulse", more[name], about)
    delay = {"units": "s", "long_name": "Time since the pulse began"}
    direction = np.where(current > 0, "charge", "discharge").astype("U9")
    coords: dict[str, Any] = {
        "pulse": ("pulse", np.arange(1, first.size + 1), attributes("pulse")),
        "delay": ("delay", times, delay),
        "direction": ("pulse", direction, {"units": "1", "long_name": "Direction"}),
    }
    return xr.Dataset(variables, coords)
