"""Make plot axes that belong to no single array of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batteryxr.core.model import attributes
from batteryxr.core.plotting import dimension

#: Number of ticks of an axis of whole numbers, and steps between them.
_TICKS = 10
_STEPS = [m * 10**e for e in range(9) for m in (1, 2, 5)]
#: Half the narrowest span of an axis of efficiencies, in per cent: equal ones lie on a
#: line, where an axis as narrow as their rounding would show a cloud.
_NARROWEST = 0.1


def axis(name: str, **attrs: str) -> Any:
    """Return the axis of a quantity by its name; `attrs` as in `attributes`."""
    return dimension(xr.DataArray(np.nan, name=name, attrs=attributes(name, **attrs)))


def hours() -> Any:
    """Return the axis of time in hours."""
    return axis("time", units="h", long_name="Time")


def per_cent(efficiencies: np.ndarray) -> Any:
    """Return the axis of Coulombic efficiencies in per cent."""
    percent = axis("efficiency", units="%", long_name="Coulombic efficiency")
    if np.isfinite(efficiencies).any():
        middle = float(np.nanmedian(efficiencies))
        percent.soft_range = (middle - _NARROWEST, middle + _NARROWEST)
    return percent


def whole_ticks(numbers: np.ndarray) -> list[int]:
    """Return at most about ten ticks at whole numbers."""
    if not numbers.size:
        return []
    first, last = int(numbers.min()), int(numbers.max())
    every = next(e for e in _STEPS if (last - first) / e <= _TICKS)
    start = first if every == 1 else -(-first // every) * every
    return list(range(start, last + 1, every))
