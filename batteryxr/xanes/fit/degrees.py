"""Which degree of a baseline the data choose, and what errors hold of that choice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.model import label

if TYPE_CHECKING:
    from collections.abc import Mapping


def choose_degree(fits: Mapping[int, xr.Dataset], points: int) -> xr.Dataset:
    """Return the best of fits with different baselines, with the doubt between them.

    Parameters
    ----------
    fits
        By degree, lowest first, of one model otherwise.
    points
        Of a spectrum.
    """
    if len(fits) == 1:
        return next(iter(fits.values()))
    degrees = list(fits)
    highest = degrees[-1]
    widened = [_up_to(fit, highest) for fit in fits.values()]
    along = xr.DataArray(degrees, dims="degree", name="degree")
    attrs = {"units": "1", "long_name": "Degree of the baseline"}
    every = xr.concat(
        widened, "degree", coords="minimal", compat="override", join="outer"
    )
    # The lower of equals comes first; more terms have to earn their place.
    criterion = points * np.log(every["chi2"] / points) + np.log(points) * along
    relative = np.exp(-0.5 * (criterion - criterion.min("degree")))
    weight = relative / relative.sum("degree")
    best = xr.where(np.isfinite(criterion), criterion, np.inf).argmin("degree")
    chosen = xr.DataArray(np.arange(len(degrees)), dims="degree") == best
    result = xr.Dataset(
        {
            name: array.where(chosen, 0).sum("degree", skipna=False).astype(array.dtype)
            for name, array in every.data_vars.items()
        }
    )
    for name in every.data_vars:
        error = f"{name}_error"
        if error in every and "order" not in every[name].dims:
            apart = (every[name] - result[name]) ** 2
            total = (weight * (every[error] ** 2 + apart)).sum("degree", skipna=False)
            result[error] = np.sqrt(total).assign_attrs(every[error].attrs)
    for name in result.data_vars:
        dims = [d for d in widened[-1][name].dims if d in result[name].dims]
        result[name] = result[name].transpose(*dims)
        result[name].attrs = dict(widened[-1][name].attrs)
    words = "Degree of the baseline"
    degree = (chosen * along.drop_vars("degree", errors="ignore")).sum("degree")
    result["baseline_degree"] = label(
        degree, "baseline_degree", units="1", long_name=words
    )
    result["baseline_weight"] = label(
        weight.assign_coords(degree=("degree", degrees, attrs)),
        "baseline_weight",
        units="1",
        long_name=f"Weight of a {words.lower()}",
    )
    result.attrs = dict(widened[-1].attrs)
    return result


def _up_to(fit: xr.Dataset, highest: int) -> xr.Dataset:
    """Return a fit whose baseline has powers up to the highest degree."""
    model = json.loads(fit.attrs["model"])
    n = highest + 1
    if model["baseline"] == highest:
        return fit
    like = fit["chi2"] * 0.0
    name = "level" if "level" in fit else "baseline"
    parts = {}
    for suffix in ("", "_error"):
        full = like.expand_dims(order=np.arange(n)).copy()
        if f"{name}{suffix}" in fit:
            known = fit[f"{name}{suffix}"]
            known = known if "order" in known.dims else known.expand_dims(order=[0])
            full = known.reindex(order=np.arange(n), fill_value=0.0)
        parts[f"baseline{suffix}"] = full.drop_attrs()
    out = fit.drop_vars([name, f"{name}_error", "order"], errors="ignore")
    out = out.assign(parts)
    out.attrs = fit.attrs | {"model": json.dumps(model | {"baseline": highest})}
    return out
