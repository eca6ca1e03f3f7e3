"""A number that lost its minus is told, in curves and in steady currents."""

from __future__ import annotations

import numpy as np
import pytest

from batteryxr.core.errors import DataQualityWarning
from batteryxr.io import read_cycler, read_series
from batteryxr.io.door.marks import turned_in


@pytest.mark.parametrize("lost", [120, 431])
def test_a_lost_minus_of_a_curve_is_told(tmp_path, lost):
    r = np.arange(1.0, 15.0, 0.02)
    noise = 0.005 * np.random.default_rng(3).standard_normal(r.size)
    g = np.sin(4 * r) / np.sqrt(r) + noise
    table = np.stack([r, g], 1)
    place = lost + int(np.argmin(g[lost : lost + 80]))
    assert g[place] < 0
    table[place, 1] *= -1
    np.savetxt(tmp_path / "a.gr", table, header="r G(r)", fmt="%.5f")
    with pytest.warns(DataQualityWarning, match=rf"point {place}, .* was a minus lost"):
        read_series(tmp_path / "a.gr")


def test_noise_and_peaks_lost_no_minus():
    rng = np.random.default_rng(4)
    x = np.linspace(0, 1, 400)
    narrow = np.exp(-(((x - 0.5) / 0.004) ** 2)) - 0.2
    waves = rng.standard_normal((20, 400)) + 3 * np.sin(40 * x)
    assert not turned_in(np.stack([narrow, -narrow])).any()
    assert not turned_in(waves).any()


def test_a_lost_minus_of_a_steady_current_is_told(tmp_path):
    t = np.arange(0.0, 7200.0, 60.0)
    current = np.where(t < 3600, 1.5, -1.5)
    voltage = np.where(t < 3600, 3 + t / 3600, 5 - t / 3600)
    current[90] *= -1
    path = tmp_path / "a.csv"
    table = np.stack([t, voltage, current], 1)
    names = "Time (s),Voltage (V),Current (mA)"
    np.savetxt(path, table, delimiter=",", header=names, comments="", fmt="%.5f")
    with pytest.warns(DataQualityWarning, match=r"far from their.*first row 90: 1\.5"):
        read_cycler(path)
