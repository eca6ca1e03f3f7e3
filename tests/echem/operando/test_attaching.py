"""Ex situ states, against charges counted by hand."""

import warnings

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    DimensionError,
)

#: 1 mA; 3 to 4 V in 200 rows of 3.6 s: 1 mA h goes by in 1000 rows.
STEP = 1 / 1000


def states(names=None, n=3, dim="state"):
    data = xr.DataArray(np.arange(4.0 * n).reshape(n, 4), dims=(dim, "q"))
    return data if names is None else data.assign_coords(label=(dim, names))


def test_from_arguments(make_cycled):
    record = make_cycled(2)
    assert "time" not in record.coords
    found = record.echem.attach(
        states(), voltage=[3.25, 4.0, 3.4], direction=["charge", "charge", "discharge"]
    )
    # Row k of the charge is at 3 + k / 199 V.
    charge = 0.25 * 199 * STEP
    assert float(found.capacity[0]) == pytest.approx(charge, rel=1e-6)
    assert float(found.capacity[1]) == pytest.approx(199 * STEP, rel=1e-6)
    whole = 199 * STEP
    assert float(found.capacity_total[1]) == pytest.approx(whole, rel=1e-6)
    down = float(found.capacity[2])
    assert float(found.capacity_total[2]) == pytest.approx(whole - down, rel=1e-6)
    # The discharge falls by 0.9 V in 179 steps.
    assert down == pytest.approx(0.6 / 0.9 * 179 * STEP, rel=0.01)
    assert found.branch.values.tolist() == ["charge", "charge", "discharge"]
    assert found.cycle.values.tolist() == [1, 1, 1]
    assert found.half_cycle.values.tolist() == [1, 1, 2]
    np.testing.assert_allclose(found.measured_voltage, found.voltage, atol=1e-6)
    np.testing.assert_array_equal(found, states())


def test_lithium_and_specific_capacity(make_cycled):
    record = make_cycled(1)
    found = record.echem.attach(
        states(n=1), voltage=4.0, direction="charge", mass=1.0, formula="LiNiO2"
    )
    assert float(found.specific_capacity[0]) == pytest.approx(199.0, rel=1e-6)
    theory = 26801.4 / 97.63
    assert float(found.li_content[0]) == pytest.approx(1 - 199 / theory, rel=1e-3)


@pytest.mark.parametrize("key", ["label", "file"])
def test_from_names(make_cycled, key):
    names = ["LNO_pristine", "LNO_ch_3.5V", "LNO 3p2V discharged"]
    data = states().assign_coords({key: ("state", names)})
    found = make_cycled(1).echem.attach(data)
    assert found.branch.values.tolist() == ["pristine", "charge", "discharge"]
    assert float(found.capacity_total[0]) == 0
    assert np.isnan(float(found.cycle[0]))
    assert float(found.capacity[1]) == pytest.approx(0.5 * 199 * STEP, rel=1e-6)
    own = data.assign_coords({key: ("state", ["a_up@3.5", "b_up@3.2", "c_up@3.1"])})
    with pytest.raises(ArgumentError, match="pattern="):
        make_cycled(1).echem.attach(own)
    with pytest.raises(ArgumentError, match="direction='up'"):
        make_cycled(1).echem.attach(own, pattern=r"(?P<branch>up)@(?P<voltage>[\d.]+)")


def test_from_a_table(make_cycled, tmp_path):
    path = tmp_path / "states.csv"
    path.write_text("label;voltage;branch;cycle\nb;3,5;charge;2\na;3,5;Ch;1\n")
    found = make_cycled(3).echem.attach(states(["a", "b"], n=2), table=path)
    assert found.cycle.values.tolist() == [1, 2]
    np.testing.assert_allclose(found.capacity, 0.5 * 199 * STEP, rtol=1e-6)
    table = {"voltage": [3.5, 3.2], "branch": ["charge", "charge"]}
    same = make_cycled(3).echem.attach(states(n=2), table=table)
    assert same.voltage.values.tolist() == [3.5, 3.2]
    with pytest.raises(ArgumentError, match="table="):
        make_cycled(3).echem.attach(states(n=3), table=table)


def test_what_was_not_reached_is_told_and_not_guessed(make_cycled):
    with pytest.warns(DataQualityWarning, match="charge 4.6 V"):
        found = make_cycled(1).echem.attach(
            states(n=2), voltage=[4.6, 3.5], direction="charge"
        )
    assert found.attach_flag.values.tolist() == [1, 0]
    assert np.isnan(float(found.capacity[0]))
    assert np.isfinite(float(found.capacity[1]))
    # Within the tolerance it is where the charge ends.
    found = make_cycled(1).echem.attach(states(n=1), voltage=4.015, direction="charge")
    assert float(found.capacity[0]) == pytest.approx(199 * STEP, rel=1e-6)


def test_wrong_calls(make_cycled):
    record = make_cycled(1)
    with pytest.raises(ArgumentError, match="direction="):
        record.echem.attach(states(), voltage=3.5)
    with pytest.raises(ArgumentError, match="voltage="):
        record.echem.attach(states(), voltage=[3.5, 3.6], direction="charge")
    with pytest.raises(ArgumentError, match="direction='sideways'"):
        record.echem.attach(states(), voltage=3.5, direction="sideways")
    with pytest.raises(DimensionError, match="'state'"):
        record.echem.attach(states(dim="y"), voltage=3.5, direction="charge")


def test_a_name_of_all_states_is_no_key_of_a_table(make_cycled):
    table = {"sample": ["b", "a"], "voltage": [3.5, 3.2], "branch": ["charge"] * 2}
    data = states(n=2).assign_coords(sample="a")
    found = make_cycled(1).echem.attach(data, table=table)
    assert found.voltage.values.tolist() == [3.5, 3.2]


def test_wrong_patterns_and_names_that_are_taken(make_cycled):
    record = make_cycled(1)
    named = states(["ch_3.5V"] * 3)
    with pytest.raises(ArgumentError, match="regular expression"):
        record.echem.attach(named, pattern="(?P<branch>")
    with pytest.raises(ArgumentError, match="pattern"):
        record.echem.attach(named, pattern=".*", voltage=3.5, direction="charge")
    data = named.to_dataset(name="y").assign(voltage=("state", [1.0, 2.0, 3.0]))
    with pytest.raises(DataError, match="names of labels"):
        record.echem.attach(data, voltage=3.5, direction="charge")


@pytest.mark.parametrize(
    "name",
    [
        *("5C_3.5V", "0.1C 3.5V", "3.5V_C10", "3.5V_ch2", "ch3.5V_dis3.2V"),
        *("ch_3.5V_100_cycles", "cycle1_ch_3.5V_cycle2"),
    ],
)
def test_a_rate_a_channel_and_two_states_tell_no_state(make_cycled, name):
    with pytest.warns(DataQualityWarning, match="1 of 2 states have no labels"):
        found = make_cycled(2).echem.attach(states([name, "ch_3.5V"], n=2))
    assert found.attach_flag.values.tolist() == [2, 0]


def test_a_cycle_in_a_name_holds(make_cycled):
    names = ["ch_3.5V_cycle2", "2nd charge 3.5V", "cyc1_c3.5V", "ch_3.5V"]
    found = make_cycled(2).echem.attach(states(names, n=4))
    assert found.cycle.values.tolist() == [2, 2, 1, 1]


def test_states_that_contradict_their_names_are_told(make_cycled):
    record, named = make_cycled(1), states(["dis_3.2V", "ch_3.5V"], n=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataQualityWarning)
        warnings.filterwarnings("ignore", ".*charge may be missing")  # at switches
        record.echem.attach(
            named, voltage=[3.2, 3.5], direction=["discharge", "charge"]
        )
    with pytest.warns(DataQualityWarning, match="2 of 2 states have a name that tells"):
        record.echem.attach(
            named, voltage=[3.5, 3.2], direction=["charge", "discharge"]
        )


@pytest.mark.parametrize("column", ["sample", "name"])
def test_rows_of_a_table_are_assigned_by_any_column_of_names(make_cycled, column):
    record, named = make_cycled(1), states(["a", "b"], n=2)
    table = {column: ["b", "a"], "voltage": [3.5, 3.2], "branch": ["charge"] * 2}
    found = record.echem.attach(named, table=table)
    assert found.voltage.values.tolist() == [3.2, 3.5]
    other = table | {"sample": ["x", "y"], column: ["x", "y"]}
    with pytest.raises(ArgumentError, match="None of its rows is called as a state"):
        record.echem.attach(named, table=other)
