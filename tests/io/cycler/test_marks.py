"""Marks of missing readings are NaN in every reader of numbers, and told."""

from __future__ import annotations

import numpy as np
import pytest

from batteryxr.core.errors import ArgumentError, DataQualityWarning
from batteryxr.io import read_cycler, read_impedance, read_series
from batteryxr.io.door.marks import marks_in

N = 60
TIME = np.arange(N) * 10.0
VOLTAGE = 3.0 + TIME / 600
CURRENT = np.where(TIME < 300, 1.5, -1.5)


def cycler_file(folder, **at):
    """Write a table with one number put into row 20 of a column."""
    columns = {
        "Time (s)": TIME,
        "Voltage (V)": VOLTAGE,
        "Current (mA)": CURRENT,
        "Temperature (degC)": 25 + 0.01 * np.sin(TIME),
    }
    path = folder / "run.csv"
    lines = [",".join(columns)]
    for k in range(N):
        row = {name: f"{values[k]:.4f}" for name, values in columns.items()}
        row |= at if k == 20 else {}
        lines.append(",".join(row.values()))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("label", "name", "number"),
    [
        ("Voltage (V)", "voltage", "65.535"),
        ("Voltage (V)", "voltage", "6553.5"),
        ("Voltage (V)", "voltage", "-32.768"),
        ("Voltage (V)", "voltage", "9999"),
        ("Voltage (V)", "voltage", "1e30"),
        ("Voltage (V)", "voltage", "-1"),
        ("Current (mA)", "current", "-32.768"),
        ("Current (mA)", "current", "6553.5"),
        ("Current (mA)", "current", "9.91e37"),
        ("Temperature (degC)", "temperature", "-1"),
        ("Temperature (degC)", "temperature", "3276.7"),
        ("Temperature (degC)", "temperature", "999.9"),
    ],
)
def test_a_mark_in_a_record_is_nan_and_told(tmp_path, label, name, number):
    path = cycler_file(tmp_path, **{label: number})
    with pytest.warns(DataQualityWarning, match=f"marks: .*1 rows hold .* as {name}"):
        record = read_cycler(path)
    assert "marks" in record.attrs["flags"]
    values = record[name].values
    assert np.isnan(values[20])
    assert np.isfinite(np.delete(values, 20)).all()


def test_a_mark_in_a_pattern_and_in_a_spectrum_of_impedance(tmp_path):
    path = tmp_path / "a.xy"
    rows = [f"{x:.2f} {100 + x:.1f}" for x in np.arange(10, 20, 0.1)]
    rows[40] = "14.00 4294967295"
    path.write_text("\n".join(rows) + "\n")
    with pytest.warns(DataQualityWarning, match="1 points hold 4294967295"):
        pattern = read_series(path, axis="two_theta")
    assert np.flatnonzero(np.isnan(pattern.values.ravel())).tolist() == [40]

    path = tmp_path / "z.csv"
    rows = [f"{f:.4g},{10 + 1 / f:.5g},{2 / f:.5g}" for f in np.logspace(4, 0, 30)]
    rows[7] = "1110,65.535,9999"
    path.write_text("Freq (Hz),Z' (ohm),-Z'' (ohm)\n" + "\n".join(rows) + "\n")
    with pytest.warns(DataQualityWarning, match=r"marks: .*1 points hold"):
        impedance = read_impedance(path)["impedance"]
    assert int(np.isnan(impedance).sum()) == 1


def test_sound_numbers_are_no_marks():
    rng = np.random.default_rng(0)
    steps = np.repeat([0.0, 1.0, -1.0, 0.999, 32.7], 40)
    for values in (
        rng.normal(3.6, 0.2, 500),
        steps,
        np.append(np.full(99, 60.0), 65.535),  # a battery of 60 V
        np.append(rng.normal(0, 1, 99), -1.0),
        rng.poisson(30000, 500).astype(float),
        np.append(np.full(20, 20.0), -1.5),
    ):
        for negative in ("usual", "odd", "never"):
            assert not marks_in(values, negative=negative).any()
    cold = np.append(np.linspace(0, 40, 99), -1.0)
    assert not marks_in(cold, negative="odd").any()


def test_marks_in_a_tenth_of_all_rows_are_found():
    values = np.full(200, 3.7) + np.random.default_rng(0).normal(0, 0.01, 200)
    values[::10] = 65.535
    assert np.flatnonzero(marks_in(values)).tolist() == list(range(0, 200, 10))
    assert marks_in(np.array([1.0, np.inf, 2.0])).tolist() == [False, True, False]


@pytest.mark.parametrize(
    "footer", ["End of test", "Finished,2026-01-01,10:00\n", "\n*** END ***\n", "# ok"]
)
def test_words_below_a_table_are_left_out_and_told(tmp_path, footer):
    path = cycler_file(tmp_path)
    path.write_text(path.read_text() + footer)
    with pytest.warns(DataQualityWarning, match=r"footer: .*1 line below the table"):
        record = read_cycler(path)
    np.testing.assert_allclose(record["voltage"], VOLTAGE, atol=1e-4)


def test_a_second_column_of_current_is_asked_for_unless_it_holds_the_same(tmp_path):
    path = tmp_path / "run.csv"
    for factor in (1.0, 2.0):
        for head in (
            "Time (s),Voltage (V),Current (mA),Current2 (mA)",
            "Time (s),Voltage (V),I (mA),Current (mA)",
            "Time (s),Voltage (V),Current (mA),Current (mA)",
        ):
            columns = np.column_stack([TIME, VOLTAGE, CURRENT, factor * CURRENT])
            rows = [",".join(f"{x:.4f}" for x in row) for row in columns]
            path.write_text("\n".join([head, *rows]) + "\n")
            if factor == 1:
                np.testing.assert_allclose(read_cycler(path)["current"], CURRENT)
                continue
            with pytest.raises(ArgumentError, match="current of the cell"):
                read_cycler(path)
    chosen = read_cycler(
        path.rename(tmp_path / "other.csv"), columns={"Current (mA)": "current"}
    )
    np.testing.assert_allclose(chosen["current"], CURRENT)


@pytest.mark.parametrize(
    ("first", "second", "rival"),
    [
        ("Voltage (V)", "Voltage2 (V)", True),
        ("U (V)", "Voltage (V)", True),
        ("Voltage (mV)", "Voltage (V)", True),
        ("Voltage (V)", "Cell voltage (V)", True),
        ("Voltage (V)", "Anode potential (V)", False),
        ("Voltage (V)", "AuxVoltage_1(V)", False),
        ("Voltage (V)", "Voltage limit (V)", False),
    ],
)
def test_a_second_voltage_is_asked_for_unless_it_holds_the_same(
    tmp_path, first, second, rival
):
    path, milli = tmp_path / "run.csv", 1e3 if "mV" in first else 1.0
    for factor in (1.0, 1.1):
        columns = np.column_stack([TIME, milli * VOLTAGE, CURRENT, factor * VOLTAGE])
        rows = [",".join(f"{x:.4f}" for x in row) for row in columns]
        head = f"Time (s),{first},Current (mA),{second}"
        path.write_text("\n".join([head, *rows]) + "\n")
        if factor > 1 and rival:
            with pytest.raises(ArgumentError, match="is the voltage of the cell"):
                read_cycler(path)
            wanted = {second: "voltage"}
            record = read_cycler(path, columns=wanted)
            np.testing.assert_allclose(record["voltage"], 1.1 * VOLTAGE, atol=1e-4)
        else:
            np.testing.assert_allclose(read_cycler(path)["voltage"], VOLTAGE, atol=1e-4)


def test_the_mean_and_the_magnitude_of_a_current_are_no_other_current(tmp_path):
    path = tmp_path / "run.csv"
    current = np.where(np.arange(TIME.size) > TIME.size // 2, -1.0, 1.0)
    mean = 0.5 * (current + np.r_[current[0], current[:-1]])
    for head, other in (
        ("time/s,Ewe/V,I/mA,<I>/mA", mean),
        ("Time (s),Voltage (V),Current (mA),Abs Current (mA)", abs(current)),
    ):
        columns = np.column_stack([TIME, VOLTAGE, current, other])
        rows = [",".join(f"{x:.4f}" for x in row) for row in columns]
        path.write_text("\n".join([head, *rows]) + "\n")
        np.testing.assert_allclose(read_cycler(path)["current"], current)
    columns = np.column_stack([TIME, VOLTAGE, abs(current), current])
    rows = [",".join(f"{x:.4f}" for x in row) for row in columns]
    head = "Time (s),Voltage (V),Current (mA),Current 2 (mA)"
    path.write_text("\n".join([head, *rows]) + "\n")
    with pytest.raises(ArgumentError, match="current of the cell"):
        read_cycler(path)


def test_two_columns_of_current_in_the_battery_data_format(tmp_path):
    path = tmp_path / "run.bdf.csv"
    columns = np.column_stack([TIME, VOLTAGE, CURRENT, 2 * CURRENT])
    rows = [",".join(f"{x:.4f}" for x in row) for row in columns]
    head = "Test Time / s,Voltage / V,Current / A,current_ampere"
    path.write_text("\n".join([head, *rows]) + "\n")
    with pytest.raises(ArgumentError, match="current of the cell"):
        read_cycler(path)
    record = read_cycler(path, columns={"current_ampere": "current"})
    np.testing.assert_allclose(record["current"], 2000 * CURRENT)


def test_all_lines_of_words_below_a_table_are_counted(tmp_path):
    path = tmp_path / "a.csv"
    rows = "".join(f"{k},3.{k},1\n" for k in range(10, 50))
    words = "".join(f"note {k}\n" for k in range(55))
    path.write_text(f"Time (s),Voltage (V),Current (mA)\n{rows}{words}")
    with pytest.warns(DataQualityWarning, match=r"55 lines below the table, 'note 0'"):
        assert read_cycler(path).sizes["record"] == 40
