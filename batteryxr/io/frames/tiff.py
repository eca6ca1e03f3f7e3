"""Open frames in TIFF files: one frame per file, or many pages in one file."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.errors import FileFormatError, warn_quality
from batteryxr.io.door.counts import counts_type, only_counts
from batteryxr.io.door.files import Stamp, opened, stamp
from batteryxr.io.door.images import (
    check_page,
    page_at,
    page_places,
    pixels,
    planes,
    tiff,
)
from batteryxr.io.frames.hdf5 import Held

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
    from pathlib import Path


#: Most pages whose places are looked up, and fewest and most pixels of an image that
#: is looked at.
_LOOKED_AT, _PIXELS, _LARGE = 2000, 50, 20_000_000


#: Bytes of an image that are compared first, and most that are read to compare whole.
_PIECE, _BUDGET = 4096, 1 << 26


class Stored(NamedTuple):
    """Hold where the bytes of an image are, and what is known of them."""

    path: Path
    at: int
    size: int
    digest: str = ""


def open_tiff(
    paths: list[Path], *, chunk: Callable[[int, int], int], counts: bool = True
) -> Held:
    """Open frames lazily; only the first file's header is read.

    Integers are `counts` and become float32: see `batteryxr.io.door.counts`.

    Raises
    ------
    FileFormatError
        If the first file is no TIFF, or holds something other than grey images.

    Warns
    -----
    DataQualityWarning
        If images are copies of others.
    """
    with tiff(paths[0]) as file:
        page = file.pages[0]
        check_page(paths[0], page)
        places, shape, stored = page_places(paths[0], file), page.shape, page.dtype
        images = [_stored(paths[0], file, p) for p in places[:_LOOKED_AT]]
    each = planes(page)
    if len(paths) > 1 and (len(places) > 1 or each > 1):
        apart = [open_tiff([path], chunk=chunk, counts=counts) for path in paths]
        return Held(blocks.concatenate([held.data for held in apart]))
    pages = places if len(paths) == 1 else [0]
    stamps = tuple(stamp(path) for path in paths)
    source = TiffFrames(stamps, tuple(pages), shape, np.dtype(stored), counts, each)
    if len(paths) > 1:
        images = [Stored(s.path, 0, s.size, s.digest) for s in stamps]
    _tell_copies(source, images, [p.name for p in paths])
    n, *frame = source.shape
    step = each if each > 1 else chunk(math.prod(frame) * source.dtype.itemsize, n)
    return Held(blocks.from_source(source, (step, *frame), asarray=True, lock=False))


def _stored(path: Path, file: Any, place: int) -> Stored:
    """Return where the pixels of a page are; a damaged one is like no other."""
    with contextlib.suppress(Exception):
        page = page_at(file, place)
        spans = zip(page.dataoffsets, page.databytecounts, strict=True)
        first, last = min(page.dataoffsets), max(at + n for at, n in spans)
        if 0 < first < last <= int(file.filehandle.size):
            return Stored(path, first, last - first)
    return Stored(path, place, 0, str(place))


def _tell_copies(source: TiffFrames, images: list[Stored], names: list[str]) -> None:
    """Warn if images are copies of others, unless they are empty."""
    found = copies(images)
    full = {k for k in dict(found) if _is_full(source, k * source.planes)}
    pairs = [pair for pair in found if pair[0] in full]
    if not pairs:
        return
    one, other = (
        names[k] if names[1:] else f"page {k} of {names[0]}" for k in pairs[0]
    )
    warn_quality(
        f"{len(pairs)} of {len(images)} images hold the same numbers as others, first "
        f"of all {other} those of {one}: are they copies?"
    )


def _is_full(source: TiffFrames, number: int) -> bool:
    """Tell whether an image is small enough to look at, sound, and not of one value."""
    if math.prod(source.shape[1:]) * source.planes > _LARGE:
        return False
    try:
        image = np.asarray(source[number])
    except FileFormatError:  # is told when it is computed
        return False
    known = image[np.isfinite(image)]
    usual = np.median(known) if known.size else 0
    return bool(np.count_nonzero(known != usual) > _PIXELS)


@dataclass(frozen=True)
class TiffFrames:
    """Array source for dask: frames (frame, y, x), read from their pages.

    Parameters
    ----------
    stamps
        Stamps of the files, taken when they were found.
    places
        Bytes where the pages of a file begin; 0 for its first.
    page, stored
        Shape and type of a page.
    counts
        Whether integers are counts of a detector: see `only_counts`.
    planes
        Number of frames in a page.
    """

    stamps: tuple[Stamp, ...]
    places: tuple[int, ...]
    page: tuple[int, ...]
    stored: np.dtype[Any]
    counts: bool
    planes: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the numbers of frames and of pixels."""
        n = len(self.stamps) * len(self.places) * self.planes
        return n, *self.page[-2:]

    @property
    def ndim(self) -> int:
        """Return the number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type of the frames that are read."""
        return counts_type(self.stored) if self.counts else self.stored

    def __getitem__(self, key: Any) -> np.ndarray:
        """Return some frames, or parts of them; each page is read once."""
        first, *rest = key if isinstance(key, tuple) else (key,)
        wanted = np.arange(self.shape[0])[first]
        numbers, within = np.divmod(wanted.ravel(), self.planes)
        part = np.empty((0, *self.page[-2:]), self.dtype)[(slice(None), *rest)]
        if self.planes == wanted.size == 1 and part.shape[1:] == self.page[-2:]:
            ((_, image),) = self._images([int(numbers[0])])  # whole: is not copied
            only = image[(slice(None), *rest)].astype(self.dtype, copy=False)
            return only if wanted.ndim else only[0]
        found = np.empty((wanted.size, *part.shape[1:]), self.dtype)
        for number, image in self._images(sorted({int(n) for n in numbers})):
            for k in np.flatnonzero(numbers == number):
                found[k] = image[within[k]][tuple(rest)]
        return found if wanted.ndim else found[0]

    def _images(self, numbers: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the numbers of pages, and each as (plane, y, x)."""
        count = len(self.places)
        for at in sorted({n // count for n in numbers}):
            about = self.stamps[at]
            with tiff(about.path, about) as file:
                for number in (n for n in numbers if n // count == at):
                    place = self.places[number % count]
                    yield number, self._image(about.path, file, place)

    def _image(self, path: Path, file: Any, place: int) -> np.ndarray:
        page = page_at(file, place) if place else file.pages[0]
        if page.shape != self.page or page.dtype != self.stored:
            raise FileFormatError(
                path,
                f"this frame is {page.shape} {page.dtype}, the first {self.page} "
                f"{self.stored}. Files of several scans lie together: pass a pattern.",
            )
        check_page(path, page, known=True)
        image = pixels(path, page)
        held = only_counts(image, path.name) if self.counts else image
        return held.reshape(self.planes, *self.page[-2:])


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
