"""Open zip archives safely: workbooks, cycler files, arrays of NumPy."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.files import named, opened, refuse_other
from batteryxr.io.door.images import npy_shape
from batteryxr.io.door.limits import refuse_bomb

if TYPE_CHECKING:
    from pathlib import Path

_MEMBERS = 4096
_DIRECTORY = _MEMBERS * 256  # most bytes of the list of members
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_PIECE = 1 << 16
#: A member packed into fewer bytes than this cannot fill the memory.
_HARMLESS = 1 << 15
#: Larger XML text in tables is not packed more tightly than this ratio.
_XML, _XML_RATIO = 4_000_000, 60
#: Most bytes of one XML tag.
_TAG = 1 << 18
#: Most tags within tags, and most tags: a few, or so many for each packed byte.
_NESTED, _TAGS, _TAGS_RATIO = 1000, 150_000, 3


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


def check_workbook(path: Path) -> None:
    """Raise if a zip archive is no workbook, or defines entities of its own.

    Raises
    ------
    FileFormatError
        If it is no workbook, or `check_zip` refuses it; the message says why.
    """
    with check_zip(path) as archive, named(path, "is not a whole workbook"):
        names = archive.namelist()
        if "[Content_Types].xml" not in names:
            raise FileFormatError(
                path, f"is a zip archive of {names[:4]}, and no workbook."
            )
        for name in names:
            with archive.open(name) as member:
                start = member.read(_PIECE)
                if b"<!DOCTYPE" in start:
                    raise FileFormatError(
                        path, f"{name!r} in it defines entities, as no workbook does."
                    )
                if name.endswith(".xml"):
                    _refuse_odd_tags(path, archive.getinfo(name), start, member)


def _refuse_odd_tags(
    path: Path, about: zipfile.ZipInfo, start: bytes, member: Any
) -> None:
    """Raise on tags over which an XML parser takes long: long, deep, or too many."""
    since = tags = depth = 0
    name, piece = about.filename, start
    while piece:
        end = piece.rfind(b">")
        since = since + len(piece) if end < 0 else len(piece) - end
        odd = f"has a tag or a word of more than {_TAG:,} bytes" if since > _TAG else ""
        opened = piece.count(b"<")
        tags += opened
        depth += opened - 2 * piece.count(b"</") - piece.count(b"/>")
        if depth > _NESTED:
            odd = f"nests tags more than {_NESTED:,} deep"
        if tags > max(_TAGS, _TAGS_RATIO * about.compress_size):
            odd = f"packs more than {tags:,} tags into {about.compress_size:,} bytes"
        if odd:
            raise FileFormatError(path, f"{name!r} in it {odd}, as no table does.")
        kept = piece[-1:] if piece.endswith((b"<", b"/")) else b""
        depth -= kept == b"<"
        tags -= kept == b"<"
        more = member.read(_PIECE)
        piece = kept + more if more else b""


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


def arrays_in(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and type of each array in an archive, by name.

    Raises
    ------
    FileFormatError
        If the archive is damaged, or an array holds more or less than it says.
    """
    with check_zip(path, "npz") as archive, named(path, "no NumPy archive"):
        return {
            part.filename.removesuffix(".npy"): _array_in(path, archive, part)
            for part in archive.infolist()
            if part.filename.endswith(".npy")
        }


def _array_in(
    path: Path, archive: zipfile.ZipFile, part: zipfile.ZipInfo
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an array in an archive after checking its size."""
    with archive.open(part) as file:
        shape, dtype = npy_shape(path, file)
        needed = math.prod(shape) * dtype.itemsize
        held = part.file_size - file.tell()
    if held != needed:
        raise FileFormatError(
            path,
            f"{part.filename!r} in it holds {held:,} of {needed:,} bytes of {shape}.",
        )
    return shape, dtype


def unpacked(path: Path, name: str) -> np.ndarray:
    """Return an array of an archive.

    Raises
    ------
    FileFormatError
        If the archive is damaged.
    """
    with check_zip(path, "npz") as archive, named(path, "no NumPy archive"):
        file = archive.open(f"{name}.npy")
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
