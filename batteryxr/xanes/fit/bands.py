"""Compute ratios and centroids of fitted bands, with their errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from batteryxr.core.errors import ArgumentError, VariableError
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded
from batteryxr.xanes.results import inherit

if TYPE_CHECKING:
    from collections.abc import Sequence


@recorded
def band_ratio(
    result: xr.Dataset,
    *,
    bands: tuple[str | int, str | int],
    dim: str = "peak",
    variable: str = "peak_area",
) -> xr.Dataset:
    """Return the ratio of two bands, or of one band in two polarisations.

    *Lazy*.

    Parameters
    ----------
    result
        Result of `fit_peaks` or `fit_edge`.
    bands
        Labels along `dim`: first the numerator, then the denominator.
    dim
        "peak", or any other dimension such as "polarisation".
    variable
        "peak_area", "peak_height" or any variable with an error.

    Returns
    -------
    xarray.Dataset
        `band_ratio` and `band_ratio_error`, for independent errors.

    Raises
    ------
    VariableError
        If the variable or its error is missing.
    ArgumentError
        If a label does not exist.

    Examples
    --------
    >>> folder = batteryxr.simulate.write_samples("samples")
    >>> series = batteryxr.read_series("samples/raman/*.txt")
    >>> bands = series.xanes.fit_peaks(peaks=[(470, 520), (580, 620)])
    >>> ratio = batteryxr.xanes.band_ratio(bands, bands=(1, 2))
    """
    for name in (variable, f"{variable}_error"):
        if name not in result:
            found = [str(v) for v in result.data_vars]
            raise VariableError(f"band_ratio needs {name!r}; found {found}.")
    require_dims(result, [dim], caller="band_ratio")
    labels = result[dim].values.tolist()
    if wrong := [band for band in bands if band not in labels]:
        raise ArgumentError("bands", wrong, f"two labels along {dim!r}: {labels}")
    pair = result[[variable, f"{variable}_error"]]
    above = pair.sel({dim: bands[0]}, drop=True)
    below = pair.sel({dim: bands[1]}, drop=True)
    ratio = above[variable] / below[variable]
    first = above[f"{variable}_error"] / below[variable]
    second = ratio * below[f"{variable}_error"] / below[variable]
    long_name = f"{result[variable].attrs.get('long_name', variable)}, ratio"
    ratios = xr.Dataset(
        {
            "band_ratio": label(ratio, "band_ratio", units="1", long_name=long_name),
            "band_ratio_error": label(
                (first**2 + second**2) ** 0.5,
                "band_ratio_error",
                units="1",
                long_name=f"{long_name}, standard error",
            ),
        }
    )
    return inherit(ratios, result)


@recorded
def band_centroid(
    result: xr.Dataset, *, bands: Sequence[str | int] | None = None
) -> xr.Dataset:
    """Return the centroid of bands, weighted by area, such as those of a pre-edge.

    *Lazy*. The centroid of a pre-edge depends on the valence, and its total area on
    the coordination (M. Wilke et al., Am. Mineral. 86, 714 (2001)).

    Parameters
    ----------
    result
        Result of `fit_edge` or `fit_peaks`.
    bands
        Labels along `peak`. Default: all.

    Returns
    -------
    xarray.Dataset
        `band_centroid`, in units of the positions, and `band_area`, the sum of the
        areas; each with `_error`, for independent bands. NaN if a band is missing or
        the areas sum to no more than zero.

    Raises
    ------
    VariableError
        If `result` holds no peaks with their errors.
    ArgumentError
        If a label does not exist.

    Examples
    --------
    >>> folder = batteryxr.simulate.write_samples("samples")
    >>> raman = batteryxr.read_series("samples/raman/*.txt")
    >>> bands = raman.xanes.fit_peaks(peaks=[(470, 520), (580, 620)])
    >>> centroid = batteryxr.xanes.band_centroid(bands)
    """
    wanted = [f"peak_{k}{e}" for k in ("area", "position") for e in ("", "_error")]
    if missing := [name for name in wanted if name not in result]:
        found = [str(v) for v in result.data_vars]
        raise VariableError(f"band_centroid needs {missing}; found {found}.")
    require_dims(result, ["peak"], caller="band_centroid")
    labels = result["peak"].values.tolist()
    chosen = labels if bands is None else list(bands)
    wrong = [band for band in chosen if band not in labels]
    if wrong or not chosen:
        raise ArgumentError("bands", wrong or chosen, f"labels along 'peak': {labels}")
    if len(set(chosen)) < len(chosen):
        raise ArgumentError("bands", chosen, "each band once")
    area, d_area, at, d_at = (
        result[name].sel(peak=chosen).drop_attrs() for name in wanted
    )
    total = area.sum("peak", skipna=False)
    total = total.where(total > 0)
    centre = (area * at).sum("peak", skipna=False) / total
    parts = ((at - centre) * d_area) ** 2 + (area * d_at) ** 2
    errors = parts.sum("peak", skipna=False) ** 0.5 / total
    d_total = (d_area**2).sum("peak", skipna=False) ** 0.5
    unit = str(result["peak_position"].attrs.get("units", "1"))
    area_unit = str(result["peak_area"].attrs.get("units", "1"))
    out = {}
    for name, value, units, long_name in (
        ("band_centroid", centre, unit, "Centroid of the bands"),
        ("band_centroid_error", errors, unit, "Centroid, standard error"),
        ("band_area", total, area_unit, "Area of the bands"),
        ("band_area_error", d_total, area_unit, "Area, standard error"),
    ):
        out[name] = label(value, name, units=units, long_name=long_name)
    return inherit(xr.Dataset(out), result)
