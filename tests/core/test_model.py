"""The data model: names, units, and what is said when they are wrong."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import (
    ChunkingError,
    DimensionError,
    UnitsError,
    VariableError,
)
from batteryxr.core.model import (
    QUANTITIES,
    attributes,
    label,
    require_dims,
    require_variables,
    require_whole,
)
from batteryxr.core.units import affine, in_units


def test_label_replaces_inherited_attributes():
    array = xr.DataArray([1.0], dims="record", attrs={"units": "A", "junk": 1})
    labelled = label(array, "voltage")
    assert labelled.name == "voltage"
    assert labelled.attrs == {"units": "V", "long_name": "Voltage"}
    assert array.attrs["junk"] == 1


def test_unknown_quantity_needs_units_and_long_name():
    with pytest.raises(KeyError, match="long_name"):
        attributes("tortuosity", units="1")
    assert attributes("tortuosity", units="1", long_name="Tortuosity")


def test_every_unit_of_the_model_is_understood():
    for name, quantity in QUANTITIES.items():
        assert affine(quantity.units, quantity.units) == (1.0, 0.0), name
        affine(quantity.units, f"{quantity.units}")


def test_missing_dimension_names_meaning_and_mend():
    array = xr.DataArray(np.zeros((2, 3)), dims=("specimen", "r"))
    with pytest.raises(DimensionError) as caught:
        require_dims(array, ["scan", "r"], caller="nmf.fit")
    text = str(caught.value)
    assert "'scan' (exposures of an operando series)" in text
    assert "('specimen', 'r')" in text
    assert ".rename(specimen='scan')" in text


def test_missing_variable_suggests_the_near_one():
    ds = xr.Dataset({"Voltage": ("record", [1.0])})
    with pytest.raises(VariableError, match=r"\.rename\(Voltage='voltage'\)"):
        require_variables(ds, ["voltage"], caller="echem.cycles")


def test_variables_of_an_array_are_refused_in_words():
    with pytest.raises(VariableError, match="needs a Dataset; found a DataArray"):
        require_variables(xr.DataArray([1.0]), ["voltage"], caller="echem.cycles")


def test_split_core_dimension_says_what_to_type():
    array = xr.DataArray(np.zeros((4, 4)), dims=("energy", "x")).chunk(energy=2)
    with pytest.raises(ChunkingError, match=r"\.chunk\(energy=-1\)"):
        require_whole(array, "energy", caller="xanes.fit_edge")
    require_whole(array.chunk(energy=-1), "energy", caller="xanes.fit_edge")


def test_coordinates_may_be_chunked_otherwise():
    data = xr.Variable(("scan", "energy"), np.zeros((4, 4))).chunk(scan=2)
    array = xr.DataArray(data, coords={"voltage": ("scan", np.zeros(4))})
    array = array.chunk(energy=4)  # makes one chunk of the voltage, too
    require_whole(array, "energy", caller="xanes.fit_edge")
    with pytest.raises(ChunkingError):
        require_whole(array.to_dataset(name="a"), "scan", caller="xanes.fit_edge")


@pytest.mark.parametrize(
    ("units", "to", "value", "expected"),
    [
        ("A h", "mA h", 0.5, 500.0),
        ("mA h g-1", "A h kg-1", 195.0, 195.0),
        ("degC", "K", 25.0, 298.15),
        ("1/Angstrom", "nm-1", 1.0, 10.0),
        ("keV", "eV", 5.465, 5465.0),
        ("um", "nm", 0.3, 300.0),
    ],
)
def test_conversion(units, to, value, expected):
    array = xr.DataArray([value], dims="record", name="a", attrs={"units": units})
    converted = in_units(array, to, caller="test")
    assert converted.item() == pytest.approx(expected, rel=1e-12)
    assert converted.attrs["units"] == to


@pytest.mark.parametrize("word", ["cycle", "step", "count"])
def test_counts_never_reach_pint(word):
    with pytest.raises(UnitsError, match="is a count, not a unit"):
        affine(word, "1")


def test_conversion_is_lazy_and_free_when_equal(no_compute):
    array = xr.DataArray([1.0], dims="x", name="v", attrs={"units": "V"}).chunk()
    with no_compute():
        assert in_units(array, "V", caller="test") is array
        assert in_units(array, "mV", caller="test").chunks is not None


def test_absent_and_incompatible_units_are_named():
    array = xr.DataArray([1.0], dims="record", name="voltage")
    with pytest.raises(UnitsError, match=r"attrs\['units'\] = 'V'"):
        in_units(array, "V", caller="echem.cycles")
    with pytest.raises(UnitsError, match=r"'voltage'.*'eV' cannot become 'V'"):
        in_units(array.assign_attrs(units="eV"), "V", caller="echem.cycles")
