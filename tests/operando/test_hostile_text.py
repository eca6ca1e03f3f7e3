"""Texts of a stranger's files and stores are shown: they run nothing, fetch nothing."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.plotting import as_title, axis_label, load_hvplot, plain
from batteryxr.operando import Report

#: Each runs or fetches something where it is taken for more than text.
HOSTILE = (
    "<script>fetch('//evil.test')</script>",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "'\"><svg onload=alert(1)>",
    "<iframe src='//evil.test'></iframe>",
    "@{y}{safe}<b onmouseover=alert(1)>",
    "$$\\href{javascript:alert(1)}{x}$$",
    "\\[x\\]",
    "\\(x\\)",
    "$$$",
)


class Tags(HTMLParser):
    """Tags of a page, and what their attributes say; texts of scripts apart."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.told: list[tuple[str, str]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.told += [(name, value or "") for name, value in attrs]


def tags(page: str) -> Tags:
    parser = Tags()
    parser.feed(page)
    return parser


def figure(text: str):
    """Return a figure with a hover tool, all of whose texts are one text."""
    hv = load_hvplot()
    data = xr.DataArray(
        np.arange(4.0),
        dims="x",
        name="value",
        coords={"x": np.arange(4.0), "label": ("x", [text] * 4)},
        attrs={"long_name": text, "units": text},
    )
    table = {"x": data["x"].values, "y": data.values, "text": [text] * 4}
    dims = [hv.Dimension("x", label=text), hv.Dimension("y", label=axis_label(data))]
    points = hv.Points(table, dims, hv.Dimension("text", label=text), label=text)
    return points.opts(tools=["hover"], title=as_title(text), show_legend=True)


def report(text: str) -> Report:
    page = Report(text, text)
    page.heading(text)
    page.text(text)
    page.notes([text])
    page.code(text)
    page.facts([(text, text)])
    page.table([text, text], [[text, 1.0]])
    return page


@pytest.mark.parametrize("text", HOSTILE)
def test_a_report_shows_texts_as_they_are(tmp_path, text):
    page = report(text).write(tmp_path / "a.html").read_text()
    plainly = report("plain").write(tmp_path / "b.html").read_text()
    assert tags(page).tags == tags(plainly).tags
    assert tags(page).told == tags(plainly).told


def test_figures_of_a_report(tmp_path, monkeypatch):
    """Hover tools show columns as text; no text becomes a formula, a script, a page."""
    import bokeh.embed

    seen = []

    def watched(models):
        seen.extend(m for figure in models for m in figure.references())
        return "", ["<div></div>"] * len(models)

    monkeypatch.setattr(bokeh.embed, "components", watched)
    page = Report("figures")
    for text in HOSTILE:
        page.figure(figure(text))
    page.write(tmp_path / "a.html")
    by_name: dict[str, list] = {}
    for model in seen:
        by_name.setdefault(type(model).__name__, []).append(model)
    assert len(by_name["HoverTool"]) >= len(HOSTILE)
    for hover in by_name["HoverTool"]:
        assert isinstance(hover.tooltips, list)  # a text would be taken for a page
        for _, column in hover.tooltips:
            assert "{safe}" not in column
            assert "<" not in column
        assert not hover.formatters
    assert not by_name.keys() & {"CustomJS", "CustomJSHover", "Div", "TeX"}
    for model in [
        *by_name["Title"],
        *by_name["LinearAxis"],
        *by_name.get("LegendItem", []),
    ]:
        for value in model.properties_with_values().values():
            if isinstance(value, str):
                assert plain(value) == value


@pytest.mark.parametrize("text", ["$$x$$", "\\[x\\]", "\\(x\\)", "a $$$ b"])
def test_labels_hold_no_formula(text):
    data = xr.DataArray([1.0], dims="x", attrs={"long_name": text, "units": text})
    label = axis_label(data)
    assert not any(mark in label for mark in ("$$", "\\[", "\\]", "\\(", "\\)"))
    assert label.replace("\u2060", "") == f"{text} ({text})"
    assert plain("x (V), 5 $") == "x (V), 5 $"
