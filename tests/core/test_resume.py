"""Resumable writing: nothing is computed twice, nothing is lost, nothing mixed."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import DataQualityWarning, StoreError
from batteryxr.core.resume import write_resumable
from batteryxr.core.store import open_store, save
from batteryxr.core.store.lock import Holder


class Stop(Exception):
    pass


def _maps(counter, *, size=12, factor=2.0, stop=()):
    """Return lazy data that count their pieces, and break off after so many."""
    ends = list(stop)

    def work(block):
        if len(counter) in ends:
            raise Stop
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

    broken = _maps(counter, stop=[2])
    with pytest.raises(Stop):
        write_resumable(broken, path, group="maps", dim="y")
    with pytest.warns(DataQualityWarning, match="'maps' is not finished"):
        half = open_store(path, "maps").load()
    assert np.isnan(half["a"][6:]).all()
    np.testing.assert_array_equal(half["a"][:6], np.arange(6) * 2.0)
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


def test_other_data_of_the_same_shape_are_refused(tmp_path):
    def lazy(values):
        return xr.Dataset({"a": ("y", da.from_array(values, chunks=3) * 2.0)})

    path, values = tmp_path / "a.zarr", np.arange(12.0)
    write_resumable(lazy(values), path, group="maps", dim="y")
    write_resumable(lazy(values.copy()), path, group="maps", dim="y")
    values[7] += 1e-9
    with pytest.raises(StoreError, match="inputs: stored"):
        write_resumable(lazy(values), path, group="maps", dim="y")


@pytest.mark.parametrize(
    "change",
    [
        lambda ds: ds.assign(a=ds.a.assign_attrs(units="A")),
        lambda ds: ds.assign_coords(y=ds.y.assign_attrs(units="min")),
        lambda ds: ds.assign_attrs(mass=3.0),
        lambda ds: ds.assign(a=ds.a.assign_attrs(range=np.array([0.0, np.nan, 2.0]))),
        lambda ds: ds.rename(x="z"),
    ],
)
def test_other_labels_on_the_same_numbers_are_refused(tmp_path, change):
    """The old result would be in units of the old data."""
    about = {"units": "mA", "range": np.array([0.0, np.nan, 1.0])}
    ds = xr.Dataset(
        {"a": (("y", "x"), np.ones((4, 3)), about)},
        coords={"y": ("y", np.arange(4.0), {"units": "s"})},
        attrs={"mass": 2.0, "history": "09:00"},
    ).chunk(y=2)
    path = tmp_path / "a.zarr"
    write_resumable(ds, path, group="m", dim="y")
    write_resumable(ds.assign_attrs(history="09:05"), path, group="m", dim="y")
    with pytest.raises(StoreError, match="stored"):
        write_resumable(change(ds), path, group="m", dim="y")


def test_other_data_in_a_store_are_refused(tmp_path):
    """Data that are read, not held: through chunks of another store."""
    source, path = tmp_path / "in.zarr", tmp_path / "out.zarr"
    values = np.arange(24.0).reshape(6, 4)

    def lazy():
        save(xr.Dataset({"a": (("y", "x"), values)}).chunk(y=2), source, overwrite=True)
        return open_store(source) ** 2

    write_resumable(lazy(), path, group="maps", dim="y")
    write_resumable(lazy(), path, group="maps", dim="y")
    values[3, 2] = -1.0
    with pytest.raises(StoreError, match="inputs: stored"):
        write_resumable(lazy(), path, group="maps", dim="y")


def test_a_finished_result_needs_no_journal(tmp_path):
    path, counter = tmp_path / "a.zarr", []
    first = write_resumable(_maps(counter), path, group="maps", dim="y").load()
    shutil.rmtree(path / "maps" / "_journal")
    again = write_resumable(_maps(counter), path, group="maps", dim="y")
    assert len(counter) == 4
    xr.testing.assert_identical(again.load(), first)
    with pytest.raises(StoreError, match="made from other data"):
        write_resumable(_maps([], factor=3.0), path, group="maps", dim="y")


def test_flags_that_are_not_written_yet_are_not_good(tmp_path):
    def stop(block):
        if block[0] >= 6:
            raise KeyboardInterrupt
        return np.zeros(block.shape, np.uint8)

    x = da.from_array(np.arange(12), chunks=3)
    flag = x.map_blocks(stop, dtype=np.uint8, meta=np.empty(0, np.uint8))
    ds = xr.Dataset({"flag": ("y", flag)})
    with pytest.raises(KeyboardInterrupt):
        write_resumable(ds, tmp_path / "a.zarr", group="maps", dim="y")
    with pytest.warns(DataQualityWarning, match="not finished"):
        half = open_store(tmp_path / "a.zarr", "maps")["flag"].values
    np.testing.assert_array_equal(half, [0.0] * 6 + [np.nan] * 6)


_KILLED = """
import sys, time
import dask, dask.array as da, numpy as np, xarray as xr
from batteryxr.core.resume import write_resumable

store, log = argv

def work(block, log=log):
    import time
    open(log, "a").write("x")
    time.sleep(0.02)
    return block * 2

x = da.from_array(np.arange(60.0), chunks=3)
ds = xr.Dataset(
    {"a": ("y", x.map_blocks(work, dtype=float, meta=np.empty(0)))},
    coords={"y": np.arange(60)},
)
say("ready")
with dask.config.set(scheduler="synchronous"):
    write_resumable(ds, store, group="maps", dim="y")
say("done")
"""


def test_sigkill_at_any_moment(tmp_path, fork):
    """Kill again and again, at later and later moments; each start loses one piece."""
    store, log = tmp_path / "a.zarr", tmp_path / "log"
    for delay in (0.0, 0.1, 0.3):
        process, connection = fork(_KILLED, store, log)
        assert connection.recv() == "ready"
        time.sleep(delay)
        process.kill()
        process.join()
    process, connection = fork(_KILLED, store, log)
    assert [connection.recv(), connection.recv()] == ["ready", "done"]
    process.join()
    np.testing.assert_array_equal(open_store(store, "maps")["a"], np.arange(60) * 2.0)
    assert 20 <= len(log.read_text()) <= 20 + 3


def _by(scale):
    return lambda block, weights: block * scale + weights


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x * 3.0,
        lambda x: x + 2.0,
        lambda x: x.map_blocks(_by(3.0), weights=np.arange(3.0), dtype=float),
        lambda x: x.map_blocks(_by(2.0), weights=np.arange(1.0, 4.0), dtype=float),
        lambda x: x.map_blocks(lambda block: block * 2.0, dtype=float),
    ],
)
def test_other_work_on_the_same_data_is_refused(tmp_path, change):
    """Calls that no function of ours has recorded differ by what dask would do."""
    x = da.from_array(np.arange(12.0), chunks=3)

    def lazy(work):
        return xr.Dataset({"a": ("y", work(x))})

    for k, first in enumerate(
        (
            lambda x: x * 2.0,
            lambda x: x.map_blocks(_by(2.0), weights=np.arange(3.0), dtype=float),
        )
    ):
        path = tmp_path / f"{k}.zarr"
        write_resumable(lazy(first), path, group="maps", dim="y")
        write_resumable(lazy(first), path, group="maps", dim="y")
        with pytest.raises(StoreError, match="operations: stored"):
            write_resumable(lazy(change), path, group="maps", dim="y")


@pytest.mark.parametrize(
    "work",
    [
        lambda a, b: {"q": ("y", a - b)},
        lambda a, b: {"q": ("y", da.where(a > b, a, 0.0))},
        lambda a, b: {"q": ("y", da.concatenate([a, b]))},
        lambda a, b: {"q": ("y", da.roll(a, 3) + b)},
        lambda a, b: {"one": ("y", a + 1.0), "two": ("y", b + 1.0)},
    ],
)
def test_the_same_work_on_inputs_that_change_places_is_refused(tmp_path, work):
    """Functions and inputs are the same: what tells is which goes where."""
    a, b = (da.from_array(v, chunks=3) for v in np.arange(24.0).reshape(2, 12) % 7)
    path = tmp_path / "a.zarr"
    for _ in range(2):
        write_resumable(xr.Dataset(work(a, b)), path, group="maps", dim="y")
    with pytest.raises(StoreError, match="operations: stored"):
        write_resumable(xr.Dataset(work(b, a)), path, group="maps", dim="y")


def test_a_graph_whose_tasks_dask_has_merged(tmp_path):
    data = xr.Dataset({"a": ("y", da.arange(12.0, chunks=3) * 2.0)})
    (data,) = dask.optimize(data)
    found = write_resumable(data, tmp_path / "a.zarr", group="maps", dim="y")
    np.testing.assert_array_equal(found["a"], np.arange(12) * 2.0)


def test_a_finished_result_is_only_read(tmp_path):
    """Others may write to the store, or nobody may."""
    path = tmp_path / "a.zarr"
    write_resumable(_maps([]), path, group="maps", dim="y")
    holder = replace(Holder.here(), host="elsewhere")
    (path / "_journal" / "lock").write_bytes(holder.content())
    found = write_resumable(_maps([]), path, group="maps", dim="y")
    np.testing.assert_array_equal(found["a"], np.arange(12) * 2.0)
    with pytest.raises(StoreError, match="on elsewhere"):
        write_resumable(_maps([]), path, group="more", dim="y")


def test_a_refused_run_leaves_no_folder(tmp_path):
    with pytest.raises(StoreError, match="name too long"):
        write_resumable(_maps([]), tmp_path / "a" / "b", group="q" * 300, dim="y")
    assert list(tmp_path.iterdir()) == []
