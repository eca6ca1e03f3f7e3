"""Keep the pictures of the tutorials in them.

``python docs/images/notebook_pictures.py`` writes them, or those of some by name.
Each tutorial is run, or the copy taken that ``tests/tutorials`` has left; of its
outputs, texts and tables stay, and each figure becomes one PNG. So a notebook shows
what it gives wherever it is looked at: on a page, in a browser without a kernel, where
numba is missing. Takes Chromium.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).parents[2]
EXECUTED = ROOT / "docs" / "_build" / "executed"
#: Bytes of the largest picture, and colours of a smaller one where it would be larger.
MOST, COLOURS = 400_000, 128
#: White pixels around a picture.
_EDGE = 6
_LOAD = "application/vnd.holoviews_load.v0+json"
_FIGURE = "application/vnd.holoviews_exec.v0+json"
_WIDGET = "application/vnd.jupyter.widget-view+json"


def main(*names: str) -> None:
    """Write the outputs of tutorials whose names contain any of these, or of all."""
    for path in sorted((ROOT / "tutorials").glob("*.ipynb")):
        if names and not any(name in path.name for name in names):
            continue
        notebook = executed(path)
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{number}"
            if cell.cell_type == "code":
                cell.outputs = [o for o in map(kept, cell.outputs) if o is not None]
                cell.execution_count = None
                cell.metadata.pop("execution", None)
        notebook.metadata.pop("widgets", None)
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB", flush=True)


def executed(path: Path) -> Any:
    """Return a notebook that has run: the copy of the tests where it is of this one."""
    source = nbformat.read(path, 4)
    copy = EXECUTED / path.name
    if copy.exists():
        ran = nbformat.read(copy, 4)
        if [c.source for c in ran.cells] == [c.source for c in source.cells]:
            return ran
    from nbclient import NotebookClient

    for cell in source.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        NotebookClient(
            source, timeout=900, kernel_name="python3", resources=place
        ).execute()
    EXECUTED.mkdir(parents=True, exist_ok=True)
    nbformat.write(source, copy)
    return source


def kept(output: Any) -> Any | None:
    """Return an output as it is kept; None for bars, and for what prepares figures."""
    if output.output_type == "stream":
        return None if output.name == "stderr" else output
    data = output.get("data", {})
    html = data.get("text/html", "")
    if not data or _LOAD in data or _WIDGET in data or 'class="logo-block"' in html:
        return None
    output.pop("execution_count", None)
    if output.output_type == "execute_result":
        output.execution_count = None
    if _FIGURE in data:
        picture = drawn(html)
        if picture is None:
            return None
        output.data = {"image/png": base64.b64encode(picture).decode()}
        output.metadata = {}
    return None if '<script type="esms-options">' in html else output


def drawn(html: str) -> bytes | None:
    """Return the figure in HTML of HoloViews as PNG; None where it has only wires."""
    import panel  # noqa: F401  - a document may mention its models
    from bokeh.document import Document

    start = re.search(r"docs_json = ", html)
    if start is None:
        raise ValueError(f"no Bokeh document in the figure {html[:200]!r}")
    documents, _ = json.JSONDecoder().raw_decode(html, start.end())
    (document,) = documents.values()
    if any("panel.models" in root["name"] for root in document["roots"]):
        return None
    loaded = Document.from_json(document | {"defs": []})
    models = [m for root in loaded.roots for m in _plots(root)]
    loaded.clear()
    if not models:
        raise ValueError(f"no plot in the Bokeh document {document['roots']!r:.200}")
    return picture(models[0])


def picture(model: Any) -> bytes:
    """Return a Bokeh figure as PNG, as Chromium draws it, without a network."""
    from bokeh.embed import json_item
    from PIL import Image, ImageChops, ImageOps

    if hasattr(model, "toolbar_location"):
        model.toolbar_location = None
    logging.getLogger("bokeh.core.validation.check").setLevel(logging.ERROR)
    page = _page()
    page.evaluate("document.body.innerHTML = '<div id=shown></div>'")
    page.evaluate("item => Bokeh.embed.embed_item(item)", json_item(model, "shown"))
    page.wait_for_timeout(700)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    white = Image.new("RGB", image.size, "white")
    box = ImageChops.difference(image, white).getbbox()
    if box is None:
        raise ValueError("the picture is empty")
    image = ImageOps.expand(image.crop(box), _EDGE, "white")
    for colours in (256, COLOURS, 32):
        held = io.BytesIO()
        image.quantize(colours).save(held, "PNG", optimize=True)
        if held.tell() <= MOST:
            return held.getvalue()
    raise ValueError(f"a picture of {image.size} pixels takes more than {MOST} bytes")


@cache
def _page() -> Any:
    """Return a page of Chromium that has BokehJS, from the installed package."""
    import bokeh
    from playwright.sync_api import sync_playwright

    browser = (
        sync_playwright()
        .start()
        .chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
    )
    page = browser.new_page(viewport={"width": 1500, "height": 1800})
    page.set_content("<body style='margin: 0'></body>")
    scripts = Path(bokeh.__file__).parent / "server/static/js"
    for name in ("bokeh", "bokeh-gl", "bokeh-widgets", "bokeh-tables"):
        page.add_script_tag(path=scripts / f"{name}.min.js")
    return page


def _plots(model: Any) -> list[Any]:
    """Leave out the empty boxes on both sides of a figure."""
    from bokeh.models import GridPlot, Plot

    if isinstance(model, Plot | GridPlot):
        return [model]
    return [p for child in getattr(model, "children", []) for p in _plots(child)]


if __name__ == "__main__":
    main(*sys.argv[1:])
