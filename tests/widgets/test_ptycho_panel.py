"""A reconstruction watched while it runs."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from zarr.storage import MemoryStore

import batteryxr
from batteryxr.cdi import Resources, ptycho_energies
from batteryxr.core.errors import StoreError
from batteryxr.simulate import ptychography
from batteryxr.widgets import PtychoPanel
from batteryxr.widgets.ptycho_panel import PtychoModel

ENERGY = np.array([5440.0, 5470.0, 5500.0])


@pytest.fixture(scope="module")
def scan():
    return ptychography(
        energy=ENERGY, positions=8, size=32, step=45.0, particle=(800.0, 180.0)
    )[0]


def reconstruct(scan, path, passes=6):
    often = Resources(checkpoint=2)
    ptycho_energies(
        scan, store=path, iterations=passes, resources=often, progress=False
    )


def test_a_finished_run_is_shown(scan, tmp_path):
    path = tmp_path / "out.zarr"
    reconstruct(scan, path)
    panel = PtychoPanel(path)
    assert panel.result.share == 1.0
    assert panel.foot.note == "all passes done"
    drawn = {plot["id"] for plot in panel.figure.figure["plots"]}
    assert {"modulus", "phase", "probe", "residual", "passes", "residuals"} == drawn
    assert panel._energies.options[2] == ("5470.00 eV", 1)
    panel.energy = 1
    assert panel.result.number == 1
    code = panel.code
    assert code.endswith('out.zarr", energy=1))')
    assert repr(panel).startswith("PtychoPanel(")
    assert repr(panel).endswith("energy=1)")
    assert len(eval(code, {"batteryxr": batteryxr})) == 4
    progress = panel.result.progress
    result = batteryxr.open_store(path, "ptycho")
    np.testing.assert_allclose(progress.amp_residual, result.amp_residual)
    assert float(progress.residuals[-1]) == float(progress.amp_residual[1])
    assert progress.attrs["iterations"] == 6
    np.testing.assert_allclose(progress.energy, ENERGY)


@pytest.mark.parametrize("kind", [str, Path, MemoryStore])
def test_its_line_opens_it_again(kind):
    store = kind() if kind is MemoryStore else kind("made of old.zarr")
    panel = PtychoPanel(store)
    panel.model.every = 5.0
    scope = {"PtychoPanel": PtychoPanel, "store": store}
    again = eval(panel.model.reopen, scope)
    assert again.model.choice == panel.model.choice
    assert str(again.model._store) == str(store)
    for opened in (panel, again):
        opened.model.cancel()


def test_a_store_that_is_not_there_yet(tmp_path):
    panel = PtychoPanel(tmp_path / "later.zarr")
    with pytest.raises(StoreError):
        _ = panel.result
    assert panel.foot.status == "failed"
    assert panel.foot.note == "waits for the reconstruction to begin"


def test_it_follows_a_run_by_itself(scan, tmp_path):
    path = tmp_path / "out.zarr"

    async def watch():
        model = PtychoModel(path)
        model.every = 0.1
        seen = []
        model.observe(lambda change: seen.append(change["new"].share), "answer")
        runner = threading.Thread(target=reconstruct, args=(scan, path, 12))
        runner.start()
        for _ in range(600):
            await asyncio.sleep(0.05)
            if seen and seen[-1] == 1.0:
                break
        runner.join()
        return seen

    with ThreadPoolExecutor(1) as pool:  # a browser's loop may run in this thread
        seen = pool.submit(asyncio.run, watch()).result()
    assert seen[-1] == 1.0
    assert seen == sorted(seen)
    assert len(seen) > 1
