"""Notes of planned changes: the next writer carries out an interrupted one.

A note is written before the first step, and deleted after the last. Each step can be
repeated, so that the next writer repeats all steps of a dead process.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from batteryxr.core.errors import StoreError
from batteryxr.core.store.leftovers import is_gone_key
from batteryxr.core.store.location import JOURNAL, METADATA, NOTE
from batteryxr.core.store.lock import is_held, locked

if TYPE_CHECKING:
    from batteryxr.core.store.location import Location

#: Longest wait, in seconds, of a reader for a change that is being made.
_PATIENCE = 60.0


@dataclass(frozen=True)
class Note:
    """Hold the steps of a change.

    Parameters
    ----------
    token
        Token of the maker of the change.
    moves
        Source and target of folders and files to rename, in this order.
    puts
        Objects to write after that, in this order.
    """

    token: str
    moves: list[tuple[str, str]]
    puts: dict[str, str]

    @property
    def key(self) -> str:
        """Return the key of the note."""
        return f"{JOURNAL}/commit-{self.token}.json"

    def carry_out(self, location: Location) -> None:
        """Write the note, and take its steps."""
        location.put(self.key, json.dumps(asdict(self)).encode())
        self.redo(location)

    def redo(self, location: Location) -> None:
        """Take the remaining steps; what is new is in its place once and stays there.

        Nothing may have been there before, so nothing tells that it was moved away.
        """
        placed = {b for a, b in self.moves if not location.path(a).exists()}
        for source, target in self.moves:
            if source not in placed:
                _move(location, source, target)
        for key, text in self.puts.items():
            location.put(key, text.encode())
        location.delete(self.key)


def settle(location: Location) -> None:
    """Wait for a change that is being made; carry out one whose maker is gone.

    Raises
    ------
    StoreError
        If the change takes longer than a minute.
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


def _notes(location: Location) -> list[str]:
    return [
        f"{JOURNAL}/{name}" for name in location.names(JOURNAL) if NOTE.fullmatch(name)
    ]


def _parsed(location: Location, key: str, content: bytes) -> Note:
    """Return the note under a key, if its steps are those of a change.

    Raises
    ------
    StoreError
        If the note holds other steps.
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
            (name.rpartition("/")[2] == METADATA or is_gone_key(name))
            and isinstance(text, str)
            for name, text in note.puts.items()
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        fine = False
    if not fine:
        raise StoreError(
            f"{location}: {key} is no note of batteryxr's. Look at what is there with "
            "`batteryxr check`; delete the note to go on without it."
        )
    return note


def _move(location: Location, source: str, target: str) -> None:
    """Rename, unless this was done before."""
    start, end = location.path(source), location.path(target)
    if start.exists() and not end.exists():
        end.parent.mkdir(parents=True, exist_ok=True)
        start.rename(end)
