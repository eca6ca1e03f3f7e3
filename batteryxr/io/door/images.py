"""Open TIFF, NumPy and compound files after checking their headers."""

from __future__ import annotations

import contextlib
import html
import math
import re
import struct
import zlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from batteryxr.core.errors import FileFormatError, warn_quality
from batteryxr.core.optional import require
from batteryxr.io.door.files import (
    head,
    named,
    opened,
    refuse_other,
    refuse_words,
    regular,
)
from batteryxr.io.door.limits import FRAME, refuse_larger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batteryxr.io.door.files import Stamp

_MOST = 1_000_000  # pages
_TAGS = 4096  # per page
_ORDER: dict[str, Literal["little", "big"]] = {"<": "little", ">": "big"}
#: Units of length in TIFF headers, in nm.
_NM = {"nm": 1.0, "um": 1e3, "mm": 1e6, "cm": 1e7, "m": 1e9, "angstrom": 0.1, "å": 0.1}
#: An image larger than this must not be packed more tightly than the ratio.
_LARGE, _RATIO = 64_000_000, 200
#: Compression methods of pictures (JPEG, JPEG 2000, PNG, WebP, JPEG XR, JPEG XL), whose
#: own headers say to what they unpack.
_PICTURES = frozenset(
    {6, 7, 99, 22610, 33003, 33004, 33005, 33007, 34712, 34892}
    | {34927, 34933, 34934, 48124, 50001, 50002, 52546}
)


@contextlib.contextmanager
def tiff(path: Path, known: Stamp | None = None) -> Iterator[Any]:
    """Open a TIFF file with tifffile.

    Parameters
    ----------
    path
        The file.
    known
        Stamp of the file from an earlier check; the file must be unchanged.

    Raises
    ------
    FileFormatError
        If it is no TIFF file, has changed, or cannot be read inside the block.
    """
    tifffile = require("tifffile", extra="io", purpose="reading TIFF frames")
    if known is None:
        start = head(path)
        refuse_other(path, start, "tiff")
        refuse_words(path, start)
        if b"\0" not in start:
            raise FileFormatError(path, "no readable TIFF file, but text or unknown.")
    with (
        opened(path) if known is None else known.opened() as raw,
        named(path, "no readable TIFF file"),
        tifffile.TiffFile(raw, name=path.name) as file,
    ):
        yield file


def check_page(path: Path, page: Any, *, known: bool = False) -> None:
    """Raise if a TIFF page is no grey image, or part of it is missing.

    Parameters
    ----------
    path, page
        The file, and one of its pages.
    known
        Whether an image of this size was allowed before.

    Raises
    ------
    FileFormatError
        If the page cannot be used; the message says why.
    """
    grey = page.ndim == 2 or planes(page) > 1
    if not grey or page.dtype is None or page.dtype.kind not in "iuf":
        raise FileFormatError(path, f"expected grey images; found shape {page.shape}.")
    itemsize = page.dtype.itemsize
    if int(page.compression) in _PICTURES:
        raise FileFormatError(
            path,
            f"packs its image as {page.compression.name}, as pictures are: counts may "
            "have been changed. Save it without compression, or as deflate or LZW.",
        )
    needed = math.prod(page.shape) * itemsize
    if not needed:
        raise FileFormatError(path, f"holds an image of {page.shape} pixels: none.")
    if not known:
        tile = math.prod(page.chunks) * itemsize
        refuse_larger(path, max(needed, tile), FRAME, f"an image of {page.shape}")
    counts = [int(n) for n in page.databytecounts]
    ends = [at + n for at, n in zip(page.dataoffsets, counts, strict=False)]
    if not ends or max(ends) > (size := int(page.parent.filehandle.size)):
        raise FileFormatError(
            path,
            f"is cut: its pixels would end at byte {max(ends, default=0):,} of {size:,}"
            if ends
            else "has no pixels.",
        )
    stored = sum(counts)
    if page.compression == 1 and stored < needed * page.bitspersample // (8 * itemsize):
        raise FileFormatError(
            path, f"holds {stored:,} of the {needed:,} bytes of an image: it is cut."
        )
    if needed > _LARGE and needed > _RATIO * stored:
        raise FileFormatError(
            path, f"an image of {page.shape} pixels is packed into {stored:,} bytes."
        )


def pixels(path: Path, page: Any) -> np.ndarray:
    """Return the image of a TIFF page that `check_page` accepted.

    Packed data are unpacked no further than the size of the image.

    Raises
    ------
    FileFormatError
        If a strip or tile unpacks to more than its size.
    """
    if page.compression not in _UNPACK or page.fillorder != 1:
        return np.asarray(page.asarray())
    unpack = _UNPACK[page.compression]
    most = math.prod(page.chunks) * page.dtype.itemsize
    page.compression = 1  # the steps below get unpacked data
    image = np.zeros(page.shaped, page.dtype)
    handle = page.parent.filehandle
    places = zip(page.dataoffsets, page.databytecounts, strict=True)
    for number, (at, size) in enumerate(places):
        handle.seek(at)
        raw = unpack(handle.read(size), most)
        if len(raw) > most:
            raise FileFormatError(
                path, f"a part of the image unpacks to more than its {most:,} bytes."
            )
        part, (plane, depth, y, x, _), shape = page.decode(raw, number)
        inside = image[plane, depth : depth + shape[0], y : y + shape[1]]
        inside = inside[:, :, x : x + shape[2]]
        inside[...] = part[tuple(slice(n) for n in inside.shape)]
    return image.reshape(page.shape)


def _unpack_zlib(raw: bytes, most: int) -> bytes:
    return zlib.decompressobj().decompress(raw, most + 1)


def _unpack_lzma(raw: bytes, most: int) -> bytes:
    import lzma

    return lzma.LZMADecompressor().decompress(raw, most + 1)


def _unpack_bits(raw: bytes, most: int) -> bytes:
    """Unpack PackBits: runs of one byte, and stretches that are not packed."""
    found, place = bytearray(), 0
    while place < len(raw) and len(found) <= most:
        n = raw[place]
        if n < 128:
            found += raw[place + 1 : place + 2 + n]
            place += 2 + n
        else:
            found += raw[place + 1 : place + 2] * (257 - n if n > 128 else 0)
            place += 2 if n > 128 else 1
    return bytes(found)


#: Functions that unpack here, by number of the TIFF compression method.
_UNPACK = {
    8: _unpack_zlib,
    32946: _unpack_zlib,
    34925: _unpack_lzma,
    32773: _unpack_bits,
}


def planes(page: Any) -> int:
    """Return the number of grey images that a page holds, one after another.

    Some programs take three or four frames of more than a byte for colours and store
    them in one page.
    """
    apart = page.ndim == 3 and int(page.planarconfig) == 2
    wide = page.dtype is not None and page.dtype.itemsize > 1
    return int(page.shape[0]) if apart and wide else 1


def pixel_size(file: Any) -> tuple[float, float] | None:
    """Return the pixel size (y, x) in nm from OME or ImageJ metadata, or None."""
    if file.is_ome and file.ome_metadata:
        return _ome_pixel(file.ome_metadata)
    if not file.is_imagej:
        return None
    unit = str((file.imagej_metadata or {}).get("unit", "")).strip()
    unit = unit.replace("\\u00B5", "u").replace("micron", "um").replace("µ", "u")
    factor = _NM.get(unit.lower())
    sizes = []
    for name in ("YResolution", "XResolution"):
        tag = file.pages[0].tags.get(name)
        if factor is None or tag is None or not tag.value[0]:
            return None
        sizes.append(factor * tag.value[1] / tag.value[0])
    return sizes[0], sizes[1]


def _ome_pixel(text: str) -> tuple[float, float] | None:
    sizes = []
    for axis in "YX":
        size = re.search(rf'PhysicalSize{axis}="([^"]+)"', text)
        unit = re.search(rf'PhysicalSize{axis}Unit="([^"]+)"', text)
        name = html.unescape(unit[1]) if unit else "um"  # the default of OME
        factor = _NM.get(name.replace("µ", "u").replace("μ", "u").lower())
        if size is None or factor is None:
            return None
        sizes.append(factor * float(size[1]))
    return sizes[0], sizes[1]


def page_places(path: Path, file: Any) -> list[int]:
    """Return the byte where each page of a TIFF begins, without reading the pages.

    Raises
    ------
    FileFormatError
        If it has no pages, more than any detector writes, or a circle of pages.

    Warns
    -----
    DataQualityWarning
        If the last page refers to a missing one, or the header announces more images.
    """
    tags, handle, size = file.tiff, file.filehandle, regular(path)
    place, places = int(file.pages[0].offset), dict[int, None]()
    while place and place < size:
        if place in places:
            raise FileFormatError(
                path, f"its {len(places)} pages lead in a circle: it is damaged."
            )
        if len(places) >= _MOST:
            raise FileFormatError(path, f"has more than {_MOST:,} pages.")
        handle.seek(place)
        start = handle.read(tags.tagnosize)
        count = int(struct.unpack(tags.tagnoformat, start)[0])
        if not 0 < count <= _TAGS:
            break
        places[place] = None
        following = handle.read(count * tags.tagsize + tags.offsetsize)
        place = int.from_bytes(following[-tags.offsetsize :], _ORDER[tags.byteorder])
    if place:
        warn_quality(
            f"{path.name}: a page follows the {len(places)} that are there, and cannot "
            "be found: the file may be cut"
        )
    elif (said := _images_told(file)) > len(places) * planes(file.pages[0]):
        warn_quality(
            f"{path.name}: its header tells of {said} images, and {len(places)} are "
            "read: the file may be cut, or the others lie in other files or without "
            "pages of their own, as ImageJ writes above 4 GB (save them as BigTIFF)"
        )
    return list(places)


def _images_told(file: Any) -> int:
    """Return the number of images that a TIFF header announces; 0 if it gives none."""
    first = str(file.pages[0].description or "")
    if found := re.match(r"ImageJ=[\s\S]{0,200}?\bimages=(\d{1,9})\b", first):
        return int(found[1])
    if found := re.match(r'\{"shape": \[([\d, ]{1,200})\]', first):
        sizes = [int(n) for n in re.findall(r"\d+", found[1])]
        return math.prod(sizes[:-2])
    pixels = re.findall(r"<Pixels\b[^>]{0,2000}", first)[:1]
    counts = re.findall(r'\bSize[ZCT]="(\d{1,9})"', pixels[0]) if pixels else []
    return math.prod(map(int, counts)) if counts else 0


def page_at(file: Any, place: int) -> Any:
    """Return the TIFF page that begins at byte `place`, whatever its number."""
    tifffile = require("tifffile", extra="io", purpose="reading TIFF frames")
    file.filehandle.seek(place)
    return tifffile.TiffPage(file, index=0)


def npy(path: Path) -> np.ndarray:
    """Return the array of a NumPy file; Python objects are refused.

    Raises
    ------
    FileFormatError
        If it is no NumPy array, cut, or too large.

    Warns
    -----
    DataQualityWarning
        If further bytes follow the array.
    """
    npy_header(path)
    with opened(path) as file, named(path, "no NumPy array"):
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def npy_values(path: Path) -> Any:
    """Return the array of a NumPy file as a memory map, read where it is indexed."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


def npy_header(path: Path, *, frames: bool = False) -> tuple[tuple[int, ...], Any]:
    """Return shape and type of a NumPy file's array after checking that it is whole.

    Parameters
    ----------
    path
        The file.
    frames
        Whether it is read frame by frame, so that only one frame has to fit.

    Raises
    ------
    FileFormatError, DataQualityWarning
        As in `npy`.
    """
    start = head(path)
    refuse_other(path, start, "npy")
    size = regular(path)
    with opened(path) as file, named(path, "no NumPy array"):
        shape, dtype = npy_shape(path, file)
        needed = math.prod(map(int, shape)) * dtype.itemsize
        one = needed // max(int(shape[0]), 1) if frames and shape else needed
        refuse_larger(path, one, FRAME)
        there = size - file.tell()
        if there < needed or min(shape, default=0) < 1:
            raise FileFormatError(
                path, f"holds {there:,} of {needed:,} bytes of {shape}: it is cut."
            )
        if there > needed:
            warn_quality(
                f"{path.name}: {there - needed:,} bytes follow the array and are left "
                "out. Were several arrays saved into one file?"
            )
        return shape, dtype


def npy_shape(path: Path, file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of the NumPy array that an open file begins with.

    Raises
    ------
    FileFormatError
        If it holds no numbers, or is of a version that is not known.
    """
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise FileFormatError(path, f"is of version {version}, which is not read.")
    shape, _, dtype = read(file)
    if dtype.hasobject or dtype.kind not in "biufc":
        raise FileFormatError(path, f"holds {dtype}, not numbers.")
    return tuple(map(int, shape)), dtype


@contextlib.contextmanager
def compound(path: Path) -> Iterator[Any]:
    """Open a compound file (OLE) with olefile.

    Raises
    ------
    FileFormatError
        If it is no compound file, or cannot be read inside the block.
    """
    refuse_other(path, head(path), "ole")
    olefile = require("olefile", extra="io", purpose="reading .xrm and .txrm files")
    with (
        named(path, "cannot be read as .xrm or .txrm"),
        olefile.OleFileIO(str(path)) as ole,
    ):
        yield ole


def stream(path: Path, ole: Any, name: str) -> bytes:
    """Return a stream of a compound file, never longer than the file.

    Raises
    ------
    FileFormatError
        If the stream claims to be longer than the file.
    """
    if ole.get_size(name) > regular(path):
        raise FileFormatError(path, f"{name} is longer than the file: it is cut.")
    raw: bytes = ole.openstream(name).read()
    return raw
