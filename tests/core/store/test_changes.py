"""Changing a store: what was there is whole until the new is; strangers are safe."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import threading
import time
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from batteryxr.core.errors import ArgumentError, StoreError
from batteryxr.core.store import (
    changing,
    location_of,
    note,
    open_store,
    save,
    verify,
)
from batteryxr.core.store.manifest import Manifest, StoredGroup

if TYPE_CHECKING:
    from pathlib import Path


def dataset(k: float = 1.0, n: int = 12) -> xr.Dataset:
    return xr.Dataset(
        {"a": (("y", "x"), np.full((n, 4), k)), "b": ("y", np.full(n, int(k)))},
        coords={"y": np.arange(n)},
        attrs={"k": k},
    ).chunk(y=3)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.is_symlink()
    }


def test_groups_below_stay(tmp_path):
    path = tmp_path / "a.zarr"
    save(dataset(1), path, group="m/inner")
    save(dataset(2), path, group="m")
    save(dataset(3)[["a"]], path, group="m", overwrite=True)
    xr.testing.assert_identical(open_store(path, "m/inner").load(), dataset(1).load())
    assert set(open_store(path, "m").data_vars) == {"a"}
    save(dataset(4), path)
    save(dataset(5), path, overwrite=True)
    assert open_store(path, "").attrs["k"] == 5
    assert open_store(path, "m").attrs["k"] == 3
    assert verify(path) == []
    assert not (path / "m" / "b").exists()


def test_saving_over_its_own_source(tmp_path):
    path = tmp_path / "a.zarr"
    save(dataset(2), path, group="m")
    lazy = open_store(path, "m")
    save(lazy * 2, path, group="m", overwrite=True)
    np.testing.assert_array_equal(open_store(path, "m")["a"], 4.0)
    with pytest.raises(StoreError, match="m/a was replaced since it was opened"):
        lazy["a"].load()
    save(xr.DataTree.from_dict({"p": dataset(1), "q": dataset(2)}), path)
    tree = open_store(path)
    save(tree.map_over_datasets(lambda ds: ds + 1), path, overwrite=True)
    np.testing.assert_array_equal(open_store(path, "p")["a"], 2.0)
    np.testing.assert_array_equal(open_store(path, "q")["a"], 3.0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
def test_an_overwrite_that_fails_half_way(tmp_path, error):
    def fail(block, block_info=None):
        if block_info[0]["chunk-location"][0] == 2:
            raise error("no")
        return block

    path = save(dataset(1), tmp_path / "a.zarr", group="m")
    before = content(path)
    bad = dataset(2)
    bad["a"] = bad["a"].copy(data=da.map_blocks(fail, bad["a"].data, dtype=float))
    for place, group in ((path, "m"), (tmp_path / "new.zarr", None)):
        with pytest.raises(StoreError if error is OSError else error):
            save(bad, place, group=group, overwrite=True)
    assert content(path) == before
    assert not (tmp_path / "new.zarr").exists()


def _file(path):
    path.write_text("mine")


def _folder(path):
    (path / "sub").mkdir(parents=True)
    (path / "thesis.tex").write_text("mine")
    (path / "sub" / "figure.png").write_text("mine")


def _store(path):
    save(dataset(1), path, group="m")


STRANGERS = {
    "a file": lambda p: _file(p / "out"),
    "a folder": lambda p: _folder(p / "out"),
    "a folder in a folder": lambda p: _folder(p / "out" / "deep"),
    "a hidden file": lambda p: ((p / "out").mkdir(), _file(p / "out" / ".git")),
    "a link to a folder": lambda p: (
        _folder(p / "real"),
        (p / "out").symlink_to(p / "real"),
    ),
    "a link to a file": lambda p: (
        _file(p / "real"),
        (p / "out").symlink_to(p / "real"),
    ),
    "a store of format 2": lambda p: zarr.create_group(p / "out", zarr_format=2),
    "a folder as group": lambda p: (
        _store(p / "out"),
        save(dataset(1), p / "out", group="k"),
        _folder(p / "out" / "g"),
    ),
    "a file as group": lambda p: (_store(p / "out"), _file(p / "out" / "g")),
    "a folder above the group": lambda p: (
        _store(p / "out"),
        _folder(p / "out" / "g" / "h"),
    ),
    "a link as group": lambda p: (
        _store(p / "out"),
        _folder(p / "real"),
        (p / "out" / "g").symlink_to(p / "real"),
    ),
    "a group of a variable's name": lambda p: save(dataset(1), p / "out", group="g/a"),
    "a folder of a variable's name": lambda p: (
        save(dataset(1)[["b"]], p / "out", group="g"),
        _folder(p / "out" / "g" / "a"),
    ),
    "a file of a variable's name": lambda p: (
        save(dataset(1)[["b"]], p / "out", group="g"),
        _file(p / "out" / "g" / "a"),
    ),
    "a link of a variable's name": lambda p: (
        save(dataset(1), p / "out", group="g"),
        (p / "out" / "g" / "a").rename(p / "real"),
        (p / "out" / "g" / "a").symlink_to(p / "real"),
    ),
    "a file in a variable": lambda p: (
        save(dataset(1), p / "out", group="g"),
        _file(p / "out" / "g" / "a" / "notes.txt"),
    ),
    "a folder in a variable": lambda p: (
        save(dataset(1), p / "out", group="g"),
        _folder(p / "out" / "g" / "b" / "c" / "mine"),
    ),
    "a file in a variable that goes": lambda p: (
        save(dataset(1).assign(old=("y", np.ones(12))), p / "out", group="g"),
        _file(p / "out" / "g" / "old" / "notes.txt"),
    ),
    "a variable as group": lambda p: save(
        xr.Dataset({"g": ("y", [1.0])}), p / "out", overwrite=True
    ),
    "a half file of another": lambda p: (
        save(dataset(1), p / "out", group="g"),
        _file(p / "out" / "g" / "a" / "notes.partial"),
    ),
    "a link in place of the journal": lambda p: (
        _store(p / "out"),
        (p / "out" / "_journal").rename(p / "real"),
        (p / "out" / "_journal").symlink_to(p / "real"),
    ),
    "a file above the store": lambda p: _file(p / "out"),
}


@pytest.mark.parametrize("layout", STRANGERS)
def test_strangers_lose_nothing(tmp_path, layout):
    STRANGERS[layout](tmp_path)
    before = content(tmp_path)
    out = tmp_path / "out"
    place = out / "inner.zarr" if layout == "a file above the store" else out
    with pytest.raises(StoreError, match=str(tmp_path.name)):
        save(dataset(7), place, group="g", overwrite=True)
    after = content(tmp_path)
    assert after == before


def _note(moves, puts):
    token = "0" * 32
    said = {"token": token, "moves": moves, "puts": puts}
    return f"_journal/commit-{token}.json", json.dumps(said)


TOKEN = "0" * 32
OUT = "../mine"
HOSTILE = {
    "a move from outside": _note([[OUT, f"_journal/trash-{TOKEN}/0"]], {}),
    "a move to outside": _note([[f"_journal/staged-{TOKEN}/0", f"{OUT}/x"]], {}),
    "a move through a link": _note(
        [["link/thesis.tex", f"_journal/trash-{TOKEN}/0"]], {}
    ),
    "a file outside": _note([], {f"{OUT}/zarr.json": "x"}),
    "a file through a link": _note([], {"link/zarr.json": "x"}),
    "any file": _note([], {"run.sh": "x"}),
    "no steps": _note(3, 4),
    "no note": (f"_journal/commit-{TOKEN}.json", "{"),
    "data not written yet": (f"_journal/pending-{TOKEN}-0", f"{OUT}\nsub"),
    "a manifest": (
        "_journal/manifest/zarr.json",
        Manifest({"m": StoredGroup(OUT, {"": "0"})}, {f"{OUT}/thesis.tex": "0"})
        .content()
        .decode(),
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_store_reaches_nothing_outside(tmp_path, kind):
    """Steps of a change that was killed are a stranger's words, too."""
    path = save(dataset(1), tmp_path / "a.zarr", group="m")
    _folder(tmp_path / "mine")
    (path / "link").symlink_to(tmp_path / "mine")
    name, text = HOSTILE[kind]
    (path / name).write_text(text)
    before = content(tmp_path / "mine")
    for call in (
        lambda: open_store(path, "m"),
        lambda: save(dataset(2), path, group="m", overwrite=True),
        lambda: verify(path),
    ):
        with contextlib.suppress(StoreError):
            call()
        assert content(tmp_path / "mine") == before
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr", "mine"]


def test_folders_in_the_journal_that_are_not_ours_stay(tmp_path):
    path = save(dataset(1), tmp_path / "a.zarr", group="m")
    names = [
        "staged-1",
        "trash-mine",
        "v-2",
        "pending-x",
        "staged-area",
        "commit-notes.json",
    ]
    for name in names:
        _folder(path / "_journal" / name)
    save(dataset(2), path, group="m", overwrite=True)
    for name in names:
        assert (path / "_journal" / name / "thesis.tex").read_text() == "mine"


def test_files_beside_groups_stay(tmp_path):
    path = save(dataset(1), tmp_path / "a.zarr", group="g")
    (path / "README").write_text("mine")
    (path / "g" / "notes.txt").write_text("mine")
    _folder(path / "g" / "figures")
    save(dataset(2), path, group="g", overwrite=True)
    assert (path / "README").read_text() == "mine"
    assert (path / "g" / "notes.txt").read_text() == "mine"
    assert (path / "g" / "figures" / "thesis.tex").read_text() == "mine"
    assert open_store(path, "g").attrs["k"] == 2


def test_links_to_stores_and_empty_folders(tmp_path):
    real = save(dataset(1), tmp_path / "real.zarr", group="g")
    link = tmp_path / "link.zarr"
    link.symlink_to(real)
    save(dataset(2), link, group="g", overwrite=True)
    assert link.is_symlink()
    assert open_store(real, "g").attrs["k"] == 2
    (tmp_path / "empty").mkdir()
    save(dataset(1), tmp_path / "empty")
    for group in ("../x", "a//b", "_journal", "a/_journal"):
        with pytest.raises(ArgumentError, match="group"):
            save(dataset(1), real, group=group)


def test_the_second_writer_is_refused_by_name(tmp_path, fork):
    path = save(dataset(1), tmp_path / "a.zarr", group="m")
    told = []

    def second():
        try:
            save(dataset(3), path, group="n")
        except StoreError as error:
            told.append(str(error))

    with changing(location_of(path)) as change:
        change.write(dataset(2), "m", overwrite=True)
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        child = fork(_WRITER, path, 9)[1].recv()
    assert len(told) == 1
    assert f"process {os.getpid()} on " in told[0]
    assert f"process {os.getpid()} on " in child
    assert open_store(path, "m").attrs["k"] == 2


_WRITER = """
import numpy as np, xarray as xr
from batteryxr.core.store import save
path, k = argv
ds = xr.Dataset(
    {"a": (("y", "x"), np.full((12, 4), float(k))), "b": ("y", np.full(12, k))},
    coords={"y": np.arange(12)}, attrs={"k": k},
).chunk(y=3)
try:
    save(ds, path, group="m", overwrite=True)
    say("done")
except ValueError as error:
    say(str(error))
"""

_KILLED = """
import itertools
import numpy as np, xarray as xr
from batteryxr.core.store import save
path, first = argv
say("ready")
for k in itertools.count(first):
    ds = xr.Dataset(
        {"a": (("y", "x"), np.full((12, 4), float(k))), "b": ("y", np.full(12, k))},
        coords={"y": np.arange(12)}, attrs={"k": k},
    ).chunk(y=3)
    save(xr.DataTree.from_dict({"/m": ds, "/m/n": ds}), path, overwrite=True)
    say(k)
"""


def whole(path: Path) -> int:
    """Return the number that all of both groups holds."""
    found = set()
    for group in ("m", "m/n"):
        with xr.set_options(keep_attrs=True):
            ds = open_store(path, group).load()
        found |= {int(ds.attrs["k"]), *np.unique(ds["a"]), *np.unique(ds["b"])}
        assert ds.sizes == {"y": 12, "x": 4}
    (only,) = found
    return int(only)


def kill_and_look(fork, path: Path, delay: float) -> None:
    """Kill a process that overwrites; what it told, or one more, is whole."""
    last = whole(path)
    process, connection = fork(_KILLED, path, last + 1)
    assert connection.recv() == "ready"
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    told = []
    with contextlib.suppress(EOFError, OSError):
        while True:
            told.append(connection.recv())
    last = max([last, *told])
    assert last <= whole(path) <= last + 1
    assert verify(path) == []


def test_sigkill_while_overwriting(tmp_path, fork):
    first = dataset(1)
    path = tmp_path / "a.zarr"
    save(xr.DataTree.from_dict({"/m": first, "/m/n": first}), path)
    times = random.Random(0)
    for _ in range(10):
        kill_and_look(fork, path, times.uniform(0.02, 0.4))
    save(dataset(0), path, group="other")
    left = {p.name for p in (path / "_journal").iterdir()}
    assert left == {"manifest", "zarr.json"}


def test_each_step_of_a_change_can_be_the_last(tmp_path, monkeypatch):
    """Die after each step of the switch; whoever opens next ends it."""
    from batteryxr.core.store import note

    class Death(BaseException):
        pass

    before, path, steps = tmp_path / "before.zarr", tmp_path / "a.zarr", 0
    first = dataset(0)
    save(xr.DataTree.from_dict({"/m": first, "/m/n": first}), before)
    real_move, real_put = note._move, type(location_of(path)).put
    while True:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(before, path)
        left = iter(range(steps))

        def dying(real, *args, left=left):
            if next(left, None) is None:
                raise Death
            real(*args)

        monkeypatch.setattr(note, "_move", lambda *a, d=dying: d(real_move, *a))
        monkeypatch.setattr(
            type(location_of(path)), "put", lambda *a, d=dying: d(real_put, *a)
        )
        # Dead: nothing is cleaned up.
        monkeypatch.setattr("batteryxr.core.store.change.clean", lambda *a, **k: None)
        new = dataset(steps + 1)
        died = True
        try:
            save(xr.DataTree.from_dict({"/m": new, "/m/n": new}), path, overwrite=True)
            died = False
        except Death:
            pass
        monkeypatch.undo()
        assert whole(path) in (0, steps + 1)
        assert verify(path) == []
        if not died:
            break
        steps += 1
    assert steps > 10


@pytest.mark.parametrize("again", ["open", "save"])
def test_each_move_of_a_first_write_can_be_the_last(tmp_path, monkeypatch, again):
    """What is new is in its place, and is not moved away as if it were old."""

    class Death(BaseException):
        pass

    first, move = dataset(1)[["a"]], note._move
    tree, died, steps = xr.DataTree.from_dict({"/m": first, "/m/n": first}), True, 0
    while died:
        path, left = tmp_path / f"{steps}.zarr", iter(range(steps))

        def dying(*args, left=left):
            if next(left, None) is None:
                raise Death
            move(*args)

        with monkeypatch.context() as patch:
            patch.setattr(note, "_move", dying)
            patch.setattr("batteryxr.core.store.change.clean", lambda *a, **k: None)
            died = False
            try:
                save(tree, path)
            except Death:
                died = True
        if again == "save":
            save(first, path, group="other")
        for group in ("m", "m/n"):
            xr.testing.assert_identical(open_store(path, group).load(), first.load())
        assert verify(path) == []
        steps += 1
    assert steps > 5


def test_two_writers_at_any_moment(tmp_path, fork):
    path = save(dataset(1), tmp_path / "a.zarr", group="m")
    for first in range(2, 12, 2):
        writers = {k: fork(_WRITER, path, k)[1] for k in (first, first + 1)}
        told = {k: connection.recv() for k, connection in writers.items()}
        done = [k for k, text in told.items() if text == "done"]
        assert done, told  # one after the other, or one alone
        for text in told.values():
            assert text == "done" or "is being written to by" in text
        assert open_store(path, "m").load().attrs["k"] in done
        assert verify(path) == []


_FULL = """
import resource, signal
limit = argv[1]
import numpy as np, xarray as xr
from batteryxr.core.store import save
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
values = np.random.default_rng(0).random((40, 20_000))
big = xr.Dataset({"small": ("z", np.ones(5)), "a": (("y", "x"), values)})
try:
    save(big.chunk(y=20), argv[0], group="m", overwrite=True)
except ValueError as error:
    say(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize("limit", [200_000, 0])
def test_a_full_disk(tmp_path, fork, limit):
    path = save(dataset(1), tmp_path / "a.zarr", group="m")
    before = content(path)
    told = fork(_FULL, path, limit)[1].recv()
    assert told.startswith("StoreError")
    assert "File too large" in told
    assert content(path) == before  # not even a lock is left
    save(dataset(2), path, group="m", overwrite=True)
    assert verify(path) == []
