"""Leftovers of changes: the next writer deletes them, and readers ignore them.

Where a store cannot rename, old pieces lie under a group's own name until they are
deleted one by one. A list of them is written with the change itself, so that the next
writer completes an interrupted deletion. Objects that others added since are not on the
list.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batteryxr.core.store.chunks import checksummed
from batteryxr.core.store.location import JOURNAL, METADATA
from batteryxr.core.store.manifest import PLAIN_GROUP, digest_of, joined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batteryxr.core.store.location import Location
    from batteryxr.core.store.manifest import Manifest

#: Objects that lie in the journal until a change is made, and leftovers of past ones.
_LEFTOVER = re.compile(
    r"(staged|trash|v|pending|gone)-[0-9a-f]{32}(-\d+)?"
    r"|commit-[0-9a-f]{32}\.json\.[0-9a-f]{32}\.partial"  # a note never begun
)
_PENDING, _GONE = "pending-", "gone-"
#: First line of a list, and first characters of a note: whose they are.
_MARK, _NOTE = "batteryxr", b'{"token": "'
#: Keys of what zarr writes: metadata, chunks, and files that a killed write left.
_OF_ZARR = re.compile(rf"(.*/)?({METADATA}|c(/\d+)*|.+\.[0-9a-f]{{32}}\.partial)")
#: Names that are not used again: late pieces of other changes may arrive there.
_SPOILED = "spoiled-"


@dataclass(frozen=True)
class Remains:
    """Hold pieces under the name of a group that do not count.

    Parameters
    ----------
    group
        Name of the group.
    pieces
        Names below it: of arrays, with the digest of their metadata (``""`` if
        unknown), and of the group's ledger.
    """

    group: str
    pieces: Mapping[str, str]

    @classmethod
    def read(cls, location: Location, name: str) -> Remains | None:
        """Return the list in an object of the journal; None if it is none of ours."""
        text = (location.get(f"{JOURNAL}/{name}") or b"").decode(errors="replace")
        mark, *lines = text.split("\n")
        if mark != _MARK or not lines:
            return None
        group, *lines = lines
        parts = (line.partition("\t") for line in lines if line)
        return cls(group, {piece: digest for piece, _, digest in parts})

    def text(self) -> str:
        """Return the list as text."""
        lines = (f"{n}\t{d}" if d else n for n, d in self.pieces.items())
        return "\n".join([_MARK, self.group, *lines])

    def counts(self, manifest: Manifest) -> bool:
        """Return whether the group counts, and lies under its name."""
        entry = manifest.groups.get(self.group)
        return entry is not None and entry.at == self.group

    def places(self, location: Location, manifest: Manifest) -> Iterator[str]:
        """Yield where this change left pieces that no result uses."""
        counts = self.counts(manifest)
        for name, digest in self.pieces.items():
            place = joined(self.group, name)
            ledger = name == JOURNAL
            if ledger or (not counts and is_ours(location, place, digest)):
                yield place


def gone_key(token: str, number: int) -> str:
    """Return the key under which a change lists the pieces that it displaces."""
    return f"{JOURNAL}/{_GONE}{token}-{number}"


def is_gone_key(key: str) -> bool:
    """Return whether a key is one under which a change lists displaced pieces."""
    name = key.removeprefix(f"{JOURNAL}/")
    return name.startswith(_GONE) and _LEFTOVER.fullmatch(name) is not None


def pending_key(token: str, number: int) -> str:
    """Return the key of the list of what a change writes under a group's name."""
    return f"{JOURNAL}/{_PENDING}{token}-{number}"


def clean(
    location: Location, manifest: Manifest, token: str = "", *, late: bool = False
) -> None:
    """Delete the leftovers of changes that are done or given up.

    Nothing is deleted that the manifest names, or while the manifest is unreadable, nor
    what somebody else put under such a name.

    Parameters
    ----------
    location, manifest
        Location of the store, and its manifest.
    token
        Token of the change to clean up after; ``""`` for all changes.
    late
        Whether another process may still be writing for the change.
    """
    names = location.names(JOURNAL)
    used = {entry.at for entry in manifest.groups.values()}
    for name in names:
        kind = name.partition("-")[0]
        place = f"{JOURNAL}/{name}"
        if token not in name or not _LEFTOVER.fullmatch(name):
            continue
        if kind in ("staged", "trash"):
            if not stranger_below(location, place):
                location.delete_below(place)
        elif kind == "commit":
            if _NOTE.startswith((location.get(place) or b"")[: len(_NOTE)]):
                location.delete(place)
        elif location.folder is not None:
            continue  # where none of these is written
        elif manifest.problem in ("", "lost") and kind == "pending":
            bury(location, name, manifest, late=late or not token)
        elif kind == "gone" and not token and not manifest.problem:
            bury(location, name, manifest, late=True)
        elif kind == "v" and not manifest.problem:
            for version in _unused(location, place, used):
                if not stranger_below(location, version):
                    location.delete_below(version)


def bury(
    location: Location, name: str, manifest: Manifest, *, late: bool = False
) -> None:
    """Delete the pieces that an object of the journal lists, and the list.

    Parameters
    ----------
    location, manifest
        Location of the store, and its manifest.
    name
        Name of the object in the journal.
    late
        Whether its maker is gone, so that a server may still carry out its requests.
    """
    remains = Remains.read(location, name)
    if remains is None:
        return
    group, counts = remains.group, remains.counts(manifest)
    arrays = {n: d for n, d in remains.pieces.items() if n != JOURNAL}
    if late and arrays and not counts and not is_spoiled(location, group):
        told = Remains(group, arrays).text()
        location.put(_spoiled_key(group), told.encode())
    for place in list(remains.places(location, manifest)):
        location.delete_below(place)
    key = joined(group, METADATA)
    if name.startswith(_PENDING) and not counts:  # the metadata are the change's own
        location.put(key, PLAIN_GROUP)
    empty = group and not counts and location.names(group) == [METADATA]
    if empty and location.get(key) == PLAIN_GROUP:
        location.delete(key)
    location.delete(f"{JOURNAL}/{name}")


def pending(location: Location, manifest: Manifest) -> set[str]:
    """Return groups that never counted, or no longer count, and left pieces."""
    if location.folder is not None:
        return set()
    names = location.names(JOURNAL)
    found = (
        Remains.read(location, n) for n in names if n.startswith((_PENDING, _GONE))
    )
    return {remains.group for remains in found if remains} - manifest.groups.keys()


def is_spoiled(location: Location, group: str) -> bool:
    """Return whether a piece of an abandoned change may still arrive here."""
    return location.get(_spoiled_key(group)) is not None


def uncounted(location: Location, manifest: Manifest) -> tuple[str, ...]:
    """Return the key prefixes of pieces that do not count."""
    return tuple(f"{place}/" for place in _uncounted(location, manifest))


def sweep(location: Location, manifest: Manifest) -> None:
    """Delete pieces that arrived late and never counted; the lock is held."""
    for place in list(_uncounted(location, manifest)):
        location.delete_below(place)


def _uncounted(location: Location, manifest: Manifest) -> Iterator[str]:
    if location.folder is not None:
        return
    used = {entry.at for entry in manifest.groups.values()}
    for name in location.names(JOURNAL):
        if name.startswith((_SPOILED, _PENDING, _GONE)):
            if remains := Remains.read(location, name):
                yield from remains.places(location, manifest)
        elif name.startswith("v-") and _LEFTOVER.fullmatch(name):
            for place in _unused(location, f"{JOURNAL}/{name}", used):
                if not stranger_below(location, place):
                    yield place


def _unused(location: Location, place: str, used: set[str]) -> list[str]:
    """Return the places of a change's versions that no longer count."""
    here = {f"{place}/{name}" for name in location.names(place) if name != METADATA}
    return sorted(here - used) if here & used else [place]


def stranger_below(location: Location, place: str) -> str:
    """Return the key of something below a place that zarr never writes; "" if none."""
    start = f"{place}/"
    inner = (key.removeprefix(start) for key in location.keys(start))
    return next((start + key for key in inner if not _OF_ZARR.fullmatch(key)), "")


def is_ours(location: Location, place: str, digest: str) -> bool:
    """Return whether an array that does not count was written by batteryxr."""
    content = location.get(joined(place, METADATA))
    if content is None:  # its chunks alone
        return True
    if digest:
        return digest_of(content) == digest
    try:
        return checksummed(json.loads(content))
    except (AttributeError, TypeError, ValueError, RecursionError):
        return False


def _spoiled_key(group: str) -> str:
    return f"{JOURNAL}/{_SPOILED}{hashlib.sha256(group.encode()).hexdigest()[:32]}"
