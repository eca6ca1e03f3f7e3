"""A folder that stands in for the network, plain and packed."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile

import pytest

from batteryxr.core.errors import SampleError
from batteryxr.samples import Places
from batteryxr.samples.obtaining import obtain


@pytest.fixture
def folder(cell, places, tmp_path):
    """The sample as it was published, where it stands in."""
    there = tmp_path / "given" / "cell"
    obtain(cell, Places(tmp_path / "given", host=places.host))
    return there


@pytest.fixture
def given(folder, server, tmp_path):
    server.asked.clear()
    return Places(tmp_path / "cache", stand_in=folder.parent, host=server.host)


def pack(folder, archive, *, changed=()):
    """Move the files of a folder into an archive, under another folder's name."""
    with tarfile.open(archive, "w:xz") as tar:
        for path in sorted(folder.glob("*.txt")):
            content = b"other" if path.name in changed else path.read_bytes()
            member = tarfile.TarInfo(f"normalised/{path.name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
            path.unlink()


def test_plain_files_are_used_where_they_lie(
    cell, folder, given, server, whole, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert obtain(cell, given) == folder
    assert whole(folder)
    assert server.asked == []
    assert not given.cache.exists()


def test_more_than_the_sample_may_lie_there(cell, folder, given):
    (folder / "notes.txt").write_text("ours")
    assert obtain(cell, given) == folder


def test_packed_files_are_unpacked_into_the_cache(
    cell, folder, given, server, whole, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pooch", None)
    pack(folder / "xas", folder / "xas" / "all.tar.xz")
    run = folder / "cycler" / "run 1.mpt"
    run.with_name("run 1.mpt.gz").write_bytes(gzip.compress(run.read_bytes()))
    run.unlink()
    found = obtain(cell, given)
    assert found == given.cache / "cell"
    assert whole(found)
    assert obtain(cell, given) == found
    assert server.asked == []
    assert sorted(p.name for p in given.cache.iterdir()) == ["cell"]


def test_a_missing_file_is_named_and_not_fetched(cell, folder, given, server):
    (folder / "xas" / "b.txt").unlink()
    with pytest.raises(SampleError, match=r"1 of 4 files .* first 'xas/b\.txt'"):
        obtain(cell, given)
    pack(folder / "xas", folder / "xas" / "all.tar.xz")  # without b.txt
    with pytest.raises(SampleError, match=r"1 of 4 files .* first 'xas/b\.txt'"):
        obtain(cell, given)
    assert server.asked == []


def test_a_folder_that_is_not_there(cell, tmp_path):
    given = Places(tmp_path / "cache", stand_in=tmp_path / "none")
    with pytest.raises(SampleError, match="4 of 4 files"):
        obtain(cell, given)


def test_a_changed_file_is_named(cell, folder, given):
    (folder / "xas" / "a.txt").write_bytes(b"changed")
    with pytest.raises(SampleError, match=r"a\.txt is not the file .*SHA-256"):
        obtain(cell, given)


def test_a_changed_member_is_named_and_not_kept(cell, folder, given):
    pack(folder / "xas", folder / "xas" / "all.tar.xz", changed={"b.txt"})
    with pytest.raises(SampleError, match=r"b\.txt in .*all\.tar\.xz is not the file"):
        obtain(cell, given)
    assert not (given.cache / "cell" / "xas" / "b.txt").exists()


@pytest.mark.parametrize("kind", ["archive", "gzip"])
def test_a_damaged_archive_is_named(cell, folder, given, kind):
    pack(folder / "xas", folder / "xas" / "all.tar.xz")
    path = folder / "xas" / "all.tar.xz"
    if kind == "gzip":
        run = folder / "cycler" / "run 1.mpt"
        path = run.with_name("run 1.mpt.gz")
        path.write_bytes(gzip.compress(run.read_bytes()))
        run.unlink()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SampleError, match=f"{path.name} is damaged"):
        obtain(cell, given)
