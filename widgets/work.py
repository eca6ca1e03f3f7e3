"""Run work in the background: debounced, one job at a time, the latest wins."""

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
    """Signal that the job is no longer wanted."""


class Job:
    """Hold one calculation, which learns when it is no longer wanted."""

    def __init__(self, work: Work, delay: float) -> None:
        self._work, self.delay = work, delay
        self.cancelled = threading.Event()
        self.begin = threading.Event()

    def post(self, deliver: Callable[[], None]) -> None:
        """Call `deliver` in the kernel's thread, unless the job was cancelled."""

        def unless_cancelled() -> None:
            if not self.cancelled.is_set():
                deliver()

        self._work.post(unless_cancelled)

    def check(self) -> None:
        """Raise `Cancelled` if the job is no longer wanted."""
        if self.cancelled.is_set():
            raise Cancelled

    def cancel(self) -> None:
        """Ask the job to stop at its next step."""
        self.cancelled.set()
        self.begin.set()


class Work:
    """Run jobs in threads, and deliver their results to the kernel's thread.

    Traits are set only in the thread that made this object. In a notebook its event
    loop delivers; in a script `wait` does.
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
        """Run `task` after `delay` seconds, in place of any previous job.

        Parameters
        ----------
        task
            Function called with its job in a thread; it posts its results.
        failed
            Function called in the kernel's thread with an error of `task`.
        progress
            Function called in the kernel's thread with the current activity and the
            fraction done (negative if unknown).
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
        """Cancel the running job, if any; tell whether there was one."""
        was_busy = self.busy
        if self._current is not None:
            self._current[0].cancel()  # its results are not wanted either
        return was_busy

    @property
    def busy(self) -> bool:
        """Tell whether a wanted job is still running."""
        if self._current is None:
            return False
        job, thread = self._current
        return thread.is_alive() and not job.cancelled.is_set()

    def wait(self) -> None:
        """Start the jobs that wait, and return when all results are delivered."""
        while self._current is not None:
            job, thread = self._current
            job.begin.set()
            thread.join()
            self.deliver()
            if self._current is None or self._current[1] is thread:
                break
        self.deliver()

    def post(self, deliver: Callable[[], None]) -> None:
        """Queue a call for the kernel's thread."""
        self._deliveries.append(deliver)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.deliver)

    def deliver(self, *_: Any) -> None:
        """Make the queued calls."""
        while self._deliveries:
            self._deliveries.popleft()()
