"""Axes of Bragg CDI: their names, the sign of objects, and the walk over volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.blocks import apply, is_lazy
from batteryxr.core.errors import (
    DataError,
    DimensionError,
    VariableError,
)
from batteryxr.core.labels import require_even
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
#: The coordinate that tells objects by the sum of the counts that were phased.
PHOTONS = "photons"
#: Coordinates that tell an object from its conjugate and mirror images.
SLOPES = ("slope_rocking", "slope_y", "slope_x")
#: Largest modulus of an object, least and most.
_LEAST, _MOST = 1e-12, 1e12
#: Components of vectors in space.
VECTOR = ("x", "y", "z")


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
        return require_scale(data) if name == "object" else data
    fields = [str(n) for n in data.data_vars]
    if name not in data and len(fields) > 1:
        raise VariableError(
            f"{caller} takes {name!r} of a Dataset, which this one has not. Pass one "
            f"of its variables, such as `ds[{fields[0]!r}]`: {fields}."
        )
    require_variables(data, [name], caller=caller)
    return require_scale(data[name]) if name == "object" else data[name]


def require_scale(objects: xr.DataArray) -> xr.DataArray:
    """Return objects; raise where single precision does not hold their products.

    Lazy objects are not looked at.

    Raises
    ------
    DataError
        If their largest modulus is none that a retrieval gives.
    """
    if is_lazy(objects) or objects.dtype.kind != "c" or not objects.size:
        return objects
    parts = objects.values.real, objects.values.imag
    largest = max(float(np.nanmax(np.abs(p), initial=0.0)) for p in parts)
    if largest and not _LEAST <= largest <= _MOST:
        raise DataError(
            "object",
            f"has moduli up to {largest:.3g}, outside {_LEAST:g} to {_MOST:g}, which "
            "single precision computes with",
            "Scale it: `object / abs(object).max()`.",
        )
    return objects


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
    """Return a support as bool; NaN (left by `where`) counts as outside.

    Raises
    ------
    DataError
        If it holds other numbers than 0 and 1: now, or where lazy data are computed.
    """
    if support.dtype.kind == "b":
        return support
    return support.copy(
        data=apply(
            _flags,
            support,
            core_dims=[[]],
            output_dims=[[]],
            dtypes=[bool],
            caller="support",
        ).data
    )


def _flags(values: np.ndarray) -> np.ndarray:
    """Return 0 and 1 as bool, NaN as outside."""
    known = np.nan_to_num(values)
    if not np.isin(known, (0, 1)).all():
        raise DataError(
            "support",
            f"holds numbers from {known.min():.4g} to {known.max():.4g}, not only 0 "
            "and 1",
            "Compare them: `amplitude > 0.25 * amplitude.max()`.",
        )
    return np.asarray(known != 0)


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


def volume_numbers(array: xr.DataArray, lead: Sequence[Any]) -> xr.DataArray:
    """Return the number of each volume of an array; lazy where it is."""
    sizes = [array.sizes[d] for d in lead]
    numbers = np.arange(int(np.prod(sizes, dtype=int))).reshape(sizes)
    out = xr.DataArray(numbers, dims=tuple(lead))
    if is_lazy(array) and lead:
        out = out.chunk(dict.fromkeys(lead, 1))
    return out
