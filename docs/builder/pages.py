"""Pages that are made, written only where they have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write(folder: Path, texts: Mapping[str, str], *, pattern: str) -> list[Path]:
    """Write files by name, so that Sphinx reads again only what is new.

    Parameters
    ----------
    folder
        Where they go.
    texts
        The text of each file by its name within the folder.
    pattern
        Files like this that are not among them are of an earlier build, and removed.
    """
    for stale in folder.rglob(pattern):
        if stale.relative_to(folder).as_posix() not in texts:
            stale.unlink()
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return [folder / name for name in texts]
