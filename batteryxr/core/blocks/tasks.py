"""Long independent tasks in parallel: in threads, or on the cluster the user opened."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from batteryxr.core.blocks.laziness import compute
from batteryxr.core.progress import bar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_STOPPED: set[str] = set()


def gather(
    tasks: Sequence[Any],
    what: str,
    *,
    watched: Sequence[Any] = (),
    token: str = "",
    progress: bool | None = None,
) -> list[Any]:
    """Compute delayed tasks under a progress bar.

    Runs in dask's threads, or on a ``distributed.Client`` if one is open; the library
    never makes a cluster.

    Parameters
    ----------
    tasks
        ``dask.delayed`` objects.
    what
        Label of the bar.
    watched
        Tasks whose ends move the bar: `tasks`, or parts of them; `tasks` if empty.
    token
        Token that the tasks pass to `is_stopped`, so that they end early on an
        interruption; threads alone would not.
    progress
        Show a progress bar; None shows it in terminals and notebooks only.

    Returns
    -------
    list
        The results, in order.
    """
    import dask

    marks = list(watched) or list(tasks)
    client = _client()
    with bar(None, what, total=len(marks), progress=progress) as shown:
        if on_cluster():
            return _on_cluster(client, list(tasks), marks, shown)
        keys = {task.key for task in marks}

        def count(key: Any, *_: Any) -> None:
            if key in keys:
                shown.update(1)

        try:
            with dask.callbacks.Callback(posttask=count):
                return list(compute(*tasks))
        except KeyboardInterrupt:
            _STOPPED.add(token)
            raise


@contextmanager
def workers(n: int) -> Iterator[None]:
    """Let at most `n` tasks run in parallel inside the block."""
    import dask

    with dask.config.set(num_workers=n):
        yield


def workers_of_user() -> int | None:
    """Return the number of threads that the user set in dask; None if not set."""
    import dask

    number = dask.config.get("num_workers", None)
    return None if number is None else int(number)


def on_cluster() -> bool:
    """Return whether a client is open, whose workers run the tasks."""
    return hasattr(_client(), "gather")


@contextmanager
def here() -> Iterator[None]:
    """Compute in this process' threads inside the block, even if a client is open."""
    import dask

    with dask.config.set(scheduler="threads"):
        yield


def is_stopped(token: str) -> bool:
    """Return, for a task, whether the `gather` that runs it was interrupted."""
    return token in _STOPPED


def _client() -> Any:
    if "distributed" not in sys.modules:  # looking for a client would import it
        return None
    from dask.base import get_scheduler

    return getattr(get_scheduler(), "__self__", None)


def _on_cluster(client: Any, tasks: list[Any], marks: list[Any], shown: Any) -> Any:
    from distributed import as_completed

    futures = client.compute([*marks, *tasks])
    try:
        for _ in as_completed(futures[: len(marks)]):
            shown.update(1)
        return client.gather(futures[len(marks) :])
    except KeyboardInterrupt:
        client.cancel(futures)
        raise
