"""Figures for papers: sizes, colours and words are those of the screen."""

from __future__ import annotations

import re

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr.core.errors import ArgumentError, DataError, StoreError
from batteryxr.core.plotting import BRANCH_COLOURS, dimension, load_hvplot

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module", autouse=True)
def loaded():
    load_hvplot()


@pytest.fixture(scope="module")
def plot(loaded):
    x = np.linspace(0, 1, 50)
    curves = [
        hv.Curve((x, s * x), "Capacity (mA h)", "Voltage (V)", label=name).opts(
            color=BRANCH_COLOURS[name], line_width=4
        )
        for s, name in ((1, "charge"), (2, "discharge"))
    ]
    band = hv.Area((x, x, x + 0.2), "Capacity (mA h)", ["Voltage (V)", "upper"])
    points = hv.Scatter((x[::10], x[::10]), "Capacity (mA h)", "Voltage (V)")
    overlay = hv.Overlay([*curves, band, points, hv.VLine(0.5), hv.VSpan(0.6, 0.7)])
    return overlay.opts(width=500, height=300, legend_position="right")


def _pixels(path):
    from matplotlib.image import imread

    return (imread(path)[..., :3] * 255).round().astype(int)


def test_size_and_colours_are_those_of_the_screen(plot, tmp_path):
    pixels = _pixels(batteryxr.save_figure(plot, tmp_path / "a.png"))
    assert pixels.shape == (600, 1000, 3)
    for colour in BRANCH_COLOURS["charge"], BRANCH_COLOURS["discharge"]:
        wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        near = np.abs(pixels - wanted).max(-1) <= 2
        assert near.sum() > 1000, colour


@pytest.mark.parametrize("kind", ["number", "time"])
def test_quantities_of_one_long_name_have_ranges_of_their_own(kind):
    """Holoviews would draw both on one range, or fail if one of them is a time."""
    attrs = {"long_name": "Intensity", "units": "1"}
    first = np.linspace(0, 1, 5) if kind == "number" else np.arange(5).astype("M8[s]")
    x = xr.DataArray(first, dims="t", name="x", attrs=attrs)
    y = xr.DataArray(np.linspace(100, 200, 5), dims="t", name="y", attrs=attrs)
    curve = hv.Curve((x.values, y.values), dimension(x), dimension(y))
    figure = hv.render(hv.Overlay([curve]), backend="bokeh")
    assert figure.y_range.start > 50
    if kind == "number":
        assert figure.x_range.end < 2
    assert figure.xaxis.axis_label == figure.yaxis.axis_label == "Intensity"


def test_words_stay_words_and_a_column_is_a_column(plot, tmp_path):
    path = batteryxr.save_figure(plot, tmp_path / "a.svg", width="nature")
    text = path.read_text()
    width = float(re.search(r'width="([\d.]+)pt"', text)[1])
    assert width == pytest.approx(89 / 25.4 * 72, rel=1e-3)
    for words in ("Capacity (mA h)", "Voltage (V)", ">charge<", ">discharge<"):
        assert words in text
    assert "http://" not in re.sub(r"(xmlns|resource|DOCTYPE)[^>]*>", "", text)


def test_plots_become_one_figure_with_letters(plot, tmp_path):
    image = xr.DataArray(
        np.arange(12.0).reshape(3, 4),
        {"y": np.arange(3.0), "x": np.arange(4.0)},
        ("y", "x"),
        name="edge",
    ).hvplot.image(x="x", y="y", cmap="viridis", width=400, height=300)
    text = batteryxr.save_figure(
        [plot, image], tmp_path / "two.svg", width=180.0
    ).read_text()
    assert ">a<" in text
    assert ">b<" in text
    with_layout = batteryxr.save_figure((plot + image).cols(2), tmp_path / "row.png")
    assert _pixels(with_layout).shape == (600, 1800, 3)
    assert batteryxr.save_figure(plot, tmp_path / "a.pdf").read_bytes()[:4] == b"%PDF"


def test_panels_one_above_the_other_share_their_edges(tmp_path):
    wide = {"width": 500, "height": 200}
    x = np.arange(4.0)
    panels = [hv.Curve((x, y)).opts(**wide) for y in (x, 1e5 + 1e-3 * x)]
    path = batteryxr.save_figure(hv.Layout(panels).cols(1), tmp_path / "two.png")
    dark = (_pixels(path).sum(2) < 400).sum(0)  # frames: dark over both heights
    left = np.flatnonzero(dark > 0.6 * dark.max())[0]
    framed = _pixels(path)[:, left].sum(1) < 400
    assert framed.mean() > 0.6


def test_numbers_of_an_axis_are_written_whole(tmp_path):
    curve = hv.Curve(([0, 1], [1000.01, 1000.02])).opts(width=400, height=300)
    text = batteryxr.save_figure(curve, tmp_path / "a.svg").read_text()
    assert "1000.0" in text
    assert "+1e" not in text


def test_every_scale_and_error_bar_is_drawn(tmp_path):
    bars = hv.ErrorBars(([1.0, 10.0, 100.0], [1.0, 2.0, 3.0], [0.5, 0.5, 0.5]))
    points = hv.Scatter(([1.0, 10.0, 100.0], [1.0, 2.0, 3.0]))
    text = batteryxr.save_figure(
        (points * bars).opts(logx=True, title="Rates"), tmp_path / "e.svg"
    ).read_text()
    assert "Rates" in text
    assert text.count("LineCollection") >= 1
    assert "10" in text


def test_what_cannot_be_saved_is_refused(plot, tmp_path):
    with pytest.raises(ArgumentError, match=r"path=.*\.svg"):
        batteryxr.save_figure(plot, tmp_path / "a.jpg")
    with pytest.raises(ArgumentError, match="width='natur'"):
        batteryxr.save_figure(plot, tmp_path / "a.svg", width="natur")
    with pytest.raises(ArgumentError, match="between 10 and 1000 mm"):
        batteryxr.save_figure(plot, tmp_path / "a.svg", width=3.5)
    with pytest.raises(ArgumentError, match="result="):
        batteryxr.save_figure("a plot", tmp_path / "a.svg")
    batteryxr.save_figure(plot, tmp_path / "a.svg")
    with pytest.raises(StoreError, match="overwrite=True"):
        batteryxr.save_figure(plot, tmp_path / "a.svg")


def _near(pixels, colour):
    wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return np.abs(pixels - wanted).max(-1) <= 2


def test_bars_of_texts_are_all_there_in_their_order(tmp_path):
    rows = [("b", "1", 1.0), ("b", "2", 2.0), ("a", "1", 2.0), ("a", "2", 1.0)]
    bars = hv.Bars(rows, ["sample", "cluster"], "Share").opts(
        stacked=True, cmap=["#ff0000", "#0000ff"], width=400, height=300
    )
    pixels = _pixels(batteryxr.save_figure(bars, tmp_path / "a.png"))
    red, blue = _near(pixels, "#ff0000").sum(0), _near(pixels, "#0000ff").sum(0)
    low, high = np.flatnonzero(red + blue)[[0, -1]]
    left, right = int(low + (high - low) / 4), int(low + 3 * (high - low) / 4)
    assert blue[left] > 1.5 * red[left] > 0  # one of 1 and two of 2 on the left
    assert red[right] > 1.5 * blue[right] > 0
    text = batteryxr.save_figure(bars, tmp_path / "a.svg").read_text()
    assert "Field(" not in text
    for words in (">a<", ">b<", ">1<", ">2<"):
        assert words in text


def test_a_scale_of_colours_and_sizes_are_those_of_the_data(tmp_path):
    values = np.linspace(20.0, 40.0, 6).reshape(2, 3)
    mesh = hv.QuadMesh((np.arange(4.0), np.arange(3.0), values)).opts(
        colorbar=True, cmap=["#ff0000", "#0000ff"]
    )
    text = batteryxr.save_figure(mesh, tmp_path / "mesh.svg").read_text()
    assert re.search(r">(25|30|35)(\.0)?<", text)
    assert not re.search(r">0\.[0-9]<", text)
    points = hv.Scatter(([0.0, 1.0], [0.0, 0.0], [4, 40]), "x", ["y", "of"])
    points = points.opts(size="of", color="#ff0000", line_color="#ff0000", padding=0.5)
    pixels = _near(
        _pixels(batteryxr.save_figure(points, tmp_path / "p.png")), "#ff0000"
    )
    middle = pixels.shape[1] // 2
    assert pixels[:, middle:].sum() > 20 * pixels[:, :middle].sum() > 0


def test_what_would_be_drawn_wrong_is_refused(tmp_path):
    left, right = hv.Curve([1, 2], vdims="u"), hv.Curve([100, 200], vdims="w")
    groups = hv.Bars([("a", "1", 1.0), ("a", "2", 2.0)], ["k", "g"], "v")
    for plot in ((left * right).opts(multi_y=True), groups):
        with pytest.raises(DataError, match="cannot be saved as a figure yet"):
            batteryxr.save_figure(plot, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_a_text_is_never_a_formula(tmp_path):
    curve = hv.Curve([1, 2]).opts(title="cost $x_5$", yticks=[(1, "$\\bar$"), (2, "2")])
    image = hv.Image(np.eye(3), vdims=["$\\frac$"]).opts(colorbar=True)
    bars = hv.Bars([("$\\sqrt$", 1.0), ("b", 2.0)])
    text = batteryxr.save_figure([curve, image, bars], tmp_path / "a.svg").read_text()
    for shown in ("cost $x_5$", "$\\bar$", "$\\frac$", "$\\sqrt$"):
        assert f">{shown}<" in text


def test_a_legend_beside_the_frame_stays_there_and_whole(tmp_path):
    x = np.arange(3.0)
    names = [f"a spectrum with a long name {k}" for k in range(6)]
    for side in "bottom", "top":
        curves = [hv.Curve((x, k * x), label=name) for k, name in enumerate(names)]
        plot = hv.Overlay(curves).opts(legend_position=side, width=500, height=300)
        text = batteryxr.save_figure(plot, tmp_path / f"{side}.svg").read_text()
        at = {}
        for words in ("x", *names):
            found = re.search(
                rf"<text[^>]*?([\d.]+)[ ,\"y=]+([\d.]+)[^\d>]*>{words}<", text
            )
            at[words] = float(found[1]), float(found[2])
        assert all(0 < at[name][0] < 375 - 130 for name in names)
        below = [at[name][1] > at["x"][1] for name in names]
        assert all(below) if side == "bottom" else not any(below)


def test_few_numbers_of_a_logarithmic_axis_are_written_out(tmp_path):
    curve = hv.Curve(([54.0, 55.0, 56.0], [1, 2, 3])).opts(logx=True, show_grid=True)
    text = batteryxr.save_figure(curve, tmp_path / "a.svg").read_text()
    assert ">55.0<" in text
    assert "10^" not in text
    assert "times" not in text


def test_dates_have_the_range_of_the_screen(tmp_path):
    days = np.datetime64("2026-03-14T10:00", "ns") + np.arange(4) * 7_200_000_000_000
    mesh = hv.QuadMesh((days, [1.0, 2.0], np.ones((2, 4))), ["Time (UTC)", "y"], "z")
    pixels = _pixels(batteryxr.save_figure(mesh.opts(width=500), tmp_path / "a.png"))
    row = pixels[pixels.shape[0] // 2].sum(1)
    frame = np.flatnonzero(row < 300)[[0, -1]]
    assert (row[frame[0] : frame[1]] == 765).mean() < 0.02  # white: beside the data
    text = batteryxr.save_figure(mesh, tmp_path / "a.svg").read_text()
    assert "2026-Mar-14" in text
    assert ">10:00<" in text or ">12:00<" in text


def test_a_last_row_of_one_plot_is_not_drawn_out(tmp_path):
    plots = [hv.Curve([1, 2]).opts(width=300, height=200) for _ in range(4)]
    path = batteryxr.save_figure(hv.Layout(plots).cols(3), tmp_path / "four.png")
    dark = _pixels(path).sum(2) < 400
    assert dark[450:, :600].any()
    assert not dark[450:, 750:].any()


def test_a_scale_of_colours_has_the_numbers_of_the_screen(tmp_path):
    from bokeh.models import FixedTicker

    labels = hv.Image(np.array([[1.0, 2.0], [2.0, 3.0]])).opts(
        colorbar=True,
        clim=(0.5, 3.5),
        colorbar_opts={"ticker": FixedTicker(ticks=[1, 2, 3])},
    )
    text = batteryxr.save_figure(labels, tmp_path / "a.svg").read_text()
    for number in "123":
        assert f">{number}<" in text
    assert "1.5<" not in text
    assert "3.5<" not in text


def test_a_common_power_of_ten_is_written_as_in_print(tmp_path):
    small = hv.Curve(([1.0, 2.0], [2e-7, 5e-7]))
    text = batteryxr.save_figure(small, tmp_path / "a.svg").read_text()
    assert ">× 10⁻⁷<" in text
    assert "e-7" not in text.lower()


def test_a_series_has_a_key_however_long_it_is(tmp_path):
    energy = np.linspace(8310.0, 8400.0, 12)
    spectra = xr.DataArray(
        np.arange(40.0)[:, None] + energy, dims=("scan", "energy"),
        coords={"scan": np.arange(40), "energy": ("energy", energy, {"units": "eV"})},
        attrs={"units": "1", "long_name": "Absorption"},
    )  # fmt: skip
    plot = spectra.xanes.plot.spectra()
    text = batteryxr.save_figure(plot, tmp_path / "a.svg").read_text()
    named = [k for k in range(40) if f">scan {k}<" in text]
    assert named[0] == 0
    assert named[-1] == 39
    assert 8 <= len(named) <= 12
    drawn = {hv.Store.lookup_options("bokeh", c, "style").kwargs["color"] for c in plot}
    assert len(drawn) == 30


def test_legends_below_do_not_take_the_room_of_the_plot(tmp_path):
    names = [f"2026-03-14 10:{k:02}" for k in range(12)]
    x = np.arange(9.0)
    curves = [hv.Curve((x, k * x), label=name) for k, name in enumerate(names)]
    look = {"legend_position": "bottom", "frame_width": 400, "frame_height": 140}
    for width in (None, "nature"):
        path = batteryxr.save_figure(
            hv.Overlay(curves).opts(**look),
            tmp_path / "a.png",
            width=width,
            overwrite=True,
        )
        dark = _pixels(path).sum(2) < 400
        frame = dark.sum(0) > 0.9 * dark.sum(0).max()
        rows = np.flatnonzero(dark[:, np.flatnonzero(frame)[0]])
        assert np.ptp(rows) > 0.2 * dark.shape[1]


def test_a_surface_in_space_is_told_how_it_is_saved(tmp_path):
    go = pytest.importorskip("plotly.graph_objects")
    with pytest.raises(DataError, match=r"surface in space.*write_html"):
        batteryxr.save_figure(go.Figure(), tmp_path / "surface.svg")


@pytest.mark.parametrize("position", ["top", "bottom"])
def test_legends_of_panels_side_by_side_hide_nothing(plot, position):
    from batteryxr.export.drawing import panels_of
    from batteryxr.export.figures import _draw

    one = plot.opts(legend_position=position, title="Half cycles", clone=True)
    layout = hv.Layout([one, one]).cols(2)
    figure = _draw([panels_of(hv.render(layout, backend="bokeh"))], None, letters=False)
    figure.canvas.draw()
    canvas = figure.canvas.get_renderer()
    for ax in (a for band in figure.subfigs for a in band.axes):
        legend = ax.get_legend().get_window_extent(canvas)
        words = (ax.xaxis.label, ax.title, *ax.get_xticklabels())
        free = [ax.bbox, *(word.get_window_extent(canvas) for word in words)]
        assert not any(legend.shrunk(0.98, 0.9).overlaps(box) for box in free)


def test_a_logarithmic_axis_has_few_readable_numbers():
    from batteryxr.core.plotting import LOG_Y

    for span, most in ((2e-4, 8), (0.5, 8), (9e3, 8)):
        curve = hv.Curve(([1, 2, 3], [span, span / 9, span / 30])).opts(**LOG_Y)
        axis = hv.render(curve, backend="bokeh").yaxis[0]
        inside = [t for t in axis.ticker.ticks if span / 30 <= t <= span]
        assert 3 <= len(inside) <= most
        assert axis.major_label_policy.min_distance > 0
