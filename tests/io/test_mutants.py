"""No damaged file of any format gives another exception than ours, or a hang."""

from __future__ import annotations

import mutants
import pytest

pytest.importorskip("h5py")
pytest.importorskip("tifffile")


def judge(folder, n, seed):
    found = list(mutants.hunt(folder, n, seed))
    wrong = [f for f in found if f["outcome"] not in ("read", "refused")]
    assert not wrong, wrong[:5]
    assert len(found) == n
    outcomes = [f["outcome"] for f in found]
    assert 0.1 * n < outcomes.count("read") < 0.9 * n


def test_some_hundred_damaged_files(tmp_path):
    judge(tmp_path, 150, seed=0)


@pytest.mark.long
def test_thousands_of_damaged_files(tmp_path):
    judge(tmp_path, 5000, seed=1)
