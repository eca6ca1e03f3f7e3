"""A scan of a known object, and what spoils it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def fuzz():
    """Return the script that spoils scans, with a simulator of its own."""
    script = Path(__file__).parents[3] / "benchmarks" / "truth" / "ptychography_fuzz.py"
    spec = importlib.util.spec_from_file_location("ptychography_fuzz", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def scan(fuzz):
    return fuzz.clean_scan()
