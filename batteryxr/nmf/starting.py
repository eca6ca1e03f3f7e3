"""Initial components: those that are known, and starts for the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core.blocks import is_lazy
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DimensionError,
    warn_quality,
)
from batteryxr.core.labels import matched
from batteryxr.core.units import in_units_of
from batteryxr.nmf.data import real
from batteryxr.nmf.shifts import NOISE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from batteryxr.nmf.data import Patterns

    Known: TypeAlias = Mapping[str, int | xr.DataArray] | xr.Dataset | xr.DataArray
    Fixed: TypeAlias = Known | None
    Start: TypeAlias = Literal["pure", "singular", "random"] | xr.Dataset | xr.DataArray


#: Origin of a component: found here, or fixed as a scan, as a given pattern, or as
#: the result of an earlier factorisation.
ORIGINS = ("free", "scan", "pattern", "found")


@dataclass(frozen=True, eq=False)
class Starts:
    """Hold the components before any refinement.

    Parameters
    ----------
    n
        Number of components, fixed ones included.
    names
        Names of the fixed components, which come first in each array.
    fixed
        (fixed, points) shifted like the data.
    raw
        (fixed, points) as given.
    origins
        Origin of each fixed component, one of `ORIGINS`.
    scans
        Scan number of each fixed component; -1 for none.
    called
        Names of free components, if they have any.
    first
        The first start: a kind, or components (n, points).
    number
        Number of starts; all but the first are random.
    seed
        Seed of the random starts, and of the sample of a large stack.
    """

    n: int
    names: tuple[str, ...]
    fixed: np.ndarray
    raw: np.ndarray
    origins: tuple[str, ...] = ()
    scans: tuple[int, ...] = ()
    called: tuple[str, ...] = ()
    first: str | np.ndarray = "pure"
    number: int = 1
    seed: int = 0

    @property
    def is_fixed(self) -> np.ndarray:
        """Return which components are fixed, (n,)."""
        return np.arange(self.n) < len(self.names)

    def at(self, points: np.ndarray) -> Starts:
        """Return the starts at the points of a mask (all points,)."""
        first = self.first if isinstance(self.first, str) else self.first[:, points]
        fixed, raw = self.fixed[:, points], self.raw[:, points]
        return replace(self, fixed=fixed, raw=raw, first=first)

    def given(self) -> np.ndarray:
        """Return the fixed components as rows of (n, points), zero where free."""
        out = np.zeros((self.n, self.fixed.shape[1]))
        out[: len(self.names)] = self.fixed
        return out

    def kinds(self) -> list[str]:
        """Return the kind of each start: the first as chosen, the others random."""
        first = self.first if isinstance(self.first, str) else "given"
        return [first] + ["random"] * (self.number - 1)


def begin(
    patterns: Patterns,
    n_components: int | None,
    fixed: Fixed,
    *,
    first: Start = "pure",
    number: int = 1,
    seed: int = 0,
) -> Starts:
    """Return the starts of a factorisation.

    Raises
    ------
    ArgumentError, DataError, DimensionError
        If a number or a pattern does not fit the data.
    """
    names: tuple[str, ...] = ()
    raw = np.empty((0, patterns.n_points))
    origins: tuple[str, ...] = ()
    scans: tuple[int, ...] = ()
    if fixed is not None:
        known = _named(fixed, patterns.signal)
        names, raw = tuple(known), _rows(patterns, known)
        origins, scans = _origins(fixed, len(names)), (-1,) * len(names)
        if patterns.series and not isinstance(fixed, xr.Dataset | xr.DataArray):
            scans = _scans(patterns, known, raw)
        # A scan selected by its label still counts as a scan.
        origins = tuple(
            "scan" if scan >= 0 else origin
            for scan, origin in zip(scans, origins, strict=True)
        )
    n = _number(n_components, len(names), (patterns.n_samples, patterns.n_points))
    starts = Starts(
        n=n,
        names=names,
        fixed=_shifted(fixed, raw, patterns.shift),
        raw=raw,
        origins=origins,
        scans=scans,
        number=1 if n == len(names) else number,
        seed=seed,
    )
    if not isinstance(first, str):
        return replace(starts, first=_given_start(patterns, first, starts))
    return replace(starts, first=first)


def _number(n: int | None, known: int, shape: tuple[int, int]) -> int:
    if n is None:
        if not known:
            raise ArgumentError(
                "n_components",
                None,
                "the number of components",
                "`model_order(data)` shows what the data support.",
            )
        return known
    if n < known:
        raise ArgumentError(
            "n_components", n, f"at least {known}: fixed components count among them"
        )
    most = min(shape)
    if n > most:
        raise ArgumentError(
            "n_components",
            n,
            f"at most {most}: there are {shape[0]} patterns of {shape[1]} points",
        )
    return int(n)


def refuse_rank(n: int, rank: int, what: str) -> None:
    """Raise if more components are asked for than the data can support."""
    if n > rank:
        raise ArgumentError(
            "n_components",
            n,
            f"at most {rank}, {what}",
            "More components would divide noise, or nothing, among them.",
        )


def _given_start(patterns: Patterns, start: Any, starts: Starts) -> np.ndarray:
    """Return the initial components (n, points), in the order of the components."""
    known = _named(start, patterns.signal)
    names, raw = list(known), _rows(patterns, known)
    if len(names) != starts.n:
        raise DataError(
            "start",
            f"has {len(names)} components; expected {starts.n}, one for each component "
            "to be found",
        )
    order = [names.index(name) for name in starts.names if name in names]
    rest = [i for i in range(starts.n) if i not in order]
    return _shifted(start, raw, patterns.shift)[order + rest]


def _shifted(given: Any, raw: np.ndarray, shift: np.ndarray | None) -> np.ndarray:
    """Return components shifted like the data, unless they already are."""
    ready = (
        isinstance(given, xr.Dataset)
        and given.attrs.get("shift_kind", "none") != "none"
        and not given.attrs.get("closure", 1)
    )
    return raw if ready or shift is None else raw - shift


def _named(fixed: Known, signal: str) -> dict[str, Any]:
    """Return known patterns by name.

    Parameters
    ----------
    fixed
        An earlier fit, or some of its components (``fit.sel(component=["CP1"])``); or
        a mapping of names to patterns. A pattern is the number of a scan (-1 for the
        last), or a DataArray along the signal.
    signal
        Dimension of a pattern.

    Raises
    ------
    DataError, DimensionError
        If they are no components, or have names that are alike.
    """
    if isinstance(fixed, xr.Dataset):
        if "components" not in fixed:
            raise DataError(
                "fixed",
                f"a Dataset of {list(fixed.data_vars)}; expected a fit, with the "
                "variable 'components'",
            )
        fixed = fixed["components"]
    if isinstance(fixed, xr.DataArray):
        if "component" not in fixed.dims:
            raise DimensionError(
                f"fixed has the dimensions {fixed.dims}; expected 'component' and "
                f"{signal!r}, or a mapping: fixed={{'name': pattern}}."
            )
        names = [str(n) for n in fixed["component"].values]
        patterns: list[Any] = [fixed.isel(component=i) for i in range(len(names))]
    else:
        names, patterns = [str(n) for n in fixed], list(fixed.values())
    if len(set(names)) < len(names):
        raise DataError("fixed", f"has names that are alike: {names}", "Rename them.")
    return dict(zip(names, patterns, strict=True))


def _rows(patterns: Patterns, known: dict[str, Any]) -> np.ndarray:
    """Return known patterns (components, points) on the grid of the data.

    Scans that are known by their number are read.

    Raises
    ------
    ArgumentError, DataError, DimensionError
        If a pattern is not usable, has gaps, or lies on another grid.
    """
    rows = []
    for name, pattern in known.items():
        where, unit = f"fixed[{name!r}]", patterns.unit
        if not isinstance(pattern, xr.DataArray):
            if not patterns.series:
                raise ArgumentError(
                    where, pattern, "a pattern: images have no numbered scans"
                )
            (dim,) = patterns.samples
            number, size = int(pattern), patterns.n_samples
            if not -size <= number < size:
                raise ArgumentError(
                    where, pattern, f"a scan from {-size} to {size - 1}"
                )
            tell_place(patterns.whole[dim], number, where)
            pattern, unit = patterns.whole.isel({dim: number}).astype(np.float64), 1.0
        rows.append(_pattern(patterns.blank, pattern, where) / unit)
    _refuse_impossible(tuple(known), rows, signed=patterns.shift is None)
    return np.reshape(rows, (-1, patterns.n_points))


def _origins(fixed: Known, n: int) -> tuple[str, ...]:
    """Return the origin of each fixed component."""
    if isinstance(fixed, xr.Dataset) and "origin" in fixed:
        told = [ORIGINS[int(i)] for i in np.atleast_1d(fixed["origin"].values)]
        return tuple("found" if origin == "free" else origin for origin in told)
    if isinstance(fixed, xr.Dataset):
        fixed = fixed["components"]
    if isinstance(fixed, xr.DataArray):
        return (_origin(fixed),) * n
    return tuple(_origin(pattern) for pattern in fixed.values())


def _origin(pattern: int | xr.DataArray) -> str:
    if not isinstance(pattern, xr.DataArray):
        return "scan"
    told = str(pattern.attrs.get("origin", "pattern"))
    return told if told in ORIGINS else "pattern"


def _scans(
    patterns: Patterns, known: dict[str, Any], raw: np.ndarray
) -> tuple[int, ...]:
    """Return the scan number of each known pattern, -1 if it is no scan."""
    (dim,) = patterns.samples
    data, found = patterns.whole, []
    for pattern, row in zip(known.values(), raw, strict=True):
        if not isinstance(pattern, xr.DataArray):
            found.append(int(pattern) % patterns.n_samples)
            continue
        near: list[int] = []
        if dim in pattern.coords and dim in data.coords:
            near = np.flatnonzero(data[dim].values == pattern[dim].values).tolist()
        elif patterns.held and not is_lazy(data):
            near = list(range(patterns.n_samples))
        size = 1e-6 * np.abs(row).max()
        same = (
            i for i in near if np.allclose(data.isel({dim: i}).values, row, 0.0, size)
        )
        found.append(next(same, -1))
    return tuple(found)


def _refuse_impossible(
    names: tuple[str, ...], rows: list[np.ndarray], *, signed: bool
) -> None:
    """Raise if a pattern is impossible for a phase, or appears under two names."""
    for i, (name, row) in enumerate(zip(names, rows, strict=True)):
        where = f"fixed[{name!r}]"
        power = float((row**2).sum())
        if power == 0.0:
            raise DataError(
                where,
                "a pattern that is zero everywhere; expected the signal of a phase",
                "Choose another scan or pattern.",
            )
        below = float((np.minimum(row, 0.0) ** 2).sum())
        if signed and below > NOISE * power:
            raise DataError(
                where,
                f"a pattern with negative values ({below / power:.1%} of its squared "
                "signal), where no shift makes them possible",
                "Change its sign, or say how signed patterns become non-negative, "
                "constraints=nmf.Constraints(shift=...).",
            )
        for other, before in zip(names[:i], rows[:i], strict=True):
            if np.array_equal(row, before):
                raise DataError(
                    "fixed",
                    f"one pattern under two names, {other!r} and {name!r}: how much "
                    "there is of each cannot be told",
                    "Leave one of them out.",
                )


def tell_place(scans: xr.DataArray, number: int, where: str) -> None:
    """Warn if a number is the position of one scan and the label of another."""
    dim, labels = scans.name, scans.values
    if dim not in scans.indexes or number < 0:
        return
    if labels.dtype.kind in "iuf" and labels[number] != number and number in labels:
        warn_quality(
            f"{where}={number} counts scans from 0 and is the one labelled "
            f"{labels[number]:g}; there is a scan labelled {number}, too: pass "
            f"np.flatnonzero(data[{dim!r}] == {number}) for that."
        )


def _pattern(blank: xr.DataArray, pattern: xr.DataArray, where: str) -> np.ndarray:
    """Return a known pattern on the points, and in the units, of a blank one."""
    if pattern.dims != blank.dims:
        raise DimensionError(
            f"{where} has the dimensions {pattern.dims}; expected "
            f"{blank.dims}, a single pattern."
        )
    pattern = in_units_of(blank, real(pattern, where))
    pattern = matched(blank, pattern, argument=where)
    values = pattern.values.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(
            where,
            f"a pattern with {int((~np.isfinite(values)).sum())} gaps",
            "Choose another scan, or interpolate over the gaps.",
        )
    return values
