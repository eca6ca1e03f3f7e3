"""Where the files of samples are looked for and kept, and how one is kept whole."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batteryxr.core.errors import SampleError
from batteryxr.samples.catalogue import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batteryxr.samples.catalogue import Sample

#: Environment variable that names a folder to be used in place of the network.
STAND_IN = "BATTERYXR_SAMPLES"


@dataclass(frozen=True)
class Places:
    """Where samples come from and where they are kept.

    Parameters
    ----------
    cache
        Folder that keeps what was fetched or unpacked.
    stand_in
        Folder used in place of the network: it holds ``<sample>/<path>``.
    host
        Server of the repositories.
    """

    cache: Path
    stand_in: Path | None = None
    host: str = HOST


def usual_places() -> Places:
    """Return the cache of this user, and the folder that the environment names."""
    stand_in = os.environ.get(STAND_IN)
    return Places(_user_cache(), Path(stand_in).expanduser() if stand_in else None)


def _user_cache() -> Path:
    try:
        import pooch
    except ImportError:  # a folder that stands in needs no pooch
        beside = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(beside) / "batteryxr" / "samples"
    return Path(pooch.os_cache("batteryxr")) / "samples"


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def absent(sample: Sample, folder: Path) -> list[str]:
    """Return the paths of a sample that a folder lacks, or holds with other content."""
    return [
        path
        for path, expected in sample.files.items()
        if not (folder / path).is_file() or digest(folder / path) != expected
    ]


@contextmanager
def incoming(places: Places) -> Iterator[Path]:
    """Give a folder in the cache for files that are not yet whole."""
    places.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=places.cache) as folder:
        yield Path(folder)


def require_registered(path: Path, expected: str, *, shown: object) -> None:
    """Raise a `SampleError` where a file is not the one of the catalogue."""
    found = digest(path)
    if found != expected:
        raise SampleError(
            f"{shown} is not the file that was registered: its SHA-256 is {found}, "
            f"expected {expected}. Put the published file in its place."
        )


def keep(arrived: Path, target: Path) -> None:
    """Move a whole file to its place; nobody ever sees a part of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(arrived, target)
