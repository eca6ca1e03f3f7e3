"""Chunks that end with a checksum: tests of each, and lists of the expected ones."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.store.files import open_inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

#: Bytes of a chunk that are read and checked at a time.
_PIECE = 524_288
#: Bytes of a line of the processor's cache.
_LINE = 64
#: Room of chunks that were read, which the processor still holds, and its most bytes.
_SPARE: deque[np.ndarray] = deque(maxlen=2)
_SPARED = 10_000_000

#: Largest number of chunks of an array; damaged metadata may give any number.
_MOST = 10_000_000
#: Key of a chunk: the array's, "c", and the place in the grid; a scalar has none.
_CHUNK = re.compile(r"(.+)/c(/\d+)*")


def array_of(key: str) -> str:
    """Return the array of a chunk by its key; "" if the key is not that of a chunk."""
    found = _CHUNK.fullmatch(key)
    return found[1] if found else ""


def cause_of(content: Any) -> str:
    """Return what is wrong with a chunk that ends with a checksum; "" if nothing."""
    import google_crc32c

    if content is None:
        return "is lost"
    if len(content) == 0:
        return "is empty"
    return _told_off(content, google_crc32c.value(content[:-4]))


def read_chunk(
    folder: Path, key: str, known: set[str]
) -> tuple[np.ndarray | None, str]:
    """Return a chunk inside a folder, as `read_inside` does, and what is wrong with it.

    It is read and checked in pieces, which are checked while the processor still holds
    them.
    """
    import google_crc32c

    try:
        file = open_inside(folder, key, known=known)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None, cause_of(None)
    with os.fdopen(file, "rb", buffering=0) as opened:
        content = _room(os.fstat(file).st_size)
        if len(content) <= 4:
            return content, cause_of(content)
        found, end = 0, len(content) - 4
        for start in range(0, end, _PIECE):
            piece = content[start : min(start + _PIECE, end)]
            _fill(opened, piece)
            found = google_crc32c.extend(found, piece)
        _fill(opened, content[end:])
    return content, _told_off(content, found)


def _room(size: int) -> np.ndarray:
    """Return bytes to read into, which begin where a line of the cache does.

    Some processors copy to other addresses at half the speed.
    """
    try:
        room = _SPARE.pop()
    except IndexError:
        room = np.empty(0, np.uint8)
    if len(room) < size + _LINE:
        room = np.empty(size + _LINE, np.uint8)
    return room[-room.ctypes.data % _LINE :][:size]


def unpacked(content: np.ndarray) -> np.ndarray:
    """Return what blosc packed."""
    size = int.from_bytes(content[4:8].tobytes(), "little")
    from numcodecs import blosc  # its import changes the filters of warnings

    return blosc.decompress(content, dest=np.empty(size, np.uint8))


def give_back(content: np.ndarray) -> None:
    """Let the next chunk take the room of one that `read_chunk` read."""
    if content.base is not None and content.base.nbytes <= _SPARED:
        _SPARE.append(content.base)


def _fill(opened: Any, piece: np.ndarray) -> None:
    """Read as many bytes as fit; zeros where a file was cut meanwhile."""
    while len(piece):
        n = opened.readinto(piece)
        if not n:
            piece[:] = 0
            return
        piece = piece[n:]


def _told_off(content: Any, found: int) -> str:
    """Return the problem of a chunk whose content has this checksum; "" if none."""
    told = int.from_bytes(bytes(content[-4:]), "little")
    fine = len(content) > 4 and found == told
    return "" if fine else "is damaged: its checksum is off"


def checksummed(node: dict[str, Any]) -> bool:
    """Return whether each chunk of an array ends with a checksum."""
    codecs = node.get("codecs") or [{}]
    last = codecs[-1] if isinstance(codecs, list) else {}
    return isinstance(last, dict) and last.get("name") == "crc32c"


def grid_of(node: dict[str, Any]) -> tuple[int, ...]:
    """Return the number of chunks of an array along each axis."""
    sizes = node["chunk_grid"]["configuration"]["chunk_shape"]
    return tuple(
        math.ceil(n / size) for n, size in zip(node["shape"], sizes, strict=True)
    )


def problem_of_grid(shape: Sequence[int], sizes: Sequence[int]) -> str:
    """Return why chunks of these sizes are impossible; "" if they are possible."""
    if any(n < 0 for n in shape) or any(n < 1 for n in sizes):
        return f"a shape of {tuple(shape)} in chunks of {tuple(sizes)}"
    n = math.prod(-(-n // size) for n, size in zip(shape, sizes, strict=False))
    return f"{n} chunks" if n > _MOST else ""


def chunks_of(node: dict[str, Any]) -> Iterator[str]:
    """Yield the keys of all chunks of an array, relative to the array."""
    default, mark = _key_form(node)
    start = ["c"] if default else []
    for index in itertools.product(*map(range, grid_of(node))):
        yield mark.join([*start, *map(str, index)]) or "0"


def _key_form(node: dict[str, Any]) -> tuple[bool, str]:
    """Return whether keys of chunks begin with "c", and what is between numbers."""
    named = node.get("chunk_key_encoding") or {}
    default = named.get("name", "default") == "default"
    mark = (named.get("configuration") or {}).get("separator", "/" if default else ".")
    return default, mark


def place_in_grid(chunk: str) -> list[int]:
    """Return the place of a chunk in the grid, by its key in the array."""
    return [int(part) for part in re.split("[/.]", chunk) if part != "c"]


def is_chunk(node: dict[str, Any], inner: str, *, begun: bool = False) -> bool:
    """Return whether a key below an array is that of one of its chunks.

    Parameters
    ----------
    node
        Metadata of the array.
    inner
        Key, relative to the array.
    begun
        The key is that of a folder: return whether the key of a chunk begins with it.
    """
    default, mark = _key_form(node)
    parts = inner.split(mark)
    if default and parts.pop(0) != "c":
        return False
    try:
        grid = grid_of(node)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    if not grid and not default:
        return parts == ["0"] and not begun
    if begun and mark != "/":
        return False
    if not len(parts) < len(grid) if begun else len(parts) != len(grid):
        return False
    inside = zip(parts, grid, strict=False)
    return all(p.isdecimal() and str(int(p)) == p and int(p) < n for p, n in inside)
