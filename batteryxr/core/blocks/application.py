"""Kernels applied to labelled arrays: NumPy in, NumPy out; dask in, dask out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import xarray as xr

from batteryxr.core.blocks.layers import layered
from batteryxr.core.blocks.laziness import is_lazy
from batteryxr.core.model import require_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np


def apply(
    kernel: Callable[..., Any],
    *arrays: xr.DataArray | np.ndarray | float,
    core_dims: Sequence[Sequence[str]],
    output_dims: Sequence[Sequence[str]] = ((),),
    output_sizes: Mapping[str, int] | None = None,
    dtypes: Sequence[Any],
    caller: str,
    **kwargs: Any,
) -> Any:
    """Apply a kernel to arrays: NumPy in, NumPy out; dask in, dask out.

    Lazy: builds a graph and reads nothing.

    Parameters
    ----------
    kernel
        Takes NumPy arrays whose last axes are `core_dims` (leading axes broadcast)
        and returns one array, or a tuple of them, whose last axes are `output_dims`.
    *arrays
        Inputs, aligned exactly by their labels.
    core_dims
        For each input, the dimensions that the kernel needs whole.
    output_dims
        For each output, its own dimensions.
    output_sizes
        Sizes of output dimensions that no input has.
    dtypes
        The dtype of each output.
    caller
        Name of the public function, for messages.
    **kwargs
        Passed to the kernel.

    Returns
    -------
    xarray.DataArray or tuple of xarray.DataArray
        Without attributes: the caller labels them. Coordinates keep theirs.

    Raises
    ------
    ChunkingError
        If a core dimension is split over chunks.
    """
    function = partial(kernel, **kwargs) if kwargs else kernel
    lazy = any(isinstance(a, xr.DataArray) and is_lazy(a) for a in arrays)
    if len(arrays) == 1 and isinstance(arrays[0], xr.DataArray) and not lazy:
        return _alone(function, arrays[0], core_dims[0], output_dims)
    if lazy:
        for array, dims in zip(arrays, core_dims, strict=True):
            if isinstance(array, xr.DataArray):
                for dim in dims:
                    require_whole(array, dim, caller=caller)
        function = partial(
            layered,
            function,
            core_dims=core_dims,
            output_dims=output_dims,
            output_sizes=output_sizes or {},
            dtypes=dtypes,
        )
    found = xr.apply_ufunc(
        function,
        *arrays,
        input_core_dims=[list(d) for d in core_dims],
        output_core_dims=[list(d) for d in output_dims],
        dask="allowed",
        keep_attrs=False,
        join="exact",
    )
    known = [a.coords.variables for a in arrays if isinstance(a, xr.DataArray)]
    if isinstance(found, tuple):
        return tuple(_with_units(out, known) for out in found)
    return _with_units(found, known)


def _alone(
    function: Callable[..., Any],
    array: xr.DataArray,
    core: Sequence[str],
    output_dims: Sequence[Sequence[str]],
) -> Any:
    """Apply a function to one array in memory, whose labels need no comparing.

    Small calls take a tenth of the time that `xarray.apply_ufunc` does.
    """
    loops = [d for d in array.dims if d not in core]
    found = function(array.variable.transpose(*loops, *core).data)
    known: dict[frozenset[Any], xr.Coordinates] = {}
    outputs = []
    several = isinstance(found, tuple)
    for data, own in zip(found if several else (found,), output_dims, strict=True):
        lost = frozenset(core).difference(own)
        if lost not in known:
            known[lost] = _without(array.coords.variables, array.xindexes, lost)
        outputs.append(xr.DataArray(data, known[lost], [*loops, *own], array.name))
    return tuple(outputs) if several else outputs[0]


def _without(
    variables: Mapping[Any, xr.Variable],
    indexes: Mapping[Any, xr.indexes.Index],
    lost: frozenset[Any],
) -> xr.Coordinates:
    """Return the coordinates that do not lie along some dimensions."""
    kept = {n: v for n, v in variables.items() if lost.isdisjoint(v.dims)}
    return xr.Coordinates(kept, {n: i for n, i in indexes.items() if n in kept})


def _with_units(out: Any, known: Sequence[Mapping[Any, xr.Variable]]) -> Any:
    """Return a result whose coordinates have the attributes of the first with some."""
    if not isinstance(out, xr.DataArray):
        return out
    bare = [name for name, own in out.coords.variables.items() if not own.attrs]
    found: dict[Any, dict[str, Any]] = {
        n: next((k[n].attrs for k in known if n in k and k[n].attrs), {}) for n in bare
    }
    if any(found.values()):
        out = out.copy(deep=False)  # it shares coordinates with what the user passed
        for name, attrs in found.items():
            out.coords.variables[name].attrs.update(attrs)
    return out
