"""Spectra smoothed, and brought to one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.preparing.inputs import like, put_back, signal
from batteryxr.xanes.spectra import window as window_of

if TYPE_CHECKING:
    from batteryxr.core.checks import Positive
    from batteryxr.xanes.spectra import Range

_Method = Literal["gaussian", "lorentzian", "savitzky_golay", "median", "whittaker"]
#: Points that a spectrum has at least, and steps that "whittaker" smooths over at most.
_FEWEST, _STIFF = 3, 1000


@recorded
def smooth(
    spectra: xr.DataArray | xr.Dataset,
    *,
    width: Positive,
    method: _Method = "gaussian",
    degree: Annotated[int, Bounds(low=0, high=20)] = 2,
    dim: str | None = None,
) -> xr.DataArray:
    """Smooth every spectrum along its axis, by a method that the result names.

    *Lazy*. Edges and bands get wider by it, and values are no longer independent, so
    that errors of what is fitted to them are too small: look at differences and plots,
    fit what was measured.

    Parameters
    ----------
    spectra
        Spectra or patterns along `dim`, on any grid, in any other dimensions; missing
        values stay missing and do not spread.
    width
        In units of the axis: standard deviation of the Gaussian; half width at half
        maximum of the Lorentzian; half of the range over which polynomials are fitted
        ("savitzky_golay") or whose "median" is taken; "whittaker" halves waves of a
        length of 2 pi widths.
    method
        The kernel; "whittaker" is penalised least squares (P. H. C. Eilers, Anal. Chem.
        75, 3631 (2003)).
    degree
        Of the polynomials of "savitzky_golay".
    dim
        The axis; by default the one there is of shift, energy, two_theta, q, d, r.

    Returns
    -------
    xarray.DataArray
        Like `spectra`; the attribute `smoothed` says how.

    Raises
    ------
    ArgumentError
        If the width is larger than the axis, or so small that nothing is smoothed.

    Examples
    --------
    >>> mu.xanes.smooth(width=0.5, method="lorentzian")
    >>> shown = raman.xanes.smooth(width=4.0, method="savitzky_golay")
    """
    array, along = signal(spectra, dim, caller="smooth")
    x, units = array[along].values, array[along].attrs["units"]
    _check_width(x, float(width), method, int(degree), str(units))
    values = blocks.apply(
        _smoothed,
        array,
        core_dims=[[along]],
        output_dims=[[along]],
        dtypes=[array.dtype if array.dtype.kind == "f" else float],
        caller="smooth",
        x=x,
        width=float(width),
        method=method,
        degree=int(degree),
    )
    how = f"{method}, {width:g} {units}"
    return like(values, array).assign_attrs(smoothed=how)


def _check_width(
    x: np.ndarray, width: float, method: str, degree: int, units: str
) -> None:
    """Raise where a width smooths nothing, or more than there is.

    Raises
    ------
    ArgumentError
        Says what fits.
    """
    if x.size < _FEWEST or width > np.ptp(x):
        span = f"{np.ptp(x):g} {units} of the axis, of {_FEWEST} points or more"
        thousandth = f"Was it m{units}? Pass {width * 1e-3:g}." if units == "eV" else ""
        raise ArgumentError("width", width, f"no more than the {span}", thousandth)
    least = float(np.diff(x).min())
    if method in ("savitzky_golay", "median"):
        needed = degree + 2 if method == "savitzky_golay" else _FEWEST
        reach = width * (1 + 1e-9)
        count = np.searchsorted(x, x + reach, side="right")
        if (count - np.searchsorted(x, x - reach)).max() < needed:
            raise ArgumentError(
                "width",
                width,
                f"half of a range with {needed} points; steps are {least:g} {units}",
            )
    elif width < 0.25 * least:
        thousand = f"Was it k{units}? Pass {width * 1e3:g}." if units == "eV" else ""
        raise ArgumentError(
            "width", width, f"a part of the step of {least:g} {units}", thousand
        )
    elif method == "whittaker" and width > _STIFF * least:
        raise ArgumentError(
            "width",
            width,
            f"at most {_STIFF} steps of {least:g} {units} by 'whittaker'",
            "Use method='gaussian'.",
        )


def _smoothed(data: np.ndarray, **options: Any) -> np.ndarray:
    from batteryxr.xanes.kernels.smoothing import smooth as kernel

    return kernel(data, **options)


#: What is made of one another.
_OPTICAL = ("absorbance", "transmittance")
#: Largest share of the light that a transmittance may have, noise and reference in it.
_CLEAR = 2.0


@recorded
def rescale(
    spectra: xr.DataArray | xr.Dataset,
    *,
    method: Literal[
        "maximum", "area", "vector", "range", "snv", "absorbance", "transmittance"
    ] = "maximum",
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
        0, highest 1; "snv": mean 0, standard deviation 1. On an uneven axis points
        count by their part of it. "absorbance" makes -log10 of a transmittance (of 1
        or of per cent, as its units tell), "transmittance" the share of 1 from an
        absorbance.
    limits
        Part of the axis that is measured, such as one band; all by default.
    dim
        The axis; by default the one there is of shift, energy, two_theta, q, d, r.

    Returns
    -------
    xarray.Dataset
        The spectra, and ``scale``, by which they were divided. A spectrum whose scale
        is not above zero, or which lacks a value within the limits, becomes missing.

    Raises
    ------
    ArgumentError
        If no point lies in the limits.
    DataError
        If values are none of a transmittance, or are called something else.

    Examples
    --------
    >>> flat.xanes.rescale(method="absorbance")
    >>> flat.xanes.rescale(method="area", limits=(560, 640))
    """
    array, along = signal(spectra, dim, caller="rescale")
    if method in _OPTICAL:
        return _optical(spectra, array, method, limits)
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


def _optical(
    spectra: xr.DataArray | xr.Dataset,
    array: xr.DataArray,
    method: str,
    limits: Range | None,
) -> xr.Dataset:
    """Return absorbance of a transmittance, or the other way round."""
    if limits is not None:
        raise ArgumentError("limits", limits, f"None with method={method!r}")
    (source,) = set(_OPTICAL) - {method}
    if array.name != source:
        raise DataError(
            str(array.name),
            f"is no {source}, of which {method} could be made",
            f"If it is: `.rename({source!r})`.",
        )
    if method == "transmittance":
        values = (-np.log(10.0) * array).pipe(np.exp)
    else:
        units = str(array.attrs.get("units", "1"))
        share = array / 100 if units in ("%", "percent") else array
        said = units in ("%", "percent")  # then noise may exceed all, as beside a band
        if not said and (units not in ("1", "") or float(share.max()) > _CLEAR):
            raise DataError(
                "transmittance",
                f"reaches {float(array.max()):g} in units of {units!r}",
                "Give it its units: `.attrs['units'] = '%'`.",
            )
        dark = int((share <= 0).sum())
        if dark:
            warn_quality(f"{dark} values of the transmittance are not above zero: NaN.")
        values = share.where(share > 0).pipe(np.log10) * -1.0
    labelled = label(values, method, units="1", long_name=method.capitalize())
    values = labelled.assign_attrs(array.attrs | labelled.attrs)
    out = spectra.drop_vars(source) if isinstance(spectra, xr.Dataset) else values
    return put_back(out, values, values, {})


def _scale(
    values: np.ndarray, *, method: str, axis: np.ndarray, inside: np.ndarray
) -> Any:
    y = np.array(values, np.float64)[..., inside]
    zero = np.zeros(y.shape[:-1])
    if method == "maximum":
        return zero, y.max(axis=-1)
    if method == "area":
        return zero, np.trapezoid(y, axis[inside], axis=-1)
    if method == "range":
        return y.min(axis=-1), np.ptp(y, axis=-1)
    # Points count by their part of the axis: all alike on an even one.
    part = np.gradient(axis[inside]) if inside.sum() > 1 else np.ones(1)
    share = part / part.mean()
    if method == "vector":
        return zero, np.sqrt((y * y * share).sum(axis=-1))
    mean = (y * share).mean(axis=-1)
    return mean, np.sqrt(((y - mean[..., None]) ** 2 * share).mean(axis=-1))
