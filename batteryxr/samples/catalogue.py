"""List the measured samples: files with their hashes, origin and licence."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote

from batteryxr.core.units import readable_bytes

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

#: Server of all files of public repositories, at any commit.
HOST = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Origin:
    """Hold a folder of a public repository at one commit.

    Parameters
    ----------
    files
        Pattern of the sample's files in this folder.
    repository, commit
        Owner and name at GitHub, and the full commit.
    path
        Path in the repository, with ``{path}`` for the path in the sample and
        ``{name}`` for its last part.
    licence
        SPDX name of the licence, or a description if it has none.
    """

    files: str
    repository: str
    commit: str
    path: str
    licence: str

    def url(self, path: str, host: str = HOST) -> str:
        """Return the address of a file by its path in the sample."""
        there = self.path.format(path=path, name=PurePosixPath(path).name)
        return f"{host}/{self.repository}/{self.commit}/{quote(there)}"


@dataclass(frozen=True)
class MeasuredSample:
    """Hold a set of measured files that can be fetched.

    Parameters
    ----------
    name
        Name with which `batteryxr.sample` is called.
    about
        Description of what was measured.
    bytes
        Size of all files together.
    origins
        Places of the files, with their licences.
    files
        SHA-256 of each file, by its path in the sample.
    """

    name: str
    about: str
    bytes: int
    origins: tuple[Origin, ...]
    files: Mapping[str, str] = field(repr=False)

    @property
    def licence(self) -> str:
        """Return the licences of the files, each once."""
        return ", ".join(dict.fromkeys(o.licence for o in self.origins))

    @property
    def origin(self) -> str:
        """Return the repositories of the files, each with its commit."""
        places = (f"github.com/{o.repository}@{o.commit[:7]}" for o in self.origins)
        return ", ".join(dict.fromkeys(places))

    @property
    def urls(self) -> dict[str, str]:
        """Return the address of each file, by its path in the sample."""
        return {path: self.url(path) for path in self.files}

    def url(self, path: str, host: str = HOST) -> str:
        """Return the address of one file."""
        origin = next(o for o in self.origins if fnmatchcase(path, o.files))
        return origin.url(path, host)


class Samples(Mapping[str, MeasuredSample]):
    """List samples by name, with size, licence and origin when printed."""

    def __init__(self, samples: Mapping[str, MeasuredSample]) -> None:
        self._samples = dict(samples)

    def __getitem__(self, name: str) -> MeasuredSample:
        return self._samples[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._samples)

    def __len__(self) -> int:
        return len(self._samples)

    def __repr__(self) -> str:
        lines = [f"{len(self)} samples: batteryxr.sample(name) gives their folder"]
        for sample in self.values():
            size = readable_bytes(sample.bytes)
            count = f"{len(sample.files)} file{'s'[: len(sample.files) > 1]}"
            lines += [
                f"{sample.name}: {count}, {size}",
                f"    {sample.about}",
                f"    licence {sample.licence}",
                f"    from {sample.origin}",
            ]
        return "\n".join(lines)


def read_catalogue(folder: Traversable | Path) -> Samples:
    """Read ``sets.toml`` and the lists of files beside it."""
    tables = tomllib.loads((folder / "sets.toml").read_text(encoding="utf-8"))
    return Samples({name: _sample(folder, name, t) for name, t in tables.items()})


@cache
def catalogue() -> Samples:
    """Return the samples that come with this version."""
    return read_catalogue(files("batteryxr.samples"))


def _sample(
    folder: Traversable | Path, name: str, table: dict[str, object]
) -> MeasuredSample:
    listed = (folder / "files" / f"{name}.txt").read_text(encoding="utf-8")
    pairs = (line.split("  ", 1) for line in listed.splitlines())
    origins = tuple(Origin(**origin) for origin in table["origins"])  # type: ignore[attr-defined]
    return MeasuredSample(
        name=name,
        about=str(table["about"]),
        bytes=int(table["bytes"]),  # type: ignore[call-overload]
        origins=origins,
        files={path: digest for digest, path in pairs},
    )
