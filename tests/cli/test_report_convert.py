"""Pages and conversions, from files as a cycler writes them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import batteryxr
from batteryxr import simulate
from batteryxr.cli import convert
from batteryxr.cli.main import main
from batteryxr.core.errors import DataError


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
    assert '"sizing_mode":"stretch_width"' in text  # whole on a phone
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


def test_links_in_a_circle_are_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    for out in ("out.csv", "out.zarr"):
        assert main(["convert", "loop.csv", out]) == 2
        assert "leads in a circle" in capsys.readouterr().err
    (tmp_path / "loop.html").symlink_to("loop.html")
    assert main(["operando", "--out", "z.zarr", "--report", "loop.html"]) == 2
    assert "loop.html is no report of batteryxr" in capsys.readouterr().err


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


_ROWS = "Test Time / s,Voltage / V,Current / A\n0,3.5,0.1\n10,3.6,0.1\n20,3.7,0.1\n"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("convert a.csv a.csv --overwrite", "OUT a.csv: expected another file"),
        ("convert b.csv a.csv a.csv --overwrite", "OUT a.csv: expected another file"),
        ("convert a.csv folder.csv", "OUT folder.csv: expected a file, not a folder"),
        ("operando --out file://", "--out : expected the path of a store"),
        ("convert a.csv none/b.csv", "OUT none/b.csv: expected a file in a folder"),
        ("convert a.csv b.nxs --kind series --test 2", "--test 2: expected nothing"),
        ("convert a.csv b.nxs --kind stack --timezone UTC", "--timezone UTC: expected"),
        ("report none.mpt", "FILE none.mpt: expected an existing file"),
        ("report made.zarr --mass 3", "--mass 3.0: expected nothing: a store holds"),
    ],
)
def test_nothing_is_passed_over(tmp_path, monkeypatch, capsys, command, told):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(_ROWS)
    (tmp_path / "folder.csv").mkdir()
    if "made.zarr" in command:
        batteryxr.save(pd.Series([1.0]).to_xarray().to_dataset(name="x"), "made.zarr")
    assert main(command.split()) == 2
    assert told in capsys.readouterr().err
    assert (tmp_path / "a.csv").read_text() == _ROWS
    there = {p.name for p in tmp_path.iterdir()}
    assert there <= {"a.csv", "b.csv", "folder.csv", "made.zarr"}


@pytest.mark.parametrize("name", ["a.csv", "a.zarr", "a.nxs"])
@pytest.mark.parametrize("why", ["long", "read only", "there"])
def test_places_are_tried_before_the_files_are_read(
    tmp_path, monkeypatch, capsys, name, why
):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    source, out = tmp_path / "in.csv", tmp_path / name
    source.write_text(_ROWS)
    monkeypatch.setattr(convert, "_read", lambda *_: pytest.fail("the file was read"))
    if why == "long":
        out = tmp_path / ("x" * 300 + name)
    elif why == "read only":
        monkeypatch.setattr(os, "mkdir", refuse)
    elif name == "a.zarr":
        batteryxr.save(xr.Dataset(attrs={"title": "mine"}), out)
    else:
        out.write_text("mine")
    before = sorted(p for p in tmp_path.rglob("*"))
    assert main(["convert", str(source), str(out)]) == 2
    words = {"long": "name too long", "read only": "Read-only", "there": "--overwrite"}
    told = capsys.readouterr().err
    assert words[why] in told
    assert told.count("\n") == 1
    assert sorted(p for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.zarr", "a.nxs", "a.xlsx"])
@pytest.mark.parametrize("why", ["full", "long"])
def test_what_the_system_refuses_is_one_sentence(tmp_path, capfd, name, why):
    resource = pytest.importorskip("resource")
    if name == "a.parquet":
        pytest.importorskip("pyarrow")
    source, out = tmp_path / "in.csv", tmp_path / name
    more = "".join(f"{10 * k},{3.5 + k / 1e3:.4f},0.1\n" for k in range(3, 400))
    source.write_text(_ROWS + more)
    asked = ["convert", str(source), "--overwrite"]
    assert main([*asked, str(out)]) == 0
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    before = {p: p.read_bytes() for p in files}
    capfd.readouterr()
    if why == "full":
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
        try:
            status = main([*asked, str(out)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    else:
        status = main([*asked, str(tmp_path / ("x" * 300 + name))])
    told = capfd.readouterr().err
    assert status == 2
    words = {"full": "File too large", "long": "name too long"}
    assert words[why] in told
    assert told.count("\n") == 1
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("out", ["scans/a.csv", "b.csv"])
def test_files_that_are_read_are_not_written_over(cell, tmp_path, monkeypatch, out):
    """They also belong to a folder, or match a pattern."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    (tmp_path / out).write_text("mine")
    for source in ("scans", "*.csv"):
        if out.startswith("scans") == (source == "scans"):
            assert main(["convert", source, out, "--overwrite"]) == 2
    assert (tmp_path / out).read_text() == "mine"


@pytest.mark.parametrize("kind", ["pipe", "read-only"])
def test_what_is_no_file_to_replace_stays(cell, tmp_path, capsys, kind):
    folder, _ = cell
    out = tmp_path / "a.csv"
    if kind == "pipe":
        os.mkfifo(out)
    else:
        out.write_text("mine")
        out.chmod(0o444)
    before = out.lstat()
    status = main(["convert", str(folder / "cell.mpt"), str(out), "--overwrite"])
    assert status == 2
    assert kind in capsys.readouterr().err
    assert out.lstat().st_ino == before.st_ino


def test_a_terminal_carries_out_nothing_of_a_store(tmp_path, capsys):
    odd = "\x1b[31mred\n/echem  (forged)\u202e"
    data = xr.Dataset({"v": ("x", [1.0], {"units": odd})})
    batteryxr.save(data, tmp_path / "a.zarr", group=odd.replace("/", ""))
    assert main(["info", str(tmp_path / "a.zarr")]) == 0
    told = capsys.readouterr().out
    assert all(line.isprintable() for line in told.splitlines())
    assert "\n/echem  (forged)" not in told


def test_texts_that_no_file_can_hold_are_named(tmp_path):
    data = xr.Dataset({"v": ("x", [1.0, 2.0])}, coords={"n": ("x", ["a", "\ud800"])})
    for name in ("a.csv", "a.zarr"):
        write = batteryxr.save if name == "a.zarr" else batteryxr.write_csv
        with pytest.raises(DataError, match="no character"):
            write(data, tmp_path / name)
    data = xr.Dataset({"a b": 1.0, "a_b": 2.0})
    with pytest.raises(DataError, match="Rename variables"):
        batteryxr.write_nexus(data, tmp_path / "a.nxs")
    assert not list(tmp_path.iterdir())


def test_what_files_lack_is_told_by_options(tmp_path, monkeypatch):
    tifffile = pytest.importorskip("tifffile")
    monkeypatch.chdir(tmp_path)
    Path("bare.csv").write_text("t;U;I\n0;3,5;-1,5\n10;3,6;-1,5\n20;3,7;-1,5\n")
    given = ["t=time (s)", "U=voltage (V)", "I=current (mA)"]
    columns = [word for text in given for word in ("--columns", text)]
    assert main(["convert", "bare.csv", "a.zarr", *columns]) == 0
    with batteryxr.open_store("a.zarr") as record:
        np.testing.assert_allclose(record["voltage"], [3.5, 3.6, 3.7])
        np.testing.assert_allclose(record["current"], -1.5)
        assert record["current"].attrs["units"] == "mA"
    stack = np.arange(24, dtype="f4").reshape(2, 3, 4)
    tifffile.imwrite("stack.tif", stack, photometric="minisblack")
    Path("energies.txt").write_text("8333\n8340\n")
    told = ["--kind", "stack", "--energy", "energies.txt"]
    assert main(["convert", "stack.tif", "b.zarr", *told]) == 0
    with batteryxr.open_store("b.zarr") as made:
        np.testing.assert_array_equal(made["energy"], [8333, 8340])
