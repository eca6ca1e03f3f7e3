"""Files that are written whole or not at all, and never over others by accident."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from batteryxr.core.errors import ArgumentError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        If the folder does not exist, or `path` is a folder.
    StoreError
        If the file exists and `overwrite` is False, or the system refuses to write.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ArgumentError("path", str(path), "a file in a folder that is there")
    if path.is_dir():
        raise ArgumentError("path", str(path), "a file, not a folder")
    if (path.exists() or path.is_symlink()) and not overwrite:
        raise StoreError(f"{path} exists. Pass overwrite=True to replace it.")
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as folder:
            whole = Path(folder) / path.name
            yield whole
            os.replace(whole, path.resolve())
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}.") from error
