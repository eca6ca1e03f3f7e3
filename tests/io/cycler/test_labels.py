from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batteryxr.core.errors import ArgumentError
from batteryxr.io.cycler import labels
from batteryxr.io.cycler.labels import Column

UNITS = {"V": "V", "mV": "mV", "mA": "mA", "A": "A", "mA.h": "mA h", "Wh": "W h"}
COLUMNS = (
    Column("test_time", "time", "s"),
    Column("voltage", "voltage", "V"),
    Column("current", "current"),
    Column("temperature", "temp"),
)


@given(
    st.from_regex(r"[a-z]{2,9}( [a-z]{2,9})?", fullmatch=True),
    st.sampled_from(sorted(UNITS)),
    st.sampled_from(["{}({})", "{} ({})", "{}[{}]", "{}/{}", "{} / {}", "{}#{}"]),
)
def test_units_are_found_however_they_are_written(bare, unit, form):
    assert labels.split(form.format(bare, unit)) == (bare, UNITS[unit])


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Q charge/discharge/mA.h", ("q charge/discharge", "mA h")),
        ("~Time[h]", ("time", "h")),
        ("test_time_s", ("test_time", "s")),
        ("cycle_index", ("cycle_index", None)),
        ("I/µA", ("i", "uA")),
        ("Capacitance charge/µF", ("capacitance charge/µf", None)),
        ("Total Time(h:min:s)", ("total time", "s")),
        ("Total Time, (h:m:s)", ("total time", "s")),
        ("control/V/mA", ("control/v", "mA")),
        ("Capacity (mA h)", ("capacity", "mA h")),
        ("Energy [W*h]", ("energy", "W h")),
        ("Capacity (mA h/g)", ("capacity (ma h/g)", None)),
    ],
)
def test_labels_of_real_files(label, expected):
    assert labels.split(label) == expected


def test_converts_to_the_model():
    found = labels.choose(
        ["Time (min)", "Voltage (mV)", "Current (A)", "Temp (K)"], COLUMNS
    )
    value = {n: 300 * s.factor + s.offset for n, s in found.items()}
    assert value["test_time"] == 18_000
    assert value["voltage"] == pytest.approx(0.3)
    assert value["current"] == pytest.approx(300_000)
    assert value["temperature"] == pytest.approx(26.85)


def test_amperes_are_not_guessed():
    assert "current" not in labels.choose(["time", "voltage", "current"], COLUMNS)


def test_units_that_measure_something_else_do_not_count():
    assert "voltage" not in labels.choose(["voltage (A)"], COLUMNS)


def test_the_user_goes_first():
    found = labels.choose(
        ["Voltage (V)", "Ref (mV)", "x (A)", "pressure"],
        COLUMNS,
        {"Ref (mV)": "voltage", "pressure": "pressure", "x (A)": "current"},
    )
    assert found["voltage"].index == 1
    assert found["current"].factor == pytest.approx(1000)
    assert found["pressure"].units == "1"


@pytest.mark.parametrize(
    ("explicit", "message"),
    [
        ({"Vlt": "voltage"}, "labels of the file"),
        ({"I (A)": "voltage"}, "become 'V'"),
        ({"I (A)": "not a name"}, "such as 'voltage'"),
    ],
)
def test_wrong_maps_are_refused(explicit, message):
    with pytest.raises(ArgumentError, match=message):
        labels.choose(["I (A)", "Voltage (V)"], COLUMNS, explicit)


def test_units_row():
    assert labels.units_row(["", "[s]", "[V]", "[A]"]) == ["", "s", "v", "a"]
    assert labels.units_row(["1", "2", "3"]) is None
    assert labels.units_row(["", "", "V"]) is None
