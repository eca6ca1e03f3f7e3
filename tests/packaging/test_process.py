"""Whatever is read or imported, the user's process stays as it was."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
sys.path.insert(0, str(HERE.parent / "io"))

import bdf_files  # noqa: E402
import cycler_files  # noqa: E402
import scan_files  # noqa: E402
import stack_files  # noqa: E402

#: Imported before, as in any session; then the state is noted.
BEGIN = f"""
import json, sys, warnings
sys.path.insert(0, {str(HERE)!r})
import dask, numpy, pandas, xarray, zarr
import process_state
before = process_state.snapshot()
import batteryxr
from batteryxr.core.errors import BatteryxrError, FileFormatError
from batteryxr.core.errors import MissingDependencyError
told = {{}}
"""
END = """
after = process_state.snapshot()
told["changed"] = process_state.differences(before, after)
told["filters"] = process_state.others_filters(before, after)
print(json.dumps(told, default=repr))
"""


def run(code, *arguments):
    """Return what a process of its own tells after some lines of code."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code + END, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


#: Lines that import, and calls that ask for a library by name.
PLAIN = re.compile(
    r"^\s*(?:from ([\w.]+) import |import ([\w.]+)(?: as \w+)?[ ,#\n])", re.M
)
QUIET = re.compile(r"\b(?:require|load)\(\s*\"([\w.]+)\"")


def names_of_imports():
    """Return what the library imports inside functions, and what `require` asks for."""
    texts = [
        path.read_text()
        for path in (ROOT / "batteryxr").rglob("*.py")
        if "cli" not in path.parts  # a process of our own
    ]
    plain = {one or other for text in texts for one, other in PLAIN.findall(text)}
    quiet = {name for text in texts for name in QUIET.findall(text)}
    ours = {"batteryxr", "__future__"}
    return sorted({n for n in plain if n.partition(".")[0] not in ours}), sorted(quiet)


IMPORT_ALL = """
import importlib, pkgutil
from batteryxr.core.optional import load
from batteryxr.core.plotting import load_hvplot
plain, quiet = json.loads(sys.argv[1])
told["missing"], told["imported"] = [], []
load_hvplot()
ours = [m.name for m in pkgutil.walk_packages(batteryxr.__path__, "batteryxr.")]
ours = [name for name in ours if not name.endswith("__main__")]
for importing, names in ((load, quiet), (importlib.import_module, ours + plain)):
    for name in names:
        try:
            importing(name)
            told["imported"].append(name)
        except ImportError:
            told["missing"].append(name)
"""


def test_imports_leave_the_process_as_it_was():
    names = names_of_imports()
    told = run(IMPORT_ALL, json.dumps(names))
    assert {"fastnda", "h5py", "sklearn.cluster", "tifffile"} <= set(names[1])
    assert {"numba", "zarr", "xraydb", "pint"} <= set(told["imported"])
    assert told["changed"] == {}
    assert told["filters"] == []


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write a file of every format that can be written; damaged ones of the others."""
    for library in ("h5py", "openpyxl", "pyarrow", "tifffile"):
        pytest.importorskip(library)
    import h5py
    import tifffile

    folder = tmp_path_factory.mktemp("formats")
    cyclers = [
        writer(folder / name, cycler_files.run(rows=12))
        for name, writer in cycler_files.WRITERS.items()
    ]
    for style in bdf_files.STYLES:
        path = folder / f"{style}.bdf.parquet"
        cyclers.append(bdf_files.write(path, bdf_files.table(style)))
    for name, head in (
        ("bad.ndax", b"PK\3\4"),
        ("bad.nda", b"NEWARE" + bytes(200)),
        ("bad.mpr", b"BIO-LOGIC MODULAR FILE" + bytes(200)),
        ("bad.res", b"\x00\x01\x00\x00Standard Jet DB" + bytes(200)),
    ):
        cyclers.append(folder / name)
        cyclers[-1].write_bytes(head)
    columns = {"energy eV": scan_files.ENERGY, "mu": scan_files.spectrum(0)}
    series = [
        *scan_files.quick_xas(folder, 1),
        *scan_files.gr(folder, 1),
        *scan_files.gr(folder, 1, zipped=False),
        scan_files.xdi(folder / "a.xdi", columns),
    ]
    stack_files.write_tiffs(folder / "tiffs")
    stack_files.write_cxi(folder / "cxi")
    stack_files.write_nxstxm(folder / "nxstxm.hdf5")
    stack_files.write_nxxas(folder / "nxxas.nxs")
    images = stack_files.frames().astype("f4")
    stack_files.write_xradia(folder / "a.txrm", images, stack_files.ENERGY)
    stacks = [folder / "tiffs", folder / "cxi", folder / "nxstxm.hdf5"]
    stacks += [folder / "nxxas.nxs", folder / "a.txrm"]
    stacks.append(stack_files.write_stxm(folder / "stxm")[0])
    spectrum = (scan_files.ENERGY, scan_files.spectrum(0), 0.0)
    (folder / "a.prj").write_bytes(stack_files.athena_project({"foil": spectrum}))
    cube = np.ones((4, 9, 9), np.uint16)
    tifffile.imwrite(folder / "frames.tif", cube, photometric="minisblack")
    with h5py.File(folder / "frames.h5", "w") as file:
        file["entry/data/data"] = cube
    whole = gzip.compress(b"# r G\n" + 90 * b"1.0 2.0\n", mtime=0)
    (folder / "damaged.gr.gz").write_bytes(whole[:-20] + bytes(12) + whole[-8:])
    return {
        "read_cycler": cyclers,
        "read_series": series,
        "read_stack": stacks,
        "read_athena": [folder / "a.prj"],
        "read_frames": [folder / "frames.tif", folder / "frames.h5"],
        "read_ptychography": [folder / "frames.h5"],
        "read_cxi": [folder / "frames.h5"],
        "damaged": [folder / "damaged.gr.gz"],
    }


READ_ALL = """
import zlib
files = json.loads(sys.argv[1])
(damaged,) = files.pop("damaged")
told["read"], told["refused"] = [], []
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for reader, paths in files.items():
        for path in paths:
            try:
                getattr(batteryxr, reader)(path).load()
                told["read"].append(path)
            except (BatteryxrError, MissingDependencyError):
                told["refused"].append(path)
for reading, expected in (
    (lambda: batteryxr.read_series(damaged), FileFormatError),
    (lambda: zlib.decompress(b"no zlib stream"), zlib.error),
):
    try:
        reading()
    except expected:
        continue
    raise AssertionError(f"no {expected}")
told["loaded"] = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
"""


def test_readers_leave_the_process_as_it_was(files):
    libraries = ["h5py", "openpyxl", "pyarrow", "tifffile", "olefile", "fastnda.ndax"]
    named = {reader: list(map(str, paths)) for reader, paths in files.items()}
    told = run(READ_ALL, json.dumps(named), json.dumps(libraries))
    refused = {Path(path).name for path in told["refused"]}
    assert told["loaded"] == libraries
    assert refused == {"bad.ndax", "bad.nda", "bad.mpr", "bad.res", "frames.h5"}
    assert told["changed"] == {}
    assert told["filters"] == []


NEWARE = """
import pathlib, threading, zlib
from batteryxr.io.cycler import neware
import isal.isal_zlib  # already there, so that nothing keeps fastnda from it
bad = pathlib.Path(sys.argv[1])
first, failed = zlib.decompressobj, []
def read():
    for _ in range(5):
        try:
            neware.read(bad)
        except FileFormatError:
            pass
        except Exception as error:
            failed.append(repr(error))
threads = [threading.Thread(target=read) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert zlib.decompressobj is first
assert "fastnda.ndax" in sys.modules
told["failed"] = failed
"""


def test_neware_files_read_by_threads_leave_zlib(tmp_path):
    pytest.importorskip("fastnda")
    pytest.importorskip("isal")
    path = tmp_path / "bad.ndax"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("VersionInfo.xml", "Step.xml", "TestInfo.xml", "data.ndc"):
            archive.writestr(name, b"\0" * 8192)
    told = run(NEWARE, path)
    assert told["failed"] == []
    assert told["changed"] == {}
