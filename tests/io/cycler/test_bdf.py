"""Battery Data Format: three label styles, two containers, there and back."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from bdf_files import COLUMNS, ROWS, STYLES, TIME, table, write

from batteryxr import open_store, read_cycler, save, write_bdf
from batteryxr.core.errors import (
    ArgumentError,
    DataQualityWarning,
    DimensionError,
    FileFormatError,
    StoreError,
    UnitsError,
    VariableError,
)
from batteryxr.io.cycler.bdf_labels import parse


def same(a, b):
    """Fail unless two records agree to the last bit, attributes of variables too."""
    xr.testing.assert_equal(a, b)
    assert list(a.data_vars) == list(b.data_vars)
    for name in a.variables:
        assert a[name].dtype == b[name].dtype
        assert a[name].attrs == b[name].attrs
    ours = {"title", "source_files", "history", "batteryxr_call"}
    assert {k: v for k, v in a.attrs.items() if k not in ours} == {
        k: v for k, v in b.attrs.items() if k not in ours
    }


@pytest.fixture
def record(tmp_path):
    return read_cycler(write(tmp_path / "a.bdf.csv", table("preferred")))


def test_what_is_read(record):
    np.testing.assert_array_equal(record["test_time"], TIME)
    np.testing.assert_array_equal(record["voltage"], COLUMNS["voltage"])
    # The point moves: 0.000158 A is 0.158 mA, and nothing near it.
    assert set(np.unique(record["current"])) == {0.158, -0.3297}
    assert record["current"].attrs["units"] == "mA"
    assert record["cycle"].dtype == np.int32
    assert record["time"].values[1] == np.datetime64("2025-12-22T08:44:25.135")
    assert record.attrs["flags"] == []


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("style", sorted(STYLES))
def test_styles_and_containers_are_one(tmp_path, record, style, suffix):
    path = write(tmp_path / f"b.bdf{suffix}", table(style))
    same(read_cycler(path), record)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("labels", ["preferred", "machine"])
def test_there_and_back(tmp_path, record, labels, suffix):
    path = write_bdf(record, tmp_path / f"b.bdf{suffix}", labels=labels)
    same(read_cycler(path), record)


def test_csv_zarr_csv(tmp_path, record):
    save(record, tmp_path / "store.zarr", group="echem")
    stored = open_store(tmp_path / "store.zarr", "echem")
    first = write_bdf(record, tmp_path / "one.bdf.csv")
    second = write_bdf(stored, tmp_path / "two.bdf.csv")
    assert first.read_bytes() == second.read_bytes()
    original = (tmp_path / "a.bdf.csv").read_text().splitlines()
    assert first.read_text().splitlines()[:2] == original[:2]
    assert first.read_text().splitlines() == original


def test_lazy_records_are_written_in_blocks(tmp_path, record):
    path = write_bdf(record, tmp_path / "b.bdf.csv")
    for chunks in (7, 60):
        lazy = write_bdf(record.chunk(record=chunks), tmp_path / f"{chunks}.csv")
        assert lazy.read_bytes() == path.read_bytes()
    parquet = write_bdf(record.chunk(record=7), tmp_path / "c.parquet")
    same(read_cycler(parquet), record)


def test_other_units_are_converted(tmp_path, record):
    other = record.assign(
        voltage=(record["voltage"] * 1000).assign_attrs(units="mV"),
        current=(record["current"] / 1000).assign_attrs(units="A"),
    )
    back = read_cycler(write_bdf(other, tmp_path / "b.bdf.csv"))
    np.testing.assert_allclose(back["voltage"], record["voltage"], rtol=1e-15)
    np.testing.assert_allclose(back["current"], record["current"], rtol=1e-15)
    bad = record.assign(voltage=record["voltage"].assign_attrs(units="s"))
    with pytest.raises(UnitsError, match="voltage"):
        write_bdf(bad, tmp_path / "c.bdf.csv")
    assert not (tmp_path / "c.bdf.csv").exists()


def test_capacity_is_called_what_it_was(tmp_path, record):
    columns = table("machine") | {"step_net_capacity_ah": TIME * 1e-6}
    ds = read_cycler(write(tmp_path / "b.bdf.csv", columns))
    assert ds["capacity"].attrs["source_label"] == "Step Net Capacity / Ah"
    path = write_bdf(ds, tmp_path / "c.bdf.csv")
    assert "Step Net Capacity / Ah" in path.read_text().splitlines()[0]
    # A cycler's own count may restart or not: it takes no word of the format.
    counted = ds.assign(capacity=ds["capacity"].assign_attrs(source_label="Q/mA.h"))
    path = write_bdf(counted, tmp_path / "d.bdf.csv")
    assert ",Capacity / Ah" in path.read_text().splitlines()[0]
    np.testing.assert_array_equal(read_cycler(path)["capacity"], ds["capacity"])


def test_other_quantities_are_kept(tmp_path):
    columns = table("preferred") | {
        "Internal Resistance / ohm": np.full(ROWS, 0.012),
        "Surface Temperature T1 / degC": np.full(ROWS, 31.5),
        "Step Type": np.array(["Rest"] * ROWS),
    }
    ds = read_cycler(write(tmp_path / "b.parquet", columns))
    assert ds["internal_resistance"].attrs["units"] == "ohm"
    assert ds["temperature"].values[0] == 26.05375
    back = read_cycler(write_bdf(ds, tmp_path / "c.bdf.csv", labels="machine"))
    same(back, ds)


def test_energy_is_the_cell_s_not_a_photon_s(tmp_path, record):
    energy = ("record", np.round(TIME * 0.1, 4), {"units": "mW h", "long_name": "E"})
    path = write_bdf(record.assign(energy=energy), tmp_path / "b.bdf.csv")
    assert path.read_text().splitlines()[0].endswith(",Energy / Wh")
    back = read_cycler(path)["energy"]
    np.testing.assert_array_equal(back, energy[1])
    assert back.attrs["units"] == "mW h"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_missing_values_stay_missing(tmp_path, record, suffix):
    gaps = record["temperature"].where(record["test_time"] > 3)
    holed = record.assign(temperature=gaps.assign_attrs(record["temperature"].attrs))
    back = read_cycler(write_bdf(holed, tmp_path / f"b.bdf{suffix}"))
    same(back, holed)


def test_time_without_zone_is_not_written(tmp_path, record):
    bare = record.assign_coords(time=record["time"].where(False))
    path = write_bdf(bare, tmp_path / "b.bdf.csv")
    assert "Unix" not in path.read_text().splitlines()[0]
    assert np.isnat(read_cycler(path)["time"]).all()


def test_what_cannot_be_written_is_said(tmp_path, record):
    odd = record.assign(
        word=("record", np.array(["x"] * ROWS), {"units": "1"}),
        torque=("record", TIME, {"units": "N m"}),
    )
    with pytest.warns(DataQualityWarning, match="torque, word|word, torque") as caught:
        write_bdf(odd, tmp_path / "b.bdf.csv")
    assert caught[0].filename == __file__
    two = record.assign_coords(file=("record", np.arange(ROWS) // 30))
    with pytest.warns(DataQualityWarning, match="boundaries"):
        write_bdf(two, tmp_path / "c.bdf.csv")


def test_arguments(tmp_path, record):
    with pytest.raises(ArgumentError, match="labels='legacy'"):
        write_bdf(record, tmp_path / "b.csv", labels="legacy")
    with pytest.raises(ArgumentError, match=r"ends in \.csv or \.parquet"):
        write_bdf(record, tmp_path / "b.xlsx")
    with pytest.raises(VariableError, match="current"):
        write_bdf(record.drop_vars("current"), tmp_path / "b.csv")
    with pytest.raises(DimensionError, match="record"):
        write_bdf(record.rename(record="row"), tmp_path / "b.csv")
    path = write_bdf(record, tmp_path / "b.csv")
    with pytest.raises(StoreError, match="overwrite=True"):
        write_bdf(record, path)
    assert write_bdf(record, path, overwrite=True) == path
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bdf.csv", "b.csv"]


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ("Test Time / s", ("test_time", "s")),
        ("test_time_second", ("test_time", "s")),
        ("test_time_millisecond", ("test_time", "ms")),
        (" Voltage / V ", ("voltage", "V")),
        ("cycle_count", ("cycle_count", "1")),
        ("Cycle Count / 1", ("cycle_count", "1")),
        ("cycle_dimensionless", ("cycle", "1")),
        ("net_capacity_ah", ("net_capacity", "A h")),
        ("Step Type", None),
        ("voltage", None),
        ("/", None),
        ("", None),
    ],
)
def test_labels(label, found):
    term = parse(label)
    assert (None if term is None else (term.stem, term.units)) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "no column of the Battery Data Format"),
        ("Test Time / s,Voltage / V\n0,3\n", "no column for current"),
        ("Test Time / s,Voltage / V,Current / A\n", "no data rows"),
        ("Test Time / s,Voltage / V,Current / A\n0,3,0\n1,x,0\n", "line 3.*'x'"),
        ("Test Time / s,Voltage / V,Current / A\n0,3,0\n1,3\n2,3,0\n", "line 3"),
        ("Test Time / s,Voltage / s,Current / A\n0,3,0\n", "units of another kind"),
        ("Test Time / s,Voltage / V,Current / A\nnan,3,0\n", "test time is"),
    ],
)
def test_damage_is_located(tmp_path, text, said):
    path = tmp_path / "a.bdf.csv"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=r"a\.bdf\.csv.*" + said):
        read_cycler(path)


def test_a_broken_parquet(tmp_path, record):
    path = write_bdf(record, tmp_path / "a.bdf.parquet")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(FileFormatError, match="not a whole parquet file"):
        read_cycler(path)


# Measured data


REFERENCE = {
    "DLR__LiLNMOHydra0b__20221125__POCV__25degC__Basytec.bdf.csv": (
        17_860,
        "time_scale",
    ),
    "SINTEF__G20M7-202512-Gru6mV__20251228__C30__25degC__Neware.bdf.csv": (
        17_587,
        "cycle_counts",
    ),
    "legacy.bdf.parquet": (5000, None),
}


@pytest.mark.parametrize("name", sorted(REFERENCE))
def test_reference_files_there_and_back(tmp_path, measured, name):
    rows, flag = REFERENCE[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        ds = read_cycler(measured(f"cyclers/bdf/{name}"))
        assert ds.sizes["record"] == rows
        assert ds.attrs["flags"] == ([flag] if flag else [])
        save(ds, tmp_path / "store.zarr")
        stored = open_store(tmp_path / "store.zarr")
        for path in ("a.bdf.csv", "a.bdf.parquet"):
            back = read_cycler(write_bdf(stored, tmp_path / path))
            xr.testing.assert_equal(back, ds)
        again = write_bdf(read_cycler(tmp_path / "a.bdf.csv"), tmp_path / "b.csv")
    assert again.read_bytes() == (tmp_path / "a.bdf.csv").read_bytes()


def test_true_and_false_are_no_current(tmp_path):
    pandas = pytest.importorskip("pandas")
    columns = {"Test Time / s": [0.0, 1.0], "Voltage / V": [3.0, 3.1]}
    frame = pandas.DataFrame({**columns, "Current / A": [True, False]})
    frame.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(FileFormatError, match="'Current / A' does not hold numbers"):
        read_cycler(tmp_path / "x.parquet")
