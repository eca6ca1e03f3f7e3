"""Stores for reading: a lost or damaged chunk is reported, never replaced by zeros."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr
from xarray.backends import BackendArray, ZarrStore
from xarray.core import indexing
from zarr.abc.store import OffsetByteRequest, RangeByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.common import concurrent_map
from zarr.storage import LocalStore, StorePath, WrapperStore

from batteryxr.core.errors import BatteryxrError, StoreError, said_by_system
from batteryxr.core.store.chunks import (
    cause_of,
    checksummed,
    give_back,
    read_chunk,
    unpacked,
)
from batteryxr.core.store.files import read_inside, stamp_of
from batteryxr.core.store.location import JOURNAL, METADATA, UNFINISHED, sync
from batteryxr.core.store.manifest import Manifest, digest_of, joined
from batteryxr.core.store.ownership import node_in
from batteryxr.core.store.pieces import sums_of_piece
from batteryxr.core.store.sums import OTHER, ChunkSums, read_sums

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

    from batteryxr.core.store.location import Location
    from batteryxr.core.store.manifest import StoredGroup

#: Number of objects of a server that are asked for at the same time.
_READERS = 16


class _Memory:
    """Hold arrays and groups that a store for reading has met so far."""

    def __init__(
        self, location: Location | None = None, place: str = "", name: str = ""
    ) -> None:
        self.shown, self.place, self.name = str(location or ""), place, name
        # A repository is read at the snapshot that was opened.
        self.location = location and replace(location, repository=None)
        #: Checksums that the manifest, or a piece, tells of the chunks of an array.
        self.told_sums: dict[str, str] = {}
        self.sums: dict[str, ChunkSums | None] = {}
        self.nodes: dict[str, dict[str, Any]] = {}
        #: Arrays whose chunks carry checksums, and stamps that identify their metadata.
        self.arrays: dict[str, tuple[int, int] | None] = {}
        self.unfinished: set[str] = set()
        #: Digests of the metadata that were read, by key.
        self.digests: dict[str, str] = {}

    def learn(
        self, key: str, content: bytes | None, stamp: tuple[int, int] | None = None
    ) -> bytes | None:
        """Note arrays and groups from metadata; return it as zarr is to see it.

        A checksum is checked and taken off here, so zarr does not compute it again; and
        what blosc packed is unpacked, in the thread that read it.
        """
        self.digests[key] = digest_of(content or b"")
        node = node_in(content) or {}
        place = key.removesuffix(METADATA).rstrip("/")
        self.arrays.pop(place, None)
        attributes = node.get("attributes")
        if node.get("node_type") == "array" and checksummed(node):
            self.arrays[place], self.nodes[place] = stamp, node
            self.sums[place] = read_sums(self.told_sums.get(place), node)
            taken = 2 if _is_packed(node) else 1
            return json.dumps(node | {"codecs": node["codecs"][:-taken]}).encode()
        if isinstance(attributes, dict) and attributes.get(UNFINISHED):
            self.unfinished.add(place)
        pieces = sums_of_piece(node).items()
        self.told_sums |= {joined(place, name): text for name, text in pieces}
        return content

    def array_of(self, key: str) -> str | None:
        """Return the array of a chunk, if its chunks carry checksums."""
        place = "" if key.endswith(METADATA) else key
        while place := place.rpartition("/")[0]:
            if place in self.arrays:
                return place
        return None

    def learn_sums(self, entry: StoredGroup | None) -> None:
        """Note the checksums that the manifest tells of the group at our place."""
        for name, text in (entry.sums if entry else {}).items():
            self.told_sums[joined(self.place, name)] = text

    def judged(self, place: str, key: str, content: Any, cause: str) -> Any:
        """Return a chunk as zarr is to see it; raise if it is lost or damaged."""
        if content is None and place.rpartition("/")[0] in self.unfinished:
            return None
        if not cause and self._is_other(place, key, content):
            cause = OTHER
        if cause:
            raise StoreError(f"{self.shown}: {self.chunk(place, key)} {cause}.")
        bare = content[:-4]
        if not _is_packed(self.nodes[place]):
            return bare
        return unpacked(bare)

    def _is_other(self, place: str, key: str, content: Any) -> bool:
        """Return whether a chunk is not the one that the newest manifest tells of."""
        sums, chunk = self.sums[place], key[len(place) + 1 :]
        if sums is None or not sums.differ(chunk, content):
            return False
        if self.location is None:
            return True
        for entry in Manifest.read(self.location).groups.values():
            if entry.at == self.place:
                self.learn_sums(entry)
        newer = self.sums[place] = read_sums(self.told_sums[place], self.nodes[place])
        return newer is not None and newer.differ(chunk, content)

    def chunk(self, place: str, key: str) -> str:
        """Return the name of a chunk, for users."""
        return f"{self.told(place)}, chunk {key[len(place) + 1 :]}"

    def tell_codecs(self, variables: Mapping[Any, xr.Variable]) -> None:
        """Note in encodings what zarr was not told of, for those who write copies."""
        from zarr.codecs import BloscCodec, Crc32cCodec

        for name, variable in variables.items():
            place = joined(self.place, str(name))
            if place not in self.arrays:
                continue
            codecs, node = variable.encoding.get("compressors") or (), self.nodes[place]
            if _is_packed(node):
                codecs = (*codecs, BloscCodec.from_dict(node["codecs"][-2]))
            variable.encoding["compressors"] = (*codecs, Crc32cCodec())

    def told(self, place: str) -> str:
        """Return the name of a place, for users."""
        if self.place and place.startswith(self.place):
            return joined(self.name, place.removeprefix(self.place).strip("/"))
        return place

    def replaced(self, place: str) -> StoreError:
        """Return the error for a variable that was replaced since it was opened."""
        return StoreError(
            f"{self.shown}: {self.told(place)} was replaced since it was opened. Open "
            "the store again."
        )


class _ForReading:
    """Pass all that is read through `get`, for any kind of store."""

    def with_read_only(self, read_only: bool = False) -> Any:
        """Return the store itself, which is only read anyway."""
        return self

    async def get_partial_values(self, prototype: Any, key_ranges: Any) -> list[Any]:
        """Return parts of objects."""
        wanted = ((key, prototype, part) for key, part in key_ranges)
        return [found async for _, found in self._get_many(wanted)]

    async def _get_many(self, requests: Any) -> AsyncIterator[tuple[str, Any]]:
        for key, prototype, part in requests:
            yield key, await self.get(key, prototype, part)  # type: ignore[attr-defined]


class CheckedFolder(_ForReading, LocalStore):  # type: ignore[misc]
    """Hold a folder whose chunks are checked in the threads that read them."""

    def __init__(self, root: Any, memory: _Memory | None = None, **_: Any) -> None:
        super().__init__(root, read_only=True)
        self.memory = memory or _Memory()
        #: Folders that were found to lie inside.
        self.known: set[str] = set()

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Return an object; raise if it is a chunk that is lost or damaged."""
        return await asyncio.to_thread(
            self.get_sync, key, prototype=prototype, byte_range=byte_range
        )

    def get_sync(
        self, key: str, *, prototype: Any = None, byte_range: Any = None
    ) -> Any:
        """Return an object as `get` does, at once."""
        prototype = prototype or default_buffer_prototype()
        place = self.memory.array_of(key)
        if place is not None:
            return _buffer(self._checked(place, key), prototype, byte_range)
        if byte_range is not None:
            found = read_inside(
                self.root, key, self.known, lambda size: _span(byte_range, size)
            )
        elif key.endswith(METADATA):
            stamp = stamp_of(self.root / key)
            found = read_inside(self.root, key, self.known)
            found = self.memory.learn(key, found, stamp)
        else:
            found = read_inside(self.root, key, self.known)
        return None if found is None else prototype.buffer.from_bytes(found)

    def _checked(self, place: str, key: str) -> Any:
        """Return a chunk without its checksum."""
        try:
            content, cause = read_chunk(self.root, key, self.known)
        except OSError as error:
            raise StoreError(
                f"{self.memory.shown}: {self.memory.chunk(place, key)} cannot be read: "
                f"{said_by_system(error)}."
            ) from error
        stamp = self.memory.arrays[place]
        if stamp is not None and stamp != stamp_of(self.root / place / METADATA):
            raise self.memory.replaced(place)
        found = self.memory.judged(place, key, content, cause)
        if content is not None and not np.may_share_memory(found, content):
            give_back(content)
        return found


class CheckedStore(_ForReading, WrapperStore):  # type: ignore[misc]
    """Hold a store of any other kind, with checks of its chunks."""

    def __init__(self, store: Any, memory: _Memory | None = None) -> None:
        super().__init__(store)
        self.memory = memory or _Memory()

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return an object; raise if it is a chunk that is lost or damaged."""
        place = self.memory.array_of(key)
        if place is not None:
            found = await super().get(key, prototype)
            metadata = f"{place}/{METADATA}"
            if found is None and await super().get(metadata, prototype) is None:
                raise self.memory.replaced(place)
            content = None if found is None else found.as_numpy_array()
            cause = cause_of(content)
            content = await asyncio.to_thread(
                self.memory.judged, place, key, content, cause
            )
            return _buffer(content, prototype, byte_range)
        found = await super().get(key, prototype, byte_range)
        if found is None or not key.endswith(METADATA):
            return found
        return prototype.buffer.from_bytes(self.memory.learn(key, found.to_bytes()))


class _Told(BackendArray):
    """End the reading of a variable in our error, whatever its decoding raises."""

    def __init__(self, variable: xr.Variable, name: str, altered: bool) -> None:
        self.variable, self.name, self.altered = variable, name, altered
        self.shape, self.dtype = variable.shape, variable.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Return values that are decoded."""
        outer = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, outer, self._decoded)

    def _decoded(self, key: tuple[Any, ...]) -> np.ndarray:
        try:
            return self.variable[key].values
        except (BatteryxrError, Warning):
            raise
        except Exception as error:  # each codec has its own
            cause = "its metadata is not what its digest says. " if self.altered else ""
            raise StoreError(
                f"{self.name} cannot be read: {cause}{said_by_system(error)}."
            ) from error


def told(dataset: xr.Dataset, memory: _Memory, altered: Collection[str]) -> xr.Dataset:
    """Return a lazy dataset whose variables are named where they cannot be decoded."""
    for name, variable in dataset.variables.items():
        if not isinstance(variable._data, np.ndarray | indexing.PandasIndexingAdapter):
            shown = f"{memory.shown}: {joined(memory.name, str(name))}"
            held = _Told(variable.copy(deep=False), shown, name in altered)
            variable.data = indexing.LazilyIndexedArray(held)
    return dataset


def checked_store(location: Location, place: str = "", name: str = "") -> Any:
    """Return a zarr store for reading that raises where a chunk is lost or damaged.

    Messages name the group at `place` as `name`.
    """
    memory = _Memory(location, place, name)
    if location.folder is None:
        return CheckedStore(location.reading, memory)
    return CheckedFolder(location.folder, memory)


def _is_packed(node: dict[str, Any]) -> bool:
    """Return whether the chunks of an array were packed by blosc before their sum."""
    codecs = node["codecs"][-2:]
    return len(codecs) == 2 and codecs[0].get("name") == "blosc"


class _Listed(zarr.Group):  # type: ignore[misc]
    """A group whose arrays are known: zarr would look for them one after another."""

    arrays_known: dict[str, zarr.Array]

    def members(self, *_: Any, **__: Any) -> Any:
        """Return the arrays."""
        return tuple(self.arrays_known.items())


def open_group(store: Any, location: Location, place: str) -> xr.Dataset:
    """Open a group of zarr format 3 as a dataset, nothing of it in chunks.

    Raises
    ------
    FileNotFoundError
        If there is no group.
    ValueError, KeyError, TypeError
        If its metadata are damaged.
    """
    told = _nodes(store, [joined(place, METADATA)])[0]
    if told is None:
        raise FileNotFoundError(place)
    if told["node_type"] != "group":
        raise ValueError(f"{place or 'it'} is a variable, no group")
    told.pop("consolidated_metadata", None)
    names = [n for n in location.names(place) if n not in (METADATA, JOURNAL)]
    nodes = _nodes(store, [joined(place, name, METADATA) for name in names])
    arrays = {
        name: zarr.Array.from_dict(StorePath(store, joined(place, name)), node)
        for name, node in zip(names, nodes, strict=True)
        if node and node["node_type"] == "array"
    }
    group = _Listed(zarr.AsyncGroup.from_dict(StorePath(store, place), told))
    object.__setattr__(group, "arrays_known", arrays)
    return xr.open_dataset(ZarrStore(group, mode="r"))


def _nodes(store: Any, keys: list[str]) -> list[dict[str, Any] | None]:
    """Return metadata as zarr is to see them; those of a server are asked for at once.

    None stands for what does not exist.
    """
    buffers = default_buffer_prototype()
    if isinstance(store, CheckedFolder):
        found = [store.get_sync(key, prototype=buffers) for key in keys]
    else:
        wanted = [(key, buffers) for key in keys]
        found = sync(concurrent_map(wanted, store.get, _READERS))
    return [None if text is None else json.loads(text.to_bytes()) for text in found]


def _span(byte_range: Any, size: int) -> tuple[int, int]:
    """Return begin and end of a part of an object of a size."""
    if isinstance(byte_range, RangeByteRequest):
        return byte_range.start, byte_range.end
    if isinstance(byte_range, OffsetByteRequest):
        return byte_range.offset, size
    return max(0, size - byte_range.suffix), size


def _buffer(content: Any, prototype: Any, byte_range: Any) -> Any:
    """Return a chunk, or a part of it, as zarr takes it."""
    if content is None:
        return None
    if byte_range is not None:
        content = content[slice(*_span(byte_range, len(content)))]
    return prototype.buffer.from_array_like(content)
