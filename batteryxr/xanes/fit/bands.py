"""Ratios of fitted bands, with their errors."""

from __future__ import annotations

import xarray as xr

from batteryxr.core.errors import ArgumentError, VariableError
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded
from batteryxr.xanes.results import inherit


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
        A result of `fit_peaks` or `fit_edge`.
    bands
        Labels along `dim`: the numerator, and the denominator.
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
