"""What has no place in a store, and places that are no stores, are named."""

from __future__ import annotations

import shutil
import threading

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import LocalStore, MemoryStore, ZipStore

from batteryxr import write_resumable
from batteryxr.core.errors import ArgumentError, DataError, StoreError
from batteryxr.core.ledger import Ledger
from batteryxr.core.store import changing, location_of, open_store, save
from batteryxr.core.store.leftovers import Remains, pending_key
from batteryxr.core.store.ownership import require_whole_array


def table(value: float = 1.0, rows: int = 6) -> xr.Dataset:
    return xr.Dataset({"a": ("x", np.full(rows, value))}, coords={"x": np.arange(rows)})


@pytest.mark.parametrize("group", [None, "m"])
def test_an_array_at_the_root_is_not_written_over(tmp_path, group):
    zarr.save_array(str(tmp_path / "a.zarr"), np.arange(5))
    with pytest.raises(StoreError, match="is an array of zarr"):
        save(table(), tmp_path / "a.zarr", group=group, overwrite=True)
    assert zarr.open_array(str(tmp_path / "a.zarr"), mode="r")[4] == 4


def test_metadata_of_another_program_stay(tmp_path):
    (tmp_path / "zarr.json").write_text("mine")
    with pytest.raises(StoreError, match=r"zarr\.json that is not zarr's"):
        save(table(), tmp_path)
    assert (tmp_path / "zarr.json").read_text() == "mine"


@pytest.mark.parametrize("group", ["", "m"])
def test_attributes_of_others_are_data(tmp_path, group):
    path = str(tmp_path / "a.zarr")
    zarr.open_group(path, path=group, mode="a").attrs["cell"] = 4
    with pytest.raises(StoreError, match="overwrite=True"):
        save(table(), path, group=group)
    assert zarr.open_group(path, path=group, mode="r").attrs["cell"] == 4


@pytest.mark.parametrize("where", ["folder", "memory"])
@pytest.mark.parametrize("name", ["c/9", "c/01", "c/0/0", "0", "9.0", "c/photo.png"])
def test_files_named_like_chunks_that_no_array_has_stay(tmp_path, where, name):
    store = LocalStore(tmp_path / "a.zarr") if where == "folder" else MemoryStore()
    save(table().chunk(x=3), store, group="m")
    location = location_of(store)
    if name == "c/0/0":
        location.delete("m/a/c/0")
    location.put(f"m/a/{name}", b"mine")
    for _ in range(2):
        with pytest.raises(StoreError, match=rf"m/a holds {name[:3]}.*not part of"):
            save(table(2.0), store, group="m", overwrite=True)
    assert location.get(f"m/a/{name}") == b"mine"


@pytest.mark.parametrize("sep", ["/", "."])
@pytest.mark.parametrize("kind", ["default", "v2"])
@pytest.mark.parametrize("shape", [(), (7,), (3, 5)])
def test_chunks_of_any_name_are_the_arrays(tmp_path, kind, sep, shape):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    key = {"name": kind, "separator": sep}
    array = group.create_array(
        "a",
        shape=shape,
        chunks=tuple(2 for _ in shape),
        dtype="i4",
        chunk_key_encoding=key,
        dimension_names=["x", "y"][: len(shape)],
    )
    array[...] = 7
    for name in ("zarr.json", "zarr", "0"):  # ours, and zarr's own
        partial = tmp_path / "a.zarr" / "a" / f"{name}.{'0' * 32}.partial"
        partial.write_bytes(b"of a write that was killed")
    require_whole_array(location_of(tmp_path / "a.zarr"), "a")


def contents(store):
    location = location_of(store)
    keys = [k for k in location.keys("") if not k.startswith("_journal")]
    return {k: location.get(k) for k in keys}


@pytest.mark.parametrize("where", ["folder", "memory"])
@pytest.mark.parametrize("group", ["", "m", "m/n"])
@pytest.mark.parametrize("held", [table(), table().drop_vars("a"), xr.Dataset()])
def test_what_another_program_wrote_is_not_replaced(tmp_path, where, group, held):
    """With `overwrite` too: alone, beside a group of ours, and within one of ours."""
    store = LocalStore(tmp_path / "a.zarr") if where == "folder" else MemoryStore()
    held = held.assign_attrs(cell=4)
    for _ in range(2):
        held.to_zarr(store, group=group, mode="a", zarr_format=3, consolidated=False)
        before = contents(store)
        with pytest.raises(StoreError, match=r"batteryxr did not write.* delete it"):
            save(table(2.0), store, group=group, overwrite=True)
        assert contents(store) == before
        save(table(), store, group="ours", overwrite=True)
    more = xr.Dataset({"b": ("x", np.ones(6))})
    more.to_zarr(store, group="ours", mode="a", consolidated=False)
    before = contents(store)
    for _ in range(2):
        with pytest.raises(StoreError, match="'ours' holds b, which"):
            save(table(2.0), store, group="ours", overwrite=True)
        with (
            pytest.raises(StoreError, match="'ours' holds b, which"),
            changing(location_of(store)) as change,
        ):
            change.remove("ours")
        assert contents(store) == before


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_a_store_whose_manifest_is_lost_is_still_ours(tmp_path, where):
    store = LocalStore(tmp_path / "a.zarr") if where == "folder" else MemoryStore()
    save(table().assign_attrs(k=1), store, group="m")
    location_of(store).delete("_journal/manifest/zarr.json")
    save(table(2.0), store, group="m", overwrite=True)
    assert open_store(store, "m", verify=True)["a"].sum() == 12


@pytest.mark.parametrize("group", ["m", "m/n"])
@pytest.mark.parametrize(
    "left", ["zarr.{}.partial", "m/zarr.{}.partial", "m/zarr.json"]
)
def test_a_store_that_is_just_begun_is_written_to(tmp_path, group, left):
    store = tmp_path / "a.zarr"
    (store / "_journal").mkdir(parents=True)
    (store / "m").mkdir()
    location_of(store).put(left.format("0" * 32), b'{"node_type": "group"}')
    save(table(), store, group=group)
    assert open_store(store, group)["a"].sum() == 6


def test_a_folder_with_a_journal_and_more_is_no_store(tmp_path):
    (tmp_path / "_journal").mkdir()
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "chapter.tex").write_text("mine")
    with pytest.raises(StoreError, match="not a zarr store and holds"):
        save(table(), tmp_path, group="m", overwrite=True)
    assert (tmp_path / "m" / "chapter.tex").read_text() == "mine"


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_what_is_opened_for_reading_is_not_written_to(tmp_path, kind):
    store = LocalStore(tmp_path / "a.zarr") if kind == "folder" else MemoryStore()
    save(table(), store, group="m")
    closed = store.with_read_only(True)
    assert open_store(closed, "m").sizes == {"x": 6}
    with pytest.raises(StoreError, match="for reading only"):
        save(table(), closed, group="n")
    with pytest.raises(StoreError, match="for reading only"):
        write_resumable(table().chunk(x=2), closed, group="n", dim="x")


def test_a_packed_store_opens_and_does_not_change(tmp_path):
    save(table(), tmp_path / "a.zarr", group="m")
    packed = shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "a.zarr")
    assert open_store(ZipStore(packed), "m", verify=True)["a"].sum() == 6
    for mode in ("r", "a"):
        with pytest.raises(StoreError, match=r"reading only|can be read"):
            save(table(), ZipStore(packed, mode=mode), group="n")
    with pytest.raises(StoreError, match="no store can be opened"):
        open_store(ZipStore(tmp_path / "none.zip"))


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_stores_of_obstore(tmp_path, kind):
    obstore = pytest.importorskip("obstore").store
    inner = obstore.MemoryStore() if kind == "memory" else obstore.LocalStore(tmp_path)
    store = zarr.storage.ObjectStore(inner)
    save(table(), store, group="m")
    save(table(2.0), store, group="m", overwrite=True)
    assert open_store(store, "m", verify=True)["a"].sum() == 12


def test_chunks_of_a_selection_are_made_alike(tmp_path):
    wide = table(rows=9).expand_dims(y=3, axis=1)
    save(wide.chunk(x=3), tmp_path / "a.zarr")
    part = open_store(tmp_path / "a.zarr").isel(x=slice(2, 8))
    joined = xr.concat([part, part], "x")
    save(joined, tmp_path / "b.zarr")
    assert zarr.open_array(str(tmp_path / "b.zarr"), path="a").chunks == (3, 3)
    xr.testing.assert_equal(open_store(tmp_path / "b.zarr").load(), joined)
    write_resumable(joined, tmp_path / "c.zarr", group="m", dim="x")
    xr.testing.assert_equal(open_store(tmp_path / "c.zarr", "m").load(), joined)
    unknown = da.arange(9.0, chunks=3)
    unknown = unknown[unknown > 3]
    with pytest.raises(DataError, match="sizes of its chunks"):
        save(xr.Dataset({"a": ("x", unknown)}), tmp_path / "d.zarr")


_GAPS = np.array(["a", np.nan] * 3, np.dtypes.StringDType(na_object=np.nan))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"t": ("x", np.array(["a", None] * 3, object))}, "'t': text with gaps"),
        (
            {"t": ("x", da.from_array(_GAPS.astype(object), chunks=3))},
            "'t': text with gaps",
        ),
        ({"t": ("x", _GAPS)}, "'t': text with gaps"),
        ({"t": ("x", da.from_array(_GAPS, chunks=3))}, "'t': text with gaps"),
        ({"a/b": ("x", np.ones(6))}, "'a/b': this name"),
        ({"a\\b": ("x", np.ones(6))}, r"'a.*b': this name"),
        ({"..": ("x", np.ones(6))}, "'..': this name"),
        ({"s": ("x", np.ones(6), {"scale_factor": 3.0})}, "'scale_factor' would"),
        ({"s": ("x", np.ones(6), {"made": object()})}, "'made' is of type object"),
    ],
)
def test_what_has_no_place_in_a_store(tmp_path, change, told):
    with pytest.raises(DataError, match=told):
        save(table().assign(change), tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()


def test_arrays_need_names_of_their_own(tmp_path):
    for name in (None, "x"):
        array = table()["a"].rename(name)
        with pytest.raises(ArgumentError, match="a name of its own"):
            save(array, tmp_path / "a.zarr")
    with pytest.raises(ArgumentError, match="group="):
        save(table(), tmp_path / "a.zarr", group="\0")


def test_times_that_are_not_written_yet_are_missing(tmp_path):
    def stopped(block, block_info=None):
        if block_info[None]["chunk-location"][0] == 2:
            raise KeyboardInterrupt
        return block

    times = np.arange(40).astype("M8[ns]")
    data = table(rows=40).assign(t=("x", times)).chunk(x=5)
    data["a"] = data["a"].copy(data=data["a"].data.map_blocks(stopped, dtype=float))
    with dask.config.set(scheduler="sync"), pytest.raises(KeyboardInterrupt):
        write_resumable(data, tmp_path / "a.zarr", group="m", dim="x")
    with pytest.warns(match="not finished"):
        found = open_store(tmp_path / "a.zarr", "m")["t"].values
    assert not np.isnat(found[:10]).any()
    assert np.isnat(found[15:]).all()


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_no_thread_writes_after_a_failure(tmp_path, kind):
    store = tmp_path / "a.zarr" if kind == "folder" else MemoryStore()
    inside, failed, end = threading.Barrier(2), threading.Event(), threading.Event()

    def late(block, block_info=None):
        number = block_info[None]["chunk-location"][0]
        inside.wait(10)
        if number == 0:
            raise RuntimeError("boom")
        failed.wait(10)
        return block + 7

    data = table(rows=2).chunk(x=1)
    lazy = data["a"].data.map_blocks(late, dtype=float)
    data["a"] = data["a"].copy(data=lazy)

    class Pool(dask.threaded.ThreadPoolExecutor):
        def submit(self, *args):
            future = super().submit(*args)
            future.add_done_callback(lambda _: failed.is_set() and end.set())
            return future

    with Pool(2) as pool, dask.config.set(pool=pool):
        with pytest.raises(RuntimeError, match="boom"):
            save(data, store, group="m")
        failed.set()
        assert end.wait(10)
    left = location_of(store).keys()
    assert [key for key in left if "/c/" in key] == []
    save(table(rows=2), store, group="m")
    assert open_store(store, "m", verify=True)["a"].sum() == 2


def test_groups_that_are_removed_are_not_listed():
    store = MemoryStore()
    both = {"/m/a": table().assign_attrs(k=1), "/m/b": table(), "/c": table()}
    save(xr.DataTree.from_dict(both), store)
    save(table(3.0).assign_attrs(k=2), store, group="m/a", overwrite=True)
    with changing(location_of(store)) as change:
        change.remove("m/a")
        change.remove("c")
    assert set(open_store(store).groups) == {"/", "/m", "/m/b"}
    save(table(4.0), store, group="m/a")
    assert open_store(store, "m/a")["a"].sum() == 24


@pytest.mark.parametrize("group", ["", "m"])
def test_a_first_write_that_was_killed_is_no_empty_result(group):
    location = location_of(MemoryStore())
    location.put("zarr.json", b'{"zarr_format": 3, "node_type": "group"}')
    begun = Remains(group, {"a": ""}).text().encode()
    location.put(pending_key("0" * 32, 0), begun)
    for asked in (None, group):
        with pytest.raises(StoreError, match="holds nothing yet: the first write"):
            open_store(location.store, asked)
    save(table(), location.store, group=group)
    assert open_store(location.store, group)["a"].sum() == 6


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_files_of_others_that_are_named_as_ours_stay(tmp_path, where):
    store = LocalStore(tmp_path / "a.zarr") if where == "folder" else MemoryStore()
    location, mark = location_of(store), "0123456789abcdef" * 2
    save(table(), store, group="m")
    ledger = Ledger(store, "_journal/starts")
    ledger.claim({"seed": 0})
    ledger.put("0", {"a": np.ones(3)})
    names = [
        *(f"{kind}-{mark}/notes.txt" for kind in ("staged", "trash", "v")),
        *(f"{kind}-{mark}-0" for kind in ("pending", "gone")),
        f"commit-{mark}.json.{mark}.partial",
        "starts/0.1/notes.txt",
        "starts/1.0/notes.txt",
    ]
    held = {f"_journal/{name}": b"mine\nm/a\n" for name in names}
    for key, content in held.items():
        location.put(key, content)
    save(table(2.0), store, group="m", overwrite=True)
    for key in ("0", "1"):
        with pytest.raises(StoreError, match=r"notes.txt, which batteryxr did not"):
            ledger.put(key, {"a": np.ones(3)})
        with pytest.raises(StoreError, match=r"notes.txt, which batteryxr did not"):
            ledger.forget(key)
    location.put("_journal/lock", b"mine")
    with pytest.raises(StoreError, match="lock is no lock of batteryxr's"):
        save(table(3.0), store, group="n")
    held["_journal/lock"] = b"mine"
    assert {key: location.get(key) for key in held} == held
    assert open_store(store, "m")["a"].sum() == 12


def test_signs_of_a_url_stand_for_others(tmp_path):
    url = (tmp_path / "a b%.zarr").as_uri()
    assert save(table(), url) == tmp_path / "a b%.zarr"
    assert open_store(url)["a"].sum() == 6
    (tmp_path / "c%20d").mkdir()
    with pytest.raises(ArgumentError, match="Pass the path itself, without file://"):
        save(table(), f"file://{tmp_path}/c%20d")
