"""The modules of which a BioLogic ``.mpr`` file consists."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batteryxr.core.errors import FileFormatError

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC = b"BIO-LOGIC MODULAR FILE\x1a"
_FIRST = 52  # bytes before the first module
_MARK = b"MODULE"
_NAME, _LENGTH, _HEADER = 6, 41, 57  # bytes into a module: name, length, payload
_PLAIN = struct.Struct("<II8s")  # length, version, day
#: Other headers are told by their length leading to the next module: its place, and
#: how long the header may be.
_PLACES, _HEADERS = (41, 45, 49), range(57, 97, 4)
_MOST = 64


@dataclass(frozen=True)
class Module:
    """One module of a file.

    Parameters
    ----------
    name
        Such as ``"VMP data"``.
    version
        Of its layout; None where the header is of a kind that is not known.
    payload
        What is in it.
    """

    name: str
    version: int | None
    payload: memoryview


def modules(raw: bytes, path: Path) -> list[Module]:
    """Return the modules of a file, each as long as it says.

    Parameters
    ----------
    raw
        The whole file.
    path
        Its name, for errors.

    Raises
    ------
    FileFormatError
        If the file was cut, or a header is damaged.
    """
    if not raw.startswith(_MAGIC) or raw[len(_MAGIC) : _FIRST].strip(b" \0"):
        raise FileFormatError(path, "its first bytes are no head of a .mpr file.")
    found: list[Module] = []
    place = _FIRST
    while place < len(raw):
        if not raw.startswith(_MARK, place) or len(found) == _MOST:
            raise FileFormatError(
                path, f"no module begins at byte {place:,}: it is damaged."
            )
        module, place = _module(raw, place, path)
        found.append(module)
    if not found:
        raise FileFormatError(path, "the file ends before its first module.")
    return found


def _module(raw: bytes, place: int, path: Path) -> tuple[Module, int]:
    name = raw[place + _NAME : place + 16].rstrip(b" \0").decode("latin-1")
    if len(raw) < place + _HEADER:
        raise FileFormatError(path, f"it is cut within the head of module {name!r}.")
    length, version, day = _PLAIN.unpack_from(raw, place + _LENGTH)
    start, end = place + _HEADER, place + _HEADER + length
    whole = memoryview(raw)
    if _ends(raw, end) and _is_day(day):
        return Module(name, version, whole[start:end]), end
    if length == 0xFFFFFFFF or end <= len(raw):
        for start, end in _guesses(raw, place):
            if _ends(raw, end):
                return Module(name, None, whole[start:end]), end
    if length == 0xFFFFFFFF or _ends(raw, end) or end < len(raw):
        raise FileFormatError(path, f"the head of module {name!r} is damaged.")
    raise FileFormatError(
        path,
        f"module {name!r} has {len(raw) - start:,} of the {length:,} bytes that it "
        "announces: the file was cut, or is being written. Copy it again.",
    )


def _ends(raw: bytes, end: int) -> bool:
    return end == len(raw) or raw.startswith(_MARK, end)


def _is_day(day: bytes) -> bool:
    """Tell whether eight letters are a date, in whatever order the computer has."""
    return sum(chr(letter).isdigit() for letter in day) >= 4 and day.isascii()


def _guesses(raw: bytes, place: int) -> list[tuple[int, int]]:
    """Return starts and ends of the payload if the header is of another kind."""
    found = []
    for offset in _PLACES:
        if place + offset + 4 > len(raw):
            continue
        (length,) = struct.unpack_from("<I", raw, place + offset)
        starts = [place + size for size in _HEADERS if size >= offset + 12]
        found += [(start, start + length) for start in starts]
    return found
