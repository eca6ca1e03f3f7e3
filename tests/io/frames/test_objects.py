"""Crystals of other programs come in with their sign, support and modes."""

from __future__ import annotations

import base64
from xml.etree import ElementTree

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr import cdi
from batteryxr.core.errors import ArgumentError, DataError, FileFormatError, UnitsError

h5py = pytest.importorskip("h5py")
SHAPE = (10, 12, 14)


def crystal():
    """Return an object whose pattern exp(-2 pi i q r) makes, and its support."""
    z, y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in SHAPE), indexing="ij")
    body = (abs(z) < 3) & (abs(y) < 3) & (abs(x) < 4) & (x + y < 4)
    return (body * np.exp(0.2j * z + 0.03j * y * y)).astype(np.complex64), body


def write(path, values, support=None, program="PyNX", where="image_1"):
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry_1")
        entry[f"{where}/data"] = values
        if support is not None:
            entry[f"{where}/support"] = support.astype(np.uint8)
        if program:
            entry["program_name"] = program


def strain(data):
    geometry = xr.Dataset(
        {
            "voxel": (("axis", "vector"), 10 * np.eye(3)),
            "q": ("vector", [0.0, 0.0, 3.0]),
            "q_length": ((), 3.0),
        }
    )
    return cdi.displacement(cdi.unwrap(data), geometry=geometry)["displacement"]


@pytest.mark.parametrize("modes", [False, True])
def test_pynx(tmp_path, modes):
    rho, body = crystal()
    values = np.stack([rho, 0.1 * rho]) if modes else rho
    write(tmp_path / "a.cxi", values, body)
    found = batteryxr.read_object(tmp_path / "a.cxi")
    np.testing.assert_array_equal(found["object"], rho)
    np.testing.assert_array_equal(found["support"], body)
    assert int(found["fourier_sign"]) == -1
    assert ("modes" in found) == modes
    assert found["along_x"].values[SHAPE[2] // 2] == 0
    phase = cdi.unwrap(found)["phase"]
    np.testing.assert_allclose(strain(found), -phase / 3, atol=1e-5)
    # The support is no counts.
    with pytest.raises((FileFormatError, DataError)):
        batteryxr.read_frames(tmp_path / "a.cxi")


def test_the_same_crystal_of_the_other_transform_has_the_same_strain(tmp_path):
    """cohere transforms the other way round: of one pattern it has the conjugate."""
    rho, body = crystal()
    write(tmp_path / "pynx.cxi", rho, body)
    write(tmp_path / "cohere.cxi", np.conj(rho), body, program="cohere")
    np.save(tmp_path / "image.npy", np.conj(rho))
    np.save(tmp_path / "support.npy", body)
    wanted = strain(batteryxr.read_object(tmp_path / "pynx.cxi"))
    assert float(wanted.std()) > 0.05
    for name, options in (("cohere.cxi", {}), ("image.npy", {"sign": 1})):
        found = batteryxr.read_object(tmp_path / name, **options)
        np.testing.assert_allclose(strain(found), wanted, atol=1e-5)
        assert found["support"].values.sum() == body.sum()


def test_what_is_not_told_is_asked(tmp_path):
    rho, body = crystal()
    write(tmp_path / "a.cxi", rho, body, program="")
    found = batteryxr.read_object(tmp_path / "a.cxi")
    assert "fourier_sign" not in found.coords
    with pytest.raises(DataError, match="does not tell the sign"):
        strain(found)


def test_what_is_no_object_is_refused(tmp_path):
    rho, body = crystal()
    write(tmp_path / "real.cxi", abs(rho), body)
    with pytest.raises(FileFormatError, match="no complex volume"):
        batteryxr.read_object(tmp_path / "real.cxi")
    write(tmp_path / "a.cxi", rho, body[1:])
    with pytest.raises(FileFormatError, match="support"):
        batteryxr.read_object(tmp_path / "a.cxi")
    with pytest.raises(FileFormatError, match="entry_2"):
        batteryxr.read_object(tmp_path / "a.cxi", dataset="entry_2")
    np.save(tmp_path / "flat.npy", rho[0])
    with pytest.raises(FileFormatError, match="complex volume"):
        batteryxr.read_object(tmp_path / "flat.npy")


@pytest.mark.parametrize("shape", [(0, 7, 8), (0, 6, 7, 8), (6, 7, 8)])
def test_an_object_of_nothing_is_refused(tmp_path, shape):
    np.save(tmp_path / "image.npy", np.full(shape, np.nan, complex))
    with pytest.raises(FileFormatError, match=r"no number|cut"):
        batteryxr.read_object(tmp_path / "image.npy")


def test_archives_of_numpy(tmp_path):
    """AutoPhaseNN's samples: amplitudes of the pattern, then the object."""
    rho, body = crystal()
    np.savez(tmp_path / "a.npz", abs(np.fft.fftn(rho)), rho)
    found = batteryxr.read_object(tmp_path / "a.npz")
    np.testing.assert_array_equal(found["object"], rho)
    assert "fourier_sign" not in found.coords
    np.savez(tmp_path / "b.npz", obj=np.conj(rho), prtf=np.ones(4), support=body)
    found = batteryxr.read_object(tmp_path / "b.npz", sign=1)
    np.testing.assert_array_equal(found["object"], rho)
    np.testing.assert_array_equal(found["support"], body)
    np.savez(tmp_path / "two.npz", one=rho, two=2 * rho)
    with pytest.raises(FileFormatError, match="dataset="):
        batteryxr.read_object(tmp_path / "two.npz")
    again = batteryxr.read_object(tmp_path / "two.npz", dataset="two")
    np.testing.assert_array_equal(again["object"], 2 * rho)
    # bcdi's strain files hold fields, not objects.
    np.savez(tmp_path / "c.npz", amp=abs(rho), phase=np.angle(rho), strain=body * 1.0)
    with pytest.raises(FileFormatError, match="0 complex volumes"):
        batteryxr.read_object(tmp_path / "c.npz")


def detected(rho, body):
    """Return a crystal as `crop_to_support` leaves it."""
    axes = {
        f"along_{d}": (f"along_{d}", np.arange(n) - 4, {"points": 32, "box_centre": c})
        for d, n, c in zip(("rocking", "y", "x"), SHAPE, (12.5, 100, 200), strict=True)
    }
    dims = tuple(axes)
    return xr.Dataset(
        {"object": (dims, rho), "support": (dims, body)}, coords=axes
    ).assign_coords(fourier_sign=-1)


def test_what_is_written_is_read(tmp_path):
    rho, body = crystal()
    mine = detected(rho, body)
    batteryxr.write_object(mine, tmp_path / "mine.cxi")
    found = batteryxr.read_object(tmp_path / "mine.cxi")
    for name in ("object", "support", "fourier_sign"):
        np.testing.assert_array_equal(found[name], mine[name])
    for dim in mine["object"].dims:
        np.testing.assert_array_equal(found[dim], mine[dim])
        for note in ("points", "box_centre"):
            assert found[dim].attrs[note] == mine[dim].attrs[note]
    other = np.conj(mine["object"]).assign_coords(fourier_sign=1)
    batteryxr.write_object(other, tmp_path / "other.cxi")
    found = batteryxr.read_object(tmp_path / "other.cxi")
    np.testing.assert_array_equal(found["object"], rho)
    for wrong in (
        mine.drop_vars("fourier_sign"),
        abs(mine),
        mine.expand_dims("state"),
        mine[["support"]],
    ):
        with pytest.raises(DataError):
            batteryxr.write_object(wrong, tmp_path / "wrong.cxi")
    assert not (tmp_path / "wrong.cxi").exists()


def test_fields_for_paraview(tmp_path):
    """By the description of VTK's XML: x runs fastest, numbers follow their size."""
    rho, _ = crystal()
    axes = {
        d: (d, 0.5 * np.arange(n), {"units": "um"})
        for d, n in zip("zyx", SHAPE, strict=True)
    }
    fields = xr.Dataset({"object": (tuple("zyx"), rho)}, coords=axes)
    fields["u"] = (tuple("xyz"), rho.real.T.copy(), {"units": "Angstrom"})
    batteryxr.write_object(fields, tmp_path / "a.vti")
    root = ElementTree.parse(tmp_path / "a.vti").getroot()
    image = root.find("ImageData")
    assert root.get("byte_order") == "LittleEndian"
    assert image.get("WholeExtent") == "0 13 0 11 0 9"
    assert image.get("Spacing").split() == ["500", "500", "500"]
    held = {a.get("Name"): a.text for a in image.iter("DataArray")}
    assert set(held) == {"object amplitude", "object phase (rad)", "u (Angstrom)"}
    for name, wanted in (("u (Angstrom)", rho.real), ("object amplitude", abs(rho))):
        raw = base64.b64decode(held[name])
        assert int.from_bytes(raw[:8], "little") == len(raw) - 8 == 4 * rho.size
        values = np.frombuffer(raw[8:], "<f4").reshape(SHAPE)
        np.testing.assert_allclose(values, wanted, atol=1e-6)
    mute = {d: fields[d].drop_attrs() for d in "zyx"}
    with pytest.raises(UnitsError):
        batteryxr.write_object(fields.assign_coords(mute), tmp_path / "b.vti")
    with pytest.raises(ArgumentError, match="ends in"):
        batteryxr.write_object(fields, tmp_path / "a.vtk")
    with pytest.raises(DataError, match="to_laboratory"):
        batteryxr.write_object(detected(*crystal()), tmp_path / "c.vti")


@pytest.mark.parametrize("name", ["support.npy", "a.npz", "a.h5", "a.cxi"])
def test_a_support_alone_is_no_measurement(tmp_path, name):
    path, body = tmp_path / name, np.ones((4, 5, 6), np.uint8)
    if name.endswith(".npy"):
        np.save(path, body)
    elif name.endswith(".npz"):
        np.savez(path, support=body)
    else:
        with h5py.File(path, "w") as file:
            file["entry_1/image_1/support" if name == "a.cxi" else "support"] = body
    with pytest.raises(FileFormatError, match="support"):
        batteryxr.io.read_frames(path)
