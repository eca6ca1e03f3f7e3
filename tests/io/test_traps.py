"""Files made with intent: each refused in words, soon, and in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("h5py")
import stack_files
from packed_files import TRAPS

from batteryxr.core.errors import FileFormatError
from batteryxr.io import read_cycler, read_stack

#: Writes each trap, and tells what comes of reading it, in which time and memory. What
#: writes is a process of its own, so that its memory is not counted; it begins before
#: netCDF4 loads an HDF5 of its own, where filters would fail to write.
SCRIPT = """
import json, os, resource, sys, time, traceback, warnings
from pathlib import Path
sys.path.insert(0, ".")
from packed_files import TRAPS
warnings.simplefilter("ignore")

def load(*modules):
    for module in modules:
        try:
            __import__(module)
        except ImportError:
            pass

def write_all(paths):
    try:
        for path in paths:
            TRAPS[path.name](path)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

load("h5py", "tifffile", "openpyxl", "pyarrow.parquet")
paths = [Path(path) for path in json.load(sys.stdin)]
writer = os.fork() or write_all(paths)
assert os.waitpid(writer, 0)[1] == 0

import batteryxr.io as io
from batteryxr.core.errors import BatteryxrError

def read_all(path):
    if path.suffix == ".npz" or path.name.endswith(".edf.gz"):
        return io.read_frames(path).compute()
    if path.suffix in (".gr", ".gz", ".xdi", ".rasx", ".brml", ".jdx", ".xrdml"):
        return io.read_series(path)
    if path.suffix == ".prj":
        return io.read_athena(path)
    if path.suffix == ".cxi":
        return io.read_cxi(path)
    if path.suffix in (".tif", ".npy"):
        return io.read_image(path)
    if path.suffix in (".h5", ".txrm", ".hdr"):
        return io.read_stack(path).compute()
    return io.read_cycler(path)

def peak():
    try:  # the number of `resource` begins with that of the parent
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM")) // 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

load("hdf5plugin", "pandas", "olefile", "fastnda.ndax", "dask.array")
for path in paths:
    before, began = peak(), time.process_time()
    try:
        read_all(path)
        said = "READ"
    except BatteryxrError as error:
        said = str(error)
    except ImportError as error:
        said = f"SKIP {error}"
    except BaseException as error:
        said = f"OTHER {type(error).__name__}: {error}"
    spent = time.process_time() - began
    print(json.dumps([path.name, said, spent, peak() - before]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Write and read all traps in a process that hangs or dies alone."""
    folder = tmp_path_factory.mktemp("traps")
    paths = [folder / name.replace(".", "_") / name for name in TRAPS]
    for path in paths:
        path.parent.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parent,
        input=json.dumps([str(p) for p in paths]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: rest for name, *rest in found}, done.stderr


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_refused(outcomes, name):
    told, stderr = outcomes
    assert name in told, stderr[-2000:]
    said, seconds, megabytes = told[name]
    if said.startswith("SKIP"):
        pytest.skip(said)
    assert name in said
    assert len(said) > len(name) + 20
    assert not said.startswith(("READ", "OTHER")), said
    assert seconds < 2, said
    assert megabytes < 300, said


@pytest.mark.parametrize("label", [f"a{'_' * 99_999}b", f"a{' ' * 99_999}b"])
def test_an_endless_label_of_a_table_takes_no_time(tmp_path, label):
    path = tmp_path / "a.csv"
    rows = "".join(f"{k},3.{k},1,{label}\n" for k in range(10, 50))
    path.write_text(f"Time (s),Voltage (V),Current (mA),{label}\n{rows}")
    began = time.process_time()
    assert read_cycler(path).sizes["record"] == 40
    assert time.process_time() - began < 2


def test_a_text_whose_type_is_damaged_ends_nothing(tmp_path):
    path = tmp_path / "a.nxs"
    stack_files.write_nxstxm(path)
    raw = bytearray(path.read_bytes())
    kind = b"axes\0\0\0\0\x19"  # a list of varying length; its next byte: of letters
    place = raw.index(kind) + len(kind)
    raw[place] = 28
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match=r"'axes' of .* holds lists"):
        read_stack(path)


def test_a_damaged_fill_value_ends_nothing(tmp_path):
    path = tmp_path / "a.nxs"
    stack_files.write_nxstxm(path)
    # The message of a fill value; its last four bytes are the length of the value.
    message = b"\x05\0\x08\0\x01\0\0\0\x02\x02\x02\x01"
    raw = path.read_bytes()
    assert message + bytes(4) in raw
    path.write_bytes(raw.replace(message + bytes(4), message + b"\0\0\0\x80"))
    with pytest.raises(FileFormatError, match="what missing values read as"):
        read_stack(path)
