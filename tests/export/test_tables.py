"""Numbers out: what other programs read from csv, workbooks and NeXus files."""

from __future__ import annotations

import csv
import json

import dask.array
import h5py
import numpy as np
import openpyxl
import pandas as pd
import pytest
import xarray as xr

import batteryxr
from batteryxr.core.errors import ArgumentError, DataError, StoreError

TIMES = np.array(["2026-03-01T08:00:00.25", "2026-03-01T08:00:10", "NaT"], "M8[ns]")


@pytest.fixture
def cycles():
    return xr.Dataset(
        {
            "capacity": ("cycle", [1.5, np.nan, 1.25], {"units": "mA h"}),
            "capacity_error": ("cycle", [0.1, 0.2, 0.3], {"units": "mA h"}),
            "complete": ("cycle", [True, True, False], {"units": "1"}),
            "note": ("cycle", ["fine", "=2+2", "a, b"], {"units": "1"}),
            "quality": (
                "cycle",
                [0, 2, 0],
                {"flag_values": [0, 2], "flag_meanings": "good short", "units": "1"},
            ),
        },
        {
            "cycle": ("cycle", [1, 2, 3], {"units": "1", "long_name": "Cycle number"}),
            "time": ("cycle", TIMES, {"long_name": "Time"}),
        },
        attrs={
            "history": "2026-03-01T09:00:00Z batteryxr 0.1.0: echem.cycles(mass=2.0)",
            "batteryxr_call": json.dumps(
                {"accessor": "echem", "method": "cycles", "arguments": {"mass": 2.0}}
            ),
        },
    )


@pytest.fixture
def spectra():
    energy = np.linspace(5400, 5500, 11)
    values = np.arange(33.0).reshape(3, 11)
    return xr.DataArray(
        values,
        {
            "scan": [4, 5, 6],
            "energy": ("energy", energy, {"units": "eV"}),
            "voltage": ("scan", [3.1, 3.2, 3.3], {"units": "V"}),
        },
        ("scan", "energy"),
        name="absorption",
        attrs={"units": "1"},
    )


def test_pandas_reads_the_table(cycles, tmp_path):
    path = batteryxr.write_csv(cycles, tmp_path / "cycles.csv")
    table = pd.read_csv(path, comment="#")
    assert list(table)[:2] == ["cycle", "time (UTC)"]
    np.testing.assert_array_equal(table["capacity (mA h)"], cycles["capacity"])
    assert pd.to_datetime(table["time (UTC)"])[0] == pd.Timestamp(TIMES[0], tz="UTC")
    assert table["time (UTC)"].isna().tolist() == [False, False, True]
    text = path.read_text()
    assert (
        "# made by: 2026-03-01T09:00:00Z batteryxr 0.1.0: echem.cycles(mass=2.0)"
        in (text)
    )
    assert "quality: 0 good; 2 short" in text


def test_no_text_becomes_a_formula(cycles, tmp_path):
    rows = list(
        csv.reader(
            line
            for line in batteryxr.write_csv(cycles, tmp_path / "a.csv")
            .read_text()
            .splitlines()
            if not line.startswith("#")
        )
    )
    column = rows[0].index("note")
    assert [row[column] for row in rows[1:]] == ["fine", "'=2+2", "a, b"]
    book = openpyxl.load_workbook(batteryxr.write_xlsx(cycles, tmp_path / "a.xlsx"))
    cells = {c.value: c.data_type for row in book["cycle"].rows for c in row}
    assert cells["=2+2"] == "s"


def test_spectra_run_down_and_scans_across(spectra, tmp_path):
    path = batteryxr.write_csv(spectra, tmp_path / "s.csv")
    table = pd.read_csv(path, comment="#")
    assert list(table) == [
        "energy (eV)",
        *(f"absorption [scan={n}]" for n in (4, 5, 6)),
    ]
    np.testing.assert_array_equal(table.iloc[:, 1:].T, spectra)
    assert "# voltage (V) of scan: 3.1, 3.2, 3.3" in path.read_text()


def test_lazy_data_and_singles_keep_their_digits(tmp_path):
    values = np.array([0.1, 1 / 3, 1e-7], "f4")
    data = xr.DataArray(
        dask.array.from_array(values, chunks=1), dims="record", name="v"
    )
    table = pd.read_csv(
        batteryxr.write_csv(data, tmp_path / "v.csv"), comment="#", dtype={"v": "f4"}
    )
    np.testing.assert_array_equal(table["v"].to_numpy(), values)
    assert "0.1\n" in (tmp_path / "v.csv").read_text()


def test_complex_numbers_take_two_columns(tmp_path):
    data = xr.DataArray(
        [1 + 2j, 3 - 4j], dims="frequency", name="z", attrs={"units": "ohm"}
    )
    table = pd.read_csv(batteryxr.write_csv(data, tmp_path / "z.csv"), comment="#")
    assert table["z, imaginary (ohm)"].tolist() == [2.0, -4.0]


def test_several_tables_are_for_a_workbook(cycles, spectra, tmp_path):
    both = xr.merge([cycles, spectra.to_dataset()], combine_attrs="override")
    with pytest.raises(ArgumentError, match="make 2: cycle; scan x energy"):
        batteryxr.write_csv(both, tmp_path / "both.csv")
    sheets = pd.read_excel(
        batteryxr.write_xlsx(both, tmp_path / "both.xlsx"), sheet_name=None
    )
    assert list(sheets) == ["about", "cycle", "scan x energy"]
    assert sheets["cycle"]["capacity"][0] == "mA h"
    assert sheets["cycle"]["capacity"][1] == 1.5


def test_nothing_is_lost_where_writing_fails(cycles, tmp_path):
    path = batteryxr.write_csv(cycles, tmp_path / "a.csv")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="overwrite=True"):
        batteryxr.write_csv(cycles, path)

    def fail(block):
        raise OSError("the disk is gone")

    values = dask.array.ones(3, chunks=1).map_blocks(fail, dtype="f8", meta=np.ones(1))
    broken = xr.DataArray(values, dims="cycle", name="a")
    with pytest.raises(StoreError):
        batteryxr.write_csv(broken, path, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (batteryxr.write_csv, "a.txt"),
        (batteryxr.write_xlsx, "a.xls"),
        (batteryxr.write_nexus, "a.csv"),
        (batteryxr.write_csv, "none/a.csv"),
    ],
)
def test_a_wrong_place_is_refused_by_name(cycles, tmp_path, write, name):
    with pytest.raises(ArgumentError, match="path="):
        write(cycles, tmp_path / name)


def test_what_is_no_table_is_refused(tmp_path):
    stack = xr.DataArray(np.zeros((2, 3, 4)), dims=("energy", "y", "x"), name="od")
    with pytest.raises(DataError, match="od: energy 2 x y 3 x x 4 is no table"):
        batteryxr.write_csv(stack, tmp_path / "a.csv")
    with pytest.raises(DataError, match="nothing to write"):
        batteryxr.write_nexus(xr.Dataset(), tmp_path / "a.nxs")


def test_a_viewer_finds_signal_axes_and_errors(cycles, spectra, tmp_path):
    tree = xr.DataTree.from_dict({"/cell": cycles, "/xas": spectra.to_dataset()})
    path = batteryxr.write_nexus(tree, tmp_path / "a.nxs")
    with h5py.File(path) as file:
        entry = file[file.attrs["default"]]
        plot = entry[entry.attrs["default"]]
        assert plot.attrs["NX_class"] == "NXdata"
        assert plot.attrs["signal"] == "capacity"
        assert list(plot.attrs["axes"]) == ["cycle"]
        assert plot["capacity"].attrs["units"] == "mA h"
        np.testing.assert_array_equal(plot["capacity_errors"], [0.1, 0.2, 0.3])
        assert plot["capacity"].attrs["uncertainties"] == "capacity_errors"
        assert plot["time"].attrs["start"].startswith("2026-03-01T08:00:00.25")
        np.testing.assert_array_equal(plot["time"], [0, 9.75, np.nan])
        call = json.loads(entry["process/call/data"][()])
        assert call["method"] == "cycles"
        xas = file["xas/scan_energy"]
        assert xas.attrs["signal"] == "absorption"
        assert list(xas.attrs["axes"]) == ["scan", "energy"]
        assert xas.attrs["voltage_indices"].tolist() == [0]
        np.testing.assert_array_equal(xas["absorption"], spectra)


def test_no_text_ends_a_row(tmp_path):
    names = ["cell#4.mpt", '#1, "the other"', "plain"]
    data = xr.Dataset(
        {"name": ("record", names), "voltage": ("record", [3.5, 3.6, 3.7])}
    )
    table = pd.read_csv(batteryxr.write_csv(data, tmp_path / "a.csv"), comment="#")
    assert table["name"].tolist() == names
    assert table["voltage"].tolist() == [3.5, 3.6, 3.7]
    assert not data.coords  # the caller's own data are as they were


def test_what_stands_for_all_rows_is_told(spectra, tmp_path):
    one = spectra.assign_coords(temperature=((), 25.0, {"units": "degC"}))
    weight = xr.DataArray(np.ones(spectra.shape), dims=spectra.dims)
    path = batteryxr.write_csv(one.assign_coords(weight=weight), tmp_path / "a.csv")
    assert "# temperature: all at 25.0 degC\n" in path.read_text()
    assert "weight [scan=6]" in pd.read_csv(path, comment="#")
    single = batteryxr.write_csv(one[0, 0], tmp_path / "b.csv")
    read = pd.read_csv(single, comment="#")
    assert read["energy (eV)"][0] == 5400.0
    assert read["temperature (degC)"][0] == 25.0


def test_an_infinite_number_is_not_missing(tmp_path):
    data = xr.DataArray([1.0, np.inf, -np.inf, np.nan], dims="scan", name="ratio")
    path = batteryxr.write_xlsx(data, tmp_path / "a.xlsx")
    cells = [c.value for c in openpyxl.load_workbook(path)["scan"]["B"]]
    assert cells == ["ratio", None, 1, "inf", "-inf", None]


def test_a_viewer_is_never_told_to_draw_a_text(tmp_path):
    data = xr.Dataset(
        {
            "note": ("scan", np.array(["first", None], dtype=object)),
            "voltage": ("scan", [3.5, 3.6]),
        }
    )
    with h5py.File(batteryxr.write_nexus(data, tmp_path / "a.nxs")) as file:
        plot = file["entry/scan"]
        assert plot.attrs["signal"] == "voltage"
        assert "auxiliary_signals" not in plot.attrs
        assert plot["note"].asstr()[()].tolist() == ["first", ""]


def test_labels_longer_than_a_cell_go_on_in_the_next(tmp_path):
    n = 100
    data = xr.DataArray(
        np.zeros((n, 2)),
        {"name": ("scan", [f"scan_{k:0500d}" for k in range(n)])},
        ("scan", "r"),
        name="g",
    )
    path = batteryxr.write_xlsx(data, tmp_path / "a.xlsx")
    last = list(openpyxl.load_workbook(path, read_only=True)["scan x r"].rows)[-1]
    whole = "".join(cell.value for cell in last if cell.value)
    assert len(last[0].value) == 32_767
    assert whole.endswith(f"scan_{n - 1:0500d}")
    assert whole.count("scan_") == n
