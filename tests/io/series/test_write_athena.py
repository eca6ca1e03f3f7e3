"""Athena projects written: as Larch reads them (checked once), and as we do."""

import ast
import gzip
import re

import numpy as np
import pytest
import xarray as xr

from batteryxr import read_athena, write_athena, xanes
from batteryxr.core.errors import ArgumentError, DataError, StoreError, UnitsError

ENERGY = np.arange(5380.0, 5800.0, 1.7)


def spectrum(e0=5480.0, step=0.8, name="absorption"):
    rng = np.random.default_rng(int(e0))
    line = 0.2 - 3e-4 * (ENERGY - 5480)
    mu = line + step / (1 + np.exp(-(ENERGY - e0) / 3))
    mu = mu + 1e-3 * rng.standard_normal(ENERGY.size)
    return xr.DataArray(
        mu,
        dims="energy",
        coords={"energy": ("energy", ENERGY, {"units": "eV"})},
        name=name,
        attrs={"units": "1"},
    )


@pytest.fixture
def kept():
    """A spectrum as a project holds it: shifted, with parameters and a reference."""
    told = (
        '{"bkg_e0": "5480.3", "bkg_pre1": "-80", "bkg_pre2": "-30", '
        '"bkg_nor1": "50", "bkg_nor2": "250", "bkg_nnorm": "3"}'
    )
    dataset = spectrum().to_dataset()
    dataset["i0"] = ("energy", np.linspace(1e5, 9e4, ENERGY.size))
    dataset.attrs = {"energy_shift": 0.37, "reference": "foil", "athena": told}
    return dataset


def lists_of(path):
    """Read the lists of a project by Python's own rules for quoted text."""
    text = gzip.decompress(path.read_bytes()).decode()
    found = re.findall(r"^@(\w+) = (\(.*\));$", text, re.MULTILINE)
    return [(name, ast.literal_eval(body)) for name, body in found if name != "journal"]


def test_what_is_written_comes_back(tmp_path, kept):
    path = write_athena(
        {"V it's \\ /": kept, "foil": spectrum(5465.0)}, tmp_path / "a.prj"
    )
    lists = lists_of(path)
    assert [name for name, _ in lists] == ["args", "x", "y", "i0", "args", "x", "y"]
    args = dict(zip(lists[0][1][::2], lists[0][1][1::2], strict=True))
    assert args["label"] == "V it's \\ /"
    assert args["bkg_nnorm"] == "3"
    x, y = (np.array(lists[k][1], float) for k in (1, 2))
    np.testing.assert_allclose(x + 0.37, ENERGY, atol=1e-9)
    assert y.sum() == kept.absorption.values.sum()
    project = read_athena(path)
    assert list(project.children) == ["V it's \\ -", "foil"]
    back = project["V it's \\ -"]
    np.testing.assert_array_equal(back.absorption, kept.absorption)
    np.testing.assert_array_equal(back.i0, kept.i0)
    assert back.attrs["reference"] == "foil"
    again = write_athena(project, tmp_path / "b.prj")
    assert again.read_bytes() == path.read_bytes()


def test_a_series_and_its_gaps(tmp_path):
    series = xr.concat([spectrum(e) for e in (5479.0, 5481.0)], "scan")
    series = series.assign_coords(scan=[3, 7])
    series[1, 4] = np.nan
    project = read_athena(write_athena(series, tmp_path / "s.prj"))
    assert list(project.children) == ["scan 3", "scan 7"]
    assert project["scan 7"].energy.size == ENERGY.size - 1
    normal = spectrum(name="normalised").assign_coords(energy=ENERGY / 1e3)
    normal.energy.attrs["units"] = "keV"
    path = write_athena(normal, tmp_path / "n.prj")
    args = lists_of(path)[0][1]
    assert args[args.index("is_nor") + 1] == "1"
    np.testing.assert_allclose(read_athena(path)["normalised"].energy, ENERGY)


def test_what_is_no_spectrum_is_refused(tmp_path):
    path = tmp_path / "a.prj"
    with pytest.raises(ArgumentError, match=r"\.prj"):
        write_athena(spectrum(), tmp_path / "a.txt")
    with pytest.raises(ArgumentError, match="at least one"):
        write_athena({}, path)
    with pytest.raises(DataError, match="no spectrum"):
        write_athena({"a": spectrum(name="phase")}, path)
    with pytest.raises(DataError, match="0 energies"):
        write_athena({"a": spectrum() * np.nan}, path)
    bare = spectrum()
    del bare.energy.attrs["units"]
    with pytest.raises(UnitsError):
        write_athena({"a": bare}, path)
    assert not path.exists()
    write_athena({"a": spectrum()}, path)
    with pytest.raises(StoreError, match="overwrite"):
        write_athena({"a": spectrum()}, path)
    write_athena({"a": spectrum()}, path, overwrite=True)


def test_normalise_as_the_project_does(tmp_path, kept):
    node = read_athena(write_athena({"V": kept}, tmp_path / "a.prj"))["V"]
    given = {"e0": 5480.3, "pre": (-80.0, -30.0), "post": (50.0, 250.0), "degree": 2}
    expected = xanes.normalise(spectrum(), **given)
    found = spectrum().xanes.normalise(like=node)
    xr.testing.assert_equal(found.drop_attrs(), expected.drop_attrs())
    own = spectrum().xanes.normalise(like=node.to_dataset(), degree=1)
    expected = xanes.normalise(spectrum(), **given | {"degree": 1})
    xr.testing.assert_equal(own.drop_attrs(), expected.drop_attrs())
    with pytest.raises(ArgumentError, match="like="):
        xanes.normalise(spectrum(), like=kept.drop_attrs())
    hand = kept.assign_attrs(athena='{"bkg_fixstep": "1", "bkg_step": "0.7"}')
    with pytest.raises(DataError, match=r"by hand to 0\.7"):
        xanes.normalise(spectrum(), like=hand)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ('{"bkg_e0": "none"}', "bkg_e0 = 'none'"),
        ('{"bkg_pre1": "nan"}', "bkg_pre1 = 'nan'"),
        ('{"bkg_nnorm": "9"}', "bkg_nnorm = 9"),
        ('{"bkg_e0": "5480', "cannot be read"),
        ("[]", "cannot be read"),
    ],
)
def test_parameters_that_are_none_are_named(kept, stored, words):
    with pytest.raises(DataError, match=words):
        xanes.normalise(spectrum(), like=kept.assign_attrs(athena=stored))


@pytest.mark.parametrize(
    "labels",
    [
        [1000001, 1000002, 1000003],
        [86400.125, 86400.25, 86400.5],
        np.array([1, 2, 3], "m8[s]"),
        ["a", "a", "b"],
    ],
)
def test_no_spectrum_of_a_series_is_lost_behind_its_label(tmp_path, labels):
    scans = [spectrum(5478.0 + k) for k in range(3)]
    series = xr.concat(scans, "scan").assign_coords(scan=labels)
    project = read_athena(write_athena(series, tmp_path / "series.prj"))
    assert len(project.children) == 3
    for node, scan in zip(project.children.values(), scans, strict=True):
        np.testing.assert_array_equal(node.absorption.values, scan.values)


def test_spectra_have_the_names_that_they_are_given(tmp_path, kept):
    kept.attrs["label"] = "scan_001"
    path = write_athena({"V2O3": kept, "V2O5": kept}, tmp_path / "named.prj")
    project = read_athena(path)
    assert list(project.children) == ["V2O3", "V2O5"]
    assert project["V2O5"].attrs["label"] == "V2O5"


def test_energies_that_fall_are_written_rising(tmp_path):
    falling = spectrum().isel(energy=slice(None, None, -1))
    project = read_athena(write_athena({"v": falling}, tmp_path / "falling.prj"))
    np.testing.assert_array_equal(project["v"].energy.values, ENERGY)
    np.testing.assert_array_equal(project["v"].absorption.values, spectrum().values)
