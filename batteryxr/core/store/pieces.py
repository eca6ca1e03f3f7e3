"""The mark that a piece of a ledger is complete, and digests of its contents."""

from __future__ import annotations

import json
from typing import Any

from batteryxr.core.store.location import METADATA
from batteryxr.core.store.manifest import PLAIN_GROUP, digest_of

#: Attribute that is written last: number of writes of the key, digests of metadata and
#: checksums of chunks by array.
WHOLE = "whole"


def mark_whole(
    attrs: dict[str, Any], turn: int, metadata: dict[str, str], sums: dict[str, str]
) -> dict[str, Any]:
    """Return the attributes of a piece with the mark that it is complete."""
    said = {"turn": turn, "arrays": metadata, "sums": sums}
    return attrs | {WHOLE: said | {"digest": _digest(attrs, said)}}


def problem_of_piece(node: dict[str, Any]) -> str:
    """Return the problem of a group's attributes, if they carry the mark."""
    attrs = dict(node.get("attributes") or {})
    said = attrs.pop(WHOLE, None)
    if said is None:
        return ""
    told = dict(said)
    if told.pop("digest", "") != _digest(attrs, told):
        return "its metadata is not what its digest says"
    return ""


def problem_of_node(content: bytes) -> str:
    """Return the problem of metadata that are not in the manifest."""
    try:
        node = json.loads(content)
        fine = node["zarr_format"] == 3 and node["node_type"] in ("group", "array")
    except (TypeError, ValueError, KeyError, RecursionError):
        return "its metadata is cut off or not readable"
    if not fine:
        return "its metadata is damaged"
    attrs = node.get("attributes", {})
    if not isinstance(attrs, dict):
        return "its metadata is damaged"
    foreign = "consolidated_metadata" in node or (attrs and WHOLE not in attrs)
    if node["node_type"] == "array" or foreign:
        return ""  # somebody else's
    written = [json.dumps(node, indent=indent).encode() for indent in (None, 2)]
    if content not in written or node.keys() != {
        *("attributes", "zarr_format", "node_type")
    }:
        return "its metadata is damaged"
    return problem_of_piece(node)


def arrays_of_piece(key: str, content: bytes) -> dict[str, str]:
    """Return the digests of the metadata of a piece's arrays, by key."""
    try:
        digests = json.loads(content)["attributes"][WHOLE]["arrays"]
        above = key.removesuffix(METADATA)
        return {f"{above}{name}/{METADATA}": text for name, text in digests.items()}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return {}


def sums_of_piece(node: dict[str, Any]) -> dict[str, str]:
    """Return the checksums of the chunks of a piece's arrays, by name."""
    whole = (node.get("attributes") or {}).get(WHOLE)
    sums = whole.get("sums") if isinstance(whole, dict) else None
    return sums if isinstance(sums, dict) else {}


def is_begun(content: bytes) -> bool:
    """Return whether a piece was begun, and never completed."""
    return content == PLAIN_GROUP


def _digest(attrs: dict[str, Any], said: dict[str, Any]) -> str:
    return digest_of(json.dumps([attrs, said], sort_keys=True).encode())
