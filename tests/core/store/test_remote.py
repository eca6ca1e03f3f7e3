"""Stores in memory and on a local S3 server: the same rules without renaming."""

from __future__ import annotations

import functools
import os
import sys
import uuid
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from batteryxr.cdi import ptycho_progress
from batteryxr.cli.main import main
from batteryxr.core.errors import ArgumentError, MissingDependencyError, StoreError
from batteryxr.core.ledger import Ledger
from batteryxr.core.resume import write_resumable
from batteryxr.core.store import (
    changing,
    groups,
    location_of,
    lock,
    locked,
    open_store,
    save,
    verify,
)


@pytest.fixture
def bucket(s3):
    """Return the URL of a bucket on this machine."""
    return s3("cells")


@pytest.fixture(params=["memory", "object", pytest.param("s3", marks=pytest.mark.long)])
def place(request):
    """Return a place of each kind where nothing lies."""
    return empty(request)


@pytest.fixture(params=["memory", "object", "s3"])
def anywhere(request):
    """Return a place of each kind, for tests that ask little of a server."""
    return empty(request)


def empty(request):
    """Return a place where nothing lies."""
    name = f"{uuid.uuid4().hex}.zarr"
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/{name}"
    if request.param == "memory":
        return f"memory://cells/{name}"
    from zarr.storage import MemoryStore

    return MemoryStore()


def dataset(k: int) -> xr.Dataset:
    return xr.Dataset(
        {
            "a": (("y", "x"), np.full((12, 4), float(k))),
            "b": ("y", np.full(12, k)),
            "label": ("y", [f"row {i}" for i in range(12)]),
        },
        coords={"y": np.arange(12)},
        attrs={"k": k},
    ).chunk(y=6)


def test_saving_and_overwriting(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="no zarr store"):
        open_store(place)
    save(dataset(1), place, group="m")
    save(dataset(9), place, group="m/inner")
    with pytest.raises(StoreError, match="overwrite=True"):
        save(dataset(1), place, group="m")
    for k in (2, 3, 4):
        save(dataset(k), place, group="m", overwrite=True)
        xr.testing.assert_identical(open_store(place, "m").load(), dataset(k).load())
        assert verify(place) == []
    lazy = open_store(place, "m")
    save(lazy.assign(a=lazy["a"] * 2), place, group="m", overwrite=True)
    np.testing.assert_array_equal(open_store(place, "m")["a"], 8.0)
    with pytest.raises(StoreError, match="m/a was replaced since it was opened"):
        lazy["a"].load()
    assert groups(place) == ["m", "m/inner"]
    assert open_store(place, "m/inner").attrs["k"] == 9
    tree = xr.DataTree.from_dict({"/": dataset(5), "/p": dataset(6)})
    save(tree, place)
    save(tree.map_over_datasets(lambda ds: ds.drop_vars("b")), place, overwrite=True)
    assert set(open_store(place, "p").data_vars) == {"a", "label"}
    assert verify(place, metadata_only=True) == []
    assert os.listdir(tmp_path) == []


class Death(BaseException):
    """The end of a process, after which nothing is cleaned up."""


def dying_after(monkeypatch, steps, act, method="delete"):
    """Call what dies after so many objects; tell whether it did."""
    left, kind = iter(range(steps)), type(location_of("memory://any"))
    real = getattr(kind, method)

    def dying(self, key, *content):
        if next(left, None) is None:
            raise Death
        real(self, key, *content)

    with monkeypatch.context() as patch:
        patch.setattr(kind, method, dying)
        patch.setattr("batteryxr.core.store.change.clean", lambda *a, **k: None)
        try:
            act()
        except Death:
            return True
    return False


@pytest.mark.filterwarnings("ignore:Object at . is not recognized")
@pytest.mark.parametrize(
    ("place", "change"),
    [("memory", "overwrite"), ("object", "remove")],
    indirect=["place"],
)
def test_a_writer_that_died_while_it_deleted(place, change, monkeypatch):
    """After each object: readers see the new, and the next writer ends the deletion."""
    location, steps, died, small = location_of(place), 0, True, dataset(1)[["b"]]
    while died:
        group = f"m{steps}"
        save(xr.DataTree.from_dict({group: small, f"{group}/n": small}), place)
        Ledger(place, f"{group}/_journal").claim({"seed": 0})

        def act(group=group):
            with changing(location) as made:
                made.remove(group)
                if change == "overwrite":
                    made.write(dataset(2)[["b"]], group, overwrite=True)

        died = dying_after(monkeypatch, steps, act)
        assert verify(place) == []
        there = group in groups(place)
        changed = not there or open_store(place, group).attrs["k"] == 2
        assert changed or steps < 2
        assert there == (change == "overwrite" or not changed)
        save(small, place, group="other", overwrite=True)
        if changed:
            below = {k.split("/")[1] for k in location.keys(f"{group}/")}
            assert below == {"n", "zarr.json"}
        keys = location.keys()
        assert not [k for k in keys if "gone-" in k]
        assert f"{group}/n" in groups(place)
        steps += 1
    assert steps > 6


def test_what_others_put_where_a_writer_died_stays(place, monkeypatch):
    """Ours is deleted by what is known of it, so that theirs is not."""
    location = location_of(place)
    save(dataset(1), place, group="m")
    overwrite = functools.partial(save, dataset(2), place, group="m", overwrite=True)
    assert dying_after(monkeypatch, 3, overwrite)
    location.delete_below("m/b")
    theirs = zarr.open_group(location.store, path="m", mode="r+")
    theirs.create_array("b", data=np.arange(3.0))
    for k in (3, 4):
        save(dataset(k), place, group="other", overwrite=True)
        np.testing.assert_array_equal(theirs["b"][:], np.arange(3.0))
        assert location.names("m/a") == []
        assert open_store(place, "m").load().attrs["k"] == 2


def test_an_overwrite_that_fails(place):
    def fail(block, block_info=None):
        if block_info[0]["chunk-location"][0] == 1:
            raise KeyboardInterrupt
        return block

    bad = dataset(2)
    bad["a"] = bad["a"].copy(data=da.map_blocks(fail, bad["a"].data, dtype=float))
    # Threads would end what they are at.
    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(KeyboardInterrupt):
            save(bad, place, group="m")
        save(dataset(1), place, group="m")
        keys = set(location_of(place).keys())
        with pytest.raises(KeyboardInterrupt):
            save(bad, place, group="m", overwrite=True)
    assert set(location_of(place).keys()) == keys
    assert open_store(place, "m").attrs["k"] == 1
    assert verify(place) == []


def test_a_writer_that_died(place, monkeypatch):
    """Die after each object; readers see the old or the new, the next writer clears."""
    save(dataset(0), place, group="m")
    clean = set(location_of(place).keys())
    steps, old, died = 0, 0, True
    while died:
        new = dataset(steps + 1)
        overwrite = functools.partial(save, new, place, group="m", overwrite=True)
        died = dying_after(monkeypatch, steps, overwrite, "put")
        found = open_store(place, "m").load()
        assert found.attrs["k"] in (old, steps + 1)
        xr.testing.assert_identical(found, dataset(found.attrs["k"]).load())
        assert verify(place, metadata_only=True) == []
        old, steps = found.attrs["k"], steps + 1
    save(dataset(1), place, group="m", overwrite=True)
    assert open_store(place, "m").attrs["k"] == 1
    assert len(location_of(place).keys()) <= len(clean) + 2
    assert steps > 2


def test_two_writers(anywhere, monkeypatch):
    place = anywhere
    with changing(location_of(place)) as change:
        change.write(dataset(1), "m")
        holder = location_of(place).get("_journal/lock")
    # Somebody else, on another machine.
    location = location_of(place)
    other = holder.replace(b'"host": "', b'"host": "beamline-')
    location.put("_journal/lock", other)
    with pytest.raises(StoreError, match=r"written to by process \d+ on beamline-"):
        save(dataset(2), place, group="m", overwrite=True)
    # Who has not been heard of for long has left it.
    with monkeypatch.context() as patch:
        patch.setattr(lock, "silence", lambda *_: 601.0)
        save(dataset(2), place, group="m", overwrite=True)
    assert open_store(place, "m").attrs["k"] == 2

    # Without conditional writes, who was overtaken finds out at the end.
    def overtaken():
        with changing(location) as change:
            change.write(dataset(3), "m", overwrite=True)
            location.put("_journal/lock", other)

    with pytest.raises(StoreError, match=r"was taken by process \d+ on beamline-"):
        overtaken()
    location.delete("_journal/lock")
    assert open_store(place, "m").attrs["k"] == 2
    with locked(location):
        save(dataset(4), place, group="m", overwrite=True)


def test_a_lock_that_was_let_go_meanwhile(monkeypatch):
    """A server refuses what is there already, and then it is not there any more."""
    location = location_of(f"memory://cells/{uuid.uuid4().hex}.zarr")
    files, refusals = location.store.fs, iter([FileExistsError, PermissionError])
    real = files._pipe_file

    async def refusing(path, content, **how):
        for refusal in refusals:
            raise refusal(path)
        return await real(path, content)

    monkeypatch.setattr(files, "_pipe_file", refusing, raising=False)
    with locked(location):
        assert location.get(lock.LOCK) is not None


def test_long_work(anywhere):
    place = anywhere
    x = da.from_array(np.arange(12.0), chunks=3)
    result = xr.Dataset({"a": ("t", x * 2)})
    first = write_resumable(result, place, group="long", dim="t").load()
    again = write_resumable(result, place, group="long", dim="t").load()
    xr.testing.assert_identical(first, again)
    ledger = Ledger(place, "starts")
    ledger.claim({"seed": 0})
    for k in range(3):
        ledger.put("0", {"object": np.full(5, k)}, k=k)
    assert ledger.get("0").attrs == {"k": 2}
    assert ledger.missing(["0", "1"]) == ["1"]
    with pytest.raises(StoreError, match="seed: stored 0, asked for 1"):
        ledger.claim({"seed": 1})
    assert verify(place) == []
    location_of(place).delete("long/a/c/1")
    assert [str(d) for d in verify(place)] == ["long/a, chunk c/1: is lost"]
    with pytest.raises(StoreError, match="long/a, chunk c/1 is lost"):
        open_store(place, "long").load()


@pytest.mark.filterwarnings("ignore:Object at m is not recognized")
def test_a_first_writing_that_was_killed(place, monkeypatch):
    """What it left is no data; what it asked others for may come late."""
    monkeypatch.setattr("batteryxr.core.store.change.clean", lambda *a, **k: None)
    failing = dataset(1)[["a"]]
    failing["a"] = failing["a"].copy(
        data=failing["a"].data.map_blocks(_die, dtype="f8")
    )
    with dask.config.set(scheduler="synchronous"), pytest.raises(SystemExit):
        save(failing, place, group="m")
    monkeypatch.undo()
    location = location_of(place)
    late = location.get("m/a/zarr.json")
    assert late is not None
    save(dataset(2)[["a"]], place, group="m")
    for key in ("m/a/c/0/0", "m/a/c/1/0"):
        location.put(key, b"of another time")
    xr.testing.assert_identical(
        open_store(place).load()["m"].to_dataset(), dataset(2)[["a"]].load()
    )
    assert verify(place) == []
    save(dataset(3)[["a"]], place, group="m", overwrite=True)
    location.put("m/a/c/0/0", b"of another time")
    assert open_store(place, "m").load()["a"].max() == 3
    assert verify(place) == []
    assert groups(place) == ["m"]


def _die(block, block_info=None):
    if block_info[0]["chunk-location"][0] == 1:
        raise SystemExit
    return block


def objects(place):
    location = location_of(place)
    keys = location.keys()
    return {key: location.get(key) for key in keys}


def test_a_server_without_room(s3):
    place = f"{s3('small-20000')}/a.zarr"
    save(dataset(1)[["b"]], place, group="m")
    before = objects(place)
    values = np.random.default_rng(0).random((12, 1000))
    big = xr.Dataset({"b": ("y", np.ones(12)), "a": (("y", "x"), values)}).chunk(y=1)
    with pytest.raises(StoreError, match="What was there before is whole"):
        save(big, place, group="m", overwrite=True)
    assert objects(place) == before
    save(dataset(2)[["b"]], place, group="m", overwrite=True)
    assert open_store(place, "m").load().attrs["k"] == 2


def test_the_command_line_takes_urls(bucket, capsys):
    url = f"{bucket}/cli.zarr"
    save(dataset(1), url, group="m")
    assert main(["info", url]) == 0
    assert "/m  (y 12, x 4" in capsys.readouterr().out
    assert main(["check", url]) == 0
    location_of(url).delete("m/a/c/0/0")
    assert main(["check", url]) == 1


def test_paths_of_universal_pathlib(bucket):
    path = pytest.importorskip("upath").UPath(f"{bucket}/upath.zarr")
    save(dataset(1), path)
    assert open_store(path).attrs["k"] == 1
    assert location_of(path).identity == location_of(str(path)).identity


def test_addresses_that_lead_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingDependencyError, match=r"'batteryxr\[remote\]'"):
        save(dataset(1), "gs://bucket/a.zarr")
    with pytest.raises(StoreError, match="nowhere://x"):
        save(dataset(1), "nowhere://x")
    with pytest.raises(ArgumentError, match="URL as text"):
        save(dataset(1), Path("s3://bucket/a.zarr"))
    with pytest.raises(ArgumentError, match="path"):
        save(dataset(1), 3)
    assert os.listdir(tmp_path) == []


class Place:
    """A path of a library that we do not know."""

    def __init__(self, path: Path):
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


def test_every_way_to_name_a_folder_is_that_folder(tmp_path, monkeypatch):
    """Each is opened by its path; none makes a folder of another name."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.zarr"
    for k, name in enumerate(
        ["a.zarr", path, Place(path), f"file://{path}", f"file://localhost{path}"]
    ):
        save(dataset(k), name, overwrite=True)
        assert open_store(path).attrs["k"] == k
        assert open_store(name).attrs["k"] == k
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_a_server_that_is_away_is_one_sentence(bucket, tmp_path, monkeypatch, capsys):
    """Libraries of servers raise errors that are none of the system."""
    from botocore.exceptions import NoCredentialsError
    from zarr.storage import FsspecStore

    def away(*_):
        raise NoCredentialsError

    url, page = f"{bucket}/away.zarr", str(tmp_path / "page.html")
    monkeypatch.setattr(FsspecStore, "get", away)
    monkeypatch.setattr(FsspecStore, "list_dir", away)
    for command in (
        ["info", url],
        ["check", url],
        ["report", url, "--out", page],
        ["operando", "--out", url],
        ["ptycho", url],
    ):
        assert main(command) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"batteryxr: {url}: Unable to locate credentials.")
        assert told.count("\n") == 1
    with pytest.raises(StoreError, match="credentials"):
        ptycho_progress(url)
    assert os.listdir(tmp_path) == []
