"""Titrations with published or exactly known answers."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from batteryxr.echem import equilibrium_hysteresis, gitt, theoretical_capacity

FILES = {
    "charge": "gitt_charge_tau4e4_R400.csv.xz",
    "discharge": "gitt_discharge_tau4e4_R400_hyst120mV.csv.xz",
}
X0 = {"charge": 0.95, "discharge": 0.35}
MASS = 0.05 * 600 / 3600 / 0.015 / theoretical_capacity("LiCoO2") * 1e3


def as_record(t, v, i):
    return xr.Dataset(
        {
            "voltage": ("record", v, {"units": "V"}),
            "current": ("record", i, {"units": "A"}),
        },
        coords={"test_time": ("record", t, {"units": "s"})},
    )


@pytest.fixture(scope="module")
def truth(shared_data):
    return json.loads((shared_data("gitt-synthetic") / "truth.json").read_text())


@pytest.fixture(scope="module", params=list(FILES))
def exact(request, shared_data):
    table = pd.read_csv(shared_data("gitt-synthetic") / FILES[request.param])
    record = as_record(*(table[c].to_numpy() for c in ("Seconds", "Volts", "Amps")))
    return request.param, record


def equilibrium(side):
    step = 0.015 if side == "discharge" else -0.015
    x = X0[side] + step * np.arange(1, 41)
    gap = 0.12 if side == "discharge" else 0.0
    return 4.45 - 1.35 * x - 0.22 * np.tanh((x - 0.45) / 0.1) - gap


def analysed(side, record):
    return gitt(record, formula="LiCoO2", mass=MASS, x0=X0[side])


def test_exact_solution(exact, truth):
    side, record = exact
    found = analysed(side, record)
    assert found.sizes["pulse"] == truth["n_pulses"]
    assert (found["flag"] == 0).all()
    ratio = found["tau"] / truth["tau_s"]
    assert float(ratio.mean()) == pytest.approx(1, abs=0.001)
    assert float(ratio.std()) < 0.002
    assert float(found["resistance"].mean()) == pytest.approx(400, abs=2)
    assert float(found["chi2"].median()) == pytest.approx(1, abs=0.1)
    sign = 1 if side == "charge" else -1
    np.testing.assert_allclose(found["overpotential_ir"] * sign, 0.020, atol=2e-4)
    known = {
        "tau": truth["tau_s"],
        "resistance": truth["R0_ohm"],
        "equilibrium_voltage": equilibrium(side),
    }
    for name, value in known.items():
        inside = np.abs(found[name] - value) < 1.96 * found[f"{name}_error"]
        assert 0.85 <= float(inside.mean()) <= 1, name


def test_truncated_rests_are_extrapolated(exact):
    side, record = exact
    on = record["current"].values != 0
    t = record["test_time"].values
    since = t - np.maximum.accumulate(np.where(on, t, -np.inf))
    found = analysed(side, record.isel(record=(since <= 1800) | (t < 60)))
    known = equilibrium(side)
    assert float(np.abs(found["last_voltage"] - known).max()) > 0.010
    assert float(np.abs(found["equilibrium_voltage"] - known).max()) < 2e-4


def test_hysteresis_of_the_two_directions(shared_data, truth):
    folder = shared_data("gitt-synthetic")
    found = {}
    for side, name in FILES.items():
        table = pd.read_csv(folder / name)
        columns = (table[c].to_numpy() for c in ("Seconds", "Volts", "Amps"))
        found[side] = analysed(side, as_record(*columns))
    area = equilibrium_hysteresis(found["charge"], found["discharge"])
    wanted = truth["hysteresis_area_V_per_x"]
    assert float(area["hysteresis"]) == pytest.approx(wanted, rel=0.002)
    error = float(area["hysteresis_error"])
    assert abs(float(area["hysteresis"]) - wanted) < 3 * error


@pytest.fixture(scope="module")
def measured(shared_data):
    folder = shared_data("gitt-lgm50")
    columns = ["Time [s]", "Positive electrode potential [V]", "Current [A]"]
    files = [pd.read_csv(folder / f"pulse_{k}.csv")[columns] for k in range(1, 41)]
    reference = pd.read_csv(next(folder.glob("REFERENCE*.csv")))
    return [as_record(*f.to_numpy().T) for f in files], reference


def test_weppner_huggins_of_a_measured_cathode(measured):
    files, reference = measured
    found = xr.concat(
        [
            gitt(f, method="weppner-huggins", tmin=10, tmax=None, radius=5220.0)
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


def test_a_measured_titration_of_many_files(measured):
    files, reference = measured
    record = xr.concat(files, "record")
    number = np.repeat(
        np.arange(40, dtype=np.int16), [f.sizes["record"] for f in files]
    )
    record = record.assign_coords(file=("record", number))
    options = {"method": "weppner-huggins", "tmin": 10, "tmax": None, "radius": 5220.0}
    found = gitt(record, **options)
    published = reference["D_WH_slope_R5.22um"].to_numpy()
    np.testing.assert_allclose(found["diffusion_coefficient"], published, rtol=1e-4)
    # As one file, a rest ends in the current range of the next pulse, 0.1 mV away.
    joined = gitt(record.drop_vars("file"), **options)
    ratio = joined["diffusion_coefficient"].median() / np.median(published)
    assert float(ratio) == pytest.approx(1, abs=0.05)


def test_a_measured_titration_as_one_record(measured):
    files, reference = measured
    record = xr.concat(files, "record")
    found = gitt(record)
    assert found.sizes["pulse"] == 40
    assert float(found["capacity"][-1]) == pytest.approx(-11.46685, abs=1e-5)
    short = found["flag"].values & 1
    assert np.flatnonzero(short).tolist() == [39]
    assert float(found["duration"][-1]) == pytest.approx(795.6, abs=0.1)
    first = found["ir_drop_first"] / found["current"] * 1e3
    np.testing.assert_allclose(first, reference["R_first_ohm"], rtol=1e-3)
    line = gitt(record, method="weppner-huggins", tmin=1, tmax=120)
    np.testing.assert_allclose(
        line["resistance"], reference["R_sqrt_extrap_ohm"], rtol=1e-3
    )
    assert np.isfinite(found["tau"]).all()
    # The two theories must agree in order of magnitude on the same particle.
    d = (5.22e-6) ** 2 / found["tau"]
    assert 0.5e-15 < float(d.median()) < 2e-15
