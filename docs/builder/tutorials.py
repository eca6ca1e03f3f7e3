"""The tutorials as pages: executed copies where the tests have left them, else run."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

from builder import DOCS, ROOT, notebooks, pages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SOURCES = ROOT / "tutorials"
#: Where tests/tutorials and this module keep notebooks that have run.
EXECUTED = DOCS / "_build" / "executed"

_TOCTREE = """
```{toctree}
:hidden:
:glob:

[0-9]*
```
"""


def write(folder: Path, *, say: Callable[[str], Any] = print) -> list[Path]:
    """Write a page for each tutorial, and one that lists them."""
    import nbformat

    texts = {"index.md": (SOURCES / "README.md").read_text("utf-8") + _TOCTREE}
    for path in sorted(SOURCES.glob("*.ipynb")):
        notebook = notebooks.for_page(executed(path, say=say))
        notebook.cells.insert(1, nbformat.v4.new_markdown_cell(_where(path)))
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{number}"
        texts[path.name] = nbformat.writes(notebook)
    return pages.write(folder, texts, pattern="*.ipynb")


def executed(path: Path, *, say: Callable[[str], Any] = print) -> Any:
    """Return a notebook with its outputs; run it where no copy of it has run."""
    import nbformat

    source = nbformat.read(path, 4)
    copy = EXECUTED / path.name
    if copy.exists():
        ran = nbformat.read(copy, 4)
        if [c.source for c in ran.cells] == [c.source for c in source.cells]:
            return ran
    say(f"running {path.name}; the tests leave copies that have run in {EXECUTED}")
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        NotebookClient(
            source, timeout=600, kernel_name="python3", resources=place
        ).execute()
    EXECUTED.mkdir(parents=True, exist_ok=True)
    nbformat.write(source, copy)
    return source


def _where(path: Path) -> str:
    return (
        "`batteryxr lab` opens a copy to work in; or "
        f"{{download}}`download it <../../tutorials/{path.name}>`."
    )
