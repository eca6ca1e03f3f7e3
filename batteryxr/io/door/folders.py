"""List the files of a folder, and warn about names that are no files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batteryxr.core.errors import FileFormatError, warn_quality
from batteryxr.io.door.files import regular

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def files_in(folder: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    """Return the files of a folder whose names are wanted, in any order.

    Warns
    -----
    DataQualityWarning
        If a wanted name is a pipe, socket, device or broken link, which is left
        out.
    """
    found = []
    for path in filter(wanted, folder.iterdir()):
        if path.is_file():
            found.append(path)
        elif not path.is_dir():
            try:
                regular(path)
            except FileFormatError as error:
                warn_quality(f"{error} It is left out of {folder.name}.")
    return found
