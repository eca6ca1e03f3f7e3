"""The mark that a piece of a ledger is whole, and digests of what it is made of."""

from __future__ import annotations

import json
from typing import Any

from batteryxr.core.store.manifest import digest_of

#: Attribute that is written last: how often the key was written, digests by array.
WHOLE = "whole"


def mark_whole(
    attrs: dict[str, Any], turn: int, metadata: dict[str, str]
) -> dict[str, Any]:
    """Return the attributes of a piece with the mark that it is whole."""
    said = {"turn": turn, "arrays": metadata}
    return attrs | {WHOLE: said | {"digest": _digest(attrs, said)}}


def problem_of_piece(node: dict[str, Any]) -> str:
    """Return what is wrong with a group's attributes, if they carry the mark."""
    attrs = dict(node.get("attributes") or {})
    said = attrs.pop(WHOLE, None)
    if said is None:
        return ""
    told = dict(said)
    if told.pop("digest", "") != _digest(attrs, told):
        return "its metadata is not what its digest says"
    return ""


def _digest(attrs: dict[str, Any], said: dict[str, Any]) -> str:
    return digest_of(json.dumps([attrs, said], sort_keys=True).encode())
