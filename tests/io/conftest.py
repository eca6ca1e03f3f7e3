"""Let the reader tests import what they share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import damage


@pytest.fixture
def copies(pytestconfig) -> int:
    """Return how many damaged copies of a file are read: each kind twice, or many."""
    return 200 if pytestconfig.getoption("--long") else 2 * len(damage.DAMAGES)
