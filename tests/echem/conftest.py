"""Records of known charge, made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Callable


def record(
    test_time: Any, voltage: Any, current: Any, *, mean: bool = False, **more: Any
) -> xr.Dataset:
    rows = xr.Dataset(
        {
            "voltage": ("record", np.asarray(voltage, float), {"units": "V"}),
            "current": ("record", np.asarray(current, float), {"units": "mA"}),
        },
        {"test_time": ("record", np.asarray(test_time, float), {"units": "s"})},
    )
    if mean:
        rows["current"].attrs["cell_methods"] = "test_time: mean"
    for name, values in more.items():
        values = np.asarray(values)
        attrs = {"units": "mA h"} if "capacity" in name else {}
        rows[name] = ("record", values, attrs)
    return rows.set_coords([n for n in ("file", "time") if n in rows])


def cycled(
    n: int, *, rows: int = 200, rest: int = 20, loss: float = 0.1, first: int = 1
) -> xr.Dataset:
    """Return `n` cycles at 1 mA; the second half cycle is shorter by `loss`."""
    second = round(rows * (1 - loss))
    parts = []
    for length, sign in ((rows, first), (second, -first)) * n:
        x = np.linspace(0, 1, length)
        volts = 3 + x if sign > 0 else 4 - x * length / rows
        parts.append((np.full(length, float(sign)), volts))
        parts.append((np.zeros(rest), np.full(rest, volts[-1] - 0.05 * sign)))
    current, voltage = (np.concatenate(p) for p in zip(*parts, strict=True))
    return record(np.arange(current.size) * 3.6, voltage, current)


@pytest.fixture
def make_record() -> Callable[..., xr.Dataset]:
    return record


@pytest.fixture
def make_cycled() -> Callable[..., xr.Dataset]:
    return cycled
