"""Notes of changes that are about to be made: a killed one is carried out by the next.

A note is written whole before the first step, and deleted after the last; each step can
be repeated, so whoever finds a note of somebody who is gone does all of it again.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from batteryxr.core.errors import StoreError
from batteryxr.core.store.location import JOURNAL, METADATA
from batteryxr.core.store.lock import is_held, locked
from batteryxr.core.store.manifest import joined

if TYPE_CHECKING:
    from batteryxr.core.store.location import Location
    from batteryxr.core.store.manifest import Manifest

#: What lies in the journal until a change is made, and a change that is being made.
_LEFTOVER = re.compile(r"(staged|trash|v|pending)-[0-9a-f]{32}(-\d+)?")
_NOTE = re.compile(r"commit-[0-9a-f]{32}\.json")
_PENDING = "pending-"
#: Names that are not written under again: late pieces of others may arrive there.
SPOILED = "spoiled-"
#: Seconds that a reader waits for a change that is being made.
_PATIENCE = 60.0


@dataclass(frozen=True)
class Note:
    """The steps of a change.

    Parameters
    ----------
    token
        Of who makes it.
    moves
        From where to where folders and files are renamed, in this order.
    puts
        Objects that are written after that, in this order.
    """

    token: str
    moves: list[tuple[str, str]]
    puts: dict[str, str]

    @property
    def key(self) -> str:
        """Return where the note lies."""
        return f"{JOURNAL}/commit-{self.token}.json"

    def carry_out(self, location: Location) -> None:
        """Note the steps, and take them."""
        location.put(self.key, json.dumps(asdict(self)).encode())
        self.redo(location)

    def redo(self, location: Location) -> None:
        """Take the steps that were not taken yet."""
        for source, target in self.moves:
            _move(location, source, target)
        for key, text in self.puts.items():
            location.put(key, text.encode())
        location.delete(self.key)


def settle(location: Location) -> None:
    """Wait for a change that is being made; carry out one whose maker is gone.

    Raises
    ------
    StoreError
        If it takes longer than a minute.
    """
    end = time.monotonic() + _PATIENCE
    while _notes(location):
        if not is_held(location):
            with locked(location):
                finish_notes(location)
        elif time.monotonic() > end:
            raise StoreError(f"{location} is being changed. Open it again later.")
        else:
            time.sleep(0.01)


def finish_notes(location: Location) -> None:
    """Carry out changes whose makers are gone; the lock is held."""
    for key in _notes(location):
        content = location.get(key)
        if content is not None:
            _parsed(location, key, content).redo(location)


def clean(
    location: Location, manifest: Manifest, token: str = "", *, late: bool = False
) -> None:
    """Delete what changes left behind that were made, or never will be.

    Nothing is deleted that the manifest names, or while it cannot tell.

    Parameters
    ----------
    location, manifest
        The store, and what counts in it.
    token
        Of a change to clean up after; with ``""`` after all.
    late
        Another process may still be writing what the change asked of it.
    """
    names = location.names(JOURNAL)
    used = {entry.at for entry in manifest.groups.values()}
    for name in names:
        kind = name.partition("-")[0]
        place = f"{JOURNAL}/{name}"
        if token not in name or not _LEFTOVER.fullmatch(name):
            continue
        if kind in ("staged", "trash"):
            location.delete_below(place)
        elif location.folder is not None:
            continue  # where neither is written
        elif manifest.problem in ("", "lost") and kind == "pending":
            _forget_pending(location, place, used, late or not token)
        elif not manifest.problem:
            _delete_unused(location, place, used)


def pending(location: Location, manifest: Manifest) -> set[str]:
    """Return groups that are being written for the first time."""
    if location.folder is not None:
        return set()
    names = (n for n in location.names(JOURNAL) if n.startswith(_PENDING))
    found = ((location.get(f"{JOURNAL}/{n}") or b"").decode() for n in names)
    return {text.partition("\n")[0] for text in found} - manifest.groups.keys()


def _notes(location: Location) -> list[str]:
    return [
        f"{JOURNAL}/{name}" for name in location.names(JOURNAL) if _NOTE.fullmatch(name)
    ]


def _parsed(location: Location, key: str, content: bytes) -> Note:
    """Return the note that lies there, if it tells of steps that a change takes.

    Raises
    ------
    StoreError
        If somebody wrote other steps into it.
    """
    try:
        said = json.loads(content)
        note = Note(said["token"], [(a, b) for a, b in said["moves"]], said["puts"])
        token = str(note.token)
        away, staged = f"{JOURNAL}/trash-{token}/", f"{JOURNAL}/staged-{token}/"
        fine = note.key == key and all(
            target.startswith(away) or source.startswith(staged)
            for source, target in note.moves
        )
        fine = fine and all(
            name.rpartition("/")[2] == METADATA and isinstance(text, str)
            for name, text in note.puts.items()
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        fine = False
    if not fine:
        raise StoreError(
            f"{location}: {key} is no note of batteryxr's. Look at what is there with "
            "`batteryxr check`; delete the note to go on without it."
        )
    return note


def _move(location: Location, source: str, target: str) -> None:
    """Rename, unless it was done before."""
    start, end = location.path(source), location.path(target)
    if start.exists() and not end.exists():
        end.parent.mkdir(parents=True, exist_ok=True)
        start.rename(end)


def _delete_unused(location: Location, place: str, used: set[str]) -> None:
    """Delete versions that do not count any more."""
    here = {f"{place}/{name}" for name in location.names(place) if name != METADATA}
    for version in [place] if not here & used else sorted(here - used):
        location.delete_below(version)


def _forget_pending(location: Location, key: str, used: set[str], late: bool) -> None:
    """Delete what was written of a group that never counted."""
    group, *names = (location.get(key) or b"").decode().split("\n")
    if group not in used:
        if late and names:
            location.put(_spoiled_key(group), location.get(key) or b"")
        for name in names:
            location.delete_below(joined(group, name))
        location.delete(joined(group, METADATA))
    location.delete(key)


def is_spoiled(location: Location, group: str) -> bool:
    """Tell whether a piece of a change that was given up may still arrive here."""
    return location.get(_spoiled_key(group)) is not None


def uncounted(location: Location, manifest: Manifest) -> tuple[str, ...]:
    """Return prefixes of keys of groups that were begun under their names only."""
    found: list[str] = []
    for name in location.names(JOURNAL) if location.folder is None else ():
        if name.startswith((SPOILED, _PENDING)):
            text = (location.get(f"{JOURNAL}/{name}") or b"").decode()
            group, *names = text.split("\n")
            entry = manifest.groups.get(group)
            if entry is None or entry.at != group:
                found += [f"{joined(group, name)}/" for name in names]
    return tuple(found)


def sweep(location: Location, manifest: Manifest) -> None:
    """Delete what was begun under names where it never counted; the lock is held."""
    for prefix in uncounted(location, manifest):
        location.delete_below(prefix.rstrip("/"))


def _spoiled_key(group: str) -> str:
    return f"{JOURNAL}/{SPOILED}{hashlib.sha256(group.encode()).hexdigest()[:32]}"
