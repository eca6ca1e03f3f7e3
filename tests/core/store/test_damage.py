"""Damaged stores: each damage is named, and nothing made up is read."""

from __future__ import annotations

import collections
import errno
import json
import os
import random
import re
import shutil
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from numcodecs import blosc
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from batteryxr.cli.main import main
from batteryxr.core.errors import DataQualityWarning, StoreError
from batteryxr.core.ledger import Ledger
from batteryxr.core.resume import write_resumable
from batteryxr.core.store import (
    Damage,
    Location,
    groups,
    location_of,
    open_dataset,
    open_store,
    save,
    verify,
)
from batteryxr.core.store.reading import checked_store

if TYPE_CHECKING:
    from pathlib import Path


def finished(path: Path) -> Path:
    """Write a store with all that batteryxr writes."""
    rng = np.random.default_rng(0)
    maps = xr.Dataset(
        {
            "mu": (("energy", "y", "x"), rng.random((6, 8, 8)).astype("f4")),
            "flag": (("y", "x"), np.zeros((8, 8), np.uint8)),
            "name": ((), "cell"),
        },
        coords={
            "energy": np.arange(6.0),
            "label": ("y", [f"row {k}" for k in range(8)]),
        },
        attrs={"history": "made"},
    )
    save(maps.chunk(energy=2), path, group="xanes/maps")
    save(maps[["flag"]], path)
    x = da.from_array(np.arange(12.0), chunks=3)
    write_resumable(xr.Dataset({"a": ("t", x * 2)}), path, group="long", dim="t")
    ledger = Ledger(path, "starts/0")
    ledger.claim({"seed": 0})
    for k in range(3):
        ledger.put("start", {"object": rng.random((4, 4)), "n": np.arange(3)}, k=k)
    return path


def damage(path: Path, rng: random.Random) -> tuple[Path, str]:
    """Do something to a file; return which, and what."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    file = rng.choice(files)
    content, kind = file.read_bytes(), rng.choice(("lost", "cut", "flipped", "empty"))
    if kind == "lost":
        file.unlink()
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "cut":
        file.write_bytes(content[: rng.randrange(len(content))])
    else:
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(flipped)
    return file.relative_to(path), kind


def variable_of(file: Path) -> str:
    text = file.as_posix()
    if text == "_journal/manifest/zarr.json":
        return "manifest"
    return re.sub(r"/c(/\d+)*$", "", text.removesuffix("zarr.json").rstrip("/"))


def is_named(path: Path, file: Path) -> bool:
    """Tell whether a damaged file is named, a chunk as such."""
    found = {(d.variable, d.chunk) for d in verify(path)}
    _, of_array, index = file.as_posix().rpartition("/c/")
    return (variable_of(file), f"c/{index}" if of_array else "") in found or (
        file.name == "c" and (variable_of(file), "c") in found
    )


def read_all(path: Path) -> dict[str, xr.Dataset]:
    return {name: open_dataset(path, name).load() for name in groups(path)}


def reads_other(path: Path, before: dict[str, xr.Dataset]) -> list[str]:
    """Return what is read from a store, group by group, and is not what it was.

    Only our error, or the warning that part of it is not there, excuses a difference.
    """
    other = []
    for name, was in before.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error", DataQualityWarning)
            try:
                found = open_dataset(path, name).load()
            except (StoreError, DataQualityWarning):
                continue
        other += [name] * (not found.identical(was))
    return other


def test_random_damages_are_named(tmp_path):
    path, rng = finished(tmp_path / "a.zarr"), random.Random(0)
    assert verify(path) == []
    before = read_all(path)
    for k in range(30):
        copy = tmp_path / f"{k}.zarr"
        shutil.copytree(path, copy)
        file, kind = damage(copy, rng)
        assert is_named(copy, file), (file, kind, verify(copy))
        assert not reads_other(copy, before), (file, kind)
        shutil.rmtree(copy)


def test_valid_chunks_in_other_places_are_named(tmp_path):
    path, older = finished(tmp_path / "a.zarr"), tmp_path / "old.zarr"
    before = xr.Dataset({"x": ("t", np.arange(8.0))}).chunk(t=4)
    save(before, path, group="run")
    shutil.copytree(path, older)
    save(before + 1, path, group="run", overwrite=True)
    assert verify(path) == []
    first, second = (path / "xanes" / "maps" / "mu" / "c" / k / "0/0" for k in "02")
    held = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(held)
    shutil.copy(older / "run/x/c/1", path / "run/x/c/1")
    shutil.copy(path / "long/a/c/0", path / "long/a/c/3")
    pieces = path / "starts/0/start.0", path / "starts/0/start.1"
    shutil.copy(pieces[0] / "object/c/0/0", pieces[1] / "object/c/0/0")
    assert {(d.variable, d.chunk) for d in verify(path)} == {
        ("xanes/maps/mu", "c/0/0/0"),
        ("xanes/maps/mu", "c/2/0/0"),
        ("run/x", "c/1"),
        ("long/a", "c/3"),
        ("starts/0/start.1/object", "c/0/0"),
    }
    with pytest.raises(StoreError, match="not the one that was written there"):
        open_store(path, "xanes/maps", verify=True)
    opened = open_store(path, "run")
    np.testing.assert_array_equal(opened["x"][:4], np.arange(1.0, 5.0))
    with pytest.raises(StoreError, match="run/x, chunk c/1 is not the one"):
        opened["x"].load()
    ledger = Ledger(path, "starts/0")
    shutil.copy(pieces[1] / "object/c/0/0", pieces[0] / "object/c/0/0")
    ledger.put("start", {"object": np.eye(4)})
    shutil.copy(pieces[0] / "object/c/0/0", tmp_path / "piece")
    ledger.put("start", {"object": np.eye(4) + 1})
    newest = pieces[0] if ledger._newest("start").slot == 0 else pieces[1]
    shutil.copy(tmp_path / "piece", newest / "object/c/0/0")
    with pytest.raises(StoreError, match="start is damaged"):
        ledger.get("start")


def test_exchanged_chunks_are_named_where_nothing_is_renamed():
    from zarr.storage import MemoryStore

    held: dict = {}
    place = MemoryStore(held)
    save(xr.Dataset({"x": ("t", np.arange(8.0))}).chunk(t=4), place, group="run")
    opened = open_store(place, "run")
    save(xr.Dataset({"y": ("t", np.arange(8.0))}).chunk(t=4), place, group="other")
    held["run/x/c/0"], held["run/x/c/1"] = held["run/x/c/1"], held["run/x/c/0"]
    assert [d.chunk for d in verify(place)] == ["c/0", "c/1"]
    with pytest.raises(StoreError, match=r"run/x, chunk c/[01] is not the one"):
        opened["x"].load()


@pytest.mark.parametrize("kind", ["lost", "cut", "flipped", "empty"])
def test_reading_a_damaged_chunk_names_it(tmp_path, kind):
    path = finished(tmp_path / "a.zarr")
    file = path / "xanes" / "maps" / "mu" / "c" / "1" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    changed = {"cut": content[:-30], "flipped": content, "empty": b""}
    opened = open_store(path, "xanes/maps")
    file.unlink() if kind == "lost" else file.write_bytes(bytes(changed[kind]))
    opened["mu"][:2].load()
    with pytest.raises(StoreError, match=r"xanes/maps/mu, chunk c/1/0/0 is"):
        opened["mu"].load()
    with pytest.raises(StoreError, match=r"xanes/maps/mu, chunk c/1/0/0: is"):
        open_store(path, "xanes/maps", verify=True)
    shutil.rmtree(path / "xanes" / "maps" / "flag")
    with pytest.raises(StoreError, match="xanes/maps/flag: its metadata is lost"):
        open_store(path, "xanes/maps")


@pytest.mark.parametrize("wrapped", [False, True])
def test_every_way_to_read_is_checked(tmp_path, wrapped):
    """Parts, many at once and without waiting: zarr may take any way, now or later."""
    path = finished(tmp_path / "a.zarr")
    chunk, metadata = "xanes/maps/mu/c/1/0/0", "xanes/maps/mu/zarr.json"
    whole = blosc.decompress((path / chunk).read_bytes()[:-4])
    place = location_of(path)
    store = checked_store(replace(place, folder=None) if wrapped else place)
    buffers = default_buffer_prototype()
    sync(store.get(metadata, buffers))
    parts = {
        RangeByteRequest(3, 9): whole[3:9],
        OffsetByteRequest(5): whole[5:],
        SuffixByteRequest(7): whole[-7:],
        None: whole,
    }
    for part, wanted in parts.items():
        assert sync(store.get(chunk, buffers, part)).to_bytes() == wanted
    found = sync(store.get_partial_values(buffers, [(chunk, p) for p in parts]))
    assert [f.to_bytes() for f in found] == list(parts.values())
    part = sync(store.get("xanes/zarr.json", buffers, SuffixByteRequest(1)))
    assert part.to_bytes() == b"}"
    (path / chunk).write_bytes((path / chunk).read_bytes()[:-4] + b"1234")
    reads = [lambda p=p: sync(store.get(chunk, buffers, p)) for p in parts]
    reads.append(lambda: sync(store.get_partial_values(buffers, [(chunk, None)])))
    if not wrapped:
        reads.append(lambda: store.get_sync(chunk))
    for read in reads:
        with pytest.raises(StoreError, match="xanes/maps/mu, chunk c/1/0/0 is damaged"):
            read()


def test_copies_made_with_xarray_keep_checksums(tmp_path):
    path = finished(tmp_path / "a.zarr")
    copy = tmp_path / "b.zarr"
    open_store(path, "xanes/maps").to_zarr(copy, consolidated=False)
    names = [json.loads(p.read_bytes())["codecs"][-1] for p in copy.glob("*/zarr.json")]
    assert [n["name"] for n in names] == ["crc32c"] * 5


def test_scalars_of_any_name_are_checked(tmp_path):
    """A variable, and groups, may be called as chunks are."""
    path = tmp_path / "a.zarr"
    values = xr.Dataset({"c": 1.5, "a": 2.5, "line": ("x", [1.0, 2.0])})
    for group in ("h/c", "c/0"):
        save(values, path, group=group)
    assert verify(path) == []
    for group, name, chunk in (
        ("h/c", "a", "c"),
        ("h/c", "c", "c"),
        ("c/0", "c", "c"),
        ("c/0", "line", "c/0"),
    ):
        file = path / group / name / chunk
        before = file.read_bytes()
        file.write_bytes(bytes([before[0] ^ 1]) + before[1:])
        assert [d[:2] for d in verify(path)] == [(f"{group}/{name}", chunk)]
        with pytest.raises(StoreError, match=f"{group}/{name}, chunk {chunk} is"):
            open_store(path, group).load()
        file.write_bytes(before)


def test_metadata_are_read_once(tmp_path, monkeypatch):
    path, asked = finished(tmp_path / "a.zarr"), collections.Counter()
    real = Location.get

    def get(self, key):
        asked[key] += 1
        return real(self, key)

    monkeypatch.setattr(Location, "get", get)
    assert verify(path) == []
    del asked["zarr.json"]  # that of the root tells first whether it is a store
    del asked["_journal/manifest/zarr.json"]
    assert set(asked.values()) == {1}


def test_a_damaged_piece_is_not_another_start(tmp_path):
    path = finished(tmp_path / "a.zarr")
    ledger = Ledger(path, "starts/0")
    assert ledger.get("start").attrs == {"k": 2}
    (path / "starts" / "0" / "start.0" / "n" / "c" / "0").unlink()
    with pytest.raises(StoreError, match="start is damaged"):
        ledger.get("start")


def test_the_command_check(tmp_path, capsys):
    path = finished(tmp_path / "a.zarr")
    assert main(["check", str(path)]) == 0
    assert "whole" in capsys.readouterr().out
    (path / "long" / "a" / "c" / "2").unlink()
    (path / "xanes" / "maps" / "label" / "zarr.json").write_text("{")
    assert main(["check", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "long/a, chunk c/2: is lost"
    assert lines[1].startswith("xanes/maps/label: its metadata is")
    assert main(["check", str(tmp_path / "none.zarr")]) == 2


def test_a_chunk_that_the_disk_refuses_is_named(tmp_path, monkeypatch):
    """A bad sector ends neither the check nor the name of what it hit."""
    path = finished(tmp_path / "a.zarr")
    get = Location.get

    def refused(self: Location, key: str) -> bytes | None:
        if key.endswith("maps/mu/c/1/0/0"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), key)
        return get(self, key)

    monkeypatch.setattr(Location, "get", refused)
    cause = f"cannot be read: {os.strerror(errno.EIO)}"
    assert verify(path) == [Damage("xanes/maps/mu", "c/1/0/0", cause)]


def test_lost_claims_of_ledgers_are_named(tmp_path):
    path = tmp_path / "a.zarr"
    save(xr.Dataset({"a": ("x", np.ones(3))}), path)
    Ledger(path, "starts/0").claim({"seed": 0})
    assert verify(path) == []
    (claim,) = (path / "starts" / "0").glob("claim.?/zarr.json")
    claim.unlink()
    assert [d.variable for d in verify(path)] == ["starts/0/claim.0"]


def test_pieces_that_were_begun_are_no_damage(tmp_path, monkeypatch):
    """Killed while it was written; failed, nothing of it stays."""
    path = finished(tmp_path / "a.zarr")
    ledger, before = Ledger(path, "starts/0"), sorted(path.rglob("*"))

    def fail():
        yield "object", np.ones(4)
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match="No space left"):
        ledger.put("next", fail())
    assert sorted(path.rglob("*")) == before
    with monkeypatch.context() as patch:
        patch.setattr(Location, "delete_below", lambda *_: None)
        with pytest.raises(StoreError):
            ledger.put("next", fail())
    chunk = path / "starts" / "0" / "next.0" / "object" / "c" / "0"
    chunk.unlink()
    assert verify(path) == []
    # What counts may be called as a piece is.
    save(xr.Dataset({"a": ("x", [1.0])}), path, group="deep.0/inner")
    (path / "deep.0" / "inner" / "a" / "c" / "0").write_bytes(b"")
    assert [d.variable for d in verify(path)] == ["deep.0/inner/a"]


def test_metadata_of_another_variable_are_told(tmp_path):
    """Chunks of whole numbers are read as others where their metadata say so."""
    path = tmp_path / "a.zarr"
    numbers = {"n": ("t", np.arange(9)), "x": ("t", np.ones(9))}
    save(xr.Dataset(numbers, coords={"t": np.arange(9.0)}), path, group="g")
    shutil.copy(path / "g/x/zarr.json", path / "g/n/zarr.json")
    with pytest.warns(DataQualityWarning, match="metadata of g/n are not what"):
        open_store(path, "g")
    shutil.copy(path / "g/n/zarr.json", path / "g/x/zarr.json")
    (path / "g/t/zarr.json").write_text(
        (path / "g/x/zarr.json").read_text().replace("blosc", "gzip")
    )
    with pytest.raises(StoreError, match="g/t"):
        open_store(path, "g")


@pytest.mark.parametrize("group", ["", "g"])
def test_attributes_of_a_group_that_changed_are_told(tmp_path, group):
    path = tmp_path / "a.zarr"
    save(xr.Dataset({"x": ("t", [1.0])}, attrs={"cell": "A1"}), path, group=group)
    file = path / group / "zarr.json"
    file.write_text(file.read_text().replace("A1", "A2"))
    with pytest.warns(DataQualityWarning, match=f"of {group or 'the root'} are not"):
        assert open_dataset(path, group).attrs["cell"] == "A2"


@pytest.mark.filterwarnings("ignore:.*are not what batteryxr wrote")
@pytest.mark.parametrize(
    ("there", "other"),
    [("label", "energy"), ("label", "flag"), ("energy", "label"), ("flag", "mu")],
)
def test_the_metadata_of_another_variable(tmp_path, there, other):
    """What zarr and its codecs raise of it is told as ours, opened or read."""
    path = finished(tmp_path / "a.zarr")
    maps = path / "xanes" / "maps"
    shutil.copy(maps / other / "zarr.json", maps / there / "zarr.json")
    with pytest.raises(StoreError, match=rf"maps/{there}"):
        open_store(path, "xanes/maps").load()
    with pytest.raises(StoreError, match=rf"maps/{there}: its metadata is not"):
        open_store(path, verify=True)


def test_attributes_that_are_none(tmp_path):
    path = finished(tmp_path / "a.zarr")
    for place in ("xanes/maps", "starts/0", "xanes/maps/mu"):
        file = path / place / "zarr.json"
        file.write_text(json.dumps(json.loads(file.read_bytes()) | {"attributes": 1}))
        assert place in {d.variable for d in verify(path)}
        with pytest.raises(StoreError, match=place):
            open_store(path, verify=True)


def test_stores_of_others_are_not_called_damaged(tmp_path):
    """Copied metadata in the root are xarray's; format 2 has nothing to check."""
    data = xr.Dataset({"a": ("y", np.arange(3.0))})
    path = tmp_path / "theirs.zarr"
    data.to_zarr(path, zarr_format=3, consolidated=True)
    save(data, path, group="ours")
    assert verify(path) == []
    data.to_zarr(tmp_path / "old.zarr", zarr_format=2)
    with pytest.raises(StoreError, match="format 2, which holds no checksums"):
        verify(tmp_path / "old.zarr")


@pytest.mark.parametrize("other", ["m/a", "long/_journal/0.0", "long"])
def test_metadata_of_something_else_in_the_journal(tmp_path, other):
    path = tmp_path / "a.zarr"
    data = xr.Dataset({"a": ("x", np.arange(6.0))}, attrs={"k": 1})
    save(data, path, group="m")
    write_resumable(data.chunk(x=3), path, group="long", dim="x")
    assert verify(path) == []
    shutil.copy(path / other / "zarr.json", path / "_journal" / "zarr.json")
    told = [str(damage) for damage in verify(path)]
    assert "_journal: its metadata is that of something else" in told
