"""Obtain measured samples by name: from cache, stand-in folder or network."""

from __future__ import annotations

import difflib
import logging
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, SampleError
from batteryxr.core.optional import require
from batteryxr.core.progress import bar
from batteryxr.samples.catalogue import catalogue
from batteryxr.samples.folders import (
    STAND_IN,
    Places,
    absent,
    incoming,
    keep,
    look_in,
    usual_places,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batteryxr.samples.catalogue import MeasuredSample, Samples

#: Most files that are fetched at once, and seconds that a server may be silent.
_AT_ONCE, _PATIENCE = 8, 30


@overload
def sample(name: None = None, *, progress: bool | None = None) -> Samples: ...


@overload
def sample(name: str, *, progress: bool | None = None) -> Path: ...


@checked
def sample(name: str | None = None, *, progress: bool | None = None) -> Samples | Path:
    """Fetch a set of measured files and return its folder; without a name, list all.

    Each file comes from the public repository and commit where it was published. It
    is checked against its SHA-256 and kept in the cache of this user, so a second call
    uses no network. The files are others' work; the list gives their licence and
    origin. Fetching needs the extra ``samples``.

    The environment variable ``BATTERYXR_SAMPLES`` may name a folder to use instead of
    the network. It holds the files as ``<name>/<path>``, gzipped beside that as
    ``<path>.gz``, or in a tar archive in the same folder. They are checked in the same
    way, and nothing is fetched.

    Parameters
    ----------
    name
        Name of the sample, such as ``"lno-operando"``.
    progress
        True shows a bar of the files, False hides it; None (default) shows it in
        terminals and notebooks only.

    Returns
    -------
    pathlib.Path or Samples
        Folder with the files; without `name` the samples by name, each with
        `about`, `bytes`, `licence`, `origin`, `files` and `urls`.

    Raises
    ------
    ArgumentError
        If no sample has this name.
    SampleError
        If a file cannot be fetched, is not in the stand-in folder, or is not the
        registered one.
    MissingDependencyError
        If files must be fetched and pooch is not installed.

    Examples
    --------
    >>> batteryxr.sample()["lno-operando"].licence
    'BSD-3-Clause'
    >>> cell = batteryxr.sample("lno-operando")  # doctest: +SKIP
    """
    if name is None:
        return catalogue()
    return obtain(_named(name), usual_places(), progress=progress)


@checked
def local(name: str) -> Path | None:
    """Return the folder of a sample that is already here, else None; fetch nothing.

    Parameters
    ----------
    name
        Name of the sample.

    Returns
    -------
    pathlib.Path or None
        As `batteryxr.sample` would return it.

    Examples
    --------
    >>> folder = batteryxr.samples.local("lno-operando")  # None if it is not here
    """
    folder, lacking = _here(_named(name), usual_places())
    return None if lacking else folder


def obtain(
    sample: MeasuredSample, places: Places, *, progress: bool | None = None
) -> Path:
    """Return the folder of a sample after fetching the missing files."""
    folder, lacking = _here(sample, places)
    if lacking and places.stand_in is not None:
        raise SampleError(
            f"sample {sample.name!r}: {len(lacking)} of {len(sample.files)} files are "
            f"not in {places.stand_in / sample.name}, the first {lacking[0]!r}. Put "
            f"them there, or unset {STAND_IN} to fetch them."
        )
    if lacking:
        _fetch(sample, lacking, places, progress=progress)
    return folder


def _here(sample: MeasuredSample, places: Places) -> tuple[Path, list[str]]:
    """Return the folder where a sample is or will be, and its missing paths."""
    if places.stand_in is not None:
        return look_in(sample, places.stand_in / sample.name, places)
    folder = places.cache / sample.name
    return folder, absent(sample, folder)


def _named(name: str) -> MeasuredSample:
    known = catalogue()
    if isinstance(name, str) and name in known:
        return known[name]
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
    mend = f"Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ArgumentError("name", name, f"one of {sorted(known)}", mend)


def _fetch(
    sample: MeasuredSample,
    paths: Sequence[str],
    places: Places,
    *,
    progress: bool | None = None,
) -> None:
    """Fetch files of a sample into the cache; complete files stay there.

    Raises
    ------
    SampleError
        If a file cannot be fetched, or is not the registered one.
    """
    purpose = f"fetching samples (without {STAND_IN}, a folder that holds them,)"
    pooch = require("pooch", extra="samples", purpose=purpose)
    title = f"Fetching {sample.name}"
    with (
        incoming(places) as arriving,
        _silent(pooch.get_logger()),
        bar(None, title, total=len(paths), progress=progress) as told,
        ThreadPoolExecutor(_AT_ONCE) as workers,
    ):

        def get(number: int, path: str) -> None:
            arrived = _retrieve(
                pooch, sample, path, places.host, arriving / str(number)
            )
            keep(arrived, places.cache / sample.name / path)

        jobs = [workers.submit(get, k, path) for k, path in enumerate(paths)]
        try:
            for job in as_completed(jobs):
                job.result()
                told.update()
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            raise


def _retrieve(
    pooch: Any, sample: MeasuredSample, path: str, host: str, arriving: Path
) -> Path:
    """Download one file with the hash of the catalogue, and return its path."""
    import requests

    url, expected = sample.url(path, host), sample.files[path]
    try:
        arrived = pooch.retrieve(
            url,
            known_hash=f"sha256:{expected}",
            fname=arriving.name,
            path=arriving.parent,
            downloader=pooch.HTTPDownloader(timeout=_PATIENCE),
        )
    except requests.RequestException as error:
        raise SampleError(
            f"sample {sample.name!r} could not be fetched: {url}: {_reason(error)}. "
            "Call again to go on from there. Without a network, put the files of "
            f"batteryxr.sample()[{sample.name!r}].urls into a folder as "
            f"{sample.name}/<path> and name that folder by the environment variable "
            f"{STAND_IN}."
        ) from error
    except ValueError as error:  # raised by pooch for a wrong hash
        raise SampleError(
            f"sample {sample.name!r}: {url} is not the file that was registered, and "
            f"was not kept: its SHA-256 is not {expected}. Call again; if it stays "
            "so, the file was changed on its way or at its origin."
        ) from error
    return Path(arrived)


def _reason(error: Exception) -> str:
    import requests

    answer = getattr(error, "response", None)
    if answer is not None:
        return f"the server answered {answer.status_code} {answer.reason}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {_PATIENCE} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    return f"no connection ({type(error).__name__})"


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Keep the logger from reporting each file, since the bar does."""

    def grave(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING

    logger.addFilter(grave)
    try:
        yield
    finally:
        logger.removeFilter(grave)
