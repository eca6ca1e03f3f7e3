"""Changes of a store: written beside the current content, and switched in one step."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import StoreError
from batteryxr.core.store.copies import freed_of_copies, without_copies
from batteryxr.core.store.encoding import encoding, frames_together, storable, uniform
from batteryxr.core.store.leftovers import (
    Remains,
    bury,
    clean,
    gone_key,
    is_ours,
    is_spoiled,
    pending_key,
    sweep,
)
from batteryxr.core.store.location import JOURNAL, METADATA, UNFINISHED, telling
from batteryxr.core.store.lock import locked, require_held
from batteryxr.core.store.manifest import (
    MANIFEST,
    PLAIN_GROUP,
    Manifest,
    StoredGroup,
    digest_of,
    joined,
)
from batteryxr.core.store.note import Note, finish_notes
from batteryxr.core.store.ownership import (
    is_array,
    node_of,
    normal_group,
    require_room,
    require_store,
    require_whole_array,
)
from batteryxr.core.store.snapshots import snapshot
from batteryxr.core.store.sums import sums_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import xarray as xr

    from batteryxr.core.store.fence import Fence
    from batteryxr.core.store.location import Location


@dataclass
class Revision:
    """Hold groups that are written beside a store and take their places together.

    Until they do, the former content is complete, and readers see it.

    Parameters
    ----------
    location
        The store.
    token
        Token of the lock that is held.
    manifest
        Manifest before the change.
    """

    location: Location
    token: str
    manifest: Manifest
    _staged: dict[str, str] = field(default_factory=dict)
    _removed: set[str] = field(default_factory=set)
    _replaced: dict[str, dict[str, str]] = field(default_factory=dict)
    _count: int = 0
    _fence: Fence | None = None

    def write(
        self,
        dataset: xr.Dataset,
        group: str = "",
        *,
        overwrite: bool = False,
        compute: bool = True,
    ) -> None:
        """Write a group beside the store.

        Parameters
        ----------
        dataset
            Dataset to write.
        group
            Group to write; the root is ``""``.
        overwrite
            Allow the replacement of an existing group; groups below it stay.
        compute
            Write lazy variables too; otherwise only make room for them.

        Raises
        ------
        StoreError
            If the group exists, or something lies there that does not belong to the
            store, or that batteryxr did not write.
        """
        group, dataset = normal_group(group), storable(dataset)
        names = [str(name) for name in dataset.variables]
        if self._holds(group) and not overwrite:
            raise StoreError(
                f"{self.location}, group {group or '/'!r} holds data already. "
                "Pass overwrite=True to replace it, or choose another group."
            )
        self._require_written(group)
        self._replaced[group] = self._digests(group, _arrays(self.location, group))
        require_room(self.location, group, names)
        for name in self._old_arrays(group):
            require_whole_array(self.location, joined(group, name))
        dataset = frames_together(uniform(dataset))
        place = self._new_place(group, names)
        store, inner = self._writable(place)
        dataset.to_zarr(  # type: ignore[call-overload]
            store,
            group=inner or None,
            mode="a",
            compute=compute,
            consolidated=False,
            encoding=encoding(dataset),
            write_empty_chunks=True,
        )
        self._staged[group] = place

    def place(self, group: str) -> str | None:
        """Return the place of a group that was written in this change."""
        return self._staged.get(group)

    def remove(self, group: str) -> None:
        """Remove a group when the change is made; groups below it stay.

        Raises
        ------
        StoreError
            If it holds anything that batteryxr did not write.
        """
        self._require_written(group)
        self._removed.add(group)

    def commit(self) -> None:
        """Put the written groups in their places."""
        if not self._staged and not self._removed:
            return
        manifest = self._next_manifest()
        require_held(self.location, self.token)
        if self.location.transacts:
            self._take_places()
            for key, text in self._puts(manifest).items():
                self.location.put(key, text.encode())
            return
        gone = self._displaced(manifest)
        puts = self._puts(manifest) | {key: left.text() for key, left in gone.items()}
        Note(self.token, self._moves(), puts).carry_out(self.location)
        if self.location.folder is None:  # nothing else excludes a second writer
            require_held(self.location, self.token)
        for key in reversed(gone):  # groups below others first
            bury(self.location, key.removeprefix(f"{JOURNAL}/"), manifest)
        self._drop_folders()
        clean(self.location, manifest)

    def close(self) -> None:
        """Stop all further writes of threads."""
        if self._fence is not None:
            self._fence.close()

    @property
    def has_travelled(self) -> bool:
        """Return whether other processes were asked to write."""
        return self._fence is not None and self._fence.travelled

    def _holds(self, group: str) -> bool:
        if group in self._staged:
            return True
        if group in self._removed:
            return False
        if group in self.manifest.groups:
            return True
        if (node_of(self.location, group) or {}).get("attributes"):
            return True
        return any(True for _ in _arrays(self.location, group))

    def _require_written(self, group: str) -> None:
        """Raise if another program wrote to a group: what it wrote is never replaced.

        Where the manifest does not tell, checksums are the mark of our arrays.
        """
        if group in self._staged:
            return
        location, entry = self.location, self.manifest.groups.get(group)
        here = entry is not None and entry.at == group
        known = entry.metadata if entry is not None and here else {}
        begun = location.get(joined(JOURNAL, METADATA)) is not None
        untold = entry is not None or (self.manifest.problem and begun)
        renames = location.folder is not None or location.transacts
        late = not renames and is_spoiled(location, group)
        if not here and (untold or late):
            found = _arrays(location, group)
            known = {n: "" for n in found if is_ours(location, joined(group, n), "")}
            known[""] = ""
        odd = [name for name in _arrays(location, group) if name not in known]
        if not odd and not known and (node_of(location, group) or {}).get("attributes"):
            odd = ["attributes"]
        if odd:
            raise StoreError(
                f"{location}, group {group or '/'!r} holds {odd[0]}, which batteryxr "
                "did not write, so it is not replaced. Choose another group or store, "
                "or delete it yourself first."
            )

    def _old_arrays(self, group: str) -> list[str]:
        """Return the present variables of a group, if it lies under its name."""
        if self.manifest.place(group) != group:
            return []
        return list(_arrays(self.location, group))

    def _new_place(self, group: str, names: list[str]) -> str:
        """Return the place where a group is written until it counts, and note it."""
        location, number = self.location, self._count
        self._count += 1
        if location.folder is not None or location.transacts:
            return f"{JOURNAL}/staged-{self.token}/{number}"
        if any(_arrays(location, group)) or is_spoiled(location, group):
            return f"{JOURNAL}/v-{self.token}/{number}"
        if not group:  # or zarr would warn of the journal
            location.put_new(joined(JOURNAL, METADATA), PLAIN_GROUP)
        begun = Remains(group, dict.fromkeys(names, ""))
        location.put(pending_key(self.token, number), begun.text().encode())
        return group

    def _writable(self, place: str) -> tuple[Any, str]:
        """Return a zarr store, and a group in it, for a place.

        On disk the store begins one level below, since zarr writes metadata of parent
        groups.
        """
        if self.location.transacts:  # a change that is given up is never committed
            return self.location.store, place
        from batteryxr.core.store.fence import Fence, FencedStore

        if self._fence is None:
            self._fence = Fence()
        if self.location.folder is None:
            return FencedStore(self.location.store, self._fence), place
        above, _, inner = place.rpartition("/")
        below = type(self.location.store)(self.location.folder / above)
        return FencedStore(below, self._fence), inner

    def _next_manifest(self) -> Manifest:
        groups = dict(self.manifest.groups)
        ledgers = dict(self.manifest.ledgers)
        for group in self._removed | self._staged.keys():
            groups.pop(group, None)
            within = f"{joined(group, JOURNAL)}/"
            ledgers = {k: v for k, v in ledgers.items() if not k.startswith(within)}
        for group, place in self._staged.items():
            renamed = self.location.folder is not None or self.location.transacts
            at = group if renamed else place
            names = sorted(_arrays(self.location, place))
            digests = self._digests(place, ["", *names])
            node = node_of(self.location, place) or {}
            begun = UNFINISHED in node.get("attributes", {})
            sums = {} if begun else sums_of(self.location, place, names)
            groups[group] = StoredGroup(at, digests, sums)
        return replace(self.manifest, groups=groups, ledgers=ledgers, problem="")

    def _digests(self, place: str, names: Iterable[str]) -> dict[str, str]:
        """Return digests of the metadata of variables, or of the group (``""``)."""
        texts = {n: self.location.get(joined(place, n, METADATA)) for n in names}
        return {n: digest_of(without_copies(t or b"")) for n, t in texts.items()}

    def _moves(self) -> list[tuple[str, str]]:
        """Return the moves of folders: old ones away, new ones in place."""
        if self.location.folder is None:
            return []
        away, moves = f"{JOURNAL}/trash-{self.token}", []
        for number, group in enumerate(sorted(self._removed | self._staged.keys())):
            place = self._staged.get(group)
            new = self.location.names(place) if place else []
            old = [METADATA, *self._old_arrays(group), *([JOURNAL] if group else [])]
            moves += [(joined(group, name), f"{away}/{number}/{name}") for name in old]
            moves += [(f"{place}/{name}", joined(group, name)) for name in new]
        return moves

    def _take_places(self) -> None:
        """Put groups in their places by copying, within a snapshot."""
        location = self.location
        for group in self._removed | self._staged.keys():
            _delete_arrays(location, group)
            if group:
                location.delete_below(joined(group, JOURNAL))
        for group, place in self._staged.items():
            # Metadata before chunks, metadata of parent groups first.
            keys = location.keys(f"{place}/")
            keys.sort(key=lambda k: (not k.endswith(METADATA), k.count("/")))
            for key in keys:
                inner = key.removeprefix(f"{place}/")
                location.put(joined(group, inner), location.get(key) or b"")
        location.delete_below(f"{JOURNAL}/staged-{self.token}")

    def _puts(self, manifest: Manifest) -> dict[str, str]:
        """Return objects to write: metadata of parent groups, the manifest last."""
        above = {"", JOURNAL}
        for group in manifest.groups:
            parts = group.split("/")
            above |= {"/".join(parts[:end]) for end in range(len(parts))}
        gone = self._removed - self._staged.keys()
        if self.location.folder is None:  # or they would keep their attributes
            above |= {group for group in gone if self.location.names(group)}
        puts = {
            joined(place, METADATA): PLAIN_GROUP.decode()
            for place in sorted(above - manifest.groups.keys())
            if place in gone or self.location.get(joined(place, METADATA)) is None
        }
        staged = {joined(group, METADATA) for group in self._staged}
        moved = staged if self.location.folder is not None else set()
        free = freed_of_copies(self.location, self._removed | self._staged.keys())
        free = {
            key: text for key, text in free.items() if key not in puts.keys() | moved
        }
        return puts | free | {MANIFEST: manifest.content().decode()}

    def _displaced(self, manifest: Manifest) -> dict[str, Remains]:
        """Return pieces under names of groups that no longer count, by key."""
        location, found = self.location, {}  # by the key of the list
        if location.folder is not None:
            return {}
        for number, group in enumerate(sorted(self._removed | self._staged.keys())):
            entry, pieces = manifest.groups.get(group), {}
            if entry is None or (entry.at != group and group in self.manifest.groups):
                pieces = self._digests(group, _arrays(location, group))
            elif entry.at != group:  # what others put there since stays
                pieces = dict(self._replaced[group])
            if group and location.names(joined(group, JOURNAL)):
                pieces[JOURNAL] = ""
            if pieces or entry is None:
                found[gone_key(self.token, number)] = Remains(group, pieces)
        return found

    def _drop_folders(self) -> None:
        """Remove folders of removed groups, where they are empty."""
        if self.location.folder is None:
            return
        for group in sorted(self._removed - self._staged.keys(), reverse=True):
            with suppress(OSError):  # something is in it
                (self.location.folder / group).rmdir()


@contextmanager
def changing(location: Location) -> Iterator[Revision]:
    """Yield a change of a store, completed at the end of the block or not at all.

    Raises
    ------
    StoreError
        If another process writes there, or something lies there that is no store's.
    """
    require_store(location)
    with (
        telling(location),
        locked(location) as token,
        snapshot(location, "a change of groups") as location,
    ):
        finish_notes(location)
        manifest = Manifest.read(location)
        if manifest.problem not in ("", "lost"):
            raise StoreError(
                f"{location}: its manifest is {manifest.problem}. Look at what is "
                f"there with `batteryxr check`; delete {MANIFEST} to go on without it."
            )
        if location.folder is None and not location.transacts:
            clean(location, manifest)
            sweep(location, manifest)
        change = Revision(location, token, manifest)
        try:
            yield change
            change.commit()
        finally:
            change.close()
            if not location.transacts:
                now = Manifest.read(location)
                clean(location, now, token, late=change.has_travelled)


def annotate(location: Location, group: str, **attrs: Any) -> None:
    """Set attributes of an existing group, None to remove one; its arrays stay."""
    with (
        telling(location),
        locked(location) as token,
        snapshot(location, f"attributes of {group}") as location,
    ):
        manifest = Manifest.read(location)
        key = joined(manifest.place(group), METADATA)
        node = json.loads(without_copies(location.get(key) or b"{}"))
        merged = node.get("attributes", {}) | attrs
        node["attributes"] = {k: v for k, v in merged.items() if v is not None}
        text = json.dumps(node, indent=2)
        entry = manifest.groups[group]
        metadata = entry.metadata | {"": digest_of(text.encode())}
        sums = entry.sums or sums_of(location, entry.at, sorted(metadata.keys() - {""}))
        entry = replace(entry, metadata=metadata, sums=sums)
        groups = manifest.groups | {group: entry}
        manifest = replace(manifest, groups=groups)
        require_held(location, token)
        puts = freed_of_copies(location, [group])
        puts |= {key: text, MANIFEST: manifest.content().decode()}
        if location.transacts:
            for name, content in puts.items():
                location.put(name, content.encode())
        else:
            Note(token, [], puts).carry_out(location)


def seal(location: Location, ledger: str) -> None:
    """Note the contents of a finished ledger in the manifest."""
    with (
        telling(location),
        locked(location) as token,
        snapshot(location, f"{ledger} is finished") as location,
    ):
        manifest = Manifest.read(location).sealing(location, ledger)
        require_held(location, token)
        location.put(MANIFEST, manifest.content())


def _delete_arrays(location: Location, place: str) -> None:
    for name in list(_arrays(location, place)):
        location.delete_below(joined(place, name))


def _arrays(location: Location, place: str) -> Iterator[str]:
    for name in location.names(place):
        if name not in (METADATA, JOURNAL) and is_array(location, joined(place, name)):
            yield name
