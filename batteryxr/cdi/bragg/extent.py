"""The part of a crystal over which its strain can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import bare, each_volume, space_axes, variable
from batteryxr.core.blocks import apply
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from batteryxr.core.checks import Part


@recorded
def analysis_support(
    crystal: xr.DataArray | xr.Dataset, *, threshold: Part = 0.5
) -> xr.DataArray:
    """Find where a crystal is from its amplitude: the volume over which to tell strain.

    Lazy.

    The support of a retrieval is larger than the crystal, so that nothing is cut off;
    phases of the layer between are noise, and their strain is many times that inside.
    Half the amplitude of the core lies on the surface, whatever blurs it.

    Parameters
    ----------
    crystal
        Objects on three axes of space, with or without ``state``; or the Dataset of
        `retrieve`, whose ``support`` bounds the search.
    threshold
        Fraction of the median amplitude in the core above which a voxel belongs to
        the crystal.

    Returns
    -------
    xarray.DataArray of bool
        ``support``: the largest connected part, without holes.

    Raises
    ------
    ArgumentError
        If `threshold` is no fraction.
    ChunkingError
        If a volume is split over chunks.
    DimensionError
        If it has no axes of space.

    Examples
    --------
    >>> body = result.cdi.analysis_support()
    >>> fields = result.cdi.unwrap(support=body)
    """
    objects = variable(crystal, "object", caller="analysis_support")
    dims = space_axes(objects, caller="analysis_support")
    amplitude = abs(objects)
    if isinstance(crystal, xr.Dataset) and "support" in crystal:
        around = bare(crystal["support"].astype(bool))
    else:
        around = bare(amplitude > 0.1 * amplitude.max(dims))
    from batteryxr.cdi.bragg.kernels.support import body

    found = apply(
        each_volume(body, "(i,j,k),(i,j,k)->(i,j,k)"),
        amplitude,
        around,
        core_dims=[dims, dims],
        output_dims=[dims],
        dtypes=[np.bool_],
        caller="analysis_support",
        threshold=threshold,
    )
    found = found.transpose(*objects.dims)
    return label(found, "support", units="1", long_name="Support for analysis")
