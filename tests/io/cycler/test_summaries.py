"""Rows of sums, means and extremes in a table are left out and told, never read."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from batteryxr.core.errors import DataQualityWarning, FileFormatError
from batteryxr.io import read_cycler

PART = np.repeat([0, 1, 2, 3, 0], [5, 40, 8, 40, 9])
TIME = 60.0 * np.arange(PART.size)
CURRENT = np.select([PART == 1, PART == 3], [1.5, -1.2], 0.0)
VOLTS = np.round(3.5 + np.cumsum(CURRENT) / 150 + 0.02 * CURRENT, 4)
UP, DOWN = (np.cumsum(np.clip(s * CURRENT, 0, None)) / 60 for s in (1, -1))
COLUMNS = TIME, VOLTS, CURRENT, UP, DOWN
LABELS = "Record,Time (s),Voltage (V),Current (mA),Charge Capacity (mAh),"
LABELS += "Discharge Capacity (mAh)"
ALL = slice(None)


def row(what, first="", part=ALL):
    return ",".join([first, *(f"{what(column[part]):.4f}" for column in COLUMNS)])


def usual(first="", volts=VOLTS, current=CURRENT, late=0.0):
    """Return the last time, means of voltage and current, and the largest charges."""
    ends = f"{UP.max():.4f},{DOWN.max():.4f}"
    return (
        f"{first},{TIME[-1] + late:.1f},{volts.mean():.4f},{current.mean():.4f},{ends}"
    )


def lines(first=None):
    names = first or [str(k + 1) for k in range(PART.size)]
    return [LABELS, *(
        f"{name},{t:.1f},{v:.4f},{i:.4f},{u:.4f},{d:.4f}"
        for name, t, v, i, u, d in zip(names, *COLUMNS, strict=True)
    )]  # fmt: skip


def read(path, content):
    path.write_text("\n".join(content) + "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(path)


def as_measured(ds):
    assert ds.attrs["flags"] == ["summary_rows"]
    for name, truth in (("voltage", VOLTS), ("current", CURRENT), ("test_time", TIME)):
        np.testing.assert_allclose(ds[name], truth, atol=1e-9)


FOOTERS = {
    "sums": [row(np.sum)],
    "sums, called so": [row(np.sum, "Total")],
    "sums and means": [row(np.sum), row(np.mean)],
    "means, extremes, deviations": [row(f) for f in (np.mean, np.max, np.min, np.std)],
    "largest": [row(np.max)],
    "largest, called so": [row(np.max, "Max.")],
    "time that passed, means": [usual()],
    "time that passed, means, called so": [usual("\u5e73\u5747\u503c")],
    "means in a row of their own time": [usual(late=60.0)],
    "zeros": [",0,0,0,0,0"],
}


@pytest.mark.parametrize("name", FOOTERS)
def test_rows_below_the_table(tmp_path, name):
    as_measured(read(tmp_path / "x.csv", lines() + FOOTERS[name]))


@pytest.mark.parametrize("what", [np.sum, np.mean])
@pytest.mark.parametrize("word", ["", "Subtotal", "Summe:"])
def test_rows_within_the_table(tmp_path, what, word):
    every, cut = lines(), 50
    first, second = row(what, word, slice(cut)), row(what, word, slice(cut, None))
    content = [*every[: cut + 1], first, *every[cut + 1 :], second]
    as_measured(read(tmp_path / "x.csv", content))


def test_a_word_among_words_and_below_the_labels(tmp_path):
    first = [{1: "Charge", 3: "Discharge"}.get(int(p), "Rest") for p in PART]
    every = lines(first)
    every[0] = every[0].replace("Record", "State")
    content = [every[0], row(np.sum, "Total"), *every[1:], usual("\u5408\u8ba1")]
    as_measured(read(tmp_path / "x.csv", content))


def test_workbooks(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for line in [*lines(), row(np.mean, "Mean"), row(np.sum, "1")]:
        cells = line.split(",")
        book.active.append([c if k == 0 else _number(c) for k, c in enumerate(cells)])
    book.save(tmp_path / "x.xlsx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        as_measured(read_cycler(tmp_path / "x.xlsx"))


def _number(cell):
    try:
        return float(cell)
    except ValueError:
        return cell


@pytest.mark.parametrize("cells", ["9999,0.7,2", f"{TIME[-1]:.0f},9.9,1.5"])
def test_a_last_row_beyond_all_others_is_flagged(tmp_path, cells):
    ds = read(tmp_path / "x.csv", [*lines(), f",{cells},3,3"])
    assert ds.attrs["flags"] == ["last_row"]
    assert ds.sizes["record"] == PART.size + 1


def test_sums_without_a_time_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match="test time is nan"):
        read(tmp_path / "x.csv", [*lines(), ",,3.6,1.2,2,3"])


@pytest.mark.parametrize("seed", range(20))
def test_no_measured_row_is_taken_for_one(tmp_path, seed):
    """Rows at switches repeat the time before them, and cells at zero cross it."""
    rng = np.random.default_rng(seed)
    n, each = 400, int(rng.integers(4, 60))
    sign = np.where(np.arange(n) // each % 2, -1.0, 1.0)
    current = np.round(
        sign * rng.choice([1.5, 0.2]) * rng.choice([0, 1], n, p=[0.1, 0.9]), 3
    )
    time = np.cumsum(np.where(np.arange(n) % each == 0, 0.0, rng.choice([1.0, 30.0])))
    volts = 0.05 * sign if seed % 2 else 3.6 + 0.3 * np.sin(np.arange(n) / each)
    volts = np.round(volts + 1e-3 * rng.standard_normal(n), 3)
    content = [f"{t},{v},{i}" for t, v, i in zip(time, volts, current, strict=True)]
    ds = read(tmp_path / "x.csv", ["Time (s),Voltage (V),Current (mA)", *content])
    assert "summary_rows" not in ds.attrs["flags"]
    assert ds.sizes["record"] == n


@pytest.mark.parametrize("seed", range(6))
def test_a_last_row_on_a_plateau_is_no_mean(tmp_path, seed):
    volts = np.round(3.4255 + 4e-4 * np.random.default_rng(seed).normal(size=90), 3)
    volts[-2:] = 3.426, 3.425
    content = [f"{10 * k},{v:.3f},-0.5" for k, v in enumerate(volts)]
    ds = read(tmp_path / "x.csv", ["Time (s),Voltage (V),Current (mA)", *content])
    assert not ds.attrs["flags"]
    assert ds.sizes["record"] == volts.size
