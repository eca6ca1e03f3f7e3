"""The panel of a reconstruction that runs in another process."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import subprocess, sys, numpy as np, batteryxr
from batteryxr.simulate import ptychography
from batteryxr.widgets import PtychoPanel
scan, _ = ptychography(energy=np.array([5440.0, 5476.0, 5500.0]), positions=10,
                       size=64, step=90.0, particle=(800.0, 500.0))
batteryxr.save(scan, "stack.zarr", overwrite=True)
panel = PtychoPanel("stack-ptycho.zarr", every=0.5)
panel
"""
RUN = """
runner = subprocess.Popen([sys.executable, "-m", "batteryxr", "ptycho",
                           "stack.zarr", "--iterations", "60", "--checkpoint", "5"])
"""


def test_it_is_seen_while_it_runs(notebook, healthy, tmp_path):
    page = notebook(SETUP)
    page.get_by_text("waits for the reconstruction to begin").wait_for()
    page.ask(RUN)
    page.wait_for_selector("[data-plot=phase] canvas", timeout=60_000)
    page.get_by_text("of 180 passes").wait_for()
    page.locator(".bx-panel").screenshot(path=tmp_path / "running.png")
    page.get_by_text("all passes done").wait_for(timeout=120_000)
    page.locator("[data-plot=phase]").scroll_into_view_if_needed()
    page.locator(".bx-panel").screenshot(path=tmp_path / "done.png")
    assert page.ask("print(runner.wait())") == "0"
    page.ask("panel.energy = 1")
    page.get_by_text("Residual at 5476.00 eV").wait_for()
    healthy(page)
