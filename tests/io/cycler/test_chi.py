from __future__ import annotations

import time
import warnings

import numpy as np
import pytest

from batteryxr.core.errors import DataQualityWarning, FileFormatError
from batteryxr.io import read_cycler
from batteryxr.io.cycler.layouts import chi


def head(technique, **settings):
    lines = ["Nov. 12, 2019   14:23:05", technique, "File: x.bin", "Data Source: E",
             "Instrument Model:  CHI760E", "Header: ", "Note: ", ""]  # fmt: skip
    words = {"i": "(A)", "T": "(s)"}
    for name, value in settings.items():
        unit = f" {words[name[0]]}" if name[0] in words else ""
        label = f"{name}{unit}" if unit else name.replace("_", " ").replace("9", "/")
        lines.append(f"{label} = {value}")
    return "\n".join([*lines, "", ""])


def read(tmp_path, text):
    path = tmp_path / "run.txt"
    path.write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(path, timezone="UTC")


def cell(currents, *, low=3.1, high=4.1, first=3.5):
    """Potential (V) every 2 s; each current ends at a limit."""
    volts, flows, level = [], [], first
    for current in currents:
        while True:
            level += 4.0 * current
            seen = level + 30 * current
            volts.append(seen)
            flows.append(current)
            if not low < seen < high:
                break
    return np.array(volts), np.array(flows)


@pytest.mark.parametrize("begun", ["P", "N"])
@pytest.mark.parametrize("segments", [1, 2, 5])
@pytest.mark.parametrize("first", [3.5, 3.14, 4.06])
def test_currents_change_where_the_potential_turns(tmp_path, begun, segments, first):
    both = (1e-3, -2e-3) if begun == "P" else (-2e-3, 1e-3)
    volts, flows = cell([both[k % 2] for k in range(segments)], first=first)
    settings = {"Cathodic_Current_(A)": 0.002, "Anodic_Current_(A)": 0.001,
                "Init_P9N": begun, "Segment": segments}  # fmt: skip
    rows = "".join(f"{2 * k + 2:.3f}, {v:.6f}\n" for k, v in enumerate(volts))
    rows = rows.replace("\n8.000,", "\n\nSegment 2:\n8.000,")
    text = head("Chronopotentiometry", **settings) + "Time/sec, Potential/V\n\n" + rows
    ds = read(tmp_path, text)
    np.testing.assert_allclose(ds.current, 1e3 * flows)
    np.testing.assert_allclose(ds.voltage, volts, atol=1e-6)
    assert {"set_current", "start_or_end"} <= set(ds.attrs["flags"])
    assert "current_sign" not in ds.attrs["flags"]


def sweep(corners):
    parts = [np.arange(a, b, 0.005 * np.sign(b - a)) for a, b in corners]
    volts = np.concatenate(parts)
    way = np.concatenate([np.full(p.size, np.sign(p[-1] - p[0])) for p in parts])
    peak = np.exp(-(((volts - 3.4 - 0.06 * way) / 0.05) ** 2))
    return volts, way * (1e-5 + 8e-5 * peak)


@pytest.mark.parametrize("convention", [1, -1])
def test_loops_tell_which_current_oxidises(tmp_path, convention):
    volts, flows = sweep([(3.0, 4.0), (4.0, 2.8), (2.8, 4.0)])
    rows = "".join(
        f"{v:.3f}, {convention * i:.6e}, 0\n" for v, i in zip(volts, flows, strict=True)
    )
    text = head("Cyclic Voltammetry", **{"Scan_Rate_(V9s)": 0.001, "Segment": 3})
    ds = read(
        tmp_path, text + "Potential/V, Current/A, Charge/C\n\nSegment 1:\n" + rows
    )
    np.testing.assert_allclose(ds.current, 1e3 * flows, rtol=1e-5)
    np.testing.assert_allclose(ds.test_time[-1], 3400, atol=6)
    assert ("current_sign" in ds.attrs["flags"]) == (convention < 0)


def test_one_sweep_leaves_the_sign_open(tmp_path):
    volts, flows = sweep([(3.0, 4.0)])
    rows = "".join(f"{v:.3f}, {-i:.6e}\n" for v, i in zip(volts, flows, strict=True))
    text = head("Linear Sweep Voltammetry", **{"Scan_Rate_(V9s)": 0.001})
    ds = read(tmp_path, text + "Potential/V, Current/A\n\n" + rows)
    assert "current_sign" in ds.attrs["flags"]


def test_steps_of_current_by_their_times(tmp_path):
    time = np.arange(1, 401.0)
    flows = np.where((time - 1e-9) % 200 < 120, 1e-3, -5e-4)
    volts = 3.5 + 0.05 * np.cumsum(flows) + 20 * flows
    rows = "".join(f"{t:.1f}, {v:.5f}\n" for t, v in zip(time, volts, strict=True))
    settings = {"i1": 1e-3, "T1": 120, "i2": -5e-4, "T2": 80, "Cycle": 2}
    text = head("Multi-Current Steps", **settings) + "Time/sec, Potential/V\n\n" + rows
    np.testing.assert_allclose(read(tmp_path, text).current, 1e3 * flows)


@pytest.mark.parametrize(
    ("technique", "labels", "rows", "words"),
    [
        ("A.C. Impedance", "Freq/Hz, Z'/ohm", "1, 2\n", "no cycling"),
        ("Chronoamperometry", "Time/sec, Current/A", "1, 2\n2, 3\n", "neither"),
        ("Multi-Potential Steps", "Time/sec, Potential/V", "1, 2\n2, 3\n", "neither"),
        ("Cyclic Voltammetry", "Potential/V, Current/A", "1, 2\n2, 3\n", "Scan Rate"),
        ("Open Circuit Potential - Time", "Time/sec, Potential/V",
         "1, 3.4\n2, 3.4\n3\n4, 3.4\n", "line 13"),
        ("Open Circuit Potential - Time", "Time/sec, Potential/V",
         "1, 3.4\nx 3.4\n3, 3.4\n", "line 12"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused(tmp_path, technique, labels, rows, words):
    with pytest.raises(FileFormatError, match=words):
        read(tmp_path, f"{head(technique)}{labels}\n{rows}")


def test_blanks_without_end_take_no_time():
    began = time.process_time()
    assert not chi._SKIPPED.fullmatch(b" " * 300_000 + b"x")
    assert not chi._SETTING.findall(" " * 300_000)
    assert time.process_time() - began < 1
