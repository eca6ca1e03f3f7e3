"""How many threads are allowed, and BLAS left as it was."""

from __future__ import annotations

import os
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from batteryxr.core.kernels import cores

if TYPE_CHECKING:
    from pathlib import Path


def _blas_threads() -> list[int]:
    from threadpoolctl import threadpool_info

    return [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({"a/b/cpu.max": "150000 100000\n", "a/cpu.max": "max 100000\n"}, "0::/a/b", 2),
        ({"cpu.max": "max 100000\n"}, "0::/", 64),
        ({"a/cpu.max": "50000 100000\n"}, "0::/a/b", 1),
        ({"cpu/g/cpu.cfs_quota_us": "300000\n", "cpu/g/cpu.cfs_period_us": "100000\n"},
         "3:cpu,cpuacct:/g\n2:memory:/other", 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
         "1:cpu:/\n0::/", 64),
    ],
)  # fmt: skip
def test_quota_of_the_control_group_counts(
    tmp_path: Path, monkeypatch, files, own, expected
):
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "own").write_text(own + "\n")
    monkeypatch.setattr(cores, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(cores, "_MINE", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    assert cores.allowed() == expected


def test_processors_of_the_process_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert cores.allowed() == 1


def test_a_task_of_a_worker_has_one(monkeypatch):
    task = SimpleNamespace(thread_state=SimpleNamespace(execution_state={}))
    monkeypatch.setitem(sys.modules, "distributed.worker", task)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert cores.allowed() == 1


def test_overlapping_blocks_put_the_threads_back():
    before = _blas_threads()
    first, second = cores.single(), cores.single()
    first.__enter__()
    other = threading.Thread(target=second.__enter__)
    other.start()
    other.join()
    assert set(_blas_threads()) == {1}
    first.__exit__(None, None, None)
    assert set(_blas_threads()) == {1}
    second.__exit__(None, None, None)
    assert _blas_threads() == before


def test_memory_of_the_control_group_counts(tmp_path: Path, monkeypatch):
    group = tmp_path / "groups" / "a"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("5000\n")
    (group / "memory.current").write_text("3000\n")
    (tmp_path / "own").write_text("0::/a\n")
    monkeypatch.setattr(cores, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(cores, "_MINE", tmp_path / "own")
    assert cores.free_memory() == 2000
    (group / "memory.max").write_text("max\n")
    assert cores.free_memory() > 1e6
