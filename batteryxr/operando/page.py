"""One HTML page that opens with no internet: text, tables and live figures."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batteryxr.core.plotting import load_hvplot
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2733; background: #fff;
       max-width: 1060px; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #d7dee6; }
.lead { color: #51606f; margin-top: 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; vertical-align: top; }
thead th { border-bottom: 1px solid #d7dee6; font-weight: 600; }
td.number, th.number { text-align: right; }
.note { background: #fff6e0; border-left: 4px solid #e0a100; padding: .5rem .9rem;
        margin: .5rem 0; }
pre { background: #f4f6f8; padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; }
.scroll { overflow-x: auto; }
"""


class Report:
    """A page that is filled from top to bottom and written once.

    Parameters
    ----------
    title
        Heading of the page.
    lead
        One sentence under it.
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self._title = title
        self._body: list[str] = [
            f"<h1>{html.escape(title)}</h1>",
            f"<p class='lead'>{html.escape(lead)}</p>",
        ]
        self._figures: list[Any] = []

    def heading(self, text: str) -> None:
        """Start a section."""
        self._body.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._body.append(f"<p>{html.escape(text)}</p>")

    def notes(self, texts: Iterable[str]) -> None:
        """Add highlighted remarks, for what the reader must not miss."""
        for text in texts:
            self._body.append(f"<p class='note'>{html.escape(text)}</p>")

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
        self._body.append(f"\0{len(self._figures)}\0")
        self._figures.append(plot)

    def write(self, path: str | Path) -> Path:
        """Write the page; its only file, with Bokeh's script inside."""
        script, figures = _embed(self._figures)
        body = "\n".join(self._body)
        for number, figure in enumerate(figures):
            body = body.replace(f"\0{number}\0", figure)
        page = (
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width'>"
            f"<title>{html.escape(self._title)}</title><style>{_STYLE}</style>"
            f"{script}</head><body>{body}"
            f"<p class='lead'>Made by batteryxr {html.escape(__version__)}.</p>"
            "</body></html>"
        )
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
        return path


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"<td class='number'>{'–' if value != value else f'{value:.5g}'}</td>"
    if isinstance(value, int):
        return f"<td class='number'>{value}</td>"
    return f"<td>{html.escape(str(value))}</td>"


def _embed(plots: list[Any]) -> tuple[str, list[str]]:
    if not plots:
        return "", []
    hv = load_hvplot()
    from bokeh.embed import components
    from bokeh.resources import Resources

    models = [hv.render(plot, backend="bokeh") for plot in plots]
    script, figures = components(tuple(models))
    bundle = Resources(mode="inline", components=["bokeh", "bokeh-api"]).render()
    return bundle + script, list(figures)
