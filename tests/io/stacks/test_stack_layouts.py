"""Stacks as microscopes write them, made here byte by byte: energies, axes, pixels."""

import numpy as np
import pytest

from batteryxr import io
from batteryxr.core.errors import (
    ArgumentError,
    DataQualityWarning,
    FileFormatError,
)

h5py = pytest.importorskip("h5py")
tifffile = pytest.importorskip("tifffile")

ENERGY = np.array([8330.0, 8340, 8345.5, 8350, 8360])
FRAMES = np.random.default_rng(0).integers(1, 60000, (5, 8, 9)).astype("uint16")


def check(stack, pixel=None):
    assert stack.dims == ("energy", "y", "x")
    np.testing.assert_allclose(stack.energy, ENERGY)
    np.testing.assert_array_equal(stack, FRAMES)
    if pixel:
        assert stack.x.attrs["units"] == "nm"
        assert float(stack.x[1] - stack.x[0]) == pytest.approx(pixel)


def test_fxi_in_kev(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X_eng"], file["scan_id"] = ENERGY / 1000, 1
        file["img_xanes"] = FRAMES.astype("f4")
    check(io.read_stack(tmp_path / "a.h5"))


def test_mistral_with_its_pixels(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        group = file.create_group("SpecNormalized")
        group["spectroscopy_normalized"], group["energy"] = FRAMES, ENERGY
        group["x_pixel_size"] = group["y_pixel_size"] = 0.03
        group["Currents"] = np.ones(5)
    check(io.read_stack(tmp_path / "a.hdf5"), pixel=30)


def test_data_exchange_with_flats_and_darks(tmp_path):
    sample, flat, dark = 100 + 0.25 * 800, 900.0, 100.0
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("exchange")
        group["data"] = np.full((5, 8, 9), sample, "uint16")
        group["data_white"] = np.full((3, 8, 9), flat, "uint16")
        group["data_dark"] = np.full((2, 8, 9), dark, "uint16")
        group["energy"] = ENERGY / 1000
        group["energy"].attrs["units"] = "keV"
    stack = io.read_stack(tmp_path / "a.h5")
    np.testing.assert_allclose(stack.energy, ENERGY)
    density = stack.xanes.optical_density()
    np.testing.assert_allclose(density, -np.log(0.25), rtol=1e-6)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (1, 2, 0)])
def test_one_cube_in_any_order(tmp_path, axes):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = FRAMES.transpose(axes)
    check(io.read_stack(tmp_path / "a.h5", energy=ENERGY))


def test_images_of_any_name_beside_their_energies(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("1.1/measurement")
        group["pco"], group["energy"] = FRAMES, ENERGY / 1000
        group["energy"].attrs["units"] = "keV"
        group["ring"] = np.ones(5)
    check(io.read_stack(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["1.1/measurement/frelon"] = FRAMES
    with pytest.raises(ArgumentError, match=r"frelon.*dataset="):
        io.read_stack(tmp_path / "a.h5")
    check(io.read_stack(tmp_path / "a.h5", dataset="1.1/measurement/pco"))


def test_axes_that_nobody_can_tell_apart_are_told(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = FRAMES[:, :5]
    with pytest.warns(DataQualityWarning, match="2 axes of /data"):
        stack = io.read_stack(tmp_path / "a.h5", energy=ENERGY)
    np.testing.assert_array_equal(stack, FRAMES[:, :5])


def test_pixels_of_imagej_and_ome(tmp_path):
    resolution = {"resolution": (1 / 0.03, 1 / 0.04)}
    about = {"unit": "um", "axes": "ZYX"}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAMES, imagej=True, metadata=about, **resolution)
    stack = io.read_stack(path, energy=ENERGY)
    check(stack, pixel=30)
    assert float(stack.y[1] - stack.y[0]) == pytest.approx(40)
    for unit, size in (("nm", 30.0), ("µm", 0.03)):
        sizes = {f"PhysicalSize{a}": size for a in "XY"}
        units = {f"PhysicalSize{a}Unit": unit for a in "XY"}
        path = tmp_path / "b.ome.tif"
        tifffile.imwrite(path, FRAMES, metadata={"axes": "ZYX"} | sizes | units)
        check(io.read_stack(path, energy=ENERGY), pixel=30)
    plain = tmp_path / "c.tif"
    tifffile.imwrite(plain, FRAMES, photometric="minisblack", resolution=(72, 72))
    assert io.read_stack(plain, energy=ENERGY).x.attrs["units"] == "1"


def test_names_in_kev(tmp_path):
    for energy, frame in zip(ENERGY, FRAMES, strict=True):
        tifffile.imwrite(tmp_path / f"c_{energy / 1000:.4f}keV.tif", frame)
    check(io.read_stack(tmp_path))


def test_several_files_of_many_pages(tmp_path):
    first, second = tmp_path / "p1.tif", tmp_path / "p2.tif"
    tifffile.imwrite(first, FRAMES[:2], photometric="minisblack")
    tifffile.imwrite(second, FRAMES[2:], photometric="minisblack")
    check(io.read_stack([first, second], energy=ENERGY))
    # Three frames are taken for colours by some programs.
    tifffile.imwrite(first, FRAMES[:3], photometric="rgb", planarconfig="separate")
    tifffile.imwrite(second, FRAMES[3:], photometric="minisblack")
    check(io.read_stack([first, second], energy=ENERGY))


def test_a_colour_picture_is_no_stack(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((3, 8, 9), "uint8"), photometric="rgb")
    with pytest.raises(FileFormatError, match="grey"):
        io.read_stack(path, energy=ENERGY[:3])


BEAM = np.array([900.0, 800, 700, 600, 500])[:, None, None]
PLACE = 1 + 0.1 * np.arange(9.0)
THROUGH = np.exp(-np.linspace(0.2, 1.0, 5))[:, None, None] * np.ones((8, 9))


def test_frames_of_fxi_are_divided_by_flats_once(tmp_path):
    """Its programs write frames that are divided already, beside the flat frames."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X_eng"], file["Pixel Size"] = ENERGY / 1000, "40.5nm"
        file["img_xanes"] = THROUGH.astype("f4")
        file["img_bkg"] = (BEAM * PLACE * np.ones((8, 9))).astype("f4")
        file["img_dark"] = np.full((1, 8, 9), 100.0, "f4")
    with pytest.warns(DataQualityWarning, match="divided by flat frames already"):
        stack = io.read_stack(tmp_path / "a.h5")
    np.testing.assert_allclose(
        stack.xanes.optical_density(), -np.log(THROUGH), rtol=1e-6
    )
    assert float(stack.x[1]) == pytest.approx(40.5)


def test_raw_frames_of_fxi_are_divided_by_their_flats(tmp_path):
    flats = BEAM * PLACE * np.ones((8, 9))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X_eng"] = ENERGY[::-1] / 1000  # falling: flats turn with their frames
        file["img_xanes"] = (100 + flats * THROUGH)[::-1]
        file["img_bkg"], file["img_dark"] = 100 + flats[::-1], np.full((1, 8, 9), 100.0)
    stack = io.read_stack(tmp_path / "a.h5")
    np.testing.assert_allclose(stack.xanes.optical_density(), -np.log(THROUGH))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["img_bkg"][:] = 1.0
    with pytest.warns(DataQualityWarning, match="does not look like the flat frames"):
        assert "i0" not in io.read_stack(tmp_path / "a.h5").coords


def test_a_flat_for_each_energy_and_too_few_of_them(tmp_path):
    flats = BEAM * PLACE * np.ones((8, 9))
    for name, some in (("a.h5", slice(None)), ("b.h5", slice(0, 2))):
        with h5py.File(tmp_path / name, "w") as file:
            group = file.create_group("exchange")
            group["data"], group["data_white"] = flats * THROUGH, flats[some]
            group["energy"] = ENERGY
    density = io.read_stack(tmp_path / "a.h5").xanes.optical_density()
    np.testing.assert_allclose(density, -np.log(THROUGH))
    with pytest.warns(DataQualityWarning, match="2 flat frames for 5 energies"):
        io.read_stack(tmp_path / "b.h5")


def test_files_of_one_energy_keep_their_flats(tmp_path):
    for k, (energy, beam) in enumerate(zip(ENERGY, BEAM.ravel(), strict=True)):
        with h5py.File(tmp_path / f"e{k}.h5", "w") as file:
            group = file.create_group("exchange")
            group["data"] = (beam * PLACE * THROUGH[k])[None]
            group["data_white"] = np.tile(beam * PLACE, (3, 8, 1))
            group["energy"] = [energy]
    density = io.read_stack(tmp_path).xanes.optical_density()
    np.testing.assert_allclose(density, -np.log(THROUGH))
