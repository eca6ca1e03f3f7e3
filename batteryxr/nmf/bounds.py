"""What physics lets a pattern be at least: the bound of every range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from batteryxr.core.errors import DataError, DimensionError
from batteryxr.core.labels import matched
from batteryxr.nmf.phases.candidates import crystals_of

if TYPE_CHECKING:
    from typing import TypeAlias

    from batteryxr.nmf.phases.candidates import Candidates

    Lowest: TypeAlias = Literal["physics", "fit"] | xr.DataArray

#: A phase may be so much denser than the densest scan; ripples reach below too.
_DENSER = 1.15
#: Nearer than this noise and ripples tell more than density (Angstrom).
_NEAR = 1.0


def lowest(
    result: xr.Dataset, shift: Lowest, candidates: Candidates | None
) -> np.ndarray:
    """Return the curve that no true component can lie below, (points,).

    Where the fit was not shifted, it is zero. For G(r), ``-4 pi rho0 r`` of the
    densest candidate, or of the densest scan and 15 % more: no pair distribution
    function goes lower than where there are no pairs. For other signed patterns the
    lowest value of the shift.
    """
    used = result["shift_curve"].values.astype(np.float64)
    (signal,) = result["shift_curve"].dims
    if isinstance(shift, xr.DataArray):
        shift = matched(result["components"], shift, argument="shift")
        if shift.dims != (signal,):
            raise DimensionError(f"shift has {shift.dims}; expected {(signal,)}.")
        if not np.isfinite(shift.values).all():
            raise DataError("shift", "a curve with NaN; expected finite values")
        return shift.values.astype(np.float64)
    if shift == "fit" or not used.any():
        return used
    if signal != "r" or not _signed(result):
        return np.minimum(used, min(float(used.min()), 0.0))
    r = result[signal].values.astype(np.float64)
    if candidates is not None:
        crystals = crystals_of(candidates).values()
        density = max(float(c.occupancy.sum()) / c.volume for c in crystals)
    else:
        density = _DENSER * _densest(result, r)
    return np.minimum(-4 * np.pi * density * r, used)


def _signed(result: xr.Dataset) -> bool:
    values = np.nan_to_num(result["components"].values)
    below = float((np.minimum(values, 0.0) ** 2).sum())
    return below > 2e-3 * float((values**2).sum())


def _densest(result: xr.Dataset, r: np.ndarray) -> float:
    """Return the highest density that a scan, as it was fitted, speaks of."""
    far = r >= _NEAR
    if not far.any():
        raise DataError("r", f"no distance of {_NEAR} Angstrom and more")
    series = xr.dot(result["weights"], result["components"], dim="component")
    slope = -series.transpose(..., "r").values[..., far] / (4 * np.pi * r[far])
    return max(float(np.nanmax(slope)), 1e-3)
