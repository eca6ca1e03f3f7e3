"""Standards by name, on the energies of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DataError, DimensionError
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What a Dataset is searched for, in this order.
NAMES = ("flattened", "normalised", "absorption", "optical_density")


def on_grid(
    standards: xr.DataArray | Mapping[str, xr.DataArray], x: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Return names and values (standard, energy) of standards at energies `x`."""
    if isinstance(standards, xr.DataArray):
        whole = as_spectra(standards, caller="standards")
        if "standard" not in whole.dims:
            whole = whole.expand_dims("standard")
        names = (
            [str(n) for n in whole.standard.values]
            if "standard" in whole.coords
            else [f"standard {i + 1}" for i in range(whole.sizes["standard"])]
        )
        items = dict(zip(names, whole.transpose("standard", "energy"), strict=True))
    else:
        items = {
            str(name): as_spectra(item, caller=f"standards[{name!r}]", names=NAMES)
            for name, item in standards.items()
        }
    if not items:
        raise ArgumentError("standards", standards, "at least one spectrum")
    rows = [_interpolated(name, item, x) for name, item in items.items()]
    return list(items), np.stack(rows)


def _interpolated(name: str, item: xr.DataArray, x: np.ndarray) -> np.ndarray:
    from scipy.interpolate import make_interp_spline

    if item.dims != ("energy",):
        raise DimensionError(
            f"standards[{name!r}] is one spectrum along energy; it lies along "
            f"{item.dims}."
        )
    own, y = item.energy.values, item.values.astype(float)
    finite = np.isfinite(y)
    own, y = own[finite], y[finite]
    if own.size == x.size and np.array_equal(own, x):
        return np.asarray(y)
    if own.size < 4 or x[0] < own[0] or x[-1] > own[-1]:
        has = f"{own[0]:.2f} to {own[-1]:.2f} eV" if own.size else "no value"
        raise DataError(
            f"standards[{name!r}]",
            f"it has {has}, which covers less than {x[0]:.2f} to {x[-1]:.2f} eV",
            "Pass a window inside the energies of all of them.",
        )
    return np.asarray(make_interp_spline(own, y, k=3)(x))
