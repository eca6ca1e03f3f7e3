"""From a labelled record to the arrays of the kernels, in memory or streamed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.blocks import is_lazy, stream
from batteryxr.core.errors import (
    ArgumentError,
    VariableError,
    warn_quality,
)
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.units import in_units

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

#: Flags of the readers under which no charge can be trusted.
FATAL = frozenset(
    {"time_scale", "backward_time", "overlap", "voltage", "unsigned_current"}
)
#: Half cycles below this fraction of the largest charge are noise.
BLIP = 1e-4


@dataclass(frozen=True)
class Walked:
    """Half cycles of a record as the kernel left them, and how they were found."""

    floats: np.ndarray
    integers: np.ndarray
    i_zero: float
    max_gap: float
    backward: int
    missing: int
    has_counter: bool


@dataclass(frozen=True)
class Arrays:
    """The arrays of a record that the kernels need; absent ones are None."""

    test_time: xr.DataArray
    voltage: xr.DataArray
    current: xr.DataArray
    file: xr.DataArray | None = None
    time: xr.DataArray | None = None
    counter: xr.DataArray | None = None

    @property
    def lazy(self) -> bool:
        """Whether any of them is held by dask."""
        return any(a is not None and is_lazy(a) for a in vars(self).values())

    def blocks(self) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield all six as plain arrays, block by block; absent ones are empty."""
        present = {n: a for n, a in vars(self).items() if a is not None}
        whole = next(iter(present.values())).size
        # In memory one block of views: the kernel has its own.
        size = 4_000_000 if self.lazy else max(whole, 1)
        if whole == 0:
            yield tuple(_plain(n, None) for n in vars(self))
        for values in stream(*present.values(), dim="record", block=size):
            block = dict(zip(present, values, strict=True))
            yield tuple(_plain(n, block.get(n)) for n in vars(self))


def _plain(name: str, values: np.ndarray | None) -> np.ndarray:
    kind: Any = {"file": np.int16, "time": np.int64}.get(name, np.float64)
    if values is None:
        return np.empty(0, kind)
    if name == "time":
        return np.ascontiguousarray(values.astype("M8[ns]", copy=False)).view(np.int64)
    return np.ascontiguousarray(values, kind)


def arrays(record: xr.Dataset, *, caller: str, clock: bool = True) -> Arrays:
    """Return a record's arrays in the units of the data model.

    Raises
    ------
    DimensionError, VariableError, UnitsError
        If the record lacks something.
    """
    require_variables(record, ("test_time", "voltage", "current"), caller=caller)
    require_dims(record, ("record",), caller=caller)
    for name in ("test_time", "voltage", "current"):
        if record[name].dims != ("record",):
            raise VariableError(
                f"{caller}: {name!r} lies on {record[name].dims}; expected "
                "('record',). Select one cell first, with `.isel` or from the tree."
            )
    return Arrays(
        in_units(record["test_time"], "s", caller=caller),
        in_units(record["voltage"], "V", caller=caller),
        in_units(record["current"], "mA", caller=caller),
        record["file"] if "file" in record.variables else None,
        record["time"] if clock and "time" in record.variables else None,
        _counter(record, caller) if clock else None,
    )


def _counter(record: xr.Dataset, caller: str) -> xr.DataArray | None:
    if "capacity" in record.variables:
        return in_units(record["capacity"], "mA h", caller=caller)
    both = ("charge_capacity", "discharge_capacity")
    if all(name in record.variables for name in both):
        charge, discharge = (in_units(record[n], "mA h", caller=caller) for n in both)
        return charge - discharge
    return None


def is_mean(current: xr.DataArray) -> bool:
    """Tell whether each current is the mean since the row before.

    So it is where ``cell_methods`` says so (CF), and in EC-Lab's columns ``<I>`` and
    ``dq``, which the reader names in ``source_label``.
    """
    if "mean" in str(current.attrs.get("cell_methods", "")):
        return True
    return str(current.attrs.get("source_label", "")).lower().startswith(("<i>", "dq"))


def walk_record(
    record: xr.Dataset,
    *,
    i_zero: float | None,
    max_gap: float,
    caller: str,
    clock: bool = True,
) -> tuple[Arrays, Walked]:
    """Find the half cycles of a record; reads it once, the current perhaps twice."""
    if i_zero is not None and not i_zero > 0:
        raise ArgumentError("i_zero", i_zero, "a current > 0 in mA, or None")
    if not max_gap > 0:
        raise ArgumentError("max_gap", max_gap, "a time > 0 in s")
    source = arrays(record, caller=caller, clock=clock)
    if i_zero is not None:
        return source, _walk(source, float(i_zero), max_gap)[0]
    # A current of nothing but zeros must not count as current.
    least = max(1e-3 * _largest(source), np.finfo(np.float64).tiny)
    walked, rest_sd = _walk(source, least, max_gap)
    if 3 * rest_sd > least:
        noisy = float(f"{3 * rest_sd:.6g}")
        walked, _ = _walk(source, noisy, max_gap)
    return source, walked


def _largest(source: Arrays) -> float:
    from batteryxr.echem.kernels import segments

    if not source.lazy:
        pieces = np.array_split(source.current.values, segments.threads())
        return max(segments.in_threads(segments.largest, [(p,) for p in pieces]))
    blocks = stream(source.current, dim="record")
    return max((segments.largest(i) for (i,) in blocks), default=0.0)


def _walk(source: Arrays, i_zero: float, max_gap: float) -> tuple[Walked, float]:
    from batteryxr.echem.kernels import parts, segments

    mean = is_mean(source.current)
    if source.lazy:
        carry, row = np.zeros(segments.CARRIED), 0
        floats, integers, n = parts.tables()
        for block in source.blocks():
            floats, integers, n = segments.walk(
                *block, row, i_zero, float(max_gap), mean, carry, floats, integers, n
            )
            row += block[0].size
        found = floats[:n], integers[:n]
    else:
        (block,) = source.blocks()
        found = segments.walk_whole(
            *block, i_zero=i_zero, max_gap=float(max_gap), mean=mean
        )
    floats, integers, noise = parts.half_cycle_tables(*found, BLIP)
    walked = Walked(
        floats,
        integers,
        i_zero,
        float(max_gap),
        int(noise["backward"]),
        int(noise["missing"]),
        source.counter is not None,
    )
    return walked, noise["rest_sd"]


def fatal_flags(record: xr.Dataset) -> set[str]:
    """Return those of the readers' flags under which no charge can be trusted."""
    # One flag alone comes back from NetCDF as a string.
    return {str(f) for f in np.atleast_1d(record.attrs.get("flags", []))} & FATAL


def refuse_implausible(record: xr.Dataset, walked: Walked, *, caller: str) -> None:
    """Raise where the record's clock or signs make every charge wrong."""
    flags = fatal_flags(record)
    if walked.backward:
        flags.add("backward_time")
    if not flags:
        return
    steps = f" ({walked.backward} backward steps)" if walked.backward else ""
    named = ", ".join(sorted(flags))
    raise ArgumentError(
        "record",
        str(record.attrs.get("title", "record")),
        f"data whose charge can be trusted; it is flagged {named}{steps}",
        "attrs['flag_notes'] tells what is wrong and whether read_cycler(..., "
        "repair=...) mends it; else correct the data and drop the flag.",
    )


def warn(message: str) -> None:
    """Warn whoever called the recorded public function."""
    warn_quality(message)
