"""Losses of synthetic cells whose electrodes are known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.interpolate import PchipInterpolator

from batteryxr.core.errors import ArgumentError, DataError, DataQualityWarning
from batteryxr.echem import degradation_modes


def cathode(y):
    return 4.35 - 0.75 * y - 0.12 * np.tanh((y - 0.55) / 0.08) - 0.02 / (1.03 - y)


def anode(x):
    steps = sum(h / (1 + np.exp((x - c) / w)) for c, h, w in STEPS)
    return 0.085 + steps + 0.9 * np.exp(-x / 0.015)


STEPS = ((0.12, 0.10, 0.015), (0.25, 0.03, 0.012), (0.52, 0.045, 0.008))
GRID = np.linspace(0, 1, 1501)


def standards():
    def curve(law):
        about = {"units": "V"}
        return xr.DataArray(law(GRID), {"li_content": GRID}, "li_content", attrs=about)

    return {"cathode": curve(cathode), "anode": curve(anode)}


def charge(size_p, size_n, lithium, capacity, noise=0.0, seed=0):
    """Return the voltage of a cell from 3.0 to 4.2 V, NaN beyond; and its contents.

    `lithium` is shared by both; the anode's share at 3.0 V is solved for.
    """
    x = np.linspace(1e-4, 0.2, 40001)
    y = (lithium - size_n * x) / size_p
    volts = np.where(y <= 1.0, cathode(np.minimum(y, 1.0)) - anode(x), -9)
    begin = int(np.argmax(volts >= 3.0))
    at_y, at_x = y[begin] - capacity / size_p, x[begin] + capacity / size_n
    v = cathode(at_y) - anode(at_x)
    v = np.where((at_y >= 0) & (at_x <= 1) & (v <= 4.2), v, np.nan)
    v += noise * np.random.default_rng(seed).standard_normal(v.size)
    return v, (y[begin], x[begin])


CELLS = {  # cathode, anode, lithium in mA h
    "fresh": (10.0, 11.0, 9.6),
    "lithium lost": (10.0, 11.0, 8.8),
    "cathode lost": (9.2, 11.0, 9.0),
    "anode lost": (10.0, 10.2, 9.4),
    "all": (9.5, 10.5, 8.7),
}


def cells(noise, seed=0):
    capacity = np.linspace(0, 10, 1200)
    rows = [
        charge(*cell, capacity, noise, seed + k)
        for k, cell in enumerate(CELLS.values())
    ]
    return xr.DataArray(
        [v for v, _ in rows],
        {
            "cycle": [1, 100, 200, 300, 400],
            "capacity": ("capacity", capacity, {"units": "mA h"}),
        },
        ("cycle", "capacity"),
        name="voltage",
        attrs={"units": "V"},
    ), rows


@pytest.mark.parametrize("noise", [0.0, 5e-4])
def test_losses_within_half_a_per_cent(noise):
    data, rows = cells(noise)
    found = degradation_modes(data, standards=standards())
    truth = np.array(list(CELLS.values()))
    lost = 1 - truth / truth[0]
    for k, name in enumerate(("lam_cathode", "lam_anode", "lli")):
        np.testing.assert_allclose(found[name], lost[:, k], atol=0.005, err_msg=name)
    np.testing.assert_allclose(found["cathode_capacity"], truth[:, 0], rtol=0.005)
    np.testing.assert_allclose(found["anode_capacity"], truth[:, 1], rtol=0.005)
    begins = np.array([begin for _, begin in rows])
    np.testing.assert_allclose(found["cathode_content"], begins[:, 0], atol=0.005)
    np.testing.assert_allclose(found["anode_content"], begins[:, 1], atol=0.005)
    assert (found["residual"] < 1.1 * noise + 2e-4).all()


def test_errors_cover():
    inside, truth = [], np.array(list(CELLS.values()))
    for seed in range(8):
        data, _ = cells(2e-3, seed=10 * seed)
        found = degradation_modes(data[:2, ::4], standards=standards())
        for k, name in enumerate(("cathode_capacity", "anode_capacity", "lithium")):
            off = np.abs(found[name].values - truth[:2, k])
            inside += (off < 1.96 * found[f"{name}_error"].values).tolist()
    assert np.mean(inside) > 0.85


def test_an_overvoltage_of_an_aged_cell_is_told_and_fitted():
    data, _ = cells(5e-4)
    data = data[:2, ::3].copy(deep=True)
    data[1] += 0.02  # 2.0 % of lithium that was not lost
    with pytest.warns(DataQualityWarning, match="1 of 2 curves lie off"):
        found = degradation_modes(data, standards=standards())
    assert found["fit_flag"].values.tolist() == [0, 16]
    found = degradation_modes(data, standards=standards(), kind="polarised")
    assert not found["fit_flag"].any()
    np.testing.assert_allclose(found["overvoltage"], [0, 0.02], atol=1e-3)
    assert (found["overvoltage_error"] < 1e-3).all()
    truth = np.array(list(CELLS.values()))[:2]
    for k, name in enumerate(("lam_cathode", "lam_anode", "lli")):
        lost = 1 - truth[1, k] / truth[0, k]
        np.testing.assert_allclose(found[name][1], lost, atol=0.005, err_msg=name)


def test_electrodes_of_another_cell_are_told():
    data, _ = cells(0.0)
    other = standards()
    other["cathode"] = 3.42 - 0.1 * other["cathode"]["li_content"]  # a phosphate
    other["cathode"].attrs["units"] = "V"
    with pytest.warns(DataQualityWarning, match="more than 20 mV"):
        degradation_modes(data[:1], standards=other)


def test_refusals():
    data, _ = cells(0.0)
    with pytest.raises(ArgumentError, match="standards"):
        degradation_modes(data, standards={"cathode": standards()["cathode"]})
    lost = standards()
    grid = np.where(GRID[7] == GRID, np.nan, GRID)
    lost["anode"] = lost["anode"].assign_coords(li_content=grid)
    with pytest.raises(ArgumentError, match="anode"):
        degradation_modes(data, standards=lost)
    with pytest.raises(DataError, match="points"):
        degradation_modes(data[:, :10], standards=standards())
    with pytest.raises(DataError, match="rise"):
        degradation_modes(data[:, ::-1], standards=standards())


def test_curves_that_are_exchanged_turned_round_or_of_a_discharge_are_named():
    data, sound = cells(5e-4)[0][:2, ::4], standards()
    swapped = {"cathode": sound["anode"], "anode": sound["cathode"]}
    with pytest.raises(ArgumentError, match="below the anode"):
        degradation_modes(data, standards=swapped)
    for name in ("cathode", "anode"):
        content = 1 - sound[name]["li_content"].values
        turned = sound[name].assign_coords(li_content=content)
        with pytest.raises(ArgumentError, match=f"{name}, which rises"):
            degradation_modes(data, standards=sound | {name: turned})
    falling = data.copy(data=data.values[:, ::-1])
    with pytest.raises(DataError, match="discharge"):
        degradation_modes(falling, standards=sound)
    percent = sound["anode"].assign_coords(li_content=GRID * 100)
    with pytest.raises(ArgumentError, match="from 0 to 1"):
        degradation_modes(data, standards=sound | {"anode": percent})


def test_too_little_of_a_charge_and_half_a_half_cell_are_told():
    data, sound = cells(5e-4)[0][:2, ::4], standards()
    assert (degradation_modes(data, standards=sound)["fit_flag"] == 0).all()
    few = data.where((data["capacity"] > 3) & (data["capacity"] < 5))
    with pytest.warns(DataQualityWarning, match="do not determine"):
        found = degradation_modes(few, standards=sound)
    assert (found["fit_flag"].values & 4 > 0).all()
    half = sound | {"cathode": sound["cathode"][750:]}
    with pytest.warns(DataQualityWarning, match="degradation_modes"):
        found = degradation_modes(data, standards=half)
    assert (found["fit_flag"].values & 2 > 0).all()


def test_curves_of_windows_that_do_not_overlap_are_told():
    data, sound = cells(5e-4)[0][:2, ::4], standards()
    parts = data.copy(deep=True)
    parts[0] = data[0].where(data["capacity"] < 4.0)
    parts[1] = data[1].where(data["capacity"] > 4.5)
    with pytest.warns(DataQualityWarning, match="of their voltages"):
        found = degradation_modes(parts, standards=sound)
    assert found["fit_flag"].values.tolist()[0] & 8 == 0
    assert found["fit_flag"].values.tolist()[1] & 8
    lost = 1 - CELLS["lithium lost"][2] / CELLS["fresh"][2]
    assert abs(found["lli"][1] - lost) < 3 * found["lli_error"][1]


def test_noise_of_the_half_cells_is_not_fitted():
    """On plateaus it is steeper than the curves, and drew sizes by many errors."""
    curves, _ = cells(noise=5e-4)
    pair = curves.isel(cycle=[0, 4], capacity=slice(None, None, 6))
    size = np.array([CELLS["fresh"], CELLS["all"]])
    losses = 1 - size[1] / size[0]
    off = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        noisy = {
            name: curve[::3] + 2e-3 * rng.standard_normal(curve[::3].size)
            for name, curve in standards().items()
        }
        noisy = {k: c.assign_attrs(units="V") for k, c in noisy.items()}
        found = degradation_modes(pair, standards=noisy).isel(cycle=1)
        names = ("lam_cathode", "lam_anode", "lli")
        away = np.array([float(found[n]) for n in names]) - losses
        assert np.abs(away).max() < 5e-3
        off.append(away / [float(found[f"{n}_error"]) for n in names])
    assert np.sqrt(np.mean(np.square(off))) < 2


def test_an_overvoltage_that_changes_along_the_charge_is_told():
    data = cells(3e-4)[0].isel(cycle=[0, 1])
    share = data["capacity"] / data["capacity"].where(data.notnull()).max("capacity")
    change = xr.DataArray([0.0, 0.015], dims="cycle")
    moved = (data + 0.01 + change * (share - 0.5)).assign_attrs(data.attrs)
    with pytest.warns(DataQualityWarning, match="changes along the charge"):
        found = degradation_modes(moved, standards=standards(), kind="polarised")
    assert found["fit_flag"].values.tolist() == [0, 32]
    off = abs(found["lli"][1] - (1 - 8.8 / 9.6))
    assert 0.005 < off < 2 * found["lli_error"][1]


@pytest.mark.parametrize("kind", ["equilibrium", "polarised"])
def test_an_overvoltage_that_fades_is_told(kind):
    """It moves the losses by more than three of their errors."""
    data = cells(2e-4)[0].isel(cycle=[0, 4], capacity=slice(None, None, 4))
    moved = data.copy(deep=True)
    moved[1] += 0.004 * np.clip(1 - data["capacity"].values / 8.0, 0, 1) ** 6
    with pytest.warns(DataQualityWarning, match="a course that is no noise"):
        found = degradation_modes(moved, standards=standards(), kind=kind)
    assert found["fit_flag"].values.tolist() == [0, 64]
    assert not degradation_modes(data, standards=standards(), kind=kind)[
        "fit_flag"
    ].any()


def test_a_step_of_the_anode_is_not_taken_for_its_beginning():
    def graphite(x):
        steps = 0.05 / (1 + np.exp((x - 0.2) / 0.03))
        steps += 0.035 / (1 + np.exp((x - 0.5) / 0.02))
        return 0.09 + 0.11 * np.exp(-x / 0.05) + 0.6 * np.exp(-x / 0.012) + steps

    nodes = [4.6, 4.45, 4.32, 4.22, 4.14, 4.05, 3.97, 3.9, 3.83, 3.78, 3.73, 3.68, 3.2]
    layered = PchipInterpolator(np.linspace(0, 1, 13), nodes)
    about = {"units": "V"}
    of = {
        name: xr.DataArray(law(GRID), {"li_content": GRID}, "li_content", attrs=about)
        for name, law in (("cathode", layered), ("anode", graphite))
    }
    charge, x = np.linspace(0, 10, 500), np.linspace(1e-4, 0.1, 40001)
    sizes, rows = [(10.0, 11.0, 9.7), (9.608, 9.925, 8.749), (9.595, 10.978, 8.355)], []
    for p, n, lithium in sizes:
        y = (lithium - n * x) / p
        begin = int(np.argmax(layered(y) - graphite(x) >= 3.0))
        v = layered(y[begin] - charge / p) - graphite(x[begin] + charge / n)
        rows.append(np.where(v <= 4.2, v, np.nan))
    noise = 2e-4 * np.random.default_rng(0).standard_normal((3, charge.size))
    coords = {"cycle": [1, 2, 3], "capacity": ("capacity", charge, {"units": "mA h"})}
    data = xr.DataArray(rows + noise, coords, ("cycle", "capacity"), attrs=about)
    found = degradation_modes(data, standards=of)
    losses = 1 - np.array(sizes) / sizes[0]
    for k, name in enumerate(("lam_cathode", "lam_anode", "lli")):
        np.testing.assert_allclose(found[name], losses[:, k], atol=0.005)
    assert (found["fit_flag"] == 0).all()
