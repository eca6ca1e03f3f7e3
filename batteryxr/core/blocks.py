"""The one place that knows dask: lazy application, and streaming in fixed order."""

from __future__ import annotations

import itertools
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.model import require_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


def is_lazy(obj: xr.DataArray | xr.Dataset) -> bool:
    """Tell whether any variable of `obj` is held by dask."""
    if isinstance(obj, xr.DataArray):
        return obj.chunks is not None
    return any(v.chunks is not None for v in obj.variables.values())


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
        Without attributes: the caller labels them.

    Raises
    ------
    ChunkingError
        If a core dimension is split over chunks.
    """
    for array, dims in zip(arrays, core_dims, strict=True):
        if isinstance(array, xr.DataArray):
            for dim in dims:
                require_whole(array, dim, caller=caller)
    with warnings.catch_warnings():
        # Dask casts empty samples of its inputs to the outputs' dtypes.
        warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
        return xr.apply_ufunc(
            kernel,
            *arrays,
            input_core_dims=[list(d) for d in core_dims],
            output_core_dims=[list(d) for d in output_dims],
            exclude_dims=set(),
            dask="parallelized",
            output_dtypes=list(dtypes),
            dask_gufunc_kwargs={"output_sizes": dict(output_sizes or {})},
            keep_attrs=False,
            join="exact",
            kwargs=kwargs,
        )


def compute(*arrays: Any) -> tuple[Any, ...]:
    """Compute dask arrays together, by the scheduler that the user has chosen.

    To find a cluster's client dask imports distributed, at 25 MB and half a second;
    who has not imported it has no client.
    """
    import dask
    import dask.threaded

    chosen = dask.config.get("scheduler", None)
    if chosen is None and "distributed" not in sys.modules:
        chosen = dask.threaded.get  # its name would look for a client again
    return dask.compute(*arrays, scheduler=chosen)


def stream(
    *arrays: xr.DataArray, dim: str, block: int = 4_000_000
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield aligned blocks of several arrays along `dim`, in order.

    Reads once, one block ahead. Memory is two blocks, whatever the length: dask
    chunks where there are any, else views of at most `block` items (no copy).

    Parameters
    ----------
    *arrays
        Arrays that share `dim`, which is moved to the front.
    dim
        The dimension to walk along.
    block
        Largest number of items per block.

    Yields
    ------
    tuple of numpy.ndarray
        One block of each array, `dim` first.
    """
    arrays = tuple(a.transpose(dim, ...) for a in arrays)
    edges = block_edges(*arrays, dim=dim, block=block)
    slices = [slice(a, b) for a, b in itertools.pairwise(edges)]
    pieces = (tuple(a.isel({dim: part}) for a in arrays) for part in slices)
    if not any(is_lazy(a) for a in arrays):
        for piece in pieces:
            yield tuple(a.values for a in piece)
        return

    def load(piece: tuple[xr.DataArray, ...]) -> tuple[np.ndarray, ...]:
        return tuple(np.asarray(a) for a in compute(*(a.data for a in piece)))

    with ThreadPoolExecutor(1) as ahead:
        waiting = None
        for piece in pieces:
            coming = ahead.submit(load, piece)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()


def block_edges(*arrays: xr.DataArray, dim: str, block: int) -> list[int]:
    """Return block edges along `dim`: dask's own where there are any."""
    size = arrays[0].sizes[dim]
    edges = {0, size}
    for array in arrays:
        sizes = array.variable.chunksizes.get(dim, ())
        edges.update(int(e) for e in np.cumsum(sizes))
    ordered = sorted(edges)
    cut = [0]
    for a, b in itertools.pairwise(ordered):
        cut.extend(range(a + block, b, block))
        cut.append(b)
    return cut


def running_sum(values: Any) -> Any:
    """Add a dask array along its first axis, chunk after chunk.

    Lazy. Two chunks are in memory at a time, however long the axis: a chain of tasks
    of its own, since additions of whole arrays would be fused into one task for each
    block, which holds them all.

    Parameters
    ----------
    values
        dask array with chunks of one along its first axis.

    Returns
    -------
    dask array
        Without that axis.
    """
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    name = f"running-sum-{tokenize(values.name)}"
    n, *blocks = values.numblocks
    graph: dict[Any, Any] = {}
    for block in np.ndindex(*blocks):
        before: Any = (_first, (values.name, 0, *block))
        for k in range(n):
            key = (name if k == n - 1 else f"{name}-{k}", *block)
            graph[key] = (_add, before, (values.name, k, *block)) if k else before
            before = key
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[values])
    return da.Array(layers, name, chunks=values.chunks[1:], dtype=values.dtype)


def _first(one: np.ndarray) -> np.ndarray:
    return np.asarray(one[0])


def _add(total: np.ndarray, one: np.ndarray) -> np.ndarray:
    return np.asarray(total + one[0])
