"""Frames of a rocking curve from TIFF with SPEC, NeXus and CXI."""

from __future__ import annotations

import warnings

import h5py
import numpy as np
import pytest
import tifffile
import xarray as xr

from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    FileFormatError,
)
from batteryxr.io import read_frames, read_image

COUNTS = np.random.default_rng(0).poisson(5.0, (7, 6, 5)).astype(np.int32)
SPEC = (
    """#F run.spec
#O0 Delta  Theta  Energy

#S 54  ascan  th 0 3  6 0.25
#D Tue Feb 04 12:28:23 2020
#P0 32.174 0.22 9
#L Theta  Seconds  ImageTot
"""
    + "\n".join(f"{0.5 * k} 0.25 {k}" for k in range(7))
    + "\n"
)


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "S0054"
    inside.mkdir()
    for k, frame in enumerate(COUNTS):
        tifffile.imwrite(inside / f"S_{k}.tif", frame)
    (tmp_path / "run.spec").write_text(SPEC)
    return inside


def test_a_folder_with_spec_is_one_labelled_array(folder, no_compute):
    with no_compute():
        frames = read_frames(
            folder,
            spec=folder.parent / "run.spec",
            scan=54,
            pixel_size=55,
            energy=9000,
            distance=500,
            origin=(10, 20),
            timezone="America/Chicago",
            chunks=3,
        )
    assert frames.dims == ("rocking", "detector_y", "detector_x")
    assert frames.chunksizes["rocking"] == (3, 3, 1)
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(frames, COUNTS)
    np.testing.assert_array_equal(frames["rocking"], 0.5 * np.arange(7))
    assert frames["detector_y"].values[0] == 10
    assert frames["detector_x"].values[0] == 20
    assert frames.attrs["rocking_motor"] == "Theta"
    assert float(frames["Delta"]) == 32.174
    assert float(frames["motor_Energy"]) == 9
    assert float(frames["energy"]) == 9000
    assert float(frames["exposure"]) == 0.25
    assert frames["time"] == np.datetime64("2020-02-04T18:28:23")
    for name in frames.coords:
        assert "long_name" in frames[name].attrs, name
        assert name == "time" or "units" in frames[name].attrs, name


@pytest.mark.parametrize("chunk", [1, 2, 7, 100])
def test_chunks_do_not_change_what_is_read(folder, chunk):
    with pytest.warns(DataQualityWarning, match="no rocking angles"):
        frames = read_frames(folder, chunks=chunk)
    np.testing.assert_array_equal(frames.values, COUNTS)


def test_ten_comes_after_two(tmp_path):
    for k in (10, 2, 1):
        tifffile.imwrite(tmp_path / f"f_{k}.tif", np.full((4, 4), k, np.uint16))
    frames = read_frames(str(tmp_path / "f_*.tif"), rocking=[0, 1, 2])
    assert frames.isel(detector_y=0, detector_x=0).values.tolist() == [1, 2, 10]


def test_one_file_of_many_pages(tmp_path):
    tifffile.imwrite(tmp_path / "all.tif", COUNTS, photometric="minisblack")
    frames = read_frames(tmp_path / "all.tif", rocking=np.arange(7.0), chunks=4)
    np.testing.assert_array_equal(frames, COUNTS)
    np.testing.assert_array_equal(frames[[5, 0], 1:, ::2], COUNTS[[5, 0], 1:, ::2])
    np.testing.assert_array_equal(frames[3, 2], COUNTS[3, 2])
    assert frames[:0].values.shape == (0, *COUNTS.shape[1:])


def test_frames_and_angles_must_agree(folder):
    (folder / "S_6.tif").unlink()
    with pytest.raises(ArgumentError, match=r"7 angles.*6 frames"):
        read_frames(folder, spec=folder.parent / "run.spec", scan=54)


def test_a_damaged_frame_is_named_when_it_is_read(folder):
    path = folder / "S_3.tif"
    path.write_bytes(path.read_bytes()[:60])
    frames = read_frames(folder, rocking=np.arange(7.0), chunks=2)
    assert frames.isel(rocking=0).values.shape == (6, 5)
    with pytest.raises(FileFormatError, match=r"S_3\.tif"):
        frames.isel(rocking=3).load()


def test_a_frame_of_another_size_is_named(folder):
    tifffile.imwrite(folder / "S_3.tif", np.zeros((3, 3), np.int32))
    frames = read_frames(folder, rocking=np.arange(7.0))
    with pytest.raises(FileFormatError, match=r"S_3\.tif.*\(3, 3\)"):
        frames.load()


def test_no_tiff_at_all(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"no image")
    with pytest.raises(FileFormatError, match="no readable TIFF"):
        read_frames(tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(ArgumentError, match="a folder with TIFF or EDF"):
        read_frames(tmp_path / "b")


def nexus(path, compression=None):
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update({"NX_class": "NXentry", "default": "data"})
        data = entry.create_group("data")
        data.attrs.update({"NX_class": "NXdata", "signal": "frames"})
        data.attrs["axes"] = ["eta", ".", "."]
        data.create_dataset(
            "frames", data=COUNTS, chunks=(2, 6, 5), compression=compression
        )
        data["eta"] = np.deg2rad(0.01 * np.arange(7))
        data["eta"].attrs["units"] = "rad"
        entry.create_dataset("other", data=np.zeros((3, 3, 3)))
        detector = entry.create_group("instrument/detector")
        detector["distance"] = 1.2
        detector["x_pixel_size"] = 75.0
        detector["x_pixel_size"].attrs["units"] = "um"
        mask = np.zeros((6, 5), np.uint32)
        mask[2, 3] = 1
        detector["pixel_mask"] = mask
        beam = entry.create_group("instrument/beam")
        beam["incident_energy"] = 9.0
        beam["incident_energy"].attrs["units"] = "keV"
    return path


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_nexus_gives_frames_angles_and_instrument(tmp_path, compression, no_compute):
    path = nexus(tmp_path / "scan.nxs", compression)
    with no_compute():
        frames = read_frames(path, chunks=5)
    assert frames.chunksizes["rocking"] == (4, 3)  # whole chunks of the file
    np.testing.assert_array_equal(frames, COUNTS)
    np.testing.assert_allclose(frames["rocking"], 0.01 * np.arange(7))
    assert frames.attrs["rocking_motor"] == "eta"
    assert float(frames["distance"]) == 1200
    assert float(frames["pixel_size_x"]) == 75
    assert float(frames["energy"]) == pytest.approx(9000)
    assert int(frames["mask"].sum()) == 1


def test_of_several_datasets_one_is_asked_for(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["one"], file["two"] = COUNTS, COUNTS
    with pytest.raises(ArgumentError, match=r"'one', 'two'"):
        read_frames(path)
    frames = read_frames(path, dataset="two", rocking=np.arange(7.0))
    np.testing.assert_array_equal(frames, COUNTS)


def test_damaged_hdf5_is_refused(tmp_path):
    path = nexus(tmp_path / "scan.nxs")
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 3])
    with pytest.raises(FileFormatError, match=r"scan\.nxs"):
        read_frames(path).load()


def test_a_measured_cxi_file(measured):
    (path,) = measured("ptycho-cxi-nearfield").glob("*.cxi")
    frames = read_frames(path, rocking=np.arange(200.0))
    assert frames.shape == (200, 100, 100)
    assert float(frames["energy"]) == pytest.approx(12658, abs=1)
    assert float(frames["distance"]) == pytest.approx(1120)
    assert float(frames["pixel_size_y"]) == pytest.approx(55)
    assert int((frames["mask"] != 0).sum()) == 5


def test_an_image_has_pixel_coordinates(tmp_path):
    tifffile.imwrite(tmp_path / "dark.tif", COUNTS[0])
    np.save(tmp_path / "flat.npy", COUNTS[1])
    xr.testing.assert_identical(
        read_image(tmp_path / "dark.tif")["detector_y"],
        read_image(tmp_path / "flat.npy")["detector_y"],
    )
    np.testing.assert_array_equal(read_image(tmp_path / "dark.tif"), COUNTS[0])
    np.save(tmp_path / "cube.npy", COUNTS)
    with pytest.raises(FileFormatError, match="2 axes"):
        read_image(tmp_path / "cube.npy")


def test_numbers_of_frames_are_not_taken_for_angles(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = np.ones((4, 8, 8), "u2")
    with pytest.warns(DataQualityWarning, match="frames are numbered"):
        frames = read_frames(path)
    assert frames["rocking"].attrs["units"] == "1"
    with pytest.raises(DataError, match="rocking angles are not known"):
        frames.cdi.geometry(
            beamline="ID01",
            rocking="eta",
            motors={"eta": 10.0, "delta": 30.0, "nu": 0.0, "phi": 0.0},
            energy=9000.0,
            distance=1000.0,
            pixel_size=55.0,
        )


def test_angles_in_thousandths_of_a_degree_are_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.ones((3, 9, 9), "u2"), photometric="minisblack"
    )
    with pytest.raises(ArgumentError, match=r"rocking.*mdeg\? Pass 10\.3"):
        read_frames(tmp_path / "a.tif", rocking=[10100.0, 10200.0, 10300.0])


@pytest.mark.parametrize("packed", [{}, {"compression": "zlib"}])
@pytest.mark.parametrize("pages", [True, False])
def test_images_that_are_copies_are_told(tmp_path, packed, pages):
    frames = np.random.default_rng(0).poisson(20, (8, 32, 32)).astype("uint16")
    frames[[2, 3]] = 0  # dark frames may be alike
    for copied in (False, True):
        folder = tmp_path / str(copied)
        folder.mkdir()
        if copied:
            frames[6] = frames[5]
        if pages:
            with tifffile.TiffWriter(folder / "all.tif") as file:
                for frame in frames:
                    file.write(frame, contiguous=False, **packed)
        else:
            for number, frame in enumerate(frames):
                tifffile.imwrite(folder / f"f_{number}.tif", frame, **packed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            read_frames(folder, rocking=np.linspace(15, 15.4, 8))
        said = [str(w.message) for w in caught if "same numbers" in str(w.message)]
        assert len(said) == copied
        if copied:
            assert said[0].startswith("1 of 8 images")
            assert "6" in said[0].split("those of")[0]
