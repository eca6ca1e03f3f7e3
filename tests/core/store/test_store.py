"""Stores: what is written comes back, and a killed run goes on."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from batteryxr.core.errors import StoreError
from batteryxr.core.store import open_store, opening, save, verify
from batteryxr.core.store.manifest import MANIFEST


@pytest.fixture
def result():
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "object": (
                ("state", "y", "x"),
                (rng.normal(size=(2, 5, 4)) + 1j).astype(np.complex64),
            ),
            "valid": (("y", "x"), rng.random((5, 4)) > 0.5),
        },
        coords={
            "state": [1, 2],
            "direction": ("state", ["charge", "discharge"]),
            "time": ("state", np.array(["2022-07-26T22:38:30.190", "NaT"], "M8[ns]")),
        },
        attrs={"history": "made", "files": ["a", "b"]},
    )


def test_round_trip_is_identical_and_lazy(result, tmp_path):
    path = save(result, tmp_path / "a.zarr", group="cdi")
    back = open_store(path, "cdi")
    assert back["object"].chunks is not None
    xr.testing.assert_identical(back.compute(), result)


def test_experiment_is_a_tree_of_groups(result, tmp_path):
    path = tmp_path / "a.zarr"
    save(result, path, group="cdi")
    save(result[["valid"]], path, group="echem/cycles")
    tree = open_store(path)
    assert set(tree.groups) == {"/", "/cdi", "/echem", "/echem/cycles"}
    save(tree, tmp_path / "b.zarr")
    xr.testing.assert_identical(
        open_store(tmp_path / "b.zarr").compute(), tree.compute()
    )


def test_nothing_is_replaced_silently(result, tmp_path):
    path = save(result, tmp_path / "a.zarr", group="cdi")
    with pytest.raises(StoreError, match="overwrite=True"):
        save(result, path, group="cdi")
    save(result[["valid"]], path, group="cdi", overwrite=True)
    assert set(open_store(path, "cdi").data_vars) == {"valid"}


def test_absent_store_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"nothing\.zarr.*no zarr store"):
        open_store(tmp_path / "nothing.zarr")


def test_sharded_stores_open_by_shard(tmp_path):
    array = zarr.create_array(
        str(tmp_path / "a.zarr" / "mu"),
        shape=(8, 64, 64),
        chunks=(8, 16, 16),
        shards=(8, 32, 32),
        dtype="f4",
        dimension_names=("energy", "y", "x"),
    )
    array[:] = 1
    zarr.open_group(str(tmp_path / "a.zarr"), mode="a")
    opened = open_store(tmp_path / "a.zarr")
    assert opened["mu"].chunks == ((8,), (32, 32), (32, 32))


def test_misaligned_sharded_writes_are_refused(tmp_path):
    """Guards the lowest xarray version: earlier ones wrote wrong values."""
    ds = xr.Dataset({"mu": (("x",), da.arange(64, chunks=8))})
    with pytest.raises(ValueError, match="chunks"):
        ds.to_zarr(
            tmp_path / "a.zarr",
            encoding={"mu": {"chunks": (4,), "shards": (16,)}},
            consolidated=False,
        )


def test_the_manifest_is_read_once_for_all_groups(tmp_path, monkeypatch):
    from batteryxr.core.store.manifest import Manifest

    one = xr.Dataset({"voltage": ("record", np.arange(3.0))})
    tree = xr.DataTree.from_dict({f"/cell_{k}": one for k in range(5)})
    save(tree, tmp_path / "cells.zarr")
    read, count = Manifest.read.__func__, []

    def counted(cls, location):
        count.append(location)
        return read(cls, location)

    monkeypatch.setattr(Manifest, "read", classmethod(counted))
    assert len(open_store(tmp_path / "cells.zarr").children) == 5
    assert len(count) == 1


def test_what_is_returned_opens(result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in (f"file://{tmp_path}/a.zarr", "b.zarr", f"{tmp_path}/c.zarr"):
        assert open_store(save(result, place)).sizes == result.sizes


@pytest.mark.parametrize("chunks", [None, {}, {"run": 2, "part": 2}])
@pytest.mark.parametrize("kind", ["U", "T"])
def test_text_in_any_order_of_memory(tmp_path, kind, chunks):
    rows = [[f"é{j}{i}" * (i + 1) for i in range(4)] for j in range(3)]
    names = np.array(rows, {"U": str, "T": np.dtypes.StringDType()}[kind])
    data = xr.Dataset({"name": (("part", "run"), names)}).transpose("run", "part")
    data = data if chunks is None else data.chunk(chunks)
    back = open_store(save(data, tmp_path / "a.zarr"))["name"]
    assert back.values.tolist() == [list(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("kind", "sep"), [("default", "."), ("v2", "/"), ("v2", ".")])
def test_chunks_with_keys_of_others_are_read_and_checked(tmp_path, kind, sep, packed):
    values = np.arange(24.0).reshape(6, 4)
    codecs = (zarr.codecs.BloscCodec(),) * packed + (zarr.codecs.Crc32cCodec(),)
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array(
        "v",
        data=values,
        chunks=(3, 4),
        compressors=codecs,
        chunk_key_encoding={"name": kind, "separator": sep},
        dimension_names=("x", "y"),
    )
    np.testing.assert_array_equal(open_store(tmp_path / "a.zarr")["v"], values)
    start = ["c"] if kind == "default" else []
    key = sep.join([*start, "1", "0"])
    chunk = tmp_path / "a.zarr" / "v" / key
    chunk.write_bytes(bytes([chunk.read_bytes()[0] ^ 1]) + chunk.read_bytes()[1:])
    with pytest.raises(StoreError, match=f"v, chunk {key} is damaged"):
        open_store(tmp_path / "a.zarr")["v"].load()
    told = [(d.variable, d.chunk) for d in verify(tmp_path / "a.zarr")]
    assert ("v", key) in told
    assert not [v for v, where in told if v != "manifest" and where != key]


@pytest.mark.parametrize("moment", ["between two groups", "without the group"])
@pytest.mark.parametrize("group", ["m", None])
def test_groups_replaced_while_they_are_opened(tmp_path, monkeypatch, group, moment):
    path, changed = tmp_path / "a.zarr", []
    data = xr.Dataset({"v": ("x", np.ones(3))})
    groups = {"m": data.assign_attrs(k=1), "n": data.assign_attrs(k=1)}
    save(xr.DataTree.from_dict(groups), path)
    listed = opening._listed

    def late(location, name, manifest):
        if changed:
            return listed(location, name, manifest)
        changed.append(name)
        if moment == "between two groups":
            found = listed(location, name, manifest)
        else:
            (path / "m").rename(tmp_path / "m")
            found = StoreError
            with pytest.raises(StoreError, match="no group 'm'") as error:
                listed(location, name, manifest)
            (tmp_path / "m").rename(path / "m")
        newer = {name: (held + 1).assign_attrs(k=2) for name, held in groups.items()}
        save(xr.DataTree.from_dict(newer), path, overwrite=True)
        if found is StoreError:
            raise error.value
        return found

    monkeypatch.setattr(opening, "_listed", late)
    found = open_store(path, group)
    found = [found] if group else [found["m"], found["n"]]
    assert [(g.attrs["k"], float(g["v"].sum())) for g in found] == [(2, 6)] * len(found)
    monkeypatch.setattr(opening, "_listed", listed)
    with pytest.raises(StoreError, match="no group 'q'"):
        open_store(path, "q")


class _Late(zarr.storage.MemoryStore):
    """Give an object once as it was before."""

    before: dict = {}  # noqa: RUF012

    async def get(self, key, prototype=None, byte_range=None):
        if key in self.before:
            return self.before.pop(key)
        return await super().get(key, prototype, byte_range)


def test_an_old_manifest_of_a_server_is_read_again():
    store, data = _Late(), xr.Dataset({"v": ("x", np.ones(3))})
    save(data, store, group="m")
    old = store._store_dict[MANIFEST]
    save(data + 1, store, group="m", overwrite=True)  # goes under another key
    save(data + 2, store, group="m", overwrite=True)  # and the first is removed
    store.before = {MANIFEST: old}
    assert open_store(store, "m")["v"].values.tolist() == [3.0] * 3
    assert not store.before
