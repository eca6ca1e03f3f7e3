"""A user's table of materials: published ratios, checks by name, forms of input."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import batteryxr
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    VariableError,
)
from batteryxr.echem import compare, comparison_template, plot_comparison

GOOD = """# measured at 10 mA/g
material,formula,class,capacity,energy,voltage_min,voltage_max,current,reference
LTMOF,Li1.2Ti0.2Mn0.6O1.8F0.2,stable,195,,1.5,4.8,20,
MS10,Li1.33Ti0.19Mn0.57O1.81F0.19,metastable,326,1011,1.5,4.8,10,somewhere
MS20,Li1.45Ti0.18Mn0.55O1.82F0.18,metastable,349,1055,1.5,4.8,10,
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "table.csv").write_text(GOOD)
    return tmp_path / "table.csv"


def test_published_table_is_completed(path):
    result = compare(path)
    np.testing.assert_allclose(
        100 * result.utilisation, [50.60, 75.18, 73.13], atol=0.02
    )
    np.testing.assert_allclose(result.mean_voltage, [np.nan, 3.101, 3.023], atol=5e-4)
    np.testing.assert_allclose(
        result.theoretical_capacity, [385.35, 433.61, 477.23], rtol=1e-4
    )
    assert not result.flag.any()
    assert result["class"].values.tolist() == ["stable", "metastable", "metastable"]
    for variable in result.variables.values():
        assert {"units", "long_name"} <= variable.attrs.keys()


def test_all_forms_of_the_table_agree(path, tmp_path):
    expected = compare(path)
    frame = pd.read_csv(io.StringIO(GOOD), comment="#")
    xr.testing.assert_equal(compare(frame), expected)
    semicolons = tmp_path / "semicolons.csv"
    semicolons.write_text(GOOD.replace(",", "; "))
    xr.testing.assert_equal(compare(semicolons), expected)
    ds = frame.set_index("material").to_xarray()
    for name, units in {
        "capacity": "mA h g-1",
        "energy": "W h kg-1",
        "voltage_min": "V",
        "voltage_max": "V",
        "current": "mA g-1",
    }.items():
        ds[name].attrs["units"] = units
    ds["energy"] = (ds.energy * 3600).assign_attrs(units="J kg-1")
    xr.testing.assert_allclose(compare(ds), expected)


def _table(**changes) -> pd.DataFrame:
    row = {
        "material": "A",
        "formula": "LiFeO2",
        "capacity": 143.0,
        "energy": 400.0,
        "voltage": 2.8,
        "voltage_min": 1.5,
        "voltage_max": 4.8,
    }
    return pd.DataFrame([row | changes])


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"formula": "LiQ"}, {"formula"}),
        ({"formula": "Fe2O3"}, {"formula"}),
        ({"capacity": -3}, {"capacity"}),
        ({"capacity": None}, {"capacity"}),
        ({"capacity": 300, "energy": 840}, {"utilisation"}),
        ({"voltage": 2.5}, {"mean_voltage"}),
        ({"energy": 800, "voltage": None}, {"voltage_window"}),
        ({"energy": 40, "voltage": None}, {"voltage_window"}),
    ],
)
def test_each_check_fails_alone_and_names_the_material(changes, failed):
    with pytest.warns(DataQualityWarning, match="'A'") as caught:
        result = compare(_table(**changes))
    assert set(result.check.values[result.flag.values[0]]) == failed
    assert caught[0].filename == __file__
    for name in failed:
        assert name in str(caught[0].message)


def test_rounding_is_no_contradiction():
    result = compare(_table(capacity=285, energy=285 * 2.81))
    assert not result.flag.any()
    assert result.utilisation > 1


def test_conversion_oxides_bring_their_electrons():
    result = compare(_table(formula="Fe2O3", electrons=6.0, capacity=1000, energy=2800))
    assert float(result.theoretical_capacity[0]) == pytest.approx(1007.0, abs=0.05)
    assert not result.flag.any()


def test_energy_from_mean_voltage_where_it_is_missing():
    result = compare(_table(energy=None))
    assert float(result.specific_energy[0]) == pytest.approx(143 * 2.8)
    assert float(result.mean_voltage[0]) == 2.8


def test_template_is_a_table_with_every_column(tmp_path):
    path = tmp_path / "template.csv"
    path.write_text(comparison_template() + "A,LiFeO2,stable,143,,,,,,,\n")
    result = compare(path)
    assert float(result.utilisation[0]) == pytest.approx(0.5057, abs=1e-3)
    path.write_text(comparison_template())
    with pytest.raises(DataError, match="at least one material"):
        compare(path)


def test_errors():
    with pytest.raises(ArgumentError, match="existing CSV file"):
        compare("nowhere.csv")
    with pytest.raises(VariableError, match=r"\['formula'\]"):
        compare(_table().drop(columns="formula"))
    with pytest.raises(VariableError, match="numbers in the column 'energy'"):
        compare(_table(energy="about 400"))


def test_result_is_stored_and_replayed(path, tmp_path):
    result = compare(path)
    batteryxr.save(result, tmp_path / "c.zarr")
    back = batteryxr.open_store(tmp_path / "c.zarr").load()
    xr.testing.assert_equal(back, result)
    xr.testing.assert_equal(batteryxr.replay(back, path), result)


def test_plot_has_a_panel_each_with_both_classes(path):
    plot = plot_comparison(compare(path))
    assert len(plot) == 2
    for panel, name in zip(plot, ("specific_energy", "utilisation"), strict=True):
        assert [p.label for p in panel] == ["metastable", "stable"]
        assert panel.get(0).vdims[0].name == "material"
        assert panel.get(0).kdims[1].name == name


def test_rows_keep_the_number_of_their_cycle():
    along = ("sample", "cycle")
    capacity = xr.DataArray(
        [[140.0, 130.0], [160.0, 150.0]], dims=along, attrs={"units": "mA h g-1"}
    )
    voltage = xr.DataArray([[3.9, 3.8], [3.4, 3.39]], dims=along, attrs={"units": "V"})
    table = xr.Dataset(
        {
            "discharge_specific_capacity": capacity,
            "discharge_mean_voltage": voltage,
            "formula": ("sample", ["LiCoO2", "LiFePO4"]),
        },
        coords={"sample": ["A", "B"], "cycle": [1, 50]},
    )
    compared = batteryxr.echem.compare(table)
    rows = zip(
        compared["material"].values.tolist(),
        compared["cycle"].values.tolist(),
        compared["specific_capacity"].values.tolist(),
        strict=True,
    )
    assert set(rows) == {
        ("A", 1, 140.0),
        ("A", 50, 130.0),
        ("B", 1, 160.0),
        ("B", 50, 150.0),
    }
