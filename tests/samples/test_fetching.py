"""Samples fetched from a real server: right, damaged, silent, twice, by two at once."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from batteryxr.core.errors import MissingDependencyError, SampleError
from batteryxr.samples import Places
from batteryxr.samples.obtaining import obtain

OBTAIN = """
import sys
from pathlib import Path
from batteryxr.samples import Places
from batteryxr.samples.catalogue import read_catalogue
from batteryxr.samples.obtaining import obtain

catalogue, cache, host = sys.argv[1:]
print(obtain(read_catalogue(Path(catalogue))["cell"], Places(Path(cache), host=host)))
"""


def files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


def process(catalogue_folder, places):
    return subprocess.Popen(
        [sys.executable, "-c", OBTAIN, catalogue_folder, places.cache, places.host],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_every_file_comes_from_its_repository_once(cell, places, server, whole):
    folder = obtain(cell, places)
    assert whole(folder)
    assert sorted(server.asked) == sorted(cell.files)
    assert sorted(places.cache.iterdir()) == [folder]  # nothing left of the way
    assert obtain(cell, places) == folder
    assert len(server.asked) == len(cell.files)


def test_only_what_is_lost_or_changed_is_fetched_again(cell, places, server, whole):
    folder = obtain(cell, places)
    (folder / "xas" / "a.txt").unlink()
    (folder / "xas" / "b.txt").write_bytes(b"changed")
    server.asked.clear()
    assert whole(obtain(cell, places))
    assert sorted(server.asked) == ["xas/a.txt", "xas/b.txt"]


def test_a_second_call_needs_no_server(cell, places, whole):
    folder = obtain(cell, places)
    assert obtain(cell, Places(places.cache, host="http://127.0.0.1:9")) == folder
    assert whole(folder)


def test_a_file_that_changed_is_named_and_not_kept(cell, places, server, whole):
    server.odd["xas/a.txt"] = b"b" * 70_000
    with pytest.raises(SampleError, match=r"xas/a\.txt is not the file .* SHA-256"):
        obtain(cell, places)
    assert not (places.cache / "cell" / "xas" / "a.txt").exists()
    assert {p.parts[-3] for p in files(places.cache)} == {"cell"}
    server.odd.clear()
    assert whole(obtain(cell, places))


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (404, r"xas/a\.txt: the server answered 404 Not Found\."),
        (500, r"xas/a\.txt: the server answered 500 Internal Server Error\."),
        ("cut", r"xas/a\.txt: the connection broke off\."),
    ],
)
def test_a_server_that_fails_is_told(cell, places, server, whole, odd, said):
    server.odd["xas/a.txt"] = odd
    with pytest.raises(SampleError, match=said):
        obtain(cell, places)
    assert not (places.cache / "cell" / "xas" / "a.txt").exists()
    assert sorted(places.cache.glob(".*")) == []
    server.odd.clear()
    server.asked.clear()
    assert whole(obtain(cell, places))
    assert "xas/a.txt" in server.asked


def test_without_a_network_the_way_out_is_told(cell, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    places = Places(tmp_path / "cache", host="http://127.0.0.1:9")
    with pytest.raises(SampleError) as caught:
        obtain(cell, places)
    for word in ("no connection", "BATTERYXR_SAMPLES", ".urls", "cell/<path>"):
        assert word in str(caught.value)
    assert files(tmp_path) == []


def test_two_processes_at_once(cell, catalogue_folder, places, server, whole):
    both = [process(catalogue_folder, places) for _ in range(2)]
    for one in both:
        out, err = one.communicate(timeout=60)
        assert one.returncode == 0, err
        assert out.strip() == str(places.cache / "cell")
    assert whole(places.cache / "cell")
    assert sorted(p.name for p in places.cache.iterdir()) == ["cell"]


def test_many_threads_at_once(cell, places, whole):
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: obtain(cell, places), range(16)))
    assert found == {places.cache / "cell"}
    assert whole(places.cache / "cell")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_process_that_is_killed_leaves_no_part_of_a_file(
    cell, catalogue_folder, places, server, whole
):
    server.odd["xas/a.txt"] = "stall"
    one = process(catalogue_folder, places)
    ready = time.monotonic() + 60
    while "xas/a.txt" not in server.asked and time.monotonic() < ready:
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(one.pid, signal.SIGKILL)
    one.communicate()
    for path in files(places.cache / "cell"):
        name = path.relative_to(places.cache / "cell").as_posix()
        assert name != "xas/a.txt"
        assert name in cell.files
    server.odd.clear()
    server.release.set()
    assert whole(obtain(cell, places))


def test_the_logger_of_pooch_is_as_it_was(cell, places, monkeypatch):
    logger = pytest.importorskip("pooch").get_logger()
    before, told = (logger.level, list(logger.filters)), []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    monkeypatch.setattr(logger, "handlers", [handler])
    obtain(cell, places)
    assert told == []
    logger.info("as ever")
    assert told == ["as ever"]
    assert (logger.level, logger.filters) == before


def test_a_watcher_is_told_of_each_file(cell, places):
    from batteryxr.core.progress import watched

    steps = []
    with watched(lambda what, done, total: steps.append((what, done, total))):
        obtain(cell, places)
    assert steps[-1] == ("Fetching cell", 4, 4)


def test_pooch_is_needed_for_fetching_alone(cell, places, monkeypatch, whole):
    folder = obtain(cell, places)
    threads = threading.active_count()
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert obtain(cell, places) == folder
    (folder / "xas" / "a.txt").unlink()
    with pytest.raises(MissingDependencyError, match=r"batteryxr\[samples\]"):
        obtain(cell, places)
    assert threading.active_count() <= threads
