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
from batteryxr.samples.places import STAND_IN, Places, incoming, keep

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
    pooch = require(
        "pooch",
        extra="samples",
        purpose=f"fetching samples (without {STAND_IN}, a folder that holds them,)",
    )
    with (
        incoming(places) as arriving,
        _silent(pooch.get_logger()),
        bar(
            None, f"Fetching {sample.name}", total=len(paths), progress=progress
        ) as told,
        ThreadPoolExecutor(_AT_ONCE) as workers,
    ):
        getter = _Getter(pooch, sample, places, arriving)
        jobs = [workers.submit(getter, k, path) for k, path in enumerate(paths)]
        try:
            for job in as_completed(jobs):
                job.result()
                told.update()
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            raise


class _Getter:
    """Fetches one file and puts it in its place."""

    def __init__(
        self, pooch: Any, sample: Sample, places: Places, arriving: Path
    ) -> None:
        self._pooch, self._sample, self._places = pooch, sample, places
        self._arriving = arriving

    def __call__(self, number: int, path: str) -> None:
        import requests

        url = self._sample.url(path, self._places.host)
        expected = self._sample.files[path]
        try:
            arrived = self._pooch.retrieve(
                url,
                known_hash=f"sha256:{expected}",
                fname=str(number),
                path=self._arriving,
                downloader=self._pooch.HTTPDownloader(timeout=_PATIENCE),
            )
        except requests.RequestException as error:
            raise SampleError(self._unreachable(url, _reason(error))) from error
        except ValueError as error:  # pooch's word for another hash
            raise SampleError(
                f"sample {self._sample.name!r}: {url} is not the file that was "
                f"registered, and was not kept: its SHA-256 is not {expected}. Call "
                "again; if it stays so, the file was changed on its way or at its "
                "origin."
            ) from error
        keep(Path(arrived), self._places.cache / self._sample.name / path)

    def _unreachable(self, url: str, reason: str) -> str:
        name = self._sample.name
        return (
            f"sample {name!r} could not be fetched: {url}: {reason}. Call again to go "
            f"on from there. Without a network, put the files of "
            f"batteryxr.sample()[{name!r}].urls into a folder as {name}/<path> and "
            f"name that folder by the environment variable {STAND_IN}."
        )


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
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
