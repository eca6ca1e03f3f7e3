"""What HDF5 would make up, or keep in other numbers, is refused, told or undone."""

from __future__ import annotations

import warnings
import zlib

import numpy as np
import pytest

from batteryxr.core.errors import DataQualityWarning, FileFormatError
from batteryxr.io import read_cxi, read_frames, read_stack

h5py = pytest.importorskip("h5py")

FRAMES = np.random.default_rng(0).poisson(40, (5, 6, 8)).astype("u2") + 1
ENERGY = np.array([700.0, 705.5, 708.25, 712.0, 730.125])


def write(path, data=FRAMES, energy=ENERGY, **options):
    """Write a stack, and return its file for changes."""
    file = h5py.File(path, "w")
    file.create_dataset("entry/data/data", data=data, **options)
    file["entry/data/energy"] = energy
    return file


@pytest.mark.parametrize("packed", [False, True])
def test_a_piece_that_is_too_short_is_no_memory(tmp_path, packed):
    path = tmp_path / "a.h5"
    filters = {"compression": "gzip"} if packed else {}
    with write(path) as file:
        del file["entry/data/energy"]
        short = file.create_dataset(
            "entry/data/energy", (5,), "f8", chunks=(5,), **filters
        )
        raw = ENERGY[:2].tobytes()
        short.id.write_direct_chunk((0,), zlib.compress(raw) if packed else raw)
    with pytest.raises(FileFormatError, match="unpacks to 16 bytes, and not to 40"):
        read_stack(path)


def test_a_frame_of_half_a_piece_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    with write(path) as file:
        del file["entry/data/data"]
        shape = FRAMES.shape
        data = file.create_dataset("entry/data/data", shape, "u2", chunks=shape)
        data.id.write_direct_chunk((0, 0, 0), FRAMES.tobytes()[:100])
    with pytest.raises(FileFormatError, match="unpacks to 100 bytes"):
        read_stack(path).compute()


def test_pieces_that_a_filter_left_alone_are_read(tmp_path):
    path = tmp_path / "a.h5"
    with write(path) as file:
        del file["entry/data/energy"]
        plain = file.create_dataset(
            "entry/data/energy", (5,), "f8", chunks=(5,), compression="gzip"
        )
        plain.id.write_direct_chunk((0,), ENERGY.tobytes(), filter_mask=1)
    np.testing.assert_array_equal(read_stack(path)["energy"], ENERGY)


def test_frames_that_nobody_wrote_are_told(tmp_path):
    path = tmp_path / "a.h5"
    with write(path, np.where(np.arange(5)[:, None, None] < 3, FRAMES, 0)):
        pass
    with pytest.warns(DataQualityWarning, match="frames hold nothing but 0"):
        read_stack(path).compute()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_stack(path)[:3].compute()


def test_a_list_that_ends_in_zeros_is_told(tmp_path):
    path = tmp_path / "a.h5"
    with write(path) as file:
        file["entry/data"].attrs["axes"] = ["th", ".", "."]
        file["entry/data/th"] = [10.0, 10.01, 10.02, 0.0, 0.0]
    with pytest.warns(
        DataQualityWarning, match=r"last 2 of 5 values of /entry/data/th"
    ):
        read_frames(path)


def test_scales_and_marks_of_a_file_are_kept_to(tmp_path):
    path = tmp_path / "a.h5"
    with write(path, energy=np.round(ENERGY * 1000 - 5).astype("i4")) as file:
        file["entry/data/energy"].attrs.update(scale_factor=0.001, add_offset=0.005)
    np.testing.assert_allclose(read_stack(path)["energy"], ENERGY)
    with write(path, energy=[*ENERGY[:4], 9999.0]) as file:
        file["entry/data/energy"].attrs["_FillValue"] = 9999.0
    with pytest.raises(FileFormatError, match="energy 5 of 5 is nan"):
        read_stack(path)
    with write(path) as file:
        file["entry/data/data_scaling_factor"] = 0.5
    with pytest.warns(DataQualityWarning, match=r"multiply /entry/data/data by 0\.5"):
        read_stack(path)


def write_scan(path, unit, factor, **other):
    """Write CXI whose lengths are in a unit."""
    places = np.arange(15).reshape(5, 3) * 1e-6
    with h5py.File(path, "w") as file:
        detector = file.create_group("entry_1/instrument_1/detector_1")
        lengths = {"distance": 0.3, "x_pixel_size": 75e-6, "y_pixel_size": 75e-6,
                   "translation": places}  # fmt: skip
        for name, value in lengths.items():
            detector[name] = np.asarray(value) * factor
            if unit:
                detector[name].attrs["units"] = unit
        detector["data"] = other.get("data", FRAMES)
        beam = "entry_1/instrument_1/beam_1/incident_beam_energy"
        file[beam] = 5480 * 1.602176634e-19
    return path


def test_units_of_cxi_are_looked_at(tmp_path):
    plain = read_cxi(write_scan(tmp_path / "m.cxi", "", 1.0))
    for unit, factor in (("cm", 100.0), ("mm", 1e3), ("um", 1e6)):
        scan = read_cxi(write_scan(tmp_path / "a.cxi", unit, factor))
        for name in ("distance", "pixel_pitch", "position_y", "position_x"):
            np.testing.assert_allclose(scan[name], plain[name])
    with pytest.raises(FileFormatError, match="distance"):
        read_cxi(write_scan(tmp_path / "a.cxi", "s", 1.0))
    with pytest.raises(FileFormatError, match="holds bool, not numbers"):
        read_cxi(write_scan(tmp_path / "a.cxi", "", 1.0, data=FRAMES > 40))


def test_storage_beside_a_file_is_not_taken_from_elsewhere(tmp_path, monkeypatch):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder, values in ((home, FRAMES), (elsewhere, FRAMES * 0 + 3)):
        folder.mkdir()
        (folder / "raw.bin").write_bytes(values.tobytes())
    with h5py.File(home / "a.h5", "w") as file:
        outside = [("raw.bin", 0, FRAMES.nbytes)]
        file.create_dataset("entry/data/data", FRAMES.shape, "u2", external=outside)
        file["entry/data/energy"] = ENERGY
    monkeypatch.chdir(elsewhere)
    with pytest.raises(FileFormatError, match=r"os\.chdir to its folder"):
        read_stack(home / "a.h5")
    monkeypatch.chdir(home)
    np.testing.assert_array_equal(read_stack(home / "a.h5"), FRAMES)


def test_sources_that_moved_with_their_file_or_overlap(tmp_path):
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["frames"] = FRAMES
    layout = h5py.VirtualLayout(FRAMES.shape, FRAMES.dtype)
    moved = h5py.VirtualSource("/where/it/was/source.h5", "frames", FRAMES.shape)
    layout[:] = moved
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)
        file["entry/data/energy"] = ENERGY
    np.testing.assert_array_equal(read_stack(tmp_path / "a.h5"), FRAMES)
    layout[1:3] = moved[3:5]
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["entry/data/data"]
        file.create_virtual_dataset("entry/data/data", layout)
    with pytest.warns(DataQualityWarning, match="sources of /entry/data/data overlap"):
        read_stack(tmp_path / "a.h5")


def test_a_cut_file_is_called_cut(tmp_path):
    path = tmp_path / "a.h5"
    with write(path):
        pass
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileFormatError, match="it is cut: "):
        read_stack(path)
