"""Write a page of a report: text, tables and figures in one file that opens offline."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import ArgumentError, StoreError
from batteryxr.core.files import require_writable, whole_file
from batteryxr.core.plotting import ABOVE, load_hvplot, plain
from batteryxr.core.units import with_power
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --paper: #fff; --quiet: #51606f;
        --rule: #d7dee6; --note: #fff6e0; --code: #f4f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe6ee; --paper: #161b22; --quiet: #9aa7b4; --rule: #39424e;
          --note: #3a2f12; --code: #21272f; }
  .figure { background: #fff; border-radius: 4px; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink);
       background: var(--paper); max-width: 960px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem;
     border-bottom: 1px solid var(--rule); }
.summary { color: var(--quiet); margin-top: 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; vertical-align: top;
         overflow-wrap: anywhere; }
thead th { border-bottom: 1px solid var(--rule); font-weight: 600;
           overflow-wrap: normal; }
td.number, th.number { text-align: right; }
td.number { white-space: nowrap; overflow-wrap: normal; }
.note { background: var(--note); border-left: 4px solid #e0a100; padding: .5rem .9rem;
        margin: .5rem 0; overflow-wrap: anywhere; }
pre { background: var(--code); padding: .8rem 1rem; overflow-x: auto;
      font-size: .85rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.scroll, .figure { overflow-x: auto; max-width: 100%; margin-top: 1rem; }
@media print {
  @page { size: A4; margin: 15mm; }
  body { margin: 0; max-width: none; font-size: 10pt; }
  h2, .figure, tr { break-inside: avoid; }
  h2, h2 + p, p:has(+ .figure) { break-after: avoid; }
  .figure { zoom: .72; overflow: visible; }
  .scroll { overflow: visible; }
}
"""
#: Buttons are no part of a printed figure.
_ON_SCREEN = "@media print { :host { display: none; } }"
#: Mark by which a report is recognised.
_MADE = "<meta name='generator' content='batteryxr'>"


class Report:
    """Hold a page that is filled from top to bottom and written once.

    Parameters
    ----------
    title
        Heading of the page.
    summary
        One sentence below the heading.
    """

    def __init__(self, title: str, summary: str = "") -> None:
        self._title = title
        self._body: list[str | int] = [
            f"<h1>{html.escape(title)}</h1>",
            f"<p class='summary'>{html.escape(summary)}</p>",
        ]
        self._figures: list[Any] = []

    def heading(self, text: str) -> None:
        """Start a section."""
        self._body.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._body.append(f"<p>{html.escape(text)}</p>")

    def notes(self, texts: Iterable[str]) -> None:
        """Add highlighted remarks that the reader must not miss."""
        for text in texts:
            words = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
            self._body.append(f"<p class='note'>{words[:1].upper()}{words[1:]}</p>")

    def code(self, text: str) -> None:
        """Add a block of code."""
        self._body.append(f"<pre>{html.escape(text)}</pre>")

    def facts(self, rows: Iterable[tuple[str, object]]) -> None:
        """Add a two-column table of names and values."""
        cells = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
            for name, value in rows
        )
        self._body.append(f"<table>{cells}</table>")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table; numbers are right-aligned, NaN is a dash."""
        head = "".join(f"<th class='number'>{html.escape(c)}</th>" for c in columns)
        body = "".join(
            "<tr>" + "".join(_cell(v) for v in row) + "</tr>" for row in rows
        )
        self._body.append(
            f"<div class='scroll'><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>"
        )

    def figure(self, plot: Any) -> None:
        """Add an hvplot or holoviews figure."""
        self._body.append(len(self._figures))
        self._figures.append(plot)

    def write(self, path: str | Path) -> Path:
        """Write the page as a single file, with Bokeh's script inside."""
        require_page(path, overwrite=True)  # anything may have been put there meanwhile
        script, figures = _embed(self._figures)
        shown = [f"<div class='figure'>{figure}</div>" for figure in figures]
        body = "\n".join(p if isinstance(p, str) else shown[p] for p in self._body)
        page = (
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width, initial-scale=1'>"
            f"{_MADE}"
            f"<title>{html.escape(self._title)}</title><style>{_STYLE}</style>"
            f"{script}</head><body>{body}"
            f"<p class='summary'>Made by batteryxr {html.escape(__version__)}.</p>"
            "</body></html>"
        )
        with whole_file(path, overwrite=True) as new:
            new.write_text(page, encoding="utf-8", errors="backslashreplace")
        return Path(path)


def require_page(
    path: str | Path, overwrite: bool, *, beside: Path | None = None
) -> None:
    """Raise unless a report can be written to a file outside the store's folder.

    Raises
    ------
    ArgumentError
        If its name does not end in .html, its folder does not exist, or the file would
        be in the store.
    StoreError
        If the file exists and is not to be replaced, or is not a report.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ArgumentError("report", str(path), "a name that ends in .html")
    if not path.parent.is_dir():
        raise ArgumentError("report", str(path), "a file in a folder that is there")
    place = Path(os.path.realpath(path))  # also of links in a circle
    if beside is not None and place.is_relative_to(os.path.realpath(beside)):
        raise ArgumentError("report", str(path), "a file beside the store, not in it")
    if not path.exists() and not path.is_symlink():
        require_writable(path)
        return
    if path.is_symlink() or not path.is_file() or not _is_report(path):
        raise StoreError(
            f"{path} is no report of batteryxr, so it is not replaced. Choose another "
            "file."
        )
    if not overwrite:
        raise StoreError(
            f"{path} is there already. Pass overwrite=True (--overwrite) to replace it."
        )
    require_writable(path)


def _is_report(path: Path) -> bool:
    with path.open("rb") as file:
        return _MADE.encode() in file.read(1000)


def _cell(value: object) -> str:
    if isinstance(value, float):
        text = "–" if value != value else with_power(f"{value:.5g}").replace("-", "−")
        return f"<td class='number'>{text}</td>"
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int):
        return f"<td class='number'>{value}</td>"
    return f"<td>{html.escape(str(value))}</td>"


def _embed(plots: list[Any]) -> tuple[str, list[str]]:
    if not plots:
        return "", []
    hv = load_hvplot()
    from bokeh.embed import components
    from bokeh.embed.bundle import bundle_for_objs_and_resources
    from bokeh.models import GridPlot, LayoutDOM, Plot, Toolbar
    from bokeh.resources import Resources

    models = [hv.render(plot, backend="bokeh") for plot in plots]
    for part in (p for model in models for p in model.select({"type": LayoutDOM})):
        if isinstance(part, Plot | GridPlot):  # no wider than a phone
            part.max_width, part.sizing_mode = part.width, "stretch_width"
    for model in models:
        _without_formulas(model)
        _legends_above(model)
        for tools in model.select({"type": Toolbar}):
            tools.stylesheets = [*tools.stylesheets, _ON_SCREEN]
    script, figures = components(tuple(models))
    bundle = bundle_for_objs_and_resources(models, Resources(mode="inline"))
    bundle.js_files.clear()  # scripts of other loaded packages, which need a server
    return bundle.scripts() + script, list(figures)


def _legends_above(figure: Any) -> None:
    """Move legends from the side to the top, where a phone has room for them."""
    from bokeh.models import Plot

    for part in figure.select({"type": Plot}):
        for legend in [m for m in part.right if type(m).__name__ == "Legend"]:
            part.right = [one for one in part.right if one is not legend]
            part.above = [legend, *part.above]
            texts = [getattr(item.label, "value", None) or "" for item in legend.items]
            across = 280 // (40 + 7 * max(map(len, texts), default=0))
            legend.ncols = max(1, min(len(texts), across))
            legend.orientation = "horizontal"
            legend.location = ABOVE["legend_offset"]


def _without_formulas(figure: Any) -> None:
    """Break up the signs of formulas, for which a browser would fetch a script.

    Texts may come from files and stores of any origin.
    """
    for model in figure.references():
        for name, value in model.properties_with_values(include_defaults=False).items():
            if isinstance(value, str) and plain(value) != value:
                setattr(model, name, plain(value))
