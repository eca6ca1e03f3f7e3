"""Spectra smoothed, and brought to one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.preparing.inputs import odd_window, put_back, signal
from batteryxr.xanes.spectra import window as window_of

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.core.checks import Count, Positive
    from batteryxr.xanes.spectra import Range


@recorded
def smooth_spectra(
    spectra: xr.DataArray | xr.Dataset,
    *,
    method: Literal["savgol", "median", "gaussian", "whittaker"] = "savgol",
    window: Count = 7,
    degree: Annotated[int, Bounds(low=0)] = 2,
    stiffness: Positive = 100.0,
    dim: str | None = None,
) -> xr.Dataset:
    """Smooth every spectrum by a named method.

    *Lazy*.

    Parameters
    ----------
    spectra
        Spectra or patterns along `dim`, in any other dimensions.
    method
        "savgol" (Savitzky and Golay), "median", "gaussian", or "whittaker" (penalised
        second differences).
    window
        Points of "savgol" and "median" (an even number is taken as the next odd one);
        full width at half maximum of "gaussian".
    degree
        Of "savgol".
    stiffness
        Of "whittaker".
    dim
        The axis; by default the one there is of shift, energy, two_theta, q, d, r.

    Returns
    -------
    xarray.Dataset
        The spectra. Smoothed values are no longer independent: what is fitted to them
        has errors that are too small, so smooth for figures and fit what was measured.

    Raises
    ------
    ArgumentError
        If a window is wider than the spectra, or no wider than the degree.

    Examples
    --------
    >>> shown = raman.xanes.smooth_spectra(method="savgol", window=9)
    """
    array, along = signal(spectra, dim, caller="smooth_spectra")
    width = odd_window(window, array.sizes[along])
    if method == "savgol" and degree >= width:
        raise ArgumentError("degree", degree, f"below the window of {width} points")
    smoothed = blocks.apply(
        _smoothed,
        array,
        core_dims=[[along]],
        output_dims=[[along]],
        dtypes=[np.float64],
        caller="smooth_spectra",
        method=method,
        width=width,
        degree=degree,
        stiffness=stiffness,
    )
    return put_back(spectra, array, smoothed, {})


def _smoothed(
    values: np.ndarray, *, method: str, width: int, degree: int, stiffness: float
) -> np.ndarray:
    from scipy import ndimage
    from scipy import signal as filters

    from batteryxr.xanes.preparing.whittaker import smooth_rows

    y = np.array(values, np.float64)
    if method == "savgol":
        return np.asarray(filters.savgol_filter(y, width, degree, axis=-1))
    if method == "median":
        size = (1,) * (y.ndim - 1) + (width,)
        return np.asarray(ndimage.median_filter(y, size, mode="nearest"))
    if method == "gaussian":
        sigma = width / np.sqrt(8 * np.log(2))
        return np.asarray(ndimage.gaussian_filter1d(y, sigma, mode="nearest"))
    return smooth_rows(y, stiffness=stiffness)


@recorded
def rescale(
    spectra: xr.DataArray | xr.Dataset,
    *,
    method: Literal["maximum", "area", "vector", "range", "snv"] = "maximum",
    limits: Range | None = None,
    dim: str | None = None,
) -> xr.Dataset:
    """Bring every spectrum to one scale, for comparison.

    *Lazy*.

    Parameters
    ----------
    spectra
        Spectra or patterns along `dim`, in any other dimensions.
    method
        What becomes 1: the "maximum", the "area", the "vector" norm; "range": lowest
        0, highest 1; "snv": mean 0, standard deviation 1.
    limits
        Part of the axis that is measured, such as one band; all by default.
    dim
        The axis; by default the one there is of shift, energy, two_theta, q, d, r.

    Returns
    -------
    xarray.Dataset
        The spectra, and ``scale``, by which they were divided. A spectrum whose scale
        is not above zero becomes missing.

    Raises
    ------
    ArgumentError
        If no point lies in the limits.

    Examples
    --------
    >>> flat.xanes.rescale(method="area", limits=(560, 640))
    """
    array, along = signal(spectra, dim, caller="rescale")
    axis = array[along].values
    inside = np.ones(axis.size, bool)
    if limits is not None:
        inside = window_of(axis, limits, name="limits", least=2)
    offset, scale = blocks.apply(
        _scale,
        array,
        core_dims=[[along]],
        output_dims=[[], []],
        dtypes=[np.float64, np.float64],
        caller="rescale",
        method=method,
        axis=axis,
        inside=inside,
    )
    scale = scale.where(scale > 0)
    units = str(array.attrs.get("units", "1"))
    beside = {"scale": label(scale, "scale", units=units, long_name="Scale")}
    out = put_back(spectra, array, (array - offset) / scale, beside)
    name = str(array.name) if array.name is not None else "intensity"
    out[name].attrs["units"] = "1"
    return out


def _scale(
    values: np.ndarray, *, method: str, axis: np.ndarray, inside: np.ndarray
) -> Any:
    y = np.array(values, np.float64)[..., inside]
    zero = np.zeros(y.shape[:-1])
    if method == "maximum":
        return zero, y.max(axis=-1)
    if method == "area":
        return zero, np.trapezoid(y, axis[inside], axis=-1)
    if method == "vector":
        return zero, np.sqrt((y * y).sum(axis=-1))
    if method == "range":
        return y.min(axis=-1), np.ptp(y, axis=-1)
    return y.mean(axis=-1), y.std(axis=-1)
