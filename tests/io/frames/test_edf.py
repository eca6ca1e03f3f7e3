"""EDF as ID01 wrote it, .fio beside an Eiger of P10, and NumPy archives."""

from __future__ import annotations

import gzip

import h5py
import numpy as np
import pytest

from batteryxr.core.errors import ArgumentError, FileFormatError
from batteryxr.io import read_frames, read_image

ETA = 15 + 0.01 * np.arange(5)


def edf(image, order="LowByteFirst", kind="SignedInteger", more="", dtype="<i4"):
    """Return an EDF file by its description: text in braces, 512 bytes, the numbers."""
    lines = f"{{\nHeaderID = EH:000001:000000:000000 ;\nByteOrder = {order} ;\n"
    lines += f"DataType = {kind} ;\nDim_1 = {image.shape[1]} ;\n"
    lines += f"Dim_2 = {image.shape[0]} ;\nSize = {image.size * 4} ;\n{more}"
    rest = -(len(lines) + 2) % 512
    return (lines + " " * rest + "}\n").encode() + image.astype(dtype).tobytes()


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(3, (5, 6, 7))


def motors(eta):
    return f"motor_mne = eta phi nu del ;\nmotor_pos = {eta:g} 5 1 35 ;\n"


@pytest.mark.parametrize("ending", [".edf", ".edf.gz"])
def test_a_folder_of_edf(tmp_path, counts, ending):
    """One frame a file; the motor that differs is the one that rocked."""
    for k, (image, eta) in enumerate(zip(counts, ETA, strict=True)):
        raw = edf(image, more=motors(eta))
        raw = gzip.compress(raw) if ending.endswith("gz") else raw
        (tmp_path / f"mpx_{k + 8}{ending}").write_bytes(raw)  # 8, 9, 10, ...
    frames = read_frames(tmp_path, chunks=2)
    np.testing.assert_array_equal(frames.values, counts)
    np.testing.assert_allclose(frames["rocking"], ETA)
    assert frames.attrs["rocking_motor"] == "eta"
    assert float(frames["phi"]) == 5
    assert "eta" not in frames.coords
    flat = read_image(tmp_path / f"mpx_9{ending}")
    np.testing.assert_array_equal(flat.values, counts[1])


def test_types_orders_and_several_frames_in_one_file(tmp_path, counts):
    written = {
        ">u4": ("HighByteFirst", "UnsignedInteger"),
        "<u2": ("LowByteFirst", "UnsignedShort"),
        ">f4": ("HighByteFirst", "FloatValue"),
    }
    for dtype, (order, kind) in written.items():
        raw = b"".join(edf(i, order, kind, dtype=dtype) for i in counts)
        (tmp_path / "all.edf").write_bytes(raw)
        frames = read_frames(tmp_path / "all.edf", rocking=ETA, chunks=2)
        np.testing.assert_array_equal(frames.values, counts)
    np.testing.assert_array_equal(read_image(tmp_path / "all.edf", page=3), counts[3])


def test_what_is_no_edf_is_told(tmp_path, counts):
    whole = edf(counts[0])
    for name, raw, words in (
        ("cut", whole[:-5], "cut"),
        ("other", b"no header" * 99, "braces"),
        ("type", whole.replace(b"SignedInteger", b"Quaternion   "), "tell"),
        ("packed", edf(counts[0], more="Compression = GzipCompression ;\n"), "inside"),
        ("gone", edf(counts[0]).replace(b"Dim_2", b"Dim_9"), "dim_2"),
    ):
        (tmp_path / f"{name}.edf").write_bytes(raw)
        with pytest.raises(FileFormatError, match=words):
            read_frames(tmp_path / f"{name}.edf")
    (tmp_path / "b1.edf").write_bytes(whole)
    (tmp_path / "b2.edf").write_bytes(edf(counts[0, :3]))
    with pytest.raises(FileFormatError, match="several scans"):
        read_frames(str(tmp_path / "b*.edf"), rocking=ETA[:2]).load()
    (tmp_path / "b3.tif").write_bytes(b"II*\0")
    with pytest.raises(ArgumentError, match="one format"):
        read_frames(tmp_path)


def test_a_motor_is_named_where_several_moved(tmp_path, counts):
    for k, (image, eta) in enumerate(zip(counts, ETA, strict=True)):
        raw = edf(image, more=motors(eta).replace(" 35 ", f" {35 + 1e-4 * k} "))
        (tmp_path / f"mpx_{k}.edf").write_bytes(raw)
    frames = read_frames(tmp_path, rocking="eta")
    np.testing.assert_allclose(frames["rocking"], ETA)
    assert frames.attrs["rocking_motor"] == "eta"
    assert frames["del"].dims == ("rocking",)
    np.save(tmp_path / "plain.npy", counts)
    for path in (tmp_path, tmp_path / "plain.npy"):
        with pytest.raises(ArgumentError, match="rocking='om'"):
            read_frames(path, rocking="om")


FIO = """!
! Comments
%c
ascan om 15.0 15.04 4 1.0
user p10user Acquisition started at Thu Dec  9 14:32:54 2021
!
! Parameter
%p
om = 15.0
phi = 5.0
gam = 1.0
del = 35.0
fmbenergy = 9000.0
mode = fast
!
%d
 Col 1 om DOUBLE
 Col 2 e4m_roi1 DOUBLE
15.00 100
15.01 120
15.02 180
15.03 140
15.04 90
"""


def test_an_eiger_with_its_fio_file(tmp_path, counts):
    with h5py.File(tmp_path / "a_00007_master.h5", "w") as file:
        file["entry/data/data_000001"] = counts[:3].astype(np.uint32)
        file["entry/data/data_000002"] = counts[3:].astype(np.uint32)
    (tmp_path / "a_00007.fio").write_text(FIO)
    frames = read_frames(
        tmp_path / "a_00007_master.h5",
        spec=tmp_path / "a_00007.fio",
        distance=1800,
        pixel_size=75,
    )
    np.testing.assert_array_equal(frames.values, counts)
    np.testing.assert_allclose(frames["rocking"], ETA)
    assert frames.attrs["title"].startswith("ascan om")
    geometry = frames.cdi.geometry(beamline="P10", centre=(3, 3))
    # By hand: 2 theta from the two circles, |Q| from 9 keV.
    cosine = np.cos(np.deg2rad(1.0)) * np.cos(np.deg2rad(35.0))
    length = 2 * (2 * np.pi * 9000 / 12398.42) * np.sqrt((1 - cosine) / 2)
    assert float(geometry["q_length"]) == pytest.approx(length, rel=1e-5)
    for wrong in (FIO.split("%d")[0], FIO + "1 2 3\n"):
        (tmp_path / "wrong.fio").write_text(wrong)
        with pytest.raises(FileFormatError):
            read_frames(tmp_path / "a_00007_master.h5", spec=tmp_path / "wrong.fio")


def test_a_numpy_archive(tmp_path, counts):
    np.savez_compressed(tmp_path / "a.npz", data=counts, mask=np.zeros((6, 7)))
    frames = read_frames(tmp_path / "a.npz", rocking=ETA)
    np.testing.assert_array_equal(frames.values, counts)
    np.savez(tmp_path / "b.npz", one=counts, two=counts + 1)
    with pytest.raises(ArgumentError, match="one of"):
        read_frames(tmp_path / "b.npz")
    two = read_frames(tmp_path / "b.npz", dataset="two", rocking=ETA)
    np.testing.assert_array_equal(two.values, counts + 1)
    np.savez(tmp_path / "c.npz", crystal=counts * 1j)
    with pytest.raises(FileFormatError, match="real array"):
        read_frames(tmp_path / "c.npz")
    (tmp_path / "d.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:-40])
    with pytest.raises(FileFormatError):
        read_frames(tmp_path / "d.npz")
