"""Verification of stores: a list of everything that is lost or damaged."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from batteryxr.core.errors import StoreError, said_by_system
from batteryxr.core.store.chunks import (
    array_of,
    cause_of,
    checksummed,
    chunks_of,
    problem_of_grid,
)
from batteryxr.core.store.copies import old_copies, without_copies
from batteryxr.core.store.leftovers import uncounted
from batteryxr.core.store.location import (
    JOURNAL,
    METADATA,
    UNFINISHED,
    WORK,
    Location,
    telling,
)
from batteryxr.core.store.manifest import MANIFEST, Manifest, digest_of, joined
from batteryxr.core.store.note import settle
from batteryxr.core.store.ownership import node_in, node_of, store_above
from batteryxr.core.store.pieces import (
    arrays_of_piece,
    is_begun,
    problem_of_node,
    sums_of_piece,
)
from batteryxr.core.store.places import StoreLike, location_of
from batteryxr.core.store.sums import OTHER, ChunkSums, read_sums

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Number of chunks that are read at the same time.
_READERS = 8


class Damage(NamedTuple):
    """Describe a lost or damaged part of a store.

    Parameters
    ----------
    variable
        Name of the variable or group, with its parent groups.
    chunk
        Key of the chunk; ``""`` for metadata.
    cause
        Description of the problem.
    """

    variable: str
    chunk: str
    cause: str

    def __str__(self) -> str:
        where = f"{self.variable}, chunk {self.chunk}" if self.chunk else self.variable
        return f"{where or '/'}: {self.cause}"


def verify(path: StoreLike | Location, *, metadata_only: bool = False) -> list[Damage]:
    """Return the lost and damaged parts of a store.

    Reads all of it once. Each chunk must exist and agree with its checksum, each
    metadata file with its digest in the manifest, and the manifest with its own.

    Parameters
    ----------
    path
        The store.
    metadata_only
        Skip the chunks.

    Returns
    -------
    list of Damage
        Empty if the store is whole.

    Raises
    ------
    StoreError
        If there is no store at `path`.
    """
    location = location_of(path)
    with telling(location, reading=True):
        _require_begun(location)
        return _found(location, metadata_only)


def _require_begun(location: Location) -> None:
    """Raise unless there is a store, complete or damaged."""
    if above := store_above(location):
        raise StoreError(f"{location} lies within the store {above}. Check that one.")
    node = node_of(location, "") or {}
    if node.get("node_type") == "array":
        raise StoreError(f"{location} is a variable, not a store.")
    names = set(location.names())
    if {".zgroup", ".zarray"} & names and METADATA not in names:
        raise StoreError(
            f"{location} is a store of zarr format 2, which holds no checksums: it "
            "cannot be checked. Save what is in it to a new store."
        )
    if not {METADATA, JOURNAL} & names:
        raise StoreError(f"{location}: no zarr store there.")


class _Metadata(dict[str, bytes | None]):
    """Hold metadata files of a store, each read once."""

    def __init__(self, location: Location) -> None:
        super().__init__()
        self.location = location

    def __missing__(self, key: str) -> bytes | None:
        try:
            self[key] = self.location.get(key)
        except StoreError:  # a link
            self[key] = None
        return self[key]

    def lost(self, key: str) -> str:
        """Return the problem of metadata that cannot be read."""
        folder = self.location.folder
        if folder is not None and os.path.lexists(folder / key):
            return "its metadata is a link, or no file"
        return "its metadata is lost"

    def node(self, place: str) -> dict[str, Any]:
        """Return the metadata of a node; empty if it cannot be read."""
        return node_in(self[joined(place, METADATA)]) or {}


def _found(location: Location, metadata_only: bool) -> list[Damage]:
    settle(location)
    manifest, texts = Manifest.read(location), _Metadata(location)
    keys = location.keys()
    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(texts.__getitem__, (k for k in keys if k.endswith(METADATA))))
    places = {entry.at for entry in manifest.groups.values()}
    begun = [place for place in _begun(keys, texts) if not _is_above(place, places)]
    apart = (*begun, *uncounted(location, manifest))
    lasting = frozenset(_lasting(keys, apart))
    found = list(_metadata(texts, manifest, lasting))
    if not metadata_only:
        found += _chunks(texts, lasting, _sums(manifest))
    names = {e.at: group for group, e in manifest.groups.items() if e.at != group}
    return sorted({_named(damage, names) for damage in found})


def _named(damage: Damage, names: dict[str, str]) -> Damage:
    """Name the group of a damaged variable as users know it, not by its place."""
    for place, group in names.items():
        if damage.variable.startswith(f"{place}/"):
            inner = damage.variable.removeprefix(f"{place}/")
            return damage._replace(variable=joined(group, inner))
    return damage


def _metadata(
    texts: _Metadata, manifest: Manifest, keys: frozenset[str]
) -> Iterator[Damage]:
    """Yield the damages of metadata."""
    if manifest.problem:
        foreign = ", or another program wrote the store" * (manifest.problem == "lost")
        yield Damage("manifest", "", f"the manifest is {manifest.problem}{foreign}")
    told = dict(manifest.ledgers)
    names = {key: _shown(key) for key in told}
    for group, entry in manifest.groups.items():
        for name, digest in entry.metadata.items():
            told[entry.key(name)] = digest
            names[entry.key(name)] = joined(group, name)
    known = frozenset(told)
    for key in sorted(keys - known - {MANIFEST}):
        if key.endswith(METADATA):
            text = texts[key] or b""
            if texts[key] is None:
                yield Damage(_shown(key), "", texts.lost(key))
            elif cause := problem_of_node(text):
                yield Damage(_shown(key), "", cause)
            elif _shown(key) == JOURNAL and (
                texts.node(JOURNAL)["node_type"] != "group"
                or texts.node(JOURNAL).get("attributes")
            ):
                yield Damage(JOURNAL, "", "its metadata is that of something else")
            told |= arrays_of_piece(key, text)
    for key, digest in told.items():
        content = texts[key]
        where = names.get(key, _shown(key))
        if content is None:
            yield Damage(where, "", texts.lost(key))
        elif digest not in (digest_of(content), digest_of(without_copies(content))):
            yield Damage(where, "", "its metadata is not what its digest says")
        else:
            place = key.removesuffix(METADATA).rstrip("/")
            for name in old_copies(place, content, texts.__getitem__):
                cause = f"its copy of the metadata of {name} is old or damaged"
                yield Damage(where, "", cause)
    for place in sorted(_places(keys, texts)):
        if joined(place, METADATA) not in keys | told.keys():
            yield Damage(place, "", "its metadata is lost")


def _begun(keys: list[str], texts: _Metadata) -> Iterator[str]:
    """Yield prefixes of pieces of ledgers that were never completed."""
    for key in keys:
        of_piece = key.endswith((f".0/{METADATA}", f".1/{METADATA}"))
        if of_piece and is_begun(texts[key] or b""):
            yield key.removesuffix(METADATA)


def _is_above(prefix: str, places: set[str]) -> bool:
    """Return whether a group that counts lies at a prefix or below."""
    return any(f"{place}/".startswith(prefix) for place in places)


def _lasting(keys: list[str], apart: tuple[str, ...]) -> Iterator[str]:
    """Yield the keys of a store, without those of unfinished work."""
    work = tuple(f"{JOURNAL}/{name}" for name in WORK)
    for key in keys:
        if not key.endswith(".partial") and not key.startswith(work + apart):
            yield key


def _places(keys: frozenset[str], texts: _Metadata) -> set[str]:
    """Return the places of required nodes: above other nodes, and above chunks."""
    nodes = {_shown(key) for key in keys if key.endswith(METADATA)}
    arrays = {p for p in nodes if texts.node(p).get("node_type") == "array"}
    places = set()
    for key in keys:
        place, _, name = key.rpartition("/")
        if name != METADATA:
            place = array_of(key) or place
        above = ""
        for part in place.split("/"):
            above = joined(above, part)
            places.add(above)
            if above in arrays:  # nothing but chunks is below
                break
    places |= {f"{place}.{slot}" for place, slot in _empty_slots(texts.location)}
    return places | {""}


def _empty_slots(location: Location) -> Iterator[tuple[str, str]]:
    """Yield pieces of ledgers that are reduced to an empty folder."""
    if location.folder is None:
        return
    for path in location.folder.rglob("*.[01]"):
        if path.is_dir() and not any(path.iterdir()):
            place = path.relative_to(location.folder).as_posix()
            yield place[:-2], place[-1]


def _sums(manifest: Manifest) -> dict[str, str]:
    """Return the checksums that the manifest holds, by place of the array."""
    return {
        joined(entry.at, name): text
        for entry in manifest.groups.values()
        for name, text in entry.sums.items()
    }


def _chunks(
    texts: _Metadata, keys: frozenset[str], told_sums: dict[str, str]
) -> list[Damage]:
    """Return lost, damaged or exchanged chunks of all arrays with checksums."""
    wanted, told, sums = [], [], {}
    for key in sorted(keys):
        if not key.endswith(METADATA):
            continue
        place = key.removesuffix(METADATA).rstrip("/")
        node = texts.node(place)
        if node.get("node_type") != "array" or not checksummed(node):
            continue
        if problem := _problem_of_chunks(node):
            cause = f"its metadata tell of {problem}"
            told.append(Damage(_shown(place), "", cause))
            continue
        group, _, name = place.rpartition("/")
        above = texts.node(group)
        text = sums_of_piece(above).get(name) or told_sums.get(place)
        sums[place] = read_sums(text, node)
        partial = bool((above.get("attributes") or {}).get(UNFINISHED))
        wanted += [
            (place, chunk)
            for chunk in _chunks_told(node)
            if f"{place}/{chunk}" in keys or not partial
        ]
    with ThreadPoolExecutor(_READERS) as pool:
        causes = pool.map(
            lambda which: _cause(texts.location, which, sums[which[0]]), wanted
        )
        return told + [
            Damage(_shown(place), chunk, cause)
            for (place, chunk), cause in zip(wanted, causes, strict=True)
            if cause
        ]


def _cause(location: Location, which: tuple[str, str], sums: ChunkSums | None) -> str:
    """Return the problem of a chunk, known by its array and its key; "" if none."""
    try:
        content = location.get("/".join(which))
    except StoreError:
        return "is a link, or no file"
    except OSError as error:
        if location.folder is None:  # a server that is away is no damage
            raise
        return f"cannot be read: {said_by_system(error)}"
    cause = cause_of(content)
    if cause or sums is None or content is None:
        return cause
    return OTHER if sums.differ(which[1], content) else ""


def _chunks_told(node: dict[str, Any]) -> list[str]:
    """Return the chunks listed by metadata; none if the metadata are damaged."""
    try:
        return list(chunks_of(node))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return []


def _problem_of_chunks(node: dict[str, Any]) -> str:
    """Return why the chunks listed by metadata cannot be checked."""
    try:
        sizes = node["chunk_grid"]["configuration"]["chunk_shape"]
        return problem_of_grid(node["shape"], sizes)
    except (AttributeError, KeyError, TypeError, ValueError):
        return ""


def _shown(key: str) -> str:
    return key.removesuffix(METADATA).rstrip("/")
