"""Work beside the kernel: debounced, one job at a time, the latest wins."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from batteryxr.core.progress import watched

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds without a further change after which work begins.
DELAY = 0.25


class Cancelled(Exception):
    """The job is no longer wanted."""


class Job:
    """One calculation: told when it is not wanted any more."""

    def __init__(self, work: Work, delay: float) -> None:
        self._work, self.delay = work, delay
        self.cancelled = threading.Event()
        self.begin = threading.Event()

    def post(self, deliver: Callable[[], None]) -> None:
        """Call `deliver` in the kernel's own thread, unless the job was cancelled."""

        def unless_cancelled() -> None:
            if not self.cancelled.is_set():
                deliver()

        self._work.post(unless_cancelled)

    def check(self) -> None:
        """Raise `Cancelled` where the job is no longer wanted."""
        if self.cancelled.is_set():
            raise Cancelled

    def cancel(self) -> None:
        """Ask the job to stop at its next step."""
        self.cancelled.set()
        self.begin.set()


class Work:
    """Runs jobs in threads and hands what they find to the kernel's own thread.

    Traits are only ever set in the thread that made this object: in a notebook its
    event loop is told; in a script `wait` delivers.
    """

    def __init__(self) -> None:
        self._deliveries: deque[Callable[[], None]] = deque()
        self._one_at_a_time = threading.Lock()
        self._current: tuple[Job, threading.Thread] | None = None
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    def submit(
        self,
        task: Callable[[Job], None],
        *,
        failed: Callable[[Exception], None],
        progress: Callable[[str, float], None],
        delay: float = DELAY,
    ) -> Job:
        """Run `task` after `delay` seconds, in place of any job before.

        Parameters
        ----------
        task
            Called with its job in a thread; posts what it finds.
        failed
            Called in the kernel's thread with what `task` raised.
        progress
            Called in the kernel's thread with what is done, and the share of it that
            is (negative where unknown).
        delay
            Seconds to wait for further changes.
        """
        self.cancel()
        job = Job(self, delay)

        def watcher(what: str, done: int, total: int | None) -> None:
            job.check()
            if not what:
                return
            share = done / total if total else -1.0
            job.post(lambda: progress(what, share))

        def run() -> None:
            job.begin.wait(job.delay)
            with self._one_at_a_time:
                try:
                    job.check()
                    with watched(watcher):
                        task(job)
                except Cancelled:
                    pass
                except Exception as error:
                    found = error
                    job.post(lambda: failed(found))

        thread = threading.Thread(target=run, name="batteryxr-panel", daemon=True)
        self._current = (job, thread)
        thread.start()
        return job

    def cancel(self) -> bool:
        """Cancel the job under way, if there is one; tell whether there was."""
        was_busy = self.busy
        if self._current is not None:
            self._current[0].cancel()  # what it found already is not wanted either
        return was_busy

    @property
    def busy(self) -> bool:
        """Whether a job that is still wanted has not ended."""
        if self._current is None:
            return False
        job, thread = self._current
        return thread.is_alive() and not job.cancelled.is_set()

    def wait(self) -> None:
        """Begin at once what was waiting, and return when all of it is delivered."""
        while self._current is not None:
            job, thread = self._current
            job.begin.set()
            thread.join()
            self.deliver()
            if self._current is None or self._current[1] is thread:
                break
        self.deliver()

    def post(self, deliver: Callable[[], None]) -> None:
        """Queue a call for the kernel's own thread."""
        self._deliveries.append(deliver)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.deliver)

    def deliver(self, *_: Any) -> None:
        """Make the queued calls."""
        while self._deliveries:
            self._deliveries.popleft()()
