"""Find and keep samples in folders: the user's cache, or a stand-in folder.

A stand-in folder holds the files as they are, gzipped, or in tar archives.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import shutil
import tarfile
import tempfile
import zlib
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import SampleError
from batteryxr.samples.catalogue import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batteryxr.samples.catalogue import MeasuredSample

#: Environment variable that names a stand-in folder, used instead of the network.
STAND_IN = "BATTERYXR_SAMPLES"

_DAMAGE = (EOFError, gzip.BadGzipFile, lzma.LZMAError, tarfile.TarError, zlib.error)


@dataclass(frozen=True)
class Places:
    """Describe places from which samples come, and where they are kept.

    Parameters
    ----------
    cache
        Folder that keeps fetched or unpacked files.
    stand_in
        Folder used instead of the network; it holds ``<sample>/<path>``.
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
    except ImportError:  # a stand-in folder needs no pooch
        beside = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(beside) / "batteryxr" / "samples"
    return Path(pooch.os_cache("batteryxr")) / "samples"


def absent(sample: MeasuredSample, folder: Path) -> list[str]:
    """Return the paths of a sample that a folder lacks, or holds with other content."""
    return [
        path
        for path, expected in sample.files.items()
        if not (folder / path).is_file() or _digest(folder / path) != expected
    ]


@contextmanager
def incoming(places: Places) -> Iterator[Path]:
    """Make a temporary folder in the cache for incomplete files; delete it after."""
    places.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=places.cache) as folder:
        yield Path(folder)


def keep(arrived: Path, target: Path) -> None:
    """Move a complete file to its place; no process ever sees a part of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(arrived, target)


def look_in(
    sample: MeasuredSample, folder: Path, places: Places
) -> tuple[Path, list[str]]:
    """Return the folder that holds a sample, and the paths that are missing.

    The folder is `folder` if it holds all files as they are. If some are packed, the
    whole sample is unpacked into the cache.

    Raises
    ------
    SampleError
        If a file is damaged, or is not the registered one.
    """
    plain = [path for path in sample.files if (folder / path).is_file()]
    for path in plain:
        _require_registered(folder / path, sample.files[path], shown=folder / path)
    if len(plain) == len(sample.files):
        return folder, []
    target = places.cache / sample.name
    sources, nowhere = _sources(folder, absent(sample, target))
    if not nowhere:
        with incoming(places) as arriving:
            for source, wanted in sources.items():
                _take(sample, source, wanted, arriving / "file", target)
    return target, nowhere or absent(sample, target)


def _sources(
    folder: Path, paths: list[str]
) -> tuple[dict[Path, dict[str, str]], list[str]]:
    """Return the paths that each source may hold, and the paths without a source."""
    sources: dict[Path, dict[str, str]] = defaultdict(dict)
    nowhere = []
    for path in paths:
        alone = [folder / path, folder / f"{path}.gz"]
        held_by = [source for source in alone if source.is_file()][:1]
        held_by = held_by or sorted((folder / path).parent.glob("*.tar*"))
        for source in held_by:
            sources[source][PurePosixPath(path).name] = path
        if not held_by:
            nowhere.append(path)
    return sources, nowhere


def _take(
    sample: MeasuredSample,
    source: Path,
    wanted: dict[str, str],
    arriving: Path,
    target: Path,
) -> None:
    """Put the wanted files of one source into the cache."""
    try:
        for path, stream in _contents(source, wanted):
            with arriving.open("wb") as whole:
                shutil.copyfileobj(stream, whole)
            shown = f"{PurePosixPath(path).name} in {source}"
            _require_registered(arriving, sample.files[path], shown=shown)
            keep(arriving, target / path)
    except _DAMAGE as error:
        raise SampleError(f"{source} is damaged ({error}).") from error


def _contents(source: Path, wanted: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield the path and the content of each wanted file of one source."""
    if source.name in wanted:
        with source.open("rb") as stream:
            yield wanted[source.name], stream
    elif source.name.removesuffix(".gz") in wanted:
        with gzip.open(source) as unzipped:
            yield wanted[source.name.removesuffix(".gz")], unzipped
    else:
        with tarfile.open(source) as archive:
            for member in archive:
                path = wanted.get(PurePosixPath(member.name).name)
                content = archive.extractfile(member) if path else None
                if path and content:
                    yield path, content


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _require_registered(path: Path, expected: str, *, shown: object) -> None:
    """Raise a `SampleError` if a file is not the one in the catalogue."""
    found = _digest(path)
    if found != expected:
        raise SampleError(
            f"{shown} is not the file that was registered: its SHA-256 is {found}, "
            f"expected {expected}. Put the published file in its place."
        )
