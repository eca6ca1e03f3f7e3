"""Locks of machines whose clocks differ: the store's own clock tells their age."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from dataclasses import asdict, replace

import numpy as np
import pytest
import xarray as xr
import zarr

from batteryxr.core.errors import StoreError
from batteryxr.core.store import location_of, lock, save, verify

DATA = xr.Dataset({"a": ("x", np.arange(3.0))})
DAY = 86_400.0


KINDS = ["disk", "memory", "object", "obstore"]


@pytest.fixture(params=[*KINDS, pytest.param("s3", marks=pytest.mark.long)])
def place(request, tmp_path):
    name = uuid.uuid4().hex
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')('locks')}/{name}"
    if request.param == "obstore":
        obstore = pytest.importorskip("obstore").store
        return zarr.storage.ObjectStore(obstore.MemoryStore())
    if request.param == "object":
        return zarr.storage.MemoryStore()
    return str(tmp_path / "a") if request.param == "disk" else f"memory://locks/{name}"


def hold(place, ahead: float = 0.0, **other) -> None:
    """Write the lock of somebody whose clock differs by so many seconds."""
    now = time.time() + ahead
    holder = replace(lock.Holder.here(), **(other or {"host": "beamline"}))
    told = asdict(holder) | {"since": now, "seen": now}
    location_of(place).put("_journal/lock", json.dumps(told).encode())


@pytest.mark.parametrize("ahead", [-DAY, DAY])
def test_clocks_that_differ(place, ahead, monkeypatch):
    save(DATA, place, group="m")
    hold(place, ahead)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"process .* on beamline, since"):
            save(DATA, place, group="n")
    assert verify(place) == []
    monkeypatch.setattr(lock, "LEFT", 1.0)
    time.sleep(2.1)  # S3 counts whole seconds
    hold(place, ahead)  # a sign of life
    with pytest.raises(StoreError, match=r"process .* on beamline, since"):
        save(DATA, place, group="n")
    time.sleep(2.1)
    save(DATA, place, group="n")
    assert [n for n in location_of(place).names("_journal") if "lock" in n] == []


def test_another_machine_of_the_same_name(tmp_path):
    """The number of its process says nothing here."""
    save(DATA, tmp_path / "a")
    for machine in ("another", ""):
        hold(tmp_path / "a", machine=machine, pid=2**22 + 1)
        with pytest.raises(StoreError, match="is being written to by process"):
            save(DATA, tmp_path / "a", group="n")
    os.utime(tmp_path / "a" / "_journal" / "lock", (1.0, 1.0))
    save(DATA, tmp_path / "a", group="n")


def test_locks_of_other_versions(tmp_path):
    """More or fewer fields: its process counts all the same."""
    save(DATA, tmp_path / "a")
    hold(tmp_path / "a")
    path = tmp_path / "a" / "_journal" / "lock"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"more": 1}))
    with pytest.raises(StoreError, match="on beamline, since"):
        save(DATA, tmp_path / "a", group="n")


def test_age_of_objects(place):
    location = location_of(place)
    location.put("_journal/lock", b"1")
    assert 0 <= lock.silence(location, "_journal/lock") < 3
    assert location.names("_journal") == ["lock"]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are told by Linux")
def test_a_killed_writer_whose_parent_has_not_noticed_holds_nothing():
    place = zarr.storage.MemoryStore()  # on disk the system lets its lock go
    with subprocess.Popen(["sleep", "60"]) as process:
        hold(place, pid=process.pid, born=lock._born(process.pid))
        with pytest.raises(StoreError, match=f"process {process.pid} on"):
            save(DATA, place, group="m")
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
        save(DATA, place, group="m")
    assert verify(place) == []
