"""Check what the packed pieces of an HDF5 dataset unpack to, before they are unpacked.

The filters of HDF5 unpack a piece to whatever it holds, or to the size that it states,
not to the size that the dataset has.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.files import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SHUFFLE, _FLETCHER = 2, 3
_DEFLATE, _BZIP2, _BLOSC, _BLOSC2, _LZ4, _SHUFFLED, _ZSTD = (
    1, 307, 32001, 32026, 32004, 32008, 32015
)  # fmt: skip
#: Filters that unpack: what else is in a pipeline keeps the size.
_PACKS = {_DEFLATE, 4, 305, _BZIP2, _BLOSC, _BLOSC2, _LZ4, _SHUFFLED, 32013, _ZSTD}
#: Filters that keep the size, or add a sum.
_KEEPS = {_SHUFFLE, _FLETCHER}
#: Pipelines of filters that are undone here: zlib, alone or of shuffled bytes.
_ZLIB = ([_DEFLATE], [_SHUFFLE, _DEFLATE])
#: Filters that end the process at damaged data.
_FATAL = {32017: "SZ", 32024: "SZ3", 32028: "SPERR"}
#: Most bytes to which one byte unpacks (deflate), and what does no harm.
_RATIO, _HARMLESS = 1032, 250_000_000
#: A harmful piece that is sound is not packed more tightly than this ratio.
_TIGHT = 200
#: Bytes beyond its own size that a piece may unpack to.
_SPARE = 1 << 16
_PIECE = 1 << 20


def check_packing(path: Path, node: Any) -> None:
    """Raise if the filters of a dataset are not safe to run.

    Raises
    ------
    FileFormatError
        If the pieces are packed more than once: a few bytes may then unpack to any
        size. If a filter ends the process when a piece is damaged.
    """
    for number in _filters(node):
        if number in _FATAL:
            raise FileFormatError(
                path,
                f"{node.name} is packed by {_FATAL[number]}, which keeps numbers only "
                "roughly, and would end Python if a byte is damaged. Write it with "
                "another filter, such as gzip or bitshuffle.",
            )
    if len(packed := [n for n in _filters(node) if n in _PACKS]) > 1:
        raise FileFormatError(
            path, f"{node.name} is packed {len(packed)} times over: it is a trap."
        )


def check_pieces(node: Any, key: Any = (), *, exact: bool = False) -> None:
    """Raise if a piece that is about to be read is not of the size that it should have.

    Parameters
    ----------
    node
        The dataset.
    key
        Index of what is read: integers and slices of step 1; anything else, and all
        that is not given, stands for a whole axis.
    exact
        Whether to unpack all pieces whose size is not stated, to see it.

    Raises
    ------
    FileFormatError
        If a piece unpacks to more than its size, or to less, so that the library would
        fill it with what lies in the memory; the message names the dataset.
    """
    if not node.chunks or node.is_virtual:
        return
    filters = _filters(node)
    at = next((k for k, n in enumerate(filters) if n in _PACKS), None)
    if at is None and not _KEEPS.issuperset(filters):
        return
    piece = math.prod(node.chunks) * node.id.get_type().get_size()
    least = piece if _KEEPS.issuperset(filters[:at]) else 0
    path = Path(node.file.filename)
    with opened(path, growing=bool(node.file.swmr_mode)) as file:
        for place, size, left_out in _touched(node, key):
            file.seek(node.file.userblock_size + place)
            if at is None or left_out >> at & 1:  # stored as it is
                found: int | None = size
            else:
                _refuse_tight(path, node, piece, size)
                found = _unpacks_to(file, size, piece, filters[at], exact=exact)
            if found is None or least <= found <= piece + _SPARE:
                continue
            raise FileFormatError(
                path,
                f"a piece of {node.name} unpacks to {found:,} bytes"
                f"{' or more' * (found > piece)}, and not to {piece:,}: it is a trap, "
                "or damaged. Copy it again.",
            )


def _refuse_tight(path: Path, node: Any, piece: int, size: int) -> None:
    if piece > _HARMLESS and piece > _TIGHT * size:
        raise FileFormatError(
            path,
            f"{node.name} has pieces of {piece:,} bytes, one of them packed "
            f"into {size:,}, as no measurement is.",
        )


def _unpacks_to(
    file: BinaryIO, size: int, piece: int, method: int, *, exact: bool
) -> int | None:
    """Return to how many bytes the piece at this place unpacks; None if not known.

    A deflated piece is unpacked only if it may be harmful, or `exact`.
    """
    harmless = method == _DEFLATE and size * _RATIO <= max(_HARMLESS, piece)
    if harmless and not exact:
        return None
    if method in (_DEFLATE, _BZIP2):
        return _inflated(file, size, piece + _SPARE, method)
    find = _STATED.get(method)
    return (find(file.read(min(size, 32))) if find else 0) or None


def part_of(node: Any, key: Any = ()) -> np.ndarray:
    """Return part of a dataset after the check of its pieces, for a key as there.

    Pieces that zlib packed are unpacked once, by the check itself.
    """
    found = _unpacked(node, key)
    if found is None:
        check_pieces(node, key)
        found = np.asarray(node[key])
    return found


def _unpacked(node: Any, key: Any) -> np.ndarray | None:
    """Return part of a dataset that zlib packed; None where HDF5 is to read it."""
    stages = [number for number, _ in _stages(node)]
    if stages not in _ZLIB or not node.chunks or grows(node) or node.external:
        return None
    if node.dtype.kind not in "iuf" or node.id.get_type() != _type_of(node.dtype):
        return None
    keys = key if isinstance(key, tuple) else (key,)
    plain = all(isinstance(k, int) or getattr(k, "step", 0) in (None, 1) for k in keys)
    if len(keys) > node.ndim or not plain:
        return None
    piece, spans = math.prod(node.chunks) * node.dtype.itemsize, _spans(node, key)
    if piece > _HARMLESS or any(stop <= start for start, stop in spans):
        return None
    part, shuffled = np.empty([b - a for a, b in spans], node.dtype), len(stages) > 1
    with opened(Path(node.file.filename)) as file:
        for corner in itertools.product(*_sides(node, spans)):
            one = node.id.get_chunk_info_by_coord(corner)
            if one.byte_offset is None or one.filter_mask:
                return None
            file.seek(node.file.userblock_size + one.byte_offset)
            numbers = _numbers(file.read(one.size), piece, node, shuffled=shuffled)
            if numbers is None:
                check_pieces(node, key, exact=True)
                return None
            ours, theirs = [], []
            for (start, stop), at, c in zip(spans, corner, node.chunks, strict=True):
                first, last = max(start, at), min(stop, at + c)
                ours.append(slice(first - start, last - start))
                theirs.append(slice(first - at, last - at))
            part[tuple(ours)] = numbers[tuple(theirs)]
    return part[tuple(0 if isinstance(k, int) else slice(None) for k in keys)]


def _numbers(
    packed: bytes, piece: int, node: Any, *, shuffled: bool
) -> np.ndarray | None:
    """Return the numbers of a piece that zlib packed; None if they are not as many."""
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(packed, piece + 1)
    except zlib.error:
        return None
    if len(raw) != piece or not unpacker.eof:
        return None
    if shuffled:  # bytes of one place lie together
        apart = np.frombuffer(raw, np.uint8).reshape(node.dtype.itemsize, -1)
        return np.ascontiguousarray(apart.T).view(node.dtype).reshape(node.chunks)
    return np.frombuffer(raw, node.dtype).reshape(node.chunks)


def _type_of(dtype: np.dtype[Any]) -> Any:
    from h5py import h5t

    return h5t.py_create(dtype)


def grows(node: Any) -> bool:
    """Tell whether the file of a dataset or group is being written."""
    return bool(node.file.swmr_mode)


def rows_there(node: Any) -> int:
    """Return how many rows along the first axis of a dataset have been written.

    In a file that is still being written, pieces at the end that nobody wrote, and
    frames of nothing but the fill value in its last piece, are not there. In any other
    file all rows are.
    """
    total = int(node.shape[0])
    if not grows(node) or not node.chunks or node.is_virtual:
        return total
    ends = [0]
    node.id.chunk_iter(lambda c: ends.append(c.chunk_offset[0] + node.chunks[0]))
    last = min(total, max(ends))
    if node.ndim > 2:
        first = max(0, last - node.chunks[0])
        check_packing(Path(node.file.filename), node)
        check_pieces(node, last - 1)
        while last > first and np.all(node[last - 1] == fill_of(node)):
            last -= 1
    return last


def fill_of(node: Any) -> Any:
    """Return what a dataset reads as where nothing was written.

    Raises
    ------
    FileFormatError
        If that part of the file is damaged: HDF5 would end the process.
    """
    try:
        node.id.get_create_plist().fill_value_defined()
    except ValueError as error:
        raise FileFormatError(
            Path(node.file.filename),
            f"{node.name} is damaged where its header says what missing values read "
            "as. Copy it again.",
        ) from error
    return node.fillvalue


def _filters(node: Any) -> list[int]:
    """Return the numbers of the filters; bitshuffle that does not pack is shuffle."""
    return [
        _SHUFFLE if number == _SHUFFLED and not any(options[4:5]) else number
        for number, options in _stages(node)
    ]


def _stages(node: Any) -> list[tuple[int, Any]]:
    """Return number and options of each filter."""
    plan = node.id.get_create_plist()
    each = [plan.get_filter(k) for k in range(plan.get_nfilters())]
    return [(number, options) for number, _, options, _ in each]


def _spans(node: Any, key: Any) -> list[tuple[int, int]]:
    """Return begin and end of what a key reads along each axis."""
    spans = [(0, n) for n in node.shape]
    keys = key if isinstance(key, tuple) else (key,)
    for axis, (k, n) in enumerate(zip(keys, node.shape, strict=False)):
        if isinstance(k, slice):
            spans[axis] = k.indices(n)[:2]
        elif isinstance(k, int):
            spans[axis] = k % n, k % n + 1
    return spans


def _sides(node: Any, spans: list[tuple[int, int]]) -> list[range]:
    """Return where pieces begin that hold parts of an array, along each axis."""
    return [
        range(start // c * c, stop, c)
        for (start, stop), c in zip(spans, node.chunks, strict=True)
    ]


def _touched(node: Any, key: Any) -> Iterator[tuple[int, int, int]]:
    """Yield first byte, bytes, and left out filters of each stored piece to read."""
    ranges = _sides(node, _spans(node, key))
    if all(
        len(r) * c >= n for r, c, n in zip(ranges, node.chunks, node.shape, strict=True)
    ):
        found: list[tuple[int, int, int]] = []
        node.id.chunk_iter(
            lambda c: found.append((c.byte_offset, c.size, c.filter_mask))
        )
        yield from found
        return
    for corner in itertools.product(*ranges):
        one = node.id.get_chunk_info_by_coord(corner)
        if one.byte_offset is not None:
            yield one.byte_offset, one.size, one.filter_mask


def _inflated(file: BinaryIO, size: int, most: int, method: int) -> int:
    """Return to how many bytes a piece unpacks, counted a little beyond `most`."""
    import bz2

    unpacker: Any = (
        zlib.decompressobj() if method == _DEFLATE else bz2.BZ2Decompressor()
    )
    found, feed = 0, file.read(size)
    try:
        while found <= most and not unpacker.eof:
            piece = unpacker.decompress(feed, _PIECE)
            feed = getattr(unpacker, "unconsumed_tail", b"")
            found += len(piece)
            if not piece and not feed:
                break
    except (OSError, zlib.error):  # not packed at all, or damaged: HDF5 says so
        return found
    return found


def _of_zstd(raw: bytes) -> int:
    """Return the size that the head of a zstd frame states; 0 without one."""
    if len(raw) < 18 or not raw.startswith(b"\x28\xb5\x2f\xfd"):
        return 0
    about = raw[4]
    width = (1 if about & 32 else 0, 2, 4, 8)[about >> 6]
    place = 5 + (0 if about & 32 else 1) + (0, 1, 2, 4)[about & 3]
    size = int.from_bytes(raw[place : place + width], "little")
    return size + 256 if width == 2 else size


def _field(form: str, place: int) -> Callable[[bytes], int]:
    def find(raw: bytes) -> int:
        end = place + struct.calcsize(form)
        return int(struct.unpack_from(form, raw, place)[0]) if len(raw) >= end else 0

    return find


#: Functions that return the size that a piece states, from its first bytes.
_STATED: dict[int, Callable[[bytes], int]] = {
    _BLOSC: _field("<I", 4),
    _BLOSC2: lambda raw: 0 if raw[2:9] == b"b2frame" else _field("<I", 4)(raw),
    _LZ4: _field(">Q", 0),
    _SHUFFLED: _field(">Q", 0),
    _ZSTD: _of_zstd,
}
