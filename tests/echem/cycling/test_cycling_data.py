"""Cycling numbers of measured files, against what the cyclers counted themselves."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from batteryxr import read_cycler
from batteryxr.core.errors import DataError, DataQualityWarning
from batteryxr.echem import cycles, half_cycles, steps


def read(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return read_cycler(path, **options)


@pytest.fixture
def rock(measured):
    files = sorted((measured("lno-operando") / "cycler").glob("*.mpt"))
    return read(files, timezone="Europe/Paris")


def test_rock_third_charge_runs_over_two_files(rock):
    halves = half_cycles(rock)
    np.testing.assert_allclose(
        halves.capacity[[0, 1, 2, 3, 4, 5]],
        [1.61446, 1.32111, 1.43356, 1.29629, 1.40562, 1.24654],
        atol=1e-5,
    )
    assert halves.gap_time.values[4] == pytest.approx(26.506, abs=1e-3)
    assert halves.gaps.values.tolist() == [0, 0, 0, 0, 1, 0, 0, 0]
    assert np.abs(halves.q_consistency).max() < 1e-5
    assert str(halves.time_start.values[0])[:19] == "2022-07-26T21:01:27"
    found = cycles(rock, electrode="cathode", first="charge")
    np.testing.assert_allclose(
        100 * found.coulombic_efficiency[:3], [81.83, 90.42, 88.68], atol=0.01
    )
    assert found.complete.values.tolist() == [True, True, True, False]


def test_rock_steps(rock):
    found = steps(rock)
    assert found.kind.values.tolist().count("constant_voltage") == 1
    assert found.kind.values[0] == "open_circuit"
    halves = half_cycles(rock)
    assert found.capacity.sum().item() == pytest.approx(halves.capacity.sum().item())


def test_jdb11_starts_with_a_short_discharge(measured):
    folder = measured("cyclers") / "biologic"
    rows = read(next(folder.glob("*.mpr")))
    halves = half_cycles(rows)
    counted = [
        *(0.206529, 0.986781, 0.852855, 0.937090, 0.876330, 0.941940, 0.874678),
        *(0.947933, 0.876656, 0.951689, 0.878613, 0.955886, 0.879492),
    ]
    np.testing.assert_allclose(halves.capacity, counted, rtol=1e-3)
    assert not halves.complete.values[0]
    with pytest.warns(DataQualityWarning, match="discharge of 0.2065"):
        found = cycles(rows, electrode="cathode", first="charge")
    np.testing.assert_allclose(
        100 * found.coulombic_efficiency,
        [86.43, 93.52, 92.86, 92.48, 92.32, 92.01],
        atol=0.05,
    )


@pytest.fixture
def arbin(measured):
    import shutil

    if shutil.which("mdb-export") is None:
        pytest.skip("reading .res needs the program mdb-export")
    return read(measured("cyclers") / "arbin" / "20160805_test001_45_cc_01.res")


def test_arbin_anode(arbin):
    found = cycles(arbin, electrode="anode", first="discharge")
    efficiency = 100 * found.coulombic_efficiency.values[0]
    assert found.sizes["cycle"] == 18
    assert found.charge_capacity.values[0] == pytest.approx(1.625406, rel=3e-4)
    assert found.discharge_capacity.values[0] == pytest.approx(1.755094, rel=3e-4)
    assert efficiency == pytest.approx(92.611, abs=1e-3)
    other = cycles(arbin, electrode="cathode", first="discharge")
    assert 100 * other.coulombic_efficiency.values[0] == pytest.approx(
        107.979, abs=2e-3
    )


def test_a_rest_counted_to_two_cycles_changes_nothing(arbin):
    plain = half_cycles(arbin)
    last = int(plain.last_record.values[2])
    cycle = arbin["cycle"].values.copy()
    cycle[last - 5 :] += 1
    again = half_cycles(arbin.assign(cycle=("record", cycle)))
    np.testing.assert_array_equal(again.capacity, plain.capacity)


def test_bdf_files_with_their_traps(measured):
    folder = measured("cyclers") / "bdf"
    hours = read(next(folder.glob("DLR*LNMO*")), repair="time_scale")
    halves = half_cycles(hours)
    # The cell is discharged a little before its first charge: listed, and taken off.
    whole = halves.capacity + halves.pulse_charge
    charge, discharge = (
        float(whole.where(halves.direction == side).max())
        for side in ("charge", "discharge")
    )
    assert charge == pytest.approx(6.28782, rel=1e-4)
    assert halves.flag.values.tolist() == [64, 0]
    assert halves.capacity.values[0] == pytest.approx(6.27152, rel=1e-4)
    assert discharge == pytest.approx(6.17406, rel=1e-4)
    with pytest.raises(DataError, match="time_scale"):
        cycles(
            read(next(folder.glob("DLR*LNMO*"))), electrode="cathode", first="charge"
        )
    turns = half_cycles(read(next(folder.glob("SINTEF*G20M7*"))))
    np.testing.assert_allclose(turns.capacity, [3838.80, 3855.17], rtol=2e-5)


def test_neware_agrees_with_its_own_counter(measured):
    halves = half_cycles(read(measured("cyclers") / "neware" / "test_2.ndax"))
    large = halves.capacity > 0.3 * halves.capacity.max()
    assert np.abs(halves.q_consistency.where(large)).max() < 1e-3


def test_titration_of_an_lgm50_electrode(measured, make_record):
    # 40 files of one pulse each, rests of 4e-10 A in between.
    files = sorted(
        measured("gitt-lgm50").glob("pulse_*.csv"),
        key=lambda p: int(p.stem.split("_")[1]),
    )
    total = 0.0
    for path in files:
        t, v, i = np.loadtxt(path, delimiter=",", skiprows=1, usecols=(0, 1, 2)).T
        total += half_cycles(make_record(t, v, i * 1e3)).capacity.sum().item()
    assert total == pytest.approx(11.46685, rel=1e-4)
