"""Files of samples from their public repositories, several at a time."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import SampleError
from batteryxr.core.optional import require
from batteryxr.core.progress import bar
from batteryxr.samples.folders import STAND_IN, Places, incoming, keep

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batteryxr.samples.catalogue import Sample

#: Files under way at a time, and seconds that a server may be silent.
_AT_ONCE, _PATIENCE = 8, 30


def fetch(
    sample: Sample,
    paths: Sequence[str],
    places: Places,
    *,
    progress: bool | None = None,
) -> None:
    """Fetch files of a sample into the cache; what arrived whole stays there.

    Raises
    ------
    SampleError
        If a file cannot be had, or is not the one that was registered.
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


def _retrieve(pooch: Any, sample: Sample, path: str, host: str, arriving: Path) -> Path:
    """Download one file and return it; it has the hash of the catalogue."""
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
    except ValueError as error:  # pooch's word for another hash
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
    """Keep the logger from telling of each file; the bar does."""

    def grave(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING

    logger.addFilter(grave)
    try:
        yield
    finally:
        logger.removeFilter(grave)
