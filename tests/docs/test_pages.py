"""Code of the README and of the pages runs as it stands, on files of the simulator."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

import batteryxr
from batteryxr import extending

ROOT = Path(__file__).parents[2]


def blocks(page):
    """Return the Python of a page, block by block."""
    found = re.findall(r"( *```python\n.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [textwrap.dedent(block).partition("\n")[2] for block in found]


def run(code, held):
    exec(compile(code, "page", "exec"), held)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files under the names that the README gives them."""
    cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    written = batteryxr.simulate.write_cell_experiment(cell, tmp_path / "run")
    (written / "cell.mpt").rename(tmp_path / "cell4.mpt")
    (written / "scans").rename(tmp_path / "xas")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_on_extending_has_all_of_it():
    page = (ROOT / "docs/reference/extending.rst").read_text()
    named = re.findall(r"auto\w+:: [\w.]+\.(\w+)|``([A-Z]\w+)``", page)
    assert {a or b for a, b in named} - {"Literal"} == set(extending.__all__)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_readme_and_the_first_page(folder):
    (code,) = blocks("README.md")
    held = {}
    run(code.replace("fit(3, ", "fit(3, max_iter=20, n_starts=1, "), held)
    assert held["phases"].sizes["component"] == 3
    assert batteryxr.open_store(folder / "cell4.zarr", "xanes/nmf").sizes
    assert {"voltage", "capacity_total"} <= set(held["scans"].coords)
    for line in blocks("docs/cite.md"):
        run(line, held)
    # The first page has fewer of these steps.
    (first,) = blocks("docs/index.md")
    for line in first.splitlines():
        step = re.sub(r"scans.*\.nmf|states.*", "", line.split("#")[0]).strip()
        assert step in code or "fit" in step, line


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("block", blocks("docs/panels.md"))
def test_panels(block):
    assert block.strip().startswith(("from", "import"))  # complete as it stands
    run(block, {})


@pytest.mark.parametrize("page", ["docs/stores.md", "CONTRIBUTING.md"])
def test_other_code_is_python(page):
    for code in blocks(page):
        compile(code, page, "exec")
