"""Tutorials run from top to bottom, and are committed without outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted(ROOT.joinpath("tutorials").glob("*.ipynb"))
#: Those on coherent diffraction take as long as all others together.
LONG = ("05_", "06_")
RUNS = [
    pytest.param(path, marks=[pytest.mark.long] if path.name.startswith(LONG) else [])
    for path in TUTORIALS
]
#: Copies that have run are kept for the documentation, which shows them.
EXECUTED = ROOT / "docs" / "_build" / "executed"


def test_there_are_tutorials():
    assert TUTORIALS


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_no_outputs_are_committed(path):
    for cell in nbformat.read(path, 4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.slow
@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_tutorial_runs(path, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(path, 4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    EXECUTED.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, EXECUTED / path.name)
