"""Select the variable and axis to prepare, and put results back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DataError, DimensionError
from batteryxr.xanes.spectra import AXES, as_spectra

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Names searched in a Dataset, in this order.
SIGNALS = (
    *("intensity", "absorbance", "transmittance", "reflectance", "counts"),
    *("normalised", "absorption", "optical_density", "pdf"),
)


def axis_along(data: xr.DataArray | xr.Dataset, dim: str | None, *, caller: str) -> str:
    """Return the axis of spectra or patterns: `dim`, or the only one present.

    Raises
    ------
    DimensionError
        If none is present, or several.
    """
    if dim is not None:
        return dim
    found = [name for name in AXES if name in data.dims]
    if len(found) != 1:
        raise DimensionError(
            f"{caller} needs one of the dimensions {list(AXES)}; found "
            f"{tuple(map(str, data.dims))}. "
            + ("Name one: dim=." if found else "Rename yours: `.rename(...)`.")
        )
    return found[0]


def signal(
    data: xr.DataArray | xr.Dataset, dim: str | None, *, caller: str
) -> tuple[xr.DataArray, str]:
    """Return the spectra, and the name of their axis."""
    along = axis_along(data, dim, caller=caller)
    names: tuple[str, ...] = SIGNALS
    if isinstance(data, xr.Dataset):
        names = tuple(n for n in SIGNALS if n in data and along in data[n].dims)
    array = as_spectra(data, caller=caller, dim=along, names=names)
    return array, along


def put_back(
    data: xr.DataArray | xr.Dataset,
    array: xr.DataArray,
    changed: xr.DataArray,
    beside: Mapping[str, xr.DataArray],
) -> xr.Dataset:
    """Return a Dataset with the changed spectra, its other variables, and more."""
    name = str(array.name) if array.name is not None else "intensity"
    changed = changed.transpose(*array.dims).assign_coords(array.coords)
    changed.attrs = dict(array.attrs)
    out = data.to_dataset(name=name) if isinstance(data, xr.DataArray) else data
    axis = {d: array[d] for d in array.dims if d in array.coords}
    out = out.assign_coords(axis).assign({name: changed, **beside})
    if isinstance(data, xr.DataArray) and "history" in data.attrs:
        out.attrs["history"] = data.attrs["history"]
    return out


def like(values: xr.DataArray, array: xr.DataArray) -> xr.DataArray:
    """Give values the order, name and attributes of their source."""
    result = values.transpose(*array.dims).rename(array.name)
    result.attrs = dict(array.attrs)
    for name, coordinate in array.coords.items():
        result[name].attrs = dict(coordinate.attrs)
    return result


def of_whole(data: np.ndarray, *, function: Any, **options: Any) -> Any:
    """Call a function of complete spectra (..., m); masked ones stay NaN.

    Raises
    ------
    DataError
        If a spectrum lacks some values, which a lazy array can hide until now.
    """
    there = np.isfinite(data).all(axis=-1)
    masked = np.isnan(data).all(axis=-1) & ~there
    if not (there | masked).all():
        count = int((~np.isfinite(data[~there & ~masked])).sum())
        raise DataError(
            "spectra",
            f"a chunk lacks {count} values",
            "Interpolate them, or drop points.",
        )
    if there.all():
        return function(data, **options)
    m = data.shape[-1]
    rows = data.reshape(-1, data.shape[-2] if data.ndim > 1 else 1, m)
    kept = there.reshape(rows.shape[:2])
    like = function(np.zeros((1, 1, m)), **options)
    single = isinstance(like, np.ndarray)
    outs = []
    for part in [like] if single else like:
        fill = np.nan if part.dtype.kind == "f" else 0
        outs.append(np.full((*rows.shape[:2], *part.shape[2:]), fill, part.dtype))
    for k in np.flatnonzero(kept.any(axis=1)):
        found = function(rows[k : k + 1, kept[k]], **options)
        for out, part in zip(outs, [found] if single else found, strict=True):
            out[k, kept[k]] = part[0]
    outs = [out.reshape((*data.shape[:-1], *out.shape[2:])) for out in outs]
    return outs[0] if single else tuple(outs)


def require_like_steps(
    x: np.ndarray, dim: str, *, caller: str, mend: str, over_all: bool = False
) -> None:
    """Raise if steps of an axis differ too much for methods that count points.

    The limit is a factor of two between neighbours, or of three over all.

    Raises
    ------
    DataError
        If so; the message names the axis.
    """
    steps = np.diff(x)
    if steps.size < 2:
        return
    next_to = steps[1:] / steps[:-1]
    ratio = max(float(next_to.max()), float(1 / next_to.min()))
    if ratio > 2.01 or (over_all and steps.max() > 3.0 * steps.min()):
        raise DataError(
            dim,
            f"has steps from {steps.min():.4g} to {steps.max():.4g}, and {caller} goes "
            "by points",
            mend,
        )


def whole(array: xr.DataArray, dim: str, *, caller: str) -> None:
    """Raise if a spectrum lacks some values, unless it is masked as a whole.

    Raises
    ------
    ArgumentError
        If some values are missing, or all spectra are masked.
    """
    if array.chunks is not None:
        return
    good = array.copy(data=np.isfinite(array.values))
    partly = ~good.all(dim) & ~array.isnull().all(dim)
    if bool(partly.any()) or not bool(good.any()):
        count = int((~good).where(partly, False).sum()) or array.size
        raise ArgumentError(
            "spectra",
            array.name,
            "values that are all there, or none of a spectrum",
            f"{caller} found {count} missing: `.dropna({dim!r})` or interpolate.",
        )
