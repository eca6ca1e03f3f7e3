"""Notes of changes that are about to be made: a killed one is carried out by the next.

A note is written whole before the first step, and deleted after the last; each step can
be repeated, so whoever finds a note of somebody who is gone does all of it again.
"""

from __future__ import annotations

import json
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

_NOTE, _PENDING = "commit-", "pending-"
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
        return f"{JOURNAL}/{_NOTE}{self.token}.json"

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
            said = json.loads(content)
            moves = [(source, target) for source, target in said["moves"]]
            Note(said["token"], moves, said["puts"]).redo(location)


def clean(location: Location, manifest: Manifest, token: str = "") -> None:
    """Delete what changes left behind that were made, or never will be.

    Nothing is deleted that the manifest names, or while it cannot tell.

    Parameters
    ----------
    location, manifest
        The store, and what counts in it.
    token
        Of a change to clean up after; with ``""`` after all.
    """
    names = location.names(JOURNAL)
    used = {entry.at for entry in manifest.groups.values()}
    for name in names:
        kind = name.partition("-")[0]
        place = f"{JOURNAL}/{name}"
        if token not in name or kind not in ("staged", "trash", "v", "pending"):
            continue
        if kind in ("staged", "trash"):
            location.delete_below(place)
        elif manifest.problem in ("", "lost") and kind == "pending":
            _forget_pending(location, place, used)
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
        f"{JOURNAL}/{name}"
        for name in location.names(JOURNAL)
        if name.startswith(_NOTE) and name.endswith(".json")
    ]


def _move(location: Location, source: str, target: str) -> None:
    """Rename, unless it was done before."""
    assert location.folder is not None
    start, end = location.folder / source, location.folder / target
    if start.exists() and not end.exists():
        end.parent.mkdir(parents=True, exist_ok=True)
        start.rename(end)


def _delete_unused(location: Location, place: str, used: set[str]) -> None:
    """Delete versions that do not count any more."""
    here = {f"{place}/{name}" for name in location.names(place) if name != METADATA}
    for version in [place] if not here & used else sorted(here - used):
        location.delete_below(version)


def _forget_pending(location: Location, key: str, used: set[str]) -> None:
    """Delete what was written of a group that never counted."""
    group, *names = (location.get(key) or b"").decode().split("\n")
    if group not in used:
        for name in names:
            location.delete_below(joined(group, name))
        location.delete(joined(group, METADATA))
    location.delete(key)
