"""Alignment of a crystal's states to one of them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import OBJECT, VOLUME, bare, each_volume, space_axes
from batteryxr.cdi.bragg.consistency.mirrors import (
    warn_of_mirrors,
    warn_of_neighbours,
)
from batteryxr.cdi.bragg.gauge import OF_MEAN
from batteryxr.cdi.bragg.states import carried_attrs, require_states
from batteryxr.core.blocks import apply, is_lazy
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded


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
    keep: dict[str, Any] = {"caller": "align_states", "keep_ramp": ramp == "keep"}
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
