"""Sizes of crystallites, and their strains, from the widths of reflections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DimensionError, warn_quality
from batteryxr.core.labels import OwnLabels
from batteryxr.core.model import label, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.xanes.results import inherit

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import ScherrerFactor

#: Bits of ``size_flag``.
UNRESOLVED, NEGATIVE, UNKNOWN = 1, 2, 4
_FLAGS = {
    "flag_masks": [UNRESOLVED, NEGATIVE, UNKNOWN],
    "flag_meanings": "no_wider_than_instrument negative_strain instrument_unknown",
}


@recorded
def crystallite_size(
    result: xr.Dataset,
    *,
    method: Literal["williamson_hall", "scherrer"] = "williamson_hall",
    reference: Annotated[xr.Dataset | None, OwnLabels()] = None,
    factor: ScherrerFactor = 0.9,
) -> xr.Dataset:
    """Tell how large crystallites are, from how wide their reflections are.

    Parameters
    ----------
    result
        A result of `fit_lattice`.
    method
        "williamson_hall": widths grow with q by strain, and are raised by size: both
        are fitted. "scherrer": each reflection gives a size, strain is taken as none.
    reference
        A result of `fit_lattice` on a standard of large crystallites, measured alike:
        its widths are the instrument's. Without it sizes are lower limits.
    factor
        Scherrer's factor for the full width at half maximum.

    Returns
    -------
    xarray.Dataset
        ``size`` (nm) with ``size_error``; of "williamson_hall" ``strain`` with its
        error, of "scherrer" ``reflection_size`` too. ``size_flag`` (bits). Where
        reflections are no wider than the instrument, the size is missing.

    Raises
    ------
    ArgumentError
        If fewer than three reflections tell both size and strain.

    Notes
    -----
    Widths in q: 2 pi K / L + 2 e q. The instrument is taken off with the power
    1 + (1 - share)2: 1 of Lorentzians, 2 of Gaussians.

    Examples
    --------
    >>> sizes = lattice.xanes.crystallite_size(reference=lab6)
    """
    require_variables(result, ["peak_fwhm"], caller="crystallite_size")
    if "reflection" not in result["peak_fwhm"].dims:
        raise DimensionError("crystallite_size needs widths along 'reflection'.")
    q, width, error = _in_q(result)
    share = result["lorentzian_share"].mean("reflection").clip(0, 1)
    power = 1 + (1 - share) ** 2
    flag = xr.zeros_like(share, dtype=np.int8)
    if reference is None:
        warn_quality(
            "sizes are lower limits: the width of the instrument is not known. Pass "
            "reference=, a result of fit_lattice on a standard."
        )
        flag = flag + np.int8(UNKNOWN)
        own = xr.zeros_like(width)
    else:
        own = _instrument(reference, q)
    difference = width**power - own**power
    pure = difference.where(difference > 0) ** (1 / power)
    # d(pure)/d(width), so that little left over is little known.
    error = error * (width / pure) ** (power - 1)
    scale = 0.1 * 2 * np.pi * factor
    if method == "scherrer":
        size = scale / pure
        size_error = size * error / pure
        weight = (1 / size_error**2).where(np.isfinite(size_error), 0.0)
        total = weight.sum("reflection")
        mean = (weight * size.fillna(0)).sum("reflection") / total.where(total > 0)
        spread = (weight * (size - mean) ** 2).sum("reflection")
        free = ((weight > 0).sum("reflection") - 1).clip(min=1)
        mean_error = (1 / total.where(total > 0)) ** 0.5
        mean_error = mean_error * ((spread / free).clip(min=1)) ** 0.5
        out = {
            "size": (mean, "nm", "Size of crystallites"),
            "size_error": (mean_error, "nm", "Size, standard error"),
            "reflection_size": (size, "nm", "Size by reflection"),
            "reflection_size_error": (size_error, "nm", "Size, standard error"),
        }
        flag = flag + (np.isnan(mean) * np.int8(UNRESOLVED))
    else:
        out, more = _williamson_hall(q, pure, error, scale)
        flag = flag + more
    told = {
        name: label(array, name, units=units, long_name=words)
        for name, (array, units, words) in out.items()
    }
    told["size_flag"] = label(
        flag.astype(np.int8), "size_flag", units="1", long_name="Quality", **_FLAGS
    )
    return inherit(xr.Dataset(told), result)


def _in_q(result: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Return places, widths and their errors in 1/Angstrom."""
    axis = str(result.attrs.get("axis", "two_theta"))
    at, width = result["peak_position"], result["peak_fwhm"]
    error = result["peak_fwhm_error"]
    if axis == "q":
        return at, width, error
    half, wavelength = np.radians(at) / 2, result["wavelength"]
    q = 4 * np.pi * np.sin(half) / wavelength
    per_degree = 2 * np.pi * np.cos(half) * np.radians(1.0) / wavelength
    return q, width * per_degree, error * per_degree


def _instrument(reference: xr.Dataset, q: xr.DataArray) -> xr.DataArray:
    """Return the widths of the instrument at places, smooth between those measured."""
    there, width, _ = _in_q(reference)
    others = [d for d in width.dims if d != "reflection"]
    x = there.mean(others).values
    y = width.median(others).values
    good = np.isfinite(x) & np.isfinite(y)
    if not good.any():
        raise ArgumentError("reference", "...", "a result with widths")
    degree = min(2, int(good.sum()) - 1)
    powers = np.polynomial.Polynomial.fit(x[good], y[good] ** 2, degree)
    squared = powers(np.clip(q.values, x[good].min(), x[good].max()))
    least = 0.25 * float((y[good] ** 2).min())
    return q.copy(data=np.sqrt(np.maximum(squared, least)))


def _williamson_hall(
    q: xr.DataArray, width: xr.DataArray, error: xr.DataArray, scale: float
) -> tuple[dict[str, tuple[xr.DataArray, str, str]], xr.DataArray]:
    weight = (1 / error**2).where(np.isfinite(width) & np.isfinite(error), 0.0)
    count = (weight > 0).sum("reflection")
    if int(count.max()) < 3:
        raise ArgumentError(
            "method",
            "williamson_hall",
            "three reflections wider than the instrument",
            "Use method='scherrer'.",
        )
    q, y = q.fillna(0.0), width.fillna(0.0)
    total = weight.sum("reflection")
    total = total.where(count >= 3)
    middle = (weight * q).sum("reflection") / total
    level = (weight * y).sum("reflection") / total
    squared = (weight * (q - middle) ** 2).sum("reflection")
    slope = (weight * (q - middle) * (y - level)).sum("reflection") / squared
    raised = level - slope * middle
    left = (weight * (y - raised - slope * q) ** 2).sum("reflection") / (
        count - 2
    ).clip(min=1)
    factor = left.clip(min=1) ** 0.5
    slope_error = factor / squared**0.5
    raised_error = factor * (1 / total + middle**2 / squared) ** 0.5
    size = scale / raised.where(raised > 0)
    out = {
        "size": (size, "nm", "Size of crystallites"),
        "size_error": (size * raised_error / raised, "nm", "Size, standard error"),
        "strain": (slope / 2, "1", "Strain"),
        "strain_error": (slope_error / 2, "1", "Strain, standard error"),
    }
    flag = size.isnull() * np.int8(UNRESOLVED)
    return out, flag + (slope < 0) * np.int8(NEGATIVE)
