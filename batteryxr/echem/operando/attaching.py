"""Label ex situ states with the history of the cell up to their voltage."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.errors import (
    ArgumentError,
    DimensionError,
    VariableError,
    warn_quality,
)
from batteryxr.core.files import read_table
from batteryxr.core.labels import OwnLabels
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units
from batteryxr.echem.cycling.half_cycles import half_cycles
from batteryxr.echem.operando.joining import _MADE, join
from batteryxr.echem.operando.scans import refuse_taken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from batteryxr.core.bounds.kinds import Mass, VoltageWidth
    from batteryxr.echem.counting import Counting
    from batteryxr.echem.lithium.composition import Composition
    from batteryxr.echem.lithium.content import Lithiation

Scans = TypeVar("Scans", xr.DataArray, xr.Dataset)

#: Bits of ``attach_flag``: why a state has no labels.
NOT_REACHED, NOT_TOLD = 1, 2
_FLAGS = {
    "flag_masks": [NOT_REACHED, NOT_TOLD],
    "flag_meanings": "voltage_not_reached state_not_told",
}
#: Words for the branches in names and tables.
_WORDS = {
    "charge": ("charge", "charged", "ch", "c", "chg", "delithiated"),
    "discharge": ("discharge", "discharged", "dis", "dch", "d", "dchg", "lithiated"),
    "pristine": ("pristine", "fresh", "ocv", "powder", "asis", "uncycled"),
}
_BRANCH = {word: name for name, words in _WORDS.items() for word in words}
#: A branch before a voltage, or behind it; a letter beside digits is a rate (5C, C10).
_LONG = "charged?|discharged?|dchg|chg|dch|dis|ch"
_VOLTS = r"\d+[.p,]\d+|\d"
_NAMED = re.compile(
    rf"(?P<branch>(?<![a-z])(?:{_LONG})|(?<![a-z0-9./])[cd])"
    rf"[\s_\-]*(?:to[\s_\-]*)?(?P<voltage>{_VOLTS})\s*_?v(?![a-z])"
    rf"|(?<![\d.])(?P<voltage2>{_VOLTS})\s*_?v[\s_\-]*"
    rf"(?P<branch2>{_LONG}|c|d)(?![a-z0-9/])"
    r"|(?<![a-z])(?P<pristine>pristine|fresh|uncycled)(?![a-z])",
    re.IGNORECASE,
)
#: The cycle in a name, and a number of cycles, which does not say which one it was.
_CYCLE = re.compile(
    r"cyc(?:le)?[\s_\-]*(\d+)|(?<![\d.])(\d+)(?:st|nd|rd|th)(?![a-z])", re.IGNORECASE
)
_MANY = re.compile(
    r"(?<![a-z0-9.])\d+[\s_\-]*cyc(?:le)?s?(?![a-z0-9]|[\s_\-]*\d)", re.IGNORECASE
)
#: Difference (V) by which a name contradicts what was passed.
_OTHER = 5e-3
#: Distance (V) from the end of a half cycle below which a state is after its hold.
_AT_END = 5e-3
_COLUMNS = ("voltage", "branch", "cycle")
_KEYS = ("sample", "label", "file", "scan", "state")


@recorded
def attach(
    record: xr.Dataset,
    scans: Annotated[Scans, OwnLabels()],
    *,
    voltage: float | str | Sequence[float] | np.ndarray | xr.DataArray | None = None,
    direction: str | Sequence[str] | np.ndarray | xr.DataArray | None = None,
    table: str | os.PathLike[str] | Mapping[str, Any] | pd.DataFrame | None = None,
    pattern: str | None = None,
    tolerance: VoltageWidth = 0.02,
    first: Literal["charge", "discharge"] | None = None,
    mass: Mass | None = None,
    formula: str | Composition | Lithiation | None = None,
    counting: Counting | None = None,
) -> Scans:
    """Label ex situ states with the record's values at their voltage and branch.

    *Lazy* in `scans`, whose data are not read; reads `record` four times. No clock is
    needed. A state gets the capacity, Li content and cycle of the moment when a half
    cycle reaches its voltage.

    Parameters
    ----------
    record
        Cycler data on ``record`` of a cell cycled like the states.
    scans
        Any data along ``scan``, ``state`` or ``sample``: patterns, spectra, results.
    voltage
        Voltage (V) at which each state was stopped: a number for each, one for all,
        or the name of a coordinate.
    direction
        Branch of each state in the same form: "charge", "discharge", or "pristine"
        for a state that was not cycled.
    table
        Table in place of both: a CSV file, a DataFrame or a mapping of columns
        ``voltage``, ``branch`` and perhaps ``cycle``. A column ``file``, ``label``,
        ``sample`` or ``scan`` assigns the rows; else they are in the order of `scans`.
    pattern
        In place of all: a regular expression with the groups ``branch`` and
        ``voltage`` (and perhaps ``cycle``) for file names. The default matches names
        such as ``ch_4.3V``, ``discharged 2p0V``, ``3.6V_charge``, ``pristine``.
    tolerance
        Largest distance (V) of the record from the voltage of a state.
    first, mass, formula, counting
        As in `join`.

    Returns
    -------
    same type as `scans`
        With ``voltage`` (as given), ``branch``, ``measured_voltage``, ``capacity``,
        ``capacity_total``, ``half_cycle``, ``cycle``, and ``specific_capacity`` and
        ``li_content`` with `mass` and `formula`. A pristine state has a capacity of 0
        and no cycle. States belong to the first cycle unless table or name
        give one. At the voltage where a half cycle ends, a state is after its hold.
        ``attach_flag`` gives the reason for missing labels.

    Raises
    ------
    ArgumentError
        If the states are not given, or given twice.
    DimensionError, VariableError
        If `scans` are no series, or lack the coordinate named.
    DataError
        If `scans` have data with the name of a label.

    Warns
    -----
    DataQualityWarning
        If the record does not reach a voltage on its branch; the state gets NaN.

    See Also
    --------
    join : label scans that were taken while the cell ran.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> record = cell["echem"].to_dataset()
    >>> patterns = xr.DataArray(
    ...     np.zeros((3, 50)),
    ...     dims=("state", "two_theta"),
    ...     name="counts",
    ...     coords={"state": ["pristine", "ch_3.9V", "dis_3.6V"]},
    ... )
    >>> states = record.echem.attach(
    ...     patterns,
    ...     voltage=[3.0, 3.9, 3.6],
    ...     direction=["pristine", "charge", "discharge"],
    ...     formula="LiNiO2",
    ...     mass=7.0,
    ... )
    >>> states["li_content"].round(2).values.tolist()
    [1.0, 0.58, 0.82]
    """
    dim = _series(scans)
    volts, branches, cycles = _told(scans, dim, voltage, direction, table, pattern)
    _hold_against_names(scans, dim, volts, branches)
    bounds.check("voltage", volts, argument="voltage")
    rows = _with_clock(record)
    half = half_cycles(rows, counting=counting)
    at = [
        _moment(rows, half, first, *state, tolerance=tolerance)
        for state in zip(volts, branches, cycles, strict=True)
    ]
    flag = np.where([m is None for m in at], NOT_REACHED, 0)
    flag = np.where(branches == "", NOT_TOLD, flag)
    times = np.array([np.datetime64("NaT") if m is None else m for m in at], "M8[ns]")
    labels = _labels(rows, times, first, mass, formula, counting)
    labels = labels | {
        "measured_voltage": labels["voltage"],
        "voltage": xr.Variable(
            "scan", volts, {"units": "V", "long_name": "Voltage of the state"}
        ),
        "branch": xr.Variable(
            "scan", branches.astype("U9"), {"units": "1", "long_name": "Branch"}
        ),
        "attach_flag": xr.Variable(
            "scan",
            flag.astype(np.int8),
            {"units": "1", "long_name": "What is odd about the state", **_FLAGS},
        ),
    }
    pristine = branches == "pristine"
    for name in ("half_cycle", "cycle"):
        label = labels[name].copy(deep=True)
        label.values[pristine] = np.nan
        labels[name] = label
    if (flag > 0).any():
        which = ", ".join(
            f"{b or 'not told'} {v:g} V" if np.isfinite(v) else (b or "not told")
            for b, v in zip(branches[flag > 0], volts[flag > 0], strict=True)
        )
        warn_quality(
            f"{(flag > 0).sum()} of {flag.size} states have no labels: {which}. The "
            f"record does not come within {tolerance:g} V of them on that branch."
        )
    coords = {
        name: xr.Variable(dim, variable.values, variable.attrs)
        for name, variable in labels.items()
    }
    refuse_taken(scans, labels, dim=dim)
    kept = [n for n in _MADE if n in scans.coords and n != dim]
    return scans.drop_vars(kept).assign_coords(coords)


def _series(scans: xr.DataArray | xr.Dataset) -> str:
    found = [d for d in ("scan", "state", "sample") if d in scans.dims]
    if len(found) != 1:
        raise DimensionError(
            "attach needs states along 'scan', 'state' or 'sample'; found "
            f"{tuple(map(str, scans.dims))}. Rename yours: `.rename(...='state')`."
        )
    return found[0]


def _told(
    scans: xr.DataArray | xr.Dataset,
    dim: str,
    voltage: Any,
    direction: Any,
    table: Any,
    pattern: str | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return voltage, branch and cycle of each state."""
    n = scans.sizes[dim]
    if pattern is not None and any(x is not None for x in (table, voltage, direction)):
        raise ArgumentError(
            "pattern",
            pattern,
            "None where table=, voltage= or direction= tells the states",
        )
    if table is not None:
        if voltage is not None or direction is not None:
            raise ArgumentError("table", table, "None where voltage= is passed")
        return _of_table(scans, dim, table)
    if voltage is None and direction is None:
        return _of_names(scans, dim, pattern)
    if direction is None:
        raise ArgumentError("direction", None, "'charge', 'discharge' or 'pristine'")
    names = _each(scans, dim, direction, n, "direction")
    branches = np.array([_branch(b) for b in names])
    if voltage is None and (branches != "pristine").any():
        raise ArgumentError("voltage", None, "the voltage of each state, in V")
    if voltage is None:
        volts = np.full(n, np.nan)
    else:
        volts = _each(scans, dim, voltage, n, "voltage")
        try:
            volts = np.asarray(volts, dtype=float)
        except (TypeError, ValueError) as error:
            raise ArgumentError("voltage", voltage, "numbers, in V") from error
    return volts, branches, np.full(n, np.nan)


def _each(
    scans: xr.DataArray | xr.Dataset, dim: str, value: Any, n: int, name: str
) -> np.ndarray:
    """Return one value for each state."""
    if isinstance(value, str) and value in scans.coords:
        return np.broadcast_to(scans[value].values, (n,))
    if isinstance(value, str) and name == "voltage":
        raise VariableError(
            f"attach(voltage={value!r}) needs this coordinate on {dim!r}; found "
            f"{sorted(map(str, scans.coords))}."
        )
    if isinstance(value, xr.DataArray):
        value = value.values
    try:
        values = np.asarray(value)
        if values.dtype.kind == "O":
            raise ValueError
        return np.broadcast_to(values, (n,))
    except ValueError as error:
        expected = f"one value, or one for each of {n} states"
        raise ArgumentError(name, value, expected) from error


def _branch(text: Any) -> str:
    found = _BRANCH.get(str(text).strip().lower())
    if found is None:
        raise ArgumentError(
            "direction", str(text), "'charge', 'discharge' or 'pristine'"
        )
    return found


def _number(text: Any) -> float:
    try:
        return float(str(text).replace("p", ".").replace(",", "."))
    except ValueError:
        return float("nan")


def _of_names(
    scans: xr.DataArray | xr.Dataset, dim: str, pattern: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the states from names."""
    there = [
        k for k in ("file", *_KEYS) if k in scans.coords and scans[k].dims == (dim,)
    ]
    if pattern is not None:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ArgumentError(
                "pattern", pattern, "a regular expression", f"It is none: {error}."
            ) from error
        groups = set(compiled.groupindex)
        if not {"branch", "voltage"} <= groups:
            raise ArgumentError(
                "pattern", pattern, "an expression with groups 'branch' and 'voltage'"
            )
    else:
        compiled = _NAMED
    for key in there:
        words = [os.path.basename(str(v)) for v in scans[key].values]
        if any(map(compiled.search, words)):
            each = [_of_name(word, compiled) for word in words]
            volts, cycles = (np.array([e[k] for e in each]) for k in (0, 2))
            return volts, np.array([e[1] for e in each], "U9"), cycles
    raise ArgumentError(
        "voltage",
        None,
        "the voltage and the branch of each state",
        f"The names in {there or 'no coordinate'} do not tell them: pass voltage= and "
        "direction=, table=, or pattern=.",
    )


def _of_name(word: str, pattern: re.Pattern[str]) -> tuple[float, str, float]:
    """Return voltage, branch and cycle that a name tells; branch "" if it is unclear.

    A name that tells two states, or a number of cycles, is unclear.
    """
    nan = float("nan")
    found = set()
    for match in pattern.finditer(word):
        got = match.groupdict()
        if got.get("pristine"):
            found.add((nan, "pristine", nan))
            continue
        branch = _branch(got.get("branch") or got.get("branch2"))
        volts = _number(got.get("voltage") or got.get("voltage2"))
        found.add((volts, branch, _number(got.get("cycle") or "nan")))
    if len({one[:2] for one in found}) != 1:
        return nan, "", nan
    volts, branch, cycle = found.pop()
    if pattern is _NAMED and branch != "pristine":
        told = {a or b for a, b in _CYCLE.findall(word)}
        if len(told) > 1 or _MANY.search(word):
            return nan, "", nan
        cycle = float(told.pop()) if told else cycle
    return volts, branch, cycle


def _hold_against_names(
    scans: xr.DataArray | xr.Dataset, dim: str, volts: np.ndarray, branches: np.ndarray
) -> None:
    """Warn where names tell other states than those that hold."""
    for key in ("file", *_KEYS):
        if key not in scans.coords or scans[key].dims != (dim,):
            continue
        words = [os.path.basename(str(v)) for v in scans[key].values]
        odd = []
        for word, volt, branch in zip(words, volts, branches, strict=True):
            named, side, _ = _of_name(word, _NAMED)
            differs = side not in ("", branch) or abs(named - volt) > _OTHER
            if branch and side and differs:
                odd.append(f"{word!r} ({branch} {volt:g} V)")
        if odd:
            warn_quality(
                f"{len(odd)} of {len(words)} states have a name that tells another "
                f"state: {', '.join(odd[:4])}. Compare the order of the states."
            )


def _key_of(
    scans: xr.DataArray | xr.Dataset, dim: str, frame: Mapping[str, Any]
) -> tuple[str, str] | None:
    """Return the column of a table that names its rows, and the coordinate it names.

    Raises
    ------
    ArgumentError
        If a column names the rows, and no state is called so.
    """
    along = [str(k) for k in scans.coords if scans[k].dims == (dim,)]
    for key in (k for k in _KEYS if k in frame and k in along):
        return key, key
    named = [c for c in frame if c not in _COLUMNS]
    texts = [k for k in along if scans[k].dtype.kind in "UO"]
    for column in named:
        rows = {os.path.basename(str(v)) for v in frame[column]}
        for coordinate in texts:
            if rows & {os.path.basename(str(v)) for v in scans[coordinate].values}:
                return column, coordinate
    if texts and (unknown := [c for c in named if c in _KEYS]):
        raise ArgumentError(
            "table",
            unknown[0],
            f"a column with the names of the states, from one of {texts}",
            "None of its rows is called as a state. Leave it out if the rows are in "
            "the order of the states.",
        )
    return None


def _of_table(
    scans: xr.DataArray | xr.Dataset, dim: str, table: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the states from a table."""
    frame = _frame(table)
    if missing := [c for c in _COLUMNS[:2] if c not in frame]:
        raise ArgumentError(
            "table",
            list(frame),
            f"columns {list(_COLUMNS[:2])}",
            f"Missing: {missing}.",
        )
    n = scans.sizes[dim]
    if keys := _key_of(scans, dim, frame):
        key, named = keys
        own = [os.path.basename(str(v)) for v in scans[named].values]
        rows = [os.path.basename(str(v)) for v in frame[key]]
        twice = {r for r in rows if rows.count(r) > 1}
        if twice & set(own):
            raise ArgumentError(
                "table", sorted(twice)[0], f"each {key} once", "It stands there twice."
            )
        order = [rows.index(name) if name in rows else -1 for name in own]
    elif len(frame["voltage"]) == n:
        order = list(range(n))
    else:
        raise ArgumentError(
            "table",
            f"{len(frame['voltage'])} rows",
            f"{n} rows in the order of the states, or a column among {list(_KEYS)}",
        )
    volts, cycles = np.full((2, n), np.nan)
    branches = np.full(n, "", "U9")
    columns = {name: list(frame[name]) for name in _COLUMNS if name in frame}
    for k, row in enumerate(order):
        if row < 0:
            continue
        branches[k] = _branch(columns["branch"][row])
        volts[k] = _number(columns["voltage"][row])
        if "cycle" in columns:
            cycles[k] = _number(columns["cycle"][row])
    return volts, branches, cycles


def _frame(table: Any) -> Mapping[str, Any]:
    import pandas as pd

    if isinstance(table, str | os.PathLike):
        if not os.path.isfile(table):
            raise ArgumentError("table", str(table), "an existing CSV file")
        table = read_table(table, comment="#")
    if isinstance(table, pd.DataFrame):
        table = table.rename(columns=lambda c: str(c).strip().lower())
        return {str(c): list(table[c]) for c in table}
    return {str(k): list(np.atleast_1d(v)) for k, v in dict(table).items()}


def _with_clock(record: xr.Dataset) -> xr.Dataset:
    """Return a record with a clock, made from its test time if it has none."""
    if "time" in record.coords and not record["time"].isnull().any():
        return record
    seconds = in_units(record["test_time"], "s", caller="attach").values
    start = np.datetime64("2000-01-01", "ns")
    moments = start + np.rint(np.asarray(seconds, float) * 1e9).astype("m8[ns]")
    return record.assign_coords(time=("record", moments))


def _moment(
    record: xr.Dataset,
    half: xr.Dataset,
    first: str | None,
    voltage: float,
    branch: str,
    cycle: float,
    *,
    tolerance: float,
) -> Any:
    """Return the time at which the record reaches a state; None if it does not."""
    if branch == "pristine":
        return record["time"].values[0]
    if not branch or not np.isfinite(voltage):
        return None
    begin = _begin(half, first)
    number = np.arange(half.sizes["half_cycle"])
    cycles = np.where(number >= begin, (number - begin) // 2 + 1, 0)
    mine = half["direction"].values == branch
    wanted = cycles == (1 if np.isnan(cycle) else cycle)
    if np.isnan(cycle):
        wanted |= cycles == 0
    for k in np.flatnonzero(mine & wanted):
        low, high = int(half["first_record"][k]), int(half["last_record"][k])
        moment = _within(record.isel(record=slice(low, high + 1)), voltage, branch)
        away, at_end = _near(half.isel(half_cycle=k), voltage, branch)
        if away <= tolerance:
            if at_end or moment is None:
                return _last_active(record, half.isel(half_cycle=k))
            return moment
    return None


def _begin(half: xr.Dataset, first: str | None) -> int:
    """Return the index of the half cycle with which the first cycle begins."""
    direction = half["direction"].values
    if first is None:
        return int((half["flag"].values[:1] & 1 > 0).any())
    return 0 if direction[:1] == first else 1


def _near(one: xr.Dataset, voltage: float, branch: str) -> tuple[float, bool]:
    """Return how far a half cycle stays from a voltage, and whether it ends there."""
    low, high = float(one["voltage_min"]), float(one["voltage_max"])
    end = high if branch == "charge" else low
    away = max(voltage - high, low - voltage, 0.0)
    return away, abs(voltage - end) <= _AT_END


def _last_active(record: xr.Dataset, one: xr.Dataset) -> Any:
    """Return the time at which the current of a half cycle ends."""
    low, high = int(one["first_record"]), int(one["last_record"])
    time = in_units(record["test_time"], "s", caller="attach")
    inside = time.isel(record=slice(low, high + 1)).values
    end = float(one["test_time_end"])
    at = low + int(np.argmin(np.abs(inside - end)))
    return record["time"].values[at]


def _within(rows: xr.Dataset, voltage: float, branch: str) -> Any:
    """Return the interpolated time at which rows first reach a voltage."""
    volts = in_units(rows["voltage"], "V", caller="attach").values.astype(float)
    sign = 1.0 if branch == "charge" else -1.0
    reached = np.flatnonzero(sign * (volts - voltage) >= 0)
    if not reached.size:
        return None
    k = int(reached[0])
    times = rows["time"].values.astype("M8[ns]")
    if k == 0 or volts[k] == volts[k - 1]:
        return times[k]
    share = (voltage - volts[k - 1]) / (volts[k] - volts[k - 1])
    step = (times[k] - times[k - 1]) / np.timedelta64(1, "ns")
    return times[k - 1] + np.timedelta64(round(share * step), "ns")


def _labels(
    record: xr.Dataset,
    times: np.ndarray,
    first: str | None,
    mass: float | None,
    formula: Any,
    counting: Counting | None,
) -> dict[str, xr.Variable]:
    """Return the labels that `join` gives at these times."""
    known = ~np.isnat(times)
    moments = times.copy()
    moments[~known] = record["time"].values[0]
    n = times.size
    # Add two instants, so that states at one time are not refused as a copied clock.
    ends = record["time"].values[[0, -1]].astype("M8[ns]")
    series = xr.DataArray(
        np.zeros(n + 2),
        dims="scan",
        coords={"time": ("scan", np.concatenate([moments, ends]))},
    )
    joined = join(
        record,
        series,
        exposure=0.0,
        first=first,  # type: ignore[arg-type]
        mass=mass,
        formula=formula,
        counting=counting,
    ).isel(scan=slice(n))
    out = {}
    names = ("voltage", "capacity", "capacity_total", "half_cycle", "cycle")
    for name in (*names, "specific_capacity", "li_content"):
        if name in joined.coords:
            variable = joined[name].variable.copy(deep=True)
            values = np.where(known, variable.values, np.nan)
            out[name] = xr.Variable("scan", values, variable.attrs)
    return out
