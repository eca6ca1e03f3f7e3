"""A folder that stands in for the network: plain files, gzipped files, tar archives."""

from __future__ import annotations

import gzip
import lzma
import shutil
import tarfile
import zlib
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import SampleError
from batteryxr.samples.places import (
    Places,
    absent,
    incoming,
    keep,
    require_registered,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batteryxr.samples.catalogue import Sample

_DAMAGE = (EOFError, gzip.BadGzipFile, lzma.LZMAError, tarfile.TarError, zlib.error)


def look_in(sample: Sample, folder: Path, places: Places) -> tuple[Path, list[str]]:
    """Return where the files of a sample lie, and the paths that are nowhere.

    That is `folder` where it holds them all as they are. Where some are packed, the
    whole sample is unpacked into the cache.

    Raises
    ------
    SampleError
        If a file is damaged, or is not the one that was registered.
    """
    plain = [path for path in sample.files if (folder / path).is_file()]
    for path in plain:
        require_registered(folder / path, sample.files[path], shown=folder / path)
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
    """Return what may hold the paths, by name inside, and the paths without one."""
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
    sample: Sample, source: Path, wanted: dict[str, str], arriving: Path, target: Path
) -> None:
    """Put the wanted files of one source into the cache."""
    try:
        for path, stream in _contents(source, wanted):
            with arriving.open("wb") as whole:
                shutil.copyfileobj(stream, whole)
            shown = f"{PurePosixPath(path).name} in {source}"
            require_registered(arriving, sample.files[path], shown=shown)
            keep(arriving, target / path)
    except _DAMAGE as error:
        raise SampleError(f"{source} is damaged ({error}).") from error


def _contents(source: Path, wanted: dict[str, str]) -> Iterator[tuple[str, Any]]:
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
