"""The panel of clusters, by mouse: lasso both ways, and the spectrum of a pixel."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import numpy as np, xarray as xr, batteryxr
from scipy.ndimage import gaussian_filter
rng = np.random.default_rng(0)
fields = np.array([gaussian_filter(rng.normal(size=(60, 80)), 7) for _ in range(3)])
domain = fields.argmax(axis=0)
energy = np.linspace(5460, 5500, 40)
edge = 5474.0 + 3 * domain + rng.normal(0, 0.3, domain.shape)
area = 1.0 - 0.3 * domain + rng.normal(0, 0.06, domain.shape)
mu = 0.5 + np.arctan((energy[:, None, None] - edge) / 2) / np.pi
mu += rng.normal(0, 0.01, mu.shape)
y, x = (("y", 30.0 * np.arange(60)), ("x", 30.0 * np.arange(80)))
stack = xr.DataArray(mu.astype("float32"), dims=("energy", "y", "x"), name="absorption",
    coords={"energy": ("energy", energy, {"units": "eV", "long_name": "Energy"})},
    attrs={"units": "1", "long_name": "Absorption"})
maps = xr.Dataset({
    "edge_energy": (("y", "x"), edge, {"units": "eV", "long_name": "Edge energy"}),
    "peak_area": (("y", "x"), area, {"units": "1", "long_name": "Peak area"})})
depth = xr.DataArray(1.0 + domain, dims=("y", "x"), attrs={"units": "1"})
panel = maps.xanes.panel(spectra=stack, weights=depth)
panel
"""
LIT = """() => (document.querySelector('[data-plot=space] .bx-chosen')
  ?.getAttribute('d') ?? '').split('M').length - 1"""


def _loop(page, box, left, top, right, bottom):
    """Draw a rectangle as a loop, in shares of the box."""
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    places = [
        (box["x"] + a * box["width"], box["y"] + b * box["height"]) for a, b in corners
    ]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()


def test_lasso_both_ways_and_the_pixel_behind(
    notebook, healthy, foot, readable, reopened, tmp_path
):
    page = notebook(SETUP)
    page.wait_for_selector("[data-plot=spectra] path.bx-line", timeout=120_000)
    page.wait_for_selector("[data-plot='order inertia'] path.bx-line", timeout=60_000)
    page.wait_for_timeout(500)

    # a loop on the map: those points of the feature space, and the mask in the kernel
    canvas = page.locator("[data-plot=labels] canvas")
    canvas.scroll_into_view_if_needed()
    _loop(page, canvas.bounding_box(), 0.25, 0.25, 0.75, 0.75)
    page.wait_for_timeout(500)
    chosen = int(page.ask("print(int(panel.selected.sum()))"))
    assert abs(chosen - 1200) < 150
    assert page.evaluate(LIT) > 500

    # a loop in the feature space: the pixels of the lowest edge light up
    svg = page.locator("[data-plot=space] svg.bx-curves")
    _loop(page, svg.bounding_box(), 0.12, 0.02, 0.4, 0.9)
    page.wait_for_timeout(500)
    page.locator(".bx-panel").screenshot(path=tmp_path / "clusters.png")
    of_lowest = "panel.result['label'].where(panel.selected)"
    assert int(page.ask("print(int(panel.selected.sum()))")) > 300
    assert page.ask(
        f"print(float(({of_lowest} == 1).sum() / panel.selected.sum()) > .95)"
    ) == ("True")

    # where the pointer rests: the spectrum of that pixel
    canvas.hover(position={"x": 40, "y": 60})
    page.wait_for_selector("[data-plot=pixel] circle")
    assert "Pixel y" in page.locator("[data-plot=pixel] h4").inner_text()

    # the slider, by keyboard
    page.locator(".noUi-handle").first.focus()
    page.keyboard.press("ArrowLeft")
    lines = "document.querySelectorAll('[data-plot=spectra] path.bx-line').length"
    page.wait_for_function(f"() => {lines} === 2", timeout=30_000)
    assert page.ask("print(panel.n_clusters)") == "2"
    assert (
        page.ask(
            "print(panel.result.equals(eval(panel.code, globals(), {'depth': depth})))"
        )
        == "True"
    )
    foot(page)

    # what cannot be is said inside the panel, also in the dark
    page.ask("panel.model.mask = maps.edge_energy < 0; panel.model.refresh()")
    page.locator(".bx-message").wait_for(state="visible")
    assert "mask" in page.locator(".bx-message").inner_text()
    page.ask("panel.model.mask = None; panel.model.refresh(); panel.result")
    page.locator(".bx-message").wait_for(state="hidden")
    readable(page, dark=False)
    dark = "jupyterapp.commands.execute('apputils:change-theme', {theme})"
    page.evaluate(dark.format(theme="{theme: 'JupyterLab Dark'}"))
    page.wait_for_timeout(500)
    readable(page, dark=True)

    # there again without any kernel
    code = page.locator(".bx-code").inner_text()
    reopened(page)
    assert page.locator(".bx-code").inner_text() == code
    assert page.evaluate(f"() => {lines}") == 2
    assert page.locator("[data-plot=labels] canvas").count() == 1
    healthy(page)
