"""Resumable writing: nothing is computed twice, nothing is lost, nothing mixed."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import StoreError
from batteryxr.core.resume import write_resumable
from batteryxr.core.store import open_store, save


def _maps(counter, *, size=12, factor=2.0):
    def work(block):
        counter.append(1)
        return block * factor

    x = da.from_array(np.arange(size, dtype=float), chunks=3)
    ds = xr.Dataset(
        {"a": ("y", x.map_blocks(work, dtype=float, meta=np.empty(0)))},
        coords={"y": np.arange(size), "name": "cell"},
        attrs={"batteryxr_call": f"factor={factor}"},
    )
    ds["b"] = ("component", np.arange(2.0))
    return ds


def test_a_finished_piece_is_never_computed_again(tmp_path):
    path = tmp_path / "a.zarr"
    counter: list[int] = []
    first = write_resumable(_maps(counter), path, group="maps", dim="y")
    assert len(counter) == 4
    write_resumable(_maps(counter), path, group="maps", dim="y")
    assert len(counter) == 4
    np.testing.assert_array_equal(first["a"], np.arange(12) * 2.0)
    np.testing.assert_array_equal(first["b"], [0.0, 1.0])
    assert first["name"].item() == "cell"


def test_an_interrupted_run_goes_on(tmp_path):
    path = tmp_path / "a.zarr"
    counter: list[int] = []

    class Stop(Exception):
        pass

    def stop_at_third(block):
        if len(counter) == 2:
            raise Stop
        counter.append(1)
        return block * 2.0

    x = da.from_array(np.arange(12.0), chunks=3)
    ds = _maps([])
    broken = ds.assign(
        a=("y", x.map_blocks(stop_at_third, dtype=float, meta=np.empty(0)))
    )
    with pytest.raises(Stop):
        write_resumable(broken, path, group="maps", dim="y")
    open_store(path, "maps").load()
    counter.clear()
    done = write_resumable(_maps(counter), path, group="maps", dim="y")
    assert len(counter) == 2
    np.testing.assert_array_equal(done["a"], np.arange(12) * 2.0)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"factor": 3.0}, r"call: stored factor=2\.0, asked for factor=3\.0"),
        ({"size": 15}, "coordinates|pieces"),
    ],
)
def test_other_arguments_on_the_same_store_are_refused(tmp_path, change, named):
    path = tmp_path / "a.zarr"
    write_resumable(_maps([]), path, group="maps", dim="y")
    with pytest.raises(StoreError, match=named):
        write_resumable(_maps([], **change), path, group="maps", dim="y")


def test_data_of_somebody_else_are_not_replaced(tmp_path):
    other = xr.Dataset({"a": ("y", [1.0])})
    path = save(other, tmp_path / "a.zarr", group="maps")
    with pytest.raises(StoreError, match="no resumable run wrote"):
        write_resumable(_maps([]), path, group="maps", dim="y")


_KILLED = """
    import sys, time
    import dask, dask.array as da, numpy as np, xarray as xr
    from batteryxr.core.resume import write_resumable

    def work(block):
        open(sys.argv[2], "a").write("x")
        time.sleep(0.02)
        return block * 2

    x = da.from_array(np.arange(60.0), chunks=3)
    ds = xr.Dataset(
        {"a": ("y", x.map_blocks(work, dtype=float, meta=np.empty(0)))},
        coords={"y": np.arange(60)},
    )
    print("ready", flush=True)
    with dask.config.set(scheduler="synchronous"):
        write_resumable(ds, sys.argv[1], group="maps", dim="y")
"""


def test_sigkill_at_any_moment(tmp_path):
    """Kill again and again, at later and later moments; each start loses one piece."""
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(_KILLED))
    store, log = tmp_path / "a.zarr", tmp_path / "log"
    command = [sys.executable, script, store, log]
    for delay in (0.0, 0.1, 0.3):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(delay)
            process.kill()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    np.testing.assert_array_equal(open_store(store, "maps")["a"], np.arange(60) * 2.0)
    assert 20 <= len(log.read_text()) <= 20 + 3
