"""Regions in which the phase of each state is set to zero (the gauge)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import (
    bare,
    each_volume,
    inside,
    space_axes,
)
from batteryxr.core.blocks import apply
from batteryxr.core.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Gauge of `align_states`, which makes the mean zero.
OF_MEAN = "mean"
#: Fraction of the crystal that counts as least changed.
_LEAST = 0.1


def region(
    differences: xr.DataArray, support: xr.DataArray, gauge: str | Sequence[int]
) -> xr.DataArray:
    """Return the voxels whose mean phase is set to zero; lazy.

    Parameters
    ----------
    differences
        Phase differences on ``state`` and space, NaN where they do not count.
    support
        Support of the crystal.
    gauge
        Name of a region, or indices of a voxel.

    Raises
    ------
    ArgumentError
        If the crystal has no such voxel.
    """
    dims = space_axes(differences, caller="phase_differences")
    body = bare(inside(support)).transpose(*dims)
    if not isinstance(gauge, str):
        return _voxel(body, gauge, dims)
    kernels: dict[str, Callable[..., np.ndarray]] = {
        "core": _core,
        "centre_of_mass": _middle,
        "least_changed": _least,
    }
    values = [body]
    if gauge == "least_changed":
        values.append(_change(differences, dims))
    return apply(
        each_volume(kernels[gauge], ",".join(["(i,j,k)"] * len(values)) + "->(i,j,k)"),
        *values,
        core_dims=[dims] * len(values),
        output_dims=[dims],
        dtypes=[np.bool_],
        caller="phase_differences",
    )


def _voxel(
    body: xr.DataArray, indices: Sequence[int], dims: tuple[str, ...]
) -> xr.DataArray:
    sizes = [body.sizes[d] for d in dims]
    place = [int(i) for i in indices]
    if len(place) != 3 or not all(
        0 <= i < n for i, n in zip(place, sizes, strict=True)
    ):
        raise ArgumentError("gauge", list(indices), f"three indices below {sizes}")
    values = np.zeros(sizes, bool)
    values[tuple(place)] = True
    where = dict(zip(dims, place, strict=True))
    if not bool(body.isel(where)):
        raise ArgumentError("gauge", place, "a voxel inside the support")
    return xr.DataArray(values, dims=dims)


def zero_of(differences: xr.DataArray, where: xr.DataArray) -> xr.DataArray:
    """Return the mean phase of each state over a region; lazy.

    Raises
    ------
    DataError
        If a state has no value there. Lazy states raise when they are computed.
    """
    dims = space_axes(differences, caller="phase_differences")
    plain = bare(differences)
    return apply(
        each_volume(_mean, "(i,j,k),(i,j,k),()->()"),
        plain,
        bare(where),
        xr.DataArray(np.arange(plain.sizes["state"]), dims="state"),
        core_dims=[dims, dims, []],
        dtypes=[plain.dtype],
        caller="phase_differences",
    )


def _mean(values: np.ndarray, where: np.ndarray, state: int) -> float:
    chosen = values[where]
    chosen = chosen[np.isfinite(chosen)]
    if not chosen.size:
        raise DataError(
            "states",
            f"{int(state)} has no phase where the gauge is taken",
            "Choose another gauge, or leave this state out.",
        )
    return float(chosen.mean(dtype=float))


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else np.nan


def _change(differences: xr.DataArray, dims: tuple[str, ...]) -> xr.DataArray:
    """Return the largest absolute change of each voxel over the states."""
    plain = bare(differences)
    middle = apply(
        each_volume(_median, "(i,j,k)->()"),
        plain,
        core_dims=[dims],
        dtypes=[np.float64],
        caller="phase_differences",
    )
    return abs(plain - middle).max("state").transpose(*dims)


def _depth(body: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    return ndimage.distance_transform_edt(np.pad(body, 1))[1:-1, 1:-1, 1:-1]


def _core(body: np.ndarray) -> np.ndarray:
    """Return the voxels deeper than half the greatest depth."""
    depth = _depth(body)
    return body & (depth > 0.5 * depth.max())


def _middle(body: np.ndarray) -> np.ndarray:
    """Return the voxels around the centre of mass of the crystal."""
    out = np.zeros(body.shape, bool)
    if body.any():
        places = np.argwhere(body)
        nearest = places[((places - places.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        out[tuple(slice(max(0, p - 1), p + 2) for p in nearest)] = True
    return out & body


def _least(body: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return the connected region that changes least."""
    from scipy import ndimage

    known = body & np.isfinite(change)
    if not known.any():
        return known
    weight = ndimage.gaussian_filter(known.astype(float), 1.5)
    smooth = ndimage.gaussian_filter(np.where(known, change, 0.0), 1.5)
    smooth = np.where(known, smooth / np.maximum(weight, 1e-6), np.inf)
    quiet = smooth <= np.quantile(smooth[known], _LEAST)
    number, n = ndimage.label(quiet)
    sizes = ndimage.sum_labels(quiet, number, np.arange(1, n + 1))
    return number == 1 + int(np.argmax(sizes))
