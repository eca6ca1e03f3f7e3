"""No damaged file gives another exception, a hang, or half a Dataset."""

from __future__ import annotations

import time
import warnings
from itertools import product

import cycler_files
import damage
import pytest

from batteryxr.core.errors import FileFormatError
from batteryxr.io import read_cycler
from batteryxr.io.cycler import arbin_res

RUN = cycler_files.run(rows=12)
TEXT = sorted(name for name in cycler_files.WRITERS if not name.endswith(".xlsx"))


def survive(path, raw, n, seed, most_rows):
    began = time.process_time()
    outcomes = []
    for what, spoiled in damage.damaged(raw, n, seed):
        path.write_bytes(spoiled)
        outcomes.append(damage.judge(path, read_cycler, what, most_rows))
    assert time.process_time() - began < 60
    assert outcomes.count("refused") > n // 4
    return outcomes


@pytest.mark.parametrize("name", TEXT)
def test_text(tmp_path, name, copies):
    path = cycler_files.WRITERS[name](tmp_path / name, RUN)
    outcomes = survive(path, path.read_bytes(), copies, 1, 2 * len(RUN.time))
    assert "read" in outcomes


def test_workbooks(tmp_path, copies):
    pytest.importorskip("openpyxl")
    path = cycler_files.workbook(tmp_path / "run.xlsx", RUN)
    survive(path, path.read_bytes(), copies, 2, 2 * len(RUN.time))


def test_databases(tmp_path, measured):
    if arbin_res.shutil.which("mdb-export") is None:
        pytest.skip("mdbtools is not installed")
    source = measured("cyclers/arbin/20160805_test001_45_cc_01.res")
    survive(tmp_path / "run.res", source.read_bytes(), 30, 3, 20_000)


# Text is one format whatever its ending; that of one maker is another.
@pytest.mark.parametrize(
    ("name", "piece"),
    [
        *product(
            ["x.csv", "x.mpt"], [b"voltage ", b"a(b,", b"_a", b"1,2;3\t", b'"', b"/"]
        ),
        *product(["x.txt", "x.tsv"], [b"1,2;3\t"]),
    ],
)
def test_endless_lines_do_not_hang(tmp_path, name, piece):
    path = tmp_path / name
    path.write_bytes(b"time,voltage,current\n" + piece * (400_000 // len(piece)))
    began = time.process_time()
    assert damage.judge(path, read_cycler, name, 1) == "refused"
    assert time.process_time() - began < 5


def separator(line):
    return next(mark for mark in (b"\t", b";", b",", b" ") if mark in line)


EVERY_ROW = {
    "half of it is gone": lambda line: line[: len(line) // 2] + b"\n",
    "digits are letters": lambda line: line.translate(
        bytes.maketrans(b"0123456789", b"abcdfghijk")
    ),
    "two cells are one": lambda line: line.replace(separator(line), b"", 1),
    "zeros": lambda line: bytes(len(line)),
    "times are infinite": lambda line: (
        separator(line).join(b"inf" for _ in line.split(separator(line))) + b"\n"
    ),
}


@pytest.mark.parametrize("how", sorted(EVERY_ROW))
@pytest.mark.parametrize("name", TEXT)
def test_every_row_damaged_gives_no_dataset(tmp_path, name, how):
    path = cycler_files.WRITERS[name](tmp_path / name, RUN)
    raw = path.read_bytes()
    first = raw.count(b"\n") - len(RUN.time)
    path.write_bytes(damage.every_row(raw, first, EVERY_ROW[how]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(FileFormatError, match=name.replace(".", r"\.")):
            read_cycler(path)
