"""Check where an HDF5 file leads: links, virtual datasets and external storage."""

from __future__ import annotations

import glob
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import FileFormatError, warn_quality
from batteryxr.io.door.chunks import check_packing, fill_of
from batteryxr.io.door.files import regular
from batteryxr.io.door.heaps import check_between, check_ends, is_large, stored_in
from batteryxr.io.door.limits import current

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Most links of a file; most links to other files; most datasets whose arrays are
#: located in a large file.
_MOST, _MOST_LEADS, _MOST_ARRAYS = 50_000, 5_000, 5_000
_DEEPEST, _NESTED = 20, 100
#: Most sources of a virtual dataset that are looked at for overlap.
_MOST_BOXES = 1000
#: More pieces than these, of fewer bytes, fill the memory with their directory.
_PIECES, _SMALL = 1_000_000, 4096


def check_links(path: Path, file: Any, seen: set[Path] | None = None) -> None:
    """Check all links of a file to other files, and the links of those files.

    Raises
    ------
    FileFormatError
        If a link leads outside the folder of the file without permission, or to
        something that is not a file.

    Warns
    -----
    DataQualityWarning
        If a linked file is missing.
    """
    import h5py

    seen = {path.resolve()} if seen is None else seen
    missing: dict[str, None] = {}
    arrays: list[tuple[int, int]] | None = [] if is_large(path) else None
    names = list(_external(path, file, arrays))
    if arrays is not None:
        check_between(path, arrays)
    for name in names:
        place = _target(path, name)
        if place is None:
            missing[name] = None
        elif place.resolve() not in seen:
            seen.add(place.resolve())
            if h5py.is_hdf5(place):
                check_ends(place)
                with h5py.File(place, "r") as other:
                    check_links(path, other, seen)
    if missing:
        shown = ", ".join(list(missing)[:3]) + (", ..." if len(missing) > 3 else "")
        warn_quality(
            f"{path.name} links to {len(missing)} files that are not there ({shown}): "
            "what they hold is left out. Copy them beside it."
        )


def _external(
    path: Path, file: Any, arrays: list[tuple[int, int]] | None
) -> Iterator[str]:
    """Yield the names of linked files, each once.

    Adds the places where the datasets of the file are stored to `arrays`.

    Raises
    ------
    FileFormatError
        If it has more links or nested groups than any measurement.
    """
    import h5py

    root = file["/"].id
    names: list[tuple[bytes, int]] = []
    leads: list[bytes] = []

    def look(name: bytes, about: Any) -> str | None:
        if about.type == h5py.h5l.TYPE_EXTERNAL:
            leads.append(name)
        elif about.type == h5py.h5l.TYPE_HARD:
            names.append((name, about.u))
        if name.count(b"/") > _NESTED:
            return f"nests groups more than {_NESTED} deep."
        if len(leads) > _MOST_LEADS:
            return f"has more than {_MOST_LEADS:,} links to other files: a trap."
        too_many = len(names) + len(leads) > _MOST
        return f"has more than {_MOST:,} links: a trap." if too_many else None

    if odd := root.links.visit(look, info=True):
        raise FileFormatError(path, odd)
    if arrays is not None:
        arrays += stored_in(path, file, names[:_MOST_ARRAYS])
    values = (root.links.get_val(name)[0] for name in leads)
    yield from dict.fromkeys(v.decode("utf-8", "replace") for v in values)


def sources_of(path: Path, node: Any, depth: int = 0) -> list[Path]:
    """Return the other files that hold the values of a dataset.

    Raises
    ------
    FileFormatError
        If a file is missing or cut, so that HDF5 would make up zeros; if one lies
        outside the folder of the file without permission.
    """
    home = Path(node.file.filename)
    if depth > _DEEPEST:
        raise FileFormatError(path, f"{node.name} takes its values from itself.")
    if node.external:
        return [_raw_file(home, node.name, *each) for each in node.external]
    if not node.is_virtual:
        return []
    sources = node.virtual_sources()
    _tell_uncovered(path, node, sources)
    found: list[Path] = []
    pairs: dict[tuple[str, str], list[Any]] = {}
    for each in sources:
        pairs.setdefault((each.file_name, each.dset_name), []).append(each)
    for name, dataset in sorted(pairs):
        taken = pairs[name, dataset]
        for place in _places(home, name, node.name):
            if place != home:
                found.append(place)
            found += _inner(path, (node, taken), place, dataset, depth)
    return list(dict.fromkeys(found))


def _inner(
    path: Path, taking: tuple[Any, list[Any]], place: Path, dataset: str, depth: int
) -> list[Path]:
    """Return the other files on which the source of a virtual dataset depends.

    `taking` holds the virtual dataset, and the parts it takes from this source.
    """
    import h5py

    node = taking[0]
    if "%" in dataset:
        return []
    own = place == Path(node.file.filename)
    if not own:
        check_ends(place)
    file = node.file if own else h5py.File(place, "r")
    try:
        if not own:
            check_links(place, file)
        if not isinstance(file.get(dataset), h5py.Dataset):
            raise FileFormatError(
                path,
                f"{node.name} takes values from {dataset} of {place.name}, which has "
                "no such dataset: they would be read as zeros.",
            )
        _refuse_short(path, taking, place, file[dataset])
        others = sources_of(path, file[dataset], depth + 1)
        if not others:
            check_stored(path, file[dataset])
        return others
    finally:
        if not own:
            file.close()


def check_stored(path: Path, node: Any, rows: int | None = None) -> None:
    """Raise if a dataset that stores its own values was never written.

    Parameters
    ----------
    path, node
        The file, and the dataset.
    rows
        How many of its first rows are wanted; None: all.

    Raises
    ------
    FileFormatError
        If no value was written: the library would make all of them up. If it is cut
        into pieces that no program writes: too many, or with more inside than they
        unpack to.

    Warns
    -----
    DataQualityWarning
        If some values were not written.
    """
    if node.size in (0, None):
        return
    fill = fill_of(node)
    if node.is_virtual or node.external:
        return
    if node.id.get_storage_size() == 0:
        raise FileFormatError(
            path, f"{node.name} was never written: all of it would be {fill}."
        )
    if node.chunks:
        check_packing(path, node)
        there = node.id.get_num_chunks()
        sides = zip((rows or node.shape[0], *node.shape[1:]), node.chunks, strict=True)
        every = math.prod(-(-size // chunk) for size, chunk in sides)
        piece = math.prod(node.chunks) * node.dtype.itemsize
        if every > _PIECES and piece < _SMALL:
            raise FileFormatError(
                path, f"{node.name} is cut into {every:,} pieces of {piece} bytes."
            )
        stored = node.id.get_storage_size()
        if stored > there * (2 * piece + _SMALL):
            raise FileFormatError(
                path,
                f"{node.name} stores {stored:,} bytes in {there} pieces that unpack to "
                f"{piece:,} each: it is damaged. Copy it again.",
            )
        if there < every:
            warn_quality(
                f"{path.name}: {every - there} of {every} pieces of {node.name} were "
                f"never written and read as {fill}. Was the scan stopped early?"
            )


def _refuse_short(
    path: Path, taking: tuple[Any, list[Any]], place: Path, source: Any
) -> None:
    """Raise if a virtual dataset takes more from a source, or other axes, than it has.

    Warns
    -----
    DataQualityWarning
        If numbers of the source do not fit into the virtual dataset's.
    """
    import h5py

    node, taken = taking
    for each in taken:
        space = each.src_space
        if space.get_select_type() == h5py.h5s.SEL_ALL:
            wanted = space.get_simple_extent_dims() or _box(each.vspace)
            sound = wanted is None or _alike(wanted, source.shape)
        elif _is_bounded(space) and _is_bounded(each.vspace):
            wanted = tuple(n + 1 for n in space.get_select_bounds()[1])
            sound = len(wanted) == source.ndim and not np.greater(
                wanted, source.shape
            ).any()  # fmt: skip
        else:
            continue
        if not sound:
            raise FileFormatError(
                path,
                f"{node.name} takes values of shape {wanted} from {source.name} of "
                f"{place.name}, which has {source.shape}: the rest would be read as "
                f"{fill_of(node)}, or pixels at other places. Was it cut or replaced, "
                "or the scan stopped early?",
            )
    own, theirs = node.dtype, source.dtype
    if not np.can_cast(theirs, own, "same_kind" if theirs.kind == "f" else "safe"):
        warn_quality(
            f"{path.name}: {node.name} takes {theirs} from other files as {own}: "
            "numbers that do not fit are read as its limits."
        )


def _box(space: Any) -> tuple[int, ...] | None:
    """Return the shape of a selection, or None if it is no box or has no end."""
    if not _is_bounded(space):
        return None
    low, high = space.get_select_bounds()
    shape = tuple(b - a + 1 for a, b in zip(low, high, strict=True))
    return shape if math.prod(shape) == space.get_select_npoints() else None


def _alike(wanted: Sequence[int], there: Sequence[int]) -> bool:
    """Tell whether values of two shapes lie at the same pixels in their order."""
    one, other = ([n for n in shape if n != 1] for shape in (wanted, there))
    same = one[-2:] == other[-2:] or min(len(one), len(other)) < 2
    return same and math.prod(one) == math.prod(other)


def _tell_uncovered(path: Path, node: Any, sources: list[Any]) -> None:
    """Warn if part of a virtual dataset has no source, or two."""
    spaces = [each.vspace for each in sources]
    if not all(map(_is_bounded, spaces)):
        return
    boxes = np.array([s.get_select_bounds() for s in spaces[:_MOST_BOXES] if _box(s)])
    if len(boxes) > 1:
        low, high = boxes[:, 0], boxes[:, 1]
        meet = (low[:, None] <= high) & (low <= high[:, None])
        if meet.all(axis=-1).sum() > len(boxes):
            warn_quality(
                f"{path.name}: sources of {node.name} overlap: where two give a value, "
                "one of them is read, and elsewhere there may be none."
            )
    given = sum(space.get_select_npoints() for space in spaces)
    if given < node.size:
        warn_quality(
            f"{path.name}: {node.size - given} of {node.size} values of {node.name} "
            f"have no source and read as {fill_of(node)}. Was the scan stopped early?"
        )


def _is_bounded(space: Any) -> bool:
    """Tell whether a selection has an end; one over numbered files may have none."""
    try:
        return 0 <= space.get_select_npoints() < 2**62
    except RuntimeError:  # what the library says of one without end
        return False


def _places(home: Path, name: str, dataset: str) -> list[Path]:
    if name == ".":
        return [home]
    if "%b" in name:  # files numbered in sequence
        start, end = re.split(r"%\d*b", Path(name).name, maxsplit=1)
        there = (home.parent / name).parent.glob(f"{glob.escape(start)}*{end}")
        numbered = sorted(
            (int(middle), p)
            for p in there
            if (middle := p.name[len(start) : len(p.name) - len(end)]).isdecimal()
        )
        if numbered and numbered[-1][0] >= len(numbered):
            raise FileFormatError(
                home,
                f"{dataset} takes its values from {name} by number, and there are "
                f"{len(numbered)} files up to number {numbered[-1][0]}: what follows "
                "the gap would be left out. Copy all of them beside this file.",
            )
        if numbered:
            return [p for _, n in numbered if (p := _target(home, str(n))) is not None]
    place = _target(home, name)
    if place is None:
        raise FileFormatError(
            home,
            f"{dataset} takes its values from {name}, which is not there: they would "
            "be read as zeros. Copy it beside this file.",
        )
    return [place]


def _raw_file(home: Path, dataset: str, name: Any, offset: int, size: int) -> Path:
    name = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    place = _target(home, name)
    if place is None:
        raise FileFormatError(
            home, f"{dataset} is stored in {name}, which is not there. Copy it too."
        )
    if size < 2**63 and regular(place) < offset + size:
        raise FileFormatError(home, f"{dataset} is stored in {name}, which is cut.")
    used = Path(os.environ.get("HDF5_EXTFILE_PREFIX", "")) / name
    if not (used.exists() and used.samefile(place)):
        raise FileFormatError(
            home,
            f"{dataset} is stored in {name}, which lies beside the file, but HDF5 "
            "looks for it in the working folder: os.chdir to its folder first.",
        )
    return place


def _target(home: Path, name: str) -> Path | None:
    """Return the file that a name in an HDF5 file refers to, or None if missing.

    Raises
    ------
    FileFormatError
        If it lies outside the folder without permission, or is not a file.
    """
    folder = home.parent.resolve()
    if os.path.isabs(name) and not os.path.exists(name):
        name = Path(name).name  # of a file that was moved, HDF5 looks beside it
    beside, here = folder / name, Path(name).absolute()
    there = os.path.exists(beside)
    place = here if not there and os.path.exists(here) else beside
    there = there or place is here
    leads = place.resolve() if there else Path(os.path.normpath(place))
    if not leads.is_relative_to(folder) and not current().outside:
        raise FileFormatError(
            home,
            f"links to {name}, outside its folder. If you trust the file, read it "
            "inside `with batteryxr.io.Limits(outside=True):`.",
        )
    if not there:
        return None
    try:
        regular(place)
    except FileFormatError as error:
        raise FileFormatError(home, f"links to what is no file: {error}") from error
    return place
