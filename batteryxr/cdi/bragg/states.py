"""Alignment of a crystal's states, their common support, and missing density."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import (
    OBJECT,
    VOLUME,
    bare,
    each_volume,
    inside,
    known_sign,
    space_axes,
    variable,
)
from batteryxr.cdi.bragg.consistency.mirrors import (
    warn_of_mirrors,
    warn_of_neighbours,
    warn_of_places,
)
from batteryxr.cdi.bragg.gauge import OF_MEAN
from batteryxr.core.blocks import apply, is_lazy
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from batteryxr.core.checks import Count, Part


@recorded
def align_states(
    states: xr.DataArray | xr.Dataset,
    *,
    reference: int = 0,
    ramp: Literal["keep", "remove"] = "keep",
) -> xr.Dataset:
    """Align all states to a reference state.

    Lazy.

    For each object, the object or its conjugate twin is taken, whichever agrees better
    as a complex field with the reference, or with the state before it where that tells
    more. It is shifted by fractions of a voxel and given the mean phase
    of the reference.

    Parameters
    ----------
    states
        Complex objects on ``state`` and three axes of space, or the Dataset of
        `retrieve`.
    reference
        Index of the reference state.
    ramp
        ``"keep"`` keeps each state's phase ramp: the mean change of its lattice, if all
        patterns were cropped around one point. ``"remove"`` takes the ramp of the
        reference.

    Returns
    -------
    xarray.Dataset
        ``object``; ``overlap`` (modulus of the complex overlap with the reference,
        0 to 1), ``twin`` (whether the twin was taken) and ``moved_by`` (voxels) of each
        state.

    Raises
    ------
    ArgumentError
        If the reference does not exist.
    ChunkingError
        If a volume is split over chunks.
    DataError
        If the objects are not complex.
    DimensionError
        If there is no ``state``.

    Warns
    -----
    DataQualityWarning
        If a state was conjugated, or its counts were mirrored; or if it has little in
        common with the reference.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volumes = cell["states"].to_dataset()["intensity"].compute()
    >>> states = volumes.cdi.retrieve_states(schedule="60 HIO + 20 ER", n_starts=2)
    >>> aligned = states.cdi.align_states()
    """
    return aligned_states(states, reference, ramp, caller="align_states")


def aligned_states(
    states: xr.DataArray | xr.Dataset,
    reference: int,
    ramp: Literal["keep", "remove"],
    *,
    caller: str,
) -> xr.Dataset:
    """Return `align_states`, whose warnings name the function that was called."""
    whole = require_states(states, caller=caller)
    dims = space_axes(whole, caller=caller)
    n = whole.sizes["state"]
    if not -n <= reference < n:
        raise ArgumentError("reference", reference, f"the index of one of {n} states")
    moved, overlap, twin, shift = _aligned(bare(whole), dims, reference % n, ramp)
    first = bare(whole).isel(state=reference % n)
    moved = warn_of_mirrors(moved, first, overlap, caller=caller)
    moved = warn_of_neighbours(moved, "state", caller=caller)
    moved = moved.transpose(*whole.dims).assign_coords(whole.coords)
    noted = {"gauge": OF_MEAN, "ramp": "kept" if ramp == "keep" else "removed"}
    result = xr.Dataset(
        {
            "object": label(
                moved, "object", units="1", long_name="Complex density", **noted
            ),
            "overlap": label(overlap, "overlap", units="1", long_name="Overlap"),
            "twin": label(twin, "twin", units="1", long_name="Conjugate twin taken"),
            "moved_by": label(
                shift, "moved_by", units="1", long_name="Shift in voxels"
            ),
        }
    )
    names = {"units": "1", "long_name": "Axis of the volume"}
    axes = list(VOLUME if tuple(dims) == OBJECT else dims)  # as in the geometry
    result = result.assign_coords(axis=("axis", axes, names))
    result.attrs = carried_attrs(states) | noted
    return result


def _aligned(
    field: xr.DataArray, dims: tuple[str, ...], reference: int, ramp: str
) -> tuple[xr.DataArray, ...]:
    """Return aligned states, overlaps, twins and shifts."""
    from batteryxr.cdi.bragg.kernels import align as kernels

    first = field.isel(state=reference)
    keep = {"caller": "align_states", "keep_ramp": ramp == "keep"}
    dtypes = [np.complex64, np.float64, np.bool_, np.float64]
    *found, gains = apply(
        each_volume(
            kernels.align_state, "(i,j,k),(i,j,k),(i,j,k)->(i,j,k),(),(),(a),(g)"
        ),
        first,
        field.shift(state=1, fill_value=0),
        field,
        core_dims=[dims] * 3,
        output_dims=[dims, [], [], ["axis"], ["gain"]],
        output_sizes={"axis": 3, "gain": 2},
        dtypes=[*dtypes, np.float64],
        **keep,
    )
    if is_lazy(gains):
        gains = gains.chunk(state=-1)
    wanted = apply(
        kernels.twins_of_series,
        gains,
        core_dims=[["state", "gain"]],
        output_dims=[["state"]],
        dtypes=[np.bool_],
        caller="align_states",
        reference=reference,
    )
    if is_lazy(wanted):
        wanted = wanted.chunk(state=1)

    def turned(one: Any, other: Any, wished: Any, *parts: Any, keep_ramp: bool) -> Any:
        return kernels.turn_state(one, other, parts, wished, keep_ramp=keep_ramp)

    return apply(
        each_volume(
            turned,
            "(i,j,k),(i,j,k),(),(i,j,k),(),(),(a)->(i,j,k),(),(),(a)",
        ),
        first,
        field,
        wanted,
        *found,
        core_dims=[dims, dims, [], dims, [], [], ["axis"]],
        output_dims=[dims, [], [], ["axis"]],
        output_sizes={"axis": 3},
        dtypes=dtypes,
        **keep,
    )


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
