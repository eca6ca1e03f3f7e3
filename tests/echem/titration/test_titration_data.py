"""Titrations with published or exactly known answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq

from batteryxr.echem import (
    Lithiation,
    WeppnerHuggins,
    equilibrium_hysteresis,
    gitt,
    theoretical_capacity,
)

#: A sphere filled in 40 pulses of 600 s, each followed by 8 h of rest.
PULSES, ON, REST = 40, 600.0, 8 * 3600.0
#: R^2 / D (s), series resistance (ohm), current (A), noise (V), gap (V).
TAU, RESISTANCE, CURRENT, NOISE, GAP = 4e4, 400.0, 50e-6, 3e-5, 0.12
STEP = 0.015  # of Li content, per pulse
X0 = {"charge": 0.95, "discharge": 0.35}
CHARGE = 1e3 * CURRENT * ON / 3600  # of a pulse, mA h
MASS = 1e3 * CHARGE / STEP / theoretical_capacity("LiCoO2")  # mg


def open_circuit(x):
    return 4.45 - 1.35 * x - 0.22 * np.tanh((x - 0.45) / 0.1)


def surface_excess():
    """Return surface less mean content of a sphere under unit flux, over t / tau.

    The series of Crank, The Mathematics of Diffusion, over the roots of tan(a) = a;
    before t / tau = 1e-4, where it is slow, its limit for short times.
    """
    guess = (np.arange(1, 400) + 0.5) * np.pi
    roots = np.array(
        [brentq(lambda a: np.sin(a) - a * np.cos(a), g - 0.3, g) for g in guess]
    )
    s = np.linspace(0.01, 2, 4000)  # root of t / tau: the curve is smooth in it
    series = 0.2 - 2 * np.exp(-np.outer(s**2, roots**2)) @ (1 / roots**2)
    table = CubicSpline(s, series)

    def excess(t):
        s = np.sqrt(np.clip(t, 0, None))
        return np.where(
            s < 0.01, 2 * s / np.sqrt(np.pi) - 2 * s**2, table(np.minimum(s, 2))
        )

    return excess


def rows():
    """Return times and the share of the current that flows."""
    pulse = np.r_[0, 0.1, 0.2, 0.5, 1 : ON + 1] + 1e-3
    rest = np.unique(np.r_[0.1, 0.2, 0.5, 1:60, np.geomspace(60, REST, 220)])
    starts = 60 + (ON + REST) * np.arange(PULSES)
    parts = [(np.arange(0.0, 60, 10), 0.0)]
    for start in starts:
        parts += [(start + pulse, 1.0), (start + ON + rest, 0.0)]
    flows = np.concatenate([np.full(t.size, on) for t, on in parts])
    return np.concatenate([t for t, _ in parts]), flows, starts


def titration(side):
    """Return a record of exact diffusion, whose discharge lies `GAP` lower."""
    t, flows, starts = rows()
    excess, rate = surface_excess(), STEP / ON
    mean, surface = np.zeros(t.size), np.zeros(t.size)
    for start in starts:
        mean += rate * np.clip(t - start, 0, ON)
        for moment, sign in ((start, 1), (start + ON, -1)):
            after = np.where(t >= moment, t - moment, 0) / TAU
            surface += sign * rate * TAU / 3 * excess(after)
    sign = 1 if side == "charge" else -1
    x = X0[side] - sign * (mean + surface)
    current = sign * CURRENT * flows
    noise = np.random.default_rng(6 + sign).normal(0, NOISE, t.size)
    gap = GAP if side == "discharge" else 0.0
    return as_record(t, open_circuit(x) + current * RESISTANCE - gap + noise, current)


def as_record(t, v, i):
    return xr.Dataset(
        {
            "voltage": ("record", v, {"units": "V"}),
            "current": ("record", i, {"units": "A"}),
        },
        coords={"test_time": ("record", t, {"units": "s"})},
    )


@pytest.fixture(scope="module", params=list(X0))
def exact(request):
    return request.param, titration(request.param)


def equilibrium(side):
    sign = 1 if side == "discharge" else -1
    x = X0[side] + sign * STEP * np.arange(1, PULSES + 1)
    return open_circuit(x) - (GAP if side == "discharge" else 0.0)


def analysed(side, record):
    return gitt(record, formula=Lithiation("LiCoO2", x0=X0[side]), mass=MASS)


def test_exact_solution(exact):
    side, record = exact
    found = analysed(side, record)
    assert found.sizes["pulse"] == PULSES
    assert (found["flag"] == 0).all()
    ratio = found["tau"] / TAU
    assert float(ratio.mean()) == pytest.approx(1, abs=0.001)
    assert float(ratio.std()) < 0.002
    assert float(found["resistance"].mean()) == pytest.approx(400, abs=2)
    assert float(found["chi2"].median()) == pytest.approx(1, abs=0.1)
    sign = 1 if side == "charge" else -1
    np.testing.assert_allclose(found["overpotential_ir"] * sign, 0.020, atol=2e-4)
    known = {
        "tau": TAU,
        "resistance": RESISTANCE,
        "equilibrium_voltage": equilibrium(side),
    }
    for name, value in known.items():
        inside = np.abs(found[name] - value) < 1.96 * found[f"{name}_error"]
        assert 0.85 <= float(inside.mean()) <= 1, name


#: Six pulses of each direction where the voltage changes most after a pulse.
STEEP = {"charge": slice(28, 34), "discharge": slice(0, 6)}


def test_truncated_rests_are_extrapolated(exact):
    side, record = exact
    begin, end = (60 + (ON + REST) * k for k in (STEEP[side].start, STEEP[side].stop))
    times = record["test_time"]
    record = record.isel(record=((times >= begin - 60) & (times < end)).values)
    on = record["current"].values != 0
    t = record["test_time"].values
    since = t - np.maximum.accumulate(np.where(on, t, -np.inf))
    found = analysed(side, record.isel(record=(since <= 1800) | (t < begin)))
    known = equilibrium(side)[STEEP[side]]
    assert found.sizes["pulse"] == known.size
    assert float(np.abs(found["last_voltage"] - known).max()) > 0.010
    assert float(np.abs(found["equilibrium_voltage"] - known).max()) < 2e-4


def test_hysteresis_of_the_two_directions():
    found = {side: analysed(side, titration(side)) for side in X0}
    area = equilibrium_hysteresis(found["charge"], found["discharge"])
    wanted = GAP * STEP * PULSES
    assert float(area["hysteresis"]) == pytest.approx(wanted, rel=0.002)
    error = float(area["hysteresis_error"])
    assert abs(float(area["hysteresis"]) - wanted) < 3 * error


@pytest.fixture(scope="module")
def pulses(measured, answers):
    folder = measured("gitt-lgm50")
    columns = ["Time [s]", "Positive electrode potential [V]", "Current [A]"]
    files = [pd.read_csv(folder / f"pulse_{k}.csv")[columns] for k in range(1, 41)]
    reference = pd.read_csv(answers / "gitt_lgm50_weppner_huggins.csv")
    return [as_record(*f.to_numpy().T) for f in files], reference


def test_weppner_huggins_of_a_measured_cathode(pulses):
    files, reference = pulses
    found = xr.concat(
        [
            gitt(f, method=WeppnerHuggins(), window=(10, None), radius=5220.0)
            for f in files
        ],
        "pulse",
    )
    published = reference["D_WH_slope_R5.22um"].to_numpy()
    np.testing.assert_allclose(found["diffusion_coefficient"], published, rtol=1e-4)
    assert float(found["diffusion_coefficient"].median()) == pytest.approx(
        1.079e-15, rel=0.002
    )
    np.testing.assert_allclose(-found["charge"], reference["Q_pulse_mAh"], rtol=1e-6)


def test_a_measured_titration_of_many_files(pulses):
    files, reference = pulses
    record = xr.concat(files, "record")
    number = np.repeat(
        np.arange(40, dtype=np.int16), [f.sizes["record"] for f in files]
    )
    record = record.assign_coords(file=("record", number))
    options = {"method": WeppnerHuggins(), "window": (10, None), "radius": 5220.0}
    found = gitt(record, **options)
    published = reference["D_WH_slope_R5.22um"].to_numpy()
    np.testing.assert_allclose(found["diffusion_coefficient"], published, rtol=1e-4)
    # As one file, a rest ends in the current range of the next pulse, 0.1 mV away.
    joined = gitt(record.drop_vars("file"), **options)
    ratio = joined["diffusion_coefficient"].median() / np.median(published)
    assert float(ratio) == pytest.approx(1, abs=0.05)


def test_a_measured_titration_as_one_record(pulses):
    files, reference = pulses
    record = xr.concat(files, "record")
    found = gitt(record)
    assert found.sizes["pulse"] == 40
    assert float(found["capacity"][-1]) == pytest.approx(-11.46685, abs=1e-5)
    short = found["flag"].values & 1
    assert np.flatnonzero(short).tolist() == [39]
    assert float(found["duration"][-1]) == pytest.approx(795.6, abs=0.1)
    first = found["ir_drop_first"] / found["current"] * 1e3
    np.testing.assert_allclose(first, reference["R_first_ohm"], rtol=1e-3)
    line = gitt(record, method=WeppnerHuggins(), window=(1, 120))
    np.testing.assert_allclose(
        line["resistance"], reference["R_sqrt_extrap_ohm"], rtol=1e-3
    )
    # Where drift and a slow resistance leave the time constant open, that is said.
    told = np.isfinite(found["tau"].values) == (found["flag"].values & 16 == 0)
    assert told.all()
    assert np.isfinite(found["tau"]).sum() >= 30
    # The two theories must agree in order of magnitude on the same particle.
    d = (5.22e-6) ** 2 / found["tau"]
    assert 1.079e-15 / 10**0.5 < float(d.median()) < 1.079e-15 * 10**0.5
