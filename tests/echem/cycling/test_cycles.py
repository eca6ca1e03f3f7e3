"""Cycles, steps and rates: pairing, efficiencies, and what refuses."""

from __future__ import annotations

import numpy as np
import pytest

from batteryxr.core.errors import ArgumentError, DataError, DataQualityWarning
from batteryxr.echem import cycles, half_cycles, rate, steps


def test_all_of_500_cycles_have_the_ratio_they_were_made_with(make_record):
    # 1,000 rows of charge and 900 of discharge in each, with rests and fade.
    rows, rest, n = 1000, 50, 500
    t, i, v = [], [], []
    now = 0.0
    for cycle in range(n):
        for length, sign in (
            (rows, 1.0),
            (rest, 0.0),
            (rows * 9 // 10, -1.0),
            (rest, 0.0),
        ):
            step = (2.0 - 4e-4 * cycle) if sign else 1.0
            t.append(now + step * np.arange(1, length + 1))
            now = t[-1][-1]
            i.append(np.full(length, sign))
            v.append(np.full(length, 3.5 + 0.5 * sign))
    table = make_record(*map(np.concatenate, (t, v, i)))
    found = cycles(table, electrode="full", first="charge")
    assert found.sizes["cycle"] == n
    assert found.complete.values.all()
    wanted = (rows * 9 / 10 - 1) / (rows - 1)
    np.testing.assert_allclose(found.coulombic_efficiency, wanted, rtol=1e-9)
    np.testing.assert_allclose(found.energy_efficiency, wanted * 3 / 4, rtol=1e-9)
    np.testing.assert_allclose(found.voltage_hysteresis, 1.0)
    lazy = cycles(table.chunk(record=77_777), electrode="full", first="charge")
    for name in found.variables:
        np.testing.assert_array_equal(found[name], lazy[name])


def test_the_sense_of_efficiency_follows_the_electrode(make_cycled):
    rows = make_cycled(3, first=-1)  # discharges are the longer ones
    cathode = cycles(rows, electrode="cathode", first="discharge")
    anode = cycles(rows, electrode="anode", first="discharge")
    np.testing.assert_allclose(anode.coulombic_efficiency, 179 / 199)
    np.testing.assert_allclose(cathode.coulombic_efficiency, 199 / 179)
    assert anode.attrs["unpaired_half_cycles"] == []
    with pytest.raises(TypeError, match="electrode"):
        cycles(rows, first="charge")
    with pytest.raises(TypeError, match="first"):
        cycles(rows, electrode="cathode")


def test_a_leading_half_cycle_of_the_other_direction_is_in_no_cycle(make_cycled):
    rows = make_cycled(3, first=-1).isel(record=slice(120, None))
    with pytest.warns(DataQualityWarning, match=r"begins with a discharge of 0.079"):
        found = cycles(rows, electrode="cathode", first="charge")
    halves = half_cycles(rows)
    assert found.attrs["unpaired_half_cycles"] == [1]
    assert found.charge_half_cycle.values.tolist() == [2, 4, 6]
    assert found.discharge_half_cycle.values.tolist() == [3, 5, 0]
    np.testing.assert_array_equal(found.charge_capacity, halves.capacity[1::2])
    assert found.complete.values.tolist() == [True, True, False]
    assert np.isnan(found.coulombic_efficiency.values).tolist() == [False, False, True]
    assert np.isnan(found.discharge_capacity.values[-1])
    assert np.isnat(found.discharge_time_start.values).all()


def test_specific_quantities_only_with_mass(make_cycled):
    rows = make_cycled(2)
    plain = cycles(rows, electrode="full", first="charge")
    assert not [n for n in plain if "specific" in str(n) or "c_rate" in str(n)]
    found = cycles(
        rows, electrode="full", first="charge", mass=2.0, nominal_capacity=0.5
    )
    np.testing.assert_allclose(
        found.charge_specific_capacity, plain.charge_capacity / 2e-3
    )
    # mW h / mg is W h / g, a thousand times W h / kg.
    np.testing.assert_allclose(
        found.charge_specific_energy, plain.charge_energy / 2.0 * 1000
    )
    np.testing.assert_allclose(found.discharge_specific_current, -500.0)
    np.testing.assert_allclose(found.charge_c_rate, 2.0)
    for name in found.variables:
        if found[name].dtype.kind != "M":
            assert found[name].attrs["units"], name
        assert found[name].attrs["long_name"], name


def test_retention_says_of_what(make_record, make_cycled):
    rows = make_cycled(4)
    current = rows["current"].values.copy()
    half = rows.sizes["record"] // 2
    current[:half] *= 0.5
    rows["current"] = ("record", current, {"units": "mA"})
    first = cycles(rows, electrode="full", first="charge")
    np.testing.assert_allclose(first.capacity_retention, [1, 1, 2, 2])
    most = cycles(rows, electrode="full", first="charge", reference="max")
    np.testing.assert_allclose(most.capacity_retention, [0.5, 0.5, 1, 1])
    fourth = cycles(rows, electrode="full", first="charge", reference=4)
    assert fourth.capacity_retention.attrs["long_name"].endswith("cycle 4")
    with pytest.raises(ArgumentError, match="reference=9"):
        cycles(rows, electrode="full", first="charge", reference=9)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"electrode": "positive"}, "electrode='positive'"),
        ({"first": "rest"}, "first='rest'"),
        ({"mass": 0.0}, "mass=0.0"),
        ({"nominal_capacity": -1}, "nominal_capacity=-1"),
        ({"reference": "last"}, "reference='last'"),
    ],
)
def test_messages(make_cycled, wrong, message):
    options = {"electrode": "full", "first": "charge"} | wrong
    with pytest.raises(ArgumentError, match=message):
        cycles(make_cycled(2), **options)


def test_implausible_records_are_refused(make_cycled):
    rows = make_cycled(2)
    flagged = rows.assign_attrs(flags=["template_mass", "time_scale"])
    with pytest.raises(DataError, match=r"time_scale.*flag_notes.*repair="):
        cycles(flagged, electrode="full", first="charge")
    cycles(rows.assign_attrs(flags=["template_mass"]), electrode="full", first="charge")
    time = rows["test_time"].values.copy()
    time[300:] -= 1000
    backward = rows.assign_coords(test_time=("record", time, {"units": "s"}))
    with pytest.raises(DataError, match="1 backward steps"):
        cycles(backward, electrode="full", first="charge")


def test_steps_and_their_reasons(make_record):
    t = np.arange(0, 400 * 10.0, 10.0)
    i, v = np.zeros(400), np.full(400, 3.0)
    i[50:150], v[50:150] = 1.0, np.linspace(3.2, 4.2, 100)  # constant current
    i[150:250], v[150:250] = np.exp(-np.arange(1, 101) / 25), 4.2  # constant voltage
    v[250:300] = 4.1  # rest
    i[300:340], v[300:340] = -1.0, np.linspace(4.0, 3.5, 40)
    i[340:380], v[340:380] = -2.0, np.linspace(3.3, 3.0, 40)  # another current
    found = steps(make_record(t, v, i))
    assert found.kind.values.tolist() == [
        "open_circuit",
        "constant_current",
        "constant_voltage",
        "rest",
        "constant_current",
        "constant_current",
        "rest",
    ]
    assert found.first_record.values.tolist() == [0, 50, 150, 250, 300, 340, 380]
    assert found.last_record.values.tolist() == [49, 149, 249, 299, 339, 379, 399]
    assert "4.2000 V while the current went from 0.96" in str(found.reason[2].values)
    assert "1 mA" in str(found.reason[1].values)
    halves = half_cycles(make_record(t, v, i))
    of_charge = found.capacity.values[found.direction.values == "charge"].sum()
    np.testing.assert_allclose(of_charge, halves.capacity[0])
    lazy = steps(make_record(t, v, i).chunk(record=33))
    for name in found.variables:
        np.testing.assert_array_equal(found[name], lazy[name])


def test_a_current_that_settles_or_varies(make_record):
    t = np.arange(100.0)
    i = np.ones(100)
    i[0], i[-1] = 0.4, 0.1  # switching on and off
    found = steps(make_record(t, 3 + t / 100, i))
    assert found.kind.values.tolist() == ["constant_current"]
    assert "within 0 % of" in str(found.reason[0].values)
    drive = 1 + 0.5 * np.sin(t * 1.7)
    varying = steps(make_record(t, 3 + 0.1 * drive, drive))
    assert varying.kind.values.tolist() == ["varying"]
    with pytest.raises(ArgumentError, match="v_tolerance=0"):
        steps(make_record(t, 3 + t, i), v_tolerance=0)


def test_rate_takes_the_first_complete_cycle_of_each_current(make_cycled):
    rows = make_cycled(6)
    size = rows.sizes["record"] // 6
    factor = np.repeat([1.0, 1.05, 4.0, 4.1, 2.0, 1.0], size)
    rows["current"] = ("record", rows["current"].values * factor, {"units": "mA"})
    time = np.cumsum(np.concatenate([[0], np.diff(rows.test_time) / factor[1:] ** 1.1]))
    rows = rows.assign_coords(test_time=("record", time, {"units": "s"}))
    table = cycles(rows, electrode="full", first="charge", mass=10.0)
    found = rate(table)
    np.testing.assert_allclose(found.current, [1.0, 2.0, 4.0])
    assert found.cycle.values.tolist() == [1, 5, 3]
    assert found.n_cycles.values.tolist() == [3, 1, 2]
    np.testing.assert_allclose(found.retention, [1, 2**-0.1, 4**-0.1], rtol=1e-6)
    assert found.specific_capacity.attrs["units"] == "mA h g-1"
    with pytest.raises(ArgumentError, match="direction='up'"):
        rate(table, direction="up")
    with pytest.warns(DataQualityWarning, match="empty"):
        empty = rate(table.isel(cycle=slice(0)))
    assert empty.sizes["rate"] == 0


def test_a_tree_of_cells(make_cycled):
    import xarray as xr

    tree = xr.DataTree.from_dict({f"cell{k}": make_cycled(k + 1) for k in range(3)})
    found = tree.map_over_datasets(
        lambda ds: cycles(ds, electrode="full", first="charge") if ds else ds
    )
    assert [found[f"cell{k}"].sizes["cycle"] for k in range(3)] == [1, 2, 3]


def test_times_alike_infinite_values_and_other_units_are_told(make_cycled):
    rows = make_cycled(2)
    asked = {"electrode": "full", "first": "charge"}
    alike = ("record", 0 * rows.test_time.values, {"units": "s"})
    with pytest.warns(DataQualityWarning, match="test_time is 0 s in all rows"):
        half_cycles(rows.assign_coords(test_time=alike))
    current = rows["current"].copy(deep=True)
    current[7] = np.inf
    with pytest.raises(DataError, match="current: infinite in 1 rows, the first row 7"):
        half_cycles(rows.assign(current=current))
    passed = float(cycles(rows, **asked).discharge_capacity.max())
    with pytest.warns(DataQualityWarning, match="Was it A h"):
        cycles(rows, **asked, nominal_capacity=passed / 1e3)
    with pytest.raises(ArgumentError, match="a mass in g, passed as if in mg"):
        cycles(rows, **asked, mass=passed * 5e-3)
