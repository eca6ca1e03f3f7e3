"""Threads and memory that this process may use, and a limit to one thread."""

from __future__ import annotations

import functools
import math
import os
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_GROUPS = Path("/sys/fs/cgroup")
_MINE = Path("/proc/self/cgroup")
#: Lock for the list of holders; the last to end restores the threads.
_LOCK = threading.Lock()
_HELD: list[Any] = []


def allowed() -> int:
    """Return how many threads may run in parallel here.

    This is the smaller of two numbers: the processors that this process is bound to,
    and the quota of its control group. It is 1 in a task of a dask worker, whose other
    threads have tasks of their own.
    """
    if _in_worker():
        return 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, math.ceil(min(count, _quota(_GROUPS, _MINE))))


def _in_worker() -> bool:
    """Return whether this thread runs a task of a worker of dask.distributed."""
    worker = sys.modules.get("distributed.worker")
    state = getattr(worker, "thread_state", None)
    return hasattr(state, "execution_state")


@functools.cache
def _quota(groups: Path, mine: Path) -> float:
    """Return the processors that the control groups of this process grant it."""
    return min(map(_granted, _folders(groups, mine, "cpu")), default=math.inf)


def _folders(groups: Path, mine: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups of this process, the innermost first."""
    for line in _lines(mine):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = groups / controller if controllers else groups
        place = root / path.lstrip("/")
        for folder in (place, *place.parents):
            yield folder
            if folder == root:
                break


def free_memory() -> float:
    """Return the bytes that this process may still use.

    This is the smallest of three numbers: the memory that the machine has free, that
    its control groups leave, and that its limit of addresses leaves.
    """
    return min(_free_here(), _free_in_groups(_GROUPS, _MINE), _free_addresses())


def _free_here() -> float:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable"):
            return float(line.split()[1]) * 1024
    return 0.6 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _free_in_groups(groups: Path, mine: Path) -> float:
    least = math.inf
    for folder in _folders(groups, mine, "memory"):
        for limit, used in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            words = _lines(folder / limit) + _lines(folder / used)
            if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
                least = min(least, float(words[0]) - float(words[1]))
    return least


def _free_addresses() -> float:
    try:
        import resource
    except ImportError:  # not on Windows
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = " ".join(_lines(Path("/proc/self/statm"))).split()
    if soft == resource.RLIM_INFINITY or not used:
        return math.inf
    return float(soft) - float(used[0]) * os.sysconf("SC_PAGE_SIZE")


def _granted(folder: Path) -> float:
    """Return the processors of one control group, of either version."""
    words = " ".join(_lines(folder / "cpu.max")).split()
    if not words:
        both = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        words = [word for name in both for word in _lines(folder / name)]
    if len(words) != 2 or words[0] in ("max", "-1"):
        return math.inf
    return int(words[0]) / max(int(words[1]), 1)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


@contextmanager
def single() -> Iterator[None]:
    """Limit BLAS to one thread inside the block: in small products others only spin.

    Blocks of several threads may overlap; the last to end restores the threads.
    """
    with _LOCK:
        if not _HELD:
            _HELD.append(_controller("scipy.linalg" in sys.modules).limit(limits=1))
        _HELD.append(None)
    try:
        yield
    finally:
        with _LOCK:
            _HELD.pop()
            if len(_HELD) == 1:
                _HELD.pop().restore_original_limits()


@functools.cache
def _controller(scipy: bool) -> Any:
    """Return the controller of BLAS; finding it takes longer than a small fit."""
    del scipy  # which brings a library of its own
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
