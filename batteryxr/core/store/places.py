"""The places that users pass for a store, and where they are."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping  # noqa: TC003 (told at run time)
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable
from urllib.parse import unquote

from batteryxr.core.errors import (
    ArgumentError,
    MissingDependencyError,
    StoreError,
    said_by_system,
)
from batteryxr.core.files import is_url
from batteryxr.core.store.location import Location, sync

if TYPE_CHECKING:
    from collections.abc import Callable

#: Command that installs the libraries for S3.
_REMOTE = ". Install it with: pip install 'batteryxr[remote]'"
#: Hint for libraries that the extra does not install.
_BESIDE = ". Install it beside 'batteryxr[remote]'."


@runtime_checkable
class ZarrStore(Protocol):
    """Hold a store object of zarr."""

    supports_listing: bool

    def list_prefix(self, prefix: str) -> Any:
        """List the keys below a prefix."""


@runtime_checkable
class RemotePath(Protocol):
    """Hold a path of universal-pathlib."""

    path: str
    protocol: str
    storage_options: Mapping[str, Any]


@runtime_checkable
class Repository(Protocol):
    """Hold a repository of icechunk: a store, and its snapshots."""

    def readonly_session(self, branch: str) -> Any:
        """Return a session that reads the newest snapshot of a branch."""

    def writable_session(self, branch: str) -> Any:
        """Return a session whose changes become the next one."""


StoreLike: TypeAlias = str | os.PathLike[str] | ZarrStore | RemotePath | Repository


def location_of(place: StoreLike | Location, argument: str = "path") -> Location:
    """Return the location of a store from a path, a URL or a zarr store.

    Messages name `argument`.

    Raises
    ------
    ArgumentError
        If `place` is none of these.
    MissingDependencyError
        If a URL needs a library that is not installed.
    """
    if isinstance(place, Location):
        return place
    if isinstance(place, str | Path) and not hasattr(place, "protocol"):
        return _named(os.fspath(place), argument)
    if isinstance(place, Repository):
        return Location(None, _shown_repository(place), repository=place).newest()
    if isinstance(place, ZarrStore):
        root = getattr(place, "root", None)
        folder = root.absolute() if isinstance(root, Path) else None
        opened = getattr(place, "_ensure_open", None)
        if opened is not None and not getattr(place, "_is_open", True):
            _opened(place, opened)
        return Location(place, str(folder or place), folder)
    if isinstance(place, RemotePath) and place.protocol not in ("", "file", "local"):
        return _remote(str(place), dict(place.storage_options))
    if isinstance(place, RemotePath):
        return _named(place.path, argument)
    if isinstance(place, os.PathLike):
        return _named(os.fsdecode(place), argument)
    raise ArgumentError(argument, place, "a path, a URL or a zarr store")


def _shown_repository(repository: Any) -> str:
    """Return the name of a repository in messages."""
    storage = re.sub(r"\s+", " ", str(getattr(repository, "storage", ""))).strip()
    return f"icechunk repository {storage}".strip()


def _named(text: str, argument: str) -> Location:
    """Return the location of a store from a path or a URL."""
    if "://" in text:
        protocol, _, rest = text.partition("://")
        if protocol not in ("file", "local"):
            return _remote(text, {})
        rest = rest[len("localhost") * rest.startswith("localhost/") :]
        path = unquote(rest)  # as Path.as_uri() and browsers write it
        if path != rest and os.path.lexists(rest):
            mend = f"Pass the path itself, without {protocol}://."
            raise ArgumentError(argument, text, "a URL whose % stand for others", mend)
        return _local(path, argument)
    if is_url(text):
        raise ArgumentError(
            argument,
            text,
            "a path, or a URL as text",
            "Path() joins the two slashes of a URL.",
        )
    return _local(text, argument)


def _local(text: str, argument: str) -> Location:
    from zarr.storage import LocalStore

    if not text or "\0" in text:
        raise ArgumentError(argument, text, "the path of a store")
    try:
        folder = Path(text).expanduser().absolute()
        if folder.is_symlink():
            folder = folder.resolve()
    except (RuntimeError, OSError) as error:  # links in a circle, a name too long
        what = said_by_system(error)
        raise StoreError(f"{text}: no store can be there. {what}.") from error
    return Location(LocalStore(folder), text, folder)


def _remote(url: str, options: dict[str, Any]) -> Location:
    from zarr.storage import FsspecStore

    protocol = url.partition("://")[0]
    if protocol.startswith("s3"):
        options.setdefault("use_listings_cache", False)
    try:
        store = FsspecStore.from_url(url.rstrip("/"), storage_options=options)
    except ImportError as error:
        raise MissingDependencyError(
            f"{url}: this address needs a library that is not installed ({error})"
            + (_REMOTE if protocol.startswith("s3") else _BESIDE)
        ) from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{url}: no store can be opened there. {error}") from error
    return Location(store, url)


def _opened(store: Any, opening: Callable[[], Any]) -> None:
    """Open a store that opens on first use, such as one in a zip file."""
    import zipfile

    try:
        sync(opening())
    except (OSError, zipfile.BadZipFile) as error:
        what = said_by_system(error)
        raise StoreError(f"{store}: no store can be opened there. {what}.") from error
