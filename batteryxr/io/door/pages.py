"""Read the headers of parquet pages: to how much a column unpacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.files import named, opened

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: Bytes of a usual header, and of one whose statistics hold long words.
_SHORT, _LONG = 256, 1 << 16
#: Fields of a page's header: kind, sizes, and the parts for each kind of page.
_KIND, _SIZE, _PACKED, _PARTS = 1, 2, 3, (5, 8)
_DATA_PAGES = (0, 3)
#: Deepest nesting of a header, and types of its fields (Thrift's compact protocol).
_DEEPEST = 8
_BOOLEANS, _BYTE, _INTEGERS, _DOUBLE, _TEXT, _LISTS, _STRUCT = (
    (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 12
)  # fmt: skip


class Column(NamedTuple):
    """What the pages of a column tell: how many values, and bytes when unpacked."""

    values: int
    size: int


def columns_of(path: Path, parts: Iterable[Any]) -> list[Column]:
    """Return what the pages of column chunks tell.

    Parameters
    ----------
    path
        The file.
    parts
        What the end of the file says about each chunk.

    Raises
    ------
    FileFormatError
        If a header is damaged, or the pages end elsewhere than the file says.
    """
    with opened(path) as file, named(path, "its pages are damaged"):
        return [_column(path, file, part) for part in parts]


def _column(path: Path, file: BinaryIO, part: Any) -> Column:
    place = part.data_page_offset
    if part.has_dictionary_page and part.dictionary_page_offset:
        place = min(place, part.dictionary_page_offset)
    end = place + part.total_compressed_size
    values = size = 0
    while place < end:
        told, length = _header(file, place)
        if min(told[_PACKED], told[_SIZE]) < 0:
            raise ValueError("a page has a negative size")
        if told[_KIND] in _DATA_PAGES:
            values += next(told[k][1] for k in _PARTS if k in told)
        size += told[_SIZE]
        place += length + told[_PACKED]
    if place != end:
        raise FileFormatError(
            path,
            f"the pages of {part.path_in_schema!r} end at byte {place:,}, not "
            f"{end:,} as it says. It is damaged; copy or export it again.",
        )
    return Column(values, size)


def _header(file: BinaryIO, place: int) -> tuple[dict[int, Any], int]:
    """Return the fields of the header at a place, and its length."""
    file.seek(place)
    header = _Header(file.read(_SHORT))
    try:
        return header.struct(), header.place
    except IndexError:  # longer than was read
        header = _Header(header.raw + file.read(_LONG))
        return header.struct(), header.place


class _Header:
    """Bytes of a header, read from front to back."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.place = raw, 0

    def byte(self) -> int:
        self.place += 1
        return self.raw[self.place - 1]

    def number(self) -> int:
        """Return an unsigned number of seven bits a byte."""
        found = shift = 0
        while True:
            one = self.byte()
            found |= (one & 127) << shift
            shift += 7
            if one < 128:
                return found
            if shift > 63:
                raise ValueError("a number has no end")

    def integer(self) -> int:
        found = self.number()
        return (found >> 1) ^ -(found & 1)

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Return the numbers and structs of a struct by their field."""
        told: dict[int, Any] = {}
        field = 0
        while kind := self.byte():
            field = field + (kind >> 4) if kind >> 4 else self.integer()
            told[field] = self.value(kind & 15, depth)
        return told

    def value(self, kind: int, depth: int) -> Any:
        """Return a number or a struct; step over anything else."""
        if depth > _DEEPEST:
            raise ValueError("its header is nested too deep")
        if kind in _INTEGERS:
            return self.integer()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in _LISTS:
            start = self.byte()
            n = start >> 4 if start >> 4 < 15 else self.number()
            for _ in range(n):
                self.value(start & 15, depth + 1)
        elif kind not in _BOOLEANS:
            length = self.number() if kind == _TEXT else {_BYTE: 1, _DOUBLE: 8}[kind]
            self.place += length
        return None
