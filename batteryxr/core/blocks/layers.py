"""Kernels on dask arrays as whole layers: a call costs nothing for each chunk."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def layered(
    kernel: Callable[..., Any],
    *arrays: Any,
    core_dims: Sequence[Sequence[str]],
    output_dims: Sequence[Sequence[str]],
    output_sizes: Mapping[str, int],
    dtypes: Sequence[Any],
) -> Any:
    """Apply a kernel to each chunk of arrays.

    Lazy. One task of the kernel for each chunk, and one for each of several outputs,
    which are written down only when they run.

    Parameters
    ----------
    kernel, core_dims, output_dims, output_sizes, dtypes
        As in `apply`. Core dimensions have one chunk.
    *arrays
        dask or NumPy arrays whose last axes are `core_dims`; the others broadcast.
    """
    import dask.array as da

    kernel = partial(_on_aligned, kernel)
    inputs: list[Any] = []
    known: dict[str, int] = {}
    depth = 0
    for array, dims in zip(arrays, core_dims, strict=True):
        held = da.asarray(array)
        loops = held.ndim - len(dims)
        depth = max(depth, loops)
        known |= zip(dims, held.shape[loops:], strict=True)
        inputs += [held, (*_loops(loops), *dims)]
    over = _loops(depth)
    if len(output_dims) == 1:
        new = {d: output_sizes[d] for d in output_dims[0] if d not in known}
        return _layer(kernel, (*over, *output_dims[0]), inputs, dtypes[0], new)
    found = _layer(kernel, over, inputs, object, {})
    sizes = known | dict(output_sizes)
    return tuple(
        _layer(
            _pick,
            (*over, *dims),
            [found, over, k, None],
            dtype,
            {d: sizes[d] for d in dims},
        )
        for k, (dims, dtype) in enumerate(zip(output_dims, dtypes, strict=True))
    )


def pick(
    array: xr.DataArray, at: int | Sequence[int], along: str = "", dtype: Any = None
) -> xr.DataArray:
    """Return one or several entries along the last dimension of an array.

    Lazy if the array is: one task for each chunk.

    Parameters
    ----------
    array
        Array whose last dimension, without labels, is of one chunk.
    at
        Index, or one for each label of the first dimension of the result; NaN for -1.
    along
        Name of that dimension.
    dtype
        Type of the result; that of the array if None.
    """
    found = entry(array.variable, at, along, dtype)
    return xr.DataArray(found, coords=array.coords)


def entry(
    variable: xr.Variable, at: int | Sequence[int], along: str = "", dtype: Any = None
) -> xr.Variable:
    """Return entries along the last dimension of a variable; arguments as of `pick`."""
    *dims, last = map(str, variable.dims)
    several = [] if isinstance(at, int) else [along]
    function = partial(_entries, at=at, dtype=dtype or variable.dtype)
    data = variable.data
    if isinstance(data, np.ndarray):
        return xr.Variable([*several, *dims], function(data))
    new = {along: np.size(at)} if several else {}
    data = _layer(
        function, (*several, *dims), [data, (*dims, last)], dtype or data.dtype, new
    )
    return xr.Variable([*several, *dims], data)


def _entries(block: np.ndarray, at: int | Sequence[int], dtype: Any) -> np.ndarray:
    if isinstance(at, int):
        return np.asarray(block[..., at].astype(dtype, copy=False))
    found = np.stack([block[..., k] for k in at]).astype(dtype, copy=False)
    found[np.asarray(at) < 0] = np.nan
    return found


def _on_aligned(kernel: Callable[..., Any], *blocks: Any) -> Any:
    """Call a kernel, or a partial one, on arrays whose items are aligned in memory.

    Arrays that come from another process may begin at any byte. NumPy copies them in
    products, and finds no more that ``a @ a.T`` is symmetric: last digits change.
    """
    given = getattr(kernel, "keywords", {})
    aligned = {name: _aligned(value) for name, value in given.items()}
    return kernel(*map(_aligned, blocks), **aligned)


def _aligned(value: Any) -> Any:
    known = isinstance(value, np.ndarray) and not value.flags.aligned
    return np.require(value, requirements="A") if known else value


def _loops(n: int) -> tuple[str, ...]:
    """Return names of the axes that broadcast, aligned at their end."""
    return tuple(f"axis {k}" for k in range(n, 0, -1))


def _pick(found: tuple[Any, ...], k: int) -> Any:
    return found[k]


def _layer(
    function: Callable[..., Any],
    dims: tuple[str, ...],
    inputs: list[Any],
    dtype: Any,
    new: dict[str, int],
) -> Any:
    import dask.array as da

    return da.blockwise(
        function,
        dims,
        *inputs,
        dtype=dtype,
        new_axes=new,
        concatenate=True,
        meta=np.empty((0,) * len(dims), dtype),
    )
