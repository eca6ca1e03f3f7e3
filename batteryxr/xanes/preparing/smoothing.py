"""Smooth spectra, and bring them to one scale."""

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
#: Least number of points of a spectrum, and largest width of "whittaker" in steps.
_FEWEST, _STIFF = 3, 1000
_WIDE = 0.2  # of the axis; a wider curve smooths every feature away


@recorded
def smooth(
    spectra: xr.DataArray | xr.Dataset,
    *,
    width: Positive,
    method: _Method = "gaussian",
    degree: Annotated[int, Bounds(low=0, high=20)] = 2,
    dim: str | None = None,
) -> xr.DataArray:
    """Smooth every spectrum along its axis, and record the method.

    *Lazy*. Smoothing widens edges and bands, and makes values correlated, so errors of
    later fits are too small. Use smoothed data for differences and plots; fit the
    measured data.

    Parameters
    ----------
    spectra
        Spectra or patterns along `dim`, on any grid, in any other dimensions. Missing
        values stay missing and do not spread.
    width
        Width in units of the axis: standard deviation of the Gaussian; half width at
        half maximum of the Lorentzian; half of the range of fitted polynomials
        ("savitzky_golay") or of the "median". "whittaker" halves waves with a length
        of 2 pi widths.
    method
        Smoothing method; "whittaker" is penalised least squares (P. H. C. Eilers,
        Anal. Chem. 75, 3631 (2003)).
    degree
        Degree of the polynomials of "savitzky_golay".
    dim
        Axis; default: the one present of shift, energy, two_theta, q, d, r.

    Returns
    -------
    xarray.DataArray
        Like `spectra`; the attribute `smoothed` gives method and width.

    Raises
    ------
    ArgumentError
        If the width is larger than the axis, or too small to smooth.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> smooth = spectra.xanes.smooth(width=0.5)
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
    """Raise if a width is too small to smooth, or too large for the axis.

    Raises
    ------
    ArgumentError
        If so; the message gives the allowed range.
    """
    if x.size < _FEWEST or width > np.ptp(x):
        span = f"{np.ptp(x):g} {units} of the axis, of {_FEWEST} points or more"
        thousandth = f"Was it m{units}? Pass {width * 1e-3:g}." if units == "eV" else ""
        raise ArgumentError("width", width, f"no more than the {span}", thousandth)
    if method not in ("savitzky_golay", "median") and width > _WIDE * np.ptp(x):
        slip = f" Was it m{units}? Pass {width * 1e-3:g}." if units == "eV" else ""
        warn_quality(
            f"width={width!r} is {width / np.ptp(x):.0%} of the axis ({np.ptp(x):g} "
            f"{units}): hardly a feature is left.{slip}"
        )
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


#: Quantities that are converted into each other.
_OPTICAL = ("absorbance", "transmittance")
#: Largest transmittance, which includes noise and the reference.
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
    """Scale every spectrum, for comparison.

    *Lazy*.

    Parameters
    ----------
    spectra
        Spectra or patterns along `dim`, in any other dimensions.
    method
        Property that becomes 1: the "maximum", the "area" or the "vector" norm.
        "range": lowest 0, highest 1. "snv": mean 0, standard deviation 1. On an uneven
        axis points are weighted by their part of it. "absorbance" is -log10 of a
        transmittance (fraction or per cent, by its units). "transmittance" is the
        fraction from an absorbance.
    limits
        Range of the axis that sets the scale, such as one band; default: all.
    dim
        Axis; default: the one present of shift, energy, two_theta, q, d, r.

    Returns
    -------
    xarray.Dataset
        The spectra, and the ``scale`` they were divided by. A spectrum is set to NaN if
        its scale is not above zero, or it lacks a value within the limits.

    Raises
    ------
    ArgumentError
        If no point lies in the limits.
    DataError
        If values are not those of a transmittance, or have another name.

    Examples
    --------
    >>> folder = batteryxr.simulate.write_samples("samples")
    >>> raman = batteryxr.read_series("samples/raman/*.txt")
    >>> scaled = raman.xanes.rescale(method="area")
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
    """Return the absorbance of a transmittance, or the reverse."""
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
        said = units in ("%", "percent")  # noise may then exceed 100 %
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
    # Weight points by their part of the axis: equal on an even one.
    part = np.gradient(axis[inside]) if inside.sum() > 1 else np.ones(1)
    share = part / part.mean()
    if method == "vector":
        return zero, np.sqrt((y * y * share).sum(axis=-1))
    mean = (y * share).mean(axis=-1)
    return mean, np.sqrt(((y - mean[..., None]) ** 2 * share).mean(axis=-1))
