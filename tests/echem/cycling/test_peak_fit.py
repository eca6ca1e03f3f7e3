"""Fitted peaks, valleys that are not symmetric, and shoulders, against made curves."""

from __future__ import annotations

import numpy as np
import pytest

from batteryxr.echem import dqdv, fit_peaks, peaks, turning_point


def charge_of(make_record, steps, *, constant=0.5, hold=0.0, noise=0.0, seed=0):
    """A charge whose dQ/dV is logistic peaks on a constant, then a hold at 4.4 V."""
    fine = np.linspace(3.0, 4.4, 200_001)
    q = constant * (fine - 3.0)
    for place, width, area in steps:
        q = q + area / (1 + np.exp(-(fine - place) / width))
    q = q - q[0]
    rows = np.linspace(0, q[-1], 6000)
    v = np.interp(rows, q, fine)
    held = np.linspace(q[-1], q[-1] + hold, 400)[1:] if hold else []
    rows = np.concatenate([rows, held])
    v = np.concatenate([v, np.full(len(held), 4.4)])
    v = v + np.random.default_rng(seed).normal(0, noise, v.size)
    slope = np.gradient(q, fine)
    return make_record(rows * 3600, v, np.ones(v.size)), fine, slope


TWO = ((3.70, 0.035, 1.0), (3.88, 0.03, 2.0))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("hold", [0.0, 0.4])
def test_areas_of_overlapping_peaks_and_of_a_hold(make_record, hold, seed):
    record, *_ = charge_of(make_record, TWO, hold=hold, noise=5e-4, seed=seed)
    found = fit_peaks(dqdv(record)).isel(half_cycle=0)
    for name, column, close in (("position", 0, 0.002), ("area", 2, 0.03)):
        wanted = np.array([step[column] for step in TWO])
        np.testing.assert_allclose(found[name], wanted, atol=close)
        assert (found[f"{name}_error"] < 2 * close).all()
    assert float(found.hold) == pytest.approx(hold, abs=0.02)
    assert float(found.background) == pytest.approx(0.5 * 1.4, abs=0.06)
    total = found.area.sum() + found.background + found.hold
    assert float(total) == pytest.approx(3.7 + hold, rel=0.01)


def test_errors_of_the_areas_cover(make_record):
    within = []
    for seed in range(12):
        record, *_ = charge_of(make_record, TWO, noise=1e-3, seed=seed)
        found = fit_peaks(dqdv(record)).isel(half_cycle=0)
        wanted = np.array([step[2] for step in TWO])
        within.append(np.abs(found.area - wanted) < 1.96 * found.area_error)
    assert np.mean(within) >= 0.8


LOPSIDED = ((3.6, 0.02, 1.0), (4.0, 0.09, 3.0))


@pytest.mark.parametrize("steps", [TWO, LOPSIDED])
def test_the_error_of_a_turning_point_covers(make_record, steps):
    within, errors = [], []
    for seed in range(12):
        record, fine, slope = charge_of(make_record, steps, noise=5e-4, seed=seed)
        between = (fine > steps[0][0]) & (fine < steps[1][0])
        truth = fine[np.argmin(np.where(between, slope, np.inf))]
        curve = dqdv(record)
        found = turning_point(curve, window=(steps[0][0], steps[1][0]))
        error = float(found.voltage_error[0])
        within.append(abs(float(found.voltage[0]) - truth) < 1.96 * error)
        errors.append(error)
        tops = peaks(curve).position.values[0]
        np.testing.assert_allclose([found.first_peak[0], found.second_peak[0]], tops)
    assert np.mean(within) >= 0.8
    assert np.median(errors) < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_a_shoulder_is_found_by_the_change_of_slope(make_record, seed):
    steps = ((3.75, 0.03, 0.8), (3.87, 0.04, 3.0))
    record, fine, slope = charge_of(make_record, steps, noise=2e-4, seed=seed)
    inner = (fine > 3.72) & (fine < 3.85)
    assert (np.diff(slope[inner]) > 0).all()  # no valley
    steep = np.gradient(slope, fine)
    truth = fine[np.argmin(np.where(inner & (fine > 3.74), steep, np.inf))]
    found = turning_point(dqdv(record), window=(3.72, 3.86))
    assert found.shoulder[0] == 1
    assert abs(found.voltage[0] - truth) < max(2 * found.voltage_error[0], 0.005)
    plain, *_ = charge_of(make_record, ((3.87, 0.04, 3.0),), noise=2e-4, seed=seed)
    none = turning_point(dqdv(plain), window=(3.72, 3.86))
    assert np.isnan(none.voltage[0])
