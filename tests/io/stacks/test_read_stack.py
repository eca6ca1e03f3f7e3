"""Energy stacks of every family: values, axes, laziness, and what damage says."""

from __future__ import annotations

import json

import numpy as np
import pytest
import stack_files
import xarray as xr
from damage import damaged
from stack_files import ENERGY, SHAPE

from batteryxr.core.errors import (
    ArgumentError,
    BatteryxrError,
    DataQualityWarning,
    FileFormatError,
)
from batteryxr.io import read_athena, read_stack

pytest.importorskip("h5py")
pytest.importorskip("tifffile")
pytest.importorskip("olefile")


def assert_labelled(stack: xr.DataArray) -> None:
    for name in (None, *stack.coords):
        attrs = stack.attrs if name is None else stack[name].attrs
        assert {"units", "long_name"} <= attrs.keys(), name
    assert stack.energy.attrs["units"] == "eV"
    assert json.loads(stack.attrs["batteryxr_call"])["method"] == "read_stack"


def test_stxm_text_stack(tmp_path, no_compute):
    path, images, y, x = stack_files.write_stxm(tmp_path / "a")
    with no_compute():
        stack = read_stack(path)
    assert stack.dims == ("energy", "y", "x")
    np.testing.assert_allclose(stack, images, rtol=1e-6)
    np.testing.assert_allclose(stack.energy, ENERGY)
    np.testing.assert_allclose(stack.y, y)
    np.testing.assert_allclose(stack.x, x)
    assert stack.y.attrs["units"] == "nm"
    assert json.loads(stack.attrs["header"])["Dwell"] == 1.5
    assert_labelled(stack)
    xr.testing.assert_identical(
        read_stack(tmp_path / "a").compute().drop_attrs(), stack.compute().drop_attrs()
    )


def test_stxm_stack_that_was_stopped(tmp_path):
    path, images, *_ = stack_files.write_stxm(tmp_path, missing=(3, 4))
    with pytest.warns(DataQualityWarning, match="3 of 5 images are there"):
        stack = read_stack(path)
    np.testing.assert_allclose(stack, images[:3], rtol=1e-6)
    (tmp_path / "run7_a001.xim").write_text("1 2 3\n")
    with (
        pytest.warns(DataQualityWarning),
        pytest.raises(FileFormatError, match=r"a001\.xim: 3 numbers where .* 6 x 9"),
    ):
        read_stack(path).compute()


def test_stxm_header_says_the_line(tmp_path):
    path, *_ = stack_files.write_stxm(tmp_path)
    text = path.read_text()
    path.write_text(text.replace("StackAxis =", "StackAxis"))
    line = text[: text.index("StackAxis")].count("\n") + 1
    with pytest.raises(FileFormatError, match=rf"line {line}: expected '=' after"):
        read_stack(path)
    path.write_text(text[: len(text) // 2])
    with pytest.raises(FileFormatError, match="cut"):
        read_stack(path)
    path.write_text(text.replace("Points = (9,", "Points = (8,"))
    with pytest.raises(FileFormatError, match="a list of 8 values"):
        read_stack(path)


def test_a_point_scan_of_stxm_is_no_stack(tmp_path):
    path = tmp_path / "a.hdr"
    path.write_text(
        'ScanDefinition = { Type = "NEXAFS Point Scan"; Dwell = 1000;\n Regions = (1,\n'
        '{ PAxis = { Name = "Energy"; Unit = "eV"; Points = (2, 704, 705); };\n});\n};'
    )
    with pytest.raises(FileFormatError, match=r"'NEXAFS Point Scan', no stack.*xsp"):
        read_stack(path)


def test_measured_stxm_frame(measured):
    folder = measured("stxm-fe-l") / "raw_sample"
    with pytest.warns(DataQualityWarning, match="1 of 123"):
        stack = read_stack(folder / "71214098.hdr")
    assert stack.sizes == {"energy": 1, "y": 150, "x": 150}
    assert float(stack.energy[0]) == pytest.approx(709.464)
    assert float(stack.x[1] - stack.x[0]) == pytest.approx(80, abs=1e-6)
    raw = np.loadtxt(folder / "71214098_a040.xim")
    np.testing.assert_allclose(stack[0], raw, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["<u2", "<f4"])
def test_xradia_stack(tmp_path, dtype, no_compute):
    images = np.random.default_rng(0).integers(0, 60000, (130, 12, 16)).astype(dtype)
    energy = np.linspace(8300, 8400, 130)
    path = tmp_path / "tomo.txrm"
    stack_files.write_xradia(path, images, energy)
    with no_compute():
        stack = read_stack(path)
    assert stack.dtype == np.float32
    np.testing.assert_array_equal(stack, images)
    np.testing.assert_allclose(stack.energy, energy, rtol=1e-6)
    assert float(stack.x[1]) == pytest.approx(31.2, rel=1e-5)
    assert_labelled(stack)


def test_xradia_images_one_by_one_are_ordered_by_energy(tmp_path):
    images = np.arange(3 * 12 * 16, dtype="<u2").reshape(3, 12, 16)
    for k, energy in enumerate((8350.0, 8330.0, 8340.0)):
        stack_files.write_xradia(
            tmp_path / f"f{k}.xrm", images[k : k + 1], np.array([energy])
        )
    stack = read_stack(tmp_path)
    assert stack.energy.values.tolist() == [8330, 8340, 8350]
    np.testing.assert_array_equal(stack, images[[1, 2, 0]])
    other = np.zeros((1, 5, 5), "<u2")
    stack_files.write_xradia(tmp_path / "f9.xrm", other, np.array([8360.0]))
    with pytest.raises(FileFormatError, match=r"f9\.xrm: its frames are \(5, 5\)"):
        read_stack(tmp_path)


def test_tiff_energies_from_names_lists_and_files(tmp_path, no_compute):
    images = stack_files.write_tiffs(tmp_path / "named")
    with no_compute():
        stack = read_stack(tmp_path / "named", pixel_size=(30, 40))
    np.testing.assert_allclose(stack.energy, ENERGY)
    np.testing.assert_allclose(stack, images)
    assert float(stack.y[1]) == 30
    assert float(stack.x[1]) == 40
    stack_files.write_tiffs(tmp_path / "bare", named=False)
    with pytest.raises(ArgumentError, match="the 5 energies in eV"):
        read_stack(tmp_path / "bare")
    plain = read_stack(tmp_path / "bare", energy=ENERGY, quantity="optical_density")
    assert plain.name == "optical_density"
    assert plain.x.attrs["units"] == "1"
    (tmp_path / "list.txt").write_text("\n".join(map(str, ENERGY)))
    listed = read_stack(tmp_path / "bare", energy=tmp_path / "list.txt")
    np.testing.assert_allclose(listed.energy, ENERGY)
    (tmp_path / "list.txt").write_text("\n".join(f"{e} 100.0" for e in ENERGY))
    listed = read_stack(tmp_path / "bare", energy=tmp_path / "list.txt")
    np.testing.assert_allclose(listed.energy, ENERGY)
    with pytest.raises(ArgumentError, match="one for each of the 5 frames"):
        read_stack(tmp_path / "bare", energy=ENERGY[:3])
    with pytest.raises(ArgumentError, match="look like keV"):
        read_stack(tmp_path / "bare", energy=ENERGY / 10)


def test_nexus_stxm(tmp_path, no_compute):
    images = stack_files.write_nxstxm(tmp_path / "scan.nxs")
    with no_compute():
        stack = read_stack(tmp_path / "scan.nxs")
    np.testing.assert_array_equal(stack, images)
    np.testing.assert_allclose(stack.energy, ENERGY)
    assert float(stack.x[1]) == pytest.approx(40)
    np.testing.assert_allclose(stack.i0, 500 + np.arange(5))
    assert stack.attrs["instrument"] == "NXstxm"
    assert_labelled(stack)


def test_nexus_axes_in_another_order(tmp_path):
    import h5py

    images = stack_files.frames()
    with h5py.File(tmp_path / "s.h5", "w") as file:
        data = file.create_group("entry/data")
        data.attrs.update({"NX_class": "NXdata", "signal": "counts"})
        data.attrs["axes"] = ["sample_y", "sample_x", "energy"]
        data.create_dataset("counts", data=np.moveaxis(images, 0, -1), chunks=(2, 3, 5))
        data["energy"] = ENERGY
    stack = read_stack(tmp_path / "s.h5")
    assert stack.dims == ("energy", "y", "x")
    np.testing.assert_array_equal(stack, images)


def test_nexus_spectrum(tmp_path):
    mu = stack_files.write_nxxas(tmp_path / "one.nxs")
    spectrum = read_stack(tmp_path / "one.nxs")
    assert spectrum.dims == ("energy",)
    assert spectrum.name == "absorption"
    np.testing.assert_array_equal(spectrum, mu)


def test_cxi_objects_become_a_complex_stack(tmp_path, no_compute):
    objects = stack_files.write_cxi(tmp_path / "o")
    with no_compute():
        stack = read_stack(tmp_path / "o")
    assert stack.name == "transmission"
    assert stack.dtype == np.complex64
    np.testing.assert_array_equal(stack, objects)
    np.testing.assert_allclose(stack.energy, ENERGY)
    np.testing.assert_allclose(stack.x, 15 * np.arange(SHAPE[1]))


def test_objects_of_unlike_pixels_warn(tmp_path):
    import h5py

    stack_files.write_cxi(tmp_path)
    with h5py.File(tmp_path / "object_3.cxi", "r+") as file:
        file["entry_1/image_1/image_size"][:] *= 1.01
    with pytest.warns(DataQualityWarning, match="their size follows the wavelength"):
        read_stack(tmp_path)


def test_energies_measured_twice_warn(tmp_path):
    stack_files.write_tiffs(tmp_path, named=False)
    with pytest.warns(DataQualityWarning, match="1 energies were measured twice"):
        read_stack(tmp_path, energy=[700, 701, 701, 702, 703])


def test_hdf5_without_energy_names_what_there_is(tmp_path):
    import h5py

    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["a/stack"] = stack_files.frames()
    with pytest.raises(ArgumentError, match="a/stack"):
        read_stack(tmp_path / "s.h5")
    stack = read_stack(tmp_path / "s.h5", dataset="a/stack", energy=ENERGY)
    assert stack.dims == ("energy", "y", "x")


def test_folders_of_several_stacks_are_refused(tmp_path):
    stack_files.write_stxm(tmp_path)
    stack_files.write_stxm(tmp_path, name="run8")
    with pytest.raises(ArgumentError, match="a folder with one stack"):
        read_stack(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArgumentError, match="a folder with files"):
        read_stack(tmp_path / "empty")


def test_athena_project(tmp_path):
    e = np.linspace(5400, 5600, 41)
    mu = 1 / (1 + np.exp(-(e - 5480) / 3))
    path = tmp_path / "v.prj"
    path.write_bytes(
        stack_files.athena_project(
            {
                "V2O5": (e, mu, 0.0),
                "a/b, isn't it": (e[:30], 2 * mu[:30], 1.5),
                "V2O5 ": (e, 3 * mu, 0.0),
            }
        )
    )
    project = read_athena(path)
    assert list(project.children) == ["V2O5", "a-b, isn't it", "V2O5 (2)"]
    np.testing.assert_allclose(project["V2O5"].absorption, mu, atol=1e-6)
    shifted = project["a-b, isn't it"]
    np.testing.assert_allclose(shifted.energy, e[:30] + 1.5)
    assert shifted.attrs["energy_shift"] == 1.5
    assert shifted.attrs["e0"] == 5480.5
    assert shifted.energy.attrs["units"] == "eV"
    assert float(shifted.i0[0]) == 1000


def _sources(folder):
    path, *_ = stack_files.write_stxm(folder / "stxm")
    yield path, "hdr", 42
    images = stack_files.frames().astype("<f4")
    stack_files.write_xradia(folder / "s.txrm", images, ENERGY)
    yield folder / "s.txrm", "txrm", 42
    stack_files.write_nxstxm(folder / "s.nxs")
    yield folder / "s.nxs", "nxs", 42
    stack_files.write_cxi(folder / "cxi")
    yield folder / "cxi" / "object_0.cxi", "cxi", 42


def test_a_mosaic_is_refused_by_name(tmp_path):
    images = np.full((6, *SHAPE), 100, "u2")
    path = tmp_path / "field.txrm"
    stack_files.write_xradia(path, images, np.full(6, 8333.0), tiles=(2, 3))
    with pytest.raises(FileFormatError, match="mosaic of 2 x 3 tiles"):
        read_stack(path)


@pytest.mark.parametrize("kind", ["hdr", "txrm", "nxs", "cxi"])
@pytest.mark.filterwarnings("ignore::batteryxr.core.errors.DataQualityWarning")
def test_damaged_stacks_are_refused_or_read(tmp_path, kind):
    path, _, n = next(s for s in _sources(tmp_path) if s[1] == kind)
    raw = path.read_bytes()
    refused = []
    for what, bad in damaged(raw, n, seed=7):
        path.write_bytes(bad)
        try:
            stack = read_stack(path)
            assert stack.size <= 200 * SHAPE[0] * SHAPE[1], what
            values = stack.compute()
            assert np.isfinite(values.energy).all(), what
        except BatteryxrError as error:
            refused.append(str(error))
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    assert len(refused) > 5
    assert min(map(len, refused)) > 20


def test_damaged_projects_are_refused_or_read(tmp_path):
    import gzip

    e = np.linspace(5400, 5600, 41)
    raw = stack_files.athena_project({"a": (e, e, 0.0), "b": (e, e, 0.5)})
    path = tmp_path / "v.prj"
    refused = []
    for source in (raw, gzip.decompress(raw)):
        for what, bad in damaged(source, 60, seed=3):
            path.write_bytes(bad)
            try:
                read_athena(path)
            except BatteryxrError as error:
                refused.append(str(error))
            except Exception as error:
                raise AssertionError(f"{what}: {type(error)}: {error}") from error
    assert len(refused) > 25
    assert min(map(len, refused)) > 20
