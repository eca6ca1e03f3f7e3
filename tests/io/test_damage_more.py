"""Damaged scan series, Battery Data Format and Neware files: refused or sound."""

from __future__ import annotations

import gzip
import io
import warnings
import zipfile

import damage
import numpy as np
import pytest
import scan_files
from bdf_files import COLUMNS, STYLES, table, write

from batteryxr import read_cycler, read_series
from batteryxr.core.errors import BatteryxrError


def sound(array, n_scans):
    """Fail unless a series has the shape that is promised."""
    assert array.dims[0] == "scan"
    assert array.sizes["scan"] == n_scans
    axis = array[array.dims[1]].values
    assert np.isfinite(axis).all()
    assert array.dtype == np.float64
    assert not np.isinf(array).any()
    assert {"units", "long_name"} <= set(array.attrs)
    for name, coord in array.coords.items():
        assert coord.dtype.kind in "fUM", name
        assert "long_name" in coord.attrs, name
    assert (array["exposure"].values[~np.isnan(array["exposure"])] >= 0).all()


def judge(files, what, **options):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = read_series(files, **options).compute()
    except BatteryxrError as error:
        return "refused" if len(str(error)) > 20 else f"{what}: says nothing"
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    sound(array, len(files))
    return "read"


@pytest.mark.parametrize("lazy", [False, True])
def test_series(tmp_path, lazy, copies):
    files = scan_files.quick_xas(tmp_path, 3)
    raw = files[1].read_bytes()
    outcomes = []
    for what, spoiled in damage.damaged(raw, copies, 11):
        files[1].write_bytes(spoiled)
        options = {"timezone": "Europe/Paris", "order": "given", "lazy": lazy}
        outcomes.append(judge(files, what, **options))
    assert set(outcomes) == {"read", "refused"}
    assert outcomes.count("refused") > copies // 4


@pytest.mark.parametrize("suffix", [".gr", ".gr.gz", ".xdi", ".csv"])
def test_single_files(tmp_path, suffix, copies):
    if suffix == ".xdi":
        columns = {"energy eV": scan_files.ENERGY, "mu": scan_files.spectrum(0)}
        header = {"Scan__start_time": "2024-01-01 10:00:00", "Sample__name": "foil"}
        path = scan_files.xdi(tmp_path / "a.xdi", columns, **header)
    elif suffix == ".csv":
        path = tmp_path / "a.csv"
        columns = [scan_files.R, scan_files.pdf(0)]
        path.write_text("r(nm);G\n" + scan_files.table(columns, ";").replace(".", ","))
    else:
        (path,) = scan_files.gr(tmp_path, 1, zipped=suffix.endswith("gz"))
    raw = path.read_bytes()
    outcomes = []
    for what, spoiled in damage.damaged(raw, copies, 12):
        path.write_bytes(spoiled)
        outcomes.append(judge([path], what, timezone="UTC"))
    if suffix == ".gr.gz":
        # Damage inside, wrapped again: gzip's own check does not see it.
        for what, spoiled in damage.damaged(gzip.decompress(raw), copies, 13):
            path.write_bytes(gzip.compress(spoiled, 1))
            outcomes.append(judge([path], what))
    assert set(outcomes) == {"read", "refused"}
    assert outcomes.count("refused") > copies // 5


@pytest.mark.parametrize("style", sorted(STYLES))
@pytest.mark.parametrize("suffix", [".bdf.csv", ".bdf.parquet"])
def test_bdf(tmp_path, style, suffix, copies):
    path = write(tmp_path / f"a{suffix}", table(style))
    raw = path.read_bytes()
    most = 4 * len(COLUMNS["test_time"])
    outcomes = []
    for what, spoiled in damage.damaged(raw, copies, 14):
        path.write_bytes(spoiled)
        outcomes.append(damage.judge(path, read_cycler, what, most))
    assert outcomes.count("refused") > copies // 4


def test_neware(tmp_path, measured, copies):
    pytest.importorskip("fastnda")
    raw = measured("cyclers/neware/Unit27_Example_Corrupt.ndax").read_bytes()
    path = tmp_path / "a.ndax"
    outcomes = []
    for what, spoiled in damage.damaged(raw, copies, 15):
        path.write_bytes(spoiled)
        outcomes.append(damage.judge(path, read_cycler, what, 5000))
    # Damage inside the archive, packed again: its checksums do not see it.
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for what, spoiled in damage.damaged(members["data.ndc"], copies, 16):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (members | {"data.ndc": spoiled}).items():
                archive.writestr(name, content)
        outcomes.append(damage.judge(path, read_cycler, what, 5000))
    assert outcomes.count("refused") > copies // 2


def test_neware_nda(tmp_path, measured, copies):
    pytest.importorskip("fastnda")
    with zipfile.ZipFile(measured("cyclers/neware/SIM.nda.zip")) as archive:
        raw = archive.read("SIM.nda")[:120_000]
    path = tmp_path / "a.nda"
    outcomes = []
    for what, spoiled in damage.damaged(raw, copies, 17):
        path.write_bytes(spoiled)
        outcomes.append(damage.judge(path, read_cycler, what, 10_000))
    assert outcomes.count("read") + outcomes.count("refused") == copies
