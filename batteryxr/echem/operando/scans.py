"""Check a series of scans before the join, and report scans without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    VariableError,
    warn_quality,
)
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.units import in_units

if TYPE_CHECKING:
    from collections.abc import Collection

#: Largest number of names in a message.
_NAMED = 5
_HALF_HOUR = 1800 * 1_000_000_000
#: Exposures longer than so many times the interval between scans cannot be.
_OVERLAP = 2.0
#: How long (ns) after the last row a spectrum may begin.
_AFTER = 300 * 1_000_000_000
#: Attribute of instants that are joined for spectra: how many of the last are rows of
#: the record.
ROWS = "rows_of_record"


def check(scans: xr.DataArray | xr.Dataset, made: set[str]) -> None:
    """Raise if a series has no clock, or data that labels would replace."""
    require_dims(scans, ["scan"], caller="join")
    if "time" not in scans.coords:
        raise VariableError(
            "join needs the coordinate 'time' (UTC) on 'scan'; found "
            f"{sorted(map(str, scans.coords))}. Read the series with read_series, or "
            'add it: `scans.assign_coords(time=("scan", times))`.'
        )
    time = scans["time"]
    if time.dims != ("scan",) or time.dtype.kind != "M":
        raise VariableError(
            f"join needs 'time' as datetime64 on ('scan',); found {time.dtype} on "
            f"{time.dims}."
        )
    if time.size and time.isnull().all():
        raise DataError(
            "time",
            "is missing (NaT) for all scans: their timezone was not declared",
            "Read the series again with read_series(..., timezone='Europe/Paris').",
        )
    _refuse_one_time(scans)
    refuse_taken(scans, made, dim="scan")


def refuse_taken(
    scans: xr.DataArray | xr.Dataset, made: Collection[str], *, dim: str
) -> None:
    """Raise if a series has data or dimensions that labels would replace."""
    taken = set(map(str, scans.dims)) - {dim}
    if isinstance(scans, xr.Dataset):
        taken |= set(map(str, scans.data_vars))
    if taken := taken & set(made):
        name = min(taken)
        what = "spectra" if dim == "spectrum" else "scans"
        raise DataError(
            what,
            f"have data or dimensions with the names of labels, {sorted(taken)}",
            f"Rename them first: `{what}.rename({name}='measured_{name}')`.",
        )


def _refuse_one_time(scans: xr.DataArray | xr.Dataset) -> None:
    """Raise if successive scans all have the same time."""
    time = scans["time"].values
    cells = scans["cell"].values if "cell" in scans.coords else ()
    if time.size > max(1, np.unique(cells).size) and np.unique(time).size == 1:
        raise DataError(
            "time",
            f"is {time[0]} for all {time.size} scans: a copied file's, or a header's",
            "Read the series again with another time_from=, or assign the times.",
        )


def require_clock(record: xr.Dataset, *, caller: str) -> None:
    """Raise if a record has no absolute time."""
    require_variables(record, ["time"], caller=caller)
    ends = record["time"].isel(record=[0, -1]) if record.sizes["record"] else None
    if ends is None or ends.isnull().any():
        raise DataError(
            "record",
            f"{caller} needs absolute time; the timezone of the cycler's computer was "
            "not declared",
            "Read the file again with read_cycler(..., timezone='Europe/Paris').",
        )


def unseen_pauses(record: xr.Dataset) -> dict[str, str]:
    """Return what to say of a record without a clock in its rows; warn of a pause."""
    flags, notes = (record.attrs.get(name, []) for name in ("flags", "flag_notes"))
    if "possible_pause" in flags:
        warn_quality(f"join: {notes[list(flags).index('possible_pause')]}")
    said = record["time"].attrs.get("comment")
    return {} if said is None else {"comment": str(said)}


def exposures(scans: xr.DataArray | xr.Dataset, given: float | None) -> np.ndarray:
    """Return the length of each exposure in s; NaN if unknown."""
    n = scans.sizes["scan" if "scan" in scans.dims else "spectrum"]
    if given is not None:
        _tell_longer(scans, float(given))
        return np.full(n, float(given))
    if "exposure" not in scans.coords:
        raise ArgumentError(
            "exposure",
            None,
            "the length of an exposure in s; `scans` has no coordinate 'exposure'",
            "It is never guessed: exposure=130.0, or exposure=0 for instants.",
        )
    known = in_units(scans["exposure"], "s", caller="join")
    lasting = np.broadcast_to(known.values.astype(np.float64), (n,))
    if (lasting < 0).any():
        least = float(np.nanmin(lasting))
        raise DataError(
            "exposure", f"a time of {least:g} s is below 0", "Pass 0 s or more."
        )
    if np.isnan(lasting).all() and n:
        raise ArgumentError(
            "exposure",
            None,
            "the length of an exposure in s; the files do not give it",
            "It is never guessed: exposure=130.0, or exposure=0 for instants.",
        )
    return lasting


def _tell_longer(scans: xr.DataArray | xr.Dataset, given: float) -> None:
    """Warn of an exposure that is longer than most scans are apart, as of ms."""
    times = scans["time"].values if "time" in scans.coords else np.zeros(0, "M8[ns]")
    apart = np.diff(np.unique(times[~np.isnat(times)])) / np.timedelta64(1, "s")
    if apart.size and given > _OVERLAP * (usual := float(np.median(apart))):
        ms = f" Was it ms? Pass {given * 1e-3:g}." if given * 1e-3 <= usual else ""
        warn_quality(
            f"exposure={given!r} is longer than the {usual:.4g} s between scans.{ms}"
        )


def of_cell(scans: xr.DataArray | xr.Dataset, cell: str | None) -> np.ndarray:
    """Return which scans belong to `cell`; raise if several cells are mixed."""
    n = scans.sizes["scan"]
    if "cell" not in scans.coords:
        if cell is not None:
            raise ArgumentError(
                "cell",
                cell,
                "a name in the coordinate 'cell' of `scans`, which has none",
                "Name it in the pattern of read_series, or leave `cell` out.",
            )
        return np.ones(n, dtype=bool)
    names = np.broadcast_to(scans["cell"].values, (n,)).astype(str)
    known = sorted(set(names.tolist()))
    if cell is None:
        if len(known) < 2:
            return np.ones(n, dtype=bool)
        raise ArgumentError(
            "cell",
            None,
            f"one of {known}",
            "The scans are of several cells, the record is of one.",
        )
    if str(cell) not in known:
        raise ArgumentError("cell", cell, f"one of {known}")
    return names == str(cell)


def warn_outside(
    scans: xr.DataArray | xr.Dataset,
    known: np.ndarray,
    outside: np.ndarray,
    when: tuple[np.ndarray, np.ndarray],
    *,
    span: tuple[int, int],
) -> None:
    """Warn of scans without labels, and of a time zone that may explain it.

    Parameters
    ----------
    scans
        All scans; the last of them may be rows of the record: `ROWS`.
    known
        Those with a time, by number.
    outside
        (known,) whether the record lacks them.
    when
        Their starts and ends (ns).
    span
        First and last moment of the record (ns).
    """
    rows = scans.attrs.get(ROWS, 0)
    kept = known < scans.sizes["scan"] - rows
    known, outside, starts, ends = (v[kept] for v in (known, outside, *when))
    if not outside.any():
        return
    what = "spectra" if rows else "scans"
    text = (
        f"{outside.sum()} of {outside.size} {what} are not covered by the record and "
        f"have no labels: {names(scans, known[outside])}. "
        f"The record spans {_utc(span[0])} to {_utc(span[1])}, "
        f"these {what} {_utc(starts[outside].min())} to {_utc(ends[outside].max())} "
        "(UTC)."
    )
    within = outside & (starts >= span[0]) & (ends <= span[1])
    if n := int(within.sum()):
        text += f" {n} of them lie between its rows, in a pause or a gap."
    whole = span[0], span[1] + (_AFTER if rows else 0)
    if n < outside.sum() and (shift := zone_shift(starts, ends, whole)):
        verb = "looks like" if outside.mean() > 0.5 else "may be"
        text += (
            f" This {verb} a time-zone error of {hours(-shift)}: with their "
            f"times moved by {hours(shift)} the record covers them. Check `timezone=` "
            f"of both readers, or declare it: clock=Clock(offset_s={shift * 1800})."
        )
    warn_quality(text)


def zone_shift(
    starts: np.ndarray, ends: np.ndarray, span: tuple[int, int]
) -> int | None:
    """Return the shift in half hours that moves all scans into the record.

    Whole hours are tried before half ones, and small shifts before large ones. None
    if no time zone explains it.
    """

    def inside(half_hours: int) -> int:
        moved = half_hours * _HALF_HOUR
        return int(((starts + moved >= span[0]) & (ends + moved <= span[1])).sum())

    for sizes in (range(2, 29, 2), range(1, 29, 2)):
        for shift in (sign * size for size in sizes for sign in (1, -1)):
            if inside(shift) == starts.size:
                return shift
    return None


def hours(half_hours: float) -> str:
    """Return half hours as text, such as "+2 h"."""
    return f"{half_hours / 2:+g} h"


def names(scans: xr.DataArray | xr.Dataset, where: np.ndarray) -> str:
    """Return the names of scans: their files, else their numbers."""
    source: Any = where
    for name in ("file", "scan"):
        if name in scans.coords and scans[name].dims == ("scan",):
            source = scans[name].values[where]
            break
    named = ", ".join(str(v) for v in source[:_NAMED])
    more = where.size - _NAMED
    return f"{named} and {more} more" if more > 0 else named


def _utc(nanoseconds: int) -> str:
    return str(np.datetime64(int(nanoseconds), "ns").astype("M8[s]"))
