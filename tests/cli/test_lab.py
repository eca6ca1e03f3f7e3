"""Copies of the tutorials, and JupyterLab opened on them without a server."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from batteryxr.cli.lab import copy_tutorials
from batteryxr.cli.main import main
from batteryxr.core.errors import ArgumentError, StoreError

SOURCE = Path(__file__).parents[2] / "tutorials"
FIRST = "01_labelled_lazy_data.ipynb"


@pytest.fixture
def lab(monkeypatch):
    """Stand in for JupyterLab; the list holds what it was called with."""
    calls = []
    monkeypatch.setitem(
        sys.modules, "jupyterlab.labapp", SimpleNamespace(main=calls.append)
    )
    return calls


def test_all_tutorials_are_copied(tmp_path):
    copied = copy_tutorials(tmp_path / "a" / "b")
    wanted = {p.name for p in SOURCE.iterdir() if p.suffix in (".ipynb", ".md")}
    assert set(copied.new) == wanted
    assert {p.name for p in (tmp_path / "a" / "b").iterdir()} == wanted
    assert json.loads((tmp_path / "a" / "b" / FIRST).read_text())["cells"]


def test_edited_copies_are_never_written_over(tmp_path):
    first = copy_tutorials(tmp_path)
    (tmp_path / FIRST).write_text("mine")
    (tmp_path / "README.md").unlink()
    again = copy_tutorials(tmp_path)
    assert (tmp_path / FIRST).read_text() == "mine"
    assert again.new == ("README.md",)
    assert again.edited == (FIRST,)
    assert set(again.same) == set(first.new) - {FIRST, "README.md"}


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match=r"folder=.*file.*can be written to"):
        copy_tutorials(tmp_path / "file")


@pytest.mark.parametrize("url", ["memory://a/b", "file:///tmp/a", "s3://a/b"])
def test_a_url_makes_no_folder_of_its_name(lab, tmp_path, monkeypatch, capsys, url):
    monkeypatch.chdir(tmp_path)
    assert main(["lab", url]) == 2
    assert "expected a path on a disk, not a URL" in capsys.readouterr().err
    assert (os.listdir(tmp_path), lab) == ([], [])


def test_command_copies_and_opens(lab, tmp_path, capsys):
    folder = tmp_path / "course"
    assert main(["lab", str(folder)]) == 0
    (folder / FIRST).write_text("mine")
    assert main(["lab", str(folder), "--no-browser"]) == 0
    assert lab == [[str(folder)], [str(folder), "--no-browser"]]
    said = capsys.readouterr().out
    assert f"copied to {folder}" in said
    assert f"left as you edited them: {FIRST}" in said


def test_without_a_name_the_folder_is_made_here(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["lab"]) == 0
    assert (tmp_path / "batteryxr-tutorials" / FIRST).exists()


def test_missing_jupyterlab_is_told_before_anything_is_copied(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", None)
    assert main(["lab", str(tmp_path / "course")]) == 2
    assert "pip install 'batteryxr[lab]'" in capsys.readouterr().err
    assert not (tmp_path / "course").exists()


def test_a_tutorial_is_never_half_written(tmp_path, monkeypatch):
    def full(path, content):
        with path.open("wb") as file:
            file.write(content[:1024])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match="No space left on device"):
        copy_tutorials(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_fails_leaves_no_empty_folder(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match="No space left"):
        copy_tutorials(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
