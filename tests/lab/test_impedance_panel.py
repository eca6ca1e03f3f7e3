"""The panel of impedance, by mouse."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import batteryxr
loop = batteryxr.simulate.impedance_loop(n_scans=8, seed=0)
record, spectra = loop["echem"].to_dataset(), loop["impedance"].to_dataset()
panel = spectra.echem.impedance_panel(record=record)
panel
"""
DRAWN = (
    "n => Number(document.querySelector('.bx-grid-of-plots')?.dataset.drawn ?? 0) > n"
)
PLACES = """() => [...document
  .querySelectorAll('[data-plot=voltage] svg.bx-curves circle')]
  .map(e => { const b = e.getBoundingClientRect();
              return [b.x + b.width / 2, b.y + b.height / 2]; })"""


def test_a_click_on_the_voltage_curve_shows_spectrum_fit_and_distribution(
    notebook, healthy, foot, reopened, tmp_path
):
    page = notebook(SETUP)
    page.wait_for_function(DRAWN, arg=0)
    page.locator("[data-plot=voltage] svg.bx-curves").scroll_into_view_if_needed()
    assert page.locator("[data-plot=voltage] path.bx-line").count() == 1
    assert page.locator("[data-plot=nyquist]").count() == 0

    page.mouse.click(*page.evaluate(PLACES)[2])
    page.wait_for_selector("[data-plot=times] path.bx-line")
    assert page.get_by_text("<small>").count() == 0
    # as many points as were measured, all inside the plot
    points = page.evaluate(PLACES.replace("voltage", "nyquist"))
    assert len(points) == int(
        page.ask("print(int(spectra.impedance[panel.spectrum].notnull().sum()))")
    )
    box = page.locator("[data-plot=nyquist] svg.bx-curves").bounding_box()
    assert min(x for x, _ in points) > box["x"] + 50
    chosen = int(page.ask("print(panel.spectrum)"))
    assert page.ask("print(panel.result.fit is None)") == "True"

    # a circuit is fitted to the spectrum that is shown
    page.get_by_label("circuit").fill("L0-R0-p(R1,CPE1)-W1")
    page.get_by_label("circuit").press("Enter")
    page.wait_for_function(
        "() => document.querySelectorAll('[data-plot=nyquist] path.bx-line').length > 1"
    )
    truth = f"loop['truth']['R1'].values[{chosen}]"
    found = "panel.result.fit['R1'].values[0]"
    assert page.ask(f"print(abs({found} / {truth} - 1) < 0.05)") == "True"
    page.screenshot(path=tmp_path / "impedance.png")

    # another click shows another one
    others = page.evaluate(PLACES)
    page.mouse.click(*others[5])
    page.wait_for_function("() => !document.querySelector('.bx-busy')")
    page.wait_for_timeout(800)
    assert int(page.ask("print(panel.spectrum)")) != chosen

    # the code that is shown gives what is shown
    quiet = "import warnings; warnings.simplefilter('ignore'); "
    run = (
        quiet
        + "exec(panel.code); print(bool((fit['R1'] == panel.result.fit['R1']).all()))"
    )
    assert page.ask(run) == "True"
    foot(page)

    # what is no circuit is said inside the panel
    page.ask("panel.circuit = 'R0-'")
    message = page.locator(".bx-message")
    message.wait_for(state="visible")
    assert "circuit" in message.inner_text()
    page.ask("panel.circuit = 'L0-R0-p(R1,CPE1)-W1'; panel.result")
    message.wait_for(state="hidden")
    reopened(page)
    healthy(page)
