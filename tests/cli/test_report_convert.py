"""Pages and conversions, from files as a cycler writes them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import batteryxr
from batteryxr import simulate
from batteryxr.cli.main import main


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cell")
    experiment = simulate.cell_experiment(seed=3)
    simulate.write_cell_experiment(experiment, folder, timezone="Europe/Paris")
    return folder, experiment["echem"].to_dataset()


def test_cycling_alone_makes_a_report(cell, tmp_path, capsys):
    folder, record = cell
    page = tmp_path / "page.html"
    asked = ["--timezone", "Europe/Paris", "--electrode", "cathode", "--first"]
    asked += ["charge", "--mass", "7"]
    status = main(["report", str(folder / "cell.mpt"), "--out", str(page), *asked])
    assert status == 0, capsys.readouterr().err
    text = page.read_text()
    cycles = record.echem.cycles(electrode="cathode", first="charge", mass=7.0)
    efficiency = 100 * float(cycles["coulombic_efficiency"][0])
    assert f"Coulombic efficiency of {efficiency:.1f} %" in text
    assert "Coulombic efficiency (%)" in text
    assert "mA h g⁻¹" in text
    assert "How it was made" in text
    assert "Scans" not in text
    again = ["report", str(folder / "cell.mpt"), "--out", str(page)]
    assert main(again) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_cycler_file_becomes_battery_data_format(cell, tmp_path):
    folder, record = cell
    out = tmp_path / "cell.bdf.csv"
    source = str(folder / "cell.mpt")
    assert main(["convert", source, str(out), "--timezone", "Europe/Paris"]) == 0
    table = pd.read_csv(out)
    assert "Voltage / V" in table
    np.testing.assert_allclose(table["Voltage / V"], record["voltage"], atol=1e-4)


def test_scans_become_nexus_and_zarr(cell, tmp_path):
    import h5py

    folder, _ = cell
    kind = ["--kind", "series", "--timezone", "Europe/Paris"]
    nexus, store = tmp_path / "scans.nxs", tmp_path / "scans.zarr"
    assert main(["convert", str(folder / "scans"), str(nexus), *kind]) == 0
    assert main(["convert", str(folder / "scans"), str(store), *kind]) == 0
    there = next(iter(batteryxr.open_store(store).data_vars.values()))
    with h5py.File(nexus) as file:
        data = file["entry"][file["entry"].attrs["default"]]
        np.testing.assert_array_equal(data[data.attrs["signal"]], there)
