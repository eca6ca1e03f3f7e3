"""Location of a store: a folder, a URL or a zarr store; and small objects in it."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import (
    BatteryxrError,
    StoreError,
    said_by_system,
)
from batteryxr.core.store.files import read_inside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Group of ledgers, and of the store's own records; hidden from readers.
JOURNAL = "_journal"
#: Beginnings of the names of what the journal holds while changes are made.
WORK = ("staged-", "trash-", "pending-", "spoiled-", "gone-", "commit-", "lock")
#: Metadata of a zarr node.
METADATA = "zarr.json"
#: Name of the note of a change, in the journal.
NOTE = re.compile(r"commit-[0-9a-f]{32}\.json")
#: Attribute of a group that is not finished: the dimension it is written along.
UNFINISHED = "batteryxr_unfinished"
#: Libraries whose errors report the answers of a server.
_SERVERS = frozenset({"aiohttp", "botocore", "fsspec", "icechunk", "obstore", "s3fs"})
#: Branch of a repository that is read and written.
BRANCH = "main"


@dataclass(frozen=True)
class Location:
    """Describe the location of a store, of any kind.

    Parameters
    ----------
    store
        The zarr store.
    shown
        Name of the store in messages.
    folder
        The folder, if the store is one.
    repository
        The repository of snapshots, if the store is one: `store` reads the newest.
    """

    store: Any
    shown: str
    folder: Path | None = None
    repository: Any = None

    def __str__(self) -> str:
        return self.shown

    @property
    def identity(self) -> str:
        """Return a text that is the same for each way to name this store."""
        if self.folder is not None:
            return str(self.folder)
        held = getattr(self.store, "_store_dict", None)  # of zarr's, or obstore's
        if held is None and "memory" in repr(self.store).lower():
            held = getattr(self.store, "store", None)
        return repr(self.store) if held is None else f"memory-{id(held)}"

    @property
    def reading(self) -> Any:
        """Return the zarr store for reading only, if it supports this."""
        if self.store.read_only:
            return self.store
        try:
            return self.store.with_read_only(True)
        except NotImplementedError:  # in a zip file
            return self.store

    @property
    def transacts(self) -> bool:
        """Return whether the store has its own snapshots, like that of icechunk."""
        return hasattr(self.store, "session")

    def newest(self) -> Location:
        """Return the location with the newest snapshot of a repository."""
        if self.repository is None:
            return self
        store = self.repository.readonly_session(BRANCH).store
        return replace(self, store=store)

    def get(self, key: str) -> bytes | None:
        """Return an object, or None if it does not exist."""
        _require_inside(self, key)
        if self.folder is not None:
            return read_inside(self.folder, key)
        from zarr.core.buffer import default_buffer_prototype

        found = sync(self.store.get(key, default_buffer_prototype()))
        return None if found is None else bytes(found.to_bytes())

    def put(self, key: str, content: bytes) -> None:
        """Write a whole object, or nothing."""
        if self.folder is None:
            _require_inside(self, key)
            sync(self.store.set(key, _buffer(content)))
            return
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def put_new(self, key: str, content: bytes) -> bool:
        """Write an object unless it exists; return whether it is ours."""
        if self.folder is not None:
            return _create(self.path(key), content)
        filesystem = getattr(self.store, "fs", None)
        if filesystem is None:
            sync(self.store.set_if_not_exists(key, _buffer(content)))
            return self.get(key) == content
        for left in (2, 1, 0):
            try:
                path = f"{self.store.path}/{key}"
                sync(filesystem._pipe_file(path, content, mode="create"))
            except (TypeError, NotImplementedError):  # without conditional writes
                sync(self.store.set_if_not_exists(key, _buffer(content)))
            except OSError:  # libraries differ in what they call a refusal
                if self.get(key) is None:
                    if not left:
                        raise
                    continue  # what it was refused for is deleted by now
            break
        return self.get(key) == content

    def delete(self, key: str) -> None:
        """Delete an object, if it exists."""
        if self.folder is not None:
            self.path(key).unlink(missing_ok=True)
        elif not self.transacts or self.get(key) is not None:
            sync(self.store.delete(key))

    def path(self, key: str) -> Path:
        """Return the path of an object to write, move or delete.

        Raises
        ------
        StoreError
            If the path is outside the folder, by its name or by links.
        """
        assert self.folder is not None
        _require_inside(self, key)
        path = self.folder / key
        real = Path(os.path.realpath(path.parent))
        if not real.is_relative_to(os.path.realpath(self.folder)):
            raise StoreError(f"{self}: {key} leads out of the store.")
        return path

    def delete_below(self, prefix: str) -> None:
        """Delete everything below a prefix."""
        _require_inside(self, prefix)
        if self.folder is not None:
            path, journal = self.path(prefix), self.folder / JOURNAL
            if path.is_dir() and journal.is_dir() and path.parent != journal:
                # Move it away first, so that no part of it is ever visible.
                path = path.rename(journal / f"trash-{uuid.uuid4().hex}")
            shutil.rmtree(path, ignore_errors=True)
        elif self.transacts:
            sync(self.store.delete_dir(prefix))
        else:
            for key in self.keys(f"{prefix}/"):
                self.delete(key)

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys of all objects below a prefix, which ends with a slash."""
        if self.folder is not None:
            return list(_files(self.folder, prefix))
        if self.transacts and prefix and self.get(f"{prefix}{METADATA}") is None:
            return []  # or it would raise an error
        try:
            found = _collected(self.store.list_prefix, prefix)
            # An archive also lists its folders.
            return [key for key in found if not key.endswith("/")]
        except FileNotFoundError:
            return []

    def names(self, prefix: str = "") -> list[str]:
        """Return the names directly below a prefix."""
        if self.folder is not None:
            try:
                return sorted(os.listdir(self.folder / prefix))
            except (FileNotFoundError, NotADirectoryError):
                return []
        try:
            return sorted(_collected(self.store.list_dir, prefix))
        except FileNotFoundError:
            return []

    def require_writable(self) -> None:
        """Raise if the store is read-only, or cannot replace objects."""
        if self.transacts:  # its session knows
            return
        if getattr(self.store, "read_only", False):
            raise StoreError(f"{self} was opened for reading only.")
        if not getattr(self.store, "supports_deletes", True):
            raise StoreError(
                f"{self} can be read, not changed: nothing in it can be replaced. Save "
                "to a folder, and pack that when it is finished."
            )

    def is_empty(self) -> bool:
        """Return whether the store is empty."""
        with telling(self, reading=True):
            return not self.names()


@contextmanager
def telling(location: Location, *, reading: bool = False) -> Iterator[None]:
    """Turn errors of the system or of a server into a `StoreError`.

    In `reading` all errors are: damaged metadata raise any of them.
    """
    try:
        yield
    except (BatteryxrError, BrokenPipeError, Warning):
        raise
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        if not (reading or isinstance(error, OSError) or library in _SERVERS):
            raise
        kept = "" if reading else " What was there before is whole."
        raise StoreError(f"{location}: {said_by_system(error)}.{kept}") from error


def leads_out(key: str) -> bool:
    """Return whether a key leads outside the store."""
    return os.path.isabs(key) or ".." in key.replace("\\", "/").split("/")


def _require_inside(location: Location, key: str) -> None:
    """Raise if a key, which may come from a foreign store, leads out of the store."""
    if leads_out(key):
        raise StoreError(f"{location}: {key!r} leads out of the store.")


def _create(path: Path, content: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    try:
        with os.fdopen(file, "wb") as opened:
            opened.write(content)
    except OSError:  # a full disk: half a lock would look like one that is held
        path.unlink(missing_ok=True)
        raise
    return True


def _files(folder: Path, prefix: str) -> Iterator[str]:
    start = os.path.join(folder, prefix)
    for where, _, names in os.walk(start):
        inner = os.path.relpath(where, folder)
        for name in names:
            yield name if inner == "." else f"{inner}/{name}".replace(os.sep, "/")


def _buffer(content: bytes) -> Any:
    from zarr.core.buffer import default_buffer_prototype

    return default_buffer_prototype().buffer.from_bytes(content)


def sync(coroutine: Any) -> Any:
    """Wait for what a store does, and return it."""
    from zarr.core.sync import sync

    return sync(coroutine)


def _collected(listing: Callable[[str], Any], prefix: str) -> list[str]:
    async def collect() -> list[str]:  # some stores begin to list when they are asked
        return [item async for item in listing(prefix)]

    found: list[str] = sync(collect())
    return found
