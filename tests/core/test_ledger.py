"""Pieces of long work: whole or not there, kept through kills, told apart."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from batteryxr.core import store
from batteryxr.core.blocks.digests import digest
from batteryxr.core.errors import StoreError
from batteryxr.core.ledger import Ledger


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path / "a.zarr", "starts")


def arrays(k: float = 1.0) -> dict[str, np.ndarray]:
    values = np.arange(6, dtype=np.complex64).reshape(2, 3)
    return {"object": values * np.float32(k), "empty": np.empty((0, 2))}


def test_a_piece_comes_back(ledger):
    assert not ledger.has("0/1")
    assert ledger.get("0/1") is None
    ledger.put("0/1", arrays(), failed="", iteration=3)
    ledger.put("0/2", iter(arrays(2.0).items()))
    again = pickle.loads(pickle.dumps(ledger))
    piece = again.get("0/1")
    assert piece.attrs == {"failed": "", "iteration": 3}
    assert piece.arrays.keys() == {"object", "empty"}
    for name, values in arrays().items():
        np.testing.assert_array_equal(piece.arrays[name], values)
        assert piece.arrays[name].dtype == values.dtype
    assert again.get("0/2", "object").arrays.keys() == {"object"}
    np.testing.assert_array_equal(again.array("0/2", "object"), arrays(2.0)["object"])
    assert again.missing(["0/0", "0/1", "0/2", "0/3"]) == ["0/0", "0/3"]


@pytest.mark.parametrize("made", ["a list", "a pipe", "an array", "a folder"])
def test_pieces_do_not_begin_in_what_is_no_store(tmp_path, made):
    """Nothing is written there, and nothing waits for a pipe."""
    path = tmp_path / "theirs"
    if made == "an array":
        zarr.create_array(path, data=np.arange(5.0))
    else:
        path.mkdir()
        (path / "thesis.tex").write_text("mine")
        node = path / "zarr.json"
        if made == "a pipe":
            os.mkfifo(node)
        elif made == "a list":
            node.write_text("[1, 2]")
    before = sorted(path.rglob("*"))
    with pytest.raises(StoreError, match="theirs"):
        Ledger(path, "starts").claim({"seed": 0})
    assert sorted(path.rglob("*")) == before


def test_pieces_do_not_begin_in_a_variable(tmp_path):
    path = store.save(xr.Dataset({"a": ("x", [1.0])}), tmp_path / "a.zarr")
    with pytest.raises(StoreError, match="a is a variable, not a group"):
        Ledger(path, "a").claim({"seed": 0})


def test_a_newer_piece_takes_the_place_of_the_older(ledger):
    for k in range(5):
        ledger.put("0", arrays(k), number=k)
        assert ledger.get("0").attrs["number"] == k
        np.testing.assert_array_equal(ledger.array("0", "object"), arrays(k)["object"])
    assert len(list((ledger.path / "starts").glob("0.*"))) == 2
    ledger.forget("0")
    assert not ledger.has("0")
    assert not list((ledger.path / "starts").glob("0.*"))
    with pytest.raises(StoreError, match="0 is gone"):
        ledger.array("0", "object")


def test_a_piece_that_broke_off_leaves_the_older(ledger):
    def broken(k):
        yield "object", arrays(k)["object"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ledger.put("0", broken(1))
    assert not ledger.has("0")
    for k in range(2, 5):
        ledger.put("0", arrays(k))
        with pytest.raises(KeyboardInterrupt):
            ledger.put("0", broken(-k))
        np.testing.assert_array_equal(ledger.array("0", "object"), arrays(k)["object"])


def test_metadata_cut_off_in_the_middle_are_no_piece(ledger):
    ledger.put("0", arrays(1))
    ledger.put("0", arrays(2))
    newest = ledger.path / "starts" / "0.1" / "zarr.json"
    text = newest.read_text()
    for end in range(len(text)):
        newest.write_text(text[:end])
        np.testing.assert_array_equal(ledger.array("0", "object"), arrays(1)["object"])


def test_pieces_of_something_else_are_refused(ledger):
    mark = {"seed": 0, "task": {"step": 0.5, "words": ("a", "b")}}
    assert ledger.mark() is None
    ledger.claim(mark)
    ledger.claim(mark)
    assert ledger.mark() == {"seed": 0, "task": {"step": 0.5, "words": ["a", "b"]}}
    for change, told in (
        ({"seed": 1}, "seed: stored 0, asked for 1"),
        ({"task": {"step": 0.25, "words": ("a", "b")}}, "task: step: stored 0.5, ask"),
        ({"lead": 3}, "lead: stored null, asked for 3"),
        ({"data": "x" * 1000}, "asked for x{200}\\.\\.\\.\\)"),
    ):
        with pytest.raises(StoreError, match=told):
            ledger.claim(mark | change)
    assert "a.zarr, group 'starts'" in str(ledger)
    assert str(Ledger("b.zarr", "_journal")) == "b.zarr"
    assert str(Ledger("b.zarr", "maps/_journal")) == "b.zarr, group 'maps'"


def test_pieces_that_nobody_claimed_are_refused(ledger):
    ledger.put("0", arrays())
    with pytest.raises(StoreError, match="unknown origin"):
        ledger.claim({"seed": 0})


def test_a_piece_costs_the_same_however_many_there_are(ledger, monkeypatch):
    import zarr.storage

    calls = []
    for name in ("get", "set", "set_if_not_exists", "list_dir", "list_prefix"):
        real = getattr(zarr.storage.LocalStore, name)

        def counted(*args, real=real, **kwargs):
            calls.append(1)
            return real(*args, **kwargs)

        monkeypatch.setattr(zarr.storage.LocalStore, name, counted)

    def cost(key):
        calls.clear()
        ledger.put(key, arrays())
        return len(calls)

    ledger.put("first", arrays())
    one = cost("0")
    for k in range(1, 40):
        ledger.put(str(k), arrays())
    assert cost("40") == one


def test_readers_of_results_do_not_see_it(tmp_path, recwarn):
    path = store.save(xr.Dataset({"a": ("y", [1.0])}), tmp_path / "a.zarr", group="m")
    Ledger(path, "m/_journal").put("0/1", arrays())
    Ledger(path, "_journal").put("0/1", arrays())
    assert store.groups(path) == ["m"]
    assert not recwarn.list


def test_looking_on_while_pieces_are_put(ledger):
    over = threading.Event()

    def write():
        for k in range(60):
            ledger.put("0", {"a": np.full(50, k), "b": np.full(50, -k)}, number=k)
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while not over.is_set():
        piece = ledger.get("0")
        if piece is not None:
            k = piece.attrs["number"]
            np.testing.assert_array_equal(piece.arrays["a"], k)
            np.testing.assert_array_equal(piece.arrays["b"], -k)
            seen.append(k)
    writer.join()
    assert seen == sorted(seen)
    assert len(set(seen)) > 1
    assert ledger.get("0").attrs["number"] == 59


def test_asking_in_vain_keeps_nothing_in_memory(ledger):
    class Array(np.ndarray):
        pass

    def ask():
        held = np.zeros(10).view(Array)
        assert not ledger.has("0")
        assert ledger.get("0") is None
        return weakref.ref(held)

    gc.collect()
    gc.disable()
    try:
        assert ask()() is None
    finally:
        gc.enable()


_KILLED = """
import numpy as np
from batteryxr.core.ledger import Ledger

ledger = Ledger(argv[0], "_journal")
ledger.claim({"seed": 0})
piece = ledger.get("0")
k = 0 if piece is None else piece.attrs["number"]
say("ready")
while True:
    k += 1
    ledger.put("0", {"a": np.full(2000, k), "b": np.full(2000, -k)}, number=k)
    say(k)
"""


def test_sigkill_at_any_moment(tmp_path, fork):
    """Kill again and again: what was told as kept is there, and whole."""
    ledger, last = Ledger(tmp_path / "a.zarr", "_journal"), 0
    for pieces, delay in ((0, 0.02), (1, 0.005), (3, 0.015)):
        process, connection = fork(_KILLED, ledger.path)
        assert connection.recv() == "ready"
        told = [connection.recv() for _ in range(pieces)]
        time.sleep(delay)
        process.kill()
        process.join()
        with contextlib.suppress(EOFError, OSError):
            while True:
                told.append(connection.recv())
        last = max([last, *told])
        piece = ledger.get("0")
        k = 0 if piece is None else piece.attrs["number"]
        assert last <= k <= last + 1
        if piece is not None:
            np.testing.assert_array_equal(piece.arrays["a"], k)
            np.testing.assert_array_equal(piece.arrays["b"], -k)
        last = k
    assert last > 0


def test_digests_tell_values_apart():
    values = np.arange(12.0).reshape(3, 4)
    lazy = xr.Variable(("y", "x"), da.from_array(values, chunks=2))
    assert digest(values) == digest(lazy) == digest(values[:, ::-1][:, ::-1])
    assert digest(values) != digest(values + 1)
    assert digest(values, values) != digest(values)
    words = np.array(["a", "bc"])
    assert digest(words) == digest(words.astype(object))
    assert digest(words) == digest(words.astype(np.dtypes.StringDType()))
    assert len(digest(np.array(1.0))) == 16
    assert digest(np.zeros((2, 3))) != digest(np.zeros((3, 2)))
    assert digest(np.zeros(2, "i4")) != digest(np.zeros(1, "i8"))
    assert digest(values, None) != digest(None, values)
    mixed = np.array([None, "None"], object)
    assert digest(mixed) != digest(mixed[::-1])


def test_writers_of_one_ledger_wait_for_each_other(tmp_path):
    """Each begins a new store, claims the same pieces and writes the same one."""

    def write(k):
        ledger = Ledger(tmp_path / "a.zarr", "cells")
        ledger.claim({"what": "cells"})
        with ledger.held():
            ledger.put("one", {"x": np.full(3, k)})
        return k

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(write, range(4))) == [0, 1, 2, 3]
    assert len(set(Ledger(tmp_path / "a.zarr", "cells").array("one", "x"))) == 1
