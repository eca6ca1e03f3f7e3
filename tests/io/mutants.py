"""Reads damaged copies of files of every format, in a process that may hang or die.

    python tests/io/mutants.py FOLDER FIRST LAST SEED

tells a line of JSON for each copy: its number, what it is, and what came of reading it.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import select
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import bdf_files
import cycler_files
import damage
import eclab_files
import maker_files
import numpy as np
import scan_files
import stack_files

import batteryxr
from batteryxr.core.errors import BatteryxrError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Seconds after which a copy hangs the reader.
HANG = 60
#: Seconds that Python may take to begin on a busy machine.
BEGIN = 600


class Source(NamedTuple):
    """A sound file, and how it is read."""

    path: Path
    read: Callable[[Path], object]
    wrapped: bool = False  # gzip or zip, damaged inside and packed again


def _series(path: Path) -> object:
    return batteryxr.read_series(path, timezone="UTC").compute()


def _lazy_series(path: Path) -> object:
    return batteryxr.read_series(path, timezone="UTC", lazy=True).compute()


def _stack(path: Path) -> object:
    return batteryxr.read_stack(path).compute()


def _stack_of_folder(path: Path) -> object:
    return batteryxr.read_stack(next(path.parent.glob("*.hdr"))).compute()


def _frames(path: Path) -> object:
    return batteryxr.read_frames(path).compute()


def _spec(path: Path) -> object:
    tiffs = path.parent / "frames"
    return batteryxr.read_frames(tiffs, spec=path, scan=54).compute()


def _scan(path: Path) -> object:
    return batteryxr.read_ptychography(path).compute()


def _cxi(path: Path) -> object:
    return batteryxr.read_cxi(path).compute()


def sources(folder: Path, measured: Path | None = None) -> list[Source]:
    """Write a small sound file of every format that is read.

    Parameters
    ----------
    folder
        Where to.
    measured
        Folder of measured data, for formats that nobody here writes.
    """
    run, read = cycler_files.run(rows=12), batteryxr.read_cycler
    found = []
    for name, write in cycler_files.WRITERS.items():
        with contextlib.suppress(ImportError):
            packed = name.endswith(".xlsx")
            path = write(folder / name, run)
            found += [Source(path, read), *([Source(path, read, True)] * packed)]
    for name, text in maker_files.WRITERS.items():
        path = maker_files.write(folder / name, text(run))
        found.append(Source(path, read))
    with contextlib.suppress(ImportError):
        found.append(Source(maker_files.old_workbook(folder / "old.xls", run), read))
    with contextlib.suppress(ImportError):
        path = cycler_files.workbook(folder / "run.xlsx", run)
        found += [Source(path, read), Source(path, read, True)]
    found.append(Source(eclab_files.mpr(folder / "run.mpr", run), read))
    for suffix in (".bdf.csv", ".bdf.parquet"):
        with contextlib.suppress(ImportError):
            columns = bdf_files.table(sorted(bdf_files.STYLES)[0])
            found.append(Source(bdf_files.write(folder / f"b{suffix}", columns), read))
    found += _of_series(folder)
    found += _of_images(folder)
    if measured is not None:
        path = measured / "cyclers/neware/Unit27_Example_Corrupt.ndax"
        found += [Source(path, read), Source(path, read, True)] * path.exists()
        with contextlib.suppress(OSError):
            with zipfile.ZipFile(measured / "cyclers/neware/SIM.nda.zip") as archive:
                (folder / "a.nda").write_bytes(archive.read("SIM.nda")[:60_000])
            found.append(Source(folder / "a.nda", read))
    return found


def _of_series(folder: Path) -> Iterator[Source]:
    (path,) = scan_files.quick_xas(folder, 1)
    yield Source(path, _series)
    yield Source(path, _lazy_series)
    yield Source(scan_files.gr(folder, 1, zipped=False)[0], _series)
    (path,) = scan_files.gr(folder, 1)
    yield Source(path, _series)
    yield Source(path, _series, True)
    energy = np.arange(7000.0, 7040)
    columns = {"energy eV": energy, "mu": np.round(np.arctan(energy - 7020), 4)}
    yield Source(scan_files.xdi(folder / "a.xdi", columns), _series)
    project = stack_files.athena_project({"one": (energy, energy / 7000, 0.5)})
    (folder / "a.prj").write_bytes(project)
    yield Source(folder / "a.prj", batteryxr.read_athena)
    yield Source(folder / "a.prj", batteryxr.read_athena, True)


def _of_images(folder: Path) -> Iterator[Source]:
    import h5py
    import tifffile

    header, *_ = stack_files.write_stxm(folder / "stxm")
    yield Source(header, _stack)
    yield Source(sorted(header.parent.glob("*.xim"))[1], _stack_of_folder)
    counts = np.random.default_rng(0).poisson(20.0, (5, 6, 8)).astype("u2")
    for n, options in enumerate(({}, {"compression": "zlib"}, {"bigtiff": True})):
        path = folder / f"{n}_700eV.tif"
        tifffile.imwrite(path, counts, photometric="minisblack", **options)
        yield Source(path, _frames)
        yield Source(path, batteryxr.read_image)
    (folder / "frames").mkdir()
    for k in range(3):
        tifffile.imwrite(folder / "frames" / f"{k}.tif", counts[k])
    lines = "\n".join(f"{k} 0.25 {k}" for k in range(3))
    path = folder / "run.spec"
    path.write_text(
        "#F run.spec\n#O0 Delta  Theta\n\n#S 54  ascan  th 0 3 2 0.25\n"
        f"#D Tue Feb 04 12:28:23 2020\n#P0 32.1 0.2\n#L Theta  Seconds  Sum\n{lines}\n"
    )
    yield Source(path, _spec)
    np.save(folder / "dark.npy", counts[0])
    yield Source(folder / "dark.npy", batteryxr.read_image)
    with contextlib.suppress(ImportError):
        stack_files.write_xradia(folder / "a.txrm", counts, stack_files.ENERGY)
        yield Source(folder / "a.txrm", _stack)
    for name, write in (("a.nxs", stack_files.write_nxstxm),
                        ("x.nxs", stack_files.write_nxxas)):  # fmt: skip
        write(folder / name)
        yield Source(folder / name, _stack)
    stack_files.write_cxi(folder / "objects")
    yield Source(folder / "objects" / "object_0.cxi", _stack)
    path = folder / "scan.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", data=counts, chunks=(1, 6, 8),
                            compression="gzip", fletcher32=True)  # fmt: skip
        for name, values, units in (
            ("entry/data/y", np.arange(5) * 1e-6, "m"),
            ("entry/data/x", np.arange(5) * 1e-6, "m"),
            ("entry/instrument/beam/incident_energy", 5480.0, "eV"),
            ("entry/instrument/detector/distance", 0.3, "m"),
            ("entry/instrument/detector/x_pixel_size", 75e-6, "m"),
        ):
            file.create_dataset(name, data=values).attrs["units"] = units
    yield Source(path, _scan)
    yield Source(path, _frames)
    scan = batteryxr.read_ptychography(path)
    yield Source(batteryxr.write_cxi(scan, folder / "scan.cxi"), _cxi)


def mutant(source: Source, rng: np.random.Generator) -> tuple[str, bytes]:
    """Return a damaged copy, and what was done to it."""
    raw = source.path.read_bytes()
    times = int(rng.integers(1, 3))
    kinds = [
        damage.DAMAGES[int(k)] for k in rng.integers(0, len(damage.DAMAGES), times)
    ]
    inner, member = raw, ""
    if source.wrapped and raw.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        member = str(rng.choice(sorted(members)))
        inner = members[member]
    elif source.wrapped:
        inner = gzip.decompress(raw)
    for kind in kinds:
        inner = kind(inner, rng) if inner else inner
    if member:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in (members | {member: inner}).items():
                archive.writestr(name, content)
        inner = packed.getvalue()
    elif source.wrapped:
        inner = gzip.compress(inner, 1)
    done = "+".join(kind.__name__ for kind in kinds)
    return f"{source.path.name} {source.read.__name__} {done} {member}".strip(), inner


def read_mutants(folder: Path, first: int, last: int, seed: int) -> Iterator[dict]:
    """Read the damaged copies of these numbers, and tell what came of each."""
    given = os.environ.get(batteryxr.samples.STAND_IN)
    measured = Path(given) if given else None
    every = sources(folder, measured)
    warnings.simplefilter("ignore")
    for k in range(first, last):
        source = every[k % len(every)]
        what, raw = mutant(source, np.random.default_rng([seed, k]))
        # In the place of the sound one, which others lie beside.
        place = source.path
        if folder not in place.parents:
            place = folder / place.name
        sound = source.path.read_bytes()
        place.write_bytes(raw)
        yield {"k": k, "what": what}
        began = time.perf_counter()
        try:
            source.read(place)
            outcome = "read"
        except (BatteryxrError, MissingDependencyError) as error:
            outcome = "refused" if len(str(error)) > 20 else f"says nothing: {error}"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        finally:
            place.write_bytes(sound)
        yield {"k": k, "outcome": outcome, "seconds": time.perf_counter() - began}


def hunt(folder: Path, n: int, seed: int, first: int = 0) -> Iterator[dict]:
    """Read `n` damaged copies in another process, anew where it hangs or dies."""
    last, k = first + n, first
    while k < last:
        inside = folder / f"from_{k}"
        inside.mkdir()
        command = [sys.executable, __file__, *map(str, (inside, k, last, seed))]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        ) as child:
            what, start, waiting = "nothing yet", k, b""
            while True:
                patience = BEGIN if what == "nothing yet" else HANG
                while (
                    b"\n" not in waiting
                    and select.select([child.stdout], [], [], patience)[0]
                ):
                    piece = child.stdout.read(1 << 16)
                    waiting += piece or b"\n"
                if b"\n" not in waiting:
                    child.kill()
                    yield {"k": k, "what": what, "outcome": "hangs", "seconds": HANG}
                    k += 1
                    break
                line, _, waiting = waiting.partition(b"\n")
                if not line:
                    if child.wait() != 0:
                        ended = f"the process ended ({child.returncode})"
                        yield {"k": k, "what": what, "outcome": ended, "seconds": 0.0}
                        if what == "nothing yet" and k == start:
                            raise RuntimeError(ended)
                        k += 1
                    break
                told = json.loads(line)
                if "what" in told:
                    what = told["what"]
                else:
                    yield told | {"what": what}
                    k = told["k"] + 1


if __name__ == "__main__":
    place, *numbers = sys.argv[1:]
    for told in read_mutants(Path(place), *map(int, numbers)):
        print(json.dumps(told), flush=True)
