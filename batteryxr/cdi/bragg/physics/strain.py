"""Strain along Q from the displacement of a crystal."""

from __future__ import annotations

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import bare, each_volume, space_axes
from batteryxr.cdi.bragg.consistency.objects import looked_at
from batteryxr.cdi.bragg.several.deviation import replicas_of, with_error
from batteryxr.cdi.bragg.space import (
    keep_geometry,
    scattering_vector,
    steps_in_space,
)
from batteryxr.core.blocks import apply
from batteryxr.core.errors import DataError, VariableError
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units

#: Differences of a displacement from that of its phase: relative, and in Angstrom.
_ALIKE, _ROUNDED = 0.02, 1e-4


@recorded
def strain(crystal: xr.Dataset, *, geometry: xr.Dataset | None = None) -> xr.Dataset:
    """Add the strain along Q: the derivative of the displacement along Q.

    Lazy.

    Parameters
    ----------
    crystal
        Fields from `displacement`; its ``ramp`` and ``sign`` apply here too.
    geometry
        Not needed after `displacement`, whose geometry the fields carry.

    Returns
    -------
    xarray.Dataset
        The fields and ``strain`` (1), NaN outside the support and where a voxel has no
        neighbour along an axis. ``strain_error`` for a crystal with `replicas`.

    Raises
    ------
    ArgumentError
        If the geometry is another than that of earlier steps.
    DataError
        If Q or the voxels are not known.
    UnitsError
        If the displacement is no length.
    VariableError
        If there is no displacement.

    Warns
    -----
    DataQualityWarning
        If the displacement is not that of the phase, from which the strain follows.

    Notes
    -----
    Differences are central inside and one-sided at the surface. Each difference of
    phase between neighbours is taken within (-pi, pi], so that neither a wrap nor the
    cut at a dislocation makes a spike. Trying several phase offsets (Hofmann et al.,
    Phys. Rev. Mater. 4, 013801 (2020)) is not needed. The phase must change by less
    than half a turn from voxel to voxel.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> found = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> geometry = volume.cdi.geometry(beamline="theta")
    >>> fields = found.cdi.unwrap().cdi.displacement(geometry=geometry)
    >>> strain = fields.cdi.strain()["strain"]
    """
    if not isinstance(crystal, xr.Dataset) or "displacement" not in crystal:
        raise VariableError(
            "strain needs the field 'displacement': call displacement first."
        )
    dims = space_axes(crystal, caller="strain")
    from batteryxr.cdi.bragg.kernels import phases

    q = scattering_vector(crystal, geometry, caller="strain")
    steps = steps_in_space(crystal, geometry, caller="strain")
    sign = float(_sign_of_displacement(crystal))

    length = (q**2).sum("vector") ** 0.5
    moved = in_units(crystal["displacement"], "Angstrom", caller="strain")
    phase = looked_at(
        _changed,
        crystal["phase"],
        moved,
        sign / length,
        axes=[dims, dims, ()],
        caller="strain",
    )

    def slope(phase: xr.DataArray) -> xr.DataArray:
        values = apply(
            each_volume(phases.along, "(i,j,k),(i,j,k),(a,b),(b)->(i,j,k)"),
            bare(phase),
            bare(crystal["support"]),
            steps,
            q,
            core_dims=[dims, dims, ["axis", "vector"], ["vector"]],
            output_dims=[dims],
            dtypes=[np.float64],
            caller="strain",
        )
        slopes = (sign * values).astype(phase.dtype)
        return phase.copy(data=slopes.transpose(*phase.dims).data)

    out = slope(phase)
    result = crystal.assign(
        strain=label(out, "strain", units="1", long_name="Strain along Q")
    )
    if (deviation := replicas_of(crystal, "phase_replicas")) is not None:
        result = with_error(result, "strain", slope(deviation))
    result.attrs |= {
        k: crystal.attrs[k] for k in ("ramp", "sign") if k in crystal.attrs
    }
    return keep_geometry(result, geometry, caller="strain")


def _changed(phase: np.ndarray, moved: np.ndarray, factor: np.ndarray) -> str | None:
    """Tell where a displacement is no longer that of its phase."""
    away = moved - factor * phase
    known = np.isfinite(away)
    if not known.any():
        return None
    if np.ptp(away[known]) <= _ALIKE * float(np.abs(moved[known]).max()) + _ROUNDED:
        return None
    return (
        "the displacement was changed after `displacement`, and the strain is that of "
        "the phase. Change the phase, and call displacement again."
    )


def _sign_of_displacement(crystal: xr.Dataset) -> int:
    """Return the sign that `displacement` used: of the field, else of the Dataset."""
    for told in (crystal["displacement"].attrs, crystal.attrs):
        if "sign" in told:
            return int(told["sign"])
    raise DataError(
        "crystal",
        "does not tell the sign with which its displacement follows from the phase",
        "Take the displacement of `displacement(...)`.",
    )
