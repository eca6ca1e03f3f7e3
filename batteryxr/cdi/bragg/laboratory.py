"""Interpolate volumes from the detector's skewed frame onto a grid in nm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import (
    OBJECT,
    SPACE,
    bare,
    each_volume,
    inside,
    space_axes,
    variable,
)
from batteryxr.cdi.bragg.consistency.objects import (
    warn_of_corners,
    warn_of_images,
    warn_of_ramp,
    warn_of_support,
    warn_of_wraps,
)
from batteryxr.cdi.bragg.kernels.voxels import SpaceGrid, resample
from batteryxr.cdi.bragg.space import KEPT, Q_COORDS, axis_note, geometry_of
from batteryxr.core.blocks import apply
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.model import QUANTITIES, attributes, label, require_dims
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import VoxelSize
    from batteryxr.core.checks import Part, Whole

#: Attributes of an axis that counts voxels from the middle.
_VOXELS = {"units": "1", "long_name": "Voxels from the centre"}
#: Number of points along an axis, enough for interpolation.
_Size = Annotated[int, Bounds(low=2)]
#: Factor between voxels in nm and in Angstrom that nobody means.
_UNLIKE = 5.0
Volumes = TypeVar("Volumes", xr.DataArray, xr.Dataset)


@recorded
def to_laboratory(
    crystal: Volumes,
    *,
    geometry: xr.Dataset,
    voxel_size: VoxelSize | None = None,
    shape: tuple[_Size, _Size, _Size] | None = None,
    frame: Literal["lab", "sample", "crystal"] = "lab",
    order: Annotated[int, Bounds(low=0, high=5)] = 3,
) -> Volumes:
    """Interpolate volumes from the detector's frame onto a right-angled grid.

    Lazy.

    Parameters
    ----------
    crystal
        A complex object without a phase ramp (its pattern is centred), or fields from
        `unwrap` to `strain`, on ``(along_rocking, along_y, along_x)``. Wrapped phases
        cannot be interpolated: pass the object, or the unwrapped phase.
    geometry
        Result of `geometry` for the pattern that was retrieved.
    voxel_size
        Voxel size of the result (nm). None: the cube root of the measured voxel's
        volume.
    shape
        Points along z, y, x. None: enough to hold the whole skewed volume; see
        `crop_to_support`.
    frame
        ``"lab"``: z along the beam, y up. ``"sample"``: the same axes with all sample
        circles at zero. ``"crystal"``: z along Q, y as nearly up as possible. The table
        in `docs/conventions.md` has the names that other programs use.
    order
        Order of the spline: 1 is linear, 3 cubic.

    Returns
    -------
    same type as `crystal`
        On ``(z, y, x)``, in nm from the zero of the volume's axes, with the scattering
        vector in ``q_x``, ``q_y``, ``q_z`` (1/Angstrom). Fields that are NaN outside
        the support keep their values up to its surface.

    Raises
    ------
    ArgumentError
        If an option is out of range or asks for more than 2e9 points, or the geometry
        belongs to another box.
    ChunkingError
        If a volume is split over chunks.
    DataError
        If the crystal itself does not fit into 2e9 points, or voxels of its box are
        left out or mirrored.
    DimensionError
        If the volume is not in the detector's frame.

    Warns
    -----
    DataQualityWarning
        If a phase is wrapped, the phase of an object turns too fast, or `voxel_size` is
        far from that of the measurement.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> found = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> frame = volume.cdi.geometry(beamline="theta")
    >>> crystal = (
    ...     found["object"].cdi.crop_to_support().cdi.to_laboratory(geometry=frame)
    ... )
    >>> crystal.dims
    ('z', 'y', 'x')
    """
    require_dims(crystal, OBJECT, caller="to_laboratory")
    geometry = geometry_of(crystal, geometry, caller="to_laboratory")
    turn = turn_of(geometry, frame)
    voxel = xr.dot(geometry["voxel"], turn, dim="vector").rename(turned="vector")
    voxel = bare(voxel.transpose(..., "axis", "vector"))
    size = voxel_size or float(np.mean(geometry["voxel_volume"])) ** (1 / 3)
    sizes = [crystal.sizes[dim] for dim in OBJECT]
    origin = tuple(_origin(crystal, dim) for dim in OBJECT)
    points = _enclosing(voxel.values, sizes, origin, size) if shape is None else shape
    if np.prod(points, dtype=float) > 2e9:
        raise _too_many(tuple(points), shape, voxel_size)
    q = bare(xr.dot(geometry["q"], turn, dim="vector").rename(turned="vector"))
    coords = {
        dim: (dim, (np.arange(n) - n // 2) * size, attributes(dim))
        for dim, n in zip(SPACE, points, strict=True)
    }
    dataset = (
        crystal.to_dataset(name="_") if isinstance(crystal, xr.DataArray) else crystal
    ).drop_vars(KEPT, errors="ignore")
    dataset = _look_at(dataset, geometry, size)
    grid = SpaceGrid(size, (int(points[0]), int(points[1]), int(points[2])), origin)
    moved = dataset.map(lambda a: _moved(a, voxel, grid, order), keep_attrs=True)
    moved = moved.assign_coords(coords).assign_coords(_q_coords(q))
    moved.attrs |= {"frame": frame}
    if isinstance(crystal, xr.DataArray):
        array = moved["_"].rename(crystal.name)
        array.attrs |= {"frame": frame}
        return array
    return moved


def _look_at(fields: xr.Dataset, geometry: xr.Dataset, size: float) -> xr.Dataset:
    """Return fields; warn of what interpolation would spoil, and of other units."""
    seen = {}
    for name, array in fields.data_vars.items():
        if not set(OBJECT) <= set(array.dims):
            continue
        seen[name] = warn_of_ramp(array, caller="to_laboratory")
        seen[name] = warn_of_images(seen[name], caller="to_laboratory")
        if array.attrs.get("units") == "rad" and not str(name).endswith("replicas"):
            seen[name] = warn_of_wraps(array, caller="to_laboratory")
    measured = float(np.mean(geometry["voxel_volume"])) ** (1 / 3)
    if not 1 / _UNLIKE < size / measured < _UNLIKE:
        warn_quality(
            f"to_laboratory: voxel_size={size:g} nm, and the voxels measured are "
            f"{measured:.3g} nm. Was it Angstrom?"
        )
    return fields.assign(seen)


def _too_many(
    points: tuple[int, ...], shape: tuple[int, ...] | None, voxel_size: float | None
) -> ArgumentError | DataError:
    """Return the error that names the argument asking for so many points."""
    asked = f"It asks for {points} points."
    if shape is not None:
        return ArgumentError("shape", shape, "no more than 2e9 points")
    if voxel_size is not None:
        return ArgumentError("voxel_size", voxel_size, "at most 2e9 voxels", asked)
    return DataError("crystal", "is too large for 2e9 voxels", f"Pass shape=. {asked}")


def _moved(
    array: xr.DataArray, voxel: xr.DataArray, grid: SpaceGrid, order: int
) -> xr.DataArray:
    """Interpolate one variable, if it lies in the detector's frame."""
    if not set(OBJECT) <= set(array.dims):
        return array
    lost = [n for n, c in array.coords.items() if set(c.dims) & set(OBJECT)]
    out = apply(
        each_volume(resample, "(i,j,k),(a,b)->(z,y,x)"),
        array.drop_vars(lost),
        voxel,
        core_dims=[OBJECT, ["axis", "vector"]],
        output_dims=[SPACE],
        output_sizes=dict(zip(SPACE, grid.shape, strict=True)),
        dtypes=[array.dtype],
        caller="to_laboratory",
        grid=grid,
        order=order,
    )
    return out.assign_attrs(array.attrs)


def turn_of(geometry: xr.Dataset, frame: str) -> xr.DataArray:
    """Return the matrix (vector, turned) from laboratory vectors to a frame."""
    if frame == "sample":
        return geometry["sample_rotation"].rename(sample="turned")
    dims = ("vector", "turned")
    if frame == "lab":
        return xr.DataArray(np.eye(3), dims=dims)
    q = geometry["q"]
    if "state" in q.dims:
        q = q.isel(state=0)
    z = q.values / np.linalg.norm(q.values)
    x = np.cross([0.0, 1.0, 0.0], z)
    if np.linalg.norm(x) < 1e-6:
        x = np.array([1.0, 0.0, 0.0])
    x /= np.linalg.norm(x)
    return xr.DataArray(np.stack([x, np.cross(z, x), z], axis=1), dims=dims)


def _origin(volume: xr.DataArray | xr.Dataset, dim: str) -> float:
    """Return the index at which an axis is zero; the middle if it has no values."""
    if dim not in volume.coords:
        return volume.sizes[dim] // 2
    return -float(volume[dim].values[0])


def _enclosing(
    voxel: np.ndarray, sizes: list[int], origin: tuple[float, ...], size: float
) -> tuple[int, ...]:
    """Return the points along z, y, x that enclose the skewed volume."""
    ends = [(-o - 0.5, n - 0.5 - o) for n, o in zip(sizes, origin, strict=True)]
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1).T
    reach = np.abs(corners @ voxel.reshape(-1, 3, 3)).reshape(-1, 3).max(axis=0)[::-1]
    return tuple(2 * int(np.ceil(r / size)) + 1 for r in reach)


@recorded
def crop_to_support(
    crystal: Volumes,
    *,
    margin: Whole = 4,
    threshold: Annotated[float, Bounds(low=0, below=1)] = 0.1,
) -> Volumes:
    """Cut away the empty voxels around the object.

    Reads once: the support of fields, else the amplitude.

    Parameters
    ----------
    crystal
        Object or fields, with or without ``state``.
    margin
        Voxels left on each side.
    threshold
        Fraction of the largest amplitude that marks the object without a ``support``.

    Returns
    -------
    same type as `crystal`
        The box; its axes keep their values, so that positions do not change.

    Raises
    ------
    ArgumentError
        If `margin` is negative, or `threshold` no fraction.
    DataError
        If the object is empty.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> result = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> crystal = result.cdi.crop_to_support(margin=2)
    """
    dims = space_axes(crystal, caller="crop_to_support")
    if isinstance(crystal, xr.Dataset) and "support" in crystal:
        inside = crystal["support"]
        if "object" in crystal:
            whole = abs(bare(crystal["object"]))
            warn_of_support(whole, bare(inside), caller="crop_to_support")
    else:
        main = crystal["object"] if isinstance(crystal, xr.Dataset) else crystal
        amplitude = abs(main)
        inside = amplitude > threshold * amplitude.max(dims)
    box = {}
    for dim in dims:
        others = [d for d in inside.dims if d != dim]
        where = np.flatnonzero(inside.any(others).values)
        if not where.size:
            raise DataError(
                "crystal", "holds an object that is empty", "Look at its support."
            )
        stop = int(where[-1]) + 1 + margin
        box[dim] = slice(max(0, int(where[0]) - margin), stop)
    known = {}
    for d in dims:
        n = crystal.sizes[d]
        labels = np.arange(n) - n // 2
        axis = crystal[d] if d in crystal.coords else xr.DataArray(labels, dims=d)
        about = axis.attrs or dict(_VOXELS)
        # The number of points noted stays that of the whole box.
        note = axis_note(n) | about if d in OBJECT else about
        known[d] = (d, axis.values, note)
    return crystal.assign_coords(known).isel(box)


@recorded
def analysis_support(
    crystal: xr.DataArray | xr.Dataset, *, threshold: Part = 0.5
) -> xr.DataArray:
    """Find where a crystal is from its amplitude, as support for strain analysis.

    Lazy.

    The support of a retrieval is larger than the crystal, so that nothing is cut off.
    Phases in the layer between are noise, and their strain is many times that inside.
    Half the amplitude of the core marks the surface, whatever the blur.

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
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> result = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> body = result.cdi.analysis_support()
    >>> fields = result.cdi.unwrap(support=body)
    """
    objects = variable(crystal, "object", caller="analysis_support")
    if (units := objects.attrs.get("units", "1")) not in ("1", ""):
        raise DataError(
            "crystal",
            f"holds a field in {units!r}, not an object",
            "Pass the `object` of a result, or its amplitude.",
        )
    dims = space_axes(objects, caller="analysis_support")
    amplitude = warn_of_corners(abs(objects), caller="analysis_support")
    if isinstance(crystal, xr.Dataset) and "support" in crystal:
        around = bare(inside(crystal["support"]))
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


def _q_coords(q: xr.DataArray) -> dict[str, xr.DataArray]:
    coords = {}
    for k, name in enumerate(Q_COORDS):
        attrs = {"units": QUANTITIES["q"].units, "long_name": f"Q along {name[-1]}"}
        coords[name] = q.isel(vector=k).assign_attrs(attrs)
    return coords
