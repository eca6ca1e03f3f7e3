"""Axes of Bragg CDI: their names, their steps in space, and the walk over volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.blocks import is_lazy
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DimensionError,
    VariableError,
    warn_quality,
)
from batteryxr.core.labels import even_step, require_even
from batteryxr.core.model import require_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Axes of the measurement, the matching axes of the object, and the axes of a
#: right-angled grid (nm).
VOLUME = ("rocking", "detector_y", "detector_x")
OBJECT = ("along_rocking", "along_y", "along_x")
SPACE = ("z", "y", "x")
#: The scalar coordinate that says which transform made an object; see `fourier_sign`.
SIGN = "fourier_sign"
#: Components of vectors in space.
VECTOR = ("x", "y", "z")
#: Coordinates that carry the scattering vector of fields in real space.
Q_COORDS = ("q_x", "q_y", "q_z")


def space_axes(data: xr.DataArray | xr.Dataset, *, caller: str) -> tuple[str, ...]:
    """Return the three axes of a crystal: real space, or the detector's frame.

    Raises
    ------
    DimensionError
        If the data have neither.
    DataError
        If an axis is uneven, repeats or lacks labels, or turns back.
    """
    for axes in (SPACE, OBJECT):
        if set(axes) <= set(data.dims):
            require_even(data, axes, caller=caller)
            return axes
    raise DimensionError(
        f"{caller} needs a volume on {SPACE} (nm) or {OBJECT}; "
        f"found {tuple(data.dims)}."
    )


def variable(
    data: xr.DataArray | xr.Dataset, name: str, *, caller: str
) -> xr.DataArray:
    """Return a variable of a Dataset; return an array unchanged.

    Raises
    ------
    VariableError
        If the Dataset lacks it.
    """
    if isinstance(data, xr.DataArray):
        return data
    fields = [str(n) for n in data.data_vars]
    if name not in data and len(fields) > 1:
        raise VariableError(
            f"{caller} takes {name!r} of a Dataset, which this one has not. Pass one "
            f"of its variables, such as `ds[{fields[0]!r}]`: {fields}."
        )
    require_variables(data, [name], caller=caller)
    return data[name]


def sign_note(sign: int = -1) -> tuple[tuple[()], int, dict[str, str]]:
    """Return the coordinate that notes the sign of an object's forward transform.

    A coordinate, not an attribute: it stays with a variable that is taken out of its
    Dataset, computed with, selected from, or concatenated.
    """
    return (), sign, {"units": "1", "long_name": "Sign of the forward transform"}


def known_sign(data: xr.DataArray | xr.Dataset, *, what: str = "crystal") -> int | None:
    """Return the ``fourier_sign`` of an object or of its fields; None where unknown.

    Raises
    ------
    DataError
        If its parts give different signs.
    """
    parts = [data] if isinstance(data, xr.DataArray) else [data, *data.values()]
    noted = [p.attrs[SIGN] for p in parts if SIGN in p.attrs]
    told = {sign for note in noted for sign in np.ravel(note).tolist()}
    if SIGN in data.coords:
        told |= {*np.unique(data.coords[SIGN].values).tolist()}
    if len(told) > 1 or not told <= {1, -1}:
        raise DataError(
            what,
            f"tells the fourier_sign {sorted(map(str, told))}, not one of +1 and -1",
            "Conjugate the objects of the other sign, and note one sign for all: "
            "`.assign_coords(fourier_sign=-1)`.",
        )
    return int(next(iter(told))) if told else None


def require_sign(data: xr.DataArray | xr.Dataset, sign: int, *, what: str) -> None:
    """Raise where an object is known to have the other sign.

    Raises
    ------
    DataError
        If the known sign differs; the message says how to conjugate.
    """
    known = known_sign(data, what=what)
    if known is not None and known != sign:
        raise DataError(
            what,
            f"was made with fourier_sign {known:+d}; {sign:+d} is needed here",
            f"Conjugate it: `np.conj(object).assign_coords(fourier_sign={sign})`.",
        )


def bare(array: xr.DataArray, axes: Sequence[str] | None = None) -> xr.DataArray:
    """Return an array without coordinates, so that arrays match by position.

    Parameters
    ----------
    array
        Any array.
    axes
        Axes of a volume. Labels of the other dimensions stay, and arrays match by them.
    """
    labels = [] if axes is None else [d for d in array.dims if d not in axes]
    return array.drop_vars(set(array.coords) - set(labels))


def inside(support: xr.DataArray) -> xr.DataArray:
    """Return a support as bool; NaN (left by `where`) counts as outside."""
    known = support.fillna(0) if support.dtype.kind == "f" else support
    return known.astype(bool)


def warn_of_support(
    amplitude: xr.DataArray, support: xr.DataArray, *, caller: str
) -> None:
    """Warn where a given support holds next to nothing of the object in memory."""
    if is_lazy(amplitude) or is_lazy(support):
        return
    power = bare(amplitude) ** 2
    held = float(power.where(bare(inside(support)), 0.0).sum())
    if held < 0.1 * float(power.sum()):
        warn_quality(
            f"{caller}: the support holds {held / float(power.sum()):.0%} of the "
            "object's power. Is it inverted (True is inside), or of another crystal?"
        )


def each_volume(kernel: Callable[..., Any], signature: str) -> Callable[..., Any]:
    """Extend a kernel for one volume to any leading dimensions.

    Parameters
    ----------
    kernel
        Takes and returns arrays with the axes of `signature`, and keywords.
    signature
        Axes of inputs and outputs as `numpy.vectorize` writes them.
    """

    def walked(*arrays: np.ndarray, **options: Any) -> Any:
        def one(*parts: np.ndarray) -> Any:
            return kernel(*parts, **options)

        return np.vectorize(one, signature=signature)(*arrays)

    return walked


def steps_in_space(
    data: xr.DataArray | xr.Dataset, geometry: xr.Dataset | None, *, caller: str
) -> xr.DataArray:
    """Return the step of each index in space, (axis, vector), in Angstrom.

    Raises
    ------
    DataError
        If the volume is in the detector's frame and there is no geometry.
    DimensionError
        If there are no axes in space, or an axis has a single point.
    """
    axes = space_axes(data, caller=caller)
    if axes == OBJECT and geometry is not None:
        geometry = geometry_of(data, geometry, caller=caller)
    if axes == OBJECT:
        if geometry is None:
            raise DataError(
                "crystal",
                f"lies in the detector's frame, so that {caller} must know its voxels",
                "Pass geometry=..., a result of geometry(...), or call to_laboratory.",
            )
        return bare(geometry["voxel"] * 10.0)
    steps = np.zeros((3, 3))
    for row, dim in enumerate(axes):
        if data.sizes[dim] < 2:
            raise DimensionError(f"{caller}: {dim!r} has one point; needs 2.")
        steps[row, "xyz".index(dim)] = 10.0 * even_step(data, dim, caller=caller)
    return xr.DataArray(steps, dims=("axis", "vector"))


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
    if set(Q_COORDS) <= set(data.coords):
        parts = xr.broadcast(*(bare(data.coords[name]) for name in Q_COORDS))
        joined = xr.concat(parts, dim="vector", coords="minimal", compat="override")
        return bare(joined)
    if geometry is None:
        raise DataError(
            "crystal",
            f"does not tell the scattering vector, which {caller} must know",
            "Pass geometry=..., a result of geometry(...).",
        )
    return bare(geometry["q"])


def axis_note(points: int, centre: float | None = None) -> dict[str, Any]:
    """Return the note on an object's axis about the box it was phased in."""
    note: dict[str, Any] = {"points": points}
    return note if centre is None else note | {"box_centre": centre}


def geometry_of(
    data: xr.DataArray | xr.Dataset, geometry: xr.Dataset, *, caller: str
) -> xr.Dataset:
    """Return the geometry of these states; check that it fits this box.

    Raises
    ------
    ArgumentError
        If the geometry has another shape, box or Q, or other states.
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
    if set(OBJECT) <= set(data.dims):
        if "n_points" in geometry:
            _same_box(data, geometry, caller)
    elif set(Q_COORDS) <= set(data.coords):
        parts = [np.asarray(data.coords[name].values) for name in Q_COORDS]
        mine = np.sqrt(sum(part**2 for part in parts))
        if not np.allclose(mine, geometry["q_length"].values, rtol=1e-3):
            raise ArgumentError(
                "geometry",
                f"|Q| {np.ravel(geometry['q_length'].values).round(4).tolist()}",
                f"that of the crystal's own Q, {np.ravel(mine).round(4).tolist()}",
                "Pass the geometry of this measurement, or none.",
            )
    return geometry


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


def volume_numbers(array: xr.DataArray, lead: Sequence[Any]) -> xr.DataArray:
    """Return the number of each volume of an array; lazy where it is."""
    sizes = [array.sizes[d] for d in lead]
    numbers = np.arange(int(np.prod(sizes, dtype=int))).reshape(sizes)
    out = xr.DataArray(numbers, dims=tuple(lead))
    if is_lazy(array) and lead:
        out = out.chunk(dict.fromkeys(lead, 1))
    return out
