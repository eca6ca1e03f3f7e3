"""Scans as beamlines keep them, written here after their public descriptions."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from batteryxr.core.errors import (
    ArgumentError,
    DataQualityWarning,
    FileFormatError,
)
from batteryxr.io import read_frames

N = 6
ANGLES = 15 + 0.01 * np.arange(N)
COUNTS = np.random.default_rng(0).poisson(3, (N, 5, 7)).astype(np.uint32)
FLUX = 1e5 + np.arange(N)

#: What each keeps at which place; and what is to be found: motor, others, energy (eV).
BLISS = {
    "measurement/mpx1x4": COUNTS,
    "measurement/eta": ANGLES,
    "measurement/mon": FLUX,
    "instrument/positioners/eta": ANGLES,
    "instrument/positioners/phi": 5.0,
    "instrument/positioners/nu": 1.0,
    "instrument/positioners/delta": 35.0,
    "instrument/positioners/mononrj": 9.0,
}
CASES = {
    "ID01": ("pt_0007_3.1", BLISS, "eta", {"phi": 5, "delta": 35}, 9000),
    "ID27": (
        "a_1.1",
        {
            "measurement/eiger": COUNTS,
            "instrument/positioners/nath": ANGLES,
            "instrument/calibration/wavelength": 0.3738,
        },
        "nath",
        {},
        12398.4198 / 0.3738,
    ),
    "NanoMAX": (
        "entry",
        {
            "measurement/eiger500k/frames": COUNTS,
            "measurement/gontheta": ANGLES,
            "measurement/alba2": FLUX,
            "snapshots/post_scan/gontheta": 15.0,
            "snapshots/post_scan/gonphi": 5.0,
            "snapshots/post_scan/delta": 35.0,
            "snapshots/post_scan/energy": np.array([9500.0]),
        },
        "gontheta",
        {"gonphi": 5, "delta": 35},
        9500,
    ),
    "I16": (
        "entry",
        {
            "instrument/merlin/data": COUNTS,
            "measurement/eta": ANGLES,
            "instrument/diffractometer_sample/eta": 15.0,
            "instrument/diffractometer_sample/gam": 1.0,
            "instrument/diffractometer_sample/delta": 35.0,
            "sample/beam/incident_energy": 9.0,
        },
        "eta",
        {"gam": 1, "delta": 35},
        9000,
    ),
    "SIXS": (
        "com",
        {
            "scan_data/merlin_image": COUNTS,
            "scan_data/actuator_1_1": ANGLES,
            "scan_config/name": "med-v-mu",
            "SIXS/i14-c-cx1-ex-med-v-dif-group.1/mu/position": np.array([15.0]),
            "SIXS/i14-c-cx1-ex-med-v-dif-group.1/delta/position": np.array([35.0]),
            "SIXS/i14-c-c02-op-mono/energy": np.array([8.5]),
        },
        "mu",
        {"delta": 35},
        8500,
    ),
    "CRISTAL": (
        "exp_0042",
        {
            "scan_data/data_02": COUNTS,
            "scan_data/actuator_1_1": ANGLES,
            "scan_config/name": "i06-c-c07-ex-mg_omega",
            "CRISTAL/i06-c-c07-ex-mg_omega/position": np.array([15.0]),
            "CRISTAL/Diffractometer/i06-c-c07-ex-dif-gamma/position": np.array([1.0]),
            "CRISTAL/Monochromator/energy": np.array([8.5]),
        },
        "mg_omega",
        {"gamma": 1},
        8500,
    ),
}


def write(path, entry, held):
    with h5py.File(path, "a") as file:
        for name, value in held.items():
            file[f"{entry}/{name}"] = value


@pytest.mark.parametrize("name", CASES)
def test_a_scan_tells_its_motors(tmp_path, name):
    entry, held, motor, motors, energy = CASES[name]
    write(tmp_path / "scan.h5", entry, held)
    frames = read_frames(tmp_path / "scan.h5")
    np.testing.assert_array_equal(frames.values, COUNTS)
    np.testing.assert_allclose(frames["rocking"], ANGLES)
    assert frames.attrs["rocking_motor"] == motor
    assert motor not in frames.coords
    for other, place in motors.items():
        assert float(frames[other]) == place
    assert float(frames["energy"]) == pytest.approx(energy, rel=1e-6)
    for column in ("mon", "alba2"):
        if column in frames.coords:
            np.testing.assert_array_equal(frames[column], FLUX)


def test_several_scans_in_one_file(tmp_path):
    """No scan is guessed; frames of one are never read with angles of another."""
    for number in (3, 4):
        held = BLISS | {"measurement/mpx1x4": COUNTS + number}
        held |= {"instrument/positioners/eta": ANGLES + number}
        held |= {"measurement/eta": ANGLES + number}
        write(tmp_path / "all.h5", f"pt_{number}.1", held)
    with pytest.raises(ArgumentError, match=r"\['3', '4'\]"):
        read_frames(tmp_path / "all.h5")
    with pytest.raises(ArgumentError, match="scan=9"):
        read_frames(tmp_path / "all.h5", scan=9)
    frames = read_frames(tmp_path / "all.h5", scan=4)
    np.testing.assert_array_equal(frames.values, COUNTS + 4)
    np.testing.assert_allclose(frames["rocking"], ANGLES + 4)
    named = read_frames(tmp_path / "all.h5", dataset="pt_3.1/measurement/mpx1x4")
    np.testing.assert_allclose(named["rocking"], ANGLES + 3)


def test_two_motors_that_moved_are_not_chosen_between(tmp_path):
    held = BLISS | {"instrument/positioners/delta": ANGLES + 20}
    write(tmp_path / "two.h5", "1.1", held)
    with pytest.warns(DataQualityWarning, match="no rocking angles"):
        frames = read_frames(tmp_path / "two.h5")
    assert frames["rocking"].attrs["units"] == "1"
    held = BLISS | {"measurement/eiger2M": COUNTS}
    write(tmp_path / "both.h5", "1.1", held)
    with pytest.raises(ArgumentError, match="eiger2M"):
        read_frames(tmp_path / "both.h5")


CUBE = np.arange(125, dtype=np.uint16).reshape(5, 5, 5)


@pytest.mark.parametrize("axes", [[".", "y", "x"], ["y", "x", "omega"]])
def test_rows_of_a_detector_are_no_rocking_angles(tmp_path, axes):
    path = tmp_path / "cube.nxs"
    held = {"data": CUBE} | {name: np.arange(5.0) for name in "yx"}
    write(path, "entry/data", held | {"omega": ANGLES[:5]})
    with h5py.File(path, "a") as file:
        file["entry/data"].attrs["axes"] = axes
    if axes[0] == "y":
        with pytest.raises(FileFormatError, match="'omega', which is not its first"):
            read_frames(path)
        return
    with pytest.warns(DataQualityWarning, match="no rocking angles"):
        assert read_frames(path).attrs["rocking_motor"] == ""


def test_one_of_several_entries_is_not_chosen(tmp_path):
    for number in (1, 2):
        write(tmp_path / "two.cxi", f"entry_{number}/data_1", {"data": CUBE + number})
    with pytest.raises(ArgumentError, match="entry_2/data_1/data"):
        read_frames(tmp_path / "two.cxi", rocking=ANGLES[:5])
    write(tmp_path / "turned.h5", "a", {"data": COUNTS})
    with pytest.raises(ArgumentError, match=r"np.moveaxis\(a, 2, 0\)"):
        read_frames(tmp_path / "turned.h5", rocking=np.arange(7.0))


def test_the_energy_of_the_ring_is_not_that_of_photons(tmp_path):
    path = tmp_path / "master.h5"
    write(path, "entry/data", {"data": CUBE})
    held = {"source/energy": 6.03, "beam/incident_wavelength": 1.24}
    write(path, "entry/instrument", held)
    with h5py.File(path, "a") as file:
        file["entry/instrument/source/energy"].attrs["units"] = "GeV"
    frames = read_frames(path, rocking=ANGLES[:5])
    assert float(frames["energy"]) == pytest.approx(12398.42 / 1.24, rel=1e-6)
