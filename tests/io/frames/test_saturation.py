"""What a file says of its detector holds: saturated numbers are no counts."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("h5py")
import h5py

from batteryxr.core.errors import DataQualityWarning
from batteryxr.io import read_frames

SAYS = {
    "saturation": ("saturation_value", 59_999, 60_000),
    "cutoff": ("detectorSpecific/countrate_correction_count_cutoff", 4000, 4001),
    "bits": ("bit_depth_image", 16, 65_535),
}


def write(path, name, number, highest, dtype="u4", linked=False):
    """Write frames of a peak up to `highest`, maybe in another file."""
    counts = np.full((3, 6, 8), 7, dtype)
    counts[1, 2, 2:5] = highest // 4
    counts[1, 2, 3] = highest
    with h5py.File(path, "w") as file:
        detector = file.create_group("entry/instrument/detector")
        detector[name] = number
        home = file
        if linked:
            home = h5py.File(path.parent / "data.h5", "w")
            file["entry/data/data"] = h5py.ExternalLink("data.h5", "entry/data/data")
        home.create_dataset("entry/data/data", data=counts)
        if linked:
            home.close()


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", SAYS)
def test_saturated_numbers_are_missing_and_told(tmp_path, kind, linked):
    name, number, highest = SAYS[kind]
    path = tmp_path / "a_master.h5"
    write(path, name, number, highest, linked=linked)
    with pytest.warns(DataQualityWarning, match=rf"{highest} or such are no counts"):
        found = read_frames(path, rocking=[1.0, 1.1, 1.2]).compute()
    assert np.isnan(found[1, 2, 3])
    assert int(np.isnan(found).sum()) == 1


@pytest.mark.filterwarnings("error::batteryxr.core.errors.DataQualityWarning")
@pytest.mark.parametrize(
    ("name", "number", "highest"),
    [
        ("saturation_value", 60_000, 60_000),  # the largest sound number
        ("saturation_value", 0, 50),  # nobody filled it in
        ("bit_depth_image", 32, 65_535),
    ],
)
def test_sound_numbers_stay(tmp_path, name, number, highest):
    write(tmp_path / "a.h5", name, number, highest)
    found = read_frames(tmp_path / "a.h5", rocking=[1.0, 1.1, 1.2]).compute()
    assert float(found.max()) == highest


def test_a_missing_value_of_the_dataset_is_missing(tmp_path):
    write(tmp_path / "a.h5", "saturation_value", 0, 9999)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["entry/data/data"].attrs["_FillValue"] = np.uint32(9999)
    with pytest.warns(DataQualityWarning, match="9999 or such are no counts"):
        found = read_frames(tmp_path / "a.h5", rocking=[1.0, 1.1, 1.2]).compute()
    assert int(np.isnan(found).sum()) == 1
