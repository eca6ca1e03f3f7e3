"""Find images whose bytes are those of others: noise never repeats."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from batteryxr.io.door.files import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence
    from pathlib import Path

_PIECE = 4096
#: Most bytes that are read to compare whole images.
_BUDGET = 1 << 26


class Stored(NamedTuple):
    """Hold where the bytes of an image are, and what is known of them."""

    path: Path
    at: int
    size: int
    digest: str = ""


def copies(images: Sequence[Stored]) -> list[tuple[int, int]]:
    """Return pairs of numbers: an image, and a later one that has the same bytes.

    Images of one size are compared by a piece in their middle, and those that are
    alike there whole, up to 64 MB of them.
    """
    same = _alike(range(len(images)), lambda k: (images[k].size, images[k].digest))
    same = _apart(same, lambda k: _digest(images[k], whole=False))
    left, affordable = _BUDGET, []
    for group in same:
        known = group[: left // max(images[group[0]].size, 1)]
        left -= len(known) * images[group[0]].size
        affordable.append(known)
    same = _apart(affordable, lambda k: _digest(images[k], whole=True))
    return [(group[0], k) for group in same for k in group[1:]]


def _alike(numbers: Iterable[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    """Return the numbers of one key, where there are several."""
    groups = defaultdict(list)
    for k in numbers:
        groups[key(k)].append(k)
    return [group for group in groups.values() if len(group) > 1]


def _apart(
    groups: Iterable[list[int]], key: Callable[[int], Hashable]
) -> list[list[int]]:
    return [part for group in groups for part in _alike(group, key)]


def _digest(image: Stored, *, whole: bool) -> bytes:
    size = image.size if whole else min(_PIECE, image.size)
    with opened(image.path, at_once=True) as file:
        file.seek(image.at + (image.size - size) // 2)
        return hashlib.blake2b(file.read(size), digest_size=16).digest()
