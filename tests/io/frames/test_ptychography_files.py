"""Scans of beamlines: one synthetic file per layout, all of the same scan."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import xarray as xr

from batteryxr.cdi import Mirrors, ptycho, ptycho_probe
from batteryxr.core.errors import ArgumentError, DataQualityWarning, FileFormatError
from batteryxr.io import read_ptychography, write_cxi
from batteryxr.io.frames.ptychography_layouts import LAYOUTS
from batteryxr.simulate import ptychography

ROWS = 4
GEOMETRY = ("energy", "distance", "pixel_pitch")


@pytest.fixture(scope="module")
def truth():
    """A raster of 4 x 4 whose positions are exactly those of two axes."""
    whole, _ = ptychography(
        energy=np.array([5500.0]), positions=ROWS, size=32, step=60.0
    )
    one = whole.isel(energy=0, drop=False)
    y, x = np.divmod(np.arange(ROWS**2), ROWS)
    return one.assign_coords(
        position_y=one.position_y.copy(data=60.0 * y - 90.0),
        position_x=one.position_x.copy(data=60.0 * x - 90.0),
    )


def put(file, name, values, units=None):
    file[name] = values
    if units:
        file[name].attrs["units"] = units


def detector(file, group, truth):
    put(file, f"{group}/distance", float(truth.distance) * 1e-3, "m")
    put(file, f"{group}/x_pixel_size", float(truth.pixel_pitch) * 1e-6, "m")


def i08(file, truth, y, x):
    raster = (ROWS, ROWS, 32, 32)
    put(file, "entry_1/data_1/data", truth.frames.values.reshape(raster))
    put(file, "entry_1/data_1/y", -y[::ROWS, None, None] * 1e-3)
    put(file, "entry_1/data_1/x", -x[:ROWS, None, None] * 1e-3, "um")
    put(file, "entry_1/instrument_1/beam_1/energy", float(truth.energy))
    detector(file, "entry_1/instrument_1/detector_1", truth)


def nanomax(file, truth, y, x):
    put(file, "entry/measurement/eiger1m/frames", truth.frames.values)
    put(file, "entry/measurement/pseudo/y", -y * 1e-3)
    put(file, "entry/measurement/pseudo/x", -x * 1e-3)
    put(file, "entry/measurement/ring_current", np.ones(ROWS**2))
    put(file, "entry/snapshots/pre_scan/energy", float(truth.energy))


def csaxs(file, truth, y, x):
    put(file, "entry/instrument/eiger_1_5/data", truth.frames.values)
    put(file, "entry/instrument/monochromator/energy", float(truth.energy) / 1e3)
    put(file, "entry/instrument/monochromator/distance", -float(truth.distance))
    put(file, "entry/instrument/eiger_1_5/x_pixel_size", float(truth.pixel_pitch))


def hxn(file, truth, y, x):
    put(file, "diff_data/merlin1/det_images", truth.frames.values)
    put(file, "scan/scan_positions", np.stack([x, y]) * 1e-3)
    put(file, "scan/energy", float(truth.energy))


def eiger(file, truth, y, x):
    half = ROWS**2 // 2
    put(file, "entry/data/data_000001", truth.frames.values[:half].astype("u4"))
    put(file, "entry/data/data_000002", truth.frames.values[half:].astype("u4"))
    where = "entry/instrument/detector"
    put(file, f"{where}/detector_distance", float(truth.distance) * 1e-3, "m")
    put(file, f"{where}/x_pixel_size", float(truth.pixel_pitch) * 1e-6, "m")
    put(file, f"{where}/beam_center_x", 16.0)
    put(file, f"{where}/beam_center_y", 16.0)
    put(file, f"{where}/detectorSpecific/pixel_mask", np.eye(32, dtype="u4"))
    wavelength = 12398.41984 / float(truth.energy)
    put(file, "entry/instrument/beam/incident_wavelength", wavelength, "angstrom")


def ptyd(file, truth, y, x):
    half = ROWS**2
    put(file, "chunks/0/data", truth.frames.values[:half])
    put(file, "chunks/0/positions", np.stack([y, x], -1) * 1e-9)
    put(file, "meta/energy", float(truth.energy) / 1e3)
    put(file, "meta/distance", float(truth.distance) * 1e-3)
    put(file, "meta/psize", np.full(2, float(truth.pixel_pitch) * 1e-6))


def nexus(file, truth, y, x):
    put(file, "entry1/merlin_addetector/data", truth.frames.values)
    put(file, "entry1/merlin_addetector/lab_sy", -y * 1e-6, "mm")
    put(file, "entry1/merlin_addetector/lab_sx", -x * 1e-6, "mm")
    put(
        file, "entry1/instrument/beam/incident_energy", float(truth.energy) / 1e3, "keV"
    )
    detector(file, "entry1/instrument/merlin_addetector", truth)


def frames(file, truth, y, x):
    put(file, "exchange/data", truth.frames.values)


WRITERS = {
    "i08-1": i08,
    "nanomax": nanomax,
    "csaxs": csaxs,
    "hxn": hxn,
    "eiger": eiger,
    "ptyd": ptyd,
    "nexus": nexus,
    "frames": frames,
}
#: What these files do not hold.
MISSING = {
    "nanomax": ("distance", "pixel_pitch"),
    "csaxs": ("position_y", "position_x"),
    "hxn": ("distance", "pixel_pitch"),
    "frames": (*GEOMETRY, "position_y", "position_x"),
    "eiger": ("position_y", "position_x"),
}


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_is_found(name, named, truth, tmp_path):
    path = tmp_path / "scan.h5"
    y, x = truth.position_y.values, truth.position_x.values
    with h5py.File(path, "w") as file:
        WRITERS[name](file, truth, y, x)
    more = {key: truth[key].values for key in MISSING.get(name, ())}
    signs = (1, 1) if "position_y" in more else None
    scan = read_ptychography(path, format=name if named else None, sign=signs, **more)
    assert scan.frames.chunks is not None
    np.testing.assert_array_equal(scan.frames.values, truth.frames.values)
    for key in (*GEOMETRY, "position_y", "position_x"):
        np.testing.assert_allclose(scan[key], truth[key], rtol=1e-6, atol=1e-6)
        assert scan[key].attrs["units"] == truth[key].attrs["units"]
    assert ("mask" in scan) == (name == "eiger")
    found = ptycho(
        ptycho_probe(scan, optics=Mirrors(focus=200.0)), iterations=2, progress=False
    )
    assert np.isfinite(found.amp_residual).all()


def test_cxi_is_read_too(truth, tmp_path):
    path = write_cxi(truth, tmp_path / "scan.cxi")
    scan = read_ptychography(path, distance=123.0, sign=(1, -1))
    np.testing.assert_allclose(scan.position_y, truth.position_y, atol=1e-9)
    np.testing.assert_allclose(scan.position_x, -truth.position_x, atol=1e-9)
    assert float(scan.distance) == 123.0
    assert scan.position_x.attrs["units"] == "nm"


def test_energy_of_the_machine_is_not_that_of_the_photons(truth, tmp_path):
    path = write_cxi(truth, tmp_path / "scan.cxi")
    with h5py.File(path, "a") as file:
        for name in ("beam_1/energy", "instrument_1/beam_1/incident_beam_energy"):
            del file[f"entry_1/{name}"]
        file["entry_1/instrument_1/source_1/energy"][...] = 3e9
        file["entry_1/instrument_1/source_1/energy"].attrs["units"] = "eV"
    assert float(read_ptychography(path).energy) == pytest.approx(5500)


def test_a_layout_of_ones_own(truth, tmp_path):
    path = tmp_path / "mine.h5"
    y, x = truth.position_y.values, truth.position_x.values
    with h5py.File(path, "w") as file:
        put(file, "run/camera", truth.frames.values)
        put(file, "run/places", np.stack([x, y], -1) * 1e-3)
        put(file, "run/mono", 5.5, "keV")
        put(file, "run/bad", np.eye(32))
        put(file, "run/start", truth.probe.values)
    mine = {
        "frames": "run/camera",
        "positions": ("run/places", "um"),
        "energy": "run/mono",
        "mask": "run/bad",
        "probe": "run/start",
    }
    told = {"distance": float(truth.distance), "pixel_pitch": 75.0}
    scan = read_ptychography(path, format=mine, sign=(1, 1), **told)
    np.testing.assert_allclose(scan.position_y, y, atol=1e-6)
    np.testing.assert_allclose(scan.position_x, x, atol=1e-6)
    np.testing.assert_array_equal(scan.probe, truth.probe)
    assert float(scan.energy) == 5500
    with pytest.raises(FileFormatError, match="run/places names no units"):
        read_ptychography(path, format=mine | {"positions": "run/places"}, **told)
    with pytest.raises(ArgumentError, match=r"run/camera \(16, 32, 32\)"):
        read_ptychography(path, format=mine | {"frames": "run/cam"}, **told)
    with pytest.raises(ArgumentError, match="keys among"):
        read_ptychography(path, format={"pictures": "run/camera"})


def test_positions_may_lie_in_another_file(truth, tmp_path):
    y, x = truth.position_y.values, truth.position_x.values
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        nanomax(file, truth, y, x)
        del file["entry/measurement/pseudo"]
    with h5py.File(tmp_path / "places.h5", "w") as file:
        put(file, "entry/measurement/pseudo/y", -y, "nm")
        put(file, "entry/measurement/pseudo/x", -x, "nm")
    scan = read_ptychography(
        tmp_path / "frames.h5",
        positions_from=tmp_path / "places.h5",
        distance=float(truth.distance),
        pixel_pitch=75.0,
    )
    np.testing.assert_allclose(scan.position_y, y, atol=1e-6)


def test_several_files_are_a_stack(truth, tmp_path):
    paths = []
    y, x = truth.position_y.values, truth.position_x.values
    for energy in (5510.0, 5500.0):
        paths.append(tmp_path / f"{energy:.0f}.h5")
        one = truth.assign_coords(energy=truth.energy.copy(data=energy))
        with h5py.File(paths[-1], "w") as file:
            eiger(file, one, y, x)
    places = {"position_y": y, "position_x": x, "sign": (1, 1)}
    stack = read_ptychography(paths, size=16, **places)
    assert stack.frames.dims == ("energy", "position", "detector_y", "detector_x")
    assert stack.frames.shape == (2, 16, 16, 16)
    np.testing.assert_allclose(stack.energy, [5500, 5510])
    assert stack.mask.dims == ("detector_y", "detector_x")
    assert stack.attrs["source_files"] == ["5500.h5", "5510.h5"]
    for name in ("position_y", "energy", "distance"):
        assert {"units", "long_name"} <= stack[name].attrs.keys()
    with pytest.raises(ArgumentError, match="one file per energy"):
        read_ptychography([paths[0]] * 2, **places)


def test_counts_of_32_bits_become_16(truth, tmp_path):
    path = tmp_path / "scan.h5"
    y, x = truth.position_y.values, truth.position_x.values
    with h5py.File(path, "w") as file:
        eiger(file, truth, y, x)
        file["entry/data/data_000001"][:, 3, 3] = 2**32 - 1  # as Eiger marks them
    told = {"position_y": y, "position_x": x}
    with pytest.warns(DataQualityWarning, match="4294967295 or such are no counts"):
        scan = read_ptychography(path, narrow=True, **told).compute()
    counts = scan.frames.values
    assert counts.dtype == np.uint16
    good = ~scan.mask.values
    expected = truth.frames.values * good
    np.testing.assert_array_equal(counts, expected)
    with h5py.File(path, "a") as file:
        file["entry/data/data_000001"][:, 3, 3] = 0
        file["entry/data/data_000002"][1, 5, 6] = 70_000
    with pytest.raises(FileFormatError, match="counts from 0 to 70000 are no whole"):
        read_ptychography(path, narrow=True, **told).frames.compute()


def test_the_beam_is_cut_out(truth, tmp_path):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        ptyd(file, truth, truth.position_y.values, truth.position_x.values)
    scan = read_ptychography(path, centre=(10.2, 17.8), size=16)
    expected = truth.frames.values[:, 2:18, 10:26]
    np.testing.assert_array_equal(scan.frames.values, expected)
    whole = read_ptychography(path, centre=(10, 17))
    expected = truth.frames.values[:, :21, 2:]
    np.testing.assert_array_equal(whole.frames.values, expected)
    with pytest.raises(ArgumentError, match="a square inside 32 x 32"):
        read_ptychography(path, centre=(10, 17), size=28)
    with pytest.raises(ArgumentError, match="a pixel of 32 x 32"):
        read_ptychography(path, centre=(10, 32))


def test_messages_tell_what_the_file_holds(truth, tmp_path, no_compute):
    path = tmp_path / "scan.h5"
    y, x = truth.position_y.values, truth.position_x.values
    with h5py.File(path, "w") as file:
        csaxs(file, truth, y, x)
        put(file, "entry/other/encoder", np.arange(16.0))
    with pytest.raises(
        FileFormatError, match=r"no positions.*entry/other/encoder \(16"
    ):
        read_ptychography(path)
    with pytest.raises(ArgumentError, match=r"position_y=\(3,\)"):
        read_ptychography(path, position_y=[0, 1, 2], position_x=[0, 1, 2])
    with pytest.raises(ArgumentError, match="expected both"):
        read_ptychography(path, position_y=y)
    with pytest.raises(ArgumentError, match="one of \\['cxi', 'i08-1'"):
        read_ptychography(path, format="i99")
    with no_compute():
        read_ptychography(path, position_y=y, position_x=x)
    with h5py.File(path, "a") as file:
        del file["entry/instrument/monochromator/distance"]
        put(file, "entry/instrument/eiger_1_5/far_distance", 2.0)
    with pytest.raises(FileFormatError, match=r"no distance.*far_distance"):
        read_ptychography(path, position_y=y, position_x=x)
    with h5py.File(path, "a") as file:
        file["entry/instrument/monochromator/energy"].attrs["units"] = "eV"
    with pytest.raises(FileFormatError, match=r"5.5 eV, too little.*energy=5500"):
        read_ptychography(path, position_y=y, position_x=x, distance=2000)
    with h5py.File(path, "a") as file:
        del file["entry/instrument/eiger_1_5/data"]
    with pytest.raises(FileFormatError, match="no frames at"):
        read_ptychography(path)
    (tmp_path / "no.h5").write_bytes(b"none")
    with pytest.raises(FileFormatError, match="cannot be read as HDF5"):
        read_ptychography(tmp_path / "no.h5")


def test_call_is_recorded(truth, tmp_path):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        ptyd(file, truth, truth.position_y.values, truth.position_x.values)
    scan = read_ptychography(path)
    assert isinstance(scan, xr.Dataset)
    assert "read_ptychography" in scan.attrs["batteryxr_call"]
