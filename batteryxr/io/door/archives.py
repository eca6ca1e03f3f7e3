"""Open packed tables safely: zip archives (workbooks, cycler files) and parquet."""

from __future__ import annotations

import contextlib
import os
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from batteryxr.core.errors import FileFormatError
from batteryxr.core.optional import require
from batteryxr.io.door.files import head, named, opened, refuse_other
from batteryxr.io.door.limits import refuse_bomb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_MEMBERS = 4096
_DIRECTORY = _MEMBERS * 256  # most bytes of the list of members
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_PIECE = 1 << 16
#: A member packed into fewer bytes than this cannot fill the memory.
_HARMLESS = 1 << 15
#: Larger XML text in tables is not packed more tightly than this ratio.
_XML, _XML_RATIO = 4_000_000, 60
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


def check_zip(path: Path, *takes: str) -> zipfile.ZipFile:
    """Return an open archive whose members unpack to the sizes they state.

    Parameters
    ----------
    path
        The file.
    takes
        Kinds beside ``"zip"`` that the reader takes.

    Raises
    ------
    FileFormatError
        If it is no archive, encrypted, or made to fill the memory: too many members,
        members that overlap, that unpack to too much, or to more than they state.
    """
    with opened(path) as file:
        refuse_other(path, file.read(4096), "zip", *takes)
        _refuse_long_directory(path, file)
    with named(path, "is not a whole zip archive"):
        archive = zipfile.ZipFile(path)
    try:
        _check_members(path, archive)
    except BaseException:
        archive.close()
        raise
    return archive


def _refuse_long_directory(path: Path, file: BinaryIO) -> None:
    """Raise on a long list of members, before Python reads it."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 65_600))
    tail = file.read()
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) - place < 22:
        raise FileFormatError(
            path, "is not a whole zip archive: its end is missing. Copy it again."
        )
    (listed,) = struct.unpack_from("<I", tail, place + 12)
    if b"PK\x06\x07" in tail[max(0, place - 20) : place]:
        wide = tail.rfind(b"PK\x06\x06", 0, place)
        if wide >= 0 and place - wide >= 48:
            (listed,) = struct.unpack_from("<Q", tail, wide + 40)
    if listed > _DIRECTORY:
        raise FileFormatError(
            path, f"lists more than {_MEMBERS} members, as no measurement does."
        )


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    members = sorted(archive.infolist(), key=lambda m: m.header_offset)
    if len(members) > _MEMBERS:
        raise FileFormatError(path, f"has {len(members)} members: it is a trap.")
    ends = [m.header_offset for m in members[1:]] + [archive.start_dir]
    for member, end in zip(members, ends, strict=True):
        name = member.filename
        if member.flag_bits & 1:
            raise FileFormatError(
                path, f"{name!r} in it is encrypted: save it without a password."
            )
        if member.compress_type not in (_STORED, _DEFLATED):
            raise FileFormatError(
                path, f"{name!r} in it is packed by method {member.compress_type}."
            )
        if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
            raise FileFormatError(path, f"{name!r} in it lies outside the archive.")
        if name.endswith((".xml", ".rels")) and member.file_size > max(
            _XML, _XML_RATIO * member.compress_size
        ):
            raise FileFormatError(
                path,
                f"{name!r} in it unpacks from {member.compress_size:,} to "
                f"{member.file_size:,} bytes, as no table does.",
            )
        if member.header_offset + 30 + member.compress_size > end:
            raise FileFormatError(path, f"{name!r} in it overlaps with another member.")
    refuse_bomb(
        path,
        sum(m.compress_size for m in members),
        sum(m.file_size for m in members),
    )
    with opened(path) as file:
        for member in members:
            _check_size(path, file, member)


def _check_size(path: Path, file: BinaryIO, member: zipfile.ZipInfo) -> None:
    """Raise if a member unpacks to another size than it states."""
    if member.compress_type == _STORED:
        true = member.compress_size == member.file_size
    elif member.compress_size <= _HARMLESS:
        true = True
    else:
        file.seek(member.header_offset + 26)
        file.seek(sum(struct.unpack("<HH", file.read(4))), 1)
        unpacker, size, left = zlib.decompressobj(-15), 0, member.compress_size
        with named(path, f"{member.filename!r} in it is damaged"):
            while left > 0 and not unpacker.eof and size <= member.file_size:
                feed = file.read(min(_PIECE, left))
                left -= len(feed) or left
                size += len(unpacker.decompress(feed))
        true = size == member.file_size
    if not true:
        raise FileFormatError(
            path,
            f"{member.filename!r} in it does not unpack to the "
            f"{member.file_size:,} bytes that it says. It is damaged; copy it again.",
        )


def parquet_labels(path: Path) -> list[str]:
    """Return the column labels of a parquet table without reading its numbers.

    Raises
    ------
    FileFormatError
        If it is no parquet table, or damaged.
    """
    with _parquet(path) as file:
        labels: list[str] = file.schema_arrow.names
        return labels


def parquet_columns(path: Path, wanted: Sequence[str]) -> dict[str, Any]:
    """Return columns of a parquet table as Arrow arrays, text dictionary-encoded.

    Parameters
    ----------
    path
        The file.
    wanted
        Labels of the columns to read; no others are read.

    Raises
    ------
    FileFormatError
        If it is damaged, a column unpacks to more than it states or than any
        measurement, or a column holds neither numbers nor words.
    """
    wanted = list(dict.fromkeys(wanted))
    with _parquet(path) as file:
        schema, about = file.schema_arrow, file.metadata
        kinds = {label: schema.field(label).type for label in wanted}
        for label, kind in kinds.items():
            if kind.num_fields or str(kind) == "bool":
                raise FileFormatError(
                    path, f"column {label!r} does not hold numbers, but {kind}."
                )
        unpacked = max(8 * about.num_rows * len(wanted), _unpacked(path, about, wanted))
        with opened(path) as raw:
            size = os.fstat(raw.fileno()).st_size
    refuse_bomb(path, size, unpacked, "the table")
    words = [n for n, kind in kinds.items() if str(kind).endswith(("string", "binary"))]
    _refuse_prefixed(path, about, words)
    with _parquet(path, read_dictionary=words) as file:
        table = file.read(columns=wanted)
    return {label: table.column(label) for label in wanted}


def _refuse_prefixed(path: Path, about: Any, words: Sequence[str]) -> None:
    """Raise if words are stored as what they add to the word before.

    A few bytes may then stand for any number of long words.
    """
    names = [about.schema.column(k).path for k in range(about.num_columns)]
    places = [k for k, name in enumerate(names) if name in words]
    for number in range(about.num_row_groups if places else 0):
        for k in places:
            packed = about.row_group(number).column(k).encodings
            if how := [e for e in packed if e.startswith("DELTA")]:
                raise FileFormatError(
                    path,
                    f"column {names[k]!r} holds words as {how[0]}, which is not read. "
                    "Write it with a dictionary, or without an encoding.",
                )


def _unpacked(path: Path, about: Any, wanted: Sequence[str]) -> int:
    """Return to how many bytes columns unpack by what a parquet table says of them.

    Raises
    ------
    FileFormatError
        If it says different numbers of rows in different places.
    """
    groups = [about.row_group(k) for k in range(about.num_row_groups)]
    names = [about.schema.column(k).path for k in range(about.num_columns)]
    places = [k for k, name in enumerate(names) if name in wanted]
    parts = [(g.num_rows, g.column(k)) for g in groups for k in places]
    pages = _pages_of(path, (column for _, column in parts))
    told = {column.num_values - rows for rows, column in parts}
    told |= {page.values - rows for (rows, _), page in zip(parts, pages, strict=True)}
    if sum(group.num_rows for group in groups) != about.num_rows or told - {0}:
        raise FileFormatError(
            path,
            "tells of different numbers of rows in different places. It is damaged; "
            "copy or export it again.",
        )
    return sum(page.size for page in pages)


@contextlib.contextmanager
def _parquet(path: Path, **options: Any) -> Iterator[Any]:
    parquet = require(
        "pyarrow.parquet", extra="io", package="pyarrow", purpose="reading parquet"
    )
    refuse_other(path, head(path), "parquet")
    with (
        named(path, "is not a whole parquet file"),
        parquet.ParquetFile(path, **options) as file,
    ):
        yield file


class _Pages(NamedTuple):
    """Hold what the pages of a column tell: how many values, and bytes unpacked."""

    values: int
    size: int


def _pages_of(path: Path, parts: Iterable[Any]) -> list[_Pages]:
    """Return what the pages of column chunks tell, whatever the file's end says."""
    with opened(path) as file, named(path, "its pages are damaged"):
        return [_pages(path, file, part) for part in parts]


def _pages(path: Path, file: BinaryIO, part: Any) -> _Pages:
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
    return _Pages(values, size)


def _header(file: BinaryIO, place: int) -> tuple[dict[int, Any], int]:
    """Return the fields of the header at a place, and its length."""
    file.seek(place)
    header = _Thrift(file.read(_SHORT))
    try:
        return header.struct(), header.place
    except IndexError:  # longer than was read
        header = _Thrift(header.raw + file.read(_LONG))
        return header.struct(), header.place


class _Thrift:
    """Hold bytes of a header, read from front to back."""

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
