"""Progress bars: in a terminal or notebook, silent in a pipe."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sized
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Watcher = Callable[[str, int, int | None], None]

T = TypeVar("T")

_WATCHER: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


def track(
    items: Iterable[T],
    what: str,
    *,
    total: int | None = None,
    progress: bool | None = None,
) -> Iterator[T]:
    """Yield `items` under a progress bar.

    Parameters
    ----------
    items
        Items to iterate over.
    what
        Label of the bar, a verb in the present: "Reading patterns".
    total
        Number of items, where `items` has no length.
    progress
        True shows the bar, False hides it; None (default) shows it in a terminal or
        notebook only.
    """
    yield from bar(items, what, total=total, progress=progress)


def bar(
    items: Iterable[Any] | None,
    what: str,
    *,
    total: int | None = None,
    progress: bool | None = None,
) -> Any:
    """Return a tqdm bar to be updated by hand, under the same rule as `track`."""
    watcher = _WATCHER.get()
    if watcher is not None:
        return _Watched(items, what, total, watcher)
    notebook = hasattr(shell(), "kernel")
    hidden = not (notebook or _in_terminal() if progress is None else progress)
    words: dict[str, Any] = {"desc": what, "total": total, "leave": False}
    if notebook and not hidden:
        words |= {"file": _Output(), "ncols": 80, "mininterval": 0.25}
    return _tqdm()(items, disable=hidden, **words)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Report every step inside the block to `watcher`, in place of any bar.

    Parameters
    ----------
    watcher
        Called with the label, the number of steps done and the total; with an empty
        text where work only asks whether to continue. An error that it raises ends the
        work: this is how a panel stops a calculation.
    """
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def stopper() -> Callable[[], None]:
    """Return a function that long work calls, from any thread, to stop on request."""
    watcher = _WATCHER.get()
    if watcher is None:
        return lambda: None
    return lambda: watcher("", 0, None)


def shell() -> Any:
    """Return IPython's running shell, or None; only that of a notebook has a kernel.

    Does not import IPython: without that import there is no shell.
    """
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


class _Watched:
    """Report to a watcher, in place of tqdm's bar."""

    def __init__(
        self,
        items: Iterable[Any] | None,
        what: str,
        total: int | None,
        watcher: Watcher,
    ) -> None:
        self._items, self._what, self._watcher = items, what, watcher
        self._total = (
            len(items) if total is None and isinstance(items, Sized) else total
        )
        self._done = 0
        watcher(what, 0, self._total)

    def __iter__(self) -> Iterator[Any]:
        for item in self._items or ():
            yield item
            self.update()

    def update(self, n: int = 1) -> None:
        self._done += n
        self._watcher(self._what, self._done, self._total)

    def close(self) -> None:
        """End the bar, as for tqdm."""

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@cache
def _tqdm() -> Any:
    """Return tqdm's bar, without fixing the start method of processes.

    The first bar of a process makes a lock between processes, which fixes the start
    method for good: ``multiprocessing.set_start_method`` fails from then on. The same
    lock, made here, does not fix it.
    """
    from tqdm import tqdm
    from tqdm.std import TqdmDefaultWriteLock as Lock

    if not hasattr(Lock, "mp_lock"):
        usual = multiprocessing.get_all_start_methods()[0]
        start = multiprocessing.get_start_method(allow_none=True) or usual
        # tqdm finds out itself where no locks exist, and works without.
        with suppress(ImportError, OSError):
            Lock.mp_lock = multiprocessing.get_context(start).RLock()
    return tqdm


class _Output:
    """Show the last line that tqdm wrote, as one output of a notebook's cell.

    A widget would stay in the saved notebook as "Error displaying widget", as tqdm
    closes it. This output is empty at the end.
    """

    def __init__(self) -> None:
        self._handle: Any = None

    def write(self, text: str) -> None:
        """Replace what is shown by the last line of a text."""
        line = {"text/plain": text.strip()}
        if self._handle is not None:
            self._handle.update(line, raw=True)
        elif text.strip():
            from IPython import display

            shown: Any = display.display
            self._handle = shown(line, raw=True, display_id=True)

    def flush(self) -> None:
        """Do nothing: what is written is shown at once."""


def _in_terminal() -> bool:
    return bool(getattr(sys.stderr, "isatty", lambda: False)())
