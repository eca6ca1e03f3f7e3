"""Fixtures that all tests share."""

from __future__ import annotations

import os
import random
import sys
import sysconfig
import warnings
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import dask
import pytest
from hypothesis import settings

import batteryxr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# BLAS threads that wait for one another burn all cores: one to each process that is
# started from here, the workers of pytest-xdist among them.
for _threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

# Processes that tests start would compile all of the library anew, each of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

HERE = Path(__file__).parent
# What several folders of tests share is imported by its name.
sys.path.insert(0, str(HERE))
# What benchmarks measure of the code itself, tests measure in the same way.
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import processes  # noqa: E402

# Property tests try the same few examples each time. HYPOTHESIS_PROFILE=random tries
# more and new ones, and keeps in .hypothesis what failed. A busy machine is no failure.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=40)
settings.register_profile("random", derandomize=False, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser):
    """Let long tests run, and the files in another order."""
    parser.addoption(
        "--long",
        action="store_true",
        help="run the tests that are marked long, too: each has a short one beside it",
    )
    parser.addoption(
        "--shuffle",
        type=int,
        metavar="SEED",
        help="run the test files in a random order, tests inside a file as they stand",
    )


def pytest_collection_modifyitems(config, items):
    """Leave out long tests; put the files in the order that --shuffle asks for."""
    if not config.getoption("--long"):
        long = [test for test in items if test.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [test for test in items if not test.get_closest_marker("long")]
    seed = config.getoption("--shuffle")
    if seed is None:
        return
    files = [list(tests) for _, tests in groupby(items, key=lambda item: item.path)]
    random.Random(seed).shuffle(files)
    items[:] = [test for tests in files for test in tests]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give a worker a room at a time: its kernels are then compiled once, not twice."""
    from xdist.scheduler import LoadFileScheduling

    class LoadRoomScheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            room = "/".join(file.split("/")[:2])
            if room == "tests/tutorials":  # a process each: the end is then even
                return nodeid
            return file if room == "tests/lab" else room

    loads = config.getoption("dist") == "loadfile"
    return LoadRoomScheduling(config, log) if loads else None


def pytest_report_header(config):
    """Tell what a failure depends on."""
    seed = config.getoption("--shuffle")
    return None if seed is None else f"files shuffled: --shuffle {seed}"


def pytest_terminal_summary(terminalreporter):
    """Print how quickly panels answered in the browser."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("")
    told = [
        text
        for report in reports
        if report.when == "call"
        for name, text in report.user_properties
        if name == "latency"
    ]
    if told:
        terminalreporter.section("from mouse to picture")
        terminalreporter.write_line("\n".join(told))


#: Where nobody writes who is told of a doubt: our library, all others, and Python's.
LIBRARIES = {HERE.parent / name for name in ("batteryxr", "accessors", "widgets")}
LIBRARIES |= {Path(sysconfig.get_path(n)).resolve() for n in ("purelib", "stdlib")}


class UsersLines:
    """Stands for the module warnings: each warning points at a line of a user."""

    def __getattr__(self, name):
        return getattr(warnings, name)

    def warn_explicit(self, message, category, filename, lineno, **where):
        """Warn, unless the line is of a library; what a library said is handed on."""
        library = not LIBRARIES.isdisjoint(Path(filename).resolve().parents)
        handed_on = isinstance(message, Warning)
        assert handed_on or not library, f"{filename}:{lineno} is blamed: {message}"
        warnings.warn_explicit(message, category, filename, lineno, **where)


@pytest.fixture(scope="session", autouse=True)
def _warnings_point_at_the_users_line():
    """Hold every warning of every test to it, through accessors and callbacks too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batteryxr.core.errors, "warnings", UsersLines())
        yield


@contextmanager
def refuse_compute() -> Iterator[None]:
    """Fail if dask computes anything inside the block."""

    def refuse(graph, keys, **kwargs):
        raise AssertionError("computed while building the graph")

    with dask.config.set(scheduler=refuse):
        yield


@pytest.fixture
def no_compute() -> Callable[[], object]:
    """Return a context manager under which dask refuses to compute."""
    return refuse_compute


@pytest.fixture(scope="session")
def fork() -> Callable[..., Any]:
    """Return a function that runs code in another process."""
    return processes.forking()


@pytest.fixture(scope="session")
def forked_kernels() -> Iterator[Path]:
    """Return the JUPYTER_PATH of kernels forked from a process that has imported all.

    They begin a notebook within half a second instead of six.
    """
    pytest.importorskip("ipykernel")
    with TemporaryDirectory(prefix="bx") as folder, processes.kernels(Path(folder)):
        yield Path(folder)


@pytest.fixture
def forked_workers() -> Iterator[None]:
    """Let workers of a cluster fork from one process that has imported all."""
    processes.server()
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield


@pytest.fixture(scope="session")
def answers() -> Path:
    """Return the folder of what others' code makes of the measured data."""
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def measured() -> Callable[[str], Path]:
    """Return a function that finds measured data, or skips the test.

    It takes the name of a sample of `batteryxr.sample`, or one with a path in it, such
    as ``"cyclers/neware"``. What cannot be fetched may lie in the same way in the
    folder that ``BATTERYXR_SAMPLES`` names. Tests use the network only where
    ``BATTERYXR_FETCH=1`` allows it.
    """

    @cache
    def folder(name: str) -> Path | None:
        if os.environ.get("BATTERYXR_FETCH") == "1":
            return batteryxr.sample(name)
        return batteryxr.samples.local(name)

    def find(place: str) -> Path:
        name, _, rest = place.partition("/")
        candidates = []
        if name in batteryxr.sample() and (found := folder(name)):
            candidates.append(found / rest)
        if given := os.environ.get(batteryxr.samples.STAND_IN):
            candidates.append(Path(given) / place)
        for path in candidates:
            if path.exists():
                return path
        pytest.skip(f"data: {place} is neither cached nor in BATTERYXR_SAMPLES")

    return find
