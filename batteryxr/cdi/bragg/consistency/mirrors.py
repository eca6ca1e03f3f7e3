"""Objects that lie elsewhere than others, or are their twins or mirror images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import space_axes
from batteryxr.cdi.bragg.consistency.objects import looked_at

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Shift (voxels) between objects that are compared voxel by voxel.
_AWAY = 0.3
#: Overlap above which objects are alike.
_ALIKE = 0.998
#: Overlap below which two objects may be of two crystals.
_ANOTHER = 0.7


def warn_of_mirrors(
    aligned: xr.DataArray,
    reference: xr.DataArray,
    overlap: xr.DataArray,
    *,
    caller: str,
) -> xr.DataArray:
    """Return aligned objects; warn of mirror images, and of other crystals.

    Parameters
    ----------
    aligned, reference
        Complex objects.
    overlap
        Overlap of each with the reference.
    caller
        Name of the public function.
    """
    dims = space_axes(aligned, caller=caller)

    def mirrored(part: np.ndarray, first: np.ndarray, here: np.ndarray) -> str | None:
        from batteryxr.cdi.bragg.kernels.align import best_mirror

        known = first.any() and part.any() and np.isfinite(part).all()
        if here > _ALIKE or not known or not np.isfinite(first).all():
            return None
        axes, own, there = best_mirror(first, part)
        if _gains(there, own):
            return _told_of_mirror(axes, dims, own, there)
        if here >= _ANOTHER:
            return None
        return (
            f"an object has little in common with the reference (overlap {here:.2f}): "
            "another crystal, or a retrieval that failed?"
        )

    three = (aligned, reference, overlap)
    return looked_at(mirrored, *three, axes=[dims, dims, ()], caller=caller)


def _gains(there: float, here: float) -> bool:
    """Return whether a mirror image agrees so much better that it is no chance."""
    return 1 - there < 0.5 * (1 - here)


def _told_of_mirror(
    axes: Sequence[int], dims: Sequence[str], here: float, there: float
) -> str:
    """Tell how an object must be turned to agree."""
    turned = f"mirrored along {', '.join(repr(dims[a]) for a in axes)}"
    if len(axes) == len(dims):
        turned = "conjugated"
    return (
        f"an object agrees better {turned}: its overlap is {here:.3f} as it is and "
        f"{there:.3f} then. Displacement and strain would be wrong, in sign or in "
        "place; were its counts mirrored, or was it conjugated?"
    )


def warn_of_places(field: xr.DataArray, dim: str, *, caller: str) -> xr.DataArray:
    """Return objects; warn where one lies elsewhere than the first, or is mirrored.

    Objects that `align_states` or `align` moved are compared in place, each with the
    one before it: neighbours differ least.
    """
    dims = space_axes(field, caller=caller)
    if dim not in field.dims or field.ndim != 1 + len(dims):
        return field
    if "gauge" in field.attrs or "overlap" in field.coords:
        return warn_of_neighbours(field, dim, caller=caller)
    number = xr.DataArray(np.arange(field.sizes[dim]), dims=dim)
    three = (field, field.isel({dim: 0}), number)
    return looked_at(_elsewhere, *three, axes=[dims, dims, ()], caller=caller)


def warn_of_neighbours(field: xr.DataArray, dim: str, *, caller: str) -> xr.DataArray:
    """Return aligned objects; warn where one is no longer what its neighbour is."""
    dims = space_axes(field, caller=caller)
    number = xr.DataArray(np.arange(field.sizes[dim]), dims=dim)
    three = (field, field.shift({dim: 1}, fill_value=0), number)
    return looked_at(_turned, *three, axes=[dims, dims, ()], caller=caller)


def _turned(part: np.ndarray, before: np.ndarray, number: np.ndarray) -> str | None:
    """Tell of an object that is another image of its crystal than the one before."""
    from batteryxr.cdi.bragg.kernels.align import agreement, conjugate_twin

    both = np.isfinite(part).all() and np.isfinite(before).all()
    if number == 0 or not (both and before.any() and part.any()):
        return None
    if (here := agreement(before, part)) > _ALIKE:
        return None
    twin = conjugate_twin(part)
    images = {"twin": twin, "conjugate": part.conj(), "mirror image": twin.conj()}
    found = {name: agreement(before, image) for name, image in images.items()}
    name = max(found, key=lambda name: found[name])
    if _gains(found[name], here):
        return (
            f"object {number} is the {name} of what it should be beside object "
            f"{number - 1}: their overlap is {here:.3f}, and would be "
            f"{found[name]:.3f}. Displacement and strain would have the wrong sign or "
            "place."
        )
    return None if here > _ANOTHER else _elsewhere(part, before, number)


def _elsewhere(part: np.ndarray, first: np.ndarray, number: np.ndarray) -> str | None:
    from batteryxr.cdi.bragg.kernels.align import agreement, align

    if number == 0 or not (first.any() and part.any() and np.isfinite(part).all()):
        return None
    if (here := agreement(first, part)) > _ALIKE:
        return None
    found = align(first, part, ramp=True)
    moved = found.twin or max(map(abs, found.shift)) > _AWAY
    if not moved or found.overlap <= 1.02 * here:
        conjugate = agreement(first, part.conj())
        if _gains(conjugate, here):
            return _told_of_mirror(range(3), "ijk", here, conjugate)
        return None
    shift = [round(float(s), 1) for s in found.shift]
    return (
        f"object {number} lies {shift} voxels from the others"
        + (", as its twin" if found.twin else "")
        + ": align them before: `align_states`, or `align`."
    )
