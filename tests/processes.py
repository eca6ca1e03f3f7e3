"""Processes for tests that kill them, forked from one that has imported all."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: What the first process imports, once for all: the library, and workers of clusters.
PRELOAD = ["dask.array", "distributed", "batteryxr.core.store.reading"]


def server() -> Any:
    """Return the context in which processes are there within 50 ms."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def forking() -> Callable[..., Any]:
    """Return a function that runs code in another process.

    The code finds its arguments as `argv`, and `say`, what it calls to be heard: the
    second thing returned receives it.
    """
    context = server()

    def start(code: str, *argv: Any) -> tuple[Any, Any]:
        ours, theirs = context.Pipe()
        process = context.Process(
            target=exec, args=(code, {"argv": argv, "say": theirs.send}), daemon=True
        )
        process.start()
        theirs.close()
        return process, ours

    return start
