"""Label scans with the state of the cell during each exposure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.errors import DataError
from batteryxr.core.kernels.times import NAT
from batteryxr.core.labels import OwnLabels
from batteryxr.core.provenance import recorded
from batteryxr.echem.counting import Counting, half_cycle_table, refuse_implausible
from batteryxr.echem.cycling.half_cycles import (
    STARTS_PART_WAY,
    Variables,
    variables,
)
from batteryxr.echem.lithium.content import content_after
from batteryxr.echem.operando.beside import beside
from batteryxr.echem.operando.clock import Clock
from batteryxr.echem.operando.scans import (
    check,
    exposures,
    of_cell,
    require_clock,
    unseen_pauses,
    warn_outside,
)
from batteryxr.echem.record import columns, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.core.bounds.kinds import Exposure, Mass
    from batteryxr.echem.counting import HalfCycleTable
    from batteryxr.echem.kernels.switching import Switches
    from batteryxr.echem.kernels.windows import WindowSums
    from batteryxr.echem.lithium.composition import Composition
    from batteryxr.echem.lithium.content import Lithiation
    from batteryxr.echem.record import Columns

Scans = TypeVar("Scans", xr.DataArray, xr.Dataset)

#: Bits of ``join_flag``: why a scan has no labels, or needs checking.
OUTSIDE, PARTLY_COVERED, REVERSAL, NO_TIME, OTHER_CELL = 1, 2, 4, 8, 16
_FLAGS = {
    "flag_masks": [OUTSIDE, PARTLY_COVERED, REVERSAL, NO_TIME, OTHER_CELL],
    "flag_meanings": "outside_record partly_covered crosses_reversal no_time "
    "other_cell",
}
#: Coverage above which the exposure counts as whole: the rest is rounding.
_WHOLE = 1 - 1e-9
_NS = 1_000_000_000
#: Fraction of an exposure that lies before its time.
_BEHIND = {"start": 0.0, "middle": 0.5, "end": 1.0}
#: Rows of a record that are integrated at once.
_BLOCK = 4_000_000

#: Units and long name of coordinates outside the data model.
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
#: Labels of an earlier join, with other arguments, that are removed.
_MADE = {*_LABELS, "li_content"}


@recorded
def join(
    record: xr.Dataset,
    scans: Annotated[Scans, OwnLabels()],
    *,
    clock: Clock | None = None,
    exposure: Exposure | None = None,
    time_reference: Literal["start", "middle", "end"] = "start",
    cell: str | None = None,
    first: Literal["charge", "discharge"] | None = None,
    mass: Mass | None = None,
    formula: str | Composition | Lithiation | None = None,
    counting: Counting | None = None,
) -> Scans:
    """Label each scan with the state of the cell during its exposure.

    *Lazy* in `scans`, whose data are not read. Reads `record` twice, and its current
    three times unless an `i_zero` is given; memory is a few of its chunks.

    Voltage and current are straight lines between rows; the current is a staircase
    where the cycler logs means (see `half_cycles`). They are integrated exactly over
    each exposure, but never across a change of file or a gap. Exposures may overlap
    and come in any order.

    Parameters
    ----------
    record
        Cycler data on ``record`` with ``time`` (UTC), ``test_time`` (s), ``voltage``,
        ``current`` (positive charges the cell), and ``file`` if there are several.
    scans
        Any data on ``scan`` with a coordinate ``time`` (UTC) and, unless given here,
        ``exposure`` (s). Or impedance on ``spectrum``: the cycler records nothing
        while a spectrum is taken, so each gets the labels of the last row before it.
        A spectrum keeps its own voltage and current, with their direction, if it has
        them.
    clock
        Conversion from the scans' clock to the cycler's. Default: both are right.
    exposure
        Length of the exposures in s, for scans without it. 0 is an instant.
    time_reference
        Moment of the exposure that ``time`` gives.
    cell
        Cell of this record, if `scans` has a coordinate ``cell`` with several cells.
        Scans of other cells get no labels.
    first
        Half cycle with which a cycle begins. Default: the first of the record that
        does not start part way.
    mass
        Mass of active material (mg), for the specific capacity.
    formula
        Active material as weighed, for the Li content. A `Lithiation` also sets where
        the content starts, what it counts on, and what a charge does.
    counting
        Rule for half cycles and rests. Default: as in `half_cycles`.

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
        ``voltage_error`` if the clock has an error. ``join_flag`` gives the reason
        for missing labels. The clock is stored in ``attrs["clock"]``.

    Raises
    ------
    DimensionError, VariableError, UnitsError
        If something is missing.
    ArgumentError
        If an option is out of range, or several cells are mixed.
    DataError
        If a time zone is undeclared, time runs backward, or names are taken.

    Warns
    -----
    DataQualityWarning
        Once, if scans lie outside the record; they get NaN. The message says so if a
        shift by whole or half hours would bring them in.

    See Also
    --------
    fit_clock : find the clock from a voltage that the beamline recorded.
    states : choose scans by voltage and direction.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record, scans = cell["echem"].to_dataset(), cell["scans"].to_dataset()
    >>> scans = record.echem.join(scans, formula="LiNiO2", mass=7.0)
    >>> scans["li_content"].dims
    ('scan',)
    """
    clock = clock or Clock()
    if "spectrum" in scans.dims and "scan" not in scans.dims:
        require_clock(record, caller="join")

        def at_rows(instants: xr.DataArray) -> xr.DataArray:
            return join(
                record,
                instants,
                exposure=0.0,
                cell=cell,
                first=first,
                mass=mass,
                formula=formula,
                counting=counting,
            )

        max_gap = (counting or Counting()).max_gap
        before = _BEHIND[time_reference]
        return _beside(record, scans, clock, max_gap, exposure, before, at_rows)
    check(scans, _MADE)
    mine = of_cell(scans, cell)
    lasting = exposures(scans, exposure)
    require_clock(record, caller="join")
    counting = counting or Counting()
    rows = columns(record, caller="join", number=counting.number)
    table = half_cycle_table(rows, counting)
    refuse_implausible(table, caller="join")

    times = nanoseconds(clock.to_cycler(scans["time"].values))
    known = mine & np.isfinite(lasting) & (times != NAT)
    length = np.rint(lasting[known] * _NS).astype(np.int64)
    before = _BEHIND[time_reference]
    starts = times[known] - np.rint(before * length).astype(np.int64)
    passed = _integrate(rows, table, starts, starts + length)
    labels = _labels(table, passed, starts, starts + length, first=first)
    values = {name: _spread(v, known) for name, v in labels.items()}
    values["join_flag"][mine & ~known] = NO_TIME
    values["join_flag"][~mine] = OTHER_CELL
    slope = values.pop("slope")
    if clock.offset_error is not None:
        values["voltage_error"] = np.abs(slope) * clock.error_at(scans["time"].values)
    outside = labels["join_flag"] & OUTSIDE > 0
    if outside.any():
        when = starts, starts + length
        warn_outside(scans, np.flatnonzero(known), outside, when, span=passed.span)

    coords = {name: ("scan", v, _attrs(name)) for name, v in values.items()}
    coords["join_flag"][2].update(unseen_pauses(record))
    if mass is not None:
        coords["specific_capacity"] = _specific(values["capacity"], mass)
    joined = scans.drop_vars(_MADE, errors="ignore").assign_coords(coords)
    if formula is not None:
        charge = xr.DataArray(joined["capacity_total"].variable, name="capacity_total")
        content = content_after(
            charge, formula, mass=mass, caller="join", voltage=joined["voltage"]
        )
        joined = joined.assign_coords(li_content=content.variable)
    joined.attrs = scans.attrs | clock.to_attrs()
    return bounds.told(joined)


def _beside(
    record: xr.Dataset,
    spectra: Scans,
    clock: Clock,
    max_gap: float,
    exposure: Any,
    before: float,
    at_rows: Callable[[xr.DataArray], xr.DataArray],
) -> Scans:
    """Join spectra, with their exposure if the user or the data give it."""
    told = "exposure" in spectra.coords and bool(spectra["exposure"].notnull().any())
    known = exposure is not None or told or before > 0
    nothing = np.full(spectra.sizes["spectrum"], np.nan)
    lasting = exposures(spectra, exposure) if known else nothing
    return bounds.told(
        beside(
            record,
            spectra,
            clock,
            max_gap,
            lasting=lasting,
            before=before,
            joined=at_rows,
        )
    )


class _Passed(NamedTuple):
    """Hold integrals over exposures, and the beginnings of half cycles."""

    sums: WindowSums
    at_middles: np.ndarray  # mA h since the record began
    at_begins: np.ndarray  # mA h
    begins: np.ndarray  # ns
    span: tuple[int, int]  # ns, of the record


def _integrate(
    rows: Columns, table: HalfCycleTable, starts: np.ndarray, ends: np.ndarray
) -> _Passed:
    """Integrate a streamed record over windows (ns), with charge at their middles."""
    from batteryxr.echem.kernels import parts
    from batteryxr.echem.kernels.record import Record
    from batteryxr.echem.kernels.windows import ANY_GAP, WindowWalk

    time = rows.arrays["time"]
    # The interval before the first row of a half cycle belongs to it.
    first = np.maximum(table.integers[:, parts.FIRST] - 1, 0)
    begins = nanoseconds(time.isel(record=first).values)
    span = nanoseconds(time.isel(record=[0, -1]).values)
    max_gap = min(table.rule.max_gap * _NS, float(ANY_GAP // 2))
    s, began = table.switches, _begun(table)
    begins = np.where(began >= 0, s.switched[began], begins) if s.row.size else begins
    instants = np.concatenate([starts + (ends - starts) // 2, begins])
    walk = WindowWalk(starts, ends, instants, table.rule._replace(max_gap=max_gap))
    names = ("time", "voltage", "current", "file")
    for block in rows.blocks((*names, "test_time") if rows.paused else names):
        for a in range(0, block.clock.size, _BLOCK):
            walk.add(Record(*(column[a : a + _BLOCK] for column in block)))
    steps, row = walk.backward
    if steps:
        raise DataError(
            "time",
            f"is missing or earlier than in the row before at {steps} rows, first at "
            f"row {row} of the record",
            "Files that overlap in time cannot be one record: join the scans to each.",
        )
    charge = walk.net_charge() + switched_charge(table.switches, instants)
    middles, at_begins = np.split(charge, [starts.size])
    return _Passed(
        walk.sums(), middles, at_begins, begins, (int(span[0]), int(span[1]))
    )


def _begun(table: HalfCycleTable) -> np.ndarray:
    """Return the switch where each half cycle begins, if the other one ends there."""
    from batteryxr.echem.kernels import parts

    s, first = table.switches, table.integers[:, parts.FIRST]
    place = np.minimum(np.searchsorted(s.row, first), max(s.row.size - 1, 0))
    if not s.row.size:
        return np.full(first.size, -1)
    return np.where((s.row[place] == first) & (s.before[place] != 0), place, -1)


def switched_charge(s: Switches, instants: np.ndarray) -> np.ndarray:
    """Return the charge (mA h) that flowed at switches up to each instant (ns)."""
    if not s.row.size:
        return np.zeros(instants.size)
    steps = np.column_stack([np.zeros(s.row.size), s.before, s.after])
    passed = np.cumsum(steps.ravel())
    times = np.column_stack([s.began, s.switched, s.ended]).ravel()
    # Differences of nanoseconds fit a float, unlike the times themselves.
    origin = times[0]
    return np.interp((instants - origin) * 1.0, (times - origin) * 1.0, passed)


def _labels(
    table: HalfCycleTable,
    passed: _Passed,
    starts: np.ndarray,
    ends: np.ndarray,
    *,
    first: str | None,
) -> dict[str, np.ndarray]:
    """Return all labels of each window, as plain arrays."""
    half = variables(table)
    direction = half["direction"][1]
    sums, i_zero = passed.sums, table.rule.i_zero
    seen = np.isfinite(sums.voltage)
    at_middle = np.where(seen, passed.at_middles, np.nan)
    placed = np.isfinite(at_middle)
    # The row before a half cycle's first belongs to the half cycle before.
    middles = starts + (ends - starts) // 2
    number = np.searchsorted(passed.begins, middles, side="left") - 1
    if (half["first_record"][1][:1] == 0).any():
        number = np.maximum(number, 0)
    running = placed & (number >= 0)
    k = number[running]
    capacity, branch = at_middle.copy(), np.where(placed, "rest", "").astype("U9")
    capacity[running] -= passed.at_begins[k]
    capacity[running] *= np.where(direction[k] == "charge", 1.0, -1.0)
    branch[running] = direction[k]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        coverage = np.where(ends > starts, sums.covered / ((ends - starts) / _NS), seen)
        slope = sums.voltage_rise / sums.covered
    reversal = (sums.current_min <= -i_zero) & (sums.current_max >= i_zero)
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
        "direction": _direction(sums.current, i_zero),
        "branch": branch,
        "crosses_reversal": reversal,
        "coverage": np.minimum(coverage, 1.0),
        "join_flag": flag.astype(np.int8),
        "slope": slope,
    }


def _cycles(half: Variables, first: str | None) -> np.ndarray:
    """Return the cycle of each half cycle, paired as in `cycles`; NaN outside."""
    direction = half["direction"][1]
    if first is None:
        begin = int((half["flag"][1][:1] & STARTS_PART_WAY > 0).any())
    else:
        begin = 0 if direction[:1] == first else 1
    number = np.arange(max(direction.size, 1))
    return np.where(number >= begin, (number - begin) // 2 + 1.0, np.nan)


def _direction(current: np.ndarray, i_zero: float) -> np.ndarray:
    names = np.where(np.abs(current) < i_zero, "rest", "charge")
    names = np.where(current <= -i_zero, "discharge", names)
    return np.where(np.isfinite(current), names, "").astype("U9")


def _spread(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Spread labels of known scans over all scans; others get NaN, "" or 0."""
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
    return "scan", capacity / (mass * 1e-3), _attrs("specific_capacity")
