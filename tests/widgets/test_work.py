"""Work beside the kernel: the latest wins, and what fails is told."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import xarray as xr

import batteryxr  # noqa: F401
from batteryxr.core.progress import bar, track, watched
from batteryxr.widgets.work import Cancelled, Work


def _ignore(*_):
    pass


def _refuse(error):
    raise AssertionError(error)


def test_the_latest_wins():
    work, found = Work(), []
    for k in range(5):
        work.submit(
            lambda job, k=k: job.post(lambda: found.append(k)),
            failed=_refuse,
            progress=_ignore,
            delay=5.0,
        )
    work.wait()  # begins at once: nobody waits five seconds
    assert found == [4]
    assert not work.busy


def test_what_a_cancelled_job_found_is_not_delivered():
    work, found = Work(), []
    work.submit(
        lambda job: job.post(lambda: found.append("late")),
        failed=_refuse,
        progress=_ignore,
        delay=0.0,
    )
    work._current[1].join()
    work.cancel()
    work.deliver()
    assert found == []


def test_a_job_stops_at_its_next_step():
    work, begun, ended = Work(), threading.Event(), []

    def task(job):
        for _ in track(range(10_000), "Counting"):
            begun.set()
            threading.Event().wait(0.001)
        ended.append("to the end")

    work.submit(task, failed=_refuse, progress=_ignore, delay=0.0)
    assert begun.wait(5)
    assert work.cancel()
    work._current[1].join(5)
    assert not work._current[1].is_alive()
    assert ended == []


def test_failures_and_progress_are_told_in_the_thread_that_waits():
    work, told, here = Work(), [], threading.get_ident()

    def task(job):
        with bar(None, "Half of it", total=2) as shown:
            shown.update(1)
        raise ValueError("no")

    work.submit(
        task,
        failed=lambda error: told.append((str(error), threading.get_ident())),
        progress=lambda what, share: told.append((what, share, threading.get_ident())),
        delay=0.0,
    )
    work.wait()
    assert told == [
        ("Half of it", 0.0, here),
        ("Half of it", 0.5, here),
        ("no", here),
    ]


def test_a_watcher_sees_every_step_and_may_stop_it():
    seen = []

    def watcher(what, done, total):
        seen.append((what, done, total))
        if done == 2:
            raise Cancelled

    with watched(watcher), pytest.raises(Cancelled):
        list(track(range(5), "Steps"))
    assert seen == [("Steps", 0, 5), ("Steps", 1, 5), ("Steps", 2, 5)]
    assert list(track(range(3), "Unwatched", progress=False)) == [0, 1, 2]


def test_a_fit_in_memory_stops_between_alternations():
    rng = np.random.default_rng(0)
    data = xr.DataArray(rng.random((300, 400)), dims=("scan", "r"))
    asked = []

    def watcher(what, done, total):
        asked.append(what)
        if len(asked) > 5:
            raise Cancelled

    with watched(watcher), pytest.raises(Cancelled):
        data.nmf.fit(5, max_iter=100_000, tol=1e-15)
    assert set(asked) == {""}
