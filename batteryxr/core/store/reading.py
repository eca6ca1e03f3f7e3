"""Stores for reading: a lost or damaged chunk is reported, never replaced by zeros."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore, WrapperStore

from batteryxr.core.errors import StoreError
from batteryxr.core.store.chunks import array_of, cause_of, checksummed
from batteryxr.core.store.files import open_inside, read_inside
from batteryxr.core.store.location import METADATA, UNFINISHED
from batteryxr.core.store.manifest import joined

if TYPE_CHECKING:
    from batteryxr.core.store.location import Location


class _Memory:
    """Arrays and groups that a store for reading has met so far."""

    def __init__(self, shown: str, place: str = "", name: str = "") -> None:
        self.shown, self.place, self.name = shown, place, name
        #: Arrays whose chunks carry checksums, and stamps that identify their metadata.
        self.arrays: dict[str, tuple[int, int] | None] = {}
        self.unfinished: set[str] = set()

    def learn(self, key: str, content: Any, stamp: tuple[int, int] | None) -> None:
        """Note arrays and groups from metadata; zarr itself judges the metadata."""
        try:
            node = json.loads(content.to_bytes())
            place = key.removesuffix(METADATA).rstrip("/")
            if node["node_type"] == "array" and checksummed(node):
                self.arrays[place] = stamp
            elif node["attributes"].get(UNFINISHED):
                self.unfinished.add(place)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            return

    def array_of(self, key: str) -> str | None:
        """Return the array of a chunk, if its chunks carry checksums."""
        place = array_of(key)
        return place if place in self.arrays else None

    def judge(self, key: str, content: Any) -> None:
        """Raise if a chunk is lost or damaged."""
        place = self.array_of(key)
        if place is None:
            return
        group = place.rpartition("/")[0]
        if content is None and group in self.unfinished:
            return
        data = None if content is None else content.as_numpy_array()
        if cause := cause_of(data):
            chunk = key[len(place) + 1 :]
            raise StoreError(
                f"{self.shown}: {self.told(place)}, chunk {chunk} {cause}."
            )

    def told(self, place: str) -> str:
        """Return the name of a place, for users."""
        if self.place and place.startswith(self.place):
            return joined(self.name, place.removeprefix(self.place).strip("/"))
        return place

    def unreadable(self, key: str, place: str, error: OSError) -> StoreError:
        """Return the error for a chunk that the system cannot read."""
        chunk, what = key[len(place) + 1 :], error.strerror or error
        return StoreError(
            f"{self.shown}: {self.told(place)}, chunk {chunk} cannot be read: {what}."
        )

    def replaced(self, place: str) -> StoreError:
        """Return the error for a variable that was replaced since it was opened."""
        return StoreError(
            f"{self.shown}: {self.told(place)} was replaced since it was opened. Open "
            "the store again."
        )


class CheckedFolder(LocalStore):  # type: ignore[misc]
    """A folder whose chunks are checked in the threads that read them."""

    def __init__(self, root: Any, memory: _Memory | None = None, **_: Any) -> None:
        super().__init__(root, read_only=True)
        self.memory = memory or _Memory("")
        #: Folders that were found to lie inside.
        self.known: set[str] = set()

    def with_read_only(self, read_only: bool = False) -> Any:
        """Return the store itself, which is only read anyway."""
        return self

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Return an object; raise if it is a chunk that is lost or damaged."""
        prototype = prototype or default_buffer_prototype()
        if byte_range is not None:
            await asyncio.to_thread(self._require_inside, key)
            return await super().get(key, prototype, byte_range)
        if key.endswith(METADATA):
            stamp = _stamp(self.root / key)
            found = await asyncio.to_thread(self._read, key, prototype)
            self.memory.learn(key, found, stamp)
            return found
        if self.memory.array_of(key) is None:
            return await asyncio.to_thread(self._read, key, prototype)
        return await asyncio.to_thread(self._checked, key, prototype)

    def _read(self, key: str, prototype: Any) -> Any:
        found = read_inside(self.root, key, self.known)
        return None if found is None else prototype.buffer.from_bytes(found)

    def _require_inside(self, key: str) -> None:
        with suppress(OSError):  # for zarr to tell
            os.close(open_inside(self.root, key, known=self.known))

    def _checked(self, key: str, prototype: Any) -> Any:
        place = self.memory.array_of(key) or ""
        try:
            found = self._read(key, prototype)
        except OSError as error:
            raise self.memory.unreadable(key, place, error) from error
        stamp = self.memory.arrays[place]
        if stamp is not None and stamp != _stamp(self.root / place / METADATA):
            raise self.memory.replaced(place)
        self.memory.judge(key, found)
        return found


class CheckedStore(WrapperStore):  # type: ignore[misc]
    """A store of any other kind, with checks of its chunks."""

    def __init__(self, store: Any, memory: _Memory | None = None) -> None:
        super().__init__(store)
        self.memory = memory or _Memory("")

    def with_read_only(self, read_only: bool = False) -> Any:
        """Return the store itself, which is only read anyway."""
        return self

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return an object; raise if it is a chunk that is lost or damaged."""
        found = await super().get(key, prototype, byte_range)
        if key.endswith(METADATA):
            self.memory.learn(key, found, None)
        elif byte_range is None:
            place = self.memory.array_of(key)
            if found is None and place is not None:
                metadata = f"{place}/{METADATA}"
                if await super().get(metadata, prototype) is None:
                    raise self.memory.replaced(place)
            self.memory.judge(key, found)
        return found


def checked_store(location: Location, place: str = "", name: str = "") -> Any:
    """Return a zarr store for reading that raises where a chunk is lost or damaged.

    Messages name the group at `place` as `name`.
    """
    memory = _Memory(location.shown, place, name)
    if location.folder is None:
        return CheckedStore(location.reading, memory)
    return CheckedFolder(location.folder, memory)


def _stamp(path: Any) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
