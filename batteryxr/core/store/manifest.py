"""The manifest: the groups that count, their places, and digests of their metadata."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from batteryxr.core.store.files import stamp_of
from batteryxr.core.store.location import JOURNAL, METADATA, leads_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batteryxr.core.store.location import Location

#: Key of the manifest: a group without members, which other readers understand.
MANIFEST = f"{JOURNAL}/manifest/{METADATA}"
#: Metadata of a group that holds groups only.
PLAIN_GROUP = json.dumps(
    {"attributes": {}, "zarr_format": 3, "node_type": "group"}, indent=2
).encode()


@dataclass(frozen=True)
class StoredGroup:
    """Hold a group that counts.

    Parameters
    ----------
    at
        Place of the group: its name, or another one if the store cannot rename.
    metadata
        Digests of the metadata of the group (``""``) and of each variable.
    sums
        Checksums of the chunks of each variable; none while it is not finished.
    """

    at: str
    metadata: dict[str, str]
    sums: dict[str, str] = field(default_factory=dict)

    def key(self, name: str) -> str:
        """Return the key of the metadata of a variable, or of the group (``""``)."""
        return joined(self.at, name, METADATA)


@dataclass(frozen=True)
class Manifest:
    """Hold groups and ledgers that count in a store.

    Parameters
    ----------
    groups
        Groups by name; the root is ``""``.
    ledgers
        Digests of the metadata of finished ledgers, by key.
    problem
        Problem of the manifest itself; ``""`` if it is fine.
    """

    groups: dict[str, StoredGroup] = field(default_factory=dict)
    ledgers: dict[str, str] = field(default_factory=dict)
    problem: str = ""

    @classmethod
    def read(cls, location: Location) -> Manifest:
        """Return the manifest of a store; an empty one with a problem if damaged."""
        content = location.get(MANIFEST)
        if content is None:
            return cls(problem="lost")
        try:
            attributes = json.loads(content)["attributes"]
            said, told = attributes["manifest"], attributes["digest"]
            if _content(said) != content or told != digest_of(_canonical(said)):
                return cls(problem="not what its digest says")
            groups = {
                name: StoredGroup(**entry) for name, entry in said["groups"].items()
            }
            if any(map(leads_out, _places(groups, said["ledgers"]))):
                return cls(problem="not batteryxr's: it leads out of the store")
            return cls(groups, said["ledgers"])
        except (AttributeError, TypeError, ValueError, KeyError, RecursionError):
            return cls(problem="cut off or not readable")

    def content(self) -> bytes:
        """Return the manifest as written, with its own digest."""
        groups = {
            name: {"at": entry.at, "metadata": entry.metadata, "sums": entry.sums}
            for name, entry in sorted(self.groups.items())
        }
        return _content({"groups": groups, "ledgers": self.ledgers})

    def place(self, group: str) -> str:
        """Return the place of a group: its name, if the manifest does not list it."""
        entry = self.groups.get(group)
        return group if entry is None else entry.at

    def sealing(self, location: Location, ledger: str) -> Manifest:
        """Return a manifest with the pieces of a finished ledger."""
        prefix = f"{ledger}/"
        kept = {k: v for k, v in self.ledgers.items() if not k.startswith(prefix)}
        found = _digests(location, (k for k in location.keys(prefix) if _is_node(k)))
        return replace(self, ledgers=kept | found)


def require_manifest(location: Location) -> None:
    """Write an empty manifest, if the store has none."""
    if location.get(MANIFEST) is None:
        location.put_new(joined(JOURNAL, METADATA), PLAIN_GROUP)
        location.put_new(MANIFEST, Manifest().content())


def place_of(location: Location, group: str) -> str:
    """Return the place of a group of a store."""
    return Manifest.read(location).place(group)


def joined(*parts: str) -> str:
    """Join parts of a key; empty parts are left out."""
    return "/".join(part for part in parts if part)


def digest_of(content: bytes) -> str:
    """Return the digest of metadata."""
    return hashlib.sha256(content).hexdigest()[:32]


def _content(said: dict[str, Any]) -> bytes:
    attributes = {"manifest": said, "digest": digest_of(_canonical(said))}
    node = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
    return json.dumps(node).encode()


def _canonical(said: dict[str, Any]) -> bytes:
    return json.dumps(said, sort_keys=True).encode()


def _places(groups: dict[str, StoredGroup], ledgers: dict[str, str]) -> Iterator[str]:
    for name, entry in groups.items():
        yield from (name, entry.at, *map(entry.key, entry.metadata))
    yield from ledgers


def _is_node(key: str) -> bool:
    return key.endswith(f"/{METADATA}") and key != MANIFEST


def _digests(location: Location, keys: Iterable[str]) -> dict[str, str]:
    return {key: digest_of(location.get(key) or b"") for key in sorted(keys)}


def stamp_of_manifest(location: Location) -> tuple[int, int] | None:
    """Return what tells a manifest on disk from all others."""
    return stamp_of(location.folder / MANIFEST) if location.folder else None
