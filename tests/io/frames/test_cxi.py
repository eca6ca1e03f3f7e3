from __future__ import annotations

import numpy as np
import pytest

from batteryxr.core.errors import DataError, FileFormatError, StoreError
from batteryxr.io import read_cxi, write_cxi
from batteryxr.simulate import ptychography


@pytest.fixture(scope="module")
def scan():
    whole, _ = ptychography(energy=np.array([5500.0]), positions=3, size=32)
    one = whole.isel(energy=0)
    mask = np.zeros((32, 32), bool)
    mask[3, 5] = True
    return one.assign(mask=(("detector_y", "detector_x"), mask))


def test_measured_file(measured):
    path = measured("ptycho-cxi-nearfield") / "PETRAIII_P25_Near_Field_Ptycho.cxi"
    scan = read_cxi(path)
    assert scan.frames.shape == (200, 100, 100)
    assert scan.frames.chunks is not None
    assert float(scan.energy) == pytest.approx(12658, abs=1)
    assert float(scan.distance) == pytest.approx(1120)
    assert float(scan.pixel_pitch) == pytest.approx(55)
    assert int(scan.mask.sum()) == 5
    # Positions spread over micrometres, in nm.
    assert 1e3 < float(np.ptp(scan.position_x.values)) < 1e6


def test_measured_file_comes_back(measured, tmp_path):
    path = measured("ptycho-cxi-nearfield") / "PETRAIII_P25_Near_Field_Ptycho.cxi"
    scan = read_cxi(path)
    back = read_cxi(write_cxi(scan, tmp_path / "again.cxi"))
    assert back.frames.dtype == scan.frames.dtype
    np.testing.assert_array_equal(back.frames, scan.frames)
    np.testing.assert_array_equal(back.mask, scan.mask)
    for name in ("energy", "distance", "pixel_pitch", "position_y", "position_x"):
        np.testing.assert_allclose(back[name], scan[name], rtol=1e-14)


def test_round_trip(scan, tmp_path):
    back = read_cxi(write_cxi(scan, tmp_path / "scan.cxi"))
    np.testing.assert_array_equal(back.frames.values, scan.frames.values)
    np.testing.assert_array_equal(back.mask, scan.mask)
    np.testing.assert_array_equal(back.probe, scan.probe)
    assert back.frames.dtype == np.float32
    for name in ("energy", "distance", "pixel_pitch", "position_y", "position_x"):
        np.testing.assert_allclose(back[name], scan[name], rtol=1e-12)
        assert back[name].attrs["units"] == scan[name].attrs["units"]


def test_fields_that_nexus_requires(scan, tmp_path):
    import h5py

    with h5py.File(write_cxi(scan, tmp_path / "scan.cxi")) as file:
        entry = file["entry_1"]
        assert entry["definition"][()] == b"NXcxi_ptycho"
        for name in (
            "instrument_1/source_1/energy",
            "instrument_1/beam_1/incident_beam_energy",
            "instrument_1/detector_1/translation",
            "instrument_1/detector_1/distance",
            "instrument_1/detector_1/x_pixel_size",
            "instrument_1/detector_1/y_pixel_size",
            "data_1/data",
            "data_1/translation",
        ):
            assert name in entry, name
        assert entry["data_1/data"].id == entry["instrument_1/detector_1/data"].id


def test_opening_reads_no_frame(scan, tmp_path, no_compute):
    path = write_cxi(scan, tmp_path / "scan.cxi")
    with no_compute():
        read_cxi(path)


def test_messages(scan, tmp_path):
    import h5py

    path = write_cxi(scan, tmp_path / "scan.cxi")
    with pytest.raises(StoreError, match=r"scan\.cxi exists.*overwrite=True"):
        write_cxi(scan, path)
    before = path.read_bytes()
    with pytest.raises(DataError, match="distance"):  # half way: the old stays
        write_cxi(scan.drop_vars("distance"), path, overwrite=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["scan.cxi"]
    write_cxi(scan, path, overwrite=True)
    with pytest.raises(FileFormatError, match="no group 'entry_2'"):
        read_cxi(path, dataset="entry_2")
    with h5py.File(path, "a") as file:
        del file["entry_1/instrument_1/detector_1/distance"]
    with pytest.raises(FileFormatError, match="no detector distance"):
        read_cxi(path)
