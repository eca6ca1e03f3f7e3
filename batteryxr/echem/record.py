"""Read a labelled record: columns for the kernels, flags and net charge."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.blocks import apply, stream
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    UnitsError,
    VariableError,
    warn_quality,
)
from batteryxr.core.model import attributes, label, require_dims, require_variables
from batteryxr.core.units import affine, in_units

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batteryxr.echem.kernels.record import Record

#: Flags of the readers that make every charge unreliable.
FATAL = frozenset(
    {
        "time_scale",
        "backward_time",
        "overlap",
        "voltage",
        "unsigned_current",
        "repeated_rows",
    }
)
#: Name of each column in the kernels.
_COLUMNS = {
    "test_time": "t",
    "voltage": "v",
    "current": "i",
    "file": "file",
    "time": "clock",
    "counter": "counter",
    "charged": "charged",
    "discharged": "discharged",
    "step_time": "step_time",
}
#: Number of rows streamed at once.
_BLOCK = 4_000_000
#: V of a record that passes a usual part of a capacity.
_WINDOW = 0.5
#: Units that may be mistaken for seconds, by their length in s.
_UNITS = {60.0: "min", 3600.0: "h", 1e-3: "ms", 1e-6: "us", 86400.0: "days"}
#: Rows whose intermediate results stay in the processor's cache.
_CACHED = 1 << 15
#: Fraction of its last reading below which a counter of one direction began anew.
_FALLS = 0.999
#: Relative difference of two clocks that is ignored.
_SAME = 0.02
#: Rows used to guess the units of test time, and the least number of usable ones.
_ROWS, _FEW = 2000, 20


#: Rows at which the counters of charge and of discharge began anew.
Fallen = tuple[list[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Columns:
    """Hold the columns of a record, checked and in the units of the kernels."""

    arrays: dict[str, xr.DataArray]
    mean: bool  # each current is the mean since the row before
    lazy: bool
    flags: frozenset[str]  # the fatal flags of the reader
    paused: bool = False  # test time stood still somewhere while the clock went on
    fallen: Fallen = field(default_factory=lambda: ([], []))  # filled by `blocks`

    def blocks(self, names: Sequence[str] = tuple(_COLUMNS)) -> Iterator[Record]:
        """Yield the rows in blocks; rows in memory are one block."""
        from batteryxr.echem.kernels.record import of_rows

        present = {n: self.arrays[n] for n in names if n in self.arrays}
        if self.lazy:
            blocks = stream(*present.values(), dim="record", block=_BLOCK)
        else:
            # One block of views: the kernel splits the rows itself.
            blocks = iter([tuple(a.values for a in present.values())])
        for known in self.fallen:
            known.clear()
        charged, discharged = (Restarts(known) for known in self.fallen)
        for values in blocks:
            block = {_COLUMNS[n]: v for n, v in zip(present, values, strict=True)}
            if "charged" in block:
                up = charged.joined(block.pop("charged"))
                block["counter"] = up - discharged.joined(block.pop("discharged"))
            if "clock" in block:
                block["clock"] = nanoseconds(block["clock"])
            yield of_rows(**block)

    def isel(self, rows: slice) -> Columns:
        """Return a slice of the rows without reading any."""
        some = {n: a.isel(record=rows) for n, a in self.arrays.items()}
        return replace(self, arrays=some)


class Restarts:
    """Join the readings of a counter of one direction over its restarts.

    Such a counter only rises: where it falls, it began anew. Once the two directions
    are one net charge, a restart of both may pass for a charge that flowed.
    """

    def __init__(self, fallen: list[np.ndarray]) -> None:
        self._last, self._passed, self._row = np.nan, 0.0, 0
        self._fallen = fallen  # rows at which it began anew

    def joined(self, readings: np.ndarray) -> np.ndarray:
        """Return the next block of readings, with what was counted before added."""
        if not readings.size:
            return readings
        fell = _falls(readings)
        if abs(readings[0]) < _FALLS * abs(self._last):
            fell = np.append(0, fell)
        if fell.size:
            self._fallen.append(fell + self._row)
        self._row += readings.size
        start, self._last = self._last, readings[-1]
        if not fell.size:
            return readings + self._passed if self._passed else readings
        ends = np.where(fell > 0, readings[fell - 1], start)
        passed = self._passed + np.append(0.0, np.cumsum(ends))
        self._passed = passed[-1]
        added = np.repeat(passed, np.diff(fell, prepend=0, append=readings.size))
        added += readings
        return added


def _falls(readings: np.ndarray) -> np.ndarray:
    """Return the rows at which a counter of one direction began anew."""
    found = []
    for a in range(0, readings.size, _CACHED):
        size = readings[a : a + _CACHED + 1]
        if size.min() < 0.0:
            size = np.abs(size)
        fell = size[1:] < _FALLS * size[:-1]
        if fell.any():
            found.append(np.flatnonzero(fell) + (a + 1))
    return np.concatenate([np.empty(0, np.int64), *found])


def nanoseconds(times: np.ndarray) -> np.ndarray:
    """Return times (datetime64) as integers in ns."""
    plain = np.ascontiguousarray(times.astype("M8[ns]", copy=False))
    return plain.view(np.int64)


def columns(
    record: xr.Dataset, *, caller: str, clock: bool = True, number: str | None = None
) -> Columns:
    """Return the columns of a record that the kernels need.

    Parameters
    ----------
    record
        Cycler data on ``record``.
    caller
        Name of the public function, for messages.
    clock
        Whether wall-clock time is needed.
    number
        The cycler's own number that is needed, if any: "step" or "cycle".

    Raises
    ------
    DimensionError, VariableError, UnitsError
        If the record lacks something.
    """
    wanted = {"test_time": "s", "voltage": "V", "current": "mA"}
    also = [] if number is None else [number]
    require_variables(record, [*wanted, *also], caller=caller)
    require_dims(record, ("record",), caller=caller)
    for name in wanted:
        if record[name].dims != ("record",):
            raise VariableError(
                f"{caller}: {name!r} lies on {record[name].dims}; expected "
                "('record',). Select one cell first, with `.isel` or from the tree."
            )
    counters = ("capacity", "charge_capacity", "discharge_capacity")
    wanted |= {n: "mA h" for n in counters if n in record.variables}
    if "step_time" in record.variables:
        wanted["step_time"] = "s"
    found = {n: in_units(record[n], u, caller=caller) for n, u in wanted.items()}
    summed = ["current"]
    if not found["voltage"].chunks:
        extremes = found["voltage"].values
        if (
            extremes.size
            and np.isfinite(ends := [extremes.min(), extremes.max()]).all()
        ):
            extremes = np.array(ends)
        else:
            summed.append("voltage")
        bounds.check("voltage", extremes, argument="voltage", data=True)
    up, down = found.pop("charge_capacity", None), found.pop("discharge_capacity", None)
    if "capacity" in found:
        found["counter"] = found.pop("capacity")
    elif up is not None and down is not None:
        found["charged"], found["discharged"] = up, down
    for name in ("file", *also, *(("time",) if clock else ())):
        if name in record.variables:
            found[name] = record[name]
    _tell_other_units(found, caller=caller)
    _tell_missing(found["test_time"], caller)
    for name in summed:
        _refuse_infinite(found[name], name, caller)
    return Columns(
        found,
        mean=is_mean(record["current"].attrs),
        lazy=any(a.chunks is not None for a in found.values()),
        flags=fatal_flags(record.attrs),
        paused="pause" in record.variables,
    )


def _tell_missing(time: xr.DataArray, caller: str) -> None:
    """Warn if in-memory rows have no time; lazy rows are not read."""
    if time.chunks is None and time.dtype.kind == "f":
        values = time.values
        # A sum is the fastest way to see that nothing is missing.
        with np.errstate(all="ignore"):
            total = values.sum()
        missing = int(np.isnan(values).sum()) if np.isnan(total) else 0
        if missing:
            warn_quality(
                f"{caller}: test_time is missing in {missing} rows: the charge there "
                "is not known. Leave them out: "
                "`record.isel(record=record['test_time'].notnull())`."
            )
        known = values[np.isfinite(values)] if missing else values
        stands = known.size > 1 and known[0] == known[-1] and not np.ptp(known) > 0
        if stands:
            warn_quality(
                f"{caller}: test_time is {float(known[0]):g} s in all rows, so "
                "no charge passes. Is it read from the right column?"
            )


def _refuse_infinite(values: xr.DataArray, name: str, caller: str) -> None:
    """Raise if in-memory values are infinite: a sum over them would be, too."""
    if values.chunks is not None or values.dtype.kind != "f":
        return
    with np.errstate(all="ignore"):
        total = values.values.sum()
    if not np.isfinite(total):
        odd = np.isinf(values.values)
        if odd.any():
            raise DataError(
                f"{caller}: {name}",
                f"infinite in {int(odd.sum())} rows, the first row {int(odd.argmax())}",
                f"Leave them out: `record.where(abs(record[{name!r}]) < 1e9)` makes "
                "them NaN.",
            )


def is_mean(attrs: Mapping[Any, Any]) -> bool:
    """Tell from the attributes if each current is the mean since the row before.

    It is where ``cell_methods`` says so (CF), and in EC-Lab's columns ``<I>`` and
    ``dq``, which the reader names in ``source_label``.
    """
    if "mean" in str(attrs.get("cell_methods", "")):
        return True
    return str(attrs.get("source_label", "")).lower().startswith(("<i>", "<i/", "dq"))


def fatal_flags(attrs: Mapping[Any, Any]) -> frozenset[str]:
    """Return the readers' flags that make every charge unreliable."""
    # NetCDF returns a single flag as a string.
    return FATAL & {str(f) for f in np.atleast_1d(attrs.get("flags", []))}


#: Names of variables with a net charge, and with the capacity of a half cycle.
NET = ("capacity_total",)
MOVED = ("specific_capacity", "capacity")
#: Longest interval (s) that is integrated over, as in `half_cycles`.
_MAX_GAP = 3600.0


def specific(
    data: xr.Dataset | xr.DataArray | float,
    mass: float | None,
    variable: str | None,
    usual: Sequence[str],
    *,
    caller: str,
) -> xr.DataArray:
    """Return capacity in mA h g-1 from a charge, a specific charge or a number."""
    record = data
    if isinstance(data, xr.Dataset):
        data = _charge(data, variable, usual, caller=caller)
    elif not isinstance(data, xr.DataArray):
        bounds.check("capacity per mass", abs(data) or None, argument="data")
        about = attributes("specific_capacity")
        data = xr.DataArray(float(data), name="specific_capacity", attrs=about)
    if not _is_charge(data.attrs.get("units")):
        return in_units(data, "mA h g-1", caller=caller)
    if mass is None:
        raise ArgumentError(
            "mass",
            mass,
            "the mass of active material in mg",
            f"{data.name!r} is a charge, not a specific one.",
        )
    found = in_units(data, "mA h", caller=caller) / (mass * 1e-3)
    if "record" in found.dims and isinstance(record, xr.Dataset) and not found.chunks:
        voltage = record.get("voltage", xr.DataArray(0.0))
        moved = float(voltage.max() - voltage.min())
        passed = float(found.max() - found.min()) or None
        if moved > _WINDOW:  # over less a cell may pass as little as it likes
            name = "specific capacity"
            bounds.check(f"usual {name}", passed, argument=name, data=True)
    return found


def _is_charge(units: str | None) -> bool:
    if units is None:
        return False
    try:
        affine(str(units), "mA h")
    except UnitsError:
        return False
    return True


def _charge(
    ds: xr.Dataset, variable: str | None, usual: Sequence[str], *, caller: str
) -> xr.DataArray:
    if variable is None:
        # A record's own `capacity` restarts with every half cycle.
        if "record" in ds.dims and "current" in ds.variables:
            return net_charge(ds, caller=caller)
        variable = next((name for name in usual if name in ds.variables), usual[-1])
    require_variables(ds, [variable], caller=caller)
    return ds[variable]


def net_charge(ds: xr.Dataset, *, caller: str) -> xr.DataArray:
    """Integrate the current over time by the rules of `half_cycles`."""
    from batteryxr.echem.kernels.record import increments

    require_variables(ds, ["test_time"], caller=caller)
    if flags := fatal_flags(ds.attrs):
        raise DataError(
            "record",
            f"{caller} needs data whose charge can be trusted; it is flagged "
            f"{', '.join(sorted(flags))}",
            "Mend it when reading: read_cycler(..., repair=...).",
        )
    current = in_units(ds["current"], "mA", caller=caller)
    time = in_units(ds["test_time"], "s", caller=caller)
    tell_times(ds, caller=caller)
    apart = xr.DataArray(np.arange(ds.sizes["record"]) == 0, dims="record")
    if "file" in ds:
        apart = apart | (ds["file"] != _before(ds["file"]))
    charge = apply(
        increments,
        *(time, _before(time), current, _before(current), apart),
        core_dims=[()] * 5,
        dtypes=[np.float64],
        caller=caller,
        mean=is_mean(current.attrs),
        max_gap=_MAX_GAP,
    )
    passed = charge.cumsum("record", skipna=False)
    return label(passed, "capacity", long_name="Net charge passed")


def tell_times(record: xr.Dataset, *, caller: str) -> None:
    """Warn if in-memory times run backward or are missing; lazy ones are not read."""
    if record["test_time"].chunks is not None:
        return
    values = np.asarray(record["test_time"].values, float)
    missing = int(np.isnan(values).sum())
    back = np.diff(values) < 0
    if "file" in record.variables:
        files = np.asarray(record["file"].values)
        back &= files[1:] == files[:-1]
    backward = int(back.sum())
    if values.size > 1 and np.ptp(values) == 0:
        warn_quality(
            f"{caller}: test_time is {values[0]:g} s in all {values.size} rows: no "
            "charge passes"
        )
    if backward or missing:
        warn_quality(
            f"{caller}: test_time runs backward at {backward} rows and is missing at "
            f"{missing}: the charge there is not known. Sort the rows, or drop them: "
            "`record.isel(record=record['test_time'].notnull())`."
        )


def _before(array: xr.DataArray) -> xr.DataArray:
    return array.shift(record=1)


def _tell_other_units(arrays: Mapping[str, xr.DataArray], *, caller: str) -> None:
    """Warn if test time seems to be in minutes, hours or milliseconds.

    The first rows are compared with the clock if there is one, else with the charge
    that the cycler counted. Lazy records are not read.

    Parameters
    ----------
    arrays
        ``test_time`` (s), ``current`` (mA), and, if present, ``time`` (UTC) and
        ``counter`` (mA h).
    caller
        Name of the public function, for the message.

    Warns
    -----
    DataQualityWarning
        If so; the message names the units.
    """
    names = ("test_time", "current", "time", "counter", "charged", "discharged")
    there = {n: arrays[n] for n in names if n in arrays}
    if any(a.chunks is not None for a in there.values()):
        return
    rows = {n: a.values[:_ROWS] for n, a in there.items()}
    if "charged" in rows:
        rows["counter"] = rows["charged"] - rows["discharged"]
    passed = np.diff(rows["test_time"])
    ratio = np.nan
    if "time" in rows:
        clock = np.diff(rows["time"].astype("M8[ns]")) / np.timedelta64(1, "s")
        clock[np.isnat(np.diff(rows["time"]))] = np.nan
        ratio = _ratio(clock, passed)
    if np.isnan(ratio) and "counter" in rows:
        middle = 0.5 * (rows["current"][1:] + rows["current"][:-1])
        charge = np.abs(np.diff(rows["counter"])) * 3600.0
        ratio = _ratio(charge, np.abs(middle) * passed)
    for length, units in _UNITS.items():
        if abs(ratio / length - 1) < _SAME:
            warn_quality(
                f"{caller}: test_time runs {ratio:.4g} times as fast as seconds do, by "
                f"{'the clock' if 'time' in rows else 'the charge'}. Was it {units}? "
                f"Multiply it by {length:g}."
            )


def current_taken(rows: Columns, *, caller: str) -> str:
    """Tell what shows that the current is in mA; warn where that is doubtful.

    The charge that the cycler counted is compared with that of the current, and the
    charge passed with what the smallest cells hold. Lazy records are not read.
    """
    alone = "mA, as its attribute says: nothing else in the record tells"
    if rows.lazy:
        return alone
    names = ("test_time", "current", "voltage")
    time, current, voltage = (rows.arrays[n].values for n in names)
    charge = np.abs(current[1:]) * np.clip(np.diff(time), 0.0, _MAX_GAP) / 3600.0
    if "counter" in rows.arrays:
        counted = np.abs(np.diff(rows.arrays["counter"].values[: _ROWS + 1]))
        ratio = _ratio(counted, charge[:_ROWS])
        for factor, units in {1e3: "A", 1e-3: "uA", 1e6: "kA"}.items():
            if abs(ratio / factor - 1) < 5 * _SAME:
                warn_quality(
                    f"{caller}: the cycler counted {ratio:.3g} times the charge of the "
                    f"current. Was the current in {units}? Multiply it by {factor:g}."
                )
        if abs(ratio - 1) < 5 * _SAME:
            return "mA, as the charge says that the cycler counted"
    passed, least = (
        float(np.nansum(charge)),
        bounds.BOUNDS["nominal capacity"].likely[0],
    )
    moved = float(np.nanmax(voltage) - np.nanmin(voltage)) if voltage.size else 0.0
    if 0 < passed < least and moved > 0.5 * _WINDOW:
        warn_quality(
            f"{caller}: {passed:.3g} mA h pass while the voltage changes by "
            f"{moved:.2g} V, and hardly a cell holds less than {least:g} mA h. Was the "
            "current in A? Multiply it by 1000."
        )
    return alone


def _ratio(true: np.ndarray, found: np.ndarray) -> float:
    """Return the median of true / found; NaN unless most rows agree on it."""
    known = (true > 0) & (found > 0)
    if known.sum() < _FEW:
        return float("nan")
    ratios = true[known] / found[known]
    middle = float(np.median(ratios))
    agree = np.abs(ratios / middle - 1) < _SAME
    return middle if agree.mean() > 0.5 else float("nan")
