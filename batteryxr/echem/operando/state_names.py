"""Voltage, branch and cycle of ex situ states: from arguments, names or a table."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import (
    ArgumentError,
    VariableError,
    warn_quality,
)
from batteryxr.core.files import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping


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
_COLUMNS = ("voltage", "branch", "cycle")
_KEYS = ("sample", "label", "file", "scan", "state")


def told_states(
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


def hold_against_names(
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
