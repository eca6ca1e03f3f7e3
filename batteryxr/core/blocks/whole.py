"""Rechunking, so that one dimension is whole in each chunk."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from batteryxr.core.blocks.laziness import is_lazy

if TYPE_CHECKING:
    import xarray as xr

#: Largest block that is made, and most bytes held while blocks are made.
LIMIT, HELD = 2**26, 2**28
#: Chunks of results that are merged, and bytes of what they become.
NEIGHBOURS, MERGED = 8, 2**24


def whole(array: xr.DataArray, dim: str) -> xr.DataArray:
    """Return an array whose chunks hold a dimension whole.

    Lazy; the array is returned unchanged if nothing splits the dimension. Otherwise
    chunks are cut along the other dimensions, the first of them first, until they are
    small. An array that does not fit into memory is read again for each of a few bands.

    Parameters
    ----------
    array
        Array in memory or lazy.
    dim
        Dimension to make whole.
    """
    if not is_lazy(array) or len(array.variable.chunksizes.get(dim, ())) < 2:
        return array
    others = [str(d) for d in array.dims if d != dim and array.sizes[d] > 1]
    sizes = {str(d): max(c) for d, c in array.variable.chunksizes.items()}
    sizes[dim] = array.sizes[dim]
    for other in others:
        size = array.dtype.itemsize * math.prod(sizes.values())
        if size > LIMIT:
            sizes[other] = max(int(sizes[other] * LIMIT / size), 1)
    if array.nbytes <= HELD or not others:
        return array.chunk(sizes)
    along = others[0]
    count = math.ceil(array.nbytes / HELD)
    rows = math.ceil(array.sizes[along] / count)
    return _in_bands(array, along, rows, sizes)


def merged(array: xr.DataArray, own: str) -> xr.DataArray:
    """Return results in chunks of several neighbours, where these are small.

    Lazy. What is picked of them is then a task for several chunks, not for each.

    Parameters
    ----------
    array
        Array; it is returned unchanged if it is in memory, or of few or large chunks.
    own
        Dimension along which nothing is merged.
    """
    if not is_lazy(array):
        return array
    sizes, left = {}, NEIGHBOURS
    size = array.dtype.itemsize * math.prod(map(max, array.data.chunks))
    for dim, chunks in reversed([*array.variable.chunksizes.items()]):
        count = min(left, len(chunks), max(MERGED // max(size, 1), 1))
        if dim != own and count > 1:
            starts = range(0, len(chunks), count)
            sizes[dim] = tuple(sum(chunks[k : k + count]) for k in starts)
            left, size = left // count, size * count
    return array.chunk(sizes) if sizes else array


def _in_bands(
    array: xr.DataArray, along: str, rows: int, sizes: dict[str, int]
) -> xr.DataArray:
    """Return bands of an array side by side, each with its own graph."""
    import dask.array as da
    from dask.graph_manipulation import clone

    axis = array.dims.index(along)
    chunks = tuple(
        min(sizes[str(d)], rows) if d == along else sizes[str(d)] for d in array.dims
    )
    bands = []
    for start in range(0, array.sizes[along], rows):
        own = array.data if start == 0 else clone(array.data)
        cut = [slice(None)] * array.ndim
        cut[axis] = slice(start, start + rows)
        bands.append(own[tuple(cut)].rechunk(chunks))
    return array.copy(data=da.concatenate(bands, axis=axis))
