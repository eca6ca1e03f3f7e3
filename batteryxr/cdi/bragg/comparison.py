"""How states differ in phase, and the numbers that tell of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import bare, each_volume, space_axes
from batteryxr.cdi.bragg.states import carried_attrs, labelled_support, require_states
from batteryxr.core.blocks import apply
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import label, require_variables
from batteryxr.core.optional import require
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from batteryxr.core.checks import Part


@recorded
def phase_differences(
    states: xr.DataArray | xr.Dataset,
    *,
    reference: int = 0,
    support: xr.DataArray | None = None,
    threshold: Part = 0.25,
) -> xr.Dataset:
    """Compare the phase of every state with that of one of them.

    Lazy.

    The difference is taken within (-pi, pi] voxel by voxel and unwrapped then: it
    varies less than the phases themselves.

    Parameters
    ----------
    states
        Aligned objects on ``state``; of a Dataset its ``object``, and its ``support``
        and ``filled`` where they are.
    reference
        Index of the state that is subtracted.
    support
        Of the crystal. None: the Dataset's; else where every state exceeds
        `threshold` of its largest amplitude.
    threshold
        See there.

    Returns
    -------
    xarray.Dataset
        ``phase_difference`` (rad, NaN outside the support; exactly 0 for the
        reference), its ``mean`` and ``spread`` over the voxels that were not filled,
        and ``support``, ``filled``.

    Raises
    ------
    ArgumentError
        If there is no such reference.
    ChunkingError
        If a volume is split over chunks.
    DimensionError
        If there is no ``state``.
    """
    field = require_states(states, caller="phase_differences")
    dims = space_axes(field, caller="phase_differences")
    n = field.sizes["state"]
    if not -n <= reference < n:
        raise ArgumentError("reference", reference, f"the index of one of {n} states")
    support = _support_of(states, field, support, threshold)
    differences = _differences(field, support, reference % n)
    named = {"units": "rad"}
    result = xr.Dataset(
        {
            "phase_difference": label(
                differences, "phase_difference", long_name="Phase difference", **named
            ),
            "support": labelled_support(support.astype(bool)),
        }
    )
    used = differences
    if isinstance(states, xr.Dataset) and "filled" in states:
        result["filled"] = states["filled"]
        used = differences.where(~states["filled"])
    for name, reduced, long_name in (
        ("mean", used.mean(dims), "Mean phase difference"),
        ("spread", used.std(dims), "Standard deviation of the phase difference"),
    ):
        result[name] = label(reduced, name, long_name=long_name, **named)
    result.attrs = carried_attrs(states)
    return result


def _support_of(
    states: xr.DataArray | xr.Dataset,
    field: xr.DataArray,
    support: xr.DataArray | None,
    threshold: float,
) -> xr.DataArray:
    """Return the support that all states share."""
    if support is None and isinstance(states, xr.Dataset):
        support = states.get("support")
    if support is None:
        amplitude = abs(field)
        dims = space_axes(field, caller="phase_differences")
        support = (amplitude > threshold * amplitude.max(dims)).all("state")
    return support.all("state") if "state" in support.dims else support


def _differences(
    field: xr.DataArray, support: xr.DataArray, reference: int
) -> xr.DataArray:
    """Return the unwrapped phase of each state less that of the reference."""
    unwrap_phase = require(
        "skimage.restoration",
        extra="images",
        purpose="unwrapping phases",
        package="scikit-image",
    ).unwrap_phase
    from batteryxr.cdi.bragg.kernels.phases import unwrap_difference

    dims = space_axes(field, caller="phase_differences")
    plain = bare(field)
    values = apply(
        each_volume(unwrap_difference, "(i,j,k),(i,j,k),(i,j,k)->(i,j,k)"),
        plain,
        plain.isel(state=reference),
        bare(support.astype(bool)),
        core_dims=[dims, dims, dims],
        output_dims=[dims],
        dtypes=[np.empty(0, field.dtype).real.dtype],
        caller="phase_differences",
        unwrap_phase=unwrap_phase,
    )
    # A number times its conjugate is real but for rounding.
    itself = xr.DataArray(np.arange(field.sizes["state"]) == reference, dims="state")
    values = values.where(~itself, values * 0)
    return values.transpose(*field.dims).assign_coords(field.coords)


@recorded
def summarise_states(states: xr.Dataset) -> xr.Dataset:
    """Reduce the fields of each state to means and spreads.

    Lazy.

    Parameters
    ----------
    states
        From `strain` and the steps before, with or without ``state``. Voxels that
        are ``filled`` are left out where the flag is there.

    Returns
    -------
    xarray.Dataset
        ``<name>_mean`` and ``<name>_spread`` of phase, displacement and strain as
        far as they are there, and ``n_voxels``.

    Raises
    ------
    VariableError
        If none of them is there.
    """
    names = [n for n in ("phase", "displacement", "strain") if n in states]
    if not names:
        require_variables(states, ["strain"], caller="summarise_states")
    dims = space_axes(states, caller="summarise_states")
    result: dict[str, Any] = {}
    used = states[names[0]].notnull()
    for name in names:
        field = states[name]
        if "filled" in states:
            field = field.where(~states["filled"])
        used = field.notnull() if name == names[0] else used
        title, units = field.attrs["long_name"], field.attrs["units"]
        for what, reduced in (("mean", field.mean(dims)), ("spread", field.std(dims))):
            result[f"{name}_{what}"] = label(
                reduced, f"{name}_{what}", units=units, long_name=f"{title}, {what}"
            )
    count = used.sum(dims)
    result["n_voxels"] = label(count, "n_voxels", units="1", long_name="Voxels")
    return xr.Dataset(result, attrs=carried_attrs(states))
