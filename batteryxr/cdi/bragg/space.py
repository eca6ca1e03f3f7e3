"""Box, Q and voxels of an object: of its coordinates, or of a geometry that fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import OBJECT, VOLUME, bare, space_axes
from batteryxr.cdi.bragg.consistency.beam import require_same_file
from batteryxr.cdi.bragg.consistency.scan import require_angles
from batteryxr.core import bounds
from batteryxr.core.errors import ArgumentError, DataError, DimensionError, UnitsError
from batteryxr.core.labels import MOTOR, even_step
from batteryxr.core.units import affine

#: Coordinates that carry the scattering vector of fields in real space.
Q_COORDS = ("q_x", "q_y", "q_z")
#: Coordinates that carry Q and the voxels of fields in the detector's frame.
KEPT = ("scattering_vector", "voxel")
#: Relative difference above which two geometries are not the same.
_SAME = 1e-6


def steps_in_space(
    data: xr.DataArray | xr.Dataset, geometry: xr.Dataset | None, *, caller: str
) -> xr.DataArray:
    """Return the step of each index in space, (axis, vector), in Angstrom.

    Raises
    ------
    DataError
        If the volume is in the detector's frame and there is no geometry, or an axis in
        space has no units of length.
    DimensionError
        If there are no axes in space, or an axis has a single point.
    """
    axes = space_axes(data, caller=caller)
    if axes == OBJECT and geometry is not None:
        return bare(geometry_of(data, geometry, caller=caller)["voxel"] * 10.0)
    if axes == OBJECT:
        if "voxel" not in data.coords:
            raise DataError(
                "crystal",
                f"lies in the detector's frame, so that {caller} must know its voxels",
                "Pass geometry=..., a result of geometry(...), or call to_laboratory.",
            )
        _require_counted(data, caller)
        return bare(data.coords["voxel"] * 10.0)
    steps = np.zeros((3, 3))
    for row, dim in enumerate(axes):
        if data.sizes[dim] < 2:
            raise DimensionError(f"{caller}: {dim!r} has one point; needs 2.")
        steps[row, "xyz".index(dim)] = 10.0 * _step_in_nm(data, dim, caller)
    return xr.DataArray(steps, dims=("axis", "vector"))


def _step_in_nm(data: xr.DataArray | xr.Dataset, dim: str, caller: str) -> float:
    """Return the step of an axis in space; its units are not guessed."""
    units = data[dim].attrs.get("units") if dim in data.coords else None
    if units is None:
        what = "no units" if dim in data.coords else "no labels"
        raise DataError(
            dim,
            f"has {what}, so that {caller} does not know the size of the voxels",
            f"Give it positions: `.assign_coords({dim}=({dim!r}, positions, "
            "{'units': 'nm'}))`.",
        )
    try:
        factor = affine(str(units), "nm")[0]
    except UnitsError as error:
        raise DataError(dim, f"is no length: {error}", "Positions in nm.") from error
    step = factor * even_step(data, dim, caller=caller)
    bounds.check("voxel size", abs(step), argument=f"step of {dim}", data=True)
    return step


def scattering_vector(
    data: xr.DataArray | xr.Dataset, geometry: xr.Dataset | None, *, caller: str
) -> xr.DataArray:
    """Return Q on ``vector`` (1/Angstrom) from the coordinates, else the geometry.

    Raises
    ------
    DataError
        If neither holds Q.
    """
    if geometry is not None:
        geometry = geometry_of(data, geometry, caller=caller)
    known = known_q(data)
    if known is not None:
        return known
    if geometry is None:
        raise DataError(
            "crystal",
            f"does not tell the scattering vector, which {caller} must know",
            "Pass geometry=..., a result of geometry(...).",
        )
    return bare(geometry["q"])


def known_q(data: xr.DataArray | xr.Dataset) -> xr.DataArray | None:
    """Return Q as the coordinates have it, None where they do not."""
    if KEPT[0] in data.coords and set(OBJECT) <= set(data.dims):
        return bare(data.coords[KEPT[0]])
    if not set(Q_COORDS) <= set(data.coords):
        return None
    parts = xr.broadcast(*(bare(data.coords[name]) for name in Q_COORDS))
    joined = xr.concat(parts, dim="vector", coords="minimal", compat="override")
    return bare(joined)


def keep_geometry(
    fields: xr.Dataset, geometry: xr.Dataset | None, *, caller: str
) -> xr.Dataset:
    """Return fields that carry Q and voxels, so that later steps need no geometry."""
    if geometry is None or not set(OBJECT) <= set(fields.dims):
        return fields
    geometry = geometry_of(fields, geometry, caller=caller)
    words = ("Scattering vector", "Step of the voxels")
    units = ("1/Angstrom", "nm")
    kept = {
        name: bare(geometry[source]).assign_attrs(units=unit, long_name=word)
        for name, source, unit, word in zip(
            KEPT, ("q", "voxel"), units, words, strict=True
        )
    }
    return fields.assign_coords(kept)


def axis_note(points: int, centre: float | None = None) -> dict[str, Any]:
    """Return the note on an object's axis about the box it was phased in."""
    note: dict[str, Any] = {"points": points}
    return note if centre is None else note | {"box_centre": centre}


def box_of(volume: xr.DataArray) -> dict[str, Any]:
    """Return what identifies this box: points, middle and step by axis."""
    spacing = [step_of(volume, dim) for dim in VOLUME]
    middles = [middle_of(volume, dim) for dim in VOLUME]
    shape = [volume.sizes[dim] for dim in VOLUME]
    one, where = {"units": "1"}, "Angle (deg) and pixel at the middle of the box"
    return {
        "n_points": ("axis", shape, one | {"long_name": "Points of the box"}),
        "box_centre": ("axis", middles, one | {"long_name": where}),
        "box_step": ("axis", np.abs(spacing), one | {"long_name": "Step of the axis"}),
    }


def middle_of(volume: xr.DataArray, dim: str) -> float:
    """Return the angle or pixel in the middle of an axis of a volume."""
    axis = volume[dim].values
    middle = float(axis[axis.size // 2])
    centre = f"{dim}_centre"
    return middle + (float(volume[centre]) if centre in volume.coords else 0.0)


def step_of(volume: xr.DataArray, dim: str) -> float:
    """Return the step of an axis of a volume, which must be known and even."""
    numbered = volume[dim].attrs.get("units", "deg") in ("1", "")
    if dim == "rocking" and (numbered or dim not in volume.coords):
        raise DataError(
            "volume",
            "the rocking angles are not known, only the numbers of the frames",
            "Give them: `.assign_coords(rocking=('rocking', angles, "
            "{'units': 'deg'}))`.",
        )
    axis = volume[dim].values
    if dim == "rocking":
        bounds.check("angle", axis, argument="rocking", data=True)
        span = float(np.ptp(axis)) if axis.size else 0.0
        bounds.check("rocking span", span, argument="span of rocking", data=True)
        step = span / (axis.size - 1) if span else None
        bounds.check("rocking step", step, argument="step of rocking", data=True)
        require_angles(volume, caller="geometry")
    if axis.size < 2 or axis[0] == axis[-1]:
        raise DataError(
            "volume",
            f"the axis {dim!r} does not have several values",
            "Give it the angle of each frame.",
        )
    return even_step(volume, dim, caller="geometry", tolerance=MOTOR)


def of_states(data: xr.DataArray | xr.Dataset, geometry: xr.Dataset) -> xr.Dataset:
    """Return the geometry of the states that the data have, in their order.

    Raises
    ------
    ArgumentError
        If it is of other states, or of several where the data are of one.
    """
    # Without labels, match by position: `sel` would read labels as positions.
    if "state" in geometry.indexes and "state" in data.coords:
        try:
            geometry = geometry.sel(state=data["state"].values)
        except KeyError as error:
            raise ArgumentError(
                "geometry",
                geometry["state"].values.tolist(),
                f"the states of the crystal: {data['state'].values.tolist()}",
            ) from error
    if "state" in geometry.dims and "state" not in data.dims:
        told = f"{geometry.sizes['state']} states"
        mend = "Select its state: `geometry.isel(state=0)`."
        raise ArgumentError("geometry", told, "that of the crystal, one state", mend)
    return geometry


def geometry_of(
    data: xr.DataArray | xr.Dataset, geometry: xr.Dataset, *, caller: str
) -> xr.Dataset:
    """Return the geometry of these states; check that it fits this box.

    Raises
    ------
    ArgumentError
        If the geometry has another shape, box or Q, or other states.
    """
    geometry = of_states(data, geometry)
    if set(OBJECT) <= set(data.dims):
        _require_counted(data, caller)
        if "n_points" in geometry:
            _same_box(data, geometry, caller)
        require_same_file(data, geometry)
        if (mine := known_q(data)) is not None:
            _require_same("Q", mine, geometry["q"])
        if KEPT[1] in data.coords:
            _require_same("voxels", data[KEPT[1]], geometry["voxel"])
    elif (mine := known_q(data)) is not None:
        _require_same("|Q|", (mine**2).sum("vector") ** 0.5, geometry["q_length"])
    return geometry


def _require_same(what: str, mine: xr.DataArray, theirs: xr.DataArray) -> None:
    """Raise where a geometry is not the one that the fields carry."""
    order = [d for d in ("state", "axis", "vector") if d in theirs.dims]
    here, there = mine.values, theirs.transpose(..., *order).values
    if set(mine.dims) == set(theirs.dims):
        here = mine.transpose(*theirs.transpose(..., *order).dims).values
    near = _SAME * float(np.abs(there).max())
    if here.shape == there.shape and np.allclose(here, there, rtol=0, atol=near):
        return
    raise ArgumentError(
        "geometry",
        f"{what} {np.ravel(there)[:3].round(6).tolist()}",
        f"that of earlier steps, {np.ravel(here)[:3].round(6).tolist()}",
        "Pass the geometry of this measurement, or none. To begin anew: "
        f"`.drop_vars({list(KEPT)})`.",
    )


def _require_counted(data: xr.DataArray | xr.Dataset, caller: str) -> None:
    """Raise where voxels are left out or mirrored: a geometry is of the box phased."""
    for dim in OBJECT:
        step = even_step(data, dim, caller=caller)
        if abs(step - 1.0) > 1e-3:
            what = "runs backwards" if step == -1 else f"counts in steps of {step:g}"
            raise DataError(
                dim,
                f"{what}, and a geometry is of voxels in order",
                f"Turn it back: `.sortby({dim!r})`."
                if step < 0
                else "Pass every voxel of the object; to_laboratory can thin it.",
            )


def _same_box(
    data: xr.DataArray | xr.Dataset, geometry: xr.Dataset, caller: str
) -> None:
    """Raise where an object was phased in another box than the geometry's."""
    spread = np.ravel(geometry["box_step"].values).reshape(-1, 3)
    middles = np.ravel(geometry["box_centre"].values).reshape(-1, 3)
    points = np.ravel(geometry["n_points"].values).reshape(-1, 3)[0]
    for number, dim in enumerate(OBJECT):
        size, wanted = data.sizes[dim], int(points[number])
        note = dict(data[dim].attrs) if dim in data.coords else {}
        # Without a note, the labels show whether the object is a part of the box.
        whole = dim not in data.coords or int(data[dim].values[0]) == -(size // 2)
        found = int(note.get("points", size if whole else wanted))
        mend = f"{caller} takes the geometry of the very box that was phased: "
        mend += "call geometry(...) of that crop. The axes of an object note it: "
        mend += "{'points': n} in their attributes."
        if found != wanted or size > wanted:
            told = f"{wanted} points along {VOLUME[number]}"
            raise ArgumentError(
                "geometry", told, f"one of the {found} points of the crystal", mend
            )
        away = float(note.get("box_centre", np.nan)) - middles[:, number]
        if np.isfinite(away).all() and (np.abs(away) > 0.51 * spread[:, number]).all():
            told = f"a box round {middles[0, number]:.6g} along {VOLUME[number]}"
            raise ArgumentError(
                "geometry", told, f"round {note['box_centre']:.6g}", mend
            )
