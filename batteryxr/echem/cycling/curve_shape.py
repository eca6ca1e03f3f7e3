"""Prepare one dQ/dV curve for the search of features: values, noise, tops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.labels import require_monotonic
from batteryxr.core.model import require_dims, require_variables
from batteryxr.echem.cycling.curves import Smoothing

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

#: Least prominence of a peak, as a fraction of the highest, and in errors.
_LEAST, _ERRORS = 0.02, 5.0
#: Half span of the parabola, as a fraction of the width of a peak.
SPAN = 0.3


@dataclass(frozen=True)
class Differential:
    """Hold the finite part of one dQ/dV curve, in the units of the data."""

    v: np.ndarray
    y: np.ndarray
    error: np.ndarray
    weights: np.ndarray
    width: float
    noise: float
    step: float
    fwhm: int

    def sd(self, functional: np.ndarray, height: float) -> float:
        """Return one standard deviation of a linear functional of the curve."""
        from batteryxr.echem.kernels.smoothers import variance_factor

        factor = variance_factor(functional, self.weights) / self.width**3
        return float(self.noise * np.sqrt(abs(height) * self.step * factor))

    def smoothed_again(self) -> np.ndarray:
        """Return the curve smoothed once more, to find its shift."""
        half = self.weights.size // 2
        padded = np.pad(self.y, half, mode="symmetric")
        return np.convolve(padded, self.weights, mode="valid")

    def sd_charge(self, height: float) -> float:
        """Return one standard deviation of the charge up to a voltage."""
        power = float((self.weights**2).sum()) / self.width
        return float(self.noise * np.sqrt(abs(height) * self.step * power))


def kept(result: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return the coordinates of the half cycles."""
    return {str(n): c for n, c in result.coords.items() if c.dims == ("half_cycle",)}


def each(result: xr.Dataset, caller: str) -> Iterator[Differential]:
    """Yield the curves of a result of `dqdv`."""
    needed = ("dqdv", "dqdv_error", "voltage_noise", "charge_step", "total_capacity")
    require_variables(result, needed, caller=caller)
    require_dims(result, ("half_cycle", "voltage"), caller=caller)
    if "voltage" in result.coords:
        require_monotonic(result["voltage"], caller=caller)
    smooth = Smoothing.from_attrs(result.attrs)
    weights = smooth.weights()
    v = result["voltage"].values
    width = float(smooth.bin)
    fwhm = max(1, round(float(smooth.smoothing) / width))
    columns = [result[name].values for name in needed[:4]]
    for y, error, noise, step in zip(*columns, strict=True):
        inside = np.isfinite(y)
        yield Differential(
            v[inside], y[inside], error[inside], weights, width, noise, step, fwhm
        )


def candidates(
    curve: Differential, prominence: float | None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the rows of prominent peaks, and their properties."""
    from scipy.signal import find_peaks

    # Leave out the ends, where a curve falls, or a hold piles up charge.
    inner = curve.y[curve.fwhm : -curve.fwhm]
    if inner.size < 3:
        return np.empty(0, int), {}
    least = _LEAST * float(inner.max()) if prominence is None else prominence
    tops, how = find_peaks(inner, prominence=least, width=0, rel_height=0.5)
    tops = tops + curve.fwhm
    if prominence is None:
        real = how["prominences"] > _ERRORS * curve.error[tops]
        tops, how = tops[real], {name: values[real] for name, values in how.items()}
    return tops, how


def summit(curve: Differential, top: int, width: float) -> tuple[float, float, int]:
    """Return place (in bins) and height of a peak, and the half width used."""
    from batteryxr.echem.kernels.smoothers import extremum

    half = max(curve.fwhm // 2, round(SPAN * width))
    place, height, half, true = extremum(curve.y, top, half)
    if not true:
        place, height, half, _ = extremum(curve.y, top, 1)
    return place, height, half
