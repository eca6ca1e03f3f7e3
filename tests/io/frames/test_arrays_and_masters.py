"""Frames as NumPy saves them, as an Eiger and BLISS write them; and what are none."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from batteryxr.core.errors import FileFormatError
from batteryxr.io import read_frames
from batteryxr.io.door.chunks import part_of

ANGLES = 15 + 0.01 * np.arange(10)


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(3, (10, 6, 7)).astype(np.uint32)


def test_a_numpy_array_is_frames(tmp_path, counts):
    for values in (counts, np.asfortranarray(counts), counts.astype(float)):
        np.save(tmp_path / "a.npy", values)
        frames = read_frames(tmp_path / "a.npy", rocking=ANGLES, chunks=4)
        assert frames.chunks is not None
        np.testing.assert_array_equal(frames.values, counts)
    for wrong in (counts[0], counts * 1j, counts[None]):
        np.save(tmp_path / "b.npy", wrong)
        with pytest.raises(FileFormatError, match="3 axes"):
            read_frames(tmp_path / "b.npy")
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "c.npy").write_bytes(whole[:-9])
    with pytest.raises(FileFormatError, match="cut"):
        read_frames(tmp_path / "c.npy")


def test_an_eiger_master_joins_its_parts(tmp_path, counts):
    """In the order of their numbers; a part that is missing is no shorter scan."""
    with h5py.File(tmp_path / "m_master.h5", "w") as master:
        group = master.create_group("entry/data")
        for k, part in enumerate((counts[:4], counts[4:8], counts[8:]), start=1):
            name = f"m_data_{k:06d}.h5"
            with h5py.File(tmp_path / name, "w") as file:
                file["entry/data/data"] = part
            group[f"data_{k:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
    frames = read_frames(tmp_path / "m_master.h5", rocking=ANGLES)
    np.testing.assert_array_equal(frames.values, counts)
    (tmp_path / "m_data_000002.h5").unlink()
    with pytest.raises(FileFormatError, match="data_000002"):
        read_frames(tmp_path / "m_master.h5", rocking=ANGLES)


def test_bliss_tells_where_the_motors_stood(tmp_path, counts):
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["2.1/measurement/mpx1x4"] = counts
        file["2.1/measurement/eta"] = ANGLES
        for motor, value in {"eta": 15.0, "phi": 5.0, "nu": 1.0, "delta": 35.0}.items():
            file[f"2.1/instrument/positioners/{motor}"] = value
    frames = read_frames(
        tmp_path / "b.h5",
        rocking="2.1/measurement/eta",
        energy=9000,
        distance=500,
        pixel_size=55,
    )
    assert frames.attrs["rocking_motor"] == "eta"
    assert float(frames["phi"]) == 5.0
    assert "eta" not in frames.coords
    # By hand: the angle between the beams, cos 2 theta = cos nu cos delta.
    cosine = np.cos(np.deg2rad(1.0)) * np.cos(np.deg2rad(35.0))
    length = 2 * (2 * np.pi * 9000 / 12398.42) * np.sqrt((1 - cosine) / 2)
    geometry = frames.cdi.geometry(beamline="ID01", centre=(3, 3))
    assert float(geometry["q_length"]) == pytest.approx(length, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 10, 6, 7), (10, 6, 7)])
def test_a_reconstruction_is_not_counted(tmp_path, shape):
    with h5py.File(tmp_path / "r.cxi", "w") as file:
        file["entry_1/image_1/data"] = np.ones(shape, np.complex64)
        file["entry_1/image_1/support"] = np.ones((10, 6, 7), np.uint8)
    with pytest.raises(FileFormatError, match="reconstruction"):
        read_frames(tmp_path / "r.cxi")


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("kind", ["<u2", ">u2", "<f4", ">f8", "i1", "<i8"])
def test_what_zlib_packed_is_what_was_written(tmp_path, kind, shuffled):
    values = (200 * np.random.default_rng(0).random((7, 9, 11)) - 60).astype(kind)
    options = {"chunks": (2, 4, 11), "compression": "gzip", "shuffle": shuffled}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("whole", data=values, **options)
        file.create_dataset("sums", data=values, fletcher32=True, **options)
        begun = file.create_dataset("begun", (7, 9, 11), kind, fillvalue=7, **options)
        begun[:2] = values[:2]
    expected = np.where(np.arange(7)[:, None, None] < 2, values, np.array(7, kind))
    with h5py.File(tmp_path / "a.h5") as file:
        for key in (
            (),
            3,
            -1,
            np.s_[1:6],
            np.s_[1:4, 2:9, 3],
            np.s_[0:7:2],
            np.s_[3:3],
        ):
            for name, known in (
                ("whole", values), ("sums", values), ("begun", expected)
            ):  # fmt: skip
                found = part_of(file[name], key)
                np.testing.assert_array_equal(found, known[key])
                assert found.dtype == kind
