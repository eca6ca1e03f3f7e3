"""Titrations on a drifting cell, or behind a slow resistance: do the errors cover?"""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import brentq

from batteryxr import simulate
from batteryxr.echem import gitt
from batteryxr.simulate import Titration

DRIFT, SLOW, DISAGREE, UNDECIDED = 32, 64, 128, 256


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
    "half a pulse": lambda record: slowly(record, 50.0, 300.0),
    "two pulses": lambda record: slowly(record, 20.0, 1200.0),
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
        if name in DISTURBED.keys() - {"nothing", "up", "down"}:
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


def _sphere(t, tau):
    """Content at the surface (s) after a flux of one per second began: a series."""
    roots = np.array(
        [brentq(lambda x: np.tan(x) - x, k * np.pi + 1e-6, (k + 0.5) * np.pi - 1e-9)
         for k in range(1, 200)]
    )  # fmt: skip
    left = np.exp(-np.outer(np.maximum(t, 0), roots**2) / tau) / roots**2
    return np.where(t > 0, t + tau / 15 - 2 * tau / 3 * left.sum(axis=1), 0.0)


@pytest.mark.parametrize(("every", "tau"), [(10.0, 600.0), (60.0, 2000.0)])
def test_no_row_at_either_switch_of_a_pulse(every, tau):
    """Rests end 1 s before a current goes on, pulses by `every` before its end."""
    times, flows = [np.array([0.0, 30.0, 59.0])], [np.zeros(3)]
    begins = 60.0 + 4000.0 * np.arange(2)
    for on in begins:
        pulse = np.arange(0.02, 599.5, every)
        rest = np.concatenate([[600.05], 600 + np.geomspace(1, 3399, 60)])
        times += [on + pulse, on + rest]
        flows += [np.full(pulse.size, 0.3), np.zeros(rest.size)]
    t, i = np.concatenate(times), np.concatenate(flows)
    content = sum(_sphere(t - on, tau) - _sphere(t - on - 600, tau) for on in begins)
    content = 0.3 + content * 0.3 / 3600 / 3.0
    volts = 3.3 + 0.9 * content + 0.06 * np.tanh((content - 0.5) * 6) + 0.03 * i
    volts += np.random.default_rng(1).normal(0, 1e-5, t.size)
    record = xr.Dataset(
        {"voltage": ("record", volts, {"units": "V"}),
         "current": ("record", i, {"units": "mA"})},
        {"test_time": ("record", t, {"units": "s"})},
    )  # fmt: skip
    found = gitt(record)
    assert (np.abs(found.tau - tau) < 2.5 * found.tau_error).all()
    assert (np.abs(found.tau - tau) < 0.02 * tau).all()
    np.testing.assert_allclose(found.duration, 600, atol=1.1)
    np.testing.assert_allclose(found.start, begins, atol=1.1)


def test_the_rows_on_both_sides_of_each_switch_are_missing():
    """A row every 10 s, none at a switch: the gap is longer than those in the pulse."""
    t, begins, tau = np.arange(0.0, 4810.0, 10.0), np.array([600.0, 2700.0]), 3000.0
    flows = ((t[:, None] > begins) & (t[:, None] < begins + 600)).any(axis=1)
    switch = np.isin(t, [*begins, *(begins + 600)])
    content = sum(_sphere(t - on, tau) - _sphere(t - on - 600, tau) for on in begins)
    content = content * 0.2 / 3600 / 3.0
    volts = 3.6 + 0.8 * content + 0.3 * content**2 + 0.015 * 0.2 * flows
    volts += np.random.default_rng(1).normal(0, 2e-5, t.size)
    record = xr.Dataset(
        {"voltage": ("record", volts, {"units": "V"}),
         "current": ("record", 0.2 * flows, {"units": "mA"})},
        {"test_time": ("record", t, {"units": "s"})},
    ).isel(record=~switch)  # fmt: skip
    found = gitt(record)
    assert (np.abs(found.tau - tau) < 2.5 * found.tau_error).all()
    # Rows of 10 s exclude no slow resistance of some minutes: that is told.
    wide = found.tau_error > 0.03 * tau
    assert (found.tau_error < 0.06 * tau).all()
    assert (found.flag.values[wide] & UNDECIDED).all()
    assert (np.abs(found.resistance - 15) < 3 * found.resistance_error).all()
    np.testing.assert_allclose(found.start, begins, atol=1.0)
    np.testing.assert_allclose(found.duration, 600, atol=1.5)
    assert (found.flag & SLOW == 0).all()


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
