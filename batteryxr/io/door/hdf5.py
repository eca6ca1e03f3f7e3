"""Open HDF5 files, even while they are written, and walk through their datasets."""

from __future__ import annotations

import contextlib
import re
import sys
from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import FileFormatError, warn_quality
from batteryxr.core.optional import require
from batteryxr.io.door.files import head, named, refuse_other, regular
from batteryxr.io.door.heaps import check_ends
from batteryxr.io.door.links import check_links
from batteryxr.io.door.words import of_hdf5

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Most visits to a group that several links lead to, and most links in all.
_VISITS = 4
_MOST = 10_000


@contextlib.contextmanager
def opened(path: Path, *, again: bool = False) -> Iterator[Any]:
    """Open a file for reading, with the filters of fast detectors if installed.

    A file that is being written in a mode that lets others read (SWMR) opens with
    what has been written.

    Parameters
    ----------
    path
        The file.
    again
        Whether it was opened before, so that its links need no check.

    Raises
    ------
    FileFormatError
        If it is not HDF5, links to a forbidden place, or cannot be read inside the
        block.
    """
    regular(path)
    h5py = require("h5py", extra="io", purpose="reading HDF5 frames")
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401  (registers the filters of fast detectors)
    if not again:
        check_ends(path)
    with _file(h5py, path) as file, _told(path):
        if not again:
            check_links(path, file)
            if file.swmr_mode:
                warn_quality(
                    f"{path.name} is being written, or its program ended early: what "
                    "is there now is read. Read it again when it is finished."
                )
        yield file


def _file(h5py: Any, path: Path) -> Any:
    try:
        return h5py.File(path, "r")
    except Exception as error:
        with contextlib.suppress(Exception):
            return h5py.File(path, "r", libver="latest", swmr=True)
        start = head(path)
        if not h5py.is_hdf5(path):
            refuse_other(path, start)
        if re.search(r"\block file|already open for write", str(error)):
            raise FileFormatError(
                path,
                "is being written by a program that lets nobody read meanwhile, or "
                "was not closed. Wait, or copy it when it is finished.",
            ) from error
        raise FileFormatError(
            path, f"cannot be read as HDF5: {of_hdf5(error)}. Copy it again."
        ) from error


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Name the file in errors of h5py, and how to install a missing filter."""
    try:
        with named(path, "cannot be read as HDF5"):
            yield
    except FileFormatError as error:
        said = str(error.__cause__)
        if isinstance(error.__cause__, OSError) and (
            "filter" in said or "plugin" in said
        ):
            mend = (
                "Its data are damaged, or packed by a filter that is not here: copy it "
                "again."
                if "hdf5plugin" in sys.modules
                else "It is compressed by a detector's filter, or damaged: install "
                "'batteryxr[io]'."
            )
            raise FileFormatError(
                path, f"cannot be read as HDF5: {of_hdf5(error.__cause__)}. {mend}"
            ) from error
        raise


def walk(file: Any, deepest: int = 8) -> Iterator[tuple[str, Any]]:
    """Yield path and dataset for all datasets; follow links, but not in circles.

    The default branch of NeXus comes first. Broken links are left out.

    Raises
    ------
    FileFormatError
        If the file has more links than can be searched.
    """
    import h5py

    visits: dict[tuple[int, int], int] = {}
    waiting: list[tuple[str, Any, int]] = [("", file, 0)]
    left = _MOST
    while waiting:
        prefix, item, depth = waiting.pop()
        if isinstance(item, h5py.Dataset):
            yield prefix, item
            continue
        about = h5py.h5o.get_info(item.id)
        place = (about.fileno, about.addr)
        visits[place] = visits.get(place, 0) + 1
        if depth > deepest or visits[place] > _VISITS:
            continue
        left -= len(item)
        if left < 0:
            raise FileFormatError(
                file.file.filename,
                f"has more than {_MOST:,} groups and datasets, too many to look "
                "through. Tell where the data are: dataset=, of read_ptychography "
                "format={'frames': ..., ...}; or copy what was measured into a file "
                "of its own.",
            )
        inside = [
            (f"{prefix}/{key}".lstrip("/"), inner, depth + 1)
            for key, inner in _items(item)
        ]
        waiting += reversed(inside)


def _items(group: Any) -> Iterator[tuple[str, Any]]:
    import h5py

    default = text(attribute(group, "default"))
    for key in sorted(group, key=lambda k: (k != default, k)):
        try:
            inner = group[key]
        except (KeyError, OSError, RuntimeError):  # a broken link
            continue
        if isinstance(inner, h5py.Group | h5py.Dataset):
            yield key, inner


def attribute(node: Any, name: str, default: Any = "") -> Any:
    """Return an attribute of a group or dataset; the default if it has none.

    Raises
    ------
    FileFormatError
        If it is no number or text: reading a damaged type would end the process.
    """
    if name not in node.attrs:
        return default
    about = node.attrs.get_id(name)
    refuse_lists(about, f"attribute {name!r} of {node.name}")
    return node.attrs[name]


def refuse_lists(about: Any, what: str) -> None:
    """Raise if a dataset or attribute, by its identifier, holds lists or records.

    Nothing that is read holds them, and a text whose type is damaged looks like a
    list: the library would end the process.
    """
    from h5py import h5t

    kind = about.get_type()
    while isinstance(kind, h5t.TypeArrayID):
        kind = kind.get_super()
    record = isinstance(kind, h5t.TypeCompoundID) and kind.dtype.kind != "c"
    if record or isinstance(kind, h5t.TypeVlenID):
        raise FileFormatError(
            None,
            f"{what} holds lists or records, not numbers or text. Is it damaged? Copy "
            "it again.",
        )


def text(value: Any) -> str:
    """Return an attribute or a scalar as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)
