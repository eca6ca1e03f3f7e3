"""Check text heaps of HDF5 files: the library would read damaged ones for ever."""

from __future__ import annotations

import contextlib
import re
import struct
from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.files import opened, regular

if TYPE_CHECKING:
    from pathlib import Path

_SIGN = b"GCOL\x01\0\0\0"
#: Smaller files are searched whole; of larger ones, so many bytes at both ends first.
_SMALL = 1 << 20
#: Most bytes outside the stored arrays that are searched.
_MOST = 1 << 26
#: Bytes of a dataset's header that give its layout, and the mark of a virtual dataset.
_HEADER, _VIRTUAL = 1024, re.compile(rb"[\x04\x05]\x03")
_HEAD, _OBJECT = 16, struct.Struct("<H6xQ")


def check_ends(path: Path) -> None:
    """Raise if a heap at either end of a file, or in a small one, is endless.

    Call it before the library opens the file.

    Raises
    ------
    FileFormatError
        If a heap is damaged; the message names its byte.
    """
    with opened(path) as file:
        size = file.seek(0, 2)
        if size <= 2 * _SMALL:
            _look(path, file, [(0, size)])
        else:
            _look(path, file, [(0, _SMALL), (size - _SMALL, size)])


def is_large(path: Path) -> bool:
    """Tell whether `check_ends` searches only the ends of a file."""
    return regular(path) > 2 * _SMALL


def check_between(path: Path, arrays: list[tuple[int, int]]) -> None:
    """Raise if a heap between the stored arrays of a file is endless.

    Parameters
    ----------
    path
        The file.
    arrays
        First byte and number of bytes of each array that is stored in the file.

    Raises
    ------
    FileFormatError
        If a heap is damaged; the message names its byte.
    """
    with opened(path) as file:
        size = file.seek(0, 2)
        pieces, place = [], _SMALL
        for start, length in sorted([*arrays, (size - _SMALL, _SMALL)]):
            if start > place:
                pieces.append((place, min(start, size)))
            place = max(place, start + length)
        _look(path, file, pieces)


def stored_in(
    path: Path, file: Any, names: list[tuple[bytes, int]]
) -> list[tuple[int, int]]:
    """Return first byte and number of bytes of each stored piece of datasets.

    Virtual datasets are skipped, since the library would read the heaps to describe
    them.

    Parameters
    ----------
    path, file
        The file, as h5py opened it.
    names
        Names of datasets or groups, and the byte where each begins in the file.
    """
    import h5py

    root, base = file["/"].id, file.userblock_size
    found: list[tuple[int, int]] = []
    seen: set[int] = set()
    with opened(path) as raw:
        for name, place in names:
            if place in seen:
                continue
            seen.add(place)
            raw.seek(base + place)
            if _VIRTUAL.search(raw.read(_HEADER)) is None:
                one = h5py.h5o.open(root, name)
                if hasattr(one, "get_offset"):
                    _stored(one, found)
    return found


def _stored(dataset: Any, found: list[tuple[int, int]]) -> None:
    """Add first byte and number of bytes of each piece of a dataset."""
    with contextlib.suppress(KeyError, OSError, RuntimeError, ValueError):
        place = dataset.get_offset()
        if place is not None:
            found.append((place, dataset.get_storage_size()))
        else:  # in chunks; an unwritten dataset raises
            dataset.chunk_iter(lambda c: found.append((c.byte_offset, c.size)))


def _look(path: Path, file: Any, pieces: list[tuple[int, int]]) -> None:
    """Search pieces of a file for damaged heaps, from first bytes to last."""
    left = _MOST
    for start, end in pieces:
        file.seek(start)
        raw = file.read(min(end - start, left))
        left -= len(raw)
        # Search for the letters alone: zeros are common in counts, which is slow.
        place, steps = raw.find(_SIGN[:4]), len(raw) // _HEAD
        while place >= 0:
            if not raw.startswith(_SIGN, place):
                place = raw.find(_SIGN[:4], place + 1)
                continue
            length = int.from_bytes(raw[place + 8 : place + _HEAD], "little")
            last = min(place + length, len(raw))
            steps -= _check_heap(path, raw, (place, last), start)
            if steps < 0:
                raise FileFormatError(path, "has heaps of text within each other.")
            place = raw.find(_SIGN[:4], place + 1)


def _check_heap(path: Path, raw: bytes, span: tuple[int, int], start: int) -> int:
    """Return the number of objects in a heap; raise if it is endless."""
    place, last = span[0] + _HEAD, span[1]
    count = 0
    while place + _OBJECT.size <= last:
        number, length = _OBJECT.unpack_from(raw, place)
        step = length if number == 0 else _HEAD + -(-length // 8) * 8
        if step % 2**64 < _HEAD:
            raise FileFormatError(
                path,
                f"a heap of text at byte {start + span[0]:,} is damaged: it would be "
                "read for ever. Copy it again.",
            )
        place += step
        count += 1
    return count
