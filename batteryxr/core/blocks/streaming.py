"""Data read in blocks, in a fixed order."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.blocks.laziness import compute, is_lazy

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr


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


def stream_rows(
    array: xr.DataArray, dim: str, rows: int = 65536
) -> Iterator[np.ndarray]:
    """Yield rows along `dim` (about `rows`, dim), in fixed order.

    Reads once, like `stream` along the first of the other dimensions.

    Parameters
    ----------
    array
        Spectra, for example, with any other dimensions or none.
    dim
        The dimension of a row.
    rows
        Approximate number of rows per block.

    Yields
    ------
    numpy.ndarray
        (rows, dim).
    """
    others = [str(d) for d in array.dims if d != dim]
    if not others:
        array, others = array.expand_dims("row"), ["row"]
    line = max(array.size // max(array.sizes[dim] * array.sizes[others[0]], 1), 1)
    array = array.transpose(others[0], ...)
    axis = array.dims.index(dim)
    for (part,) in stream(array, dim=others[0], block=max(1, rows // line)):
        yield np.moveaxis(part, axis, -1).reshape(-1, part.shape[axis])


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
