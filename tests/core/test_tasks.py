"""Tasks that run side by side."""

from __future__ import annotations

import contextlib

import dask
import pytest

from batteryxr.core import blocks


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
