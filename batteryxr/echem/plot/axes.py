"""Make plot axes that belong to no single array of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batteryxr.core.model import attributes
from batteryxr.core.plotting import dimension


def axis(name: str, **attrs: str) -> Any:
    """Return the axis of a quantity by its name; `attrs` as in `attributes`."""
    return dimension(xr.DataArray(np.nan, name=name, attrs=attributes(name, **attrs)))


def hours() -> Any:
    """Return the axis of time in hours."""
    return axis("time", units="h", long_name="Time")
