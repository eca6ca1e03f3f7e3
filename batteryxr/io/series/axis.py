"""Bring a series of scans onto one axis, by interpolation with a warning if needed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError, FileFormatError
from batteryxr.io.door.files import named, stamp
from batteryxr.io.door.marks import gaps_in, holes_in
from batteryxr.io.series.scans import same_axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.io.door.files import Stamp
    from batteryxr.io.series.contents import Scan, ScanSource

#: Files per dask chunk.
_GROUP = 64
_FEW = 4  # at most one in so many files was stopped early
_NAMED = 3  # most files that a warning names


def on_one_axis(
    scans: Sequence[Scan], interpolate: Any, *, lazy: bool
) -> tuple[Any, np.ndarray, list[str]]:
    """Return the data of all scans, their common axis, and messages for the user.

    Parameters
    ----------
    scans
        Scans whose headers were read; their numbers too unless `lazy`.
    interpolate
        True, False, or the axis to interpolate onto.
    lazy
        Return a dask array. Axes are then compared by their ends, and checked again
        when the files are read.

    Raises
    ------
    ArgumentError
        If the axes do not overlap, or `interpolate` is not an axis.
    FileFormatError
        If axes differ and `interpolate` is False, or an axis does not increase.
    """
    first = _usual(scans)
    own = first.data[0] if first.data else first.source.read()[0]
    wanted = None if isinstance(interpolate, bool) else _grid(interpolate, first.axis)
    differ = [s for s in scans if not _like(s, own)]
    _refuse_other_units(differ, own, first)
    messages = []
    if wanted is None and (lost := gaps_in(own)):
        messages.append(
            f"{first.source.path.name}: {lost} points seem to be missing where all "
            "other steps of the axis are alike. Was a part cut out or not measured?"
        )
    cut = [s for s in differ if _is_part(s, own)] if wanted is None else []
    if cut and _FEW * len(cut) <= len(scans) and interpolate:
        messages.append(
            f"{len(cut)} of {len(scans)} files end early on the axis of "
            f"{first.source.path.name} and were stopped or cut: {_listed(cut)}. What "
            "they lack is NaN."
        )
        differ = [s for s in differ if not any(s is c for c in cut)]
    else:
        cut = []
    grid = own if wanted is None else wanted
    if differ and wanted is None:
        if not interpolate:
            raise FileFormatError(
                differ[0].source.path,
                f"{_extent(differ[0])}, but {first.source.path.name} {_extent(first)}. "
                "Pass interpolate=True to bring all onto a common axis.",
            )
        grid = _overlap([s for s in scans if s not in cut], own)
        messages.append(
            f"{len(differ)} of {len(scans)} files have another axis than "
            f"{first.source.path.name} ({_extent(first)}): {_listed(differ)}. All are "
            f"interpolated linearly onto its {grid.size} points from {grid[0]:g} to "
            f"{grid[-1]:g} that every file covers."
        )
    if lazy:
        whole = wanted is None and not cut
        return _lazy(scans, grid, whole=whole), grid, messages
    data = np.empty((len(scans), grid.size))
    for row, scan in enumerate(scans):
        assert scan.data is not None
        data[row] = _on_grid(scan.source, grid, *scan.data)
    told = {id(s) for s in cut}
    missing = np.isnan(data).sum(axis=1)
    rows = zip(scans, missing.tolist(), strict=True)
    if gaps := [(s, n) for s, n in rows if n and id(s) not in told]:
        messages.append(
            f"{sum(n for _, n in gaps)} values in {len(gaps)} files are missing or "
            f"not finite, and NaN: {_listed([s for s, _ in gaps], extents=False)}"
        )
    return data, grid, messages


def _refuse_other_units(differ: Sequence[Scan], own: np.ndarray, first: Scan) -> None:
    """Raise if an axis is the common one multiplied by a power of ten."""
    for scan in differ:
        ends = np.array(scan.ends, dtype=np.float64)
        if own[0] == 0.0 or not (ends / own[[0, -1]] > 0).all():
            continue
        power = np.log10(ends / own[[0, -1]])
        whole = np.round(power)
        if (
            whole[0] != 0
            and whole[0] == whole[1]
            and np.allclose(power, whole, atol=2e-3)
        ):
            factor = 10.0 ** whole[0]
            raise FileFormatError(
                scan.source.path,
                f"{_extent(scan)}: {factor:g} times the axis of "
                f"{first.source.path.name}. Is it in other units, such as nm among "
                "Angstrom? Convert it, or read it apart: axis='r (nm)'.",
            )


def _usual(scans: Sequence[Scan]) -> Scan:
    """Return the first scan with the most frequent first and last point."""
    count = Counter(s.ends for s in scans)
    most = max(count.values())
    return next(s for s in scans if count[s.ends] == most)


def _is_part(scan: Scan, own: np.ndarray) -> bool:
    """Tell whether a scan covers only the first or only the last points of an axis."""
    low, high = scan.ends
    if (low == own[0]) == (high == own[-1]) or not own[0] <= low <= high <= own[-1]:
        return False
    if scan.data is None:
        return bool(np.isin([low, high], own).all())
    inside = own[(own >= low) & (own <= high)]
    return same_axis(inside, scan.data[0])


def _grid(values: Any, axis: str) -> np.ndarray:
    grid = np.asarray(values, dtype=np.float64)
    if grid.ndim != 1 or grid.size < 2 or not (np.diff(grid) > 0).all():
        raise ArgumentError(
            "interpolate", values, f"True, False, or an increasing {axis} axis"
        )
    return grid


def _like(scan: Scan, axis: np.ndarray) -> bool:
    if scan.data is not None:
        return same_axis(axis, scan.data[0])
    return same_axis(axis[[0, -1]], np.array(scan.ends))


def _overlap(scans: Sequence[Scan], own: np.ndarray) -> np.ndarray:
    low = max(scans, key=lambda s: s.ends[0])
    high = min(scans, key=lambda s: s.ends[1])
    grid = own[(own >= low.ends[0]) & (own <= high.ends[1])]
    if grid.size < 2:
        raise ArgumentError(
            "path",
            f"{len(scans)} files",
            "files whose axes overlap",
            f"{low.source.path.name} {_extent(low)}, {high.source.path.name} "
            f"{_extent(high)}: read them apart.",
        )
    return grid


def _extent(scan: Scan) -> str:
    points = f"{scan.data[0].size} points " if scan.data else ""
    return f"has {points}from {scan.ends[0]:g} to {scan.ends[1]:g}"


def _listed(scans: Sequence[Scan], *, extents: bool = True) -> str:
    shown = [
        f"{s.source.path.name} {_extent(s)}" if extents else s.source.path.name
        for s in scans[:_NAMED]
    ]
    more = len(scans) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _on_grid(
    source: ScanSource, grid: np.ndarray, axis: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Return values on `grid`; NaN where rows are missing in an even axis."""
    if same_axis(grid, axis):
        return values
    new = source.resampled(grid, axis, values)
    for i in holes_in(axis):
        room = 0.01 * abs(axis[i + 1] - axis[i])
        low, high = sorted(axis[i : i + 2])
        new[(grid > low + room) & (grid < high - room)] = np.nan
    return new


def _lazy(scans: Sequence[Scan], grid: np.ndarray, *, whole: bool) -> Any:
    load = blocks.delayed(_load, pure=True)
    pieces = []
    for start in range(0, len(scans), _GROUP):
        sources = [s.source for s in scans[start : start + _GROUP]]
        # The task's name includes the stamp, so that a changed file is read anew.
        stamps = [stamp(s.path) for s in sources]
        shape = (len(sources), grid.size)
        pieces.append(
            blocks.from_delayed(load(sources, grid, whole, stamps), shape, np.float64)
        )
    return blocks.concatenate(pieces)


def _load(
    sources: Sequence[ScanSource], grid: np.ndarray, whole: bool, stamps: list[Stamp]
) -> np.ndarray:
    """Read a group of files onto `grid`; if `whole`, each file must cover it."""
    data = np.empty((len(sources), grid.size))
    for row, (source, about) in enumerate(zip(sources, stamps, strict=True)):
        about.check()
        with named(source.path):
            axis, values = source.read()
        if whole and (axis[0] > grid[0] or axis[-1] < grid[-1]):
            raise FileFormatError(
                source.path,
                f"its axis goes from {axis[0]:g} to {axis[-1]:g} and does not cover "
                f"{grid[0]:g} to {grid[-1]:g}. The file is cut or damaged.",
            )
        data[row] = _on_grid(source, grid, axis, values)
    return data
