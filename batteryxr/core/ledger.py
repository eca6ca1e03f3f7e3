"""Ledgers: finished pieces of long work, kept in a store so that it can be resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.core.errors import StoreError
from batteryxr.core.store import (
    JOURNAL,
    METADATA,
    WHOLE,
    WORK,
    Location,
    StoreLike,
    digest_of,
    location_of,
    locked,
    mark_whole,
    problem_of_piece,
    require_manifest,
    require_repository,
    require_room,
    require_store,
    snapshot,
    stranger_below,
    sums_of,
    telling,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Key under which a ledger notes the origin of its pieces.
_CLAIM = "claim"
#: Objects that the store keeps in the journal for itself.
_OWN = ("manifest", "v-", METADATA, *WORK)
#: Attempts to read a piece that is being rewritten, before it counts as missing.
_TRIES = 5
#: Seconds to wait while another process writes a piece.
_PATIENCE = 60.0


class Piece(NamedTuple):
    """Hold the content of a piece: arrays by name, and attributes."""

    arrays: dict[str, np.ndarray]
    attrs: dict[str, Any]


@dataclass(frozen=True)
class Ledger:
    """Keep pieces of a long calculation in a zarr store, each whole once it is done.

    If the process is killed at any moment, the store holds each piece as it was put
    last. A piece lies in one of two slots; the mark that it is complete is written
    last, and the next piece goes into the slot of the older one. Putting a piece costs
    the same however many there are. Others may read while one writes; a key has one
    writer at a time.

    Parameters
    ----------
    path
        The zarr store: a path, a URL or a zarr store.
    group
        Group of the pieces inside it.

    Examples
    --------
    >>> ledger = Ledger("out.zarr", "starts")
    >>> ledger.claim({"seed": 0, "data": digest(counts)})
    >>> for key in ledger.missing(["0", "1"]):
    ...     ledger.put(key, {"object": run(key)}, residual=0.02)
    >>> ledger.get("0").arrays["object"]
    """

    path: StoreLike
    group: str

    def claim(self, mark: Mapping[str, Any]) -> None:
        """Note the origin of the pieces, or check that it is the same.

        Parameters
        ----------
        mark
            JSON values by name: arguments, digests of data.

        Raises
        ------
        StoreError
            If the existing pieces have another origin; the message names the
            difference. If something lies there that is not a store, or no group.
        """
        wanted = json.loads(json.dumps(mark))
        if (stored := self.mark()) is None:
            require_store(self.location)
            require_room(self.location, self._shown, [])
            with self.held():  # others may begin the same
                if (stored := self.mark()) is None:
                    self._begin(stored := wanted)
        if stored != wanted:
            raise StoreError(
                f"{self} was made from other data or with other arguments "
                f"({_difference(stored, wanted)}). {_CHOOSE}"
            )

    def _begin(self, mark: dict[str, Any]) -> None:
        """Note the origin of pieces that are still to come; the ledger is held."""
        if self._holds_others():
            raise StoreError(f"{self} holds pieces of unknown origin. {_CHOOSE}")
        self.put(_CLAIM, {}, mark=mark)
        with snapshot(self.location, "a manifest") as location:
            require_manifest(location)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep others from writing pieces; wait until they have written theirs."""
        location = self.location
        with telling(location), locked(location, self.group, patience=_PATIENCE):
            yield

    def mark(self) -> dict[str, Any] | None:
        """Return the mark that the ledger was claimed with; None if it never was."""
        claim = self.get(_CLAIM)
        return None if claim is None else claim.attrs["mark"]

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return the keys whose pieces are missing."""
        return [key for key in keys if not self.has(key)]

    def has(self, key: str) -> bool:
        """Return whether a complete piece exists."""
        return self._newest(key) is not None

    def put(
        self,
        key: str,
        arrays: Mapping[str, np.ndarray] | Iterable[tuple[str, np.ndarray]],
        **attrs: Any,
    ) -> None:
        """Store a piece; the former piece stays until the new one is complete.

        Parameters
        ----------
        key
            Name of the piece; slashes make folders.
        arrays
            Arrays by name, or pairs that are written in turn, each before the next one
            is made.
        **attrs
            JSON values stored with the arrays.
        """
        import zarr

        location = self.location
        newest = self._newest(key)
        slot, turn = (0, 1) if newest is None else (1 - newest.slot, newest.turn + 1)
        name = self._name(key, slot)
        require_repository(location)
        with telling(location), snapshot(location, f"{name}") as location:
            self._clear(location, name)
            with _nothing_half(location, name) as store:
                group = zarr.create_group(store, path=name)
                digests = {}
                pairs = arrays.items() if isinstance(arrays, Mapping) else arrays
                for label, values in pairs:
                    _write_array(group, label, values)
                    content = location.get(f"{name}/{label}/{METADATA}") or b""
                    digests[label] = digest_of(content)
                told = json.loads(json.dumps(attrs))
                sums = sums_of(location, name, digests)
                group.attrs.update(mark_whole(told, turn, digests, sums))

    def get(self, key: str, *names: str) -> Piece | None:
        """Return the newest complete piece, or only some arrays; None if missing.

        Safe while another process rewrites the piece.
        """
        for _ in range(_TRIES):
            newest = self._newest(key)
            if newest is None:
                return None
            try:
                piece = self._read(key, newest, names)
            except (FileNotFoundError, KeyError, ValueError) as error:
                problem = error  # or its slot was reused
                continue
            if self._newest(key) == newest:
                return piece
        if self._newest(key) == newest:
            raise StoreError(f"{self}: {key} is damaged. {problem}") from problem
        return None

    def _read(self, key: str, slot: _Slot, names: tuple[str, ...]) -> Piece:
        import zarr

        from batteryxr.core.store.reading import checked_store

        group: Any = zarr.open_group(
            checked_store(self.location), path=self._name(key, slot.slot), mode="r"
        )
        attrs = dict(group.attrs)
        whole = attrs.pop(WHOLE)
        wanted = names or whole["arrays"]
        return Piece({name: np.asarray(group[name][...]) for name in wanted}, attrs)

    def array(self, key: str, name: str) -> np.ndarray:
        """Return one array of a piece.

        Raises
        ------
        StoreError
            If the piece is missing.
        """
        piece = self.get(key, name)
        if piece is None:
            raise StoreError(f"{self}: {key} is gone. Run what wrote it again.")
        return piece.arrays[name]

    def forget(self, key: str) -> None:
        """Delete a piece, if it exists."""
        with snapshot(self.location, f"without {self.group}/{key}") as location:
            for slot in _SLOTS:
                self._clear(location, self._name(key, slot))

    def _clear(self, location: Location, name: str) -> None:
        """Delete a slot, unless somebody else put something there."""
        if odd := stranger_below(location, name):
            raise StoreError(
                f"{self} holds {odd}, which batteryxr did not write, so it is not "
                "replaced. Move it away, or choose another store or group."
            )
        location.delete_below(name)

    @property
    def location(self) -> Location:
        """Return the location of the store."""
        return location_of(self.path)

    def __str__(self) -> str:
        """Return the location of the ledger, for messages."""
        shown = self._shown
        return f"{self.path}, group {shown!r}" if shown else str(self.path)

    @property
    def _shown(self) -> str:
        """Return the group that the pieces belong to, as users know it."""
        return self.group.removesuffix(JOURNAL).strip("/")

    def _name(self, key: str, slot: int) -> str:
        return f"{self.group}/{key}.{slot}"

    def _newest(self, key: str) -> _Slot | None:
        found = [s for s in (self._slot(key, slot) for slot in _SLOTS) if s]
        return max(found, key=lambda slot: slot.turn, default=None)

    def _slot(self, key: str, slot: int) -> _Slot | None:
        """Return a slot; None if it was never begun, or its writing was interrupted.

        The metadata is read as plain text. This is called often, and the errors that
        zarr raises for missing nodes keep the arrays of its caller in memory, by
        tracebacks that refer to themselves.
        """
        content = self.location.get(f"{self._name(key, slot)}/{METADATA}")
        try:
            node = json.loads(content or b"")
            turn = node["attributes"][WHOLE]["turn"]
        except (KeyError, TypeError, ValueError, RecursionError):
            return None
        return None if problem_of_piece(node) else _Slot(slot, int(turn))

    def _holds_others(self) -> bool:
        own = (*_OWN, f"{_CLAIM}.")
        return any(not n.startswith(own) for n in self.location.names(self.group))


class _Slot(NamedTuple):
    slot: int
    turn: int


_SLOTS = (0, 1)
_CHOOSE = "Choose another store or group, or delete it."


@contextmanager
def _nothing_half(location: Location, name: str) -> Iterator[Any]:
    """Yield the store to write a piece to; delete a failed piece.

    Chunks of it that are still being written do not arrive any more.
    """
    from batteryxr.core.store.fence import Fence, FencedStore

    fence, store = Fence(), location.store
    try:
        yield store if location.transacts else FencedStore(store, fence)
    except BaseException:
        fence.close()
        with suppress(Exception):  # the first error is reported
            location.delete_below(name)
        raise


def _write_array(group: Any, name: str, values: np.ndarray) -> None:
    from zarr.codecs import Crc32cCodec, ZstdCodec

    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        compressors=(ZstdCodec(level=0), Crc32cCodec()),
        config={"write_empty_chunks": True},
    )
    if values.size:
        array[...] = values


def mark_digest(mark: Mapping[str, Any]) -> str:
    """Return a digest of the mark that a ledger is claimed with."""
    return digest_of(json.dumps(mark, sort_keys=True).encode())


def _difference(stored: dict[str, Any], wanted: dict[str, Any]) -> str:
    for key in sorted(stored.keys() | wanted.keys()):
        there, here = stored.get(key), wanted.get(key)
        if isinstance(there, dict) and isinstance(here, dict) and there != here:
            return f"{key}: {_difference(there, here)}"
        if there != here:
            return f"{key}: stored {_short(there)}, asked for {_short(here)}"
    return "unknown difference"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 200 else text[:200] + "..."
