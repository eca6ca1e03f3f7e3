"""Ratios of fitted bands, with their errors."""

from __future__ import annotations

import xarray as xr

from batteryxr.core.errors import ArgumentError, VariableError
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded
from batteryxr.xanes.spectra import inherit


@recorded
def band_ratio(
    fit: xr.Dataset,
    *,
    numerator: str | int,
    denominator: str | int,
    dim: str = "peak",
    variable: str = "peak_area",
) -> xr.Dataset:
    """Return the ratio of two bands, or of one band in two polarisations.

    *Lazy*.

    Parameters
    ----------
    fit
        A result of `fit_peaks` or `fit_edge`.
    numerator, denominator
        Labels along `dim`.
    dim
        "peak", or any other dimension such as "polarisation".
    variable
        "peak_area", "peak_height" or any variable with an error.

    Returns
    -------
    xarray.Dataset
        `band_ratio` and `band_ratio_error`, the two errors taken as independent.

    Raises
    ------
    VariableError
        If the variable or its error is missing.
    ArgumentError
        If there is no such label.
    """
    for name in (variable, f"{variable}_error"):
        if name not in fit:
            raise VariableError(
                f"band_ratio needs {name!r}; found {[str(v) for v in fit.data_vars]}."
            )
    require_dims(fit, [dim], caller="band_ratio")
    labels = fit[dim].values.tolist()
    for argument, value in (("numerator", numerator), ("denominator", denominator)):
        if value not in labels:
            raise ArgumentError(argument, value, f"a label along {dim!r}: {labels}")
    pair = fit[[variable, f"{variable}_error"]]
    above = pair.sel({dim: numerator}, drop=True)
    below = pair.sel({dim: denominator}, drop=True)
    ratio = above[variable] / below[variable]
    first = above[f"{variable}_error"] / below[variable]
    second = ratio * below[f"{variable}_error"] / below[variable]
    long_name = f"{fit[variable].attrs.get('long_name', variable)}, ratio"
    result = xr.Dataset(
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
    return inherit(result, fit)
