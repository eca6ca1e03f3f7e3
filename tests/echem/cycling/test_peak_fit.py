"""Fitted peaks, valleys that are not symmetric, and shoulders, against made curves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from batteryxr.core.errors import DataQualityWarning
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


#: Twice the charge from the middle of a peak on, by distance over width at half height.
STEPS = {
    "gaussian": lambda x: np.array([math.erf(1.6651092 * one) for one in x]),
    "lorentzian": lambda x: 2 / np.pi * np.arctan(2 * x),
}


def shaped(make_record, shape, places, *, seed=0, digit=0.0):
    """A charge of peaks of another shape on a constant, and a hold that dies away."""
    fine = np.linspace(3.0, 4.4, 2001)
    q = 0.5 * (fine - 3.0)
    for place, area in places:
        q = q + 0.5 * area * STEPS[shape]((fine - place) / 0.09)
    t = np.arange(0, q[-1] - q[0], 6e-4)
    after = np.arange(6e-4, 1.2, 6e-4)
    v = np.interp(t, q - q[0], fine)
    v = np.append(v, np.full(after.size, v[-1]))
    v += np.random.default_rng(seed).normal(0, 3e-4, v.size)
    if digit:
        v = digit * np.round(v / digit)
    i = np.append(np.ones(t.size), np.exp(-after / 0.4))
    return make_record(np.append(t, t[-1] + after) * 3600, v, i)


@pytest.mark.parametrize("shape", STEPS)
def test_areas_hold_whatever_the_shape_of_the_peaks(make_record, shape):
    off = []
    for seed in range(4):
        digit = 1e-3 * (seed % 2)
        places = ((3.70, 1.0), (3.88, 2.0))
        record = shaped(make_record, shape, places, seed=seed, digit=digit)
        found = fit_peaks(dqdv(record)).isel(half_cycle=0)
        assert str(found["shape"].values) == shape
        assert found.flag == 0
        np.testing.assert_allclose(found.area, [1, 2], rtol=4e-3)
        assert float(found.hold) == pytest.approx(0.4 * (1 - math.exp(-3)), abs=2e-3)
        off += [*((found.area - [1, 2]) / found.area_error).values]
        off.append(float((found.hold - 0.38009) / found.hold_error))
    assert 0.3 < np.sqrt(np.mean(np.square(off))) < 1.5


def test_two_peaks_under_one_top_are_told(make_record):
    record = shaped(make_record, "gaussian", ((3.70, 1.0), (3.765, 1.0)))
    with pytest.warns(DataQualityWarning, match="some may be two"):
        found = fit_peaks(dqdv(record))
    assert found.sizes["peak"] == 1
    assert found.flag.values.tolist() == [2]


def test_a_falling_axis_gives_the_same_peaks(make_record):
    found = dqdv(shaped(make_record, "gaussian", ((3.6, 1.0), (3.9, 1.0))))
    falling = fit_peaks(found.isel(voltage=slice(None, None, -1)))
    np.testing.assert_allclose(falling.position, fit_peaks(found).position)


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
    with pytest.warns(DataQualityWarning, match="neither a valley nor a shoulder"):
        none = turning_point(dqdv(plain), window=(3.72, 3.86))
    assert np.isnan(none.voltage[0])


@pytest.mark.parametrize("window", [(3.65, 3.72), (3.60, 3.73)])
def test_a_shoulder_is_found_from_the_top_of_the_peak_on(make_record, window):
    within = []
    for seed in range(4):
        steps = ((3.65, 0.02, 2.0), (3.72, 0.015, 0.5))
        record, fine, slope = charge_of(make_record, steps, noise=1e-4, seed=seed)
        flank = (fine > 3.69) & (fine < 3.715)
        steep = np.gradient(slope, fine)
        assert (steep[flank] < 0).all()  # no valley
        truth = fine[np.argmax(np.where(flank, steep, -np.inf))]
        found = turning_point(dqdv(record), window=window)
        assert found.shoulder[0] == 1
        assert 0 < found.voltage_error[0] < 0.01
        within.append(abs(found.voltage[0] - truth) < 1.96 * found.voltage_error[0])
    assert np.mean(within) >= 0.75
