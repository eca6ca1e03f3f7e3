"""The panel of components, by mouse and keyboard."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import numpy as np, xarray as xr, batteryxr
from batteryxr import simulate
tree = simulate.cell_experiment(kind="pdf", n_scans=30, n_cycles=1)
truth = tree["truth"].to_dataset()
joined = tree["echem"].to_dataset().echem.join(tree["scans"].to_dataset())
pdf = joined.pdf.isel(r=slice(None, None, 8))
phases = {"FeO": truth.components[0], "Fe": truth.components[2]}
panel = pdf.nmf.panel(references=phases)
panel
"""


def _slider(page, text):
    return page.locator(".widget-inline-hbox").filter(
        has=page.get_by_text(text, exact=True)
    )


def test_the_stepwise_protocol_by_hand(notebook, drag, healthy, foot, tmp_path):
    page = notebook(SETUP)
    page.wait_for_selector("[data-plot=ratios] path.bx-line", timeout=90_000)
    track = _slider(page, "n").locator(".noUi-target").first.bounding_box()
    handle = _slider(page, "n").locator(".noUi-handle").first.bounding_box()

    # the slider, by mouse: three components, on the screen and in the kernel
    steps = int(page.ask("print(panel.model.most - 1)"))
    drag(
        page,
        (handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2),
        (track["x"] + track["width"] * 2 / steps, track["y"] + track["height"] / 2),
    )
    ratios = "[data-plot=ratios] path.bx-line"
    page.wait_for_function(
        f"() => document.querySelectorAll('{ratios}').length === 3", timeout=30_000
    )
    assert page.ask("print(panel.n_components, panel.result.component.size)") == "3 3"
    assert "≈ FeO" in page.locator("[data-plot=components] .bx-legend").inner_text()

    # ... and by keyboard
    page.locator(".noUi-handle").first.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        f"() => document.querySelectorAll('{ratios}').length === 2", timeout=30_000
    )
    assert page.ask("print(panel.n_components)") == "2"

    # the first scan is a known phase: dotted
    page.get_by_placeholder("name of the phase").fill("pristine")
    page.get_by_role("button", name="Fix", exact=True).click()
    page.wait_for_selector("[data-plot=components] path[stroke-dasharray]")
    assert page.ask("print(panel.fixed)") == "{'pristine': 0}"

    # keep what was found and look for one more, in one click
    page.get_by_placeholder("name it").fill("metal")
    page.get_by_role("button", name="Keep this one and raise n").click()
    page.wait_for_function(
        f"() => document.querySelectorAll('{ratios}').length === 3", timeout=30_000
    )
    assert page.ask("print(sorted(panel.result.component.values.tolist()))") == (
        "['CP1', 'metal', 'pristine']"
    )
    code = page.locator(".bx-code").inner_text()
    assert 'raise_n(step1, keep={"metal": "CP1"})' in code
    page.ask(code)
    assert page.ask("print(step2.equals(panel.result))") == "True"

    # how many: judged beside the kernel, which goes on answering
    page.wait_for_selector("[data-plot='order error'] path.bx-line", timeout=120_000)
    page.wait_for_timeout(500)
    page.locator(".bx-panel").screenshot(path=tmp_path / "components.png")

    # what cannot be is said inside the panel, and the kernel lives
    page.get_by_placeholder("name of the phase").fill("metal")
    page.get_by_role("button", name="Fix", exact=True).click()
    message = page.locator(".bx-message", has_text="a name that is not in use")
    message.wait_for(state="visible")
    page.get_by_role("button", name="Undo").click()
    page.wait_for_timeout(500)
    assert page.ask("print(panel.steps, panel.n_components)") == "[] 2"
    page.keyboard.press("Control+Shift+Z")
    page.wait_for_timeout(500)
    assert page.ask("print(len(panel.steps), panel.n_components)") == "1 3"
    page.get_by_role("button", name="Back", exact=True).click()
    page.wait_for_timeout(500)
    assert page.ask("print(panel.steps, panel.n_components)") == "[] 2"
    foot(page)

    # the page is loaded again while the kernel lives: so does the panel
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_timeout(1500)
    page.goto(page.address, wait_until="domcontentloaded")
    page.wait_for_selector("[data-plot=ratios] path.bx-line", timeout=60_000)
    assert page.locator(".bx-code").inner_text() == page.ask("print(panel.code)")
    healthy(page)


@pytest.mark.long
def test_maps_of_a_stack(notebook, healthy, readable, tmp_path):
    stack = """
from scipy.ndimage import gaussian_filter
rng = np.random.default_rng(0)
energy = np.linspace(8320.0, 8400.0, 24)
edges = 8340.0 + 6.0 * np.arange(3)
spectra = 0.5 + np.arctan((energy - edges[:, None]) / 2.0) / np.pi
fields = np.array([gaussian_filter(rng.normal(size=(90, 120)), 8) for _ in range(3)])
share = np.exp(5 * fields / fields.std()); share /= share.sum(axis=0)
od = np.einsum("kyx,ke->eyx", share, spectra) + rng.normal(0, 0.005, (24, 90, 120))
stack = xr.DataArray(od.astype("float32"), dims=("energy", "y", "x"), name="od",
    coords={"energy": ("energy", energy, {"units": "eV", "long_name": "Energy"})})
maps = stack.nmf.panel(n_components=3)
maps
"""
    page = notebook(SETUP, stack, dark=True)
    page.wait_for_selector("[data-plot='map 2'] canvas")
    assert page.ask("print(maps.result.weights.dims)") == "('component', 'y', 'x')"
    page.locator(".bx-panel").nth(1).screenshot(path=tmp_path / "maps.png")
    readable(page, dark=True)
    healthy(page)
