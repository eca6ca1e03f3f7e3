"""Fixtures that all tests share."""

from __future__ import annotations

import os
import random
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import dask
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]

# Property tests try the same examples each time. HYPOTHESIS_PROFILE=random tries new
# ones, and keeps in .hypothesis what failed. A busy machine is no failure.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("random", derandomize=False, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser):
    """Let the files run in another order, where one may depend on another."""
    parser.addoption(
        "--shuffle",
        type=int,
        metavar="SEED",
        help="run the test files in a random order, tests inside a file as they stand",
    )


def pytest_collection_modifyitems(config, items):
    """Put the files in the order that --shuffle asks for."""
    seed = config.getoption("--shuffle")
    if seed is None:
        return
    files = [list(tests) for _, tests in groupby(items, key=lambda item: item.path)]
    random.Random(seed).shuffle(files)
    items[:] = [test for tests in files for test in tests]


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
def shared_data() -> Callable[[str], Path]:
    """Return a function that finds a measured data set, or skips the test."""

    def find(name: str) -> Path:
        path = ROOT.parent / "shared" / "data" / name
        if not path.exists():
            pytest.skip(f"measured data {name!r} are not beside this checkout")
        return path

    return find
