"""Stores that keep snapshots, as icechunk's repositories: a change is one of them."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import DataQualityWarning, StoreError
from batteryxr.core.ledger import Ledger
from batteryxr.core.resume import write_resumable
from batteryxr.core.store import (
    changing,
    groups,
    location_of,
    open_store,
    save,
    verify,
)

icechunk = pytest.importorskip("icechunk")


@pytest.fixture
def repository():
    return icechunk.Repository.create(icechunk.in_memory_storage())


def dataset(k: int) -> xr.Dataset:
    return xr.Dataset(
        {"a": (("y", "x"), np.full((12, 4), float(k)))},
        coords={"y": np.arange(12), "label": ("y", [f"row {i}" for i in range(12)])},
        attrs={"k": k},
    ).chunk(y=6)


def snapshots(repository) -> int:
    return len(list(repository.ancestry(branch="main")))


def test_a_change_is_a_snapshot(repository):
    with pytest.raises(StoreError, match="no zarr store"):
        open_store(repository)
    before = snapshots(repository)
    save(xr.DataTree.from_dict({"/m": dataset(1), "/m/inner": dataset(2)}), repository)
    assert snapshots(repository) == before + 1
    with pytest.raises(StoreError, match="overwrite=True"):
        save(dataset(1), repository, group="m")
    lazy = open_store(repository, "m")
    save(lazy.assign(a=lazy["a"] + 4.0), repository, group="m", overwrite=True)
    assert snapshots(repository) == before + 2
    np.testing.assert_array_equal(lazy["a"], 1.0)  # of its own snapshot
    np.testing.assert_array_equal(open_store(repository, "m")["a"], 5.0)
    xr.testing.assert_identical(
        open_store(repository, "m/inner").load(), dataset(2).load()
    )
    assert groups(repository) == ["m", "m/inner"]
    assert verify(repository) == []


def test_a_change_that_fails_leaves_no_snapshot(repository):
    def fail(block, block_info=None):
        if block_info[0]["chunk-location"][0] == 1:
            raise KeyboardInterrupt
        return block

    save(dataset(1), repository, group="m")
    before, bad = snapshots(repository), dataset(2)
    bad["a"] = bad["a"].copy(data=da.map_blocks(fail, bad["a"].data, dtype=float))
    session = repository.writable_session("main")
    for place in (repository, session.store):
        with pytest.raises(KeyboardInterrupt):
            save(bad, place, group="m", overwrite=True)
    assert snapshots(repository) == before
    assert not session.has_uncommitted_changes
    xr.testing.assert_identical(open_store(repository, "m").load(), dataset(1).load())


def test_the_store_of_a_session(repository):
    session = repository.writable_session("main")
    save(dataset(1), session.store, group="m")
    assert open_store(session.store, "m").attrs["k"] == 1
    with pytest.raises(StoreError, match="was committed already"):
        save(dataset(2), session.store, group="n")
    with pytest.raises(StoreError, match="only reads"):
        save(dataset(2), repository.readonly_session("main").store, group="n")
    session = repository.writable_session("main")
    lazy = open_store(session.store, "m")
    save(lazy.assign(a=lazy["a"] * 2.0), session.store, group="m", overwrite=True)
    np.testing.assert_array_equal(open_store(repository, "m")["a"], 2.0)
    session = repository.writable_session("main")
    dataset(3)[["a"]].drop_vars("label").to_zarr(
        session.store, group="theirs", consolidated=False
    )
    with pytest.raises(StoreError, match="not committed"):
        save(dataset(2), session.store, group="n")
    x = da.from_array(np.arange(6.0), chunks=3)
    session = repository.writable_session("main")
    with pytest.raises(StoreError, match="pass the icechunk Repository itself"):
        write_resumable(
            xr.Dataset({"a": ("t", x)}), session.store, group="long", dim="t"
        )
    assert groups(repository) == ["m"]


def test_of_two_writers_one_is_refused(repository):
    def overtaken():
        with changing(location_of(repository)) as change:
            change.write(dataset(1), "m")
            save(dataset(2), repository, group="n")

    with pytest.raises(StoreError, match="changed by somebody else meanwhile"):
        overtaken()
    assert groups(repository) == ["n"]
    assert verify(repository) == []


def test_long_work_goes_on(repository):
    class Stop(Exception):
        pass

    stopping = [True]

    def work(block):
        if stopping[0] and block[0] >= 6:
            raise Stop
        return block * 2.0

    x = da.from_array(np.arange(12.0), chunks=3)
    lazy = xr.Dataset({"a": ("t", x.map_blocks(work, dtype=float, meta=np.empty(0)))})
    with pytest.raises(Stop):
        write_resumable(lazy, repository, group="long", dim="t")
    with pytest.warns(DataQualityWarning, match="not finished"):
        half = open_store(repository, "long").load()
    np.testing.assert_array_equal(half["a"][:6], np.arange(6) * 2.0)
    stopping[0] = False
    done = write_resumable(lazy, repository, group="long", dim="t").load()
    np.testing.assert_array_equal(done["a"], np.arange(12) * 2.0)
    ledger = Ledger(repository, "starts")
    ledger.claim({"seed": 0})
    for k in range(3):
        ledger.put("0", {"object": np.full(5, k)}, k=k)
    assert ledger.get("0").attrs == {"k": 2}
    assert verify(repository) == []
