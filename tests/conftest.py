"""Fixtures that all tests share."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import dask
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]


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
