"""Displacement along Q from the phase of an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import (
    bare,
    each_volume,
    inside,
    known_sign,
    space_axes,
)
from batteryxr.cdi.bragg.consistency.objects import (
    warn_of_corners,
    warn_of_images,
    warn_of_support,
    warn_of_wraps,
    with_slopes,
)
from batteryxr.cdi.bragg.several.deviation import (
    deviations,
    replicas_of,
    root_mean_square,
    with_error,
)
from batteryxr.cdi.bragg.space import (
    KEPT,
    keep_geometry,
    scattering_vector,
    steps_in_space,
)
from batteryxr.core.blocks import apply
from batteryxr.core.errors import ArgumentError, DataError, VariableError
from batteryxr.core.model import label, require_variables
from batteryxr.core.optional import require
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units

if TYPE_CHECKING:
    from batteryxr.core.checks import Part


@recorded
def unwrap(
    crystal: xr.DataArray | xr.Dataset,
    *,
    support: xr.DataArray | None = None,
    threshold: Part = 0.25,
) -> xr.Dataset:
    """Split an object into amplitude and unwrapped phase inside its support.

    Lazy.

    Parameters
    ----------
    crystal
        Complex object on three axes of space, with or without ``state``; or the
        Dataset of `retrieve`, with its ``object`` and ``support``.
    support
        True inside the crystal. None: the Dataset's support, else where the amplitude
        exceeds `threshold` of its maximum.
    threshold
        Fraction of the maximum.

    Returns
    -------
    xarray.Dataset
        ``amplitude``, ``phase`` (rad; NaN outside), ``support``. For a crystal with
        `replicas` also ``phase_error`` and ``phase_replicas``, the deviation of each
        replica.

    Raises
    ------
    ArgumentError
        If `threshold` is not between 0 and 1.
    ChunkingError
        If a volume is split over chunks.
    DataError
        If the object is not complex.
    MissingDependencyError
        If scikit-image is not installed.

    Warns
    -----
    DataQualityWarning
        If the support holds next to nothing of the object, the object lies at the
        corners of its box, or it is the conjugate or a mirror image of what was
        retrieved.

    Notes
    -----
    Reliable voxels are unwrapped first: Abdul-Rahman et al., Opt. Lett. 32, 2280
    (2007), as implemented in scikit-image. A dislocation leaves a cut of 2 pi, which
    `strain` ignores. The number of turns between parts that do not touch is arbitrary.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> result = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> fields = result.cdi.unwrap()
    >>> list(fields.data_vars)[:3]
    ['amplitude', 'phase', 'support']
    """
    attrs = dict(crystal.attrs)
    kept = {k: crystal.coords[k] for k in KEPT if k in crystal.coords}
    copies = None
    if isinstance(crystal, xr.Dataset):
        copies = replicas_of(crystal, "replicas")
        require_variables(crystal, ["object"], caller="unwrap")
        support = crystal.get("support") if support is None else support
        crystal = crystal["object"]
    dims = space_axes(crystal, caller="unwrap")
    if crystal.dtype.kind != "c":
        mend = "Pass the `object` of a result."
        raise DataError("crystal", f"holds {crystal.dtype}, not a complex object", mend)
    restoration = require(
        "skimage.restoration",
        extra="images",
        purpose="unwrapping phases",
        package="scikit-image",
    )
    from batteryxr.cdi.bragg.kernels.phases import unwrap as kernel

    crystal = warn_of_images(crystal, caller="unwrap")
    amplitude = warn_of_corners(abs(crystal), caller="unwrap")
    if support is None:
        support = amplitude > threshold * amplitude.max(dims)
    else:
        support = warn_of_support(amplitude, support, caller="unwrap")
    real = np.empty(0, crystal.dtype).real.dtype
    angle = apply(
        np.angle,
        crystal,
        core_dims=[[]],
        output_dims=[[]],
        dtypes=[real],
        caller="unwrap",
    )
    phase = apply(
        each_volume(kernel, "(i,j,k),(i,j,k)->(i,j,k)"),
        angle,
        bare(inside(support)),
        core_dims=[dims, dims],
        output_dims=[dims],
        dtypes=[real],
        caller="unwrap",
        unwrap_phase=restoration.unwrap_phase,
    )
    fields = xr.Dataset(
        {
            "amplitude": label(
                amplitude, "amplitude", units="1", long_name="Amplitude"
            ),
            "phase": label(phase, "phase", units="rad", long_name="Phase"),
            "support": _support(support),
        }
    )
    fields = with_slopes(fields.assign_coords(kept))
    fields.attrs |= {k: v for k, v in attrs.items() if k == "fourier_sign"}
    if copies is not None:
        moved = deviations(crystal, copies, support)
        fields = with_error(fields, "phase", moved)
    return fields.transpose(*crystal.dims, ...)


def _support(support: xr.DataArray) -> xr.DataArray:
    return label(inside(support), "support", units="1", long_name="Support")


@recorded
def displacement(
    crystal: xr.Dataset,
    *,
    geometry: xr.Dataset | None = None,
    ramp: Literal["keep", "remove"] = "keep",
    sign: Literal[1, -1] | None = None,
) -> xr.Dataset:
    """Add the displacement of the lattice along Q: u = phi / Q, with a sign.

    Lazy.

    Parameters
    ----------
    crystal
        Fields from `unwrap`.
    geometry
        Geometry of the measurement; not needed where the fields carry it: after
        `to_laboratory`, or an earlier step that was given one.
    ramp
        ``"keep"`` or ``"remove"`` the least-squares plane in each state's phase. It is
        the mean change of the lattice: keep it to compare states with one common centre
        of the pattern; remove it to see variations inside the crystal. With
        ``"remove"`` the mean is removed too.
    sign
        +1 or -1: u is this times phi / |Q|. None: the coordinate ``fourier_sign``,
        which `retrieve` notes and selection keeps. With a forward transform
        exp(-2 pi i k n / N) the phase of a displaced lattice is -Q.u: its sign is -1.

    Returns
    -------
    xarray.Dataset
        The fields and ``displacement`` (Angstrom), ``mean_strain`` (the ramp along Q,
        removed or not) and, with ``ramp="remove"``, the phase without it. For a crystal
        with `replicas` also their errors. The attributes ``ramp`` and ``sign`` say what
        was done. The fields carry the geometry: later steps need none, and refuse
        another one.

    Raises
    ------
    ArgumentError
        If an option is none of these, or the geometry is another than that of earlier
        steps.
    DataError
        If Q or the sign is unknown, or the known sign is the other one; if voxels of
        the geometry's box are left out or mirrored, or an axis in space has no units.
    UnitsError
        If the phase is no angle.
    VariableError
        If there is no phase.

    Warns
    -----
    DataQualityWarning
        If the phase was never unwrapped, or jumps as a phase in degrees does; or if it
        is that of a conjugate, or of other axes, of the object that was retrieved.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> result = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> frame = volume.cdi.geometry(beamline="theta")
    >>> fields = result.cdi.unwrap().cdi.displacement(geometry=frame)
    >>> fields["displacement"].attrs["units"]
    'Angstrom'
    """
    _require(crystal, "phase", "unwrap", caller="displacement")
    phase = in_units(crystal["phase"], "rad", caller="displacement")
    phase = warn_of_wraps(phase, caller="displacement")
    phase = warn_of_images(phase, crystal.get("amplitude"), caller="displacement")
    crystal, known = crystal.assign(phase=phase), _sign(crystal, sign)
    dims = space_axes(crystal, caller="displacement")
    q = scattering_vector(crystal, geometry, caller="displacement")
    steps = steps_in_space(crystal, geometry, caller="displacement")
    slopes, offset = _planes(phase, crystal["support"], dims)
    length = np.sqrt((q**2).sum("vector"))
    if ramp == "remove":
        phase = _flat(phase, slopes, offset, dims)
    deviation = replicas_of(crystal, "phase_replicas")
    if deviation is not None:
        bend, level = _planes(deviation, crystal["support"], dims)
        if ramp == "remove":
            deviation = _flat(deviation, bend, level, dims)
            crystal = with_error(crystal, "phase", deviation)
    factor = known / length
    moved = _like(bare(phase) * factor.astype(phase.dtype), phase)
    mean = known * _ramps(slopes, steps, q)
    out = crystal.assign(
        phase=label(phase, "phase", units="rad", long_name="Phase"),
        displacement=label(
            moved,
            "displacement",
            units="Angstrom",
            long_name="Displacement along Q",
            sign=known,
        ),
        mean_strain=label(mean, "mean_strain", units="1", long_name="Mean strain"),
    )
    if deviation is not None:
        moves = bare(deviation) * factor.astype(deviation.dtype)
        out = with_error(out, "displacement", _like(moves, deviation))
        there = bare(deviation.notnull().any(dims))  # a replica that was lost has none
        error = root_mean_square(_ramps(bend, steps, q).where(there))
        words = "Standard deviation of the mean strain"
        out["mean_strain_error"] = label(
            error, "mean_strain_error", units="1", long_name=words
        )
    out.attrs |= {"ramp": "kept" if ramp == "keep" else "removed", "sign": known}
    return keep_geometry(out, geometry, caller="displacement")


def _planes(
    phase: xr.DataArray, support: xr.DataArray, dims: tuple[str, ...]
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return slopes and offset of the phase plane in each volume."""
    from batteryxr.cdi.bragg.kernels import phases

    slopes, offset = apply(
        each_volume(phases.plane, "(i,j,k),(i,j,k)->(a),()"),
        bare(phase),
        bare(support),
        core_dims=[dims, dims],
        output_dims=[["axis"], []],
        output_sizes={"axis": 3},
        dtypes=[np.float64, np.float64],
        caller="displacement",
    )
    return slopes, offset


def _flat(
    phase: xr.DataArray,
    slopes: xr.DataArray,
    offset: xr.DataArray,
    dims: tuple[str, ...],
) -> xr.DataArray:
    """Subtract a plane from a phase."""
    from batteryxr.cdi.bragg.kernels import phases

    flat = apply(
        each_volume(phases.without_plane, "(i,j,k),(a),()->(i,j,k)"),
        bare(phase),
        slopes,
        offset,
        core_dims=[dims, ["axis"], []],
        output_dims=[dims],
        dtypes=[phase.dtype],
        caller="displacement",
    )
    return _like(flat, phase)


def _ramps(slopes: xr.DataArray, steps: xr.DataArray, q: xr.DataArray) -> xr.DataArray:
    """Return the strain along Q for each slope."""
    found = apply(
        each_volume(ramp_strain, "(a),(a,b),(b)->()"),
        slopes,
        steps,
        q,
        core_dims=[["axis"], ["axis", "vector"], ["vector"]],
        dtypes=[np.float64],
        caller="displacement",
    )
    return xr.DataArray(found)


def _sign(crystal: xr.Dataset, given: int | None) -> int:
    """Return the sign of the displacement: the noted one, else the given one."""
    noted = known_sign(crystal)
    if noted is None and given is None:
        raise DataError(
            "crystal",
            "does not tell the sign of the transform that made it",
            "Note it, `.assign_coords(fourier_sign=-1)` for a forward transform "
            "exp(-2 pi i k n / N), or pass sign=-1 or sign=+1.",
        )
    if noted is not None and given is not None and noted != given:
        raise ArgumentError(
            "sign",
            given,
            f"{noted}, as the object's fourier_sign has it",
            "Leave it out, or conjugate the object and note the other sign.",
        )
    found = given if noted is None else noted
    assert found is not None
    return int(found)


def ramp_strain(slopes: np.ndarray, steps: np.ndarray, q: np.ndarray) -> float:
    """Return the strain along Q of a phase with these slopes (rad per index)."""
    length = float(np.linalg.norm(q))
    return float(np.linalg.solve(steps, slopes) @ q) / length**2


def _like(values: xr.DataArray, model: xr.DataArray) -> xr.DataArray:
    """Return values with the dimension order and coordinates of `model`."""
    return model.copy(data=values.transpose(*model.dims).data)


def _require(crystal: xr.Dataset, name: str, made_by: str, *, caller: str) -> None:
    """Raise where a field is missing, and name the call that makes it."""
    if not isinstance(crystal, xr.Dataset) or name not in crystal:
        raise VariableError(f"{caller} needs the field {name!r}: call {made_by} first.")
