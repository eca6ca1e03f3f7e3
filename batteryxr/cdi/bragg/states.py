"""Alignment of a crystal's states, their common support, and missing density."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import (
    bare,
    each_volume,
    inside,
    known_sign,
    space_axes,
    variable,
)
from batteryxr.cdi.bragg.consistency.mirrors import (
    warn_of_places,
)
from batteryxr.cdi.bragg.consistency.objects import warn_of_support
from batteryxr.core.blocks import apply
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import DataError
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from batteryxr.core.checks import Count, Part


@recorded
def common_support(
    states: xr.DataArray | xr.Dataset,
    *,
    threshold: Part = 0.25,
    fraction: Annotated[float, Bounds(low=0, below=1)] = 0.5,
) -> xr.DataArray:
    """Find where the crystal is: dense in more than a fraction of the states.

    Lazy.

    Parameters
    ----------
    states
        Aligned objects on ``state``, or their Dataset.
    threshold
        Fraction of each state's largest amplitude above which there is density.
    fraction
        A voxel belongs to the crystal where more than this fraction of the states have
        density: 0 for any, 0.5 for most.

    Returns
    -------
    xarray.DataArray of bool
        ``support`` without ``state``.

    Raises
    ------
    ArgumentError
        If a fraction is out of range.
    DimensionError
        If there is no ``state``.

    Warns
    -----
    DataQualityWarning
        If states are not aligned.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> patterns = cell["states"].to_dataset()["intensity"].compute()
    >>> states = patterns.cdi.retrieve_states(schedule="60 HIO + 20 ER", n_starts=2)
    >>> support = states.cdi.align_states().cdi.common_support()
    """
    return _common_support(states, threshold, fraction)


def _common_support(
    states: xr.DataArray | xr.Dataset, threshold: float, fraction: float = 0.5
) -> xr.DataArray:
    field = require_states(states, caller="common_support")
    field = warn_of_places(field, "state", caller="common_support")
    dims = space_axes(field, caller="common_support")
    support = _dense(field, dims, threshold).sum("state")
    support = support > fraction * field.sizes["state"]
    return labelled_support(support)


def labelled_support(support: xr.DataArray) -> xr.DataArray:
    """Label the support that all states share."""
    return label(support, "support", units="1", long_name="Common support")


@recorded
def fill_missing(
    states: xr.DataArray | xr.Dataset,
    *,
    support: xr.DataArray | None = None,
    threshold: Part = 0.25,
    minimum: Count = 8,
) -> xr.Dataset:
    """Fill density that a state lacks from the states that have it.

    Lazy.

    A part of the crystal that has turned away does not diffract into this peak and is
    dark in that state, although the crystal is the same. Its amplitude is filled with
    the mean of the states with density there, each scaled to the mean amplitude of the
    filled state. Its phase is filled with the phase of their sum.

    Parameters
    ----------
    states
        Aligned objects on ``state``, or their Dataset.
    support
        Support of the whole crystal. None: `common_support` with this threshold.
    threshold
        Fraction of the state's largest amplitude below which a voxel lacks density.
    minimum
        Smallest connected gap (voxels) that is filled; smaller ones are noise and
        surface.

    Returns
    -------
    xarray.Dataset
        ``object``, zero outside the support; ``filled``, True at filled voxels;
        ``support``. Voxels without density in any state stay unchanged.

    Raises
    ------
    ArgumentError
        If `threshold` or `minimum` is out of range.
    ChunkingError
        If a volume is split over chunks.
    DimensionError
        If there is no ``state``.

    Warns
    -----
    DataQualityWarning
        If states are not aligned.

    Notes
    -----
    The filled phase belongs to other voltages: leave it out of statistics with
    ``where(~filled)``.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volumes = cell["states"].to_dataset()["intensity"].compute()
    >>> states = volumes.cdi.retrieve_states(schedule="60 HIO + 20 ER", n_starts=2)
    >>> filled = states.cdi.align_states().cdi.fill_missing()
    """
    field = require_states(states, caller="fill_missing")
    dims = space_axes(field, caller="fill_missing")
    if support is not None:
        field = warn_of_places(field, "state", caller="fill_missing")
        support = warn_of_support(
            abs(field.isel(state=0)), support, caller="fill_missing"
        )
    if support is None:
        support = _common_support(field, threshold)
    from batteryxr.cdi.bragg.kernels.support import gaps

    whole = bare(inside(support))
    plain = bare(field)
    dense = _dense(plain, dims, threshold)
    missing = apply(
        each_volume(gaps, "(i,j,k)->(i,j,k)"),
        whole & ~dense,
        core_dims=[dims],
        output_dims=[dims],
        dtypes=[np.bool_],
        caller="fill_missing",
        minimum=minimum,
    )
    has = dense & whole
    amplitude = abs(plain)
    scale = amplitude.where(has).mean(dims)
    parts = (plain / scale).where(has, 0)
    count = has.sum("state")
    mean = (amplitude / scale).where(has, 0).sum("state") / count.where(count > 0, 1)
    total = parts.sum("state")
    unit = total / abs(total).where(abs(total) > 0, 1)
    filled = missing & (count > 0)
    new = xr.where(filled, (mean * unit * scale), plain.where(whole, 0))
    new = new.transpose(*field.dims).astype(field.dtype).assign_coords(field.coords)
    filled = filled.transpose(*field.dims).assign_coords(field.coords)
    result = xr.Dataset(
        {
            "object": label(
                new,
                "object",
                units="1",
                long_name="Complex density",
                **{k: v for k, v in field.attrs.items() if k in ("gauge", "ramp")},
            ),
            "filled": label(
                filled, "filled", units="1", long_name="Filled from other states"
            ),
            "support": labelled_support(inside(support)),
        }
    )
    result.attrs = carried_attrs(states)
    return result


def require_states(states: xr.DataArray | xr.Dataset, *, caller: str) -> xr.DataArray:
    """Return the complex objects on ``state``: a Dataset's, or the given array.

    Raises
    ------
    DataError
        If the objects are not complex.
    DimensionError
        If there is no ``state``.
    """
    objects = variable(states, "object", caller=caller)
    known_sign(states, what="states")  # raises unless all have one sign
    require_dims(objects, ["state"], caller=caller)
    if objects.dtype.kind != "c":
        raise DataError(
            "states",
            f"hold {objects.dtype}, not complex objects",
            "Pass the `object` of a result.",
        )
    return objects


def carried_attrs(states: xr.DataArray | xr.Dataset) -> dict[str, object]:
    """Return the attributes that later steps need."""
    names = ("fourier_sign", "gauge", "ramp", "frame", "history")
    return {k: states.attrs[k] for k in names if k in states.attrs}


def _dense(
    field: xr.DataArray, dims: tuple[str, ...], threshold: float
) -> xr.DataArray:
    amplitude = abs(field)
    return amplitude > threshold * amplitude.max(dims)
