"""Executed notebooks, made fit for a page."""

from __future__ import annotations

from typing import Any

from builder import figures

_PROGRESS = "application/vnd.jupyter.widget-view+json"
#: Signs of HTML that prepares a notebook for figures and shows nothing.
_PREPARATION = ('<script type="esms-options">', 'class="logo-block"')


def for_page(notebook: Any) -> Any:
    """Return a notebook whose outputs need no kernel, no widgets and no internet.

    What prepares a notebook for figures, and progress bars, are left out; figures
    draw themselves.
    """
    for cell in notebook.cells:
        if cell.cell_type == "code":
            shown = (_output(output) for output in cell.outputs)
            cell.outputs = [output for output in shown if output is not None]
    notebook.metadata.pop("widgets", None)
    return notebook


def _output(output: Any) -> Any | None:
    if output.output_type == "stream":
        return None if output.name == "stderr" else output
    data = output.get("data", {})
    if not data or figures.LOAD in data or _PROGRESS in data:
        return None
    html = data.get("text/html", "")
    if figures.FIGURE in data:
        drawn = figures.static(html)
        if drawn is None:
            return None
        output.data = {"text/html": drawn}
        output.metadata = {}
    elif any(sign in html for sign in _PREPARATION):
        return None
    return output
