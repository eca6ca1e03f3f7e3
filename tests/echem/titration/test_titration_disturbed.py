"""Titrations on a drifting cell, or behind a slow resistance: do the errors cover?"""

from __future__ import annotations

import numpy as np
import pytest

from batteryxr import simulate
from batteryxr.echem import gitt
from batteryxr.simulate import Titration

DRIFT, SLOW, DISAGREE = 32, 64, 128


def slowly(record, ohm, tau):
    """Return the voltage of a resistance beside a capacitor, row by row."""
    t, i = record.test_time.values, record.current.values
    volts = np.zeros(t.size)
    for k in range(1, t.size):
        left = np.exp(-(t[k] - t[k - 1]) / tau)
        # A current that is switched on flows from the row on that shows it first.
        flows = i[k] if i[k - 1] != 0 else 0.0
        volts[k] = volts[k - 1] * left + ohm * 1e-3 * flows * (1 - left)
    return volts


def drifting(record, rate):
    return rate * 1e-3 * record.test_time.values / 3600


DISTURBED = {
    "nothing": lambda record: 0.0,
    "up": lambda record: drifting(record, 1.0),
    "down": lambda record: drifting(record, -0.3),
    "fast": lambda record: slowly(record, 50.0, 2.0),
    "medium": lambda record: slowly(record, 20.0, 20.0),
    "slow": lambda record: slowly(record, 50.0, 60.0),
    "both": lambda record: slowly(record, 30.0, 30.0) + drifting(record, 0.6),
}


@pytest.mark.parametrize("name", DISTURBED)
def test_errors_of_the_time_constant_cover(name):
    within = []
    for seed in range(3):
        record, truth = simulate.gitt(protocol=Titration(n_pulses=7), seed=seed)
        volts = record["voltage"].values + DISTURBED[name](record)
        record["voltage"] = record["voltage"].copy(data=volts)
        found = gitt(record)
        within.append(np.abs(found.tau - truth.tau) < 1.96 * found.tau_error)
        assert (found.tau_error < 0.05 * found.tau).all()
        if name in ("up", "down", "both"):
            assert (found.flag & DRIFT > 0).mean() > 0.8
        if name in ("fast", "medium", "slow", "both"):
            assert (found.flag & SLOW > 0).mean() > 0.8
        if name == "nothing":
            assert (found.flag & (DRIFT | SLOW) == 0).mean() > 0.8
    assert np.mean(within) >= 0.85


def test_a_jump_between_branches_at_a_reversal_is_no_diffusion():
    up = Titration(n_pulses=5)
    record, _ = simulate.gitt(protocol=up, seed=1)
    back, _ = simulate.gitt(
        protocol=Titration(n_pulses=5, current=-0.05, open_circuit=0.0),
        electrode=simulate.Electrode(x0=0.95 - 0.05 * 600 * 5 / 3600 * 9 / 5),
        seed=2,
    )
    # The other branch lies 20 mV lower.
    volts = np.concatenate([record.voltage, back.voltage - 0.02])
    late = record.test_time.values[-1] - back.test_time.values[0] + 1e-3
    time = np.concatenate([record.test_time, back.test_time.values + late])
    current = np.concatenate([record.current, back.current])
    whole = record[["voltage", "current"]].drop_vars(list(record.coords))
    whole = whole.isel(record=np.zeros(time.size, int))
    whole["voltage"] = ("record", volts, {"units": "V"})
    whole["current"] = ("record", current, {"units": "mA"})
    whole = whole.assign_coords(test_time=("record", time, {"units": "s"}))
    found = gitt(whole)
    assert (found.direction.values[[4, 5]] == ["charge", "discharge"]).all()
    first = found.isel(pulse=5)
    assert abs(first.tau / 4e4 - 1) < 3 * first.tau_error / 4e4 + 0.02


def test_the_last_row_before_each_switch_is_missing():
    record, truth = simulate.gitt(protocol=Titration(n_pulses=3), seed=4)
    flows = record.current.values != 0
    kept = np.append(flows[1:] == flows[:-1], True)
    found = gitt(record.isel(record=kept))
    assert (np.abs(found.tau - truth.tau) < 2.5 * found.tau_error).all()
    assert (found.tau_error < 0.01 * found.tau).all()
    # The last row under current is that of 599 s.
    np.testing.assert_allclose(found.duration, 600.0, atol=0.05)
    np.testing.assert_allclose(found.charge, 0.05 * 600 / 3600, rtol=1e-4)


def test_a_drift_of_one_pulse_alone_is_told():
    record, _ = simulate.gitt(protocol=Titration(n_pulses=6, rest=7200.0), seed=5)
    sound = gitt(record)
    assert not (sound.flag & DISAGREE).any()
    t = record.test_time.values
    begin, end = sound.start.values[3:5]
    odd = 1e-2 * np.clip(t - begin, 0, end - begin - 60) / 3600
    odd[t > end - 30] = 0.0  # nothing of it is left when the next one begins
    found = gitt(record.assign(voltage=record["voltage"] + odd))
    assert found.flag[3] & DISAGREE
    assert not (found.flag & DISAGREE).values[[0, 1, 5]].any()
