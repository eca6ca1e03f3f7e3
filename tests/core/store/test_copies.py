"""Metadata that other programs copied into groups: never older than what is there."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
import zarr

from batteryxr.core.resume import write_resumable
from batteryxr.core.store import groups, location_of, open_store, save, verify

pytestmark = [
    pytest.mark.filterwarnings("ignore:Consolidated metadata is currently"),
    pytest.mark.filterwarnings("ignore:Failed to open Zarr store with consolidated"),
]

OLD = xr.Dataset({"old": ("y", np.arange(3.0))})
NEW = xr.Dataset({"new": ("z", np.arange(4.0))}, attrs={"k": 1})


@pytest.fixture(params=["disk", "memory"])
def place(request, tmp_path):
    if request.param == "disk":
        return tmp_path / "a.zarr"
    return zarr.storage.MemoryStore()


@pytest.mark.parametrize("group", ["ours", "g/h", "g/inner/deep"])
def test_new_groups_are_seen_by_others(place, group):
    tree = xr.DataTree.from_dict({"/": OLD, "/g": OLD})
    tree.to_zarr(place, consolidated=True)
    save(NEW, place, group=group)
    assert list(xr.open_zarr(place, group=group)) == ["new"]
    assert list(xr.open_zarr(place, group="g")) == ["old"]
    assert verify(place) == []


@pytest.mark.filterwarnings("error")
def test_saving_to_an_empty_store_warns_of_nothing(place):
    save(OLD, place)


@pytest.mark.parametrize("group", ["", "g"])
def test_others_see_nothing_that_was_replaced(place, group):
    save(OLD, place, group=group)
    zarr.consolidate_metadata(place)
    if group:
        zarr.consolidate_metadata(place, path=group)
    save(NEW, place, group=group, overwrite=True)
    assert open_store(place, group).identical(NEW)
    renames = location_of(place).folder is not None
    if renames or not group:
        assert list(xr.open_zarr(place, group=group)) == ["new"] * renames
    assert not location_of(place).names(f"{group}/old".strip("/"))


def test_our_own_stores_may_be_consolidated(place):
    save(OLD, place)
    save(OLD, place, group="g")
    zarr.consolidate_metadata(place)
    assert verify(place) == []
    key = "g/old/zarr.json"
    node = json.loads(location_of(place).get("zarr.json"))
    node["consolidated_metadata"]["metadata"]["g/old"]["shape"] = [2]
    location_of(place).put("zarr.json", json.dumps(node, indent=2).encode())
    (found,) = verify(place)
    assert "copy of the metadata of g/old" in found.cause
    assert json.loads(location_of(place).get(key))["shape"] == [3]
    save(NEW, place, group="h")
    assert verify(place) == []
    assert list(xr.open_zarr(place, group="h")) == ["new"]


def test_what_others_left_out_of_their_copies_is_opened(place):
    OLD.to_zarr(place, zarr_format=3, consolidated=True)
    NEW.to_zarr(place, group="late", zarr_format=3, consolidated=False)
    assert groups(place) == ["", "late"]


def test_long_work_within_a_store_of_others(place):
    OLD.to_zarr(place, zarr_format=3, consolidated=True)
    write_resumable(NEW.chunk(z=2), place, group="long", dim="z")
    xr.testing.assert_equal(xr.open_zarr(place, group="long"), NEW)
