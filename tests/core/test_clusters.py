"""The same call, the same arrays: in threads and processes, one of them killed."""

from __future__ import annotations

import os
import signal
import threading
import time

import cloudpickle
import numpy as np
import pytest
import xarray as xr

from batteryxr.core.resume import write_resumable
from batteryxr.core.store import open_store, save, verify
from batteryxr.simulate import oxide_series

distributed = pytest.importorskip("distributed")

#: Bytes of a graph beyond the arrays that were in memory.
GRAPH = 10_000_000


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Return the path of a store with a series of scans."""
    path = tmp_path_factory.mktemp("cluster") / "in.zarr"
    series = oxide_series("FeO", n_scans=24)["scans"]["pdf"]
    save(series.to_dataset(name="pdf").chunk(scan=3), path)
    return path


def work(stored) -> xr.Dataset:
    def slowly(block: np.ndarray) -> np.ndarray:
        """Do what takes long enough to be killed at."""
        time.sleep(0.02)
        return np.sqrt(np.abs(block)) * 2.0

    scans = open_store(stored)["pdf"]
    lazy = xr.apply_ufunc(
        slowly, scans, dask="parallelized", output_dtypes=[scans.dtype]
    )
    return xr.Dataset({"root": lazy, "mean": lazy.mean("scan")}).drop_attrs()


def graph_size(dataset: xr.Dataset) -> int:
    return len(cloudpickle.dumps(dict(dataset.__dask_graph__())))


@pytest.fixture(scope="module")
def in_threads(stored):
    lazy = work(stored)
    assert graph_size(lazy) < GRAPH
    return lazy.compute(scheduler="threads")


@pytest.mark.parametrize(
    "n_workers",
    [pytest.param(2, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.slow)],
)
def test_processes_give_the_same_arrays(
    stored, in_threads, tmp_path, n_workers, forked_workers
):
    """With three one is killed at work; each may hold 400 MB."""
    with (
        distributed.LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            memory_limit="400MB",
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())
        killed = threading.Timer(0.1, os.kill, (pids[0], signal.SIGKILL))
        if n_workers == 3:
            killed.start()
        found = write_resumable(
            work(stored)[["root"]], tmp_path / "out.zarr", group="root", dim="scan"
        ).load()
        mean = work(stored)["mean"].compute()
        if n_workers == 3:
            killed.join()
    xr.testing.assert_identical(found.drop_attrs()["root"], in_threads["root"])
    np.testing.assert_array_equal(mean, in_threads["mean"])
    assert verify(tmp_path / "out.zarr") == []


@pytest.mark.long
def test_work_larger_than_a_worker_may_hold(tmp_path):
    """Each of two workers may hold 300 MB; 1 GB go through them."""
    import dask.array as da

    lazy = xr.Dataset({"a": (("t", "x"), da.ones((128, 1_000_000), chunks=(2, -1)))})
    assert graph_size(lazy) < GRAPH
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit="300MB",
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        before = set(client.run(os.getpid).values())
        save(lazy * 2.0, tmp_path / "a.zarr")
        assert set(client.run(os.getpid).values()) == before  # nobody was restarted
    assert float(open_store(tmp_path / "a.zarr")["a"][100, 5]) == 2.0
