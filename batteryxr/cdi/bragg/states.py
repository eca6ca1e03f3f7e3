"""The same crystal at several voltages: laid over one another, and made whole."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.fields import of_states, space_dims
from batteryxr.core.blocks import apply
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import label, require_dims, require_variables
from batteryxr.core.provenance import recorded


@recorded
def align_states(
    objects: xr.DataArray | xr.Dataset,
    *,
    reference: int = 0,
    ramp: Literal["keep", "remove"] = "keep",
) -> xr.Dataset:
    """Lay the objects of all states over that of one of them.

    Lazy.

    Of each object and its conjugate twin the one is taken that agrees better as a
    complex field; it is moved by parts of a voxel and given the phase of the
    reference in the mean.

    Parameters
    ----------
    objects
        Complex objects on ``state`` and three axes of space, or the Dataset of
        `retrieve`.
    reference
        Index of the state that stays.
    ramp
        ``"keep"`` leaves each state's phase ramp: the mean change of its lattice,
        where all patterns were cropped round one point. ``"remove"`` takes the ramp
        of the reference.

    Returns
    -------
    xarray.Dataset
        ``object``; ``overlap`` (modulus of the complex overlap with the reference,
        0 to 1), ``twin`` (whether the twin was taken) and ``moved_by`` (voxels) of each
        state.

    Raises
    ------
    ArgumentError
        If there is no such reference, or the objects are not complex.
    ChunkingError
        If a volume is split over chunks.
    DimensionError
        If there is no ``state``.
    """
    field = _objects(objects, caller="align_states")
    dims = space_dims(field, caller="align_states")
    if ramp not in ("keep", "remove"):
        raise ArgumentError("ramp", ramp, "'keep' or 'remove'")
    n = field.sizes["state"]
    if isinstance(reference, bool) or not -n <= reference < n:
        raise ArgumentError("reference", reference, f"the index of one of {n} states")
    from batteryxr.cdi.bragg.kernels.lay_over import lay_over

    kernel = np.vectorize(
        lambda a, b: lay_over(a, b, keep_ramp=ramp == "keep"),
        signature="(i,j,k),(i,j,k)->(i,j,k),(),(),(a)",
    )
    bare = of_states(field)
    moved, overlap, twin, shift = apply(
        kernel,
        bare.isel(state=reference % n),
        bare,
        core_dims=[dims, dims],
        output_dims=[dims, [], [], ["axis"]],
        output_sizes={"axis": 3},
        dtypes=[np.complex64, np.float64, np.bool_, np.float64],
        caller="align_states",
    )
    moved = moved.transpose(*field.dims).assign_coords(field.coords)
    result = xr.Dataset(
        {
            "object": label(moved, "object", units="1", long_name="Complex density"),
            "overlap": label(overlap, "overlap", units="1", long_name="Overlap"),
            "twin": label(twin, "twin", units="1", long_name="Conjugate twin taken"),
            "moved_by": label(
                shift, "moved_by", units="1", long_name="Shift in voxels"
            ),
        }
    )
    names = {"units": "1", "long_name": "Axis of the volume"}
    result = result.assign_coords(axis=("axis", list(dims), names))
    result.attrs = _kept(objects) | {"ramp": "kept" if ramp == "keep" else "removed"}
    return result


@recorded
def common_support(
    objects: xr.DataArray | xr.Dataset,
    *,
    threshold: float = 0.25,
    share: float = 0.5,
) -> xr.DataArray:
    """Find where the crystal is: dense in more than a share of the states.

    Lazy.

    Parameters
    ----------
    objects
        Aligned objects on ``state``, or their Dataset.
    threshold
        Share of each state's largest amplitude above which there is density.
    share
        A voxel belongs to the crystal where more than this share of the states has
        density: 0 for any, 0.5 for most.

    Returns
    -------
    xarray.DataArray of bool
        ``support`` without ``state``.

    Raises
    ------
    ArgumentError
        If a share is out of range.
    DimensionError
        If there is no ``state``.
    """
    field = _objects(objects, caller="common_support")
    dims = space_dims(field, caller="common_support")
    if not 0 <= share < 1:
        raise ArgumentError("share", share, "a share from 0 to below 1")
    if not 0 < threshold < 1:
        raise ArgumentError("threshold", threshold, "a share between 0 and 1")
    dense = _dense(field, dims, threshold)
    support = dense.sum("state") > share * field.sizes["state"]
    return label(support, "support", units="1", long_name="Common support")


@recorded
def fill_missing(
    objects: xr.DataArray | xr.Dataset,
    *,
    support: xr.DataArray | None = None,
    threshold: float = 0.25,
    smallest: int = 8,
) -> xr.Dataset:
    """Fill density that a state lacks from the states that have it.

    Lazy.

    A part of the crystal that has turned away does not diffract into this peak, and
    is dark in that state; the crystal is the same. Its amplitude is filled by the
    mean of the states with density there, each scaled to the mean amplitude of the
    state that is filled; its phase by that of their sum.

    Parameters
    ----------
    objects
        Aligned objects on ``state``, or their Dataset.
    support
        The whole crystal. None: `common_support` with this threshold.
    threshold
        Share of the state's largest amplitude below which a voxel lacks density.
    smallest
        Smaller connected gaps (voxels) are left as they are: noise and surface.

    Returns
    -------
    xarray.Dataset
        ``object``, zero outside the support; ``filled``, True where it was filled;
        ``support``. Voxels that no state has stay as they were.

    Raises
    ------
    ArgumentError
        If an option is out of range.
    ChunkingError
        If a volume is split over chunks.
    DimensionError
        If there is no ``state``.

    Notes
    -----
    The filled phase belongs to other voltages: leave it out of statistics with
    ``where(~filled)``.
    """
    field = _objects(objects, caller="fill_missing")
    dims = space_dims(field, caller="fill_missing")
    if isinstance(smallest, bool) or smallest < 1:
        raise ArgumentError("smallest", smallest, "a number of voxels >= 1")
    if support is None:
        support = common_support.__wrapped__(  # type: ignore[attr-defined]
            field, threshold=threshold
        )
    from batteryxr.cdi.bragg.kernels.lay_over import gaps

    whole = of_states(support.astype(bool))
    bare = of_states(field)
    dense = _dense(bare, dims, threshold)
    missing = apply(
        np.vectorize(lambda m: gaps(m, smallest), signature="(i,j,k)->(i,j,k)"),
        whole & ~dense,
        core_dims=[dims],
        output_dims=[dims],
        dtypes=[np.bool_],
        caller="fill_missing",
    )
    has = dense & whole
    amplitude = abs(bare)
    scale = amplitude.where(has).mean(dims)
    parts = (bare / scale).where(has, 0)
    count = has.sum("state")
    mean = (amplitude / scale).where(has, 0).sum("state") / count.where(count > 0, 1)
    total = parts.sum("state")
    unit = total / abs(total).where(abs(total) > 0, 1)
    filled = missing & (count > 0)
    new = xr.where(filled, (mean * unit * scale), bare.where(whole, 0))
    new = new.transpose(*field.dims).astype(field.dtype).assign_coords(field.coords)
    filled = filled.transpose(*field.dims).assign_coords(field.coords)
    result = xr.Dataset(
        {
            "object": label(new, "object", units="1", long_name="Complex density"),
            "filled": label(
                filled, "filled", units="1", long_name="Filled from other states"
            ),
            "support": label(
                support.astype(bool), "support", units="1", long_name="Common support"
            ),
        }
    )
    result.attrs = _kept(objects)
    return result


def _objects(objects: xr.DataArray | xr.Dataset, *, caller: str) -> xr.DataArray:
    if isinstance(objects, xr.Dataset):
        require_variables(objects, ["object"], caller=caller)
        objects = objects["object"]
    require_dims(objects, ["state"], caller=caller)
    if objects.dtype.kind != "c":
        raise ArgumentError("objects", str(objects.dtype), "complex objects")
    return objects


def _kept(objects: xr.DataArray | xr.Dataset) -> dict[str, object]:
    names = ("fourier_sign", "ramp", "frame", "history")
    return {k: objects.attrs[k] for k in names if k in objects.attrs}


def _dense(
    field: xr.DataArray, dims: tuple[str, ...], threshold: float
) -> xr.DataArray:
    amplitude = abs(field)
    return amplitude > threshold * amplitude.max(dims)
