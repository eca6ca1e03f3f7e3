"""Files in the folder of a store: links that lead elsewhere are refused."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from batteryxr.core.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MEND = (
    "Put a copy there of what you trust, or pass a zarr store that follows links: "
    "zarr.storage.FsspecStore.from_url('file:///...')."
)


def open_inside(
    folder: Path, key: str, flags: int = os.O_RDONLY, *, known: set[str] | None = None
) -> int:
    """Open a file inside a folder, and return its number.

    Parameters
    ----------
    folder, key
        Folder of the store, and key of the file.
    flags
        Flags of `os.open`.
    known
        Folders that were found to lie inside; each is checked once.

    Raises
    ------
    StoreError
        If a link leads elsewhere, or the file is a pipe or a device.
    OSError
        If the file does not exist, or cannot be opened.
    """
    path = os.path.join(folder, key)
    above = os.path.dirname(path)
    if known is None or above not in known:
        whole = os.path.realpath(folder)
        if os.path.commonpath([os.path.realpath(above), whole]) != whole:
            raise StoreError(f"{folder}: {key} is reached by a link. {_MEND}")
        if known is not None:
            known.add(above)
    quick = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        file = os.open(path, flags | quick | getattr(os, "O_BINARY", 0), 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK) and os.path.islink(path):
            raise StoreError(f"{folder}: {key} is a link. {_MEND}") from error
        raise
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        os.close(file)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise StoreError(f"{folder}: {key} is a pipe or a device, not a file.")
    return file


def read_inside(
    folder: Path,
    key: str,
    known: set[str] | None = None,
    span: Callable[[int], tuple[int, int]] | None = None,
) -> bytes | None:
    """Return the content of a file inside a folder; None if it does not exist.

    With `span`, which gets the size, only the bytes between the two numbers it returns.

    Raises
    ------
    StoreError
        If a link leads elsewhere, or the file is a pipe or a device.
    """
    try:
        file = open_inside(folder, key, known=known)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    with os.fdopen(file, "rb") as opened:
        if span is None:
            return opened.read()
        begin, end = span(os.fstat(file).st_size)
        opened.seek(begin)
        return opened.read(max(0, end - begin))


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from one that takes its place; None if none is there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
