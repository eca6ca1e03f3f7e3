"""Alignment of objects to one another, and their orthogonal modes."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import (
    OBJECT,
    SPACE,
    bare,
    each_volume,
    known_sign,
    require_scale,
    require_sign,
    space_axes,
    variable,
)
from batteryxr.cdi.bragg.consistency.mirrors import warn_of_mirrors, warn_of_places
from batteryxr.core.blocks import apply
from batteryxr.core.errors import DataError, DimensionError
from batteryxr.core.labels import OwnLabels, even_step
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded


@recorded
def align(
    crystal: xr.DataArray | xr.Dataset,
    *,
    reference: Annotated[xr.DataArray | xr.Dataset, OwnLabels((*OBJECT, *SPACE))],
    ramp: bool = False,
    twin: bool = True,
) -> xr.DataArray:
    """Align an object to another one: conjugate twin, translation, phase.

    Lazy.

    The intensity does not fix these. The object or its twin is taken, whichever has the
    larger complex overlap with the reference after everything else is removed.

    Parameters
    ----------
    crystal, reference
        Complex objects on one grid; the reference has no further dimensions, or the
        same.
    ramp
        Remove the phase ramp between the two as well. It is the mean change of the
        lattice: keep it between states, remove it to compare with a simulation.
    twin
        Consider the twin.

    Returns
    -------
    xarray.DataArray
        ``object`` with the coordinates ``overlap`` (0 to 1), ``twin`` (taken or not)
        and the shift along each axis, such as ``shift_along_x``, in voxels.

    Raises
    ------
    DataError
        If the two belong to transforms of opposite sign, or are not complex.
    DimensionError
        If the two do not lie on one grid.

    Warns
    -----
    DataQualityWarning
        If a conjugate or a mirror image of the object agrees better, or nothing agrees.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volumes = cell["states"].to_dataset()["intensity"].compute()
    >>> states = volumes.cdi.retrieve_states(schedule="60 HIO + 20 ER", n_starts=2)
    >>> shifted = states["object"][1].cdi.align(reference=states["object"][0])
    """
    moving = variable(crystal, "object", caller="align")
    fixed = variable(reference, "object", caller="align")
    if (sign := known_sign(crystal)) is not None:
        require_sign(reference, sign, what="reference")
    for what, array in (("crystal", moving), ("reference", fixed)):
        if array.dtype.kind != "c":
            raise DataError(
                what,
                f"holds {array.dtype}, not a complex object",
                "Pass the `object` of a result.",
            )
    axes = space_axes(moving, caller="align")
    require_dims(fixed, axes, caller="align")
    if any(moving.sizes[d] != fixed.sizes[d] for d in axes):
        raise DimensionError(
            f"align: object {dict(moving.sizes)}, reference {dict(fixed.sizes)}; "
            "one shape is needed."
        )
    fixed = _like(moving, fixed, axes)
    field, *found = apply(
        each_volume(_aligned, "(a,b,c),(a,b,c)->(a,b,c),(),(),(),(),()"),
        bare(fixed, axes),
        moving,
        core_dims=[axes, axes],
        output_dims=[axes, (), (), (), (), ()],
        dtypes=[np.complex64, np.float64, bool, np.float64, np.float64, np.float64],
        caller="align",
        ramp=ramp,
        twin=twin,
    )
    if twin:
        field = warn_of_mirrors(field, bare(fixed, axes), found[0], caller="align")
    names = {"overlap": "Overlap", "twin": "Conjugate twin taken"}
    names |= {f"shift_{d}": f"Shift along {d} in voxels" for d in axes}
    extra = {
        name: label(part, name, units="1", long_name=words)
        for (name, words), part in zip(names.items(), found, strict=True)
    }
    # `strain` needs the sign that a retrieval notes on the Dataset.
    noted = crystal.attrs | moving.attrs
    attrs = {k: v for k, v in moving.attrs.items() if not k.startswith("batteryxr")}
    attrs |= {k: noted[k] for k in ("fourier_sign",) if k in noted}
    attrs = {"units": "1", "long_name": "Complex density"} | attrs
    out = label(field.transpose(*moving.dims), "object", **attrs)
    return out.assign_coords(extra)


def _like(
    moving: xr.DataArray, fixed: xr.DataArray, axes: tuple[str, ...]
) -> xr.DataArray:
    """Flip the reference to the direction of the other; its position is free."""
    for dim in axes:
        if dim not in moving.coords or dim not in fixed.coords:
            continue
        wanted, step = (even_step(a, dim, caller="align") for a in (moving, fixed))
        if abs(abs(step) - abs(wanted)) > 1e-3 * abs(wanted):
            raise DimensionError(
                f"align: reference has steps of {step:.4g} along {dim!r}, the object "
                f"{wanted:.4g}; one grid is needed."
            )
        if step * wanted < 0:
            fixed = fixed.isel({dim: slice(None, None, -1)})
    return fixed


def _aligned(
    reference: np.ndarray, moving: np.ndarray, *, ramp: bool, twin: bool
) -> tuple[Any, ...]:
    from batteryxr.cdi.bragg.kernels import align as kernels

    found = kernels.align(reference, moving, ramp=ramp, twin=twin)
    return found.field, found.overlap, found.twin, *found.shift


@recorded
def decompose(crystal: xr.DataArray, *, dim: str = "start") -> xr.Dataset:
    """Decompose aligned objects into orthogonal modes by their small Gram matrix.

    Lazy; one chunk along `dim` is needed.

    Parameters
    ----------
    crystal
        Complex objects that were aligned to one another, on `dim` and the axes of
        one grid.
    dim
        Dimension of the objects.

    Returns
    -------
    xarray.Dataset
        ``modes`` and ``mode_weight`` (fractions of the squared norm) on ``mode``,
        largest first. The first mode is the part that the objects share.

    Raises
    ------
    DimensionError
        If an axis is missing.

    Warns
    -----
    DataQualityWarning
        If the objects are not aligned.

    Examples
    --------
    >>> import xarray as xr
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> starts = [
    ...     volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2, seed=seed)[
    ...         "object"
    ...     ]
    ...     for seed in range(3)
    ... ]
    >>> starts = [start.cdi.align(reference=starts[0]) for start in starts]
    >>> several = xr.concat(starts, dim="start")
    >>> modes = several.cdi.decompose()
    >>> modes["mode_weight"].dims
    ('mode',)
    """
    axes = space_axes(crystal, caller="decompose")
    require_dims(crystal, [dim], caller="decompose")
    crystal = require_scale(crystal)
    crystal = warn_of_places(crystal, dim, caller="decompose")
    n = crystal.sizes[dim]
    parts, weights = apply(
        each_volume(_decompose, "(s,a,b,c)->(n,a,b,c),(n)"),
        crystal,
        core_dims=[(dim, *axes)],
        output_dims=[("mode", *axes), ("mode",)],
        output_sizes={"mode": n},
        dtypes=[np.complex64, np.float64],
        caller="decompose",
    )
    number = ("mode", np.arange(n), {"units": "1", "long_name": "Mode"})
    return xr.Dataset(
        {
            "modes": label(parts, "modes", units="1", long_name="Mode"),
            "mode_weight": label(
                weights, "mode_weight", units="1", long_name="Share of the mode"
            ),
        },
        coords={"mode": number},
    )


def _decompose(objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from batteryxr.cdi.bragg.kernels.answer import modes

    return modes(objects.astype(np.complex64, copy=False))
