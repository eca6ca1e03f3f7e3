"""Phase differences between states, displacements and mean strain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

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
from batteryxr.cdi.bragg.consistency.mirrors import warn_of_places
from batteryxr.cdi.bragg.gauge import OF_MEAN, region, zero_of
from batteryxr.cdi.bragg.lattice import ramp_strain
from batteryxr.cdi.bragg.space import (
    Q_COORDS,
    keep_geometry,
    scattering_vector,
    steps_in_space,
)
from batteryxr.cdi.bragg.states import carried_attrs, labelled_support, require_states
from batteryxr.core.blocks import apply, is_lazy
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.model import label
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
    gauge: Literal["core", "centre_of_mass", "least_changed"]
    | tuple[int, int, int]
    | None = None,
    geometry: xr.Dataset | None = None,
) -> xr.Dataset:
    """Compare the phase of each state with that of a reference state.

    Lazy.

    Differences are taken within (-pi, pi] voxel by voxel and unwrapped afterwards: they
    vary less than the phases themselves.

    Parameters
    ----------
    states
        Aligned objects on ``state``. A Dataset gives its ``object``, and its
        ``support`` and ``filled`` where present.
    reference
        Index of the reference state, which is subtracted.
    support
        Support of the crystal, or of each state; then the crystal is where most states
        have density. None: the Dataset's support, else where a state exceeds
        `threshold` of its largest amplitude.
    threshold
        Fraction of the largest amplitude; see `support`.
    gauge
        Region in which each difference has zero mean, since no measurement fixes it:
        ``"core"`` (deeper than half the greatest depth), ``"centre_of_mass"`` (the
        voxels round it), ``"least_changed"`` (the connected tenth of the crystal that
        changes least over the states), or the indices of a voxel. None: the zero of the
        objects; `align_states` makes the mean zero.
    geometry
        Geometry of the measurement, for displacement (Angstrom) and strain. Not needed
        where the objects carry ``q_x``, ``q_y`` and ``q_z``.

    Returns
    -------
    xarray.Dataset
        ``phase_difference`` (rad): NaN outside the support and where the state or the
        reference has no density, exactly 0 for the reference. Also its ``mean`` and
        ``spread`` over the voxels that were not filled, ``support`` and ``filled``.
        There is no ``mean`` where the gauge makes it zero. Variables that depend on the
        gauge note it in the attribute ``gauge``; ``gauge_phase`` is the phase that was
        subtracted.

        With Q and ``fourier_sign`` also ``displacement_mean`` and
        ``displacement_largest`` (Angstrom) relative to the reference. The largest is
        taken over means of a voxel and its six neighbours, all inside the crystal.
        ``mean_strain`` is how much wider the lattice is than in the reference, from the
        ramp of the phase and, where the geometry has states, from their |Q|. It needs
        no gauge; there is no ramp where `align_states` removed it.

    Raises
    ------
    ArgumentError
        If the reference or the voxel does not exist.
    ChunkingError
        If a volume is split over chunks.
    DataError
        If a geometry is given but the sign of the transform is unknown, or the
        reference has no density.
    DimensionError
        If there is no ``state``.

    Warns
    -----
    DataQualityWarning
        If states are not aligned, or each has a zero of its own.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> series = cell["states"].to_dataset()["intensity"].compute()
    >>> states = series.cdi.retrieve_states(schedule="60 HIO + 20 ER", n_starts=2)
    >>> table = states.cdi.phase_differences(gauge="core")
    """
    field = require_states(states, caller="phase_differences")
    field = warn_of_places(field, "state", caller="phase_differences")
    dims = space_axes(field, caller="phase_differences")
    n = field.sizes["state"]
    if not -n <= reference < n:
        raise ArgumentError("reference", reference, f"the index of one of {n} states")
    given = _support_of(states, field, support, threshold)
    support, compared = _shared(bare(given), reference % n)
    if not is_lazy(compared) and not compared.any():
        told = f"{reference % n}, the reference, has no density in the crystal"
        raise DataError("states", told, "Choose another reference.")
    differences = _differences(field, compared, reference % n)
    filled = states.get("filled") if isinstance(states, xr.Dataset) else None
    noted = _noted_gauge(states, field, gauge)
    zero = None
    if gauge is not None:
        counted = differences if filled is None else differences.where(~filled)
        where = region(counted, support, gauge)
        zero = zero_of(counted, where)
        differences = (differences - zero).transpose(*field.dims)
        noted = gauge if isinstance(gauge, str) else f"voxel {list(gauge)}"
    named = {"units": "rad"}
    result = xr.Dataset(
        {
            "phase_difference": label(
                differences,
                "phase_difference",
                long_name="Phase difference",
                gauge=noted,
                **named,
            ),
            "support": labelled_support(inside(support)),
        }
    )
    used = differences
    if filled is not None:
        result["filled"] = filled
        used = differences.where(~filled)
    spread = label(
        used.std(dims),
        "spread",
        long_name="Standard deviation of the phase difference",
        **named,
    )
    result["spread"] = spread
    if noted != OF_MEAN:
        words = "Mean phase difference"
        result["mean"] = label(
            used.mean(dims), "mean", long_name=words, gauge=noted, **named
        )
    if zero is not None:
        words = "Phase that was subtracted"
        result["gauge_phase"] = label(
            zero, "gauge_phase", long_name=words, gauge=noted, **named
        )
    if geometry is not None or set(Q_COORDS) <= set(field.coords):
        result = result.assign(_in_angstrom(states, result, geometry, reference % n))
    result.attrs = carried_attrs(states) | {"gauge": noted}
    return keep_geometry(result, geometry, caller="phase_differences")


def _noted_gauge(
    states: xr.DataArray | xr.Dataset, field: xr.DataArray, given: Any
) -> str:
    """Return the gauge of the objects; tell where each state has its own zero."""
    noted = field.attrs.get("gauge", states.attrs.get("gauge"))
    if noted is None and given is None:
        warn_quality(
            "phase_differences: each state has the zero of its own retrieval, so that "
            "means of differences mean nothing. Call align_states, or pass gauge=..."
        )
    return str(noted or "of the objects")


def _in_angstrom(
    states: xr.DataArray | xr.Dataset,
    result: xr.Dataset,
    geometry: xr.Dataset | None,
    reference: int,
) -> dict[str, xr.DataArray]:
    """Return displacements and mean strain of each state against the reference."""
    phase = result["phase_difference"]
    dims = space_axes(phase, caller="phase_differences")
    sign = known_sign(states, what="states")
    if sign is None and geometry is None:
        return {}  # Angstrom were not asked for
    if sign is None:
        raise DataError(
            "states",
            "do not tell the sign of the transform that made them",
            "Note it: `.assign_coords(fourier_sign=-1)` for exp(-2 pi i k n / N).",
        )
    q = scattering_vector(phase, geometry, caller="phase_differences")
    length = np.sqrt((q**2).sum("vector"))
    used = phase.where(~result["filled"]) if "filled" in result else phase
    noted, angstrom = phase.attrs["gauge"], {"units": "Angstrom"}
    out: dict[str, xr.DataArray] = {}
    if "mean" in result:
        words = "Mean relative displacement"
        out["displacement_mean"] = label(
            sign * result["mean"] / length,
            "displacement_mean",
            long_name=words,
            gauge=noted,
            **angstrom,
        )
    # Average a voxel with its six neighbours: the largest single voxel is noise.
    inner = used
    for dim in dims:
        inner = inner + used.shift({dim: 1}) + used.shift({dim: -1})
    inner = inner / 7
    if noted != OF_MEAN:
        words = "Largest relative displacement"
        out["displacement_largest"] = label(
            abs(inner).max(dims) / length,
            "displacement_largest",
            long_name=words,
            gauge=noted,
            **angstrom,
        )
    strain = _mean_strain(states, used, geometry, (sign, reference))
    if strain is not None:
        words = "Strain of the mean lattice against the reference"
        out["mean_strain"] = label(strain, "mean_strain", units="1", long_name=words)
    return out


def _mean_strain(
    states: xr.DataArray | xr.Dataset,
    phase: xr.DataArray,
    geometry: xr.Dataset | None,
    of: tuple[int, int],
) -> xr.DataArray | None:
    """Return how much wider each lattice is, from ramp and |Q|; None if unknown.

    Parameters
    ----------
    states
        Objects; their attributes say whether the ramp was removed.
    phase
        Phase differences on ``state``, NaN where they do not count.
    geometry
        Geometry of the measurement, if any.
    of
        Sign of the displacement, and index of the reference.
    """
    from batteryxr.cdi.bragg.kernels import phases

    sign, reference = of
    dims = space_axes(phase, caller="phase_differences")
    q = scattering_vector(phase, geometry, caller="phase_differences")
    total = None
    if "state" in q.dims:
        length = (q**2).sum("vector") ** 0.5
        total = length.isel(state=reference) / length - 1
    objects = variable(states, "object", caller="phase_differences")
    if "removed" in {states.attrs.get("ramp"), objects.attrs.get("ramp")}:
        return total
    slopes, _ = apply(
        each_volume(phases.plane, "(i,j,k),(i,j,k)->(a),()"),
        bare(phase),
        bare(phase).notnull(),
        core_dims=[dims, dims],
        output_dims=[["axis"], []],
        output_sizes={"axis": 3},
        dtypes=[np.float64, np.float64],
        caller="phase_differences",
    )
    ramp = sign * apply(
        each_volume(ramp_strain, "(a),(a,b),(b)->()"),
        slopes,
        steps_in_space(phase, geometry, caller="phase_differences"),
        q,
        core_dims=[["axis"], ["axis", "vector"], ["vector"]],
        dtypes=[np.float64],
        caller="phase_differences",
    )
    ramp = ramp.where(bare(phase).notnull().any(dims))  # an empty state has no ramp
    return ramp if total is None else total + ramp


def _support_of(
    states: xr.DataArray | xr.Dataset,
    field: xr.DataArray,
    support: xr.DataArray | None,
    threshold: float,
) -> xr.DataArray:
    """Return where each state is compared; without ``state``, the same for all."""
    if support is None and isinstance(states, xr.Dataset):
        support = states.get("support")
    if support is None:
        amplitude = abs(field)
        dims = space_axes(field, caller="phase_differences")
        support = amplitude > threshold * amplitude.max(dims)
    return inside(support)


def _shared(support: xr.DataArray, reference: int) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the crystal, and where each state can be compared with the reference.

    A voxel belongs to the crystal where most states have density: a state that lacks a
    part hides nothing in the others.
    """
    if "state" not in support.dims:
        return support, support
    crystal = support.sum("state") > 0.5 * support.sizes["state"]
    both = support & support.isel(state=reference, drop=True)
    return crystal, both & crystal


def _differences(
    field: xr.DataArray, support: xr.DataArray, reference: int
) -> xr.DataArray:
    """Return the unwrapped phase of each state minus that of the reference."""
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
        bare(inside(support)),
        core_dims=[dims, dims, dims],
        output_dims=[dims],
        dtypes=[np.empty(0, field.dtype).real.dtype],
        caller="phase_differences",
        unwrap_phase=unwrap_phase,
    )
    # The product of a number and its conjugate is real only up to rounding.
    itself = xr.DataArray(np.arange(field.sizes["state"]) == reference, dims="state")
    values = values.where(~itself, values * 0)
    return values.transpose(*field.dims).assign_coords(field.coords)
