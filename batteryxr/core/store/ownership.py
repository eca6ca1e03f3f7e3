"""Rules of writing: only data that belong to a store are ever replaced."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import ArgumentError, StoreError
from batteryxr.core.files import is_text
from batteryxr.core.store.chunks import is_chunk
from batteryxr.core.store.location import JOURNAL, METADATA, NOTE, telling
from batteryxr.core.store.manifest import MANIFEST, joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batteryxr.core.store.location import Location

#: File that a write puts beside its target, and leaves there when it is interrupted.
#: zarr leaves out the last suffix of the target.
_PARTIAL = re.compile(r".+\.[0-9a-f]{32}\.partial")
_MEND = "Choose another place, or move it away first."


def normal_group(group: str | None) -> str:
    """Return the name of a group without slashes around it; the root is ``""``.

    Raises
    ------
    ArgumentError
        If the name leads out of the store, or to the store's own records.
    """
    name = (group or "").strip("/")
    for part in name.split("/") if name else ():
        odd = part in ("", ".", "..", JOURNAL, METADATA) or not is_text(part)
        if odd or {"\\", "\0"} & set(part):
            raise ArgumentError("group", group, "names with single slashes between")
    return name


def require_store(location: Location) -> None:
    """Raise unless batteryxr may write a store there.

    Raises
    ------
    StoreError
        If a file lies there, a folder that is not empty and no zarr store, or a part of
        another store.
    """
    with telling(location):
        _require_store(location)


def _require_store(location: Location) -> None:
    if above := store_above(location):
        raise StoreError(
            f"{location} lies within the store {above}. Pass that one, and the rest as "
            "its group."
        )
    folder = location.folder
    if folder is not None and (folder.is_symlink() or folder.exists()):
        if not folder.is_dir():
            raise StoreError(f"{location} is a file, not a zarr store. {_MEND}")
    elif folder is not None and not folder.parent.exists():
        _require_folders(location)
    _require_no_link(location, JOURNAL)
    names = location.names()
    if not set(names) - {JOURNAL} or location.get(MANIFEST) is not None:
        return
    if METADATA in names:
        _require_group(location)
        return
    if {".zgroup", ".zarray", ".zattrs"} & set(names):
        raise StoreError(
            f"{location} is a store of zarr format 2, which batteryxr reads and does "
            "not write to. Choose another place."
        )
    noted = any(map(NOTE.fullmatch, location.names(JOURNAL)))
    begun = noted or (JOURNAL in names and _is_begun(location, ""))
    if begun or METADATA in location.names():  # or written in the meantime
        return
    raise StoreError(
        f"{location} is not a zarr store and holds {_shown(names)}. {_MEND}"
    )


def _is_begun(location: Location, place: str) -> bool:
    """Return whether a place holds only what the first write to it begins with.

    zarr writes the metadata of a group and of all above it at once: in any order.
    """
    return all(
        holds_more or name.split("/")[0] == JOURNAL or _is_metadata(name)
        for name, holds_more in _below(location, place)
    )


def _is_metadata(key: str) -> bool:
    """Return whether a key is that of metadata, whole or interrupted."""
    name = key.rpartition("/")[2]
    return name == METADATA or _PARTIAL.fullmatch(name) is not None


def _require_group(location: Location) -> None:
    """Raise unless the root of a foreign store is a zarr group."""
    kind = _kind(location, "")
    if kind == "array":
        raise StoreError(f"{location} is an array of zarr, not a group. {_MEND}")
    if kind != "group":
        raise StoreError(f"{location} holds a {METADATA} that is not zarr's. {_MEND}")


def store_above(location: Location) -> Path | None:
    """Return the store that a folder is a part of, if any."""
    if location.folder is None:
        return None
    above = Path(os.path.realpath(location.folder)).parents
    return next((p for p in above if (p / MANIFEST).is_file()), None)


def require_ours(location: Location, groups: Iterable[str]) -> None:
    """Raise if a store to be replaced holds anything but these groups.

    Raises
    ------
    StoreError
        If anything else is there; the message names it.
    """
    require_store(location)
    known = set(groups)
    if location.names() and not known and set(location.names()) - {JOURNAL}:
        raise StoreError(
            f"{location} was not written by batteryxr, so it is not replaced. {_MEND}"
        )
    for place in _within(known):
        for name in location.names(place):
            path = joined(place, name)
            if name in (METADATA, JOURNAL) or path in known or _is_above(path, known):
                continue
            if place not in known or not is_array(location, path):
                raise StoreError(
                    f"{location} holds {path}, which batteryxr did not write, so it is "
                    f"not replaced. {_MEND}"
                )
            require_whole_array(location, path)


def require_room(location: Location, group: str, names: Iterable[str]) -> None:
    """Raise if variables of a group would overwrite something else.

    Raises
    ------
    StoreError
        If a plain folder, a file or a link lies there, or a group of that name.
    """
    parts = group.split("/") if group else []
    for end in range(1, len(parts) + 1):
        place = "/".join(parts[:end])
        _require_no_link(location, place)
        kind = _kind(location, place)
        if kind == "array":
            raise StoreError(f"{location}: {place} is a variable, not a group.")
        if kind == "stranger":
            raise StoreError(
                f"{location}: {place} is there already and is no zarr group. {_MEND}"
            )
    for name in names:
        place = joined(group, name)
        _require_no_link(location, place)
        kind = _kind(location, place)
        if name in (JOURNAL, METADATA) or kind in ("group", "stranger"):
            what = "a group" if kind == "group" else "no variable"
            raise StoreError(
                f"{location}: {place} is there already and is {what}. Rename the "
                f"variable {name!r}, or choose another group."
            )
        if kind == "array":
            require_whole_array(location, place)


def is_array(location: Location, place: str) -> bool:
    """Return whether a zarr array lies at a place."""
    return _kind(location, place) == "array"


def require_whole_array(location: Location, place: str) -> None:
    """Raise if anything below an array does not belong to the array."""
    node = node_of(location, place) or {}
    for inner, holds_more in _below(location, place):
        if not holds_more and (inner == METADATA or _PARTIAL.fullmatch(inner)):
            continue
        if not is_chunk(node, inner, begun=holds_more):
            raise StoreError(
                f"{location}: {place} holds {inner}, which is not part of the "
                f"variable, so it is not replaced. {_MEND}"
            )


def _below(location: Location, place: str) -> Iterator[tuple[str, bool]]:
    """Yield everything below a place, and whether it is a folder, which no link is."""
    if location.folder is None:
        start = f"{place}/" if place else ""
        for key in location.keys(start):
            yield key.removeprefix(start), False
        return
    folder = location.folder / place
    for where, folders, files in os.walk(folder):
        for name in [*files, *folders]:
            path = os.path.join(where, name)
            inner = os.path.relpath(path, folder).replace(os.sep, "/")
            linked = os.path.islink(path)
            yield f"link {inner}" if linked else inner, not linked and name in folders


def node_of(location: Location, place: str) -> dict[str, Any] | None:
    """Return the metadata of the zarr node at a place; None if there is none."""
    return node_in(location.get(joined(place, METADATA)))


def node_in(content: bytes | None) -> dict[str, Any] | None:
    """Return the metadata in the content of a file; None if it holds none."""
    try:
        node = json.loads(content or b"")
    except (ValueError, RecursionError):
        return None
    fine = isinstance(node, dict) and isinstance(node.get("attributes", {}), dict)
    return node if fine else None


def _kind(location: Location, place: str) -> str:
    """Return the kind of a place: nothing, a group, an array or something else."""
    node = node_of(location, place)
    if node is not None and node.get("node_type") in ("group", "array"):
        return str(node["node_type"])
    if location.folder is not None and (location.folder / place).is_file():
        return "stranger"
    if not set(location.names(place)) - {JOURNAL}:
        return "nothing"
    own = joined(place, JOURNAL, "")
    if location.folder is None and all(  # some list folders that hold nothing
        key.startswith(own) for key in location.keys(f"{place}/" if place else "")
    ):
        return "nothing"
    if location.names(JOURNAL) and _is_begun(location, place):
        return "nothing"
    return "stranger"


def _require_no_link(location: Location, place: str) -> None:
    if location.folder is not None and (location.folder / place).is_symlink():
        raise StoreError(f"{location}: {place} is a link to elsewhere. {_MEND}")


def _require_folders(location: Location) -> None:
    """Raise if a file lies where a folder is needed."""
    assert location.folder is not None
    for above in location.folder.parents:
        if above.exists():
            if not above.is_dir():
                raise StoreError(f"{location}: {above} is a file, not a folder.")
            return


def _within(groups: set[str]) -> list[str]:
    """Return the groups and all their parents."""
    above = {""}
    for group in groups:
        parts = group.split("/")
        above |= {"/".join(parts[:end]) for end in range(len(parts) + 1)}
    return sorted(above)


def _is_above(path: str, groups: set[str]) -> bool:
    return any(group.startswith(f"{path}/") for group in groups)


def _shown(names: list[str]) -> str:
    some = ", ".join(names[:3])
    return some if len(names) <= 3 else f"{some} and {len(names) - 3} more"
