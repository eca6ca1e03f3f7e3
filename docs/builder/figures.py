"""Live figures that need no notebook and no internet.

HoloViews writes each figure of a notebook as a Bokeh document for Panel's scripts,
several megabytes a page, or fetched from elsewhere. Here the figure alone is taken
out of that document; one file of BokehJS, from the installed package, draws it.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: What HoloViews marks the outputs with that only prepare a page, or are a figure.
LOAD, FIGURE = (
    "application/vnd.holoviews_load.v0+json",
    ("application/vnd.holoviews_exec.v0+json"),
)
#: How a page tells that it has a figure.
MARK = "bokeh-figure"
#: Width of a page in pixels, and what axes, titles and colour bars take of a picture.
WIDTH, BESIDE, BELOW = 900, 110, 70
SCRIPTS = ("bokeh.min.js", "draw_figures.js")


def static(html: str) -> str | None:
    """Return the figure in HTML of HoloViews as HTML of its own.

    Parameters
    ----------
    html
        As HoloViews displays a figure in a notebook.

    Returns
    -------
    str or None
        None where it holds only the wires of Panel, which a page does without.

    Raises
    ------
    ValueError
        If no figure is found: a page would silently lack it.
    """
    from bokeh.document import Document

    start = re.search(r"docs_json = ", html)
    if start is None:
        raise ValueError(f"no Bokeh document in the figure {html[:200]!r}")
    documents, _ = json.JSONDecoder().raw_decode(html, start.end())
    (document,) = documents.values()
    if any("panel.models" in root["name"] for root in document["roots"]):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _know_models()
        loaded = Document.from_json(document | {"defs": []})
    models = [m for root in loaded.roots for m in _plots(root)]
    loaded.clear()
    if not models:
        raise ValueError(f"no plot in the Bokeh document {document['roots']!r:.200}")
    return "".join(embedded(model) for model in models)


def embedded(model: Any) -> str:
    """Return a Bokeh model as HTML that `SCRIPTS` draw."""
    from bokeh.embed import json_item

    _fit(model)
    name = f"figure-{model.id}"
    # HoloViews leaves sizes to its frames, at which Bokeh's check wonders.
    check = logging.getLogger("bokeh.core.validation.check")
    check.addFilter(_quiet)
    try:
        item = json.dumps(json_item(model, target=name)).replace("</", "<\\/")
    finally:
        check.removeFilter(_quiet)
    return (
        f'<div class="{MARK}" id="{name}"></div>'
        f'<script type="application/json" data-figure="{name}">{item}</script>'
    )


def add_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Load BokehJS on pages with figures, and on no other."""
    if MARK in context.get("body", ""):
        for name in SCRIPTS:
            app.add_js_file(name, loading_method="defer")


def copy_scripts(app: Sphinx, exception: Exception | None) -> None:
    """Put BokehJS beside the pages."""
    import bokeh

    if exception is None and app.builder.format == "html":
        source = Path(bokeh.__file__).parent / "server/static/js" / SCRIPTS[0]
        shutil.copyfile(source, Path(app.outdir) / "_static" / SCRIPTS[0])


def _fit(model: Any) -> None:
    """Make pictures side by side smaller where they would be wider than a page."""
    from bokeh.models import GridPlot

    places = model.children if isinstance(model, GridPlot) else [(model, 0, 0)]
    columns: dict[int, int] = {}
    for figure, _, column, *_ in places:
        frame = figure.frame_width or (figure.width or 0) - BESIDE
        columns[column] = max(columns.get(column, 0), frame)
    room = WIDTH - BESIDE * len(columns)
    if sum(columns.values()) <= room:
        return
    factor = room / sum(columns.values())
    for figure, *_ in places:
        for side, taken in (("width", BESIDE), ("height", BELOW)):
            if (frame := getattr(figure, f"frame_{side}")) is not None:
                setattr(figure, f"frame_{side}", round(factor * frame))
            elif (whole := getattr(figure, side)) is not None:
                setattr(figure, side, round(taken + factor * (whole - taken)))


def _quiet(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _know_models() -> None:
    """Import Panel, whose models a document may mention."""
    import panel  # noqa: F401


def _plots(model: Any) -> list[Any]:
    """Leave out the empty boxes on both sides of a figure."""
    from bokeh.models import GridPlot, Plot

    if isinstance(model, Plot | GridPlot):
        return [model]
    children = getattr(model, "children", [])
    return [plot for child in children for plot in _plots(child)]
