"""The gallery: each script of ``docs/gallery`` run, its code and its figure a page."""

from __future__ import annotations

import ast
import runpy
from typing import TYPE_CHECKING, Any

from builder import DOCS, figures, pages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCRIPTS = DOCS / "gallery"

_INDEX = """\
# Gallery

Results of `batteryxr.simulate`, each with the code that made it, all of it; nothing is
needed beside the library. The figures on the pages are live: zoom, pan, hover.

"""


def scripts() -> list[Path]:
    """Return the scripts in the order of the page."""
    return sorted(SCRIPTS.glob("[0-9]*.py"))


def write(folder: Path, *, say: Callable[[str], Any] = print) -> list[Path]:
    """Write a page for each script, and one that shows them all."""
    import nbformat

    texts, cards = {}, []
    for script in scripts():
        title, text, code = parts(script)
        page = folder / f"{script.stem}.ipynb"
        if not _is_of(page, code):
            say(f"running gallery/{script.name}")
        made = page.read_text("utf-8") if _is_of(page, code) else None
        texts[page.name] = made or nbformat.writes(_page(title, text, code, script))
        cards.append(_card(title, script))
    names = "\n".join(path.stem for path in scripts())
    toctree = f"\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"
    cards = ["::::{container} gallery", *cards, "::::"]
    texts["index.md"] = _INDEX + "\n".join(cards) + toctree
    return pages.write(folder, texts, pattern="*.ipynb")


def thumbnail(script: Path) -> Path:
    """Return where the small picture of a script is kept."""
    return SCRIPTS / "thumbnails" / f"{script.stem}.png"


def parts(script: Path) -> tuple[str, str, str]:
    """Return title, text and code of a script: its docstring, and what follows."""
    source = script.read_text("utf-8")
    title, _, text = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")
    body = ast.parse(source).body
    code = "\n".join(source.splitlines()[body[0].end_lineno :])
    return title.rstrip("."), text, code.strip()


def figure_of(script: Path) -> Any:
    """Run a script and return its ``figure`` as a Bokeh model."""
    from batteryxr.core.plotting import load_hvplot
    from batteryxr.core.progress import watched

    hv = load_hvplot()
    with watched(lambda *_: None):  # no bars
        made = runpy.run_path(str(script))["figure"]
    return hv.render(made, backend="bokeh")


def _page(title: str, text: str, code: str, script: Path) -> Any:
    import nbformat

    v4 = nbformat.v4
    html = figures.embedded(figure_of(script))
    shown = v4.new_output("execute_result", {"text/html": html}, execution_count=1)
    cells = [
        v4.new_markdown_cell(f"# {title}\n\n{text}"),
        v4.new_code_cell(code, outputs=[shown], execution_count=1),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    notebook = v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def _is_of(page: Path, code: str) -> bool:
    import nbformat

    return page.exists() and nbformat.read(page, 4).cells[1].source == code


def _card(title: str, script: Path) -> str:
    picture = f"[![{title}](thumbnails/{script.stem}.png)]({script.stem}.ipynb)"
    return f":::{{container}} card\n{picture}\n\n[{title}]({script.stem}.ipynb)\n:::"
