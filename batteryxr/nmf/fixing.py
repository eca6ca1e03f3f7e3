"""Components that are known: from a scan, an earlier fit, or a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DimensionError

if TYPE_CHECKING:
    from batteryxr.nmf.layout import Layout


@dataclass(frozen=True)
class Known:
    """Fixed components: names, and patterns (components, points) of the data."""

    names: tuple[str, ...]
    patterns: np.ndarray

    def __len__(self) -> int:
        return len(self.names)


def resolve_fixed(layout: Layout, fixed: Any) -> Known:
    """Return the fixed components as patterns on the grid of the data.

    Parameters
    ----------
    layout
        The data; a scan that is fixed is read from them.
    fixed
        None; an earlier fit, or some of its components
        (``fit.sel(component=["CP1"])``); or a mapping of names to patterns, where a
        pattern is the number of a scan (-1 for the last), or a DataArray along the
        signal.

    Raises
    ------
    ArgumentError, DimensionError
        If a pattern is no such thing, has gaps, or lies on another grid.
    """
    if fixed is None:
        return Known((), np.empty((0, layout.n_points)))
    if isinstance(fixed, xr.Dataset):
        if "components" not in fixed:
            raise ArgumentError(
                "fixed", list(fixed.data_vars), "a fit, with the variable 'components'"
            )
        fixed = fixed["components"]
    if isinstance(fixed, xr.DataArray):
        if "component" not in fixed.dims:
            raise DimensionError(
                f"fixed has the dimensions {fixed.dims}; expected 'component' and "
                f"{layout.signal!r}, or a mapping: fixed={{'name': pattern}}."
            )
        names = fixed["component"].values
        fixed = {str(n): fixed.isel(component=i) for i, n in enumerate(names)}
    if not isinstance(fixed, Mapping):
        raise ArgumentError(
            "fixed",
            type(fixed).__name__,
            "a mapping of names to scans or patterns, or an earlier fit",
            "For example fixed={'pristine': 0, 'reduced': -1}.",
        )
    if not fixed:
        return resolve_fixed(layout, None)
    patterns = [_pattern(layout, str(n), p) for n, p in fixed.items()]
    return Known(tuple(str(n) for n in fixed), np.array(patterns))


def _pattern(layout: Layout, name: str, pattern: Any) -> np.ndarray:
    where = f"fixed[{name!r}]"
    if isinstance(pattern, int | np.integer) and not isinstance(pattern, bool):
        if not layout.series:
            raise ArgumentError(
                where, pattern, "a pattern: images have no numbered scans"
            )
        (dim,) = layout.samples
        size = layout.data.sizes[dim]
        if not -size <= pattern < size:
            raise ArgumentError(where, pattern, f"a scan from {-size} to {size - 1}")
        pattern = layout.data.isel({dim: int(pattern)})
    if not isinstance(pattern, xr.DataArray):
        raise ArgumentError(
            where, type(pattern).__name__, "the number of a scan, or a DataArray"
        )
    if pattern.dims != (layout.signal,):
        raise DimensionError(
            f"{where} has the dimensions {pattern.dims}; expected "
            f"{(layout.signal,)}, a single pattern."
        )
    _require_grid(layout, pattern, where)
    values = pattern.values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ArgumentError(
            where,
            f"a pattern with {int((~np.isfinite(values)).sum())} gaps",
            "finite values",
            "Choose another scan, or interpolate over the gaps.",
        )
    return values


def _require_grid(layout: Layout, pattern: xr.DataArray, where: str) -> None:
    axis = layout.signal
    mend = f"Bring it on the grid of the data: `.interp({axis}=data[{axis!r}])`."
    if pattern.sizes[axis] != layout.n_points:
        raise DimensionError(
            f"{where} has {pattern.sizes[axis]} points along {axis!r}, the data "
            f"{layout.n_points}. {mend}"
        )
    if axis in pattern.coords and axis in layout.data.coords:
        mine, theirs = layout.data[axis].values, pattern[axis].values
        if not np.allclose(mine, theirs, rtol=1e-6, atol=1e-9):
            worst = float(np.abs(mine - theirs).max())
            raise DimensionError(
                f"{where} lies on another grid: {axis!r} differs by up to "
                f"{worst:.3g}. {mend}"
            )
