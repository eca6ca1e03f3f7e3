"""Pieces that workers keep, and the tasks that make them."""

from __future__ import annotations

import contextlib

import dask
import numpy as np
import pytest
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import StoreError
from batteryxr.core.pieces import keep, kept


@pytest.fixture
def piece() -> xr.Dataset:
    values = np.arange(6, dtype=np.complex64).reshape(2, 3)
    return xr.Dataset({"object": (("y", "x"), values)}, attrs={"failed": ""})


def test_a_piece_comes_back(piece, tmp_path):
    path = tmp_path / "a.zarr"
    assert kept(path, group="starts/0/1", fingerprint="f") is None
    keep(piece, path, group="starts/0/1", fingerprint="f")
    keep(piece * 2, path, group="starts/0/2", fingerprint="g")
    found = kept(path, group="starts/0/1", fingerprint="f")
    assert found is not None
    xr.testing.assert_equal(found, piece)
    assert found.attrs["failed"] == ""


def test_a_piece_of_something_else_is_refused(piece, tmp_path):
    keep(piece, tmp_path / "a.zarr", group="0", fingerprint="f")
    with pytest.raises(StoreError, match="made from other data"):
        kept(tmp_path / "a.zarr", group="0", fingerprint="other")


def test_a_piece_that_broke_off_is_made_again(piece, tmp_path, monkeypatch):
    import zarr

    path = tmp_path / "a.zarr"

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(zarr, "open_group", killed)
        with pytest.raises(KeyboardInterrupt):
            keep(piece, path, group="0", fingerprint="f")
    assert kept(path, group="0", fingerprint="f") is None
    keep(piece, path, group="0", fingerprint="f")
    assert kept(path, group="0", fingerprint="f") is not None


def test_tasks_come_back_in_order_and_move_the_bar(monkeypatch):
    moves = []

    class Bar(contextlib.nullcontext):
        def __enter__(self):
            return self

        def update(self, n):
            moves.append(n)

    monkeypatch.setattr("batteryxr.core.blocks.tasks.bar", lambda *_, **__: Bar())
    parts = [dask.delayed(int)(k) for k in range(5)]
    total = dask.delayed(sum)(parts)
    found = blocks.gather([total, parts[3]], "Adding", watched=parts)
    assert found == [10, 3]
    assert sum(moves) == 5


def test_an_error_of_a_task_arrives():
    with pytest.raises(ZeroDivisionError):
        blocks.gather([dask.delayed(lambda: 1 / 0)()], "Dividing")
