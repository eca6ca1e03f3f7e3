"""Titration analysis against known truth."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import hypothesis
import numpy as np
import pytest
import xarray as xr
from hypothesis import strategies as st
from scipy.linalg import solve_banded

import batteryxr
from batteryxr import simulate
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    DimensionError,
    UnitsError,
    VariableError,
)
from batteryxr.echem import (
    FiniteLength,
    Lithiation,
    WeppnerHuggins,
    equilibrium_hysteresis,
    gitt,
    pulse_fit,
    theoretical_capacity,
)
from batteryxr.simulate import Electrode, Titration

#: One short pulse, for what is refused.
SHORTEST = Titration(n_pulses=1, pulse=30.0, rest=100.0, rest_rows=10)
USUAL = Electrode(tau=2e4)
QUICK = {
    "protocol": Titration(n_pulses=6, pulse=300.0, rest=7200.0, rest_rows=120),
    "electrode": USUAL,
}
BITS = {"short": 1, "unsettled": 2, "no_rest": 4, "few": 8, "undetermined": 16}


def covered(found, error, truth):
    return float((np.abs(found - truth) < 1.96 * error).mean())


def crank_nicolson(tau, resistance, slope, *, pulses, pulse, rest, current):
    """A particle of two hundred shells under a train of pulses, step by step.

    Content is counted in mA s, so that the mean rises by the charge passed.
    """
    cells, dt = 200, 2.0
    edges = 1.0 - (1.0 - np.linspace(0.0, 1.0, cells + 1)) ** 2
    volume, centre = np.diff(edges**3), 0.5 * (edges[1:] + edges[:-1])
    link = 3 * edges[1:-1] ** 2 / np.diff(centre) / tau
    exchange = np.zeros((3, cells))
    exchange[1, :-1] += link
    exchange[1, 1:] += link
    exchange[0, 1:] = exchange[2, :-1] = -link
    left = 0.5 * exchange
    left[1] += volume / dt
    steps = int(pulse / dt), int(rest / dt)
    flux = np.tile(np.repeat([current, 0.0], steps), pulses)
    content, surface = np.zeros(cells), [0.0]
    for rate in flux:
        spread = exchange[1] * content
        spread[:-1] += exchange[0, 1:] * content[1:]
        spread[1:] += exchange[2, :-1] * content[:-1]
        source = volume / dt * content - 0.5 * spread
        source[-1] += rate
        content = solve_banded((1, 1), left, source)
        surface.append(content[-1] + rate * tau / 3 * (1 - centre[-1]))
    i = np.concatenate([[0.0], flux])
    v = 3.5 + slope * np.array(surface) / 3600 + i * resistance * 1e-3
    return as_record(np.arange(v.size) * dt, v, i)


def as_record(t, v, i, **coords):
    return xr.Dataset(
        {
            "voltage": ("record", v, {"units": "V"}),
            "current": ("record", i, {"units": "mA"}),
        },
        coords={"test_time": ("record", t, {"units": "s"}), **coords},
    )


@pytest.fixture(scope="module")
def simulated():
    return simulate.gitt(protocol=Titration(leakage=4e-7), seed=5)


def test_finds_the_constants_of_a_numerically_solved_particle():
    record = crank_nicolson(
        8e3, 120.0, 2.0, pulses=4, pulse=400.0, rest=2000.0, current=0.1
    )
    found = gitt(record, window=(10.0, 60.0))
    np.testing.assert_allclose(found["tau"], 8e3, rtol=0.01)
    np.testing.assert_allclose(found["resistance"], 120.0, rtol=0.01)
    passed = 0.1 * 400 / 3600 * np.arange(1, 5)
    np.testing.assert_allclose(
        found["equilibrium_voltage"], 3.5 + 2.0 * passed, atol=5e-5
    )
    np.testing.assert_allclose(found["equilibrium_slope"], 2.0, rtol=0.01)


@pytest.mark.parametrize("geometry, rest", [("sphere", 28_800.0), ("planar", 57_600.0)])
def test_truth_lies_within_the_errors(geometry, rest):
    record, truth = simulate.gitt(
        protocol=Titration(rest=rest),
        electrode=Electrode(geometry=geometry),
        seed=11,
    )
    found = gitt(record, geometry=geometry)
    assert float(found["tau"].mean()) == pytest.approx(4e4, rel=0.01)
    assert float(found["tau"].std()) < 0.02 * 4e4
    for name in ("tau", "resistance", "equilibrium_voltage"):
        assert 0.85 <= covered(found[name], found[f"{name}_error"], truth[name]) <= 1


def test_short_rests_remember_the_pulses_before():
    record, truth = simulate.gitt(protocol=Titration(rest=1800.0), seed=2)
    found = gitt(record)
    error = np.abs(found["equilibrium_voltage"] - truth["equilibrium_voltage"])
    last = np.abs(found["last_voltage"] - truth["equilibrium_voltage"])
    assert float(error.max()) < 5e-4
    assert float(last.max()) > 5e-3
    assert 0.85 <= covered(found["tau"], found["tau_error"], 4e4) <= 1
    assert (found["flag"] == BITS["unsettled"]).all()
    forgetful = gitt(record, method=FiniteLength(memory=0))
    assert float(np.abs(forgetful["tau"] - 4e4).max()) > 4e4


def test_errors_widen_where_the_curve_is_bent_more_than_the_model():
    record, truth = simulate.gitt(seed=4, noise=1e-6)
    found = gitt(record, method=FiniteLength(degree=1))
    assert float(found["chi2"].median()) > 10
    assert covered(found["tau"], found["tau_error"], truth["tau"]) > 0.85


def test_overpotential_is_split(simulated):
    record, _ = simulated
    found = gitt(record)
    np.testing.assert_allclose(found["overpotential_ir"], 0.020, atol=2e-4)
    xr.testing.assert_allclose(
        found["overpotential_ir"] + found["overpotential_diffusion"],
        found["overpotential"],
    )
    xr.testing.assert_allclose(
        found["equilibrium_voltage"] + found["overpotential"], found["end_voltage"]
    )
    # The first row comes a millisecond after the current: little diffusion yet.
    np.testing.assert_allclose(found["ir_drop_first"], 0.0201, atol=3e-4)
    np.testing.assert_allclose(found["ir_drop_first_delay"][1:], 1e-3, atol=1e-6)
    assert (abs(found["ir_drop_sqrt"]) < abs(found["overpotential"])).all()


def test_discharge_mirrors_charge():
    charge, _ = simulate.gitt(
        **QUICK | {"electrode": Electrode(tau=2e4, x0=0.9)}, noise=0.0
    )
    mirrored = charge.assign(
        voltage=7.0 - charge["voltage"], current=-charge["current"]
    )
    mirrored["voltage"].attrs = charge["voltage"].attrs
    mirrored["current"].attrs = charge["current"].attrs
    up, down = gitt(charge), gitt(mirrored)
    assert set(down["direction"].values) == {"discharge"}
    for name in ("tau", "resistance", "duration"):
        np.testing.assert_allclose(down[name], up[name], rtol=1e-4)
    for name in ("charge", "overpotential", "overpotential_ir", "ir_drop_sqrt"):
        np.testing.assert_allclose(down[name], -up[name], rtol=1e-4)
    np.testing.assert_allclose(
        down["equilibrium_voltage"], 7.0 - up["equilibrium_voltage"], rtol=1e-7
    )


@hypothesis.settings(deadline=None, max_examples=8)
@hypothesis.given(
    tau=st.floats(3e3, 1e5), resistance=st.floats(0.0, 2e3), seed=st.integers(0, 99)
)
def test_any_constants_are_found_within_errors(tau, resistance, seed):
    record, _ = simulate.gitt(
        **(QUICK | {"electrode": Electrode(tau=tau, resistance=resistance)}),
        noise=1e-5,
        seed=seed,
    )
    found = gitt(record)
    assert (np.abs(found["tau"] - tau) < 5 * found["tau_error"]).all()
    assert (
        np.abs(found["resistance"] - resistance) < 5 * found["resistance_error"]
    ).all()


def test_time_and_current_scales_do_not_matter():
    record, _ = simulate.gitt(**QUICK, seed=1)
    other = record.copy()
    other["current"] = (record["current"] * 1e3).assign_attrs(units="uA")
    other["voltage"] = (record["voltage"] * 1e3).assign_attrs(units="mV")
    hours = (record["test_time"] / 3600).assign_attrs(units="h")
    other = other.assign_coords(test_time=hours)
    # No row lies on the edge of what is fitted, where rounding would decide.
    a, b = (gitt(r, window=(0.7, 60.5)) for r in (record, other))
    for name in a.data_vars:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("chunks", [997, 5000, 100_000])
def test_lazy_equals_eager(chunks):
    record, _ = simulate.gitt(
        **QUICK | {"protocol": replace(QUICK["protocol"], leakage=1e-7)}, seed=1
    )
    eager = gitt(record)
    lazy = gitt(record.chunk(record=chunks))
    xr.testing.assert_identical(eager.drop_attrs(), lazy.drop_attrs())


def test_reads_once_where_the_threshold_is_given():
    import dask.array as da

    record, _ = simulate.gitt(**QUICK)
    read = []

    def seen(block, block_id):
        read.append(block_id)
        return block

    blocks = da.from_array(record["voltage"].values, chunks=500)
    counted = blocks.map_blocks(seen, dtype=float, meta=np.empty(0))
    lazy = record.assign(voltage=("record", counted, record["voltage"].attrs))
    gitt(lazy, i_zero=1e-3)
    assert len(read) == len(set(read)) == blocks.npartitions


def test_weppner_huggins_follows_its_formula():
    tau, slope = 1e6, -1.5
    record, _ = simulate.gitt(
        protocol=Titration(n_pulses=4, rest=2e6),
        electrode=Electrode(tau=tau, equilibrium=lambda x: 4 + slope * x),
        noise=0.0,
    )
    for steady in ("rest", "gradient"):
        found = gitt(record, method=WeppnerHuggins(steady))
        # Exact in the limit of short times: t/tau is 6e-5 at the end of the line.
        np.testing.assert_allclose(found["inverse_tau"], 1 / tau, rtol=0.03)
    np.testing.assert_allclose(found["resistance"], 400.0, rtol=0.02)
    sphere = gitt(record, method=WeppnerHuggins())
    planar = gitt(record, method=WeppnerHuggins(), geometry="planar")
    np.testing.assert_allclose(planar["inverse_tau"], 9 * sphere["inverse_tau"])
    xr.testing.assert_equal(found["equilibrium_voltage"], found["last_voltage"])


def test_weppner_huggins_is_biased_where_pulses_are_long(simulated):
    record, truth = simulated
    found = gitt(record, method=WeppnerHuggins())
    ratio = found["inverse_tau"] * truth["tau"]
    assert float(ratio.mean()) == pytest.approx(0.916, abs=0.02)


def test_coordinates_and_units():
    mass = 5 / 9 / theoretical_capacity("LiCoO2") * 1e3
    record, truth = simulate.gitt(**QUICK)
    time = np.datetime64("2024-05-01T08:00:00", "ns") + (
        record["test_time"].values * 1e9
    ).astype("m8[ns]")
    record = record.assign_coords(time=("record", time))
    found = record.echem.gitt(
        radius=100.0, mass=mass, formula=Lithiation("LiCoO2", x0=0.95)
    )
    np.testing.assert_allclose(found["li_content"], truth["li_content"], atol=1e-4)
    np.testing.assert_allclose(
        found["diffusion_coefficient"], (100e-9) ** 2 / found["tau"]
    )
    np.testing.assert_allclose(
        found["specific_capacity"], found["capacity"] / (mass * 1e-3)
    )
    assert found["time"].values[1] - found["time"].values[0] == np.timedelta64(
        7500, "s"
    )
    for name, variable in found.variables.items():
        assert variable.attrs.get("long_name"), name
        if name != "time":
            assert variable.attrs.get("units"), name
    call = json.loads(found.attrs["batteryxr_call"])
    assert call["method"] == "gitt"
    xr.testing.assert_equal(batteryxr.replay(found, record), found)


def test_round_trip_through_zarr(tmp_path):
    record, _ = simulate.gitt(**QUICK)
    found = gitt(record)
    batteryxr.save(found, tmp_path / "cell.zarr", group="gitt")
    back = batteryxr.open_store(tmp_path / "cell.zarr", group="gitt").compute()
    xr.testing.assert_equal(back, found)
    assert list(back["flag"].attrs["flag_masks"]) == [1 << k for k in range(9)]


def test_flags_say_what_is_wrong():
    record, _ = simulate.gitt(
        **QUICK | {"protocol": replace(QUICK["protocol"], open_circuit=0.0)}, seed=1
    )
    t, i = record["test_time"].values, record["current"].values
    period = 7500.0
    number = np.floor(np.maximum(t - 1e-6, 0) / period).astype(int)
    since = t - number * period
    cut = (number == 1) & (since > 100) & (i > 0)  # a pulse ends early
    silent = (number == 2) & (since > 300)  # no rest: nothing was logged
    few = (number == 3) & (since > 0.6) & (since < 299) & (i > 0)
    kept = record.isel(record=~(cut | silent | few))
    turned = kept["current"].where(
        ~((number == 3)[~(cut | silent | few)]), lambda x: -x
    )
    kept = kept.assign(current=turned.assign_attrs(record["current"].attrs))
    with pytest.warns(DataQualityWarning, match="have no time constant"):
        flag = gitt(kept, settled=0.05)["flag"].values
    assert flag[0] == 0
    assert flag[1] & BITS["short"]
    assert flag[2] & BITS["no_rest"]
    assert flag[3] & BITS["few"]


@pytest.mark.parametrize("seed", range(5))
def test_missing_time_constant_is_nan_not_a_number(seed):
    t = np.concatenate([np.arange(10), 10 + np.arange(200), 210 + np.arange(300)])
    i = np.repeat([0.0, 1.0, 0.0], [10, 200, 300])
    noise = np.random.default_rng(seed).normal(0, 1e-4, t.size)
    v = 3.7 + 0.1 * i + noise  # a resistor: nothing diffuses
    with pytest.warns(DataQualityWarning, match="1 of 1 pulses"):
        found = gitt(as_record(t.astype(float), v, i))
    assert np.isnan(found["tau"]).all()
    assert np.isnan(found["equilibrium_voltage"]).all()
    assert found["flag"].values[0] & BITS["undetermined"]
    assert float(found["last_voltage"][0]) == pytest.approx(3.7, abs=1e-3)


def test_missing_voltages_are_left_out():
    record, truth = simulate.gitt(**QUICK, seed=1)
    holes = np.random.default_rng(0).random(record.sizes["record"]) < 0.05
    voltage = record["voltage"].where(~xr.DataArray(holes, dims="record"))
    found = gitt(record.assign(voltage=voltage.assign_attrs(units="V")), settled=1.0)
    good = np.isfinite(found["tau"])
    assert good.all()
    np.testing.assert_allclose(found["tau"], truth["tau"], rtol=0.1)


@pytest.mark.parametrize(
    "current, words",
    [
        (np.zeros(50), "largest current is 0 mA"),
        (np.full(50, 2.0), "No rest follows any of 1 pulses"),
    ],
)
def test_no_titration_says_what_currents_were_seen(current, words):
    t = np.arange(50.0)
    with pytest.raises(DataError, match=words):
        gitt(as_record(t, 3 + 0 * t, current))
    with pytest.raises(ArgumentError, match=f"i_zero=1.0: .*{words}"):
        gitt(as_record(t, 3 + 0 * t, current), i_zero=1.0)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"method": "gitt"}, "expected FiniteLength or WeppnerHuggins"),
        ({"geometry": "rod"}, "'sphere' or 'planar'"),
        ({"radius": 0.0}, "radius=0.0"),
        ({"window": (-1.0, 60.0)}, "window=.-1.0, 60.0.: .*>= 0"),
        ({"window": (5.0, 2.0)}, "an end after its start"),
        ({"formula": "LiCoO2"}, "mass=None"),
        ({"i_zero": 5.0}, "No pulse in"),
        ({"i_zero": 0.0}, "i_zero=0.0: expected a number > 0"),
    ],
)
def test_errors_name_the_argument(arguments, words):
    record, _ = simulate.gitt(protocol=SHORTEST)
    with pytest.raises(ArgumentError, match=words):
        gitt(record, **arguments)


@pytest.mark.parametrize(
    "method, options, words",
    [
        (WeppnerHuggins, {"steady": "no"}, "steady='no': .*'rest' or 'gradient'"),
        (FiniteLength, {"degree": 0}, "degree=0: .*from 1 to 6"),
        (FiniteLength, {"degree": 7}, "degree=7: .*from 1 to 6"),
        (FiniteLength, {"degree": 2.5}, "degree=2.5: .*whole number"),
        (FiniteLength, {"memory": -1}, "memory=-1: .*>= 0"),
    ],
)
def test_methods_refuse_what_they_cannot_do(method, options, words):
    with pytest.raises(ArgumentError, match=words):
        method(**options)


def test_errors_of_the_record():
    record, _ = simulate.gitt(protocol=SHORTEST)
    with pytest.raises(VariableError, match="'voltage'"):
        gitt(record.drop_vars("voltage"))
    with pytest.raises(DimensionError, match="'record'"):
        gitt(record.rename(record="row"))
    with pytest.raises(UnitsError, match="no units"):
        gitt(record.assign(current=record["current"].drop_attrs()))
    back = record["test_time"].values.copy()
    back[20] -= 50
    jumped = record.assign_coords(test_time=("record", back, {"units": "s"}))
    with pytest.raises(DataError, match="goes back by"):
        gitt(jumped)


def titrations(gap, **options):
    up = Titration(**{"n_pulses": 20, "current": 0.1, "rest_rows": 100} | options)
    charge, _ = simulate.gitt(protocol=up)
    discharge, _ = simulate.gitt(
        protocol=replace(up, current=-up.current),
        electrode=Electrode(
            x0=0.35, equilibrium=lambda x: simulate.titration.sloping(x) - gap
        ),
    )
    mass = 5 / 9 / theoretical_capacity("LiCoO2") * 1e3
    found = [
        gitt(r, formula=Lithiation("LiCoO2", x0=x0), mass=mass)
        for r, x0 in ((charge, 0.95), (discharge, 0.35))
    ]
    return found


def test_hysteresis_is_the_area_between_the_curves():
    charge, discharge = titrations(0.1)
    found = charge.echem.equilibrium_hysteresis(discharge)
    assert float(found["hysteresis"]) == pytest.approx(0.1 * 0.6, rel=0.01)
    assert found["hysteresis"].attrs["units"] == "V"
    off = abs(float(found["hysteresis"]) - 0.06)
    assert off < 3 * float(found["hysteresis_error"])
    assert float(found["mean_gap"]) == pytest.approx(0.1, rel=0.01)
    np.testing.assert_allclose(found["gap"], 0.1, atol=2e-3)
    capacity = equilibrium_hysteresis(
        charge,
        discharge.assign_coords(capacity=discharge["capacity"] + 1 / 3),
        axis="capacity",
    )
    assert capacity["hysteresis"].attrs["units"] == "V mA h"
    assert float(capacity["mean_gap"]) == pytest.approx(0.1, rel=0.01)


def test_hysteresis_refuses_what_does_not_fit():
    charge, discharge = titrations(0.1, n_pulses=3)
    with pytest.raises(DataError, match="overlap"):
        equilibrium_hysteresis(charge, discharge)
    with pytest.raises(DataError, match="titration on discharge"):
        equilibrium_hysteresis(charge, charge)
    with pytest.raises(ArgumentError, match="axis='cycle'"):
        equilibrium_hysteresis(charge, discharge, axis="cycle")
    with pytest.raises(DimensionError, match="result of gitt"):
        equilibrium_hysteresis(charge, xr.Dataset())


def test_pulse_fit_shows_what_was_fitted():
    record, _ = simulate.gitt(**QUICK, seed=3)
    found = gitt(record)
    fit = record.echem.pulse_fit(result=found, pulse=3)
    assert fit["voltage_residual"].std() == pytest.approx(3e-5, rel=0.3)
    start = float(fit["test_time"][0] - fit["step_time"][0])
    assert start == pytest.approx(float(found["start"][2]))
    with pytest.raises(ArgumentError, match="from 1 to 6"):
        pulse_fit(record, result=found, pulse=7)
    other = gitt(record, method=WeppnerHuggins())
    with pytest.raises(DataError, match="Only that method"):
        pulse_fit(record, result=other, pulse=1)


def test_plots_render():
    import holoviews as hv

    charge, discharge = titrations(0.1)
    record, _ = simulate.gitt(**QUICK)
    result = gitt(record)
    plots = [
        charge.echem.plot.gitt(),
        charge.echem.plot.time_constants(axis="capacity"),
        pulse_fit(record, result=result, pulse=2).echem.plot.pulse(),
        charge.echem.equilibrium_hysteresis(discharge).echem.plot.hysteresis(),
    ]
    for plot in plots:
        assert hv.render(plot, backend="bokeh") is not None
    with pytest.raises(ArgumentError, match="axis='voltage'"):
        charge.echem.plot.gitt(axis="voltage")


def test_a_radius_in_micrometres_is_told():
    chosen = simulate.Titration(n_pulses=2, interval=10.0, rest_rows=40)
    record, _ = simulate.gitt(protocol=chosen, noise=0.0)
    method = WeppnerHuggins()
    with pytest.warns(DataQualityWarning, match=r"radius=5 nm.* um\? Pass 5000"):
        gitt(record, method=method, radius=5.0)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*radius")
        gitt(record, method=method, radius=5000.0)
