"""The panel of voltage states, by mouse and keyboard."""

from __future__ import annotations

import pytest

from batteryxr.core.plotting import BRANCH_COLOURS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import numpy as np, xarray as xr, batteryxr
from batteryxr import simulate
tree = simulate.cell_experiment(kind="xanes", n_scans=60, n_cycles=1)
record = tree["echem"].to_dataset()
scans = record.echem.join(tree["scans"].to_dataset()).absorption
panel = scans.echem.panel(record=record)
panel
"""
DRAWN = (
    "n => Number(document.querySelector('.bx-grid-of-plots')?.dataset.drawn ?? 0) > n"
)


def _points(page, kind):
    """Return the places on the screen of all scans of a branch."""
    colour = BRANCH_COLOURS[kind]
    return page.evaluate(
        """c => [...document.querySelectorAll('[data-plot=voltage] circle')]
        .filter(e => e.getAttribute('fill') === c && e.getAttribute('r') === '3')
        .map(e => { const b = e.getBoundingClientRect();
                    return [b.x + b.width / 2, b.y + b.height / 2]; })""",
        colour,
    )


def test_choose_by_mouse_and_keyboard(
    notebook, drag, healthy, foot, reopened, tmp_path
):
    page = notebook(SETUP)
    page.wait_for_function(DRAWN, arg=0)
    page.locator("[data-plot=voltage] svg.bx-curves").scroll_into_view_if_needed()

    # a click chooses the scan under the pointer
    charge = _points(page, "charge")
    page.mouse.click(*charge[len(charge) // 2])
    page.wait_for_selector("[data-plot=states] path.bx-line")
    assert page.ask("print(len(panel.states), panel.states[0][0])") == "1 charge"
    chosen = page.ask("print(int(panel.result.scan_index[0]))")
    assert page.ask(f"print(scans.branch.values[{chosen}])") == "charge"

    # dragging it along the curve moves it
    charge = _points(page, "charge")
    drag(page, charge[len(charge) // 2], charge[2])
    page.wait_for_timeout(800)
    moved = page.ask("print(int(panel.result.scan_index[0]))")
    assert moved != chosen
    assert page.ask("print(len(panel.states))") == "1"

    # dragging over an area adds states of that branch
    discharge = _points(page, "discharge")
    xs, ys = zip(*discharge, strict=True)
    drag(page, (min(xs) - 6, max(ys) + 8), (max(xs) + 6, min(ys) - 8))
    page.wait_for_selector("[data-plot=differences] path.bx-line")
    assert page.ask("print([s[0] for s in panel.states].count('discharge'))") == "3"
    page.screenshot(path=tmp_path / "states.png")

    # the code that is shown gives what is shown
    assert page.ask("print(panel.result.equals(eval(panel.code)))") == "True"
    foot(page)

    # arrow keys and Enter choose as well
    before = int(page.ask("print(len(panel.states))"))
    page.locator("[data-plot=voltage] svg.bx-curves").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_timeout(800)
    assert int(page.ask("print(len(panel.states))")) == before + 1

    # what cannot be is said inside the panel
    page.ask("panel.tolerance = 0.0; panel.states = [('charge', 9.0)]")
    message = page.locator(".bx-message")
    message.wait_for(state="visible")
    assert "the nearest on charge is scan" in message.inner_text()
    page.ask("panel.choose(states=[('charge', 3.9)], tolerance=0.1); panel.result")
    message.wait_for(state="hidden")

    # there again without any kernel
    reopened(page)
    assert "('charge', 3.9)" in page.locator(".bx-code").inner_text().replace('"', "'")
    assert page.locator("[data-plot=states] path.bx-line").count() >= 1
    healthy(page)


@pytest.mark.long
def test_dark_theme_and_volumes(notebook, healthy, readable, tmp_path):
    volume = """
z, y, x = np.mgrid[-1:1:12j, -1:1:40j, -1:1:50j]
inside = (x**2 + y**2 + z**2 < 0.8)
phase = np.linspace(0, 2, scans.scan.size)[:, None, None, None] * x * y
crystal = xr.DataArray(
    (inside * np.exp(1j * phase)).astype("complex64"), dims=("scan", "z", "y", "x"),
    coords={n: scans[n] for n in scans.coords if n != "energy"}, name="crystal",
)
chosen = [("charge", 3.8), ("charge", 4.1)]
volumes = crystal.echem.panel(record=record, states=chosen, tolerance=0.2)
volumes
"""
    page = notebook(SETUP, volume, dark=True)
    page.wait_for_selector("[data-plot^=difference] canvas")
    page.locator(".bx-panel").nth(1).screenshot(path=tmp_path / "volumes.png")
    assert page.locator("[data-plot^=state] canvas").count() == 2
    readable(page, dark=True)
    healthy(page)
