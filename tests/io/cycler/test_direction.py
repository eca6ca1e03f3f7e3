from __future__ import annotations

import warnings

import clock_files
import cycler_files
import numpy as np
import pytest

from batteryxr.core.errors import DataQualityWarning
from batteryxr.io import read_cycler
from batteryxr.io.cycler.checks.direction import states_of

RUN = cycler_files.run(rows=20)


def quiet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(*args, **kwargs)


def table(path, current, *, words=False, counters=False, rows=slice(None)):
    """Write a table with the current as given, and what else tells its direction."""
    names = ["Test Time (s)", "Voltage (V)", "Current (mA)"]
    columns = [RUN.time, RUN.voltage, current]
    if words:
        names.append("Step Type")
        columns.append(
            [{"C": "charge", "D": "discharge", "R": "rest"}[s] for s in RUN.state]
        )
    if counters:
        names += ["Charge Capacity (mAh)", "Discharge Capacity (mAh)"]
        columns += [RUN.charge, RUN.discharge]
    body = list(zip(*columns, strict=True))[rows]
    lines = [",".join(names), *(",".join(map(str, row)) for row in body)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("D_CC", -1), ("C_CC", 1), ("C_CV", 1), ("R", 0), ("D", -1), ("C", 1),
        ("CC DChg", -1), ("CC Chg", 1), ("CCCV_Chg", 1), ("Discharge", -1),
        ("Charge", 1), ("DCH", -1), ("CHA", 1), ("PAU", 0), ("恒流放电", -1),
        ("恒流恒压充电", 1), ("静置", 0), ("Rest", 0), ("D_Rate", -1), ("CC_DChg", -1),
        ("Pause", 0), ("CV", 0), ("CC", 0), ("OCV", 0),
    ],
)  # fmt: skip
def test_words(word, state):
    assert states_of([word]).tolist() == [state]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8", "gbk", "gb18030"])
def test_chinese_magnitudes_get_their_sign(tmp_path, encoding):
    path = clock_files.chinese(tmp_path / "x.csv", clock_files.paused({}), encoding)
    ds = quiet(path)
    data = clock_files.paused({})
    np.testing.assert_allclose(ds["current"], data.current)
    assert ds.attrs["flags"] == []


def test_two_witnesses_turn_a_current(tmp_path):
    for witnesses in (
        {"words": True},
        {"counters": True},
        {"words": True, "counters": True},
    ):
        path = table(tmp_path / "x.csv", -RUN.current, **witnesses)
        with pytest.warns(DataQualityWarning, match="was turned"):
            ds = read_cycler(path)
        np.testing.assert_allclose(ds["current"], RUN.current)
        assert ds.attrs["flags"] == ["current_sign"]


def test_a_right_current_stays_and_has_no_flag(tmp_path):
    for witnesses in ({}, {"words": True}, {"counters": True}):
        ds = quiet(table(tmp_path / "x.csv", RUN.current, **witnesses))
        np.testing.assert_allclose(ds["current"], RUN.current)
        assert ds.attrs["flags"] == []


def test_one_witness_is_flagged_and_turns_by_name(tmp_path):
    path = table(tmp_path / "x.csv", -RUN.current)
    ds = quiet(path)
    np.testing.assert_allclose(ds["current"], -RUN.current)
    assert ds.attrs["flags"] == ["current_sign"]
    assert "the course of the voltage" in ds.attrs["flag_notes"][0]
    mended = quiet(path, repair="current_sign")
    np.testing.assert_allclose(mended["current"], RUN.current)
    assert mended.attrs["flags"] == []


def test_witnesses_that_disagree_are_flagged(tmp_path):
    path = table(tmp_path / "x.csv", RUN.current, words=True)
    text = path.read_text().replace("discharge", "x").replace(",charge", ",discharge")
    path.write_text(text.replace(",x", ",charge"))
    ds = quiet(path)
    np.testing.assert_allclose(ds["current"], RUN.current)
    assert ds.attrs["flags"] == ["current_sign"]
    assert "agree with it" in ds.attrs["flag_notes"][0]


def test_magnitudes_with_counters_are_refused_and_mended_by_name(tmp_path):
    path = table(tmp_path / "x.csv", abs(RUN.current), counters=True)
    assert "unsigned_current" in quiet(path).attrs["flags"]
    mended = quiet(path, repair="unsigned_current")
    assert "unsigned_current" not in mended.attrs["flags"]
    np.testing.assert_allclose(mended["current"], RUN.current)


def test_magnitudes_alone_are_flagged_by_the_voltage(tmp_path):
    ds = quiet(table(tmp_path / "x.csv", abs(RUN.current), rows=slice(40, 60)))
    assert ds.attrs["flags"] == ["current_sign"]
    # Charge and discharge as one half cycle are wrong in any case.
    whole = quiet(table(tmp_path / "y.csv", abs(RUN.current)))
    assert whole.attrs["flags"] == ["unsigned_current", "current_sign"]
    with pytest.warns(DataQualityWarning):
        assert not np.isfinite(whole.echem.half_cycles().capacity).any()


@pytest.mark.parametrize("creep", [4e-8, 1e-4])
def test_a_counter_that_creeps_is_no_discharge(tmp_path, creep):
    path = tmp_path / "x.csv"
    rows = "".join(
        f"{60 * k},{3 + 0.01 * k:.3f},1,{k / 60:.9f},{creep * k / 60:.3e}\n"
        for k in range(61)
    )
    path.write_text(
        "Test Time (s),Voltage (V),Current (mA),Charge Capacity (mAh),"
        f"Discharge Capacity (mAh)\n{rows}"
    )
    assert quiet(path).attrs["flags"] == []


def test_words_that_say_nothing_are_told(tmp_path):
    path = table(tmp_path / "x.csv", abs(RUN.current), words=True)
    lines = path.read_text().splitlines()
    lines[-15:] = [line.replace("discharge", "Pulse") for line in lines[-15:]]
    path.write_text("\n".join(lines) + "\n")
    ds = quiet(path)
    assert ds.attrs["flags"] == ["current_sign"]
    assert "says neither charge nor discharge" in ds.attrs["flag_notes"][0]
