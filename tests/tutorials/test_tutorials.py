"""Tutorials run from top to bottom, and carry their numbers and pictures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted(ROOT.joinpath("tutorials").glob("*.ipynb"))
#: Bytes of the largest picture.
MOST = 400_000
#: Those on coherent diffraction take as long as all others together.
LONG = ("05_", "06_")
RUNS = [
    pytest.param(path, marks=[pytest.mark.long] if path.name.startswith(LONG) else [])
    for path in TUTORIALS
]
#: Copies that have run are kept for the documentation, which shows them.
EXECUTED = ROOT / "docs" / "_build" / "executed"


@pytest.fixture(scope="module")
def nbformat():
    """Return nbformat: its import takes three seconds, of tests of tutorials alone."""
    return pytest.importorskip("nbformat")


def test_there_are_tutorials():
    assert TUTORIALS


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_what_is_kept_needs_no_kernel_and_no_internet(path, nbformat):
    """Texts, tables and pictures: `docs/images/notebook_pictures.py` writes them."""
    for cell in nbformat.read(path, 4).cells:
        assert cell.get("execution_count") is None
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            assert set(data) <= {"text/plain", "text/html", "image/png"}, set(data)
            assert "<script" not in data.get("text/html", "")
            assert len(data.get("image/png", "")) * 3 / 4 <= MOST
            assert output.output_type != "error"


def test_the_first_hour_imports_nothing_from_inside_and_folds_its_solutions(nbformat):
    (first,) = (p for p in TUTORIALS if p.name.startswith("00_"))
    cells = nbformat.read(first, 4).cells
    code = "\n".join(c.source for c in cells if c.cell_type == "code")
    assert re.findall(r"^(?:from|import) .*", code, re.MULTILINE) == [
        "import batteryxr"
    ]
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    assert text.count("### Exercise") == text.count("<details><summary>Solution") == 3
    assert "numba" in text


@pytest.mark.slow
@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_tutorial_runs(path, tmp_path, nbformat, measured, forked_kernels, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(path, 4)
    if path.name.startswith("00_"):
        measured("lno-operando")
    monkeypatch.setenv("JUPYTER_PATH", str(forked_kernels))
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    EXECUTED.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, EXECUTED / path.name)
