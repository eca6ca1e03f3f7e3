"""Stores in zarr: opened by shard, checked when read, changed in one step."""

from __future__ import annotations

from batteryxr.core.store.change import Revision, annotate, changing, seal
from batteryxr.core.store.encoding import STACK, encoding, storable, uniform
from batteryxr.core.store.leftovers import stranger_below
from batteryxr.core.store.location import (
    JOURNAL,
    METADATA,
    UNFINISHED,
    WORK,
    Location,
    telling,
)
from batteryxr.core.store.lock import locked
from batteryxr.core.store.manifest import digest_of, place_of, require_manifest
from batteryxr.core.store.note import settle
from batteryxr.core.store.opening import groups, open_dataset, open_place, open_store
from batteryxr.core.store.ownership import (
    node_of,
    require_ours,
    require_room,
    require_store,
)
from batteryxr.core.store.pieces import WHOLE, mark_whole, problem_of_piece
from batteryxr.core.store.places import StoreLike, location_of
from batteryxr.core.store.saving import holds_data, save
from batteryxr.core.store.snapshots import require_repository, snapshot
from batteryxr.core.store.sums import sums_of
from batteryxr.core.store.verification import Damage, verify

__all__ = [
    "JOURNAL",
    "METADATA",
    "STACK",
    "UNFINISHED",
    "WHOLE",
    "WORK",
    "Damage",
    "Location",
    "Revision",
    "StoreLike",
    "annotate",
    "changing",
    "digest_of",
    "encoding",
    "groups",
    "holds_data",
    "location_of",
    "locked",
    "mark_whole",
    "node_of",
    "open_dataset",
    "open_place",
    "open_store",
    "place_of",
    "problem_of_piece",
    "require_manifest",
    "require_ours",
    "require_repository",
    "require_room",
    "require_store",
    "save",
    "seal",
    "settle",
    "snapshot",
    "storable",
    "stranger_below",
    "sums_of",
    "telling",
    "uniform",
    "verify",
]
