"""Copies of metadata that other programs keep in a group: "consolidated" metadata.

zarr and xarray look only there for what is below the group, so that copies which are
older than a change would show what was there before it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from batteryxr.core.store.location import METADATA
from batteryxr.core.store.manifest import joined
from batteryxr.core.store.ownership import node_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batteryxr.core.store.location import Location

_COPIES = "consolidated_metadata"


def without_copies(content: bytes) -> bytes:
    """Return the metadata of a group without copies of those below it."""
    node = node_in(content) or {}
    if _COPIES not in node:
        return content
    return json.dumps(
        {k: v for k, v in node.items() if k != _COPIES}, indent=2
    ).encode()


def freed_of_copies(location: Location, groups: Iterable[str]) -> dict[str, str]:
    """Return objects to write where these groups, or groups above them, hold copies."""
    lines = [group.split("/") if group else [] for group in groups]
    places = {"/".join(line[:end]) for line in lines for end in range(len(line) + 1)}
    found = {}
    for key in sorted(joined(place, METADATA) for place in places):
        content = location.get(key) or b""
        if (bare := without_copies(content)) != content:
            found[key] = bare.decode()
    return found


def old_copies(
    place: str, content: bytes, present: Callable[[str], bytes | None]
) -> list[str]:
    """Return the names of nodes below a group whose copies are not what they are now.

    Parameters
    ----------
    place, content
        The group, and its metadata.
    present
        A function that returns metadata by key.
    """
    copies = ((node_in(content) or {}).get(_COPIES) or {}).get("metadata") or {}
    odd = []
    for name, told in copies.items():
        node = node_in(present(joined(place, name, METADATA))) or {}
        bare = [{k: v for k, v in n.items() if k != _COPIES} for n in (node, told)]
        if bare[0] != bare[1]:
            odd.append(name)
    return odd
