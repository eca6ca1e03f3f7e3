"""Seeds, optional libraries, progress, numbers of text and their medians."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from batteryxr.core.errors import ArgumentError, MissingDependencyError
from batteryxr.core.files import read_table
from batteryxr.core.kernels.parsing import parsed
from batteryxr.core.kernels.ranks import median, quantile
from batteryxr.core.optional import require
from batteryxr.core.progress import track
from batteryxr.core.seeds import generator, generators


@pytest.mark.parametrize("seed", [None, -1, 1.5, True, "0"])
def test_seeds_are_explicit(seed):
    with pytest.raises(ArgumentError, match=r"an integer >= 0.*pass seed=0"):
        generator(seed)


def test_streams_do_not_depend_on_how_many_there_are():
    few, many = generators(3, 2), generators(3, 5)
    for a, b in zip(few, many, strict=False):
        np.testing.assert_array_equal(a.random(4), b.random(4))
    assert many[2].random() != many[3].random()


def test_a_missing_library_names_its_extra():
    with pytest.raises(MissingDependencyError, match=r"pip install 'batteryxr\[io\]'"):
        require("no_such_module_here", extra="io", purpose="reading .ndax files")
    with pytest.raises(MissingDependencyError, match="pip install pyreadr"):
        require(
            "no_such_module_here",
            extra=None,
            purpose="reading .rdata files",
            package="pyreadr",
        )
    assert require("json", extra=None, purpose="x")


def test_progress_is_silent_in_a_pipe(capsys):
    assert list(track(range(3), "Counting")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    assert list(track(range(3), "Counting", progress=True)) == [0, 1, 2]
    assert "Counting" in capsys.readouterr().err


def test_progress_shows_in_a_notebook_and_goes(capsys, monkeypatch):
    pytest.importorskip("tqdm")
    ipython = pytest.importorskip("IPython")
    import IPython.display

    shown = []

    def display(data, *, raw, display_id=None):
        shown.append(data["text/plain"])
        return SimpleNamespace(update=display)

    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(ipython, "get_ipython", SimpleNamespace)
    list(track(range(3), "Counting"))
    assert not shown
    kernel = SimpleNamespace(kernel=object())
    monkeypatch.setattr(ipython, "get_ipython", lambda: kernel)
    list(track(range(3), "Counting"))
    assert "Counting" in shown[0]
    assert shown[-1] == ""
    assert capsys.readouterr().err == ""


RNG = np.random.default_rng(0)
#: Before 3.1 pandas reads about a third of such numbers wrong in their last bit.
NUMBERS = RNG.normal(size=500) * 10.0 ** RNG.integers(-9, 9, 500)
WRITTEN = [repr(float(x)) for x in NUMBERS]


def test_every_bit_is_read():
    np.testing.assert_array_equal(parsed(np.array(WRITTEN, dtype=object)), NUMBERS)


@pytest.mark.parametrize("word", ["1_000", "4.2 V", "", "--", "1e", "0x10", "1,5"])
def test_what_is_no_number(word):
    values = parsed(np.array(["4.5", word, "inf"], dtype=object))
    np.testing.assert_array_equal(values, [4.5, np.nan, np.inf])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_of_a_user(tmp_path, separator):
    rows = [["cell", " voltage", "cycle", "good", "note", "gap"]]
    rows += [["a", text, "3", "True", "7 C" if k else "", ""]
             for k, text in enumerate(WRITTEN)]  # fmt: skip
    path = tmp_path / "cells.csv"
    path.write_text("# mine\n" + "\n".join(map(separator.join, rows)))
    table = read_table(path, comment="#")
    assert list(table) == ["cell", "voltage", "cycle", "good", "note", "gap"]
    assert [table[name].dtype.kind for name in ("voltage", "cycle", "good")] == list(
        "fib"
    )
    np.testing.assert_array_equal(table["voltage"], NUMBERS)
    assert table["note"].isna().sum() == 1
    assert table["note"][1] == "7 C"
    assert table["gap"].isna().all()


@pytest.mark.parametrize("size", [1, 2, 7, 60_000, 60_001])
@pytest.mark.parametrize("kind", ["spread", "equal", "two", "wave", "gaps", "endless"])
def test_medians_are_those_of_all_numbers(size, kind):
    rng = np.random.default_rng(size)
    every = np.arange(size, dtype=float)
    values = {
        "spread": rng.normal(size=size),
        "equal": np.full(size, 2.5),
        "two": np.where(every < size // 2, 1.0, -1.0),
        "wave": np.sin(every / 11.0).round(3),  # in step with a sample
        "gaps": np.where(every == size - 1, np.nan, every),
        "endless": np.where(rng.random(size) < 0.4, np.inf, every),
    }[kind]
    with np.errstate(invalid="ignore"):
        assert np.array_equal(median(values), np.median(values), equal_nan=True)
        for part in (0.0, 0.1, 0.95, 0.98, 1.0):
            expected = np.quantile(values, part)
            assert np.array_equal(quantile(values, part), expected, equal_nan=True)
