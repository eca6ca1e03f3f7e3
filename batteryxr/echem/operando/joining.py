"""The operando axis: what the cell did during each scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import xarray as xr

from batteryxr.core.blocks import stream
from batteryxr.core.errors import ArgumentError
from batteryxr.core.provenance import recorded
from batteryxr.echem.cycling.half_cycles import STARTS_PART_WAY
from batteryxr.echem.cycling.half_cycles import dataset as half_cycle_dataset
from batteryxr.echem.lithium.content import li_content
from batteryxr.echem.operando import scans as _scans
from batteryxr.echem.operando.clock import Clock
from batteryxr.echem.record import is_mean, refuse_implausible, walk_record

if TYPE_CHECKING:
    from batteryxr.echem.kernels.windows import WindowSums
    from batteryxr.echem.lithium.composition import Composition
    from batteryxr.echem.record import Arrays, Walked

Scans = TypeVar("Scans", xr.DataArray, xr.Dataset)

#: Bits of ``join_flag``: why a scan has no labels, or must be looked at.
OUTSIDE, PARTLY_COVERED, REVERSAL, NO_TIME, OTHER_CELL = 1, 2, 4, 8, 16
_FLAGS = {
    "flag_masks": [OUTSIDE, PARTLY_COVERED, REVERSAL, NO_TIME, OTHER_CELL],
    "flag_meanings": "outside_record partly_covered crosses_reversal no_time "
    "other_cell",
}
#: Coverage that differs from 1 by less is rounding.
_WHOLE = 1 - 1e-9
_NS = 1_000_000_000
_NAT = np.iinfo(np.int64).min

#: Units and long name of the coordinates that the data model does not name.
_LABELS: dict[str, tuple[str, str]] = {
    "voltage": ("V", "Voltage, mean over the exposure"),
    "voltage_min": ("V", "Lowest voltage in the exposure"),
    "voltage_max": ("V", "Highest voltage in the exposure"),
    "voltage_sd": ("V", "Voltage spread (standard deviation)"),
    "voltage_error": ("V", "Voltage error by the clock"),
    "current": ("mA", "Current, mean over the exposure, + charges"),
    "current_min": ("mA", "Lowest current in the exposure"),
    "current_max": ("mA", "Highest current in the exposure"),
    "current_sd": ("mA", "Current spread (standard deviation)"),
    "charge": ("mA h", "Charge passed during the exposure, + charges"),
    "capacity": ("mA h", "Capacity, since the half cycle began"),
    "capacity_total": ("mA h", "Net charge, since the record began"),
    "specific_capacity": ("mA h g-1", "Specific capacity, since the half cycle began"),
    "cycle": ("1", "Cycle number"),
    "half_cycle": ("1", "Half-cycle number"),
    "direction": ("1", "Sign of the mean current"),
    "branch": ("1", "Direction of the half cycle, its rests included"),
    "crosses_reversal": ("1", "Whether the current reverses in the exposure"),
    "coverage": ("1", "Share of the exposure that the record covers"),
    "join_flag": ("1", "What is odd about the join"),
}
_MADE = {*_LABELS, "li_content"}


@recorded
def join(
    record: xr.Dataset,
    scans: Scans,
    *,
    clock: Clock | None = None,
    exposure: float | None = None,
    time_reference: Literal["start", "middle", "end"] = "start",
    cell: str | None = None,
    first: Literal["charge", "discharge"] | None = None,
    mass: float | None = None,
    formula: str | Composition | None = None,
    x0: float | None = None,
    per: str = "formula",
    on_charge: Literal["delithiation", "lithiation"] = "delithiation",
    ion: str = "Li",
    i_zero: float | None = None,
    max_gap: float = 3600.0,
) -> Scans:
    """Label each scan with what the cell did during its exposure.

    Lazy in `scans`, whose data are not touched. Reads `record` twice, and its current
    three times where `i_zero` is None; memory is a few of its chunks.

    Voltage and current are taken as straight lines between rows (the current as a
    staircase where the cycler logs means, see `half_cycles`), and integrated exactly
    over each exposure; never across a change of file or a gap. Exposures may overlap
    and come in any order.

    Parameters
    ----------
    record
        Cycler data on ``record`` with ``time`` (UTC), ``test_time`` (s), ``voltage``,
        ``current`` (positive charges the cell), and ``file`` where there are several.
    scans
        Anything on ``scan`` with a coordinate ``time`` (UTC) and, unless given here,
        ``exposure`` (s).
    clock
        From the scans' clock to the cycler's. Default: both clocks are right.
    exposure
        Length of the exposures in s, for scans that do not know theirs. 0 is an
        instant.
    time_reference
        Which moment of the exposure ``time`` is.
    cell
        The cell of this record, where `scans` has a coordinate ``cell`` with several:
        the scans of others are left without labels.
    first
        The half cycle with which a cycle begins. Default: the first of the record
        that does not start part way.
    mass
        Mass of active material (mg), for the specific capacity.
    formula, x0, per, on_charge, ion
        Composition, for the Li content; see `li_content`.
    i_zero, max_gap
        See `half_cycles`.

    Returns
    -------
    same type as `scans`
        With new coordinates on ``scan``. Over the exposure: ``voltage`` and
        ``current`` (time-weighted means) with ``_min``, ``_max`` and ``_sd``,
        ``charge``, ``direction`` ("charge", "discharge", "rest", by the mean
        current), ``crosses_reversal``, ``coverage``. At its middle: ``half_cycle``,
        ``cycle``, ``branch`` (direction of the half cycle: a rest after a charge is
        on the charge branch), ``capacity`` since the half cycle began (positive in
        both directions), ``capacity_total`` (net charge since the record began),
        ``specific_capacity`` with `mass`, ``li_content`` with `formula`.
        ``voltage_error`` where the clock has an error. ``join_flag`` says what is
        missing and why. The clock is kept in ``attrs["clock"]``.

    Raises
    ------
    DimensionError, VariableError, UnitsError
        If something is missing.
    ArgumentError
        If a time zone is undeclared, time runs backward, several cells are mixed, or
        an option is out of range.

    Warns
    -----
    DataQualityWarning
        Once, if scans lie outside the record: they get NaN, never a guess. It says so
        if a shift by whole or half hours would bring them in.

    See Also
    --------
    fit_clock : find the clock from a voltage that the beamline recorded.
    states : choose scans by voltage and direction.
    """
    clock = clock or Clock()
    _scans.check(scans, _MADE, time_reference)
    mine = _scans.of_cell(scans, cell)
    lasting = _scans.exposures(scans, exposure)
    _scans.require_clock(record, caller="join")
    source, walked = walk_record(record, i_zero=i_zero, max_gap=max_gap, caller="join")
    refuse_implausible(record, walked, caller="join")

    times = clock.to_cycler(scans["time"].values).view(np.int64)
    known = mine & np.isfinite(lasting) & (times != _NAT)
    length = np.rint(lasting[known] * _NS).astype(np.int64)
    before = {"start": 0.0, "middle": 0.5, "end": 1.0}[time_reference]
    starts = times[known] - np.rint(before * length).astype(np.int64)
    labels = _labels(source, walked, starts, starts + length, first)
    values = {name: _spread(v, known) for name, v in labels.items()}
    values["join_flag"][mine & ~known] = NO_TIME
    values["join_flag"][~mine] = OTHER_CELL
    slope = values.pop("slope")
    if clock.offset_error is not None:
        error = clock.error_at(scans["time"].values)
        values["voltage_error"] = np.abs(slope) * error
    if (values["join_flag"] & OUTSIDE).any():
        outside = labels["join_flag"] & OUTSIDE > 0
        names = _scans.names(scans, np.flatnonzero(known)[outside])
        windows = (starts, starts + length)
        _scans.warn_outside(names, outside, *windows, _span(source))

    coords = {name: ("scan", v, _attrs(name)) for name, v in values.items()}
    if mass is not None:
        coords["specific_capacity"] = _specific(values["capacity"], mass)
    # Labels of an earlier join with other arguments must not survive.
    joined = scans.drop_vars(_MADE, errors="ignore").assign_coords(coords)
    if formula is not None:
        content = li_content(
            xr.DataArray(joined["capacity_total"].variable),
            formula=formula,
            mass=mass,
            x0=x0,
            per=per,
            on_charge=on_charge,
            ion=ion,
        )
        for attr in ("batteryxr_call", "batteryxr_version", "history"):
            content.attrs.pop(attr, None)
        joined = joined.assign_coords(li_content=content.variable)
    joined.attrs = scans.attrs | clock.to_attrs()
    return joined


def _labels(
    source: Arrays,
    walked: Walked,
    starts: np.ndarray,
    ends: np.ndarray,
    first: str | None,
) -> dict[str, np.ndarray]:
    """Return every label of each window, as plain arrays."""
    half = half_cycle_dataset(walked)
    direction = half["direction"].values
    begins = _begins(source, half["first_record"].values)
    middles = starts + (ends - starts) // 2
    instants = np.concatenate([middles, begins])
    sums, charge = _walk(source, walked, starts, ends, instants)
    at_middle, at_begin = np.split(charge, [middles.size])

    seen = np.isfinite(sums.voltage)
    at_middle = np.where(seen, at_middle, np.nan)
    placed = np.isfinite(at_middle)
    # The row before a half cycle's first still is of the one before.
    number = np.searchsorted(begins, middles, side="left") - 1
    if (half["first_record"].values[:1] == 0).any():
        number = np.maximum(number, 0)
    running = placed & (number >= 0)
    k = number[running]
    capacity, branch = at_middle.copy(), np.where(placed, "rest", "").astype("U9")
    capacity[running] -= at_begin[k]
    capacity[running] *= np.where(direction[k] == "charge", 1.0, -1.0)
    branch[running] = direction[k]
    with np.errstate(invalid="ignore", divide="ignore"):
        coverage = np.where(ends > starts, sums.covered / ((ends - starts) / _NS), seen)
        slope = sums.voltage_rise / sums.covered
    reversal = (sums.current_min <= -walked.i_zero) & (
        sums.current_max >= walked.i_zero
    )
    flag = np.where(seen, 0, OUTSIDE)
    flag |= np.where(seen & (coverage < _WHOLE), PARTLY_COVERED, 0)
    flag |= np.where(reversal, REVERSAL, 0)
    integrals = sums._asdict()
    del integrals["covered"], integrals["voltage_rise"]
    return integrals | {
        "capacity": capacity,
        "capacity_total": at_middle,
        "half_cycle": np.where(running, number + 1.0, np.nan),
        "cycle": np.where(running, _cycles(half, first)[number], np.nan),
        "direction": _direction(sums.current, walked.i_zero),
        "branch": branch,
        "crosses_reversal": reversal,
        "coverage": np.minimum(coverage, 1.0),
        "join_flag": flag.astype(np.int8),
        "slope": slope,
    }


def _walk(
    source: Arrays,
    walked: Walked,
    starts: np.ndarray,
    ends: np.ndarray,
    instants: np.ndarray,
) -> tuple[WindowSums, np.ndarray]:
    from batteryxr.echem.kernels.windows import ANY_GAP, WindowWalk

    max_gap = min(walked.max_gap * _NS, float(ANY_GAP // 2))
    walk = WindowWalk(
        starts,
        ends,
        instants,
        i_zero=walked.i_zero,
        max_gap=int(max_gap),
        mean=is_mean(source.current),
    )
    wanted = (source.time, source.voltage, source.current, source.file)
    arrays = [a for a in wanted if a is not None]
    for time, voltage, current, *file in stream(*arrays, dim="record"):
        walk.add(
            np.ascontiguousarray(time.astype("M8[ns]", copy=False)).view(np.int64),
            np.ascontiguousarray(voltage, dtype=np.float64),
            np.ascontiguousarray(current, dtype=np.float64),
            np.ascontiguousarray(file[0] if file else np.zeros(time.size), np.int16),
        )
    steps, row = walk.backward
    if steps:
        raise ArgumentError(
            "record",
            f"time at row {row}",
            "times that are there and never step back",
            f"{steps} rows are earlier than the row before, or missing. Files that "
            "overlap in time cannot be one record: join the scans to each.",
        )
    return walk.sums(), walk.net_charge()


def _begins(source: Arrays, first_record: np.ndarray) -> np.ndarray:
    """Return when half cycles begin: the interval before the first row is theirs."""
    assert source.time is not None
    times = source.time.isel(record=np.maximum(first_record - 1, 0)).values
    return times.astype("M8[ns]").view(np.int64)


def _span(source: Arrays) -> tuple[int, int]:
    assert source.time is not None
    first, last = source.time.isel(record=[0, -1]).values.astype("M8[ns]")
    return int(first.view(np.int64)), int(last.view(np.int64))


def _cycles(half: xr.Dataset, first: str | None) -> np.ndarray:
    """Return the cycle of each half cycle, as `cycles` pairs them; NaN in none."""
    direction = half["direction"].values
    if first not in ("charge", "discharge", None):
        raise ArgumentError("first", first, "'charge', 'discharge' or None")
    if first is None:
        begin = int((half["flag"].values[:1] & STARTS_PART_WAY > 0).any())
    else:
        begin = 0 if direction[:1] == first else 1
    number = np.arange(max(direction.size, 1))
    return np.where(number >= begin, (number - begin) // 2 + 1.0, np.nan)


def _direction(current: np.ndarray, i_zero: float) -> np.ndarray:
    names = np.where(np.abs(current) < i_zero, "rest", "charge")
    names = np.where(current <= -i_zero, "discharge", names)
    return np.where(np.isfinite(current), names, "").astype("U9")


def _spread(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Put the labels of known scans among all: NaN, "" or 0 for the others."""
    fill: Any = {"U": "", "b": False, "i": 0}.get(values.dtype.kind, np.nan)
    spread = np.full(known.shape, fill, dtype=values.dtype)
    spread[known] = values
    return spread


def _attrs(name: str) -> dict[str, Any]:
    units, long_name = _LABELS[name]
    return {"units": units, "long_name": long_name} | (
        _FLAGS if name == "join_flag" else {}
    )


def _specific(capacity: np.ndarray, mass: float) -> tuple[str, np.ndarray, Any]:
    if not mass > 0:
        raise ArgumentError("mass", mass, "the mass of active material in mg")
    return "scan", capacity / (mass * 1e-3), _attrs("specific_capacity")
