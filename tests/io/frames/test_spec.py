"""SPEC files: what a scan says, and what is wrong with a damaged one."""

from __future__ import annotations

import datetime

import damage
import numpy as np
import pytest

from batteryxr.core.errors import ArgumentError, BatteryxrError, FileFormatError
from batteryxr.io.frames.spec import read_spec

TEXT = """#F run.spec
#E 1580609738
#D Sat Feb 01 20:15:38 2020
#O0 Delta  Theta  z-sample
#O1 Energy  cam dist

#S 1  ascan  th 0 1  2 0.25
#D Sat Feb 01 20:17:06 2020
#P0 32.5 0.25 -1
#P1 9 500
#N 3
#L Theta  pm detector  Seconds
0 10 0.25
0.5 20 0.25
@A 1 2 3\\
 4 5 6
1 30 0.25
#C aborted? no

#S 2  ascan  th 0 1  1 0.5
#P0 33 0.25 -1
#P1 9 500
#L Theta  Seconds
0 0.5
1 0.5

#F run.spec
#O0 Gamma
#S 1  ct 1
#P0 12
#L Gamma  Seconds
12 1
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "run.spec"
    path.write_text(TEXT)
    return path


def test_a_scan_gives_motors_columns_and_start(spec):
    scan = read_spec(spec, "1.1")
    assert scan.command == "ascan  th 0 1  2 0.25"
    expected = {"Delta": 32.5, "Theta": 0.25, "z-sample": -1, "Energy": 9}
    assert scan.motors == expected | {"cam dist": 500}
    np.testing.assert_array_equal(scan.columns["Theta"], [0, 0.5, 1])
    np.testing.assert_array_equal(scan.columns["pm detector"], [10, 20, 30])
    assert scan.start == datetime.datetime(2020, 2, 1, 20, 17, 6)


def test_the_motors_are_those_of_the_scans_own_header(spec):
    assert read_spec(spec, "1.2").motors == {"Gamma": 12}
    assert read_spec(spec, 2).motors["Delta"] == 33


@pytest.mark.parametrize(
    ("scan", "says"),
    [
        (1, r"'1.1', '1.2'"),
        (3, "it has 1 to 2"),
        ("1.3", "scan 1 2 times"),
        (None, "one of the 3 scans"),
        ("first", "a number such as 54"),
    ],
)
def test_a_scan_that_is_not_there_is_named(spec, scan, says):
    with pytest.raises(ArgumentError, match=says):
        read_spec(spec, scan)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("0.5 20 0.25", "0.5 20", 14),
        ("0.5 20 0.25", "0.5 x 0.25", 14),
        ("#P0 32.5 0.25 -1", "#P0 32.5 0.25", 9),
    ],
)
def test_a_damaged_scan_names_its_line(spec, old, new, line):
    spec.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(FileFormatError, match=f"line {line}"):
        read_spec(spec, "1.1")


def test_damaged_files_are_refused_or_read_but_never_crash(spec):
    for what, raw in damage.damaged(TEXT.encode(), 200, seed=3):
        spec.write_bytes(raw)
        try:
            scan = read_spec(spec, 2)
        except BatteryxrError as error:
            text = str(error)
        else:
            text = scan.command.ljust(21)
            assert len({c.shape for c in scan.columns.values()}) <= 1, what
        assert len(text) > 20, what
