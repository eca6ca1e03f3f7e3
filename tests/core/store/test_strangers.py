"""Stores of strangers: whatever is in them, nothing runs and nothing else is opened."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pickle
import shutil
import sys
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr
import zarr

import batteryxr
from batteryxr.cli.main import main
from batteryxr.core.errors import BatteryxrError, StoreError
from batteryxr.core.store import open_store, save, verify

if TYPE_CHECKING:
    from pathlib import Path

CODE = "__import__('os').system('touch owned')"
PLAIN = [{"name": "bytes", "configuration": {"endian": "little"}}]
CHECKED = [*PLAIN, {"name": "crc32c"}]


class Evil:
    def __reduce__(self):
        return os.system, ("touch owned",)


EVIL = pickle.dumps(Evil())


def good(path: Path) -> Path:
    ds = xr.Dataset(
        {"a": ("x", np.arange(6.0)), "t": ("x", list("abcdef"))},
        coords={"x": np.arange(6.0)},
        attrs={"title": "mine"},
    )
    return save(ds, path, group="m")


def old(path: Path, **said) -> Path:
    """Write an array of zarr format 2 whose chunk is a hostile pickle."""
    (path / "a").mkdir(parents=True)
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    node = {"zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "<f8"}
    node |= {"compressor": None, "filters": None, "fill_value": 0, "order": "C"}
    (path / "a" / ".zarray").write_text(json.dumps(node | said))
    (path / "a" / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["x"]}')
    (path / "a" / "0").write_bytes(EVIL)
    return path


def new(path: Path, name: str = "a", shape=(4,), chunks=(4,), group=None, **said):
    """Write an array of zarr format 3 whose chunk is a hostile pickle."""
    (path / name / "c").mkdir(parents=True)
    node = {"zarr_format": 3, "node_type": "group", "attributes": group or {"k": 1}}
    (path / "zarr.json").write_text(json.dumps(node))
    grid = {"name": "regular", "configuration": {"chunk_shape": list(chunks)}}
    keys = {"name": "default", "configuration": {"separator": "/"}}
    node = {"zarr_format": 3, "node_type": "array", "shape": list(shape)}
    node |= {"data_type": "float64", "chunk_grid": grid, "chunk_key_encoding": keys}
    node |= {"fill_value": 0.0, "codecs": PLAIN, "attributes": {}}
    node |= {"dimension_names": ["x"]} | said
    (path / name / "zarr.json").write_text(json.dumps(node))
    (path / name / "c" / "0").write_bytes(EVIL)
    return path


def saying(path: Path, where: str = "m/a", **attrs) -> Path:
    """Write a store of ours with other attributes."""
    file = good(path) / where / "zarr.json"
    node = json.loads(file.read_text())
    node["attributes"] |= attrs
    file.write_text(json.dumps(node))
    return path


def calling(path: Path, method: str, accessor: str, /, **arguments) -> Path:
    call = {"accessor": accessor, "method": method, "arguments": arguments}
    version = batteryxr.__version__
    text = json.dumps(call)
    return saying(path, "m", batteryxr_call=text, batteryxr_version=version)


def linked(path: Path, where: str, target: str = "") -> Path:
    """Write a store of ours in which a file or folder is a link to elsewhere."""
    file = good(path) / where
    if file.is_dir():
        shutil.rmtree(file)
    file.unlink(missing_ok=True)
    file.symlink_to(target or path.parent / "outside" / "far.zarr" / where)
    return path


def piped(path: Path, where: str) -> Path:
    file = good(path) / where
    file.unlink()
    os.mkfifo(file)
    return path


def deep(path: Path) -> Path:
    file = good(path) / "m" / "zarr.json"
    nested = "[" * 100_000 + "]" * 100_000
    file.write_text(file.read_text().replace('"mine"', nested))
    return path


def lying(path: Path) -> Path:
    """Write a store whose consolidated metadata tell of what is not there."""
    file = good(path) / "zarr.json"
    node = json.loads(file.read_text())
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"b": 2}}
    told = {"../outside/far.zarr": group, "m/gone": group}
    node["consolidated_metadata"] = {
        "kind": "inline",
        "must_understand": False,
        "metadata": told,
    }
    file.write_text(json.dumps(node))
    return path


def climbing(path: Path) -> Path:
    """Write a zip file with names that lead out of it."""
    path = path.with_suffix(".zip")
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"k": 1}}
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("zarr.json", json.dumps(group))
        file.writestr("../outside/owned", "x")
        file.writestr("../a/zarr.json", json.dumps(group))
    return path


PICKLE = {"id": "pickle", "protocol": 5}
STORES = {
    "pickle as filter": lambda p: old(p, filters=[PICKLE]),
    "pickle as compressor": lambda p: old(p, compressor=PICKLE),
    "objects by pickle": lambda p: old(
        p, dtype="|O", filters=[PICKLE], fill_value=None
    ),
    "objects": lambda p: old(p, dtype="|O", fill_value=None),
    "codec by module": lambda p: new(p, codecs=[*PLAIN, {"name": "os.system"}]),
    "codec of pickles": lambda p: new(p, codecs=[*PLAIN, {"name": "numcodecs.pickle"}]),
    "codec by entry point": lambda p: new(p, codecs=[*PLAIN, {"name": "evil:run"}]),
    "type of code": lambda p: new(p, data_type=CODE),
    "type of objects": lambda p: new(p, data_type={"name": "object"}),
    "transformer": lambda p: new(p, storage_transformers=[{"name": "os.system"}]),
    "climbing separator": lambda p: new(
        p,
        chunk_key_encoding={
            "name": "default",
            "configuration": {"separator": "/../../../"},
        },
    ),
    "huge index": lambda p: new(p, name="x", shape=(10**15,), chunks=(10**6,)),
    "many chunks": lambda p: new(p, shape=(10**15,), chunks=(1,), codecs=CHECKED),
    "many unfinished chunks": lambda p: new(
        p,
        shape=(10**15,),
        chunks=(1,),
        codecs=CHECKED,
        group={"batteryxr_unfinished": "x"},
    ),
    "chunks of nothing": lambda p: new(p, chunks=(0,)),
    "shape below zero": lambda p: new(p, shape=(-4,)),
    "linked chunk": lambda p: linked(p, "m/a/c/0"),
    "linked chunks": lambda p: linked(p, "m/a/c"),
    "linked array": lambda p: linked(p, "m/a"),
    "linked group": lambda p: linked(p, "m"),
    "linked metadata": lambda p: linked(p, "m/a/zarr.json"),
    "linked journal": lambda p: linked(p, "_journal"),
    "linked lock": lambda p: linked(
        p, "_journal/lock", str(p.parent / "outside" / "secret")
    ),
    "device": lambda p: linked(p, "m/a/c/0", "/dev/zero"),
    "pipe as chunk": lambda p: piped(p, "m/a/c/0"),
    "pipe as metadata": lambda p: piped(p, "m/a/zarr.json"),
    "lying metadata": lying,
    "climbing zip": climbing,
    "deep metadata": deep,
    "units of code": lambda p: saying(p, units=CODE),
    "times of code": lambda p: saying(p, units=f"days since {CODE}", calendar=CODE),
    "coding of code": lambda p: saying(p, scale_factor=CODE, _FillValue=CODE),
    "names of code": lambda p: saying(p, coordinates=CODE, grid_mapping=CODE),
    "unfinished code": lambda p: saying(p, "m", batteryxr_unfinished=CODE),
    "unfinished list": lambda p: saying(p, "m", batteryxr_unfinished=["x"]),
    "call of a system": lambda p: calling(p, "system", "os", command="touch owned"),
    "call of a reader": lambda p: calling(p, "read_cycler", "io", path="secret"),
    "call of an engine": lambda p: calling(
        p, "fit", "nmf", n_components=2, engine=CODE
    ),
    "call in a list": lambda p: saying(p, "m", batteryxr_call=["os", "system"]),
}
_SEEN: list[tuple[str, str]] = []
_FOLDER: list[str] = []
_RUNNING = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"),
    "socket.connect",
)


def _watch(event: str, arguments: tuple) -> None:
    """Note processes, imports and files outside the folder, while there is one."""
    if not _FOLDER or not arguments:
        return
    name = str(arguments[0])
    ours = name.startswith(("batteryxr", "encodings"))
    if event in _RUNNING or (event == "import" and not ours):
        _SEEN.append((event, name))
    elif event == "open" and name.startswith("/") and not name.endswith((".py", "pyc")):
        above, last = os.path.split(name)
        stays = len(arguments) > 2 and (arguments[2] or 0) & os.O_NOFOLLOW
        real = os.path.realpath(above) + f"/{last}" if stays else os.path.realpath(name)
        if not real.startswith((_FOLDER[0], "/proc/")):
            _SEEN.append((event, real))


def acts(path: Path):
    """Yield all that somebody does with a store that they were sent, but reading."""
    scans = xr.DataArray(np.ones((4, 9)), dims=("scan", "r"))
    small = xr.Dataset({"q": ("z", np.ones(3))})
    yield lambda: open_store(path)._repr_html_()
    yield lambda: verify(path)
    yield lambda: main(["info", str(path)])
    yield lambda: batteryxr.replay(open_store(path, "m"), scans, show=False)
    yield lambda: save(small, path, group="new", overwrite=True)
    yield lambda: save(small, path, group="m", overwrite=True)


def do_all(path: Path) -> None:
    with contextlib.suppress(Exception):  # what chunks without checksums raise
        open_store(path).load()
    for act in acts(path):
        with contextlib.suppress(BatteryxrError):
            act()


@pytest.fixture(scope="module", autouse=True)
def watching(tmp_path_factory):
    """Load what these calls load anyway, then watch."""
    for room in ("cdi", "io", "nmf"):
        importlib.import_module(f"batteryxr.{room}")
    do_all(good(tmp_path_factory.mktemp("warm") / "a.zarr"))
    sys.addaudithook(_watch)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and links")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", STORES)
def test_nothing_runs_and_nothing_else_is_opened(tmp_path, kind, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outside").mkdir()
    good(tmp_path / "outside" / "far.zarr")
    (tmp_path / "outside" / "secret").write_text("secret")
    outside = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "outside").symlink_to(tmp_path / "outside")
    path = STORES[kind](tmp_path / "here" / "a.zarr")
    _SEEN.clear()
    _FOLDER.append(os.path.realpath(tmp_path / "here"))
    try:
        do_all(path)
    finally:
        _FOLDER.clear()
    assert _SEEN == []
    assert {p: p.read_bytes() for p in outside} == outside
    assert {p.name for p in tmp_path.iterdir()} == {"outside", "here"}


def test_links_are_named(tmp_path):
    (tmp_path / "outside").mkdir()
    good(tmp_path / "outside" / "far.zarr")
    path = linked(tmp_path / "a.zarr", "m/a/c/0")
    with pytest.raises(StoreError, match=r"m/a/c/0 is a link\. Put a copy there"):
        open_store(path, "m").load()
    assert [str(d) for d in verify(path)] == [
        "m/a, chunk c/0: is a link, or no file",
    ]
    path = linked(tmp_path / "b.zarr", "m/a")
    with pytest.raises(StoreError, match="m/a: its metadata is a link, or no file"):
        open_store(path, "m")
    assert str(verify(path)[0]) == "m/a: its metadata is a link, or no file"


@pytest.mark.parametrize("call", ["{", "[]", '{"arguments": 3}', ["os"], 7])
def test_what_is_shown_steers_no_terminal(tmp_path, call, capsys):
    path = saying(tmp_path / "a.zarr", "m", batteryxr_call=call)
    saying(tmp_path / "b.zarr", units="V\x1b]0;owned\x07")
    assert main(["info", str(path)]) == 0
    assert "not as batteryxr writes it" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "b.zarr")]) == 0
    assert "V?]0;owned?" in capsys.readouterr().out


def test_links_are_followed_by_who_asks_for_it(tmp_path):
    """DVC and git-annex put links to a cache in place of files."""
    path, cache = tmp_path / "a.zarr", tmp_path / "cache"
    batteryxr.save(xr.Dataset({"a": ("x", np.arange(5.0))}), path, group="m")
    cache.mkdir()
    files = [p for p in path.rglob("*") if p.is_file()]
    for number, file in enumerate(files):
        file.rename(cache / str(number))
        file.symlink_to(cache / str(number))
    with pytest.raises(StoreError, match=r"is a link. Put a copy .*FsspecStore"):
        batteryxr.open_store(path, "m")
    trusted = zarr.storage.FsspecStore.from_url(path.as_uri())
    opened = batteryxr.open_store(trusted, "m", verify=True)
    np.testing.assert_array_equal(opened["a"], np.arange(5.0))
    chunk = path / "m" / "a" / "c" / "0"
    chunk.resolve().write_bytes(b"12345678")
    with pytest.raises(StoreError, match="m/a, chunk c/0 is damaged"):
        opened["a"].load()


def test_a_store_of_another_program_is_not_only_called_damaged(tmp_path):
    xr.Dataset({"e": ("x", [1.0, 2.0])}).to_zarr(tmp_path / "a.zarr", zarr_format=3)
    with pytest.raises(StoreError, match="lost, or another program wrote the store"):
        batteryxr.open_store(tmp_path / "a.zarr", verify=True)
