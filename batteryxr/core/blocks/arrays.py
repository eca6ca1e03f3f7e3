"""Lazy arrays made of pieces: delayed values, files, sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def delayed(function: Callable[..., Any], **options: Any) -> Any:
    """Return a function whose calls are left to dask; `options` of `dask.delayed`."""
    import dask

    return dask.delayed(function, **options)


def from_delayed(value: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a dask array of one chunk from a delayed value of known shape."""
    import dask.array as da

    return da.from_delayed(value, shape, dtype)


def from_source(source: Any, chunks: Any, **options: Any) -> Any:
    """Return a dask array of a sliceable source; `options` of its `from_array`."""
    import dask.array as da

    return da.from_array(source, chunks, **options)


def from_call(
    function: Callable[..., np.ndarray],
    *args: Any,
    shape: tuple[int, ...],
    dtype: Any,
) -> Any:
    """Return a dask array of one chunk with the result of `function(*args)`.

    The arguments are not searched for dask objects.
    """
    import dask.array as da

    return da.map_blocks(
        function,
        *args,
        chunks=tuple((n,) for n in shape),
        dtype=dtype,
        meta=np.empty((0,) * len(shape), dtype),
    )


def stack(parts: Sequence[Any], axis: int = 0) -> Any:
    """Return dask arrays along a new axis."""
    import dask.array as da

    return da.stack(parts, axis=axis)


def concatenate(parts: Sequence[Any], axis: int = 0) -> Any:
    """Concatenate dask arrays; return a single one as it is."""
    import dask.array as da

    return parts[0] if len(parts) == 1 else da.concatenate(parts, axis=axis)


def running_sum(values: Any) -> Any:
    """Add a dask array along its first axis, chunk after chunk.

    Lazy. Two chunks are in memory at a time, however long the axis. The tasks form a
    chain of their own: dask would fuse additions of whole arrays into one task for each
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
