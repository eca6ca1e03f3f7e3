"""Recipes of the pages run as they stand, with this machine in place of a cluster."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import batteryxr
from batteryxr.simulate import ptychography

distributed = pytest.importorskip("distributed")
PAGE = Path(__file__).parents[2] / "docs" / "stores.md"


def recipe(heading: str) -> str:
    """Return the code under a heading of the page on stores."""
    text = PAGE.read_text().partition(f"### {heading}\n")[2]
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


class HereCluster(distributed.LocalCluster):
    """A cluster on this machine that is asked for as one of SLURM's is."""

    def __init__(self, *, cores, memory, walltime, queue):
        super().__init__(
            n_workers=0,
            threads_per_worker=cores,
            memory_limit=memory,
            dashboard_address=None,
        )
        assert walltime
        assert queue

    def scale(self, n=None, *, jobs=None):  # by number when it closes
        super().scale(min(jobs, 2) if n is None else n)


@pytest.mark.slow
def test_slurm(tmp_path, monkeypatch, forked_workers):
    scan, _ = ptychography(
        energy=np.array([5440.0, 5470.0]),
        positions=5,
        size=32,
        step=45.0,
        particle=(800.0, 180.0),
        chunks=25,
    )
    batteryxr.save(scan, tmp_path / "scans.zarr")
    module = types.SimpleNamespace(SLURMCluster=HereCluster)
    monkeypatch.setitem(sys.modules, "dask_jobqueue", module)
    code = recipe("SLURM")
    assert "/scratch/me/stack.zarr" in code
    code = code.replace("/scratch/me", str(tmp_path))
    code = code.replace("ptycho_energies(", "ptycho_energies(iterations=2, ")
    held: dict[str, object] = {}
    try:
        exec(compile(code, "stores.md", "exec"), held)
    finally:
        if "cluster" in held:
            held["cluster"].close()
    one = held["scans"].cdi.ptycho_energies(iterations=2, store=tmp_path / "one.zarr")
    many = batteryxr.open_store(tmp_path / "stack.zarr", "ptycho")
    np.testing.assert_array_equal(many["phase"], one["phase"])


def test_coiled_is_said_to_be_untried():
    compile(recipe("Coiled"), "stores.md", "exec")
    assert "it was not tried" in PAGE.read_text()
