"""Find half cycles, and integrate over each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import warn_quality
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.echem.counting import Counting, half_cycle_table
from batteryxr.echem.record import columns

if TYPE_CHECKING:
    from batteryxr.echem.counting import HalfCycleTable

#: Name -> dimension, values, attributes.
Variables = dict[str, tuple[str, np.ndarray, dict[str, Any]]]
#: Bits of ``flag``: why a half cycle is odd.
STARTS_PART_WAY, ENDS_PART_WAY, BACKWARD_TIME, GAP, MISSING_ROWS = 1, 2, 4, 8, 16
IMPLAUSIBLE, MERGED_PULSES, UNKNOWN_SWITCH, COUNTER_DIFFERS = 32, 64, 128, 256
CLOCK_LACKS_TIME, SHORT, COARSE_ROWS = 512, 1024, 2048
_FLAGS = {
    "flag_masks": [1 << k for k in range(12)],
    "flag_meanings": "starts_part_way ends_part_way backward_time gap missing_rows "
    "implausible_record merged_pulses unknown_switch counter_differs "
    "clock_lacks_time short coarse_rows",
}
#: Largest relative deviation of the counter, and largest missing fraction of charge.
_DIFFERS = 2e-3
#: Fraction of a half cycle's charge that may be missing before it is warned of.
_MUCH = 0.01
_APART, _HOUR = 0.1, 3600.0  # of its time that is not integrated; s
#: A second half cycle of less than this, relative to the first, has just begun.
_BEGUN = 0.2
#: Half cycles of a drive profile: least number in a row, largest fraction of the
#: largest charge, and largest fraction of the record's voltage range.
_MANY, _LITTLE, _NARROW = 4, 0.1, 0.5
_INCOMPLETE = STARTS_PART_WAY | ENDS_PART_WAY | BACKWARD_TIME | IMPLAUSIBLE

#: Attributes of the coordinate ``direction``.
DIRECTION = {"units": "1", "long_name": "Direction"}
#: Units and long name of the values of a half cycle, in the order of the result.
_HALF_CYCLE: dict[str, tuple[str, str]] = {
    "capacity": ("mA h", "Capacity"),
    "energy": ("mW h", "Energy"),
    "mean_voltage": ("V", "Mean voltage (energy / charge)"),
    "mean_current": ("mA", "Mean current under load, + charges"),
    "voltage_start": ("V", "Voltage at the first row under current"),
    "voltage_end": ("V", "Voltage at the last row under current"),
    "voltage_min": ("V", "Lowest voltage under current"),
    "voltage_max": ("V", "Highest voltage under current"),
    "test_time_start": ("s", "Test time at the first row under current"),
    "test_time_end": ("s", "Test time at the last row under current"),
    "duration": ("s", "Time under current"),
    "rest_time": ("s", "Time at rest afterwards and in between"),
    "gap_time": ("s", "Time that no row covers; a sound counter tells its charge"),
    "counter_capacity": ("mA h", "Capacity by the cycler's own counter"),
    "q_consistency": ("1", "Capacity relative to the cycler's counter, minus 1"),
    "pulse_charge": ("mA h", "Charge of the pulses against the direction"),
    "missing_charge": ("mA h", "Charge at switches that may be missing"),
    "line_uncertainty": ("mA h", "Charge by which lines between rows may be off"),
}


@recorded
def half_cycles(
    record: xr.Dataset,
    *,
    counting: Counting | None = None,
) -> xr.Dataset:
    """Find charges and discharges, and integrate each.

    Reads once, and the current twice unless an `i_zero` is given; memory is a few
    chunks. The result is small and in memory, and equal bit by bit for every chunking.

    A half cycle ends where the current reverses, unless the reversal is a pulse: the
    charge of pulses counts net, and each is listed. Rests belong to the half cycle
    before them, and a half cycle may run on over several files. Charge and energy are
    trapezoid integrals, never across a change of file or a gap: what flowed there, and
    before the first row of a piece, is counted where counter or step time tell it.
    A line between two rows is inaccurate where the current was switched, changed by
    more than a tenth, or (in records of up to two million rows) differs from the
    counter. There the cycler's counter gives the charge, else its ``step_time``.
    Without both, nothing is counted at a switch; the charge that may be missing is
    given, and flagged from 2e-3 of the capacity on. So is the charge by which lines
    may be off where no counter tells more, as in the first minutes at a constant
    voltage. If the counter adds far more than
    the current could pass between two rows, the clock is wrong: rows are missing,
    which is flagged too.
    A half cycle of less than 1e-4 of the largest charge is noise and left out. Short
    half cycles of a drive profile are flagged: four or more in a row that pass less
    than a tenth of the largest charge, within half of the range of voltage.

    Parameters
    ----------
    record
        Cycler data on ``record``: ``voltage``, ``current`` (positive charges the
        cell), ``test_time``; if present also ``file``, ``time`` and the cycler's
        ``capacity`` and ``step_time``.
    counting
        Where a half cycle ends, below which current the cell rests, and over which
        intervals it is integrated. Default: ``Counting()``. A longer interval under
        current is a gap: reported, and counted only by a sound counter.

    Returns
    -------
    xarray.Dataset
        On ``half_cycle``, with ``direction`` ("charge", "discharge") as a coordinate.
        ``capacity`` and ``energy`` are positive in both directions. ``first_record``
        and ``last_record`` count rows from 0, rests included. ``flag`` gives the
        problems. ``complete`` tells whether the half cycle is whole: the first or last
        one is not if the next of its direction passes more than twice the charge, if
        it stops short of the voltage where the others stop, or if the record ends
        just after its beginning. ``pulses`` and
        ``pulse_charge`` count the reversals within; the variables on ``pulse`` locate
        each. ``counter_capacity`` is the cycler's count from one end to the other,
        gaps included; a capacity that differs by more than 2e-3 is flagged.

    Raises
    ------
    DimensionError, VariableError, UnitsError
        If the record lacks something.
    ArgumentError
        If an option is out of range.

    Warns
    -----
    DataQualityWarning
        If time runs backward: the capacity of that half cycle is NaN. If the reader
        flagged the record as implausible: the capacity of all is NaN. If half cycles
        are flagged as short. If more than a hundredth of a half cycle's charge may be
        missing. If there is none, since rows under current are further apart than
        `max_gap`. If pulses may be small cycles, by the range of their
        voltage or the cycler's own number of cycles.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> halves = record.echem.half_cycles()
    >>> halves["direction"].values.tolist()
    ['charge', 'discharge', 'charge', 'discharge']
    """
    counting = counting or Counting()
    rows = columns(record, caller="half_cycles", number=counting.number)
    table = half_cycle_table(rows, counting)
    if table.backward:
        warn_quality(
            f"time runs backward at {table.backward} rows: half cycles with such rows "
            "have no capacity"
        )
    if untrusted := _untrusted(table):
        warn_quality(
            f"the record is flagged {', '.join(untrusted)}: its capacities would be "
            "wrong, so none is given; attrs['flag_notes'] tells what mends it"
        )
    found = variables(table)
    tell_short(found["flag"][1])
    tell_missing(found, counting.max_gap)
    tell_merged(table, record.get("cycle"))
    number = np.arange(1, len(table.integers) + 1)
    about = {
        **table.to_attrs(),
        "backward_steps": table.backward,
        "missing_rows": table.missing,
    }
    coords = {
        "half_cycle": ("half_cycle", number, attributes("half_cycle")),
        "direction": found.pop("direction"),
    }
    return xr.Dataset(found | _listed(table), coords, about)


def tell_short(flag: np.ndarray) -> None:
    """Warn of half cycles that look like a drive profile."""
    if short := int(((flag & SHORT) != 0).sum()):
        warn_quality(
            f"{short} of {flag.size} half cycles are short ones in a row, as a drive "
            "profile makes them: pass counting=Counting(by='step') or "
            "Counting(by='cycle') to follow the cycler, or a larger min_charge"
        )


def tell_missing(halves: Variables, most: float) -> None:
    """Warn of half cycles of which much charge is unknown, or much time not counted."""
    gaps, within = halves["gap_time"][1], halves["duration"][1]
    if (apart := np.flatnonzero(gaps > _APART * (gaps + within))).size:
        share = (gaps[apart] / (gaps + within)[apart]).max()
        slip = f" Was it min? Pass {60 * most:g}." if most < _HOUR else ""
        warn_quality(
            f"up to {share:.0%} of a half cycle's time ({apart.size} of {gaps.size} "
            f"lack more than {_APART:.0%}) lies between rows further apart than "
            f"max_gap={most:g} s: its charge is counted where the cycler's counter "
            f"goes on, else not at all. If the cell went on, pass a larger "
            f"counting=Counting(max_gap=...).{slip}"
        )
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        share = halves["missing_charge"][1] / halves["capacity"][1]
        off = halves["line_uncertainty"][1] / halves["capacity"][1]
    if (coarse := np.flatnonzero(off > _MUCH)).size:
        warn_quality(
            f"the charge of {coarse.size} of {off.size} half cycles is known to "
            f"{off[coarse].max():.2g} only: the current changes by more than a tenth "
            "from one row to the next, and no counter tells what flowed between. See "
            "`line_uncertainty`. Export the cycler's counter, or rows closer together"
        )
    if (much := np.flatnonzero(share > _MUCH)).size:
        warn_quality(
            f"up to {share[much].max():.2g} of a half cycle's charge may be missing "
            f"({much.size} of {share.size} lack more than {_MUCH:g}): between two rows "
            "the current was switched at an unknown time, and nothing is counted "
            "there. See `missing_charge`. A counter of charge or the time in the step "
            "would tell: export one of them, or rows closer to the switches"
        )


def tell_merged(table: HalfCycleTable, cycle: xr.DataArray | None) -> None:
    """Warn of pulses that may be small cycles: they were merged all the same.

    Parameters
    ----------
    table
        Half cycles, with their pulses.
    cycle
        The cycler's own number of cycle of each row, if there is one.
    """
    from batteryxr.echem.kernels import parts

    pulses, floats = table.pulses, table.floats
    if not len(pulses) or table.counting.by != "current":
        return
    window = floats[:, parts.V_MAX].max() - floats[:, parts.V_MIN].min()
    wide = pulses[:, parts.PULSE_SWING] > _NARROW * window
    of, first = (
        pulses[:, k].astype(np.int64) for k in (parts.PULSE_OF, parts.PULSE_FIRST)
    )
    if cycle is not None:
        # The number that is new behind a pulse: the cycler takes it for half a cycle.
        ends = table.integers[of, parts.LAST_ACTIVE]
        behind = np.minimum(np.append(first[1:] - 1, ends[-1]), ends)
        rows = np.concatenate([np.maximum(first - 1, 0), behind])
        before, after = np.split(np.asarray(cycle.isel(record=rows).values), 2)
        wide |= before != after
    if not wide.any():
        return
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        share = np.abs(pulses[:, parts.PULSE_CHARGE] / floats[of, parts.CHARGE])[wide]
    warn_quality(
        f"{share.size} reversals may be small cycles, by their voltage or the cycler's "
        f"own numbers, and pass {share.min():.2g} or more of the half cycle around "
        f"them: min_charge={table.counting.min_charge:g} merged them as pulses, which "
        "are listed on `pulse`. If they are cycles, pass "
        f"counting=Counting(min_charge={0.5 * share.min():.1g}), or by='cycle'"
    )


def _untrusted(table: HalfCycleTable) -> list[str]:
    # Backward time is reported for each half cycle.
    return sorted(table.flags - {"backward_time"})


def variables(table: HalfCycleTable) -> Variables:
    """Return the variables on ``half_cycle`` of `half_cycles`, and ``direction``.

    They are no Dataset: to make one costs more than the kernel.
    """
    from batteryxr.echem.kernels import parts

    n = table.integers
    values = _values(table)
    flag = _half_cycle_flags(table, values)
    counts = {
        "first_record": (n[:, parts.FIRST], "First row, from 0"),
        "last_record": (n[:, parts.LAST], "Last row, rests included"),
        "gaps": (n[:, parts.GAPS], "Number of gaps"),
        "pulses": (_sums(table, count=True), "Number of pulses against the direction"),
        "flag": (flag, "What is odd"),
        "complete": ((flag & _INCOMPLETE) == 0, "Whether the half cycle is whole"),
    }
    clocks = {
        "time_start": (parts.CLOCK_START, "Time (UTC) at the first row under current"),
        "time_end": (parts.CLOCK_END, "Time (UTC) at the last row under current"),
    }
    dim = "half_cycle"
    found: Variables = {m: (dim, v, _attrs(m)) for m, v in values.items()}
    for name, (column, words) in clocks.items():
        found[name] = (dim, _clock(n[:, column]), {"long_name": words})
    for name, (count, words) in counts.items():
        more = _FLAGS if name == "flag" else {}
        found[name] = (dim, count, {"units": "1", "long_name": words} | more)
    found["direction"] = (dim, directions(n[:, parts.DIRECTION]), DIRECTION)
    return found


def _sums(table: HalfCycleTable, *, count: bool = False) -> np.ndarray:
    """Return the number of the pulses in each half cycle, or their charge."""
    from batteryxr.echem.kernels import parts

    of = table.pulses[:, parts.PULSE_OF].astype(np.int64)
    charge = None if count else np.abs(table.pulses[:, parts.PULSE_CHARGE])
    return np.bincount(of, charge, minlength=len(table.floats))


def _listed(table: HalfCycleTable) -> Variables:
    """Return the place and the charge of each pulse, on ``pulse``."""
    from batteryxr.echem.kernels import parts

    columns = {
        "pulse_half_cycle": (parts.PULSE_OF, "1", "Half cycle of the pulse"),
        "pulse_first_record": (parts.PULSE_FIRST, "1", "First row of the pulse"),
        "pulse_last_record": (parts.PULSE_LAST, "1", "Last row of the pulse"),
        "pulse_capacity": (parts.PULSE_CHARGE, "mA h", "Charge, + charges the cell"),
    }
    listed: Variables = {}
    for name, (column, units, words) in columns.items():
        values = table.pulses[:, column]
        if units == "1":
            values = values.astype(np.int64) + (column == parts.PULSE_OF)
        listed[name] = ("pulse", values, {"units": units, "long_name": words})
    return listed


def _values(table: HalfCycleTable) -> dict[str, np.ndarray]:
    """Return the values of `_HALF_CYCLE`; NaN where charge is unreliable."""
    from batteryxr.echem.kernels import parts

    f = table.floats
    charge, energy = np.abs(f[:, parts.CHARGE]), np.abs(f[:, parts.ENERGY])
    counter = np.abs(f[:, parts.COUNTER])
    if not table.has_counter:
        counter[:] = np.nan
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        values = {
            "capacity": charge,
            "energy": energy,
            "mean_voltage": energy / charge,
            "mean_current": f[:, parts.CHARGE] * 3600 / f[:, parts.ACTIVE],
            "voltage_start": f[:, parts.V_START],
            "voltage_end": f[:, parts.V_END],
            "voltage_min": f[:, parts.V_MIN],
            "voltage_max": f[:, parts.V_MAX],
            "test_time_start": f[:, parts.T_START],
            "test_time_end": f[:, parts.T_END],
            "duration": f[:, parts.ACTIVE],
            "rest_time": f[:, parts.REST],
            "gap_time": f[:, parts.GAP],
            "counter_capacity": np.where(counter > 0, counter, np.nan),
            "q_consistency": np.where(counter > 0, charge / counter - 1, np.nan),
            "pulse_charge": _sums(table),
            "missing_charge": table.lacking,
            "line_uncertainty": f[:, parts.BEND] / 3600.0,
        }
    # A counter that agrees tells what flowed between the rows.
    known = np.abs(values["q_consistency"]) <= _DIFFERS
    values["line_uncertainty"][known | table.rule.mean] = 0.0
    wrong = table.integers[:, parts.BACKWARD] > 0
    if _untrusted(table):
        wrong[:] = True
    for name in ("capacity", "energy", "mean_voltage", "mean_current", "q_consistency"):
        values[name] = np.where(wrong, np.nan, values[name])
    return values


def directions(signs: np.ndarray) -> np.ndarray:
    """Return "charge" or "discharge" for each sign."""
    return np.where(signs > 0, "charge", "discharge").astype("U9")


def _attrs(name: str) -> dict[str, Any]:
    units, long_name = _HALF_CYCLE[name]
    return {"units": units, "long_name": long_name}


def _clock(nanoseconds: np.ndarray) -> np.ndarray:
    # Without a clock the kernel leaves zeros; no test began in 1970.
    time = nanoseconds.astype("M8[ns]")
    return np.where(nanoseconds == 0, np.datetime64("NaT", "ns"), time).astype("M8[ns]")


def _half_cycle_flags(
    table: HalfCycleTable, values: dict[str, np.ndarray]
) -> np.ndarray:
    from batteryxr.echem.kernels import parts

    n = table.integers
    flag = np.zeros(len(n), np.int16)
    flag[n[:, parts.BACKWARD] > 0] |= BACKWARD_TIME
    flag[n[:, parts.GAPS] > 0] |= GAP
    flag[n[:, parts.MISSING] > 0] |= MISSING_ROWS
    flag[_sums(table, count=True) > 0] |= MERGED_PULSES
    capacity = np.abs(table.floats[:, parts.CHARGE])
    flag[table.lacking > _DIFFERS * capacity] |= UNKNOWN_SWITCH
    flag[values["line_uncertainty"] > _DIFFERS * capacity] |= COARSE_ROWS
    flag[table.lost > 0] |= CLOCK_LACKS_TIME
    flag[np.abs(values["q_consistency"]) > _DIFFERS] |= COUNTER_DIFFERS
    flag[_short(table, values)] |= SHORT
    if len(n) > 2 and capacity[0] < 0.5 * capacity[2]:
        flag[0] |= STARTS_PART_WAY
    if len(n) > 1 and n[-1, parts.LAST_ACTIVE] == n[-1, parts.LAST]:
        # The record ends under current: has the last half cycle but begun?
        begun = _BEGUN if len(n) == 2 else table.counting.min_charge
        if capacity[-1] < begun * capacity[-2]:
            flag[-1] |= ENDS_PART_WAY
    if len(n) > 2 and _stops_short(_ends(table, values), len(n) - 1):
        flag[-1] |= ENDS_PART_WAY
    if _untrusted(table):
        flag |= IMPLAUSIBLE
    return flag


def _short(table: HalfCycleTable, values: dict[str, np.ndarray]) -> np.ndarray:
    """Tell which half cycles are among many short ones in a row."""
    from batteryxr.echem.kernels import parts

    charge, most = np.abs(table.floats[:, parts.CHARGE]), values["voltage_max"]
    least = values["voltage_min"]
    short = charge < _LITTLE * charge.max(initial=0.0)
    short &= most - least < _NARROW * (
        most.max(initial=-np.inf) - least.min(initial=np.inf)
    )
    edges = np.flatnonzero(np.diff(short, prepend=False, append=False))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if stop - start < _MANY:
            short[start:stop] = False
    return short


def _ends(table: HalfCycleTable, values: dict[str, np.ndarray]) -> np.ndarray:
    """Return the final voltage of each half cycle.

    With pulses it is the extreme: the last row under current may be a pulse.
    """
    from batteryxr.echem.kernels import parts

    charges = table.integers[:, parts.DIRECTION] > 0
    far = np.where(charges, values["voltage_max"], values["voltage_min"])
    return np.where(_sums(table, count=True) > 0, far, values["voltage_end"])


def _stops_short(end: np.ndarray, last: int) -> bool:
    # The directions alternate: every second one before it has the same direction.
    same, other = end[last % 2 : last : 2], end[(last + 1) % 2 : last : 2]
    window = np.median(same) - np.median(other)
    tolerance = max(0.02 * abs(window), np.ptp(same))
    return bool((np.median(same) - end[last]) * np.sign(window) > tolerance)
