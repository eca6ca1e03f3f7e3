"""Checksums of chunks as they were written: a valid chunk of elsewhere differs."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from batteryxr.core.store.chunks import (
    checksummed,
    chunks_of,
    grid_of,
    place_in_grid,
    problem_of_grid,
)
from batteryxr.core.store.files import read_inside
from batteryxr.core.store.location import METADATA, sync
from batteryxr.core.store.manifest import joined
from batteryxr.core.store.ownership import node_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batteryxr.core.store.location import Location

#: What is said of a chunk that ends with another checksum.
OTHER = (
    "is not the one that was written there: it is of another place or another time, or "
    "another program wrote it"
)
#: Bytes of a checksum, which ends each chunk.
_SIZE = 4
#: Number of chunks of a remote store that are asked for at the same time.
_READERS = 16


def sums_of(location: Location, place: str, names: Iterable[str]) -> dict[str, str]:
    """Return the checksums of all chunks of arrays, as text by name.

    Only the ends of chunks are read. Arrays without checksums are left out.
    """
    found = {}
    for name in names:
        array = joined(place, name)
        node = node_in(location.get(joined(array, METADATA)))
        if not node or node.get("node_type") != "array" or not checksummed(node):
            continue
        sizes = node["chunk_grid"]["configuration"]["chunk_shape"]
        if not problem_of_grid(node["shape"], sizes):
            keys = [f"{array}/{chunk}" for chunk in chunks_of(node)]
            ends = b"".join(end.ljust(_SIZE, b"\0") for end in _ends(location, keys))
            found[name] = base64.b64encode(ends).decode()
    return found


def _ends(location: Location, keys: list[str]) -> list[bytes]:
    """Return the last bytes of objects; none of an object that does not exist."""
    known: set[str] = set()
    if (folder := location.folder) is not None:
        read = [
            read_inside(folder, key, known, lambda n: (max(0, n - _SIZE), n))
            for key in keys
        ]
        return [end or b"" for end in read]
    from zarr.abc.store import SuffixByteRequest
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.common import concurrent_map

    end = SuffixByteRequest(_SIZE)
    asked = [(key, default_buffer_prototype(), end) for key in keys]
    found = sync(concurrent_map(asked, location.store.get, _READERS))
    return [b"" if end is None else end.to_bytes() for end in found]


class ChunkSums(NamedTuple):
    """Hold checksums of the chunks of an array, as they were written.

    Parameters
    ----------
    grid
        Number of chunks along each axis.
    ends
        The checksums one after another.
    """

    grid: tuple[int, ...]
    ends: bytes

    def differ(self, chunk: str, content: Any) -> bool:
        """Return whether a chunk ends with another checksum than the kept one."""
        at = 0
        for n, index in zip(self.grid, place_in_grid(chunk), strict=False):
            at = at * n + index
        return self.ends[_SIZE * at :][:_SIZE] != bytes(content[-_SIZE:])


def read_sums(text: Any, node: dict[str, Any]) -> ChunkSums | None:
    """Return checksums from text; None if the metadata are not those of the text."""
    try:
        found = ChunkSums(grid_of(node), base64.b64decode(text, validate=True))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return found if len(found.ends) == _SIZE * math.prod(found.grid) else None
