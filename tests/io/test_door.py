"""One door: what comes in through it, and that nothing comes in beside it."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import scan_files
import stack_files

import batteryxr
from batteryxr.core.errors import ArgumentError, DataQualityWarning, FileFormatError
from batteryxr.io import (
    Limits,
    read_athena,
    read_cxi,
    read_cycler,
    read_frames,
    read_image,
    read_impedance,
    read_ptychography,
    read_series,
    read_stack,
)
from batteryxr.io.door import files
from batteryxr.io.door.signatures import KINDS, kind_of

h5py = pytest.importorskip("h5py")
tifffile = pytest.importorskip("tifffile")
ROOM = Path(batteryxr.__file__).parent / "io"
#: What opens a file, and so may stand in the door alone.
OPENERS = re.compile(
    r"(?<![\w.])open\(|\.open\(\"|h5py\.File\(|ZipFile\(|gzip\.|zlib|TiffFile|imread"
    r"|read_text|read_bytes|np\.load(?!txt\(io\.StringIO)|fromfile|memmap|OleFileIO|tifffile"
)
#: What is opened by a library of its own: the line before has been through the door.
OTHERS = re.compile(r"load_workbook\(|ParquetFile\(|fastnda\.read\(|subprocess\.Popen")
WRITERS = ("bdf_writer.py", "writer.py")


def test_no_reader_opens_a_file_by_itself():
    beside = [
        f"{path.relative_to(ROOM)}:{number}: {line.strip()}"
        for path in sorted(ROOM.rglob("*.py"))
        if path.parent.name != "door" and path.name not in WRITERS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if OPENERS.search(line.partition("#")[0])
        and not line.lstrip().startswith((">>>", "..."))  # examples
    ]
    assert [line.partition(": ")[2] for line in beside] == [
        'with check_zip(path) as archive, archive.open("data.ndc") as member:',
        'with whole_file(path, overwrite=overwrite) as new, new.open("wb") as out:',
    ]


def test_libraries_that_open_files_come_after_the_door():
    for path in ROOM.rglob("*.py"):
        if path.parent.name == "door" or path.name in WRITERS:
            continue
        text = path.read_text()
        if OTHERS.search(text):
            assert "from batteryxr.io.door" in text, path


SOUND = {
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "pdf": b"%PDF-1.7\n%\xe2\xe3",
    "matlab": b"MATLAB 5.0 MAT-file, Platform: GLNXA64",
    "netcdf": b"CDF\x01\0\0\0\0",
    "pickle": b"\x80\x04\x95\x10\0\0\0",
    "ole": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(8),
    "sqlite": b"SQLite format 3\0",
    "fits": b"SIMPLE  =                    T",
    "html": b"<!DOCTYPE html><html><body>Not found</body></html>",
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n",
    "xz": b"\xfd7zXZ\0\0\x04",
    "sound": b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0",
    "video": b"\x1aE\xdf\xa3\x9fB\x86\x81\x01",
    "svg": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">',
    "lz4": b'\x04"M\x18d@\xa7',
    "dm": b"\0\0\0\3\0\0\4\0\0\0\0\1\1\0",
    "mrc": bytes(208) + b"MAP DA\0\0",
    "nd2": b"\xda\xce\xbe\n\0\0\0\0ND2 FILE SIGNATURE",
    "raw": b"RAW1.01\0",
    "adsc": b"{\nHEADER_BYTES=  512;\nDIM=2;",
    "tdms": b"TDSm\x0e\0\0\0i\x12\0\0",
    "spss": b"$FL2@(#) SPSS DATA FILE",
    "npz": b"PK\3\4\x14\0\0\0\0\0" + bytes(20) + b"counts.npy",
    "opendocument": b"PK\3\4\x14\0\0\0\0\0"
    + bytes(20)
    + b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet",
    "notebook": b'{\n "cells": [\n',
    "shortcut": b"L\0\0\0\1\x14\2\0\0\0\0\0",
    "key": b"-----BEGIN PGP MESSAGE-----\n",
}
READERS = {
    "run.csv": read_cycler,
    "run.mpt": read_cycler,
    "run.xlsx": read_cycler,
    "run.ndax": read_cycler,
    "run.nda": read_cycler,
    "run.parquet": read_cycler,
    "run.xdi": read_series,
    "run.gr": read_series,
    "run.prj": read_athena,
    "run.hdr": read_stack,
    "run.txrm": read_stack,
    "run.tif": read_stack,
    "run.h5": read_stack,
    "frame.tif": read_frames,
    "frame.h5": read_frames,
    "image.npy": read_image,
    "image.tif": read_image,
    "scan.h5": read_ptychography,
    "scan.cxi": read_cxi,
}


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_file_of_another_kind_is_named(tmp_path, kind):
    words = next(k.words for k in KINDS if k.name == kind)
    for name, read in READERS.items():
        path = tmp_path / name
        if kind == "ole" and name == "run.txrm":
            continue
        path.write_bytes(SOUND[kind] + b"\n1 2\n3 4\n" * 30)
        with pytest.raises(FileFormatError, match=re.escape(words)) as told:
            read(path)
        assert name in str(told.value)


TEXTS = {
    "a mail": "Return-Path: <a@b.org>\nReceived: y;\n 1 May\nFrom: A <a@b.org>\n\nhi",
    "a crystal structure (CIF)": "# made\ndata_NaCl\n_cell_length_a 5.64\n",
    "settings (YAML)": "---\nsample: LCO\nscans:\n  - 1\n",
    "JSON": '{"a": {"b": "c"}}',
    "a program in text": "import numpy as np\n\nprint(1)\n",
    "a scan of Sardana (.fio)": "!\n! Comments\n%c\nscan\n%p\nmono = 7\n",
    "a Nanosurf scan (.nid)": "[DataSet]\r\nVersion=2\r\n#!\0\0",
    "frames of a WinView or LightField camera (.spe)": (
        "\1" * 2996 + "\x67\x45\x23\x01" + "\0" * 1100
    ),
}


@pytest.mark.parametrize("words", TEXTS)
@pytest.mark.parametrize("name", ["run.csv", "run.gr", "image.tif", "z.txt"])
def test_text_without_a_table_is_named(tmp_path, words, name):
    path = tmp_path / name
    path.write_bytes(TEXTS[words].encode("latin-1"))
    read = read_impedance if name == "z.txt" else READERS.get(name, read_cycler)
    with pytest.raises(FileFormatError, match=f"is {re.escape(words)}, (in )?which"):
        read(path)


def test_a_table_below_words_of_another_kind_is_read(tmp_path):
    path = tmp_path / "run.csv"
    rows = "".join(f"{k},3.{k},1\n" for k in range(10, 50))
    table = f"Time (s),Voltage (V),Current (mA)\n{rows}"
    for top in ("---\nsample: LCO\n---\n", "From: a@b.org\nSubject: run\n\n"):
        path.write_text(top + table)
        assert read_cycler(path).sizes["record"] == 40


def test_a_scan_beside_frames_is_no_frame(tmp_path):
    path = tmp_path / "scan.fio"
    path.write_text("!\n! Comments\n%c\nascan om 1 2\n%d\n Col 1 om DOUBLE\n 1.0\n")
    with pytest.raises(FileFormatError, match=r"pass it to read_frames as spec="):
        read_frames(path)


def test_text_and_what_is_read_is_no_other_kind(tmp_path):
    (path, *_) = scan_files.quick_xas(tmp_path, 1)
    assert kind_of(path.read_bytes()) is None
    assert kind_of(b"Binary-looking, 1, 2\n") is None
    assert kind_of(b"MZ, I, V\n1,2,3\n") is None
    assert kind_of(b"RAW intensity, 2theta\n") is None
    assert kind_of(b"raw,1\nply 3\n") is None


def test_a_limit_is_the_users_to_set(tmp_path):
    (path,) = scan_files.gr(tmp_path, 1, zipped=False)
    with (
        Limits(max_bytes=100),
        pytest.raises(FileFormatError, match=r"Limits\(max_bytes=\d+\)"),
    ):
        read_series(path)
    with Limits(max_bytes=10_000_000):
        assert read_series(path).sizes["scan"] == 1
    (path,) = scan_files.gr(tmp_path, 1)
    with Limits(max_bytes=3000), pytest.raises(FileFormatError, match="unpacked"):
        read_series(path)
    with pytest.raises(ArgumentError, match="max_bytes"):
        Limits(max_bytes=0)


def test_links_to_files_are_followed_and_dead_ones_named(tmp_path):
    (path,) = scan_files.gr(tmp_path, 1, zipped=False)
    (tmp_path / "good.gr").symlink_to(path)
    assert read_series(tmp_path / "good.gr").sizes["scan"] == 1
    (tmp_path / "dead.gr").symlink_to("nowhere")
    with pytest.raises(FileFormatError, match="link to nowhere, which is not there"):
        read_series(tmp_path / "dead.gr")


# HDF5

SHAPE = (5, 6, 7)
FRAMES = np.random.default_rng(0).poisson(9.0, SHAPE).astype("u2")


def stack_file(path, **links):
    with h5py.File(path, "w") as file:
        group = file.create_group("entry/data")
        for name, value in {"data": FRAMES, **links}.items():
            group[name] = value
        group["energy"] = np.arange(700.0, 705)
        group["energy"].attrs["units"] = "eV"
        group.attrs["signal"] = "data"
    return path


def test_links_in_circles_end(tmp_path):
    path = stack_file(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        for k in range(20):
            file[f"entry/again{k}"] = file["/"]
            file[f"entry/soft{k}"] = h5py.SoftLink("/entry")
    np.testing.assert_array_equal(read_stack(path).values, FRAMES)
    np.testing.assert_array_equal(read_frames(path, rocking=np.arange(5)), FRAMES)


def test_external_links_stay_in_the_folder(tmp_path):
    (tmp_path / "in").mkdir()
    inside, outside = tmp_path / "in" / "b.h5", tmp_path / "c.h5"
    for path in (inside, outside):
        with h5py.File(path, "w") as file:
            file["frames"] = FRAMES
    path = stack_file(
        tmp_path / "in" / "a.h5", data=h5py.ExternalLink("b.h5", "frames")
    )
    np.testing.assert_array_equal(read_stack(path).values, FRAMES)
    stack_file(path, data=h5py.ExternalLink(str(outside), "frames"))
    with pytest.raises(FileFormatError, match=r"c\.h5, outside its folder"):
        read_stack(path)
    with Limits(outside=True):
        lazy = read_stack(path)
    np.testing.assert_array_equal(lazy.values, FRAMES)
    # A file beside it that leads outside in its turn.
    inside.unlink()
    stack_file(inside, data=h5py.ExternalLink("../c.h5", "frames"))
    stack_file(path, data=h5py.ExternalLink("b.h5", "entry/data/data"))
    with pytest.raises(FileFormatError, match="outside its folder"):
        read_stack(path)


def test_a_link_to_a_missing_file_is_told(tmp_path):
    path = stack_file(tmp_path / "a.h5", more=h5py.ExternalLink("gone.h5", "frames"))
    with pytest.warns(DataQualityWarning, match=r"not there \(gone\.h5\)"):
        stack = read_stack(path)
    np.testing.assert_array_equal(stack.values, FRAMES)


def virtual(path, sources):
    layout = h5py.VirtualLayout(SHAPE, "u2")
    for k, source in enumerate(sources):
        layout[k] = h5py.VirtualSource(source, "frame", SHAPE[1:])
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)
        file["entry/data/energy"] = np.arange(700.0, 705)
    return path


def test_a_virtual_dataset_needs_all_its_sources(tmp_path):
    names = [f"part{k}.h5" for k in range(5)]
    for name, frame in zip(names, FRAMES, strict=True):
        with h5py.File(tmp_path / name, "w") as file:
            file["frame"] = frame
    path = virtual(tmp_path / "a.h5", names)
    stack = read_stack(path)
    np.testing.assert_array_equal(stack.values, FRAMES)
    (tmp_path / "part3.h5").unlink()
    with pytest.raises(FileFormatError, match=r"from part3\.h5, which is not there"):
        read_stack(path)
    with pytest.raises(FileFormatError, match=r"part3\.h5"):
        stack.compute()
    with h5py.File(tmp_path / "part3.h5", "w") as file:
        file["other"] = FRAMES[3]
    with pytest.raises(FileFormatError, match=r"frame of part3\.h5"):
        read_stack(path)


def test_external_storage_is_whole_and_inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("raw.bin").write_bytes(FRAMES.tobytes())
    size = FRAMES.nbytes
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "entry/data/data", SHAPE, "u2", external=[("raw.bin", 0, size)]
        )
        file["entry/data/energy"] = np.arange(700.0, 705)
    np.testing.assert_array_equal(read_stack(path).values, FRAMES)
    os.truncate("raw.bin", size // 2)
    with pytest.raises(FileFormatError, match=r"raw\.bin, which is cut"):
        read_stack(path)


def test_a_scan_that_stopped_early_is_told(tmp_path):
    path = stack_file(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        del file["entry/data/data"]
        data = file["entry/data"].create_dataset("data", SHAPE, "u2", chunks=(1, 6, 7))
        data[:3] = FRAMES[:3]
    with pytest.warns(DataQualityWarning, match="2 of 5 pieces .* never written"):
        read_stack(path)


def test_a_file_that_is_written_opens_with_what_is_there(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset(
            "entry/data/data",
            SHAPE,
            "u2",
            maxshape=(None, *SHAPE[1:]),
            chunks=(1, 6, 7),
        )
        data[:] = FRAMES
        file["entry/data/energy"] = np.arange(700.0, 705)
        file.swmr_mode = True
        file.flush()
        script = (
            "from batteryxr.io import read_stack, read_frames\n"
            f"stack = read_stack({str(path)!r})\n"
            "print(stack.sizes['energy'], float(stack.sum()))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
    assert done.stdout.split() == ["5", str(float(FRAMES.sum()))], done.stderr


def test_a_file_that_another_writes_is_named(tmp_path):
    path = stack_file(tmp_path / "a.h5")
    script = f"from batteryxr.io import read_stack\nread_stack({str(path)!r})"
    with h5py.File(path, "r+"):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
    assert "is being written" in done.stderr, done.stderr


# Lazy readers


def hdf5_scans(folder):
    """Yield scans of beamlines in HDF5, in layouts of their own."""
    angles = np.linspace(1.0, 2.0, 5)
    for name, frames, column, motor in (
        ("bliss", "1.1/measurement/mpx", "1.1/measurement/th",
         "1.1/instrument/positioners/th"),
        ("nanomax", "entry/measurement/merlin/frames", "entry/measurement/gonphi",
         "entry/snapshots/pre_scan/gonphi"),
        ("i16", "entry1/instrument/merlin/data", "entry1/measurement/eta",
         "entry1/instrument/diffractometer_sample/eta"),
        ("sixs", "com/scan_data/data_02", "com/scan_data/actuator_1_1",
         "com/SIXS/i14-c-cx1-ex-med-v-mu/position_pre"),
    ):  # fmt: skip
        path = folder / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file[frames], file[column], file[motor] = FRAMES, angles, angles[:1]
            if name == "sixs":
                file["com/scan_config/name"] = "ascan mu"
        yield name, read_frames(path), path


def lazy_files(folder):
    """Return each lazy reader's array, and the file to replace."""
    tiffs = folder / "tiffs"
    stack_files.write_tiffs(tiffs)
    yield "tiff", read_stack(tiffs), sorted(tiffs.glob("*.tif"))[2]
    hdr, *_ = stack_files.write_stxm(folder / "stxm")
    yield "stxm", read_stack(hdr), sorted((folder / "stxm").glob("*.xim"))[1]
    stack_files.write_xradia(folder / "a.txrm", FRAMES, stack_files.ENERGY)
    yield "xradia", read_stack(folder / "a.txrm"), folder / "a.txrm"
    path = stack_file(folder / "a.h5")
    yield "hdf5", read_stack(path), path
    path = stack_file(folder / "b.h5")
    yield "frames", read_frames(path, rocking=np.arange(5)), path
    angles = np.arange(5)
    np.save(folder / "a.npy", FRAMES)
    yield "npy", read_frames(folder / "a.npy", rocking=angles), folder / "a.npy"
    np.savez(folder / "a.npz", counts=FRAMES)
    yield "npz", read_frames(folder / "a.npz", rocking=angles), folder / "a.npz"
    head = "{\nHeaderID = EH:000001:000000:000000;\nDim_1 = 7;\nDim_2 = 6;\n"
    head += "DataType = UnsignedShort;\nByteOrder = LowByteFirst;\n"
    raw = [
        head.ljust(510).encode() + b"}\n" + one.astype("<u2").tobytes()
        for one in FRAMES
    ]
    (folder / "a.edf").write_bytes(b"".join(raw))
    yield "edf", read_frames(folder / "a.edf", rocking=angles), folder / "a.edf"
    (folder / "b.edf.gz").write_bytes(gzip.compress(b"".join(raw)))
    yield (
        "edf.gz",
        read_frames(folder / "b.edf.gz", rocking=angles),
        folder / "b.edf.gz",
    )
    tifffile.imwrite(folder / "pages.tif", FRAMES)
    yield (
        "pages",
        read_frames(folder / "pages.tif", rocking=angles),
        folder / "pages.tif",
    )
    yield from hdf5_scans(folder)
    paths = scan_files.quick_xas(folder, 3)
    yield "series", read_series(paths, timezone="UTC", lazy=True), paths[1]


@pytest.mark.parametrize("how", ["rewritten", "touched", "gone", "longer"])
def test_a_file_replaced_before_it_is_computed_is_told(tmp_path, how):
    for name, lazy, path in lazy_files(tmp_path):
        raw = path.read_bytes()
        about = path.stat()
        if how == "rewritten":  # same size, same time
            path.write_bytes(raw[:40] + bytes(x ^ 1 for x in raw[40:80]) + raw[80:])
            os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        elif how == "touched":
            os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + 10**9))
        elif how == "gone":
            path.unlink()
        else:
            path.write_bytes(raw + b"\n")
            os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        with pytest.raises(FileFormatError, match=r"replaced|is not there") as told:
            lazy.compute()
        assert path.name in str(told.value), name


def test_a_file_that_stays_is_read(tmp_path):
    for _, lazy, _ in lazy_files(tmp_path):
        assert np.isfinite(lazy.compute()).all()


@pytest.mark.parametrize("reader", ["frames", "stack", "series", "cycler"])
def test_what_is_no_file_in_a_folder_is_told(tmp_path, reader):
    suffix = {"series": ".xy", "cycler": ".csv"}.get(reader, ".tif")
    for k in range(3):
        path = tmp_path / f"{700 + k}eV{suffix}"
        if suffix == ".tif":
            tifffile.imwrite(path, np.full((4, 4), k + 1.5, "f4"))
        elif suffix == ".xy":
            path.write_text("".join(f"{x} {x + k}\n" for x in range(10, 30)))
        elif k == 0:
            rows = "".join(f"{t},1,{3 + t / 99}\n" for t in range(30))
            path.write_text("Time (s),Current (mA),Voltage (V)\n" + rows)
    (tmp_path / f"710eV{suffix}").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / f"711eV{suffix}")
    read = {
        "frames": lambda: read_frames(tmp_path),
        "stack": lambda: read_stack(tmp_path),
        "series": lambda: read_series(tmp_path),
        "cycler": lambda: read_cycler(tmp_path),
    }[reader]
    with pytest.warns(DataQualityWarning) as told:
        read()
    said = " ".join(str(one.message) for one in told)
    assert f"710eV{suffix}: is a symbolic link to" in said
    assert f"711eV{suffix}: is no file but a pipe" in said


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (FRAMES[3].T.copy(), r"shape .* which has \(7, 6\)"),
        (np.pad(FRAMES[3], ((0, 2), (0, 2))), r"which has \(8, 9\)"),
        (FRAMES[3][:4], r"which has \(4, 7\)"),
        (-FRAMES[3].astype("i4"), "takes int32 from other files as uint16"),
        (FRAMES[3][None], ""),
        (FRAMES[3].ravel(), ""),
    ],
)
def test_a_source_of_another_shape_or_type_is_told(tmp_path, source, said):
    names = [f"part{k}.h5" for k in range(5)]
    for k, name in enumerate(names):
        with h5py.File(tmp_path / name, "w") as file:
            file["frame"] = source if k == 3 else FRAMES[k]
    path = virtual(tmp_path / "a.h5", names)
    if not said:
        np.testing.assert_array_equal(read_stack(path).values, FRAMES)
    elif source.dtype.kind == "i":
        with pytest.warns(DataQualityWarning, match=said):
            read_stack(path)
    else:
        with pytest.raises(FileFormatError, match=said):
            read_stack(path)


def numbered(path):
    """Write a dataset over files that are found by their numbers."""
    endless = (h5py.h5s.UNLIMITED, *SHAPE[1:])
    place = h5py.h5s.create_simple(SHAPE, endless)
    counts = (h5py.h5s.UNLIMITED, 1, 1)
    place.select_hyperslab((0, 0, 0), counts, (1, 1, 1), (1, *SHAPE[1:]))
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_virtual(place, b"part%b.h5", b"frame", h5py.h5s.create_simple(SHAPE[1:]))
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group("entry/data")
        space = h5py.h5s.create_simple(SHAPE, endless)
        h5py.h5d.create(group.id, b"data", h5py.h5t.NATIVE_UINT16, space, plan)
    return path


def test_files_that_are_found_by_number_have_no_gap(tmp_path):
    for k, frame in enumerate(FRAMES):
        with h5py.File(tmp_path / f"part{k}.h5", "w") as file:
            file["frame"] = frame
    path, angles = numbered(tmp_path / "a.h5"), np.arange(5)
    np.testing.assert_array_equal(read_frames(path, rocking=angles), FRAMES)
    (tmp_path / "part2.h5").unlink()
    with pytest.raises(FileFormatError, match="4 files up to number 4"):
        read_frames(path, rocking=np.arange(2))
    (tmp_path / "part3.h5").rename(tmp_path / "part2.h5")
    (tmp_path / "part4.h5").unlink()
    with h5py.File(tmp_path / "part1.h5", "w") as file:
        file["frame"] = FRAMES[1][:3]
    with pytest.raises(FileFormatError, match=r"which has \(3, 7\)"):
        read_frames(path, rocking=np.arange(3))


def test_a_file_that_grows_while_it_is_read_is_told(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("Time (s),Voltage (V),Current (mA)\n" + "".join(
        f"{10 * k},3.{k:03d},1.5\n" for k in range(40)) + "400,3.")  # fmt: skip
    refuse = files.refuse_other

    def write_meanwhile(*args):
        with path.open("a") as file:
            file.write("400,1.5\n410,3.410,1.5\n")
        refuse(*args)

    monkeypatch.setattr(files, "refuse_other", write_meanwhile)
    with pytest.warns(DataQualityWarning, match="written to while it was read"):
        record = read_cycler(path)
    assert record.sizes["record"] == 40
    with (
        pytest.warns(DataQualityWarning, match=r"a\.csv was written to"),
        files.opened(path),
    ):
        os.utime(path, (1, 1))


def test_a_copy_in_a_lazy_series_is_told(tmp_path):
    axis, random = np.linspace(1, 5, 60), np.random.default_rng(0)
    for k in range(4):
        rows = [
            f"{x:.4f} {y:.5f}" for x, y in zip(axis, random.random(60), strict=True)
        ]
        if k == 3:
            rows = (tmp_path / "s1.xy").read_text().splitlines()[1:]
        text = "\n".join([f"# scan {k}", *rows]) + "\n"
        (tmp_path / f"s{k}.xy").write_text(text)
    for lazy in (True, False):
        with pytest.warns(DataQualityWarning, match=r"s3\.xy those of s1\.xy"):
            read_series(tmp_path, axis="two_theta", lazy=lazy)


def growing_cxi(path, frames, positions):
    """Write CXI as a detector does: room for nine frames, some of them written."""
    file = h5py.File(path, "w", libver="latest")
    detector = file.create_group("entry_1/instrument_1/detector_1")
    file["entry_1/instrument_1/beam_1/incident_beam_energy"] = 5480 * 1.602176634e-19
    detector["distance"] = 0.3
    detector["x_pixel_size"] = detector["y_pixel_size"] = 75e-6
    room = (9, *SHAPE[1:])
    data = detector.create_dataset("data", room, FRAMES.dtype, chunks=(1, 6, 7))
    data[:frames] = FRAMES[:frames]
    moves = np.arange(3 * positions).reshape(-1, 3) * 1e-7
    detector.create_dataset("translation", data=moves, maxshape=(None, 3))
    file["entry_1/data_1/data"] = h5py.SoftLink(data.name)
    image = file.create_group("entry_1/image_1")
    crystal = (2, 4, 4, 4)
    image.create_dataset("data", crystal, "c8", chunks=(1, 4, 4, 4))[0] = 1 + 1j
    file.swmr_mode = True
    file.flush()
    return file


def test_a_file_that_is_written_is_told_by_every_reader(tmp_path):
    path, ahead, behind = (tmp_path / n for n in ("a.h5", "ahead.cxi", "behind.cxi"))
    script = f"""if True:
        import numpy as np, warnings
        from batteryxr.io import (
            read_cxi, read_frames, read_object, read_ptychography, read_stack
        )
        frames = "entry_1/instrument_1/detector_1/data"
        for read in (
            lambda: read_stack({str(path)!r}, dataset="entry/data/data"),
            lambda: read_frames({str(path)!r}, rocking=np.arange(5)),
            lambda: read_ptychography({str(path)!r})["frames"],
            lambda: read_cxi({str(ahead)!r})["frames"],
            lambda: read_cxi({str(behind)!r})["frames"],
            lambda: read_frames({str(ahead)!r}, dataset=frames),
            lambda: abs(read_object({str(ahead)!r}, sign=-1)["object"]) ** 2,
        ):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = read()
                total = round(float(found.sum()), 3)
            told = any("is being written" in str(w.message) for w in caught)
            print(found.shape[0], total, told)
    """
    with (
        growing_cxi(ahead, 3, 9),
        growing_cxi(behind, 4, 2),
        h5py.File(path, "w", libver="latest") as file,
    ):
        data, grows = file.create_group("entry/data"), (None, *SHAPE[1:])
        data.create_dataset("data", data=FRAMES, maxshape=grows, chunks=(1, 6, 7))
        data["energy"] = np.arange(700.0, 705)
        data["y"] = data["x"] = np.arange(5) * 1e-7
        for axis in "yx":
            data[axis].attrs["units"] = "m"
        file["entry/instrument/beam/incident_energy"] = 5480.0
        file["entry/instrument/beam/incident_energy"].attrs["units"] = "eV"
        for name, size in (("distance", 0.3), ("x_pixel_size", 75e-6)):
            file[f"entry/instrument/detector/{name}"] = size
            file[f"entry/instrument/detector/{name}"].attrs["units"] = "m"
        file.swmr_mode = True
        file.flush()
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
    wanted = [FRAMES] * 3 + [FRAMES[:n] for n in (3, 2, 3)] + [np.full((4, 4, 4), 2.0)]
    told = [f"{len(found)} {float(found.sum())} True" for found in wanted]
    assert done.stdout.splitlines() == told, done.stderr


@pytest.mark.parametrize("lazy", [False, True])
def test_a_block_that_is_cut_out_of_an_even_axis_is_told(tmp_path, lazy):
    axis, random = np.linspace(10, 20, 201), np.random.default_rng(0)
    for name, rows in (("sound", range(201)), ("cut", [*range(80), *range(90, 201)])):
        folder = tmp_path / name
        folder.mkdir()
        values = random.random(201)
        text = "\n".join(f"{axis[k]:.3f} {values[k]:.5f}" for k in rows)
        (folder / "a.xy").write_text("# two_theta I\n" + text + "\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_series(tmp_path / "sound", axis="two_theta", lazy=lazy)
    assert not any("seem to be missing" in str(w.message) for w in caught)
    with pytest.warns(DataQualityWarning, match="10 points seem to be missing"):
        read_series(tmp_path / "cut", axis="two_theta", lazy=lazy)


def test_a_column_of_small_counts_passes_when_it_is_allowed(tmp_path):
    path = tmp_path / "counts.txt"
    raw = b"7\n" * 2_000_001
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match=r"2,000,001 lines .*Limits\(max_bytes="):
        files.text(path)
    with Limits(max_bytes=1_000_000_000):
        assert files.text(path) == raw
    rows = b"123\r\n" * 1_100_000  # a line that ends with two signs is one line
    path.write_bytes(rows)
    assert files.text(path) == rows
