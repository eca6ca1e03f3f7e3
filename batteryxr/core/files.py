"""Files that are written whole or not at all, and never over others by accident."""

from __future__ import annotations

import io
import os
import re
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import ArgumentError, DataError, StoreError, said_by_system

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

#: Begin of a URL, which as a path object loses a slash; a drive has one letter.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
#: Halves of characters, as Python also decodes bytes of names that are not in UTF-8.
_HALF = re.compile("[\ud800-\udfff]")
#: What HDF5 says of texts and names that it cannot hold, and what mends it.
_REFUSED = {
    "embedded NULL": "Take the NUL out of the texts.",
    "name already exists": "Rename variables whose names differ in signs alone.",
}
#: Permissions to write, of anybody.
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def is_text(value: object) -> bool:
    """Return whether a text can be written in UTF-8: half a character cannot."""
    return _HALF.search(str(value)) is None


def is_url(path: object) -> bool:
    """Return whether a path is a URL, or was one before it became a path object."""
    return _URL.match(str(path)) is not None


def require_on_disk(path: object, *, argument: str = "path") -> None:
    """Raise for what no file on a disk can be called, such as a URL.

    Raises
    ------
    ArgumentError
        If it is a URL, of whose name a folder would be made here, or no name.
    """
    if is_url(path):
        raise ArgumentError(argument, str(path), "a path on a disk, not a URL")
    try:
        named = b"\0" not in os.fsencode(str(path))
    except UnicodeEncodeError:  # half a character
        named = False
    if not named:
        raise ArgumentError(argument, str(path), "a name that a file can have")


def require_regular(
    path: str | os.PathLike[str], *, argument: str, most: int = 100_000_000
) -> None:
    """Raise if a file that a method is told to read is none, or far too large.

    Parameters
    ----------
    path
        The file.
    argument
        Name of the argument, for the message.
    most
        Most bytes that such a file has.

    Raises
    ------
    ArgumentError
        If it is not there, a folder, pipe, socket or device, or larger.
    """
    try:
        about = os.stat(path)
    except OSError as error:
        told = f"an existing file ({said_by_system(error)})"
        raise ArgumentError(argument, str(path), told) from error
    if not stat.S_ISREG(about.st_mode):
        raise ArgumentError(
            argument, str(path), "a file, not a folder, pipe, socket or device"
        )
    if about.st_size > most:
        raise ArgumentError(argument, str(path), f"a file of at most {most:,} bytes")


def read_table(
    path: str | os.PathLike[str], *, comment: str | None = None
) -> pd.DataFrame:
    """Return a small CSV table that a user wrote: numbers are exact, text is text.

    Parameters
    ----------
    path
        The file; what separates its cells is found.
    comment
        Sign from which on a line is left out.
    """
    import pandas as pd

    from batteryxr.core.kernels.parsing import parsed

    words = {"sep": None, "engine": "python", "skipinitialspace": True}
    frame = pd.read_csv(path, comment=comment, **words)
    text = pd.read_csv(path, comment=comment, dtype=str, **words)
    for place, kind in enumerate(frame.dtypes):
        if kind.kind == "f":  # pandas before 3.1 rounds them in another way
            cells = text.iloc[:, place].fillna("nan").to_numpy(dtype=object)
            frame.isetitem(place, parsed(cells))
    return frame.rename(columns=lambda name: str(name).strip())


def require_writable(path: str | os.PathLike[str]) -> None:
    """Raise unless a file can be written to a path; tested before long work.

    Raises
    ------
    ArgumentError
        If it is that of a folder, pipe, socket or device.
    StoreError
        If the system refuses, or the file is read-only.
    """
    path = Path(path)
    try:
        _require_replaceable(path)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as folder:
            (Path(folder) / path.name).touch()
    except OSError as error:
        raise StoreError(f"{path}: {said_by_system(error)}.") from error


def _require_replaceable(path: Path) -> None:
    """Raise if something lies there that no new file may take the place of."""
    if not path.exists():
        return
    if not path.is_file():
        raise ArgumentError(
            "path", str(path), "a file, not a folder, pipe, socket or device"
        )
    if not path.stat().st_mode & _WRITABLE:
        raise StoreError(f"{path} is read-only, so it is not replaced.")


@contextmanager
def whole_file(
    path: str | os.PathLike[str], *, overwrite: bool = False
) -> Iterator[Path]:
    """Yield a path to write a file to; it appears at `path` when the block ends.

    If the block fails, or the process dies in it, the former content of `path` remains.

    Parameters
    ----------
    path
        The file; its folder must exist.
    overwrite
        Replace an existing file.

    Yields
    ------
    pathlib.Path
        A file of the same name in a separate folder beside it.

    Raises
    ------
    ArgumentError
        If the folder does not exist, or `path` is no file's, or no name at all.
    DataError
        If a text of the data is none that a file can hold.
    StoreError
        If the file exists and `overwrite` is False or it is read-only, or the system
        refuses to write.
    """
    require_on_disk(path)
    path = Path(path)
    try:
        if not path.parent.is_dir():
            raise ArgumentError("path", str(path), "a file in a folder that is there")
        _require_replaceable(path)
        if (path.exists() or path.is_symlink()) and not overwrite:
            raise StoreError(f"{path} exists. Pass overwrite=True to replace it.")
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as folder:
            whole = Path(folder) / path.name
            yield whole
            os.replace(whole, os.path.realpath(path))
    except OSError as error:
        raise StoreError(f"{path}: {said_by_system(error)}.") from error
    except UnicodeEncodeError as error:
        raise DataError(
            "a text of the data",
            f"holds {error.object[error.start]!r}, which is no character",
            "Replace it: batteryxr writes UTF-8.",
        ) from error


@contextmanager
def whole_hdf5(
    path: str | os.PathLike[str], *, overwrite: bool = False
) -> Iterator[Any]:
    """Yield an HDF5 file to write to; it appears at `path` when the block ends.

    Arguments and errors are those of `whole_file`.
    """
    import h5py

    with whole_file(path, overwrite=overwrite) as new, _Sink(new, "x+") as sink:
        try:
            with h5py.File(sink, "w") as file:
                yield file
        except ValueError as error:
            mend = next((m for words, m in _REFUSED.items() if words in str(error)), "")
            if not mend:
                raise
            raise DataError(
                "the data", f"have no place in HDF5: {error}", mend
            ) from error
        finally:
            if sink.error is not None:
                raise sink.error


class _Sink(io.FileIO):
    """Write a file; keep the first failure, and take no more after it.

    HDF5 would try again as it closes each of its objects, and print each failure.
    """

    error: OSError | None = None

    def write(self, content: Any) -> int:
        """Write all of a buffer."""
        left = memoryview(content).cast("B")
        size = len(left)
        try:
            while len(left) and self.error is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Change the size."""
        try:
            if self.error is None:
                super().truncate(size)
        except OSError as error:
            self.error = error
        return size or 0
